"""Diagonal time-invariant components: the readouts that a convolution can compute."""

from __future__ import annotations

from ssmc.expr.magnitude import magnitude
from ssmc.expr.nodes import Node
from ssmc.expr.ranges import Ranges
from ssmc.recurrence.drives import is_invariant, transition
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.readout import Tap, taps
from ssmc.step.nodes import StepGraph


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


def provably_stable(graph: StepGraph, component: Component) -> bool:
    """Whether the decay's absolute value is at most 1 for every value of the parameters.

    An FFT rounds relative to the largest value of the sequence: where states grow, the early ones are lost in it.
    """
    return magnitude(transition(graph, component), Ranges()) <= 1.0
