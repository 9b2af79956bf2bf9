"""The form `scan`: a parallel prefix of the component's associative operator over a chunk, then one application.

    P_t = combine(e_1, …, e_t)      prefix over the tile
    h_t = apply(P_t, h_0)           h_0: the state the chunk began with

The operator, its neutral element and its application are the analysis's; nothing here depends on the algebra.
"""

from __future__ import annotations

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Local, Node
from ssmc.kernel.lower import InOrder, Tiles
from ssmc.kernel.naming import is_number
from ssmc.recurrence.nodes import Component


def lower_scan(in_time: Tiles, component: Component, chunk: int) -> None:
    tiles = InOrder(in_time, component)
    ar, monoid = tiles.arena, component.monoid
    if monoid is None:
        raise CompilerBug(f"scan was chosen for {component.registers}, which has no associative operator")
    elements = [tiles.tile(e) for e in monoid.element]
    lets = [
        value
        if isinstance(value, n.Local | n.Load) or is_number(value)
        else tiles.let(ar.labels.get(node) or f"element_{_slot(local)}", value, node)
        for local, value, node in zip(monoid.later, elements, monoid.element, strict=True)
    ]
    # every slot of the tile has batch and time: the operator mixes slots that have them with slots that do not
    earlier, later = _tiled(tiles, monoid.earlier), _tiled(tiles, monoid.later)
    swap: dict[Node, Node] = dict(zip((*monoid.earlier, *monoid.later), (*earlier, *later), strict=True))
    combined = ar.substitute(list(monoid.combined), swap.get)
    prefixes: dict[Node, Node] = {}
    for i, local in enumerate(monoid.later):
        p = ar.prefix(lets, earlier, later, combined, monoid.identity, i)
        prefixes[local] = tiles.let(f"prefix_{_slot(local)}", p)
    for register, applied in monoid.applied:
        r = tiles.graph.register[register]

        def leaf(node: Node) -> Node | None:
            if isinstance(node, n.Read):
                return tiles.carries[node.register]
            return prefixes.get(node)

        value = ar.substitute([applied], leaf)[0]
        everywhere = in_time.trajectory[register] = tiles.give(r.source, f"{register}_all", value)
        if r.source in ar.labels:
            ar.labels.setdefault(everywhere, ar.labels[r.source])
        # a state that stays what it was is the same at every step
        same = n.TIME not in everywhere.axes
        tiles.carry_on(r, everywhere if same else ar.pick(everywhere, n.TIME, 0 if r.reverse else -1))


def _tiled(tiles: InOrder, slots: tuple[Local, ...]) -> list[Local]:
    lead: Axes = (n.BATCH, n.TIME)
    return [tiles.arena.local(s.name, (*lead, *s.axes), s.kind) for s in slots]


def _slot(later: Local) -> str:
    return later.name.removeprefix("later_")
