"""A running sum of which only the last value is wanted: each chunk adds its sum, and no step is taken.

before   g = g + x * y[D -> E]          read by nothing but itself (a gradient of a param, a count)
after    g = g + sum over the chunk of x * y        a matrix product, where x and y have different axes
"""

from __future__ import annotations

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.recurrence.nodes import Component
from ssmc.step.nodes import StepGraph, reads_of


def addend(graph: StepGraph, component: Component) -> Node | None:
    """What a step adds, where the component is such a sum."""
    if len(component.registers) != 1:
        return None
    register = graph.register[component.registers[0]]
    source = register.source
    before = graph.arena.read(register.name, register.axes, register.kind)
    if not (isinstance(source, n.Map) and source.op == "add" and before in source.args):
        return None
    added = source.args[1 - source.args.index(before)]
    others = [r.source for r in graph.registers if r is not register] + [o.value for o in graph.outputs]
    used = n.postorder([added, *others])
    if source in used or any(register.name in reads_of(x) for x in used):
        return None
    return added
