"""Values of params alone, as params: they are computed once, and their gradients go on to the params once."""

from __future__ import annotations

from dataclasses import replace

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.expr.words import describe
from ssmc.step.functions import free_name
from ssmc.step.nodes import Output, Port, StepGraph, reads_of


def hoisted(graph: StepGraph) -> tuple[StepGraph, tuple[tuple[str, Node], ...]]:
    """The graph with its greatest values of params alone as params of their own; their names and values.

    A param itself stays one, as does a view of it, and what is made of numbers and sizes alone.
    """
    ar = graph.arena
    order = n.postorder(graph.roots)
    varying: set[Node] = set()
    of_params: set[Node] = set()
    for node in order:
        kids = n.children(node)
        if reads_of(node) or isinstance(node, n.Input | n.Time) or any(c in varying for c in kids):
            varying.add(node)
        if isinstance(node, n.Param | n.Table) or any(c in of_params for c in kids):
            of_params.add(node)
    taken = {p.name for p in (*graph.inputs, *graph.params)} | {r.name for r in graph.registers}
    taken |= {o.name for o in graph.outputs} | {ar.labels[x] for x in varying if x in ar.labels}
    ports: list[Port] = []
    constants: list[tuple[str, Node]] = []
    done: dict[Node, Node] = {}

    def at(node: Node) -> Node | None:
        if node in done:
            return done[node]
        worth = (
            node in of_params and node not in varying and not isinstance(node, n.Param | n.Table | n.Rename | n.Pick)
        )
        # the columns of a square alone stand along its rows' axis in a param
        rows = {a: n.base_axis(a) for a in node.axes}
        square = len(set(rows.values())) < len(rows)
        if not worth or (square and any(a not in (b, f"{b}'") for a, b in rows.items())):
            return None
        value = node if square else ar.rename(node, rows)
        axes = ar.sorted_axes(value.axes)
        if square and any(a != n.base_axis(a) for a in axes[:-1]):
            return None
        name = free_name(ar.labels.get(node) or describe(node, ar), taken)
        taken.add(name)
        ports.append(Port(name, axes, value.kind))
        constants.append((name, value))
        param: Node = ar.param(name, axes, value.kind)
        done[node] = param if square else ar.rename(param, {b: a for a, b in rows.items() if a in node.axes})
        return done[node]

    values = ar.substitute([o.value for o in graph.outputs], at)
    sources = ar.substitute([r.source for r in graph.registers], at)
    outputs = tuple(Output(o.name, o.axes, o.kind, v, o.span) for o, v in zip(graph.outputs, values, strict=True))
    registers = tuple(replace(r, source=s) for r, s in zip(graph.registers, sources, strict=True))
    changed = replace(graph, outputs=outputs, registers=registers, params=(*graph.params, *ports), names=())
    return changed, tuple(constants)
