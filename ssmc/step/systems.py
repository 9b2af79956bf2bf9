"""`solve[N, M](A, b)`: the x with A @ x = b, where A has the rows N and the columns M.

Not reserved: a spec may have a function of that name, which it then means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssmc.expr.nodes import Axes
from ssmc.source import Span
from ssmc.step import axes_rules, errors_axes
from ssmc.step.values import Result, Scope, Value
from ssmc.syntax import nodes as syn

if TYPE_CHECKING:
    from ssmc.step.elaborate import Elaborator


def solve(el: Elaborator, e: syn.Call, args: list[tuple[Result, Span]], scope: Scope | None) -> Result:
    """`solve[N](A, b)` of a square A, `solve[N, M](A, b)` of any other; the result has b's axes and A's others."""
    assert e.axes is not None
    found = el.bracket(e.axes, scope)
    (matrix, matrix_at), (right, right_at) = args
    if found is None or matrix is None or right is None:
        return None
    row = found[0]
    if len(found) == 1:
        if row not in matrix.squares:
            el.error(errors_axes.SystemNotSquare(matrix_at, row, matrix.axes))
            return None
        col = f"{row}'"
    else:
        col = found[1]
        for axis, at in zip(found, e.axes, strict=True):
            if not axes_rules.has_axis(el, matrix, axis, at.span, matrix_at, "`solve` over"):
                return None
        if not axes_rules.equal_sizes(el, row, col, e.axes[1].span):
            return None
    if not axes_rules.has_axis(el, right, row, e.axes[0].span, right_at, "`solve` over"):
        return None
    if col in right.axes:
        el.error(errors_axes.ColumnsInRight(right_at, col, right.axes))
        return None
    ar = el.at(e.span)
    zero = ar.const(0)
    parts = [axes_rules.masked(el, matrix, (row, col), zero), axes_rules.masked(el, right, (row,), zero)]
    left, b = (x if x.kind == "complex" else ar.cast(x, "real") for x in parts)
    node = ar.solve(left, b, row, col)
    past = tuple(m for m in (*matrix.past, *right.past) if m[0] in node.axes and m[0] != row)
    return Value(node, _axes(node.axes, right.axes), past)


def _axes(axes: Axes, right: Axes) -> Axes:
    return right if set(right) == set(axes) else axes
