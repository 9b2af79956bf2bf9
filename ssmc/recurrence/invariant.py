"""Diagonal time-invariant components: the decay, the drives, and the readouts that a convolution can compute."""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.readout import Tap, taps
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


def invariant_readings(analysis: Analysis, component: Component) -> tuple[Tap, ...] | Node:
    """The component's taps with time-invariant coefficients under the sum, or the expression that has none."""

    return taps(analysis, component, lambda reading: is_invariant(reading.right))


def conv_reason(analysis: Analysis, component: Component) -> str | None:
    """Why the form conv is not legal, or None if it is."""
    if component.algebra != "affine":
        return "the update is not affine in the state"
    if component.time != "invariant":
        return "the decay is not the same at every step" if component.time == "data" else "the decay depends on t"
    if len(component.registers) != 1:
        return "several states are coupled"
    if analysis.graph.register[component.registers[0]].kind not in ("real", "complex"):
        return "the state is an integer: a convolution would round it"
    ((_, form),) = component.affine
    if any(t.mixed for t in form.terms):
        return "the transition is not diagonal"
    if isinstance(invariant_readings(analysis, component), Node):
        return "the state of every step is used in a way that is not a fixed linear readout"
    return None
