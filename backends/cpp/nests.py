"""Values into nests of loops: what is computed together, at one point of the same axes.

    nest D, N        a = exp(-d * A);  h = a * h + b;  y += C * h
    nest D           y = y + skip * u;  store y

A value joins the latest nest of its axes that comes after all it reads; a sum is there when its nest has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ssmc.backends.cpp.value import Value
from ssmc.backends.cpp.values import Pass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Node
from ssmc.expr.ops import OPS


@dataclass(eq=False)
class Nest:
    """`axes` are the loops from the outside in, `lane` the one that runs in vectors; `over` what is reduced."""

    axes: Axes
    lane: str | None
    over: set[frozenset[str]]  # the axes of each kind of sum in it
    values: list[Value] = field(default_factory=list)
    serial: bool = False

    @property
    def sums(self) -> list[Value]:
        return [v for v in self.values if v.op]


def nests_of(
    values: Iterable[Value],
    loops: Callable[[Value], Axes],
    lane_of: Callable[[Value, Axes], str | None],
    lag_of: Callable[[Value], str],
    narrow: Callable[[str], bool],
    of: Pass,
    alone: Callable[[Value], bool] = lambda v: v.serial,
) -> list[Nest]:
    """The nests of one group, in order. `loops` gives the axes that a value has loops over, `lag_of` the length of a
    delay line that is one of them; an axis is `narrow` whose vectors are computed all together. What is `alone` shares
    no loops."""
    nests: list[Nest] = []
    at: dict[Value, int] = {}
    for v in values:
        axes = loops(v)
        lane = None if v.serial else lane_of(v, axes)
        over = frozenset(a for a in v.over if a in axes)
        if not over and any(a != n.TIME for a in v.over):
            over = CELLS
        least = 0
        for r in v.reads:
            if r in at:
                later = bool(r.op) or r.serial or v.serial or not pointwise(v, r, of)
                least = max(least, at[r] + (1 if later else 0))
        for s in v.behind:
            if s in at:
                least = max(least, at[s] + 1)
        where = -1
        for i in range(len(nests) - 1, least - 1, -1):
            nest = nests[i]
            if nest.serial or alone(v) or set(nest.axes) != set(axes) or nest.lane != lane:
                continue
            if n.LAG in axes and lag_of(nest.values[0]) != lag_of(v):
                continue
            if not _alike(nest.over, over, lane, narrow):
                continue
            where = i
            break
        if where < 0:
            nests.append(Nest(axes, lane, {over} - {NOTHING}, [], alone(v)))
            where = len(nests) - 1
        nest = nests[where]
        nest.over |= {over} - {NOTHING}
        nest.values.append(v)
        at[v] = where
    return _merged(nests, lag_of, narrow, of)


NOTHING: frozenset[str] = frozenset()
CELLS = frozenset({"@cells"})  # a sum of which every cell has one term


def _alike(
    mine: Iterable[frozenset[str]], other: frozenset[str], lane: str | None, narrow: Callable[[str], bool]
) -> bool:
    """Whether sums can share loops: over the same axes, or, where the lane is narrow, over the same and the lane."""
    every = {*mine, other} - {NOTHING, CELLS}
    if len(every) <= 1:
        return True
    rest = {o - {lane} for o in every} - {NOTHING}
    return len(rest) <= 1 and lane is not None and narrow(lane)


def _merged(nests: list[Nest], lag_of: Callable[[Value], str], narrow: Callable[[str], bool], of: Pass) -> list[Nest]:
    """Nests over the same axes as one, the later of them, where nothing between needs what the earlier makes.

    The update of a state waits so for the readouts of the new one, and the state is passed over once.
    """
    for i in range(len(nests) - 2, -1, -1):
        first = nests[i]
        if first.serial or not first.axes:
            continue
        for later in (nest for nest in nests[i + 1 :] if nest.values):
            same = set(first.axes) == set(later.axes) and first.lane == later.lane and not later.serial
            alike = all(_alike(first.over, o, first.lane, narrow) for o in (later.over or {NOTHING}))
            if same and alike and _joins(first, later, of):
                if n.LAG in first.axes and lag_of(first.values[0]) != lag_of(later.values[0]):
                    break
                later.values[:0] = first.values
                later.over |= first.over
                first.values = []
                break
            if any(r in first.values for v in later.values for r in (*v.reads, *v.behind)):
                break
    return [nest for nest in nests if nest.values]


def _joins(first: Nest, later: Nest, of: Pass) -> bool:
    """Whether what a nest makes is read in the other only where it is made."""
    for v in later.values:
        for r in v.reads:
            if r in first.values and (r.op or not pointwise(v, r, of)):
                return False
        if any(s in first.values for s in v.behind):
            return False
    return True


CHEAP = 2  # operations that cost less than to keep what they give


def cheap(v: Value) -> bool:
    """Whether a value is had for an operation or two."""
    if v.op or v.serial or v.special is not None or v.store or v.behind:
        return False
    maps = [x for x in n.postorder([v.value]) if isinstance(x, n.Map)]
    rest = [x for x in n.postorder([v.value]) if not isinstance(x, n.Map | n.Local | n.Load | n.Const)]
    return len(maps) <= CHEAP and not rest and all(OPS[x.op].cost <= 1 for x in maps)


def pointwise(v: Value, read: Value, of: Pass) -> bool:
    """Whether `v` reads `read` only where it stands itself."""
    found = read not in v.spread

    def elsewhere(moved: frozenset[str], read: Value) -> bool:
        return bool(moved & set(read.axes)) or (of.at_once and read.timed and n.TIME in moved)

    def walk(node: Node, moved: frozenset[str], root: bool) -> None:
        nonlocal found
        known = v.stands.get(node)
        if known is not None:
            if known is read and elsewhere(moved, read):
                found = False
            return
        match node:
            case n.Local(name=name):
                named = of.named.get(name)
                if isinstance(named, Value):
                    named = v.instead.get(named, named)
                    if named is read and elsewhere(moved, read):
                        found = False
                elif named is not None:
                    walk(named, moved, False)
            case n.Load(buffer=buffer) if buffer in of.scratch:
                if v.instead.get(of.scratch[buffer], of.scratch[buffer]) is read and moved & set(read.axes):
                    found = False
            case n.Rename(arg=arg, pairs=pairs):
                changed = {old for old, new in pairs if old != new}
                walk(arg, moved | changed, False)
            case n.Pick(arg=arg, axis=axis) | n.Shift(arg=arg, axis=axis) | n.Flip(arg=arg, axis=axis):
                walk(arg, moved | {axis}, False)
            case n.Frames(arg=arg, halo=halo):
                walk(arg, moved, False)
                if not of._line_carry(halo):
                    walk(halo, moved | {n.LAG}, False)
            case n.Tail(arg=arg, halo=halo):
                walk(arg, moved, False)
                if not of._line_carry(halo):
                    walk(halo, moved | {n.LAG}, False)
            case n.Lag(arg=arg, halo=halo) if of._line_carry(halo):
                walk(arg, moved, False)
            case _:
                for x in n.children(node):
                    walk(x, moved, False)

    walk(v.special if v.special is not None else v.value, frozenset(), True)
    return found
