"""The stabilised pair: an affine component whose decay is measured against a running maximum.

Exponential gates are kept finite by a running maximum m = max(w + m_before, i), and the decay is exp(w + m_before - m).
It does not depend on the component itself, so the component is affine; with m it forms the associative pair

    (w, m, x)    w' = w1 + w2,   m' = max(m1 + w2, m2),   x' = exp(m1 + w2 - m') x1 + exp(m2 - m') x2

whose coefficients never exceed one. Found by structure: a factor exp(e) with e = … + Read(m) - (m of this step).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node, postorder
from ssmc.recurrence.nodes import Component
from ssmc.step.nodes import StepGraph

_MAXIMA = ("maxplus", "minplus")


def stabiliser_of(graph: StepGraph, done: Mapping[str, Component], coefficients: Iterable[Node]) -> str | None:
    """The register that the coefficients are scaled by, or None."""
    for node in postorder(list(coefficients)):
        if not (isinstance(node, n.Map) and node.op == "exp"):
            continue
        plus, minus = _summands(node.args[0])
        for term in plus:
            name = term.register if isinstance(term, n.Read) else ""
            if name in done and done[name].algebra in _MAXIMA and graph.register[name].source in minus:
                return name
    return None


def _summands(node: Node) -> tuple[list[Node], list[Node]]:
    """The operands of a sum that count positively, and those that count negatively."""
    sides: tuple[list[Node], list[Node]] = ([], [])
    stack = [(node, 0)]
    while stack:
        x, sign = stack.pop()
        match x:
            case n.Map(op="add", args=(a, b)):
                stack += [(a, sign), (b, sign)]
            case n.Map(op="sub", args=(a, b)):
                stack += [(a, sign), (b, 1 - sign)]
            case n.Map(op="neg", args=(a,)):
                stack.append((a, 1 - sign))
            case _:
                sides[sign].append(x)
    return sides
