"""Operations on axes: squares, reductions, `softmax`, `cumsum`, renaming, picking, shifting, `transpose`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ssmc.expr.nodes import Axes, Node
from ssmc.source import Span
from ssmc.step import errors_axes, errors_kinds, errors_time, values
from ssmc.step.values import Masks, Result, Scope, Value
from ssmc.syntax import nodes as syn

if TYPE_CHECKING:
    from ssmc.step.elaborate import Elaborator

HUGE = 2**62  # beyond every int of a spec: the identity of min over ints


def squares_agree(el: Elaborator, args: Sequence[tuple[Value, Span]]) -> bool:
    """Whether values may be joined elementwise: none has once what another has as rows and columns."""
    for v, span in args:
        for axis in v.squares:
            for other, at in args:
                if axis in other.axes and axis not in other.squares:
                    el.error(errors_axes.SquareMixed(at, axis, span))
                    return False
    return True


def has_axis(el: Elaborator, v: Value, axis: str, bracket: Span, operand: Span, operation: str) -> bool:
    """Whether an operation along `axis` of v is legal; if not, that is reported."""
    if axis not in v.axes:
        el.error(errors_axes.MissingAxis(bracket, axis, operation, operand, v.axes))
        return False
    if axis in v.squares:
        el.error(errors_axes.SquareOperation(operand, axis, operation))
        return False
    return True


# -- steps that are not there yet ----------------------------------------------------------------------------------


def since_start(el: Elaborator, axis: str) -> Node:
    """Which positions of `past[axis]` hold a step since the start."""
    ar = el.arena
    if axis in el.growing:
        return ar.map("lt", ar.index(axis), ar.time())
    return ar.map("ge", ar.index(axis), ar.sub(ar.size(axis), ar.time()))


def masks_of(el: Elaborator, v: Value) -> Masks:
    """The masks of a value. Along an axis that grows every value has one: buffers may be longer than the past."""
    known = {a for a, _ in v.past}
    return (*v.past, *((a, since_start(el, a)) for a in v.axes if a in el.growing and a not in known))


def touching(el: Elaborator, v: Value, over: Sequence[str]) -> Masks:
    """The masks of v that a reduction over these axes has to do with; a past of a past has masks over both axes."""
    return tuple((a, m) for a, m in masks_of(el, v) if a in over or set(m.axes) & set(over))


def masked(el: Elaborator, v: Value, over: Sequence[str], identity: Node) -> Node:
    """v with `identity` in place of steps before the start."""
    mask = values.conjunction(el.arena, (m for _, m in touching(el, v, over)))
    return v.node if mask is None else el.arena.where(mask, v.node, identity)


# -- reductions ----------------------------------------------------------------------------------------------------


def reduced(el: Elaborator, op: str, v: Value, over: Axes, order: Axes | None = None) -> Value:
    """A reduction of the operator table, steps before the start left out."""
    ar = el.arena
    if touching(el, v, over):
        node = v.node
        if node.kind == "bool" and op in ("sum", "prod", "max", "min"):
            node = ar.cast(node, "int")
        low: int | float = -HUGE if node.kind == "int" else -math.inf
        identity = {"sum": 0, "prod": 1, "max": low, "min": -low, "any": False, "all": True, "logsumexp": -math.inf}
        v = replace(v, node=masked(el, replace(v, node=node), over, ar.const(identity[op])))
    axes = order if order is not None else tuple(a for a in v.axes if a not in over)
    return Value(ar.reduce(op, v.node, over), axes, values.without(ar, v.past, over))


def over_axes(el: Elaborator, e: syn.Call, arg: tuple[Result, Span], scope: Scope | None) -> Result:
    """`sum[K, V](e)` and its like, `softmax[N](e)`, `cumsum[N](e)`."""
    assert e.axes is not None
    over = el.bracket(e.axes, scope)
    v, span = arg
    if over is None or v is None:
        return None
    name = e.function.text
    wrong = [a for a, i in zip(over, e.axes, strict=True) if not has_axis(el, v, a, i.span, span, f"`{name}` over")]
    if wrong:
        return None
    if name in ("any", "all") and v.kind != "bool":
        el.error(errors_kinds.NotBool(span, f"`{name}`", v.kind))
        return None
    if name in ("max", "min", "logsumexp", "softmax") and v.kind == "complex":
        el.error(errors_kinds.ComplexOperand(span, f"`{name}`"))
        return None
    ar = el.at(e.span)
    match name:
        case "mean":
            total = reduced(el, "sum", v, over)
            return replace(total, node=ar.div(total.node, count(el, v, over)))
        case "norm":
            size = v.node if v.kind != "complex" else ar.map("abs", v.node)
            total = reduced(el, "sum", replace(v, node=ar.mul(size, size)), over)
            # of zeros, the gradient is 0 as in torch, not 0/0
            zero = ar.map("eq", total.node, ar.const(0.0))
            root = ar.map("sqrt", ar.where(zero, ar.const(1.0), total.node))
            return replace(total, node=ar.where(zero, ar.const(0.0), root))
        case "softmax":
            low = replace(v, node=masked(el, v, over, ar.const(-math.inf)))
            total = reduced(el, "logsumexp", low, over)
            return replace(v, node=ar.exp(ar.sub(low.node, total.node)))
        case "cumsum":
            return replace(v, node=ar.cumulative("sum", masked(el, v, over, ar.const(0)), over[0]))
        case _:
            return reduced(el, name, v, over)


def count(el: Elaborator, v: Value, over: Axes) -> Node:
    """How many elements a mean is over: the sizes; of an axis of earlier steps, those since the start."""
    ar = el.arena
    masks = dict(touching(el, v, over))
    if all(a in over and m is since_start(el, a) for a, m in masks.items()):
        held = {a: ar.time() if a in el.growing else ar.map("min", ar.time(), ar.size(a)) for a in masks}
        return ar.product(held.get(a, ar.size(a)) for a in over)
    both = values.conjunction(ar, masks.values())
    assert both is not None
    counted = tuple(a for a in over if a in both.axes)
    there = ar.reduce("sum", ar.cast(both, "int"), counted)
    return ar.product([ar.map("max", there, ar.const(1)), *(ar.size(a) for a in over if a not in counted)])


# -- the axes themselves -------------------------------------------------------------------------------------------


def rename(el: Elaborator, e: syn.Renamed, v: Result, scope: Scope | None) -> Result:
    """`e[K -> J]`, several at once; each pair is an equation between two sizes."""
    olds = el.bracket([old for old, _ in e.pairs], scope)
    news = el.bracket([new for _, new in e.pairs], scope)
    if v is None or olds is None or news is None:
        return None
    for old, (at, _) in zip(olds, e.pairs, strict=True):
        if not has_axis(el, v, old, at.span, e.operand.span, "renaming"):
            return None
    for old, new, (_, at) in zip(olds, news, e.pairs, strict=True):
        if new in v.axes and new not in olds:
            el.error(errors_axes.RenameTaken(at.span, new, e.operand.span, v.axes))
            return None
        if not equal_sizes(el, old, new, at.span):
            return None
    ar = el.at(e.span)
    pairs = dict(zip(olds, news, strict=True))
    past = tuple((pairs.get(a, a), ar.rename(m, pairs)) for a, m in v.past)
    return Value(ar.rename(v.node, pairs), tuple(pairs.get(a, a) for a in v.axes), past)


def equal_sizes(el: Elaborator, old: str, new: str, span: Span) -> bool:
    """Record that two axes have one size; report it where they cannot."""
    if old == new:
        return True
    sizes = [constant_size(el, a) for a in (old, new)]
    if sizes[0] is not None and sizes[1] is not None and sizes[0] != sizes[1]:
        el.error(errors_axes.SizesDiffer(span, old, new, sizes[0], sizes[1]))
        return False
    if old in el.growing:
        if el.d.axes[new].size is not None or el.d.fixed_by_tensor(new):
            el.error(errors_time.GrowingRenamed(span, old, new))
            return False
        el.grows.add(new)
    el.equations[(old, new)] = None
    return True


def constant_size(el: Elaborator, axis: str) -> int | None:
    size = el.d.axes[axis].size
    while isinstance(size, syn.Paren):
        size = size.operand
    return size.value if isinstance(size, syn.Number) and isinstance(size.value, int) else None


def pick(el: Elaborator, e: syn.Pick, v: Result, scope: Scope | None) -> Result:
    """`e[J = 0]`: one element, and the axis drops."""
    axis = el.axis(e.axis, scope)
    if axis is None or v is None or not has_axis(el, v, axis, e.axis.span, e.operand.span, "picking from"):
        return None
    size = constant_size(el, axis)
    if size is not None and not -size <= e.index < size:
        el.error(errors_axes.PickRange(e.axis.span.to(e.span), axis, e.index, size))
        return None
    ar = el.at(e.span)
    if axis in el.growing:
        # the last element is this step's; a position that no step has taken yet holds zero
        place = ar.const(e.index) if e.index >= 0 else ar.add(ar.time(), ar.const(e.index))
        there = ar.map("eq", ar.index(axis), place)
        zero = ar.const(False) if v.kind == "bool" else ar.const(0)
        only = replace(v, node=ar.where(there, v.node, zero))
        return reduced(el, "any" if v.kind == "bool" else "sum", only, (axis,))
    past = tuple((a, ar.pick(m, axis, e.index) if axis in m.axes else m) for a, m in v.past if a != axis)
    return Value(ar.pick(v.node, axis, e.index), tuple(a for a in v.axes if a != axis), past)


def shift(el: Elaborator, e: syn.Call, v: Result, scope: Scope | None) -> Result:
    """`shift[N](e, k)`: moved by k along the axis, zero filled; nothing from before the start moves in."""
    assert e.axes is not None
    axis = el.axis(e.axes[0], scope)
    steps = 1 if len(e.args) == 1 else integer(el, e.args[1], "the distance of `shift`", "a whole number")
    if axis is None or v is None or steps is None:
        return None
    if not has_axis(el, v, axis, e.axes[0].span, e.args[0].span, "`shift` along"):
        return None
    ar = el.at(e.span)
    zero = ar.const(False) if v.kind == "bool" else ar.const(0)
    return replace(v, node=ar.shift(masked(el, v, (axis,), zero), axis, steps))


def integer(el: Elaborator, e: syn.Expr, what: str, wanted: str, least: int | None = None) -> int | None:
    """An integer literal, signed."""
    inner, sign = e, 1
    while isinstance(inner, syn.Paren | syn.Unary) and (isinstance(inner, syn.Paren) or inner.op == "-"):
        sign = -sign if isinstance(inner, syn.Unary) else sign
        inner = inner.operand
    if isinstance(inner, syn.Number) and isinstance(inner.value, int):
        number = sign * inner.value
        if least is None or number >= least:
            return number
    el.error(errors_kinds.IntegerLiteral(e.span, what, wanted))
    return None


def transpose(el: Elaborator, e: syn.Call, arg: tuple[Result, Span]) -> Result:
    v, span = arg
    if v is None:
        return None
    if not v.squares:
        el.error(errors_axes.NotSquare(span, v.axes))
        return None
    axis = v.squares[-1]
    ar = el.at(e.span)
    return replace(v, node=ar.rename(v.node, {axis: f"{axis}'", f"{axis}'": axis}))
