"""What a spec declares, collected before any expression is looked at: axes, ports, states, outputs, functions.

Guarantees to the elaboration: each name has one definition (the first; later ones were reported), axes in brackets are
declared, the functions that call themselves are known. Reserved names, kinds and misplaced parts were checked with
the syntax.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ssmc.diagnostics import Report
from ssmc.expr.nodes import Axes, Kind
from ssmc.source import Span
from ssmc.step import errors_axes, errors_names
from ssmc.step.circles import path_to
from ssmc.step.functions import BUILTINS, DISTRIBUTIONS, FREE, TIME
from ssmc.syntax import nodes as syn
from ssmc.syntax.walk import walk

ROLES = {"input": "an input", "param": "a param", "state": "a state", "output": "an output"}


@dataclass(frozen=True)
class Declared:
    """An input, a param or a state. `axes` is None where the declaration is at fault."""

    role: str
    name: str
    axes: Axes | None
    kind: Kind
    init: syn.Expr | None
    reverse: bool
    span: Span  # of the name


@dataclass
class Declarations:
    """The tables of a spec. `first` maps each value's name to the place that defines it."""

    spec: syn.Spec
    axes: dict[str, syn.AxisDecl] = field(default_factory=dict)
    each: set[str] = field(default_factory=set)
    values: dict[str, Declared] = field(default_factory=dict)
    outputs: list[syn.Declaration] = field(default_factory=list)
    macros: dict[str, syn.Macro] = field(default_factory=dict)
    recursive: set[str] = field(default_factory=set)
    delaying: set[str] = field(default_factory=set)  # functions that call `prev` or draw, or call one that does
    first: dict[str, Span] = field(default_factory=dict)
    assigned: dict[str, tuple[int, Span]] = field(default_factory=dict)  # statement number; states included
    skipped: set[int] = field(default_factory=set)  # statements that define a name again
    used_axes: set[str] = field(default_factory=set)
    missing_axes: dict[str, errors_names.UndefinedAxis] = field(default_factory=dict)

    def of_role(self, role: str) -> list[Declared]:
        return [d for d in self.values.values() if d.role == role]

    def state(self, name: str) -> Declared | None:
        found = self.values.get(name)
        return found if found is not None and found.role == "state" else None

    def axis(self, axis: syn.Identifier, report: Report) -> str | None:
        """The declared axis of this name; an unknown one is reported once."""
        if axis.text in self.axes:
            self.used_axes.add(axis.text)
            return axis.text
        missing = errors_names.UndefinedAxis(axis.span, axis.text, tuple(self.axes))
        report.add(self.missing_axes.setdefault(axis.text, missing))
        return None

    def fixed_by_tensor(self, axis: str) -> bool:
        """Whether an input, a param or a state has this axis, so that the call gives its length."""
        return any(d.axes is not None and axis in d.axes for d in self.values.values())


def collect(spec: syn.Spec, report: Report) -> Declarations:
    """The declarations of a spec; what is wrong with them goes to the report."""
    d = Declarations(spec)
    for s in spec.statements:
        if isinstance(s, syn.AxisDecl):
            _axis(d, s, report)
    for number, s in enumerate(spec.statements):
        match s:
            case syn.EachDecl(names):
                for name in names:
                    found = d.axis(name, report)
                    if found is not None:
                        d.each.add(found)
            case syn.Declaration(role="output"):
                _output(d, number, s, report)
            case syn.Declaration():
                _value(d, s, report)
            case syn.Macro():
                _macro(d, s, report)
            case _:
                pass
    for number, s in enumerate(spec.statements):
        if isinstance(s, syn.Assign | syn.Equation):
            _assignment(d, number, s, report)
        elif isinstance(s, syn.Declaration) and s.role == "output" and s.init is not None:
            _output_name(d, number, s, report)
    for state in d.of_role("state"):
        if state.name not in d.assigned:
            report.add(errors_names.StateNeverAssigned(state.span, state.name))
    if not any(isinstance(s, syn.Declaration) and s.role == "output" for s in spec.statements):
        report.add(errors_names.NoOutputs(spec.name.span, spec.name.text))
    _recursion(d, report)
    return d


def _axis(d: Declarations, s: syn.AxisDecl, report: Report) -> None:
    first = d.axes.setdefault(s.name.text, s)
    if first is not s:
        report.add(errors_names.AxisTwiceDeclared(s.name.span, s.name.text, first.name.span))


def _value(d: Declarations, s: syn.Declaration, report: Report) -> None:
    axes = declared_axes(d, s.axes or (), report)
    name = s.name.text
    if s.role == "state" and axes is not None and axes and axes[-1].endswith("'"):
        assert s.axes is not None
        report.add(errors_axes.SquareState(s.axes[-1].span, name, axes[-2]))
        axes = None
    kind: Kind = s.kind.text if s.kind is not None and s.kind.text in ("complex", "bool", "int") else "real"  # type: ignore[assignment]
    if name in d.first:
        report.add(errors_names.NameTwice(s.name.span, name, d.first[name]))
        return
    d.first[name] = s.name.span
    d.values[name] = Declared(s.role, name, axes, kind, s.init, s.reverse, s.name.span)


def declared_axes(d: Declarations, names: Iterable[syn.Identifier], report: Report) -> Axes | None:
    """The axes of a declaration in the order written, the columns of a square primed; None if one is wrong."""
    names = tuple(names)
    found: list[str] = []
    seen: dict[str, syn.Identifier] = {}
    whole = True
    for place, name in enumerate(names):
        axis = d.axis(name, report)
        if axis is None:
            whole = False
            continue
        if axis in seen:
            if place == len(names) - 1 and found[-1:] == [axis]:
                axis = f"{axis}'"
            else:
                report.add(errors_axes.SquareDeclaration(name.span, axis, seen[axis].span))
                whole = False
        seen.setdefault(axis, name)
        found.append(axis)
    return tuple(found) if whole else None


def _output(d: Declarations, number: int, s: syn.Declaration, report: Report) -> None:
    for other in d.outputs:
        if other.name.text == s.name.text:
            report.add(errors_names.OutputTwice(s.name.span, s.name.text, other.name.span))
            d.skipped.add(number)
            return
    d.outputs.append(s)


def _output_name(d: Declarations, number: int, s: syn.Declaration, report: Report) -> None:
    name = s.name.text
    if number in d.skipped:
        return
    if name in d.values:
        given = d.values[name]
        report.add(errors_names.OutputTakesName(s.name.span, name, ROLES[given.role], given.span))
        d.skipped.add(number)
        d.outputs.remove(s)
    elif name in d.first:
        report.add(errors_names.NameTwice(s.name.span, name, d.first[name]))
        d.skipped.add(number)
        d.outputs.remove(s)
    else:
        d.first[name] = s.name.span
        d.assigned[name] = (number, s.name.span)


def _macro(d: Declarations, s: syn.Macro, report: Report) -> None:
    name = s.name.text
    if name in BUILTINS - FREE:
        report.add(errors_names.MacroIsBuiltin(s.name.span, name))
        return
    first = d.macros.setdefault(name, s)
    if first is not s:
        report.add(errors_names.MacroTwice(s.name.span, name, first.name.span))
    for formals in (s.formals, s.axes or ()):
        seen: dict[str, Span] = {}
        for f in formals:
            if f.text in seen:
                report.add(errors_names.FormalTwice(f.span, f.text, seen[f.text]))
            seen.setdefault(f.text, f.span)


def _assignment(d: Declarations, number: int, s: syn.Assign | syn.Equation, report: Report) -> None:
    target = s.name if isinstance(s, syn.Assign) else s.state
    name = target.text
    declared = d.values.get(name)
    if isinstance(s, syn.Equation) and (declared is None or declared.role != "state"):
        states = tuple(x.name for x in d.of_role("state"))
        report.add(errors_names.NotAState(target.span, name, states))
        d.skipped.add(number)
        d.first.setdefault(name, target.span)
        return
    if declared is not None and declared.role != "state":
        report.add(errors_names.AssignToGiven(target.span, name, ROLES[declared.role], declared.span))
        d.skipped.add(number)
    elif declared is not None and name in d.assigned:
        report.add(errors_names.StateTwice(target.span, name, d.assigned[name][1]))
        d.skipped.add(number)
    elif declared is None and name in d.first:
        report.add(errors_names.NameTwice(target.span, name, d.first[name]))
        d.skipped.add(number)
    else:
        d.first.setdefault(name, target.span)
        d.assigned[name] = (number, target.span)


# -- functions that call themselves ----------------------------------------------------------------------------------


def _calls(m: syn.Macro) -> list[str]:
    return [e.function.text for e, _ in walk(m.body) if isinstance(e, syn.Call)]


def _recursion(d: Declarations, report: Report) -> None:
    calls = {name: list(dict.fromkeys(c for c in _calls(m) if c in d.macros)) for name, m in d.macros.items()}
    for name, m in d.macros.items():
        path = path_to(name, name, calls)
        if path is not None:
            d.recursive.add(name)
            # one report a circle, at the function written first
            if all(name == p or _before(m, d.macros[p]) for p in path):
                report.add(errors_names.MacroRecursion(m.name.span, name, " → ".join(f"`{p}`" for p in path)))

    every = {name: _calls(m) for name, m in d.macros.items()}
    for name in d.macros:
        if any(path_to(name, f, every) for f in (*TIME, *DISTRIBUTIONS)):
            d.delaying.add(name)


def _before(a: syn.Macro, b: syn.Macro) -> bool:
    return a.name.span.start < b.name.span.start
