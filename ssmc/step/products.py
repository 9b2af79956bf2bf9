"""Products: elementwise, `·`, `⊗` and `@`, and the products that have two readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssmc.expr.nodes import Axes, base_axis
from ssmc.source import Span
from ssmc.step import axes_rules, errors_axes, values
from ssmc.step.values import Result, Scope, Value, once
from ssmc.syntax import nodes as syn

if TYPE_CHECKING:
    from ssmc.step.elaborate import Elaborator

ELEMENTWISE = ("*", "/", "⊗")
SUMMING = ("·", "@")
Operand = tuple[Result, Span]


def product(el: Elaborator, e: syn.Binary, scope: Scope | None) -> Result:
    """One of `* / ⊗ · @`. A chain of them is read as the grammar has it, with each neighbour of a sum checked."""
    e = regrouped(e)
    if e.op in SUMMING:
        left, right = (el.eval(e.left, scope), e.left.span), (el.eval(e.right, scope), e.right.span)
        # a chain of `@` alone is associative; with `·` in it, the order of the sums matters
        axis = summed_axis(el, e.left, left) if "·" in (e.op, _op(e.left)) else None
        if axis is not None and right[0] is not None and axis in right[0].axes:
            inner = e.left
            assert isinstance(inner, syn.Binary)
            readings = (
                f"({_text(inner)}) {e.op} {_text(e.right)}",
                f"{_text(inner.left)} {inner.op} ({_text(inner.right)} {e.op} {_text(e.right)})",
            )
            el.error(errors_axes.AmbiguousProduct(right[1], axis, inner.span, *readings))
            return None
        return summing(el, left, right, e)
    # the operands of the chain, left to right, each with the operator before it
    chain: list[tuple[str, syn.Expr, Span]] = []
    here: syn.Expr = e
    while isinstance(here, syn.Binary) and here.op in ELEMENTWISE:
        here = regrouped(here)
        if here.op not in ELEMENTWISE:
            break
        chain.append((here.op, here.right, here.span))
        here = here.left
    chain.append(("", here, here.span))
    chain.reverse()
    operands: list[Operand] = [(el.eval(x, scope), x.span) for _, x, _ in chain]
    for i, (_, x, _) in enumerate(chain):
        if _op(x) in SUMMING and not check_neighbours(el, chain, operands, i):
            operands[i] = (None, x.span)
    result, at = operands[0]
    for (op, _, whole), operand in zip(chain[1:], operands[1:], strict=True):
        if op == "⊗":
            result = outer(el, (result, at), operand, whole)
        else:
            result = el.elementwise("mul" if op == "*" else "div", [(result, at), operand], whole, f"`{op}`")
        at = whole
    return result


def regrouped(e: syn.Binary) -> syn.Binary:
    """`d*(B@u)` for `(d*B)@u` without parentheses, as Python reads it: here `@` and `·` bind tighter than `*`."""
    while e.op in SUMMING and isinstance(e.left, syn.Binary) and e.left.op in ELEMENTWISE:
        inner = syn.Binary(e.op, e.left.right, e.right, e.op_span, e.left.right.span.to(e.right.span))
        e = syn.Binary(e.left.op, e.left.left, inner, e.left.op_span, e.span)
    return e


def _op(e: syn.Expr) -> str | None:
    return e.op if isinstance(e, syn.Binary) else None


def _text(e: syn.Expr) -> str:
    return e.span.text


def check_neighbours(el: Elaborator, chain: list[tuple[str, syn.Expr, Span]], operands: list[Operand], i: int) -> bool:
    """Whether the sum at place i of a product has one reading; if not, that is reported."""
    op, x, _ = chain[i]
    assert isinstance(x, syn.Binary)
    a, b = _text(x.left), _text(x.right)
    if op == "/":
        above = chain[i - 1][1]
        readings = (f"{_text(above)}/({_text(x)})", f"({_text(above)}/{a}) {x.op} {b}")
        el.error(errors_axes.AmbiguousQuotient(above.span.to(x.span), *readings))
        return False
    axis = summed_axis(el, x, operands[i])
    if axis is None:
        return True
    for j in (i - 1, i + 1):
        if not 0 <= j < len(chain):
            continue
        result, span = operands[j]
        if result is None or axis not in result.axes:
            continue
        between = chain[max(i, j)][0]
        near = _text(chain[j][1])
        if j < i:
            readings = (f"{near}{between}({_text(x)})", f"({near}{between}{a}) {x.op} {b}")
        else:
            readings = (f"({_text(x)}){between}{near}", f"{a} {x.op} ({b}{between}{near})")
        el.error(errors_axes.AmbiguousProduct(span, axis, x.span, *readings))
        return False
    return True


def summed_axis(el: Elaborator, x: syn.Expr, result: Operand) -> str | None:
    """The axis that an unparenthesised `a · b` or `a @ b` has just summed."""
    return el.summed.get(id(x)) if _op(x) in SUMMING and result[0] is not None else None


# -- the products --------------------------------------------------------------------------------------------------


def named(el: Elaborator, e: syn.Call, scope: Scope | None) -> Result:
    """`dot(a, b)` and `outer(a, b)`."""
    left, right = ((el.eval(a, scope), a.span) for a in e.args)
    if e.function.text == "outer":
        return outer(el, left, right, e.span)
    return contraction(el, left, right, e.function.span, e.span)[0]


def summing(el: Elaborator, left: Operand, right: Operand, e: syn.Binary) -> Result:
    f = contraction if e.op == "·" else matrix_product
    result, axis = f(el, left, right, e.op_span, e.span)
    if axis is not None:
        el.summed[id(e)] = axis
    return result


def outer(el: Elaborator, left: Operand, right: Operand, span: Span) -> Result:
    """`k ⊗ v`: the elementwise product of values that share no axis, `each` axes aside."""
    (a, at), (b, bt) = left, right
    if a is None or b is None:
        return el.elementwise("mul", [left, right], span, "`⊗`")
    shared = tuple(x for x in once(a.axes) if x in b.axes and x not in el.d.each)
    if shared:
        el.error(errors_axes.OuterShared(at.to(bt), at, a.axes, bt, b.axes, shared))
        return None
    return el.elementwise("mul", [left, right], span, "`⊗`")


def contraction(el: Elaborator, left: Operand, right: Operand, op_span: Span, span: Span) -> tuple[Result, str | None]:
    """`a · b`: multiply, and sum over the one axis that both have."""
    (a, at), (b, bt) = left, right
    if a is None or b is None:
        return None, None
    common = tuple(x for x in once(a.axes) if x in b.axes)
    shared = tuple(x for x in common if x not in el.d.each)
    for v, s in ((a, at), (b, bt)):
        for x in v.squares:
            if x in shared:
                el.error(errors_axes.SquareDot(s, x))
                return None, None
    if not shared:
        el.error(errors_axes.NoSharedAxis(op_span, at, a.axes, bt, b.axes, common))
        return None, None
    if len(shared) > 1:
        el.error(errors_axes.ManySharedAxes(op_span, at, a.axes, bt, b.axes, shared))
        return None, None
    both = el.elementwise("mul", [left, right], span, "`·`")
    if both is None:
        return None, None
    return axes_rules.reduced(el, "sum", both, shared, ordered(el, a.axes, b.axes, shared)), shared[0]


def ordered(el: Elaborator, a: Axes, b: Axes, gone: Axes) -> Axes:
    """The axes of a product that was summed: the order of an operand that has them all, else canonical."""
    result = {x for x in (*a, *b) if x not in gone}
    for p in (a, b):
        kept = tuple(x for x in p if x in result)
        if len(kept) == len(result):
            return kept
    return el.arena.sorted_axes(result)


def matrix_product(
    el: Elaborator, left: Operand, right: Operand, op_span: Span, span: Span
) -> tuple[Result, str | None]:
    """`A @ x`: sum A's last axis with x's axis of that name; `h @ A` with a square A is `transpose(A) @ h`."""
    (a, at), (b, bt) = left, right
    if a is None or b is None:
        return None, None
    for axis in reversed(b.squares):
        if axis in a.axes and axis not in a.squares:
            turned = Value(el.at(span).rename(b.node, {axis: f"{axis}'", f"{axis}'": axis}), b.axes, b.past)
            return square_product(el, axis, (turned, bt), (a, at), span), axis
    for axis in reversed(a.squares):
        if axis in b.axes:
            # whatever stands last: the rows of the one and the one axis of the other could not be joined elementwise
            return square_product(el, axis, (a, at), (b, bt), span), axis
    if not a.axes:
        el.error(errors_axes.MatrixScalar(at))
        return None, None
    last = a.axes[-1]
    if last not in b.axes:
        el.error(errors_axes.MatrixAxis(op_span, at, a.axes, bt, b.axes, base_axis(last)))
        return None, None
    both = el.elementwise("mul", [left, right], span, "`@`")
    if both is None:
        return None, None
    return axes_rules.reduced(el, "sum", both, (last,), ordered(el, a.axes, b.axes, (last,))), last


def square_product(el: Elaborator, axis: str, matrix: Operand, x: Operand, span: Span) -> Result:
    """The sum over the columns of `matrix`, square in `axis`, with the rows of x."""
    (a, at), (b, bt) = matrix, x
    assert a is not None
    assert b is not None
    ar = el.at(span)
    columns = inner = f"{axis}'"
    if columns in b.axes:
        # two matrices: the columns of the first meet the rows of the second under a third copy of the axis
        inner = f"{axis}''"
        a = Value(ar.rename(a.node, {columns: inner}), tuple(inner if y == columns else y for y in a.axes), a.past)
    other = Value(ar.rename(b.node, {axis: inner}), tuple(inner if y == axis else y for y in b.axes), b.past)
    if not axes_rules.squares_agree(el, [(a, at), (other, bt)]):
        return None
    node = ar.contract(a.node, other.node, (inner,))
    order = b.axes if set(b.axes) == set(node.axes) else ordered(el, a.axes, other.axes, (inner,))
    return Value(node, order, values.merge(ar, [a.past, b.past]))
