"""What the forms that do not run an update as it is written start from: the parts of its affine map.

A diagonal time-invariant update is a decay and drives, a matrix state is a decay and outer products, a prefix has an
element. These parts are expressions made anew from the update: a value of another component that the update reads may
stand in them with other factors than it has there.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.separable import MatrixForm, matrix_form
from ssmc.step.nodes import StepGraph


@dataclass(frozen=True)
class Drive:
    """One product of the update's constant part: `factor` of parameters only, `signal` the rest."""

    factor: Node
    signal: Node


def is_invariant(node: Node) -> bool:
    """Whether a value is the same at every step: parameters, constants, sizes and indices only."""
    return all(
        isinstance(x, n.Const | n.Param | n.Size | n.Index | n.Table) for x in n.postorder([node]) if not n.children(x)
    ) and not any(isinstance(x, n.Window | n.History | n.Read) for x in n.postorder([node]))


def transition(graph: StepGraph, component: Component) -> Node:
    """The diagonal coefficient of the state."""
    ar = graph.arena
    ((_, form),) = component.affine
    return ar.total(ar.mul(t.left, t.right) for t in form.terms) if form.terms else ar.const(0.0)


def drives(graph: StepGraph, component: Component) -> tuple[Drive, ...]:
    """The constant part of the update as a sum of invariant factors times signals."""
    ((_, form),) = component.affine
    if form.constant is None:
        return ()
    ar = graph.arena
    found: dict[Node, list[Node]] = {}
    for sign, product in _sum(form.constant, 1):
        fixed = [f for f in product if is_invariant(f)]
        signal = ar.product([f for f in product if not is_invariant(f)])
        factor = ar.product([ar.const(float(sign)), *fixed]) if fixed or sign < 0 else ar.const(1.0)
        found.setdefault(signal, []).append(factor)
    return tuple(Drive(ar.total(factors), signal) for signal, factors in found.items())


def _sum(node: Node, sign: int) -> list[tuple[int, list[Node]]]:
    """A sum of products: the addends with their signs, each as its factors."""
    if isinstance(node, n.Map):
        match node.op:
            case "add":
                return _sum(node.args[0], sign) + _sum(node.args[1], sign)
            case "sub":
                return _sum(node.args[0], sign) + _sum(node.args[1], -sign)
            case "neg":
                return _sum(node.args[0], -sign)
    return [(sign, _factors(node))]


def _factors(node: Node) -> list[Node]:
    if isinstance(node, n.Map) and node.op == "mul":
        return [*_factors(node.args[0]), *_factors(node.args[1])]
    if isinstance(node, n.Map) and node.op.startswith("cast_") and isinstance(node.args[0], n.Map):
        return _factors(node.args[0])
    return [node]


def parts(analysis: Analysis, component: Component) -> tuple[Node, ...]:
    """All expressions that some form of a component computes at every step in place of its sources."""
    found: list[Node] = list(component.monoid.element) if component.monoid is not None else []
    for _, form in component.affine:
        found += [x for t in form.terms for x in (t.left, t.right)]
        found += [form.constant] if form.constant is not None else []
    if len(component.affine) == 1:
        found += [d.signal for d in drives(analysis.graph, component)]
        matrix = matrix_form(analysis, component)
        if isinstance(matrix, MatrixForm):
            found += [x for w in matrix.writes for x in (w.k, w.v)]
            found += [d.value for d in (matrix.scalar, matrix.alpha, matrix.beta) if d is not None]
    return tuple(found)
