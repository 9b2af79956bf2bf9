"""What is legal but looks like a mistake: things that are declared and never used."""

from __future__ import annotations

from ssmc.diagnostics import Diagnostic, Report
from ssmc.step import errors_names
from ssmc.step.declarations import ROLES, Declarations
from ssmc.step.elaborate import Elaborator


def warnings_of(d: Declarations, el: Elaborator) -> tuple[Diagnostic, ...]:
    """Unused inputs, params, names, functions and axes, in the order of the text."""
    report = Report()

    def unused(what: str, name: str, span: object) -> None:
        report.add(errors_names.Unused(span, f"{what} `{name}`"))  # type: ignore[arg-type]

    for p in (*d.of_role("input"), *d.of_role("param")):
        if p.name not in el.used:
            unused(ROLES[p.role].replace("an ", "the ").replace("a ", "the "), p.name, p.span)
    for name in d.assigned:
        if name not in el.used and d.state(name) is None:
            unused("the value", name, d.assigned[name][1])
    for name, m in d.macros.items():
        if f"{name}()" not in el.used:
            unused("the function", name, m.name.span)
    for name, a in d.axes.items():
        if name not in d.used_axes:
            unused("the axis", name, a.name.span)
    return report.diagnostics
