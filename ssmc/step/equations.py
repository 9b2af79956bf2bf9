"""`h' = f(h, …) using METHOD(step = Δ)`: the unknown, the options, and what discretisation has to say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.step import errors_axes, errors_time, values
from ssmc.step.declarations import Declared
from ssmc.step.values import Result, Value
from ssmc.syntax import nodes as syn
from ssmc.syntax.walk import walk

if TYPE_CHECKING:
    from ssmc.step.elaborate import Elaborator

METHODS: dict[str, tuple[str, ...]] = {
    "euler": ("step",),
    "bilinear": ("step",),
    "backward_euler": ("step",),
    "zoh": ("step",),
    "gbt": ("alpha", "step"),
}


def update(el: Elaborator, s: syn.Equation, state: Declared | None) -> Result:
    """The new value of the state."""
    name = s.state.text
    known = state is not None and state.axes is not None
    el.unknown = name if known else None
    right = el.eval(s.right, None)
    el.unknown = None
    options = _options(el, s)
    if right is None or options is None or state is None or state.axes is None:
        return None
    method = s.method.text
    spans = {o.text: e.span for o, e in s.options}
    step, alpha = options.get("step", values.value(el.arena.const(1))), options.get("alpha")
    if step is None or ("alpha" in options and alpha is None):
        return None
    if not _shapes_fit(el, s, state, right):
        return None
    for option, v in (("step", step), ("alpha", alpha)):
        extra = tuple(a for a in v.axes if a not in state.axes) if v is not None else ()
        if extra:
            what, owner = f"the option `{option}`", f"the state `{name}`"
            el.error(errors_axes.InitAxes(spans[option], what, owner, extra, state.span, state.axes))
            return None
    ar = el.at(s.right.span)
    read = ar.read(name, state.axes, state.kind)
    unknown = ar.local(f"{name}'", state.axes, state.kind)
    inside = n.postorder([right.node])
    if unknown not in inside and read in inside:
        _held(el, s, read)
        return None
    from ssmc.step import discretise

    el.at(s.span)
    try:
        new = discretise.discretise(
            ar, right.node, unknown, method, step.node, alpha.node if alpha is not None else None, el.flat_axis
        )
    except discretise.CannotDiscretise as refusal:
        at = ar.spans.get(refusal.node) or s.right.span
        match refusal:
            case discretise.StepMixes(axis=axis):
                el.error(errors_time.StepMixed(spans.get("step", at), name, axis))
            case discretise.NotAffine():
                el.error(errors_time.EquationNotAffine(at, name, method, refusal.reason))
        return None
    held = list(el.lines.values())
    new, *sources = ar.substitute([new, *(x.source for x in held)], lambda x: read if x is unknown else None)
    for line, source in zip(held, sources, strict=True):
        el.lines[line.name] = replace(line, source=source)
    return Value(new, new.axes)


def _shapes_fit(el: Elaborator, s: syn.Equation, state: Declared, right: Value) -> bool:
    """Whether the right side has no more than the state; assigning reports it with the span of the right side."""
    assert state.axes is not None
    extra = tuple(a for a in right.axes if a not in state.axes)
    if extra and not any(a.endswith("'") for a in extra):
        el.error(errors_axes.StateAxes(s.right.span, state.name, extra, right.axes, state.axes, state.span))
        return False
    if extra:
        el.error(errors_axes.SquareOperation(s.right.span, extra[0].rstrip("'"), "an equation over"))
        return False
    return True


def _options(el: Elaborator, s: syn.Equation) -> dict[str, Result] | None:
    """The options by name; None if the method or one of them is wrong."""
    method = s.method.text
    found: dict[str, Result] = {}
    if method not in METHODS:
        el.error(errors_time.UnknownMethod(s.method.span, method, tuple(METHODS)))
        for _, e in s.options:
            el.eval(e, None)
        return None
    whole = True
    first: dict[str, syn.Identifier] = {}
    for option, e in s.options:
        v = el.eval(e, None)
        if option.text not in METHODS[method]:
            el.error(errors_time.UnknownOption(option.span, option.text, method, METHODS[method]))
            whole = False
        elif option.text in first:
            el.error(errors_time.OptionTwice(option.span, option.text, first[option.text].span))
            whole = False
        elif v is not None and v.kind == "complex":
            el.error(errors_time.StepComplex(e.span, option.text))
            whole = False
        first.setdefault(option.text, option)
        found[option.text] = v
    if "alpha" in METHODS[method] and "alpha" not in first:
        el.error(errors_time.MissingOption(s.method.span, method, "alpha"))
        whole = False
    return found if whole else None


def _held(el: Elaborator, s: syn.Equation, read: Node) -> None:
    """The equation has lost its unknown: name the value above that holds it."""
    for x, _ in walk(s.right):
        if not isinstance(x, syn.Name) or x.text not in el.d.assigned or el.d.state(x.text) is not None:
            continue
        v = el.values.get(x.text)
        if v is not None and read in n.postorder([v.node]):
            assigned = el.d.assigned[x.text][1]
            el.error(errors_time.HeldUnknown(x.span, s.state.text, x.text, assigned))
            return
    el.error(errors_time.OnlyDelayed(s.right.span, s.state.text))
