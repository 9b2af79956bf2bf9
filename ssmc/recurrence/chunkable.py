"""Which matrix states the chunked form can compute, and the readouts it computes."""

from __future__ import annotations

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


def chunked_reason(analysis: Analysis, component: Component) -> str | None:
    """Why the form chunked is not legal, or None if it is."""
    if component.algebra not in ("affine", "stabilised"):
        return "the update is not affine in the state"
    form = matrix_form(analysis, component)
    if isinstance(form, str):
        return form
    for part, what in ((form.alpha, "rows"), (form.beta, "columns")):
        if part is not None and part.log is None:
            return f"the decay along the {what} is not provably positive: it has no logarithm (write it as exp, sigmoid, …)"
    if isinstance(chunked_readings(analysis, component, form), Node):
        return "the whole matrix state of every step is used, not only sums over its rows or columns"
    return None


