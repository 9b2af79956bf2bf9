"""Forward mode: the tangent of a step graph, a recurrence in the same direction.

The backward is linear in the cotangents that come in, and its transpose is the forward derivative. So the adjoint is
taken twice, and of the second one only what the cotangents' own gradients need is kept: those gradients are the
tangents of the outputs, and the reverse registers have become forward ones again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ssmc.adjoint.graph import adjoint
from ssmc.adjoint.parts import restricted
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.step.functions import free_name
from ssmc.step.nodes import Port, StepGraph, reads_of
from ssmc.step.verify import verify


@dataclass(frozen=True)
class Tangent:
    """The tangent graph. `inputs`, `params` and `outputs` give the name there of what is tangent to each; `states` the
    register that begins with the tangent of a state's first value and ends with that of its last. `constants` are the
    values of params that are params there, as in `Adjoint`; their tangents are among `params`."""

    graph: StepGraph
    inputs: dict[str, str]
    params: dict[str, str]
    outputs: dict[str, str]
    states: dict[str, str]
    constants: tuple[tuple[str, Node], ...]


def tangent(graph: StepGraph, moved: Collection[str] | None = None) -> Tangent:
    """The tangent of a graph without an unbounded `past`.

    `moved` are the inputs, params, constants and states that have a tangent; None: all of them. That of the others is
    zero, and so may be that of an output, which is left out then.
    """
    first = adjoint(graph)
    whole = first.graph
    if moved is not None:
        ends = [*first.params.items(), *first.states.items()]
        whole = restricted(
            whole, [o for u, o in first.inputs.items() if u in moved], [r for name, r in ends if name in moved]
        )
    second = adjoint(whole)
    of = second.graph
    outputs = {y: second.inputs[port] for y, port in first.cotangents.items() if port in second.inputs}
    inputs = {u: second.cotangents[port] for u, port in first.inputs.items() if port in second.cotangents}
    states = {h: second.states[register] for h, register in first.states.items() if register in second.states}
    params = {p: second.states[register] for p, register in first.params.items() if register in second.states}
    kept = [o for o in of.outputs if o.name in outputs.values()]
    needed: set[str] = set()
    todo = [o.value for o in kept] + [of.register[r].source for r in states.values()]
    while todo:
        new = {r for x in n.postorder(todo) for r in reads_of(x)} - needed
        needed |= new
        todo = [of.register[r].source for r in new]
    needed |= set(states.values())
    # the tangent of a param is carried from step to step as it is: it is a param
    fixed = {r for r in params.values() if r in needed}
    ar = graph.arena
    taken = {p.name for p in (*of.inputs, *of.params)} | {r.name for r in of.registers} | {o.name for o in of.outputs}
    new_name: dict[str, str] = {}
    for names in (inputs, params, outputs, states):
        for name, old in names.items():
            new_name[old] = names[name] = free_name(f"{name}_dot", taken)
            taken.add(new_name[old])

    def leaf(node: Node) -> Node | None:
        match node:
            case n.Input(name=name) if name in new_name:
                return ar.input(new_name[name], node.axes, node.kind)
            case n.Read(register=r) if r in fixed:
                return ar.param(new_name[r], node.axes, node.kind)
            case n.Read(register=r, steps=steps) if r in new_name:
                return ar.read(new_name[r], node.axes, node.kind, steps)
            case _:
                return None

    registers = [r for r in of.registers if r.name in needed and r.name not in fixed]
    sources = ar.substitute([r.source for r in registers], leaf)
    values = ar.substitute([o.value for o in kept], leaf)
    inside = n.postorder([*sources, *values, *(r.init for r in registers)])
    read = {x.name for x in inside if isinstance(x, n.Input | n.Param)}
    ports = [replace(p, name=new_name.get(p.name, p.name)) for p in of.inputs]
    made = [Port(new_name[r.name], r.axes, r.kind) for r in of.registers if r.name in fixed]
    derived = replace(
        of,
        name=f"{graph.name}_tangent",
        inputs=tuple(p for p in ports if p.name in read),
        params=tuple(p for p in (*of.params, *made) if p.name in read),
        registers=tuple(
            replace(r, name=new_name.get(r.name, r.name), source=s) for r, s in zip(registers, sources, strict=True)
        ),
        outputs=tuple(replace(o, name=new_name[o.name], value=v) for o, v in zip(kept, values, strict=True)),
    )
    verify(derived, "tangent")
    return Tangent(derived, inputs, params, outputs, states, (*first.constants, *second.constants))
