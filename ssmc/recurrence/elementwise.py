"""Updates of one register, element by element, that are closed under composition without being linear.

    clamp      x -> min(max(s x + a, lo), hi)       slots s, a, lo, hi; those that never differ from the identity's
                                                    (s = 1, an absent bound) are left out
    boolean    x -> (f if x else t)                 any expression of one bool state: its values at false and at true

`reset`, where(c, b, …) with c free of the state, is a member of both: a constant is a map too.
Every slot is closed: the element, the placeholders and `combined` have the same axes and kind, slot by slot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.linear import Blocker
from ssmc.expr.nodes import Axes, Kind, Node, children, postorder
from ssmc.expr.ops import join_kinds
from ssmc.expr.ranges import Ranges
from ssmc.recurrence.lattice import BEYOND
from ssmc.recurrence.nodes import Monoid
from ssmc.recurrence.semiring import describe
from ssmc.step.nodes import Register

# -- clamps --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clamp:
    """min(max(slope x + offset, low), high); a slope None is 1, a bound None is absent.

    `signed`: the slope may be negative; then both bounds are there.
    """

    slope: Node | None
    offset: Node
    low: Node | None = None
    high: Node | None = None
    signed: bool = False


class _Blocked(Exception):
    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.blocker = Blocker(node, reason)


class _Clamps:
    def __init__(self, arena: Arena, atom: Node, ranges: Ranges) -> None:
        self.arena, self.atom, self.ranges = arena, atom, ranges
        self.values: dict[Node, Clamp] = {}

    def run(self, root: Node) -> Clamp | Blocker:
        try:
            for node in postorder([root]):
                if node is self.atom:
                    self.values[node] = Clamp(None, self.arena.const(0))
                elif any(c in self.values for c in children(node)):
                    self.values[node] = self.inner(node)
        except _Blocked as blocked:
            return blocked.blocker
        return self.values.get(root, Blocker(root, "no carried state"))

    def inner(self, node: Node) -> Clamp:
        if not isinstance(node, n.Map):
            raise _Blocked(node, f"{describe(node)} of the carried state")
        args, arena = node.args, self.arena
        forms = [self.values.get(a) for a in args]
        match node.op, forms:
            case "add", [Clamp() as x, Clamp() as y]:
                return self.summed(node, x, y)
            case "add", [Clamp() as x, None]:
                return self.moved(x, args[1])
            case "add", [None, Clamp() as x]:
                return self.moved(x, args[0])
            case "sub", [Clamp() as x, Clamp() as y]:
                return self.summed(node, x, self.scaled(node, y, arena.const(-1)))
            case "sub", [Clamp() as x, None]:
                return self.moved(x, arena.neg(args[1]))
            case "sub", [None, Clamp() as x]:
                return self.moved(self.scaled(node, x, arena.const(-1)), args[0])
            case "neg", [Clamp() as x]:
                return self.scaled(node, x, arena.const(-1))
            case "mul", [Clamp() as x, None]:
                return self.scaled(node, x, args[1])
            case "mul", [None, Clamp() as x]:
                return self.scaled(node, x, args[0])
            case "div", [Clamp() as x, None]:
                return self.scaled(node, x, arena.div(arena.const(1), args[1]))
            case "max" | "min", [Clamp() as x, None]:
                return self.bounded(x, node.op, args[1])
            case "max" | "min", [None, Clamp() as x]:
                return self.bounded(x, node.op, args[0])
            case "where", [None, first, second]:
                return self.chosen(node, args, first, second)
            case "cast_real" | "cast_int", [Clamp() as x] if args[0].kind != "bool":
                return x
            case _:
                raise _Blocked(node, f"`{node.op}` of the carried state")

    def moved(self, x: Clamp, by: Node) -> Clamp:
        low, high = (None if b is None else self.arena.add(b, by) for b in (x.low, x.high))
        return Clamp(x.slope, self.arena.add(x.offset, by), low, high, x.signed)

    def summed(self, node: Node, x: Clamp, y: Clamp) -> Clamp:
        if any(b is not None for b in (x.low, x.high, y.low, y.high)):
            raise _Blocked(node, "a sum of two expressions of the carried state, one of them bounded")
        arena = self.arena
        one = arena.const(1)
        slope = arena.add(x.slope or one, y.slope or one)
        return Clamp(slope, arena.add(x.offset, y.offset))

    def scaled(self, node: Node, x: Clamp, by: Node) -> Clamp:
        if by.kind == "complex":
            raise _Blocked(node, "a complex factor of a bounded state")
        arena, mul = self.arena, self.arena.mul
        slope = by if x.slope is None else mul(x.slope, by)
        offset = mul(x.offset, by)
        if x.low is None and x.high is None:
            return Clamp(slope, offset)
        low, high = (None if b is None else self.moved_bound(b, by) for b in (x.low, x.high))
        known = self.ranges(by)
        if known.nonnegative:
            return Clamp(slope, offset, low, high, x.signed)
        if known.nonpositive:
            return Clamp(slope, offset, high, low, x.signed)
        if low is None or high is None:
            raise _Blocked(node, "a factor of unknown sign moves a bound to either side")
        return Clamp(slope, offset, arena.map("min", low, high), arena.map("max", low, high), x.signed)

    def moved_bound(self, bound: Node, by: Node) -> Node:
        """bound times by; a factor 0 makes even an infinite bound 0, for the whole map is constant then."""
        product = self.arena.mul(bound, by)
        if not _endless(bound):
            return product
        zero = self.arena.const(0)
        return self.arena.where(self.arena.map("eq", by, zero), zero, product)

    def bounded(self, x: Clamp, op: str, by: Node) -> Clamp:
        low, high = (None if b is None else self.arena.map(op, b, by) for b in (x.low, x.high))
        if op == "max":
            low = by if low is None else low
        else:
            high = by if high is None else high
        return Clamp(x.slope, x.offset, low, high, x.signed)

    def chosen(self, node: Node, args: Sequence[Node], x: Clamp | None, y: Clamp | None) -> Clamp:
        arena, one = self.arena, self.arena.const(1)
        first = x if x is not None else self.constant(args[1], y)
        second = y if y is not None else self.constant(args[2], x)
        unit = first.slope is None and second.slope is None

        def bound(a: Node | None, b: Node | None, side: str) -> Node | None:
            if a is None and b is None:
                return None
            absent = infinity(arena, node.kind, side)
            return arena.where(args[0], absent if a is None else a, absent if b is None else b)

        return Clamp(
            slope=None if unit else arena.where(args[0], first.slope or one, second.slope or one),
            offset=arena.where(args[0], first.offset, second.offset),
            low=bound(first.low, second.low, "low"),
            high=bound(first.high, second.high, "high"),
            signed=first.signed or second.signed,
        )

    def constant(self, value: Node, other: Clamp | None) -> Clamp:
        """The map to `value`, with the bounds that the `other` choice has.

        By a slope of 0: bounds alone would do, but let a state that equals the value share in its derivative.
        """
        low = None if other is None or other.low is None else value
        high = None if other is None or other.high is None else value
        return Clamp(self.arena.const(0), value, low, high)


def _endless(bound: Node) -> bool:
    """Whether an infinity stands in an expression."""
    return any(isinstance(x, n.Const) and x.value in (math.inf, -math.inf) for x in postorder([bound]))


def infinity(arena: Arena, kind: Kind, side: str) -> Node:
    """The bound that bounds nothing."""
    value: int | float = BEYOND if kind == "int" else math.inf
    return arena.const(-value if side == "low" else value)


def clamp(arena: Arena, register: Register, root: Node, ranges: Ranges) -> Clamp | Blocker:
    """`root`, the source of `register`, as a Clamp of its Read; or why it is none."""
    atom = arena.read(register.name, register.axes, register.kind)
    found = _Clamps(arena, atom, ranges).run(root)
    if isinstance(found, Blocker):
        return found
    if found.slope is not None and not ranges(found.slope).nonnegative:
        low = found.low if found.low is not None else infinity(arena, register.kind, "low")
        high = found.high if found.high is not None else infinity(arena, register.kind, "high")
        return Clamp(found.slope, found.offset, low, high, signed=True)
    return Clamp(found.slope, found.offset, found.low, found.high)


def clamp_monoid(arena: Arena, register: Register, form: Clamp) -> Monoid:
    """The slots, of `slope offset low high`, that `form` has; low <= high is established by the element.

    With g(y) = later.s y + later.a and c(y) = min(max(y, later.lo), later.hi):
        s = later.s earlier.s    a = g(earlier.a)    lo = c(g(earlier.lo))    hi = c(g(earlier.hi))
    and where the slope may be negative lo and hi are c of the smaller and of the larger of g's two values.
    """
    low, high = form.low, form.high
    if low is not None and high is not None:
        low = arena.map("min", low, high)
    given = {"s": form.slope, "a": form.offset, "lo": low, "hi": high}
    element = closed(
        arena,
        {k: v for k, v in given.items() if v is not None},
        {"s": ("s",), "a": ("s", "a"), "lo": ("s", "a", "lo", "hi"), "hi": ("s", "a", "lo", "hi")},
        "int" if register.kind == "int" else "real",
    )
    earlier = {k: arena.local(f"earlier_{k}", v.axes, v.kind) for k, v in element.items()}
    later = {k: arena.local(f"later_{k}", v.axes, v.kind) for k, v in element.items()}

    def line(y: Node) -> Node:
        return arena.add(times(y), later["a"])

    def times(y: Node) -> Node:
        if "s" not in later:
            return y
        # a slope of 0 forgets the bounds before it, the infinite ones too
        zero, slope = arena.map("eq", later["s"], arena.const(0)), later["s"]
        side = next((k for k in ("lo", "hi") if y is earlier.get(k)), None)
        if side is None or not _endless(element[side]):
            return arena.where(zero, arena.const(0), arena.mul(slope, y))
        # no product with an infinity, not even one that is discarded: its derivative would be 0 * inf
        absent = arena.map("eq", y, infinity(arena, register.kind, "low" if side == "lo" else "high"))
        far = arena.where(arena.map("lt", slope, arena.const(0)), arena.neg(y), y) if form.signed else y
        near = arena.mul(slope, arena.where(absent, arena.const(0), y))
        return arena.where(absent, arena.where(zero, arena.const(0), far), near)

    def bound(y: Node) -> Node:
        if "lo" in later:
            y = arena.map("max", y, later["lo"])
        return arena.map("min", y, later["hi"]) if "hi" in later else y

    combined: dict[str, Node] = {"a": line(earlier["a"])}
    if "s" in later:
        combined["s"] = arena.mul(later["s"], earlier["s"])
    if form.signed:
        ends = [line(earlier["lo"]), line(earlier["hi"])]
        combined["lo"], combined["hi"] = bound(arena.map("min", *ends)), bound(arena.map("max", *ends))
    else:
        combined.update({k: bound(line(earlier[k])) for k in ("lo", "hi") if k in later})
    neutral: dict[str, Node] = {
        "s": arena.const(1),
        "a": arena.const(0),
        "lo": infinity(arena, register.kind, "low"),
        "hi": infinity(arena, register.kind, "high"),
    }
    read = arena.read(register.name, register.axes, register.kind)
    return Monoid(
        element=tuple(element.values()),
        earlier=tuple(earlier.values()),
        later=tuple(later.values()),
        combined=tuple(combined[k] for k in element),
        identity=tuple(arena.cast(neutral[k], v.kind) for k, v in element.items()),
        applied=((register.name, bound(line(read))),),
    )


def closed(arena: Arena, slots: dict[str, Node], feeds: dict[str, tuple[str, ...]], low: Kind) -> dict[str, Node]:
    """The slots broadcast and converted to what `combined` makes of them: each has the axes of all that feed it."""
    result = {}
    for name, value in slots.items():
        parts = [slots[k] for k in feeds[name] if k in slots]
        axes: Axes = arena.sorted_axes(a for p in parts for a in p.axes)
        kind = join_kinds(low, *(p.kind for p in parts))
        result[name] = arena.cast(value if set(value.axes) == set(axes) else arena.broadcast(value, axes), kind)
    return result


# -- functions of one bool -----------------------------------------------------------------------------------------


def boolean(arena: Arena, register: Register, root: Node) -> tuple[Node, Node] | Blocker:
    """The values of the source at a state of false and of true, where it reads the state element by element."""
    atom = arena.read(register.name, register.axes, register.kind)
    stateful: set[Node] = set()
    for node in postorder([root]):
        if node is atom:
            stateful.add(node)
        elif any(c in stateful for c in children(node)):
            if not isinstance(node, n.Map):
                return Blocker(node, f"{describe(node)} of the carried state")
            stateful.add(node)
    values = [
        arena.substitute([root], lambda x, v=v: arena.const(v) if x is atom else None)[0]  # type: ignore[misc]
        for v in (False, True)
    ]
    return values[0], values[1]


def boolean_monoid(arena: Arena, register: Register, values: tuple[Node, Node]) -> Monoid:
    """The later map's value at the earlier map's value."""
    slots = {"f": values[0], "t": values[1]}
    element = closed(arena, slots, {"f": ("f", "t"), "t": ("f", "t")}, "bool")
    earlier = {k: arena.local(f"earlier_{k}", v.axes, v.kind) for k, v in element.items()}
    later = {k: arena.local(f"later_{k}", v.axes, v.kind) for k, v in element.items()}

    def at(x: Node) -> Node:
        return arena.where(x, later["t"], later["f"])

    read = arena.read(register.name, register.axes, register.kind)
    return Monoid(
        element=tuple(element.values()),
        earlier=tuple(earlier.values()),
        later=tuple(later.values()),
        combined=(at(earlier["f"]), at(earlier["t"])),
        identity=(arena.const(False), arena.const(True)),
        applied=((register.name, at(read)),),
    )
