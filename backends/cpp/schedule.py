"""Which axis of a pass is threads, lanes, registers or loops: a record, and the rules that fill it in."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ssmc.backends.cpp.products import ROWS
from ssmc.backends.cpp.traffic import Traffic, traffic
from ssmc.backends.cpp.value import Value
from ssmc.backends.cpp.values import Pass
from ssmc.backends.cpp.wishes import NONE, RULES, Wish

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.expr.ops import OPS

# Vectors of state that a cell may hold in registers before they spill (there are 32; operands need some).
REGISTERS = 24
# Cells a thread should have, so that none waits long for the last.
ENOUGH = 2
# Operations of whole vectors from which on threads share a single step: to start and to wait costs them some thousands.
SHARED = 20000
# How much of all work cells may do in vain, because others do it too.
REPEATED = 0.5
# Vectors of a cell that only passes over tensors, and what it may keep of a chunk, as a part of the second cache.
WIDE = 32
KEPT = 0.5
WORD = 4  # bytes of a number, about


@dataclass(frozen=True)
class Schedule:
    """How one pass runs.

    `grid` are the axes of which a cell has one index, or (the `lane`, where `blocked`) a block of `vectors` vectors.
    Where it is `wide`, `vectors` is the most, and a call says how many: the memory sets the pace, which likes long runs
    of neighbours, and no state has to stay in registers.
    `batch` and `time` are how many rows and, in a pass without a recurrence, how many steps a cell takes at once.
    With `chunks` a cell has one chunk of the steps.
    `weights` say which axis lies innermost in the caller's tensors, for nests that choose lanes of their own; where
    there is `traffic`, every nest does.
    """

    grid: tuple[str, ...] = ()
    lane: str | None = None
    blocked: bool = False
    vectors: int = 1
    wide: bool = False
    batch: int = 1
    time: int = 1
    chunks: bool = False
    weights: Mapping[str, int] = field(default_factory=dict)
    traffic: Traffic | None = None

    def rank(self, axis: str) -> int:
        """How well the lanes of an axis lie in memory."""
        return self.weights.get(axis, 0)

    def words(self) -> str:
        """The record as a person reads it."""
        rows = f", up to {self.batch} rows a cell" if self.batch > 1 else ""
        parts = [f"threads over batch{rows}{', chunks' if self.chunks else ''}{''.join(f', {a}' for a in self.grid)}"]
        if self.time > 1:
            parts.append(f"{self.time} steps at once")
        if self.traffic is not None:
            if self.blocked:
                parts[0] = f"threads over batch, {self.lane} in blocks of {self.vectors} vectors"
            parts.append("lanes over what is contiguous")
        elif self.lane is not None:
            most = "up to " if self.wide else ""
            held = f", {most}{self.vectors} vector{'s' if self.vectors > 1 else ''} a cell" if self.blocked else ""
            parts.append(f"lanes over {self.lane}{held}")
        return "; ".join(parts)


def choose(
    values: Pass,
    sizes: Mapping[str, int],
    lanes: int,
    threads: int = 2,
    wish: Wish = RULES,
    cache: int = 1 << 20,
) -> Schedule:
    """The schedule of a pass by its structure and, where they are known, its sizes; what someone asks for comes first,
    as far as the pass can have it. `threads` and the bytes of the second `cache` are the machine's."""
    wish = wish.within(*legal_axes(values, sizes))
    weights = _weights(values, sizes)
    if values.step:
        return _one_step(values, sizes, lanes, threads)
    if not values.sequential and not values.at_once:
        return Schedule(time=wish.steps or (8 if _contracts(values) else 1), weights=weights)
    every = [v for g in values.groups for v in g.values]
    free = {a for a in parallel_axes(values) if _shared_fairly(a, every, sizes)}
    # along an axis of no elements there would be no cell, and nothing that lacks it would be computed
    free = {a for a in free if sizes.get(a) != 0}
    totals = {v.total for v in values.totals}
    carries = [c for c in values.carries.values() if c.axes and c not in totals]
    carries += [c for cs in values.resets.values() for c in cs]
    mine = [v for g in values.groups if g.sequential for v in g.values] + carries
    possible = _possible_lanes(mine)
    common = {a for a in possible if all(a in c.axes for c in carries)}

    summed = {a for v in mine if v.op and any(set(c.axes) <= {*v.axes, *v.over} for c in carries) for a in v.over}

    most = max((weights.get(a, 0) for a in common or possible), default=0)

    def score(a: str) -> tuple[bool, bool, bool, bool, bool, bool, int, int]:
        """What is contiguous, not summed with all of the state, wide enough, and needs no other index."""
        size, near = sizes.get(a, lanes), weights.get(a, 0)
        return (size > 1, a in common, 4 * near >= most, a not in summed, 2 * size >= lanes, a in free, near, size)

    lane = max(sorted(common or possible), key=score, default=None)
    if lane is not None and sizes.get(lane, lanes) == 1:
        lane = None
    if wish.lane is not None:
        lane = wish.lane if wish.lane != NONE else None
    # an axis that is summed costs sums over cells: only where there is too little else to share among threads
    pure = free - {a for v in every for a in v.over}
    shared = set(pure)
    spare = sorted(free - pure, key=lambda a: (a == lane, -sizes.get(a, lanes), a))
    while spare and math.prod(sizes.get(a, threads) for a in shared if a != lane) < ENOUGH * threads:
        if lane in shared and spare[0] != lane and sizes.get(lane, 0) >= ENOUGH * threads * lanes:
            break
        shared.add(spare.pop(0))
    if wish.grid is not None:
        shared = set(wish.grid)
    blocked = lane in shared
    grid = tuple(a for a in _ordered(values, shared) if a != lane)
    vectors, wide = 1, False
    if lane is not None and blocked:
        grid = (*grid, lane)
        inside = [math.prod(sizes.get(a, 16) for a in c.axes if a not in (*grid, n.BATCH)) for c in carries]
        state = sum(inside)
        whole = -(-sizes.get(lane, lanes) // lanes)
        vectors = min(whole, 4)
        if 4 < state <= REGISTERS:
            vectors = min(whole, max(1, REGISTERS // state))
        if _passes_over(values, {*grid, lane}):
            most = max(4, min(WIDE, int(KEPT * cache) // (_kept_rows(values) * lanes * WORD or 1)))
            vectors, wide = min(most, whole) if lane in sizes else most, True
        vectors = min(whole, wish.vectors) if wish.vectors else vectors
    chunks = chunks_apart(values)
    batch = ROWS if shared <= pure and not (chunks or wide) and _mostly_products(every, sizes) else 1
    return Schedule(grid, lane, blocked, vectors, wide, batch, chunks=chunks, weights=weights)


def _passes_over(values: Pass, grid: set[str]) -> bool:
    """Whether a cell has one element of each state, and of all it computes, for each of its lanes: no other axes, no
    sums but over the steps."""
    carries = [*values.carries.values(), *(c for cs in values.resets.values() for c in cs)]
    every = [v for g in values.groups for v in g.values]
    every += [*carries, *values.held, *values.after, *values.final, *values.starts]
    every += [x for c in carries for x in c.before]
    return all(
        not v.serial and set(v.over) <= {n.TIME} and set(v.axes) <= {*grid, n.BATCH} and v.special is None
        for v in every
    )


def _kept_rows(values: Pass) -> int:
    """How many vectors a chunk keeps for each vector of the lane: what later sweeps read of earlier ones, and of what
    several sweeps read of the caller's tensors."""
    kept = sum(v.crosses for g in values.groups for v in g.values)
    read: dict[str, set[int]] = {}
    for i, g in enumerate(values.groups):
        for v in g.values:
            for x in n.postorder([v.value]):
                if isinstance(x, n.Load):
                    read.setdefault(x.buffer, set()).add(i)
    return (kept + sum(len(groups) > 1 for groups in read.values())) * (values.p.loop.block or 0)


def _mostly_products(every: list[Value], sizes: Mapping[str, int]) -> bool:
    """Whether most of a step is products with matrices that are the same throughout the batch."""

    def work(v: Value) -> int:
        return _work({*v.axes, *v.over}, sizes)

    return 2 * sum(work(v) for v in every if v.product is not None) >= sum(map(work, every))


def _work(axes: set[str], sizes: Mapping[str, int]) -> int:
    return math.prod(sizes.get(n.base_axis(a), 16) for a in axes if a not in (n.BATCH, n.TIME, n.LAG))


def _one_step(values: Pass, sizes: Mapping[str, int], lanes: int, threads: int) -> Schedule:
    """The schedule of a single step: threads share it in blocks of an axis, where it is work enough for them."""
    alone = Schedule(weights=_weights(values, sizes), traffic=traffic(values, sizes, lanes))
    every = [v for g in values.groups for v in g.values]
    if len(sizes) < len(values.graph.axes) or sum(_operations(v, sizes) for v in every) < SHARED * lanes:
        return alone
    summed = {a for v in every for a in v.over}
    free = {a for a in parallel_axes(values) - summed if _shared_fairly(a, every, sizes)}
    wide = [a for a in _ordered(values, free) if sizes[a] >= ENOUGH * threads * lanes]
    if not wide:
        return alone
    axis = max(wide, key=lambda a: sizes[a])
    vectors = -(-sizes[axis] // (ENOUGH * threads * lanes))
    return replace(alone, grid=(axis,), lane=axis, blocked=True, vectors=vectors)


def _operations(v: Value, sizes: Mapping[str, int]) -> int:
    """How many operations a value takes."""
    nodes = n.postorder([v.special if v.special is not None else v.value])
    each = sum(OPS[x.op].cost for x in nodes if isinstance(x, n.Map) and x not in v.stands)
    axes = {*v.axes, *v.over} - {n.BATCH, n.TIME, n.LAG}
    return (each + 1) * math.prod(sizes.get(n.base_axis(a), 1) for a in axes)


def legal_axes(values: Pass, sizes: Mapping[str, int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The axes that can be lanes, and those that threads can share, of a pass with a recurrence."""
    if values.step or not values.sequential:
        return (), ()
    carries = [c for c in values.carries.values() if c.axes]
    carries += [c for cs in values.resets.values() for c in cs]
    mine = [v for g in values.groups if g.sequential for v in g.values] + carries
    shared = {a for a in parallel_axes(values) if sizes.get(a) != 0}
    return tuple(_ordered(values, _possible_lanes(mine))), tuple(_ordered(values, shared))


def _possible_lanes(mine: list[Value]) -> set[str]:
    return {a for v in mine for a in v.axes if a not in (n.BATCH, n.LAG, n.TIME) and n.base_axis(a) == a}


def _shared_fairly(axis: str, every: list[Value], sizes: Mapping[str, int]) -> bool:
    """Whether cells along an axis do little that the others do too: what lacks the axis is computed in each of them."""

    def work(v: Value) -> int:
        return _work({*v.axes, *v.over}, sizes)

    total = sum(map(work, every))
    without = sum(work(v) for v in every if axis not in v.axes and axis not in v.over)
    return without * (sizes.get(axis, 16) - 1) <= REPEATED * total


def _ordered(values: Pass, axes: set[str]) -> list[str]:
    order = [a.name for a in values.graph.axes]
    return sorted(axes, key=lambda a: order.index(a) if a in order else len(order))


def _weights(values: Pass, sizes: Mapping[str, int]) -> dict[str, int]:
    """How many elements a step reads and writes in tensors that have an axis innermost."""
    found: dict[str, int] = {}
    seen: set[str] = set()
    every = [v for g in values.groups for v in g.values]
    for v in every:
        names = {x.buffer for x in n.postorder([v.special or v.value]) if isinstance(x, n.Load)}
        names |= {v.store} if v.store else set()
        for name in names - seen:
            seen.add(name)
            b = values.buffers[name]
            if b.role in ("input", "output", "workspace") and b.axes and b.axes[-1] not in (n.BATCH, n.TIME):
                size = math.prod(sizes.get(n.base_axis(a), 16) for a in b.axes if a not in (n.BATCH, n.TIME))
                found[b.axes[-1]] = found.get(b.axes[-1], 0) + 2 * size
    for c in values.carries.values():
        if c.axes and c.axes[-1] != n.BATCH:
            found[c.axes[-1]] = found.get(c.axes[-1], 0) + 1
    return found


def _contracts(values: Pass) -> bool:
    """Whether a pass has products with what is the same at every step: several steps at once read it once."""
    return any(v.op == "sum" for g in values.groups for v in g.values)


def chunks_apart(values: Pass) -> bool:
    """Whether no chunk waits for another: none carries anything to the next but sums, which are added up later."""
    totals = {v.total for v in values.totals}
    carried = all(c in totals for c in values.carries.values())
    return (values.sequential or values.at_once) and carried and not values.promoted and values.p.loop.block > 1


def parallel_axes(values: Pass) -> set[str]:
    """The axes along which every index can be computed alone."""
    every: list[Value] = [v for g in values.groups for v in g.values]
    every += [*values.after, *values.final, *values.starts, *values.carries.values()]
    every += [c for cs in values.resets.values() for c in cs]
    axes = {a for v in every for a in v.axes if a not in (n.BATCH, n.TIME, n.LAG, n.SOURCE)}
    bad: set[str] = {a for a in axes if n.base_axis(a) != a} | {n.base_axis(a) for a in axes if n.base_axis(a) != a}
    readers: dict[Value, list[Value]] = {}
    for v in every:
        for r in v.reads:
            readers.setdefault(r, []).append(v)
    for v in every:
        if not ends(v, readers.get(v, []), values.spare):
            bad |= set(v.over)
        for node in _through_views(v, values):
            bad |= moves(node) if not (node in v.stands or isinstance(node, n.Reduce)) else set()
    return axes - bad


def ends(v: Value, readers: list[Value], lines: Collection[str]) -> bool:
    """Whether a sum is only stored, or added to a total: its parts may come from several cells.

    What is stored for delay lines of the same pass is read there."""
    if v.op != "sum" or v.kind not in ("real", "complex"):
        return False
    if v.total is not None:
        return True
    return bool(readers) and all(r.store and r.store not in lines and r.only is v for r in readers)


def _through_views(v: Value, values: Pass) -> list[Node]:
    """The nodes of a value's expression, and of what names in it are views of."""
    found: dict[Node, None] = {}
    todo = [v.special if v.special is not None else v.value]
    while todo:
        for node in n.postorder([todo.pop()]):
            named = values.named.get(node.name) if isinstance(node, n.Local) and node not in found else None
            found[node] = None
            todo += [named] if isinstance(named, Node) else []
    return list(found)


def moves(node: Node) -> set[str]:
    """The axes that a node reads elsewhere than where it stands."""
    match node:
        case n.Rename(pairs=pairs):
            return {n.base_axis(a) for pair in pairs for a in pair if pair[0] != pair[1]}
        case n.Pick(axis=axis) | n.Shift(axis=axis) | n.Flip(axis=axis) | n.Cumulative(axis=axis):
            return {axis}
        case n.Solve(row=row, col=col) | n.Expm(row=row, col=col):
            return {n.base_axis(row), n.base_axis(col), row, col}
        case n.Frames(axis=axis):
            return {axis}
        case n.Reduce(over=over) | n.Scores(over=over) | n.Geometric(over=over) | n.FftConv(over=over):
            return {n.base_axis(a) for a in over} | {*over}
        case _:
            return set()
