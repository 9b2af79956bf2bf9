"""Which matrix states the chunked form can compute, and the readouts it computes."""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.expr.nodes import Node
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.readout import Reading, Tap, taps
from ssmc.recurrence.separable import MatrixForm, matrix_form


def chunked_readings(analysis: Analysis, component: Component, form: MatrixForm) -> tuple[Tap, ...] | Node:
    """The taps that sum the state over rows, or over columns, with weights that have no axis of the other side.

    Or the expression that uses the state in another way.
    """

    def accepts(reading: Reading) -> bool:
        mixed = set(reading.mixed)
        for side, other in ((form.rows, form.cols), (form.cols, form.rows)):
            if mixed and mixed <= set(side):
                return not any(a in other for a in reading.right.axes)
        return False

    return taps(analysis, component, accepts)


@dataclass(frozen=True)
class Refusal:
    """Why a form is not legal, and the expression at fault where one is."""

    reason: str
    node: Node | None = None


def chunkable(analysis: Analysis, component: Component) -> MatrixForm | Refusal:
    """The matrix form of a component that the chunked form can compute, or why it cannot."""
    if component.algebra not in ("affine", "stabilised"):
        return Refusal(f"its algebra is {component.algebra}, not affine")
    form = matrix_form(analysis, component)
    if isinstance(form, str):
        return Refusal(form)
    if analysis.graph.register[form.register].kind not in ("real", "complex"):
        return Refusal("the state is an integer: products with masks of floating point would round it")
    for part, side in ((form.alpha, "rows"), (form.beta, "columns")):
        if part is not None and part.log is None:
            why = f"the decay along the {side} has no provable logarithm: write it as exp, sigmoid, …"
            return Refusal(why, part.value)
    uses = chunked_readings(analysis, component, form)
    if isinstance(uses, Node):
        return Refusal("the matrix of every step is used whole", uses)
    return form
