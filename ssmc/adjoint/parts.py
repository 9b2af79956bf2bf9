"""Parts of a graph, for a derivative that not everything is asked of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.step.nodes import Output, StepGraph, reads_of


def restricted(graph: StepGraph, outputs: Collection[str], registers: Collection[str]) -> StepGraph:
    """The graph with these outputs, these registers, and what they are computed from."""
    kept = tuple(o for o in graph.outputs if o.name in outputs)
    needed = set(registers)
    todo = [*(o.value for o in kept), *(graph.register[r].source for r in registers)]
    while todo:
        reached = {r for x in n.postorder(todo) for r in reads_of(x)} - needed
        needed |= reached
        todo = [graph.register[r].source for r in reached]
    own = tuple(r for r in graph.registers if r.name in needed)
    inside = n.postorder([*(o.value for o in kept), *(x for r in own for x in (r.source, r.init))])
    read = {x.name for x in inside if isinstance(x, n.Input | n.Param)}
    return replace(
        graph,
        inputs=tuple(p for p in graph.inputs if p.name in read),
        params=tuple(replace(p, default=None) for p in graph.params if p.name in read),
        registers=own,
        outputs=kept,
        names=(),
    )


def written_out(graph: StepGraph, values: Sequence[tuple[str, Node]], params: StepGraph) -> StepGraph:
    """The graph with the params of `values` replaced by what they are: values of the params of `params`.

    A value may be made of those before it.
    A plan sees then that a decay is the exponential of something negative, which of a param it could not know.
    """
    known: dict[str, Node] = {}
    ar = graph.arena

    def at(node: Node) -> Node | None:
        return known.get(node.name) if isinstance(node, n.Param) else None

    for name, value in values:
        known[name] = ar.substitute([value], at)[0]
    sources = ar.substitute([r.source for r in graph.registers], at)
    results = ar.substitute([o.value for o in graph.outputs], at)
    registers = tuple(replace(r, source=s) for r, s in zip(graph.registers, sources, strict=True))
    outputs = tuple(Output(o.name, o.axes, o.kind, v, o.span) for o, v in zip(graph.outputs, results, strict=True))
    every = replace(graph, params=params.params, registers=registers, outputs=outputs)
    return restricted(every, [o.name for o in outputs], [r.name for r in registers])


def is_zero(value: Node) -> bool:
    """Whether a cotangent is zero whatever is given: it is linear in what is given, and this is made of numbers."""
    found = n.postorder([value])
    return not any(isinstance(x, n.Input | n.Param | n.Time | n.Table) or reads_of(x) for x in found)
