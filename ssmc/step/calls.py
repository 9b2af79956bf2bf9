"""Calls: the functions of the language, and macros, which are written out where they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssmc.expr.nodes import Node
from ssmc.source import Span
from ssmc.step import axes_rules, delays, errors_kinds, errors_names, products, systems, values
from ssmc.step.functions import BRACKETED, BUILTINS, COUNTS, ONE_AXIS, OVER_AXES, SCALAR, TWO_AXES, plural, usage
from ssmc.step.values import Result, Scope
from ssmc.syntax import nodes as syn

if TYPE_CHECKING:
    from ssmc.step.elaborate import Elaborator

MAX_CALLS = 1_000


def axis_function(el: Elaborator, e: syn.AxisQuery, scope: Scope | None) -> Result:
    """`size[N]` and `index[N]`."""
    if e.function.text not in ("size", "index"):
        is_function = e.function.text in BRACKETED or e.function.text in el.d.macros
        el.error(errors_names.NotAQuery(e.function.span, e.function.text, is_function, e.function.text in el.d.first))
        return None
    found = el.axis(e.axis, scope)
    if found is None:
        return None
    ar = el.at(e.span)
    if e.function.text == "index":
        return values.value(ar.index(found))
    return values.value(ar.time() if found in el.growing else ar.size(found))


def language_function(el: Elaborator, e: syn.Call, scope: Scope | None) -> Result:
    """A call of a function that the language has."""
    if not fits(el, e):
        for a in e.args:
            el.eval(a, scope)
        return None
    name = e.function.text
    if name in delays.FUNCTIONS:
        return delays.FUNCTIONS[name](el, e, scope)
    if name in ("dot", "outer"):
        return products.named(el, e, scope)
    if name == "solve":
        return systems.solve(el, e, [(el.eval(a, scope), a.span) for a in e.args], scope)
    if name == "shift":
        return axes_rules.shift(el, e, el.eval(e.args[0], scope), scope)
    return apply(el, e, [(el.eval(a, scope), a.span) for a in e.args], scope)


def fits(el: Elaborator, e: syn.Call) -> bool:
    """Whether the function exists and is given what it takes; else that is reported."""
    name, span = e.function.text, e.function.span
    if name not in BUILTINS:
        if name not in el.told:
            el.told.add(name)
            is_value = name in el.d.first
            el.error(errors_names.UndefinedFunction(span, name, (*BUILTINS, *el.d.macros), is_value))
        return False
    counts = COUNTS.get(name) if e.axes is None else BRACKETED.get(name)
    if counts is None:
        if name in ("size", "index"):
            wanted, given = "one axis and no arguments", plural(len(e.args), "argument")
            el.error(errors_names.ArgumentCount(span, name, wanted, len(e.args), f"{name}[N]"))
        else:
            wanted = "no axes" if e.axes is not None else "an axis"
            given = "none" if e.axes is None else str(len(e.axes))
            el.error(errors_names.BracketCount(span, name, wanted, given, usage(name, e.axes is None)))
        return False
    if e.axes is not None and name in ONE_AXIS and len(e.axes) != 1:
        el.error(errors_names.BracketCount(span, name, "one axis", str(len(e.axes)), usage(name, True)))
        return False
    if e.axes is not None and name in TWO_AXES and len(e.axes) > 2:
        el.error(errors_names.BracketCount(span, name, "one axis or two", str(len(e.axes)), usage(name, True)))
        return False
    least, most = counts
    if len(e.args) < least or (most is not None and len(e.args) > most):
        if most is None:
            wanted = f"at least {plural(least, 'argument')}"
        elif least == most:
            wanted = plural(least, "argument")
        else:
            wanted = f"{least} to {most} arguments"
        el.error(errors_names.ArgumentCount(span, name, wanted, len(e.args), usage(name, e.axes is not None)))
        return False
    return True


def apply(el: Elaborator, e: syn.Call, args: list[tuple[Result, Span]], scope: Scope | None) -> Result:
    """A function of the language, its arguments already elaborated."""
    name = e.function.text
    if e.axes is not None and name in OVER_AXES:
        return axes_rules.over_axes(el, e, args[0], scope)
    if name in SCALAR:
        return el.elementwise(name, args, e.span, f"`{name}`")
    match name:
        case "min" | "max" | "logaddexp":
            result, at = args[0]
            for arg, span in args[1:]:
                result = el.elementwise(name, [(result, at), (arg, span)], e.span, f"`{name}`")
                at = at.to(span)
            return result
        case "clamp":
            x, low, high = args
            lower = el.elementwise("max", [x, low], e.span, "`clamp`")
            return el.elementwise("min", [(lower, x[1].to(low[1])), high], e.span, "`clamp`")
        case "transpose":
            return axes_rules.transpose(el, e, args[0])
        case _:
            return draw(el, e, args)


def draw(el: Elaborator, e: syn.Call, args: list[tuple[Result, Span]]) -> Result:
    """`uniform(lo, hi)` and the like: independent for every element of the param and every place in the text."""
    name = e.function.text
    if el.filling is None or el.filling.role != "param":
        el.error(errors_names.InitialiserMisplaced(e.span, e.span.text, "the default of a param"))
        return None
    nodes: list[Node] = []
    for arg, span in args:
        if arg is None:
            return None
        if arg.kind == "complex":
            el.error(errors_kinds.ComplexOperand(span, f"`{name}`"))
            return None
        nodes.append(arg.node)
    el.draws += 1
    return values.value(el.at(e.span).draw(name, tuple(nodes), el.filling.axes, el.draws - 1))


def expand(el: Elaborator, e: syn.Call, scope: Scope | None) -> Result:
    """A macro's body in place of its call."""
    m = el.d.macros[e.function.text]
    name = m.name.text
    el.used.add(f"{name}()")
    args = [el.eval(a, scope) for a in e.args]
    wanted_axes, given_axes = len(m.axes or ()), len(e.axes or ())
    shown = ", ".join(f.text for f in m.formals)
    example = f"{name}[{', '.join(a.text for a in m.axes)}]({shown})" if m.axes else f"{name}({shown})"
    if wanted_axes != given_axes:
        wanted = plural(wanted_axes, "axis").replace("axiss", "axes") if wanted_axes else "no axes"
        given = str(given_axes) if given_axes else "none"
        el.error(errors_names.BracketCount(e.function.span, name, wanted, given, example, m.name.span))
        return None
    if len(args) != len(m.formals):
        wanted = plural(len(m.formals), "argument")
        el.error(errors_names.ArgumentCount(e.function.span, name, wanted, len(args), example, m.name.span))
        return None
    if name in el.d.recursive or el.calls > MAX_CALLS:
        if name not in el.d.recursive:
            el.too_large(e.span)
        return None
    axes = {a.text: el.axis(b, scope) for a, b in zip(m.axes or (), e.axes or (), strict=True)}
    formals = [f.text for f in m.formals]
    key = None
    if name not in el.d.delaying:
        # without delays, equal arguments give an equal value as long as no name is assigned
        seen = tuple((a.node, a.axes, a.past) if a is not None else None for a in args)
        key = (name, tuple(axes.values()), seen, el.statement, el.final, el.unknown, el.filling)
        if key in el.expanded:
            return el.expanded[key]
    el.calls += 1
    inner = Scope(
        m,
        (*(scope.path if scope else ()), id(e)),
        {f: (a, scope) for f, a in zip(formals, e.args, strict=True)},
        dict(zip(formals, args, strict=True)),
        axes,
        el.final,
    )
    el.stack.append((name, e.span))
    try:
        result = el.eval(m.body, inner)
        if key is not None:
            el.expanded[key] = result
        return result
    finally:
        el.stack.pop()
