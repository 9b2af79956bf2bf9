"""What is the same at every step, fetched by each cell once, before its loops.

    h = a[D, N] * h + b        a_held = a, for the cell's part of D and N; then for each step h = a_held * h + b

An array of the cell's own is read without a test of strides and ends, complex numbers lie apart in it, and what is
little enough stays in registers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ssmc.backends.cpp.schedule import Schedule
from ssmc.backends.cpp.value import Value
from ssmc.backends.cpp.values import Pass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node

# Bytes of what a cell holds, half of a first cache; and of what each element of a state has for itself, of which tiles
# of the state need a part at a time: of a second cache.
HELD, OWN = 16384, 131072


def hold(values: Pass, schedule: Schedule, sizes: Mapping[str, int], lanes: int, width: int) -> None:
    """Give the pass `held` values, where they are few, and let its others read them."""
    if not values.sequential or values.step:
        return
    holder = _Holder(values, schedule, sizes, lanes)
    uses = [(v, node) for g in values.groups for v in g.values for node in holder.constants(v)]
    every = dict.fromkeys(node for _, node in uses)
    mine: set[Node] = set()
    for room, own in ((HELD, False), (OWN, True)):
        alike = [node for node in every if holder.own(node) is own]
        sizes_of = [holder.elements(node) for node in alike]
        parts = [
            math.inf if e is None else e * (1 + (x.kind == "complex")) for e, x in zip(sizes_of, alike, strict=True)
        ]
        if sum(parts) * width <= room:
            mine |= set(alike)
    made: dict[Node, Value] = {}
    for v, node in uses:
        if node not in mine:
            continue
        if node not in made:
            name = node.buffer if isinstance(node, n.Load) else getattr(node, "name", "value")
            made[node] = Value(values.fresh(f"{name}_held"), node.axes, node.kind, node, timed=False, group=-1)
        v.stands[node] = made[node]
        v.reads.append(made[node])
    values.held = list(made.values())


class _Holder:
    def __init__(self, values: Pass, schedule: Schedule, sizes: Mapping[str, int], lanes: int) -> None:
        self.values, self.schedule, self.sizes, self.lanes = values, schedule, sizes, lanes
        carries = [*values.carries.values(), *(c for cs in values.resets.values() for c in cs)]
        self.states = [set(c.axes) - {n.BATCH} for c in carries if len(c.axes) > 1]

    def own(self, node: Node) -> bool:
        """Whether each element of a state has one of its own."""
        return any(axes and axes <= set(node.axes) for axes in self.states)

    def constants(self, v: Value) -> list[Node]:
        """The params, and what is computed of them once, that a value reads where it stands."""
        found: dict[Node, None] = {}
        todo: list[Node] = [] if v.special is not None or self.in_rows(v) else [v.value]
        while todo:
            node = todo.pop()
            if node in v.stands:
                continue
            match node:
                case n.Map(args=args):
                    todo += args
                case n.Load(buffer=buffer) if self.values.buffers[buffer].role == "param":
                    found[node] = None
                case n.Local(name=name):
                    named = self.values.named.get(name)
                    if named is None and name not in self.values.lines and name not in self.values.tails:
                        found[node] = None
                    elif named is not None and not isinstance(named, Value):
                        todo.append(named)
                case _:
                    pass
        return [x for x in found if x.kind in ("real", "complex") and n.LAG not in x.axes]

    def in_rows(self, v: Value) -> bool:
        """Whether a product with a matrix may be computed for several rows at once, of the matrix as it is laid out."""
        if v.product is None:
            return False
        own = set(v.axes) - set(v.product.places) - {n.BATCH} - set(self.schedule.grid)
        return self.schedule.batch > 1 or bool(own)

    def elements(self, node: Node) -> int | None:
        """How many of its elements a cell has; None where that is not known."""
        s, count = self.schedule, 1
        for a in node.axes:
            if a == s.lane and s.blocked:
                count *= s.vectors * self.lanes
            elif a not in s.grid:
                size = self.sizes.get(n.base_axis(a))
                if size is None:
                    return None
                count *= -(-size // self.lanes) * self.lanes
        return count
