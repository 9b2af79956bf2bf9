"""The form `scan` where loops cost nothing: segments of the sequence, which do not wait for each other.

    summaries   for each segment:  p = identity;  for each step:  p = combine(p, e_t)        in any order
    starts      h = h_0;  for each segment:  keep h;  h = apply(p of the segment, h)          one after the other
    steps       for each segment:  h from where it starts, step after step, and its readers   in any order

The work is that of two recurrences, and no segment of either waits for another: what is idle beside a recurrence
over few channels takes part. A segment is a chunk, so its length depends on the plan and on nothing that runs it. The
third part is the form `recurrent`, of a component whose states are known where each chunk begins (schedule.py).
"""

from __future__ import annotations

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Local, Node
from ssmc.kernel import nodes as k
from ssmc.kernel.lower import Tiles
from ssmc.recurrence.nodes import Component, Monoid


def lower_summaries(tiles: Tiles, component: Component) -> tuple[k.Buffer, ...]:
    """What each chunk does to a state, slot by slot of the operator: stored for each chunk."""
    ar, monoid = tiles.arena, _monoid(component)
    wish = component.registers[0]
    steps = [_at_a_step(tiles, e, f"{wish}_{_slot(x)}") for e, x in zip(monoid.element, monoid.later, strict=True)]
    carries: list[k.Carry] = []
    swap: dict[Node, Node] = dict(zip(monoid.later, steps, strict=True))
    for earlier, identity in zip(monoid.earlier, monoid.identity, strict=True):
        name = tiles.names.fresh(f"{wish}_{earlier.name.removeprefix('earlier_')}_so_far")
        local = ar.local(name, (n.BATCH, *earlier.axes), earlier.kind)
        carries.append(k.Carry(local, identity))
        swap[earlier] = local
    combined = ar.substitute(list(monoid.combined), swap.get)
    span = tiles.graph.register[wish].span
    body = tuple(k.Set(c.target, value, span) for c, value in zip(carries, combined, strict=True))
    tiles.statements.append(k.For(1, component.reverse, tuple(carries), body))
    found: list[k.Buffer] = []
    for carry, later in zip(carries, monoid.later, strict=True):
        name = tiles.names.fresh(f"{wish}_{_slot(later)}_of_chunk")
        found.append(k.Buffer(name, carry.target.axes, carry.target.kind, "boundary"))
        tiles.statements.append(k.Store(name, carry.target, span))
    return tuple(found)


def lower_starts(tiles: Tiles, component: Component, summaries: tuple[k.Buffer, ...]) -> None:
    """The states with which chunks begin, from chunk to chunk."""
    ar, monoid = tiles.arena, _monoid(component)
    summary = {x: ar.load(b.name, b.axes, b.kind) for x, b in zip(monoid.later, summaries, strict=True)}
    for register, applied in monoid.applied:

        def leaf(node: Node) -> Node | None:
            if isinstance(node, n.Local):
                return summary.get(node)
            return tiles.carries[node.register] if isinstance(node, n.Read) else None

        tiles.carry_on(tiles.graph.register[register], ar.substitute([applied], leaf)[0])


def _monoid(component: Component) -> Monoid:
    if component.monoid is None:
        raise CompilerBug(f"scan was chosen for {component.registers}, which has no associative operator")
    return component.monoid


def _at_a_step(tiles: Tiles, element: Node, wish: str) -> Node:
    """An element, as a loop over the steps sees it."""
    ar, tile = tiles.arena, tiles.tile(element)
    if n.TIME not in tile.axes:
        return tile
    if not isinstance(tile, n.Local | n.Load):
        tile = tiles.let(ar.labels.get(element) or wish, tile, element)
    rest = tuple(a for a in tile.axes if a != n.TIME)
    if isinstance(tile, n.Load):
        return ar.load(tile.buffer, rest, tile.kind)
    return ar.local(tile.name, rest, tile.kind)


def _slot(later: Local) -> str:
    return later.name.removeprefix("later_")
