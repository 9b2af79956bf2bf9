"""The form `recurrent`: one step after the other, the state carried.

    pre    what the update needs of this chunk and does not depend on the state, for all steps of the chunk at once
    core   for every step: the update; every register's new value is stored in a scratch tile
    post   everything else reads the scratch, again for all steps at once

It is legal for every component. Only the nodes between the component's own reads and its sources are in the core.
"""

from __future__ import annotations

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Local, Node
from ssmc.kernel import nodes as k
from ssmc.kernel.lower import Tiles
from ssmc.recurrence.nodes import Component
from ssmc.recurrence.total import addend
from ssmc.step.nodes import depending


def lower_recurrent(tiles: Tiles, component: Component, chunk: int) -> None:
    graph, ar = tiles.graph, tiles.arena
    added = addend(graph, component)
    if added is not None:
        (register,) = (graph.register[r] for r in component.registers)
        total = ar.reduce("sum", tiles.timed(tiles.tile(added)), (n.TIME,))
        tiles.carry_on(register, ar.add(tiles.carries[register.name], total))
        return
    own = set(component.registers)
    sources = [graph.register[r].source for r in component.registers]
    inside = depending(sources, own)

    carries: list[k.Carry] = []
    now: dict[str, Local] = {}
    for r in component.registers:
        outer = tiles.carries[r]
        now[r] = ar.local(tiles.names.at_a_step(r), outer.axes, outer.kind)
        carries.append(k.Carry(now[r], outer))

    users: dict[Node, list[Node]] = {}
    for node in inside:
        for child in n.children(node):
            users.setdefault(child, []).append(node)
    wish = component.registers[0]
    values: dict[Node, Node] = {}
    # what lies along a past that grows inside this loop cannot be computed before it
    growing = {
        x.axis
        for x in inside
        if isinstance(x, n.History) and x.register in own and graph.register[x.register].depth.unbounded
    }

    def per_step(node: Node) -> Node | None:
        if node in values:
            return values[node]
        match node:
            case n.Read(register=r, steps=steps) if r in own:
                halo = now[r]
                new: Node = halo if n.LAG not in halo.axes else ar.pick(halo, n.LAG, -steps)
            case n.Window(register=r, axis=axis, current=current) if r in own:
                arg = ar.substitute([current], per_step)[0] if current is not None else ar.pick(now[r], n.LAG, -1)
                new = ar.frames(arg, now[r], axis, 0 if current is not None else 1, False)
            case n.History(register=r, axis=axis, current=current) if r in own:
                arg = ar.substitute([current], per_step)[0]
                if graph.register[r].depth.unbounded:
                    new = ar.append(arg, now[r], axis)
                else:
                    new = ar.frames(arg, now[r], axis, 0, True)
            case n.History(axis=axis) if axis in growing:
                # the past of a value from outside the cycle: the whole sequence's, up to this step
                new = ar.start(tiles.tile(node), axis)
            case _ if node in inside or growing & set(node.axes):
                return node if isinstance(node, n.Index) else None
            case n.Const() | n.Size() | n.Index():
                return node
            case _:
                tile = tiles.tile(node)
                rest = tuple(a for a in tile.axes if a != n.TIME)
                if n.TIME in tile.axes and not isinstance(tile, n.Local | n.Load):
                    tile = tiles.let(ar.labels.get(node) or operand_name(node, users, inside, wish), tile, node)
                if isinstance(tile, n.Local):
                    new = ar.local(tile.name, rest, tile.kind)
                elif isinstance(tile, n.Load):
                    new = ar.load(tile.buffer, rest, tile.kind)
                else:
                    new = tile
        values[node] = new
        return new

    updates = ar.substitute(sources, per_step)
    body: list[k.Statement] = []
    for r, update, source in zip(component.registers, updates, sources, strict=True):
        register = graph.register[r]
        new = update
        if n.LAG in now[r].axes:
            # only delay lines that feed back through the whole past or a window keep a buffer here
            new = ar.append(update, now[r], n.LAG) if register.depth.unbounded else ar.tail(update, now[r])
        body.append(k.Set(now[r], new, graph.span_of(source) or register.span))
        scratch, axes = tiles.names.fresh(f"{r}_all"), (n.BATCH, n.TIME, *register.axes)
        tiles.scratch.append(k.Buffer(scratch, axes, register.kind, "scratch"))
        body.append(k.Store(scratch, update, register.span))
        tiles.trajectory[r] = ar.load(scratch, axes, register.kind)
        tiles.values[source] = tiles.trajectory[r]
        if source in ar.labels:
            ar.labels.setdefault(tiles.trajectory[r], ar.labels[source])
        tiles.carry_on(register, now[r])
    tiles.statements.append(k.For(1, component.reverse, tuple(carries), tuple(body)))


def operand_name(node: Node, users: dict[Node, list[Node]], inside: set[Node], fallback: str) -> str:
    """What to call a value computed before the loop: by what the update does with it."""
    ops = {u.op for u in users.get(node, ()) if isinstance(u, n.Map) and u in inside}
    if ops == {"mul"}:
        return f"{fallback}_decay"
    return f"{fallback}_drive" if ops <= {"add", "sub"} and ops else f"{fallback}_in"
