"""What the step graph has and the language has no word for, in other words.

cumprod, and cumsum from the end     a product or a sum over a second copy of the axis, masked
phi_k(x)                             a macro: a series near 0, (phi_{k-1}(x) - 1/(k-1)!)/x elsewhere
"""

from __future__ import annotations

import math
from dataclasses import replace

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.step.nodes import StepGraph
from ssmc.step.squares import new_axis

TERMS = 18  # of the series, for |x| < 1: as many as double precision asks for


def phi_name(order: int) -> str:
    return f"phi{order}"


def phi_macro(order: int) -> str:
    """phi_k(x), the sum over j of x**j / (j + k)!, as a function of the language; it calls phi_{k-1}."""
    series = "0"
    for j in range(TERMS, 0, -1):
        series = f"x/{j + order}*(1 + {series})" if series != "0" else f"x/{j + order}"
    below = "exp(x)" if order == 1 else f"{phi_name(order - 1)}(x)"
    factorial = math.factorial(order - 1)
    far = f"({below} - 1/{factorial})/where(abs(x) < 1, 1, x)"
    return f"{phi_name(order)}(x) = where(abs(x) < 1, (1 + {series})/{math.factorial(order)}, {far})"


def spelled(graph: StepGraph) -> StepGraph:
    """The graph without running products and without running sums from the end."""
    ar = graph.arena
    axes = list(graph.axes)
    copies: dict[str, str] = {}

    def copy(axis: str) -> str:
        if axis not in copies:
            copies[axis] = new_axis(ar, axes, f"{axis}_other", ar.size(axis))
        return copies[axis]

    done: dict[Node, Node] = {}

    def rebuilt(root: Node) -> Node:
        for node in n.postorder([root]):
            if node in done:
                continue
            kids = [done[c] for c in n.children(node)]
            if isinstance(node, n.Cumulative) and (node.op == "prod" or node.reverse):
                other = copy(node.axis)
                here, there = ar.index(node.axis), ar.index(other)
                seen = ar.map("ge" if node.reverse else "le", there, here)
                identity = ar.const(1.0 if node.op == "prod" else 0.0)
                moved = ar.rename(kids[0], {node.axis: other})
                new = ar.reduce(node.op, ar.where(seen, moved, identity), (other,))
            else:
                new = ar.rebuild(node, kids)
            done[node] = ar.noted(new, node)
        return done[root]

    registers = tuple(replace(r, source=rebuilt(r.source)) for r in graph.registers)
    outputs = tuple(replace(o, value=rebuilt(o.value)) for o in graph.outputs)
    return replace(graph, axes=tuple(axes), registers=registers, outputs=outputs, names=())
