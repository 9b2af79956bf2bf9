"""`prev`, `next`, `conv`, `transfer`, `past`: every one becomes a read of a register.

The type of a delayed expression is needed where it is read, and may depend on that very read: it is `assumed`, and what
this round finds is compared with it afterwards (build.py). A `Site` is one place that asks for a delay line; places
whose delayed expressions turn out equal share a register.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Kind, Node, base_axis
from ssmc.expr.ops import join_kinds
from ssmc.source import Span
from ssmc.step import axes_rules, errors_axes, errors_time, products, values
from ssmc.step.declarations import Declared
from ssmc.step.nodes import Depth, Origin
from ssmc.step.values import Masks, Result, Scope, Value
from ssmc.syntax import nodes as syn

if TYPE_CHECKING:
    from ssmc.step.elaborate import Elaborator

SiteKey = tuple[int, ...]


@dataclass(frozen=True)
class Assumed:
    """What the round before found of a site: its register, and the masks of `past` as they are in its source.

    `same` says that the delayed expression means at its place what it means at the end of the step.
    """

    register: str
    axes: Axes
    kind: Kind
    past: Masks
    same: bool


@dataclass
class Site:
    """A place of the text that delays an expression. `state` is set where that is a bare state.

    With `own` the line holds what the state was at the start of each step, so that it begins with the state that the
    caller gave. `here` is the expression as it is at this place. The rest is found at the end of the round.
    """

    key: SiteKey
    origin: Origin
    reverse: bool
    arg: syn.Expr
    scope: Scope | None
    init: syn.Expr | None
    depth: Depth
    name: str
    span: Span
    state: Declared | None = None
    own: bool = False
    here: Node | None = None
    source: Value | None = None
    start: Node | None = None


@dataclass(frozen=True)
class Line:
    """A register whose source is known at once: of `transfer` (in direct form II) and `past`."""

    name: str
    origin: Origin
    axes: Axes
    kind: Kind
    source: Node
    depth: Depth
    span: Span


def key_of(e: syn.Expr, scope: Scope | None) -> SiteKey:
    return (*(scope.path if scope else ()), id(e))


def bare(e: syn.Expr, scope: Scope | None) -> str | None:
    """The name of the spec that an expression is, parentheses and formals looked through."""
    while True:
        match e:
            case syn.Paren(operand):
                e = operand
            case syn.Name(name) if scope is not None and name in scope.args:
                e, scope = scope.args[name]
            case syn.Name(name):
                return name
            case _:
                return None


def grows(el: Elaborator, v: Value, span: Span, what: str) -> bool:
    """Whether a value has an axis of all steps so far, which no register can hold; reported."""
    for a in v.axes:
        if a in el.growing:
            el.error(errors_time.GrowingDelay(span, a, what))
            return True
    return False


# -- prev and next -------------------------------------------------------------------------------------------------


def prev_or_next(el: Elaborator, e: syn.Call, scope: Scope | None) -> Result:
    """`prev(e, k, init)` and `next`; `prev` of a bare state follows the state's direction."""
    function = e.function.text
    what = f"the number of steps of `{function}`"
    steps = axes_rules.integer(el, e.args[1], what, "a whole number, at least 1", 1) if len(e.args) > 1 else 1
    init = e.args[2] if len(e.args) > 2 else None
    name = bare(e.args[0], scope)
    state = el.d.state(name) if name is not None else None
    if steps is None or (state is not None and state.axes is None):
        return None
    ar = el.at(e.span)
    ahead = function == "next"
    # what the step began with: `prev` of a state, and `next` of one that runs from the last step to the first
    if state is not None and (state.reverse or not ahead) and init is None:
        assert state.axes is not None
        el.used.add(state.name)
        if steps == 1:
            return values.value(ar.read(state.name, state.axes, state.kind))
        # a line of what the state was at the start of each step: it then begins with the state that the caller gave
        site = Site(key_of(e, scope), "prev", state.reverse, e.args[0], scope, None, Depth(steps - 1), state.name,
                    e.span, state, own=True)  # fmt: skip
        el.sites.setdefault(site.key, site)
        known = el.assumed.get(site.key)
        return None if known is None else values.value(ar.read(known.register, known.axes, known.kind, steps - 1))
    reverse = ahead or (state is not None and state.reverse)
    site = Site(key_of(e, scope), "next" if ahead else "prev", reverse, e.args[0], scope, init, Depth(steps),
                name or el.owner, e.span)  # fmt: skip
    el.sites.setdefault(site.key, site)
    known = el.assumed.get(site.key)
    if known is None:
        return None
    then = ar.add(ar.time(), ar.const(steps)) if reverse else ar.sub(ar.time(), ar.const(steps))
    return Value(
        ar.read(known.register, known.axes, known.kind, steps), known.axes, values.delayed(ar, known.past, then)
    )


# -- conv ----------------------------------------------------------------------------------------------------------


def varying(el: Elaborator, v: Value) -> str | None:
    """Why a value is not the same at every step, or None."""
    for node in n.postorder([v.node]):
        match node:
            case n.Input(name=name):
                return f"`{name}` is an input"
            case n.Read(register=name) | n.Window(register=name) | n.History(register=name):
                return f"`{name}` changes from step to step" if el.d.state(name) else "holds earlier steps"
            case n.Local(name=name) if name.endswith("'"):
                return f"`{name[:-1]}` is a state"
            case n.Time():
                return "`t` is the step number"
            case _:
                pass
    return None


def weights(el: Elaborator, e: syn.Expr, v: Value, function: str, argument: str) -> str | None:
    """The last axis of convolution weights or coefficients; what is wrong with them is reported."""
    why = varying(el, v)
    if why is not None:
        el.error(errors_time.CoefficientsVary(e.span, f"{argument} of `{function}`", why))
        return None
    if not v.axes:
        el.error(errors_axes.WeightsAxis(e.span, function, argument))
        return None
    if v.axes[-1] != base_axis(v.axes[-1]):
        el.error(errors_axes.SquareOperation(e.span, base_axis(v.axes[-1]), f"`{function}` over"))
        return None
    return v.axes[-1]


def conv(el: Elaborator, e: syn.Call, scope: Scope | None) -> Result:
    """`conv(x, w)`: the sum over w's last axis of w times x that many steps before."""
    x, w = ((el.eval(a, scope), a.span) for a in e.args)
    name = bare(e.args[0], scope)
    state = el.d.state(name) if name is not None else None
    if w[0] is None:
        return None
    axis = weights(el, e.args[1], w[0], "conv", "the weights")
    if axis is None or x[0] is None:
        return None
    if axis in x[0].axes:
        el.error(errors_axes.DelayedHasAxis(x[1], "conv", axis, w[1]))
        return None
    if grows(el, x[0], x[1], "the line that `conv` delays"):
        return None
    ar = el.at(e.span)
    site = Site(key_of(e, scope), "conv", state.reverse if state else False, e.args[0], scope, None, Depth(0, axis),
                name or el.owner, e.span, state, state is not None, x[0].node)  # fmt: skip
    el.sites.setdefault(site.key, site)
    known = el.assumed.get(site.key)
    register = known.register if known is not None else f"#{len(el.sites)}"
    if state is not None:
        assert state.axes is not None
        begun = ar.read(state.name, state.axes, state.kind)
        window = since(el, axis, x[0].node, ar.window(register, axis, state.axes, state.kind, begun))
    elif known is None or known.same:
        window = ar.window(register, axis, x[0].axes, x[0].kind, x[0].node)
    else:
        # something of a state that is read before its assignment: now it is not what it will have been
        window = since(el, axis, x[0].node, ar.window(register, axis, x[0].axes, x[0].kind, None))
    past = values.delayed(ar, x[0].past, ar.sub(ar.time(), ar.index(axis)))
    delayed = Value(window, ar.union([x[0].axes, (axis,)]))
    both = el.elementwise("mul", [w, (delayed, x[1])], e.span, "`conv`")
    if both is None:
        return None
    total = axes_rules.reduced(el, "sum", both, (axis,), products.ordered(el, w[0].axes, x[0].axes, (axis,)))
    whole = values.through(past, lambda m: ar.reduce("all", m, (axis,)) if axis in m.axes else m)
    return replace(total, past=values.merge(ar, [total.past, whole]))


def since(el: Elaborator, axis: str, now: Node, earlier: Node) -> Node:
    """Position 0 is `now`, position j is position j - 1 of `earlier`."""
    ar = el.arena
    return ar.where(ar.map("eq", ar.index(axis), ar.const(0)), now, ar.shift(earlier, axis, 1))


# -- transfer ------------------------------------------------------------------------------------------------------


def transfer(el: Elaborator, e: syn.Call, scope: Scope | None) -> Result:
    """`transfer(b, a, u)`: s = u - sum(a * earlier s), y = sum(b * s from this step back)."""
    (b, bt), (a, at), (u, ut) = ((el.eval(x, scope), x.span) for x in e.args)
    lags: list[str | None] = []
    for v, arg, what in ((b, e.args[0], "the numerator"), (a, e.args[1], "the denominator")):
        lags.append(weights(el, arg, v, "transfer", what) if v is not None else None)
    if b is None or a is None or u is None or None in lags:
        return None
    over_b, over_a = lags
    assert over_b is not None
    assert over_a is not None
    for axis, at_weights in ((over_b, bt), (over_a, at)):
        if axis in u.axes:
            el.error(errors_axes.DelayedHasAxis(ut, "transfer", axis, at_weights))
            return None
    if grows(el, u, ut, "the line that `transfer` delays"):
        return None
    ar = el.at(e.span)
    rest = tuple(x for x in a.axes if x != over_a)
    axes = ar.union([u.axes, rest])
    kind: Kind = join_kinds(u.kind, a.kind, "real")
    name = el.line_name(("transfer", over_a, a.node, u.node), f"transfer.{el.owner}")
    earlier = Value(ar.window(name, over_a, axes, kind, None), ar.union([axes, (over_a,)]))
    fed = el.elementwise("mul", [(a, at), (earlier, ut)], e.span, "`transfer`")
    if fed is None:
        return None
    back = axes_rules.reduced(el, "sum", fed, (over_a,))
    left = el.elementwise("sub", [(u, ut), (back, at)], e.span, "`transfer`")
    if left is None:
        return None
    source = ar.cast(left.node, kind)
    el.lines[name] = Line(name, "transfer", axes, kind, source, Depth(0, over_a), e.span)
    if over_b != over_a:
        # a line has one axis for its length: the numerator's steps are another
        name = el.line_name(("transfer", over_b, a.node, u.node, over_a), f"transfer.{el.owner}")
        el.lines[name] = Line(name, "transfer", axes, kind, source, Depth(0, over_b), e.span)
    now = Value(ar.window(name, over_b, axes, kind, source), ar.union([axes, (over_b,)]), u.past)
    both = el.elementwise("mul", [(b, bt), (now, ut)], e.span, "`transfer`")
    return None if both is None else axes_rules.reduced(el, "sum", both, (over_b,))


# -- past ----------------------------------------------------------------------------------------------------------


def past(el: Elaborator, e: syn.Call, scope: Scope | None) -> Result:
    """`past[T](e)`: e at every step up to now, along T."""
    assert e.axes is not None
    axis = el.axis(e.axes[0], scope)
    v, span = el.eval(e.args[0], scope), e.args[0].span
    if axis is None:
        return None
    sized = el.d.axes[axis].size is not None or el.d.fixed_by_tensor(axis)
    if not sized:
        el.grows.add(axis)
    if v is None:
        return None
    if axis in v.axes:
        el.error(errors_time.PastHasAxis(span, axis))
        return None
    if grows(el, v, span, "the line that `past` holds"):
        return None
    name = el.line_name(("past", axis, v.node), f"past.{bare(e.args[0], scope) or el.owner}")
    depth = Depth(0, axis) if sized else Depth(0, None, unbounded=True)
    el.lines[name] = Line(name, "past", v.axes, v.kind, v.node, depth, e.span)
    node = el.at(e.span).history(name, axis, v.node, v.axes, v.kind)
    return Value(node, node.axes, history_masks(el, v.past, axis))


def history_masks(el: Elaborator, masks: Masks, axis: str) -> Masks:
    ar = el.arena
    if axis in el.growing:
        then = ar.add(ar.index(axis), ar.const(1))
    else:
        then = ar.add(ar.sub(ar.time(), ar.size(axis)), ar.add(ar.index(axis), ar.const(1)))
    return (*values.delayed(ar, masks, then), (axis, axes_rules.since_start(el, axis)))


FUNCTIONS: dict[str, Callable[[Elaborator, syn.Call, Scope | None], Result]] = {
    "prev": prev_or_next,
    "next": prev_or_next,
    "conv": conv,
    "transfer": transfer,
    "past": past,
}
