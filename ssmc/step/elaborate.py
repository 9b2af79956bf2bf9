"""Expressions of the tree to typed nodes: names, macros, operators, calls. One `Elaborator` goes over the spec once.

What `declarations` guarantees holds here: each name has one definition, declared axes exist. Delays make it a matter
of several rounds (see build.py): the type of `prev(y)` is taken from `assumed`, what an earlier round found. A type
that is not known yet is neutral: it has no axes and the lowest kind. In the round that reports (`absorbing`) a mistake
silences what is computed from it.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ssmc.diagnostics import Diagnostic, Label, Problem, Report
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Kind
from ssmc.expr.ops import OPS
from ssmc.source import Span
from ssmc.step import axes_rules, calls, errors_axes, errors_kinds, errors_names, errors_time, products, values
from ssmc.step.circles import path_to
from ssmc.step.declarations import Declarations
from ssmc.step.functions import BUILTINS, TABLES
from ssmc.step.order import instant_edges
from ssmc.step.values import Result, Scope, Value
from ssmc.syntax import nodes as syn

if TYPE_CHECKING:
    from ssmc.step.delays import Assumed, Line, Site, SiteKey

BINARY = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "**": "pow", "<": "lt", "<=": "le", ">": "gt", ">=": "ge",
    "==": "eq", "!=": "ne", "and": "and", "or": "or",
}  # fmt: skip
MAX_DEPTH = 280


@dataclass(frozen=True)
class Filling:
    """The param or state whose default or initial value is being elaborated."""

    role: str
    name: str
    axes: Axes
    span: Span


@dataclass
class Elaborator:
    """One round over a spec. `values` maps each name to its value so far; a state to its new value once assigned."""

    arena: Arena
    d: Declarations
    report: Report
    assumed: Mapping[SiteKey, Assumed]
    growing: frozenset[str]
    absorbing: bool
    values: dict[str, Result] = field(default_factory=dict)
    sites: dict[SiteKey, Site] = field(default_factory=dict)
    grows: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    equations: dict[tuple[str, str], None] = field(default_factory=dict)
    flat: dict[Axes, str] = field(default_factory=dict)  # axes made for an equation that mixes several, by these
    lines: dict[str, Line] = field(default_factory=dict)
    line_names: dict[tuple[object, ...], str] = field(default_factory=dict)
    statement: int = -1
    owner: str = ""
    final: bool = False
    filling: Filling | None = None
    unknown: str | None = None  # the state whose equation is being elaborated
    draws: int = 0
    depth: int = 0
    calls: int = 0
    expanded: dict[tuple[object, ...], Result] = field(default_factory=dict)
    summed: dict[int, str] = field(default_factory=dict)  # the axis that a `·` or `@` of the tree has just summed
    stack: list[tuple[str, Span]] = field(default_factory=list)
    again: dict[tuple[Scope, str], Result] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    # -- reporting -----------------------------------------------------------------------------------------------

    def error(self, problem: Problem) -> None:
        """Report a problem; inside a macro the outermost call is labelled too."""
        found: Diagnostic = problem.diagnostic()
        if self.stack:
            name, span = self.stack[0]
            found = replace(found, secondary=(*found.secondary, Label(span, f"in this call of `{name}`")))
        self.report.add(found)

    def at(self, span: Span) -> Arena:
        """The arena, making nodes for this place of the text."""
        self.arena.span = span
        return self.arena

    def line_name(self, key: tuple[object, ...], name: str) -> str:
        """The register of a delay line: one for equal keys, its name made unique by a number."""
        if key not in self.line_names:
            taken = set(self.line_names.values())
            self.line_names[key] = unique(name, taken)
        return self.line_names[key]

    def flat_axis(self, axes: Axes) -> str:
        """An axis as long as the product of the given ones; it has no name that the spec could use for another."""
        if axes not in self.flat:
            self.flat[axes] = unique("_".join(axes), {*self.d.axes, *self.flat.values()})
            self.arena.declare_axis(self.flat[axes])
        return self.flat[axes]

    # -- expressions ---------------------------------------------------------------------------------------------

    def eval(self, e: syn.Expr, scope: Scope | None) -> Result:
        """The value of an expression. A call on this frame for each level of the tree, no more where it matters."""
        if self.depth > MAX_DEPTH:
            self.too_large(e.span)
            return None
        self.depth += 1
        try:
            match e:
                case syn.Paren(operand):
                    return self.eval(operand, scope)
                case syn.Number(number):
                    return self.number(number)
                case syn.Name(name, span):
                    return self.name(name, span, scope)
                case syn.Unary(op, operand):
                    arg = self.eval(operand, scope)
                    return self.elementwise("neg" if op == "-" else "not", [(arg, operand.span)], e.span, f"`{op}`")
                case syn.Binary(op) if op in ("*", "/", "@", "·", "⊗"):
                    return products.product(self, e, scope)
                case syn.Binary(op, left, right):
                    pair = [(self.eval(left, scope), left.span), (self.eval(right, scope), right.span)]
                    return self.elementwise(BINARY[op], pair, e.span, f"`{op}`")
                case syn.AxisQuery():
                    return calls.axis_function(self, e, scope)
                case syn.Pick(operand):
                    return axes_rules.pick(self, e, self.eval(operand, scope), scope)
                case syn.Renamed(operand):
                    return axes_rules.rename(self, e, self.eval(operand, scope), scope)
                case syn.Call(function) if function.text in self.d.macros:
                    return calls.expand(self, e, scope)
                case syn.Call():
                    return calls.language_function(self, e, scope)
        finally:
            self.depth -= 1

    def number(self, number: int | float | complex) -> Value:
        if isinstance(number, int) and abs(number) > 2**53:
            number = float(number)
        return values.value(self.arena.const(number))

    # -- names ---------------------------------------------------------------------------------------------------

    def name(self, name: str, span: Span, scope: Scope | None) -> Result:
        if scope is not None and name in scope.args:
            return self.formal(name, scope)
        constant = {"pi": math.pi, "inf": math.inf, "true": True, "false": False}.get(name)
        if constant is not None:
            return values.value(self.arena.const(constant))
        if name == "t":
            return values.value(self.at(span).time())
        if "." in name:
            return self.table(name, span)
        self.used.add(name)
        if name in self.values:
            return self.values[name]
        declared = self.d.values.get(name)
        if declared is not None:
            if declared.axes is None:
                return None
            ar = self.at(span)
            match declared.role:
                case "input":
                    return values.value(ar.input(name, declared.axes, declared.kind))
                case "param":
                    return values.value(ar.param(name, declared.axes, declared.kind))
                case _ if name == self.unknown:
                    return values.value(ar.local(f"{name}'", declared.axes, declared.kind))
                case _:
                    return values.value(ar.read(name, declared.axes, declared.kind))
        if name in self.d.assigned:
            if not self.final:
                self.too_early(name, span)
            return None
        if name not in self.d.first:
            self.undefined(name, span)
        return None

    def formal(self, name: str, scope: Scope) -> Result:
        if self.final == scope.final:
            return scope.values[name]
        key = (scope, name)
        if key not in self.again:
            expr, outer = scope.args[name]
            self.again[key] = None
            self.again[key] = self.eval(expr, outer)
        return self.again[key]

    def table(self, name: str, span: Span) -> Result:
        found = TABLES.get(name)
        if found is None:
            self.error(errors_names.UnknownTable(span, name, tuple(TABLES)))
            return None
        if self.filling is None:
            self.error(errors_names.InitialiserMisplaced(span, name, "a param's default or a state's initial value"))
            return None
        count, kind = found
        axes = self.filling.axes[len(self.filling.axes) - count :] if len(self.filling.axes) >= count else ()
        if not axes or (count == 2) != (axes[-1] != axes[-1].rstrip("'")):
            wanted = "a square `[…, N, N]`" if count == 2 else "the last axis, of a value that is not square"
            self.error(errors_names.TableAxes(span, name, wanted, self.filling.name, self.filling.span))
            return None
        return values.value(self.at(span).table(name, axes, kind))  # type: ignore[arg-type]

    def undefined(self, name: str, span: Span) -> None:
        if name in self.told:
            return
        self.told.add(name)
        also = "an axis" if name in self.d.axes else None
        also = "a function" if name in BUILTINS or name in self.d.macros else also
        known = (*self.d.first, "t", "pi", "inf", "true", "false")
        self.error(errors_names.UndefinedName(span, name, known, also))

    def too_early(self, name: str, span: Span) -> None:
        """A name read above its assignment: if that depends on this statement in turn, no order would help."""
        path = path_to(name, name, instant_edges(self.d)) if self.owner else None
        if path is not None and self.owner in path:
            turn = path.index(self.owner)
            path = [*path[turn:-1], *path[: turn + 1]]
            shown = " → ".join(f"`{p}`" for p in path)
            if self.owner not in self.told:
                self.told.update(path)
                self.error(errors_time.InstantCycle(span, self.owner, name, shown, self.d.assigned[name][1]))
        else:
            self.error(errors_time.ReadBeforeAssigned(span, name, self.d.assigned[name][1]))

    # -- axes in brackets ----------------------------------------------------------------------------------------

    def axis(self, axis: syn.Identifier, scope: Scope | None) -> str | None:
        """An axis in a bracket: a macro's own, or a declared one."""
        if scope is not None and axis.text in scope.axes:
            return scope.axes[axis.text]
        return self.d.axis(axis, self.report)

    def bracket(self, axes: Sequence[syn.Identifier], scope: Scope | None) -> tuple[str, ...] | None:
        """The axes of a bracket, each once; None if one is wrong."""
        found: dict[str, Span] = {}
        whole = True
        for a in axes:
            axis = self.axis(a, scope)
            if axis is None:
                whole = False
            elif axis in found:
                self.error(errors_axes.AxisRepeated(a.span, axis, found[axis]))
                whole = False
            else:
                found[axis] = a.span
        return tuple(found) if whole else None

    def too_large(self, span: Span) -> None:
        if "too large" not in self.told:
            self.told.add("too large")
            name, call = self.stack[0] if self.stack else ("", span)
            self.report.add(errors_names.ExpansionTooLarge(call, name))

    # -- elementwise ---------------------------------------------------------------------------------------------

    def settle(self, args: Sequence[tuple[Result, Span]]) -> list[tuple[Value, Span]] | None:
        """The operands of an elementwise operation; None if there is no telling its value."""
        known = [(a, s) for a, s in args if a is not None]
        if len(known) < len(args) and (self.absorbing or not known):
            return None
        stand_in = values.value(self.arena.local("?", (), "bool"))
        return [(a if a is not None else stand_in, s) for a, s in args]

    def elementwise(self, op: str, args: Sequence[tuple[Result, Span]], span: Span, what: str) -> Result:
        """An operator of the table, broadcast by name; `what` is how the user wrote it."""
        settled = self.settle(args)
        if settled is None or not axes_rules.squares_agree(self, settled):
            return None
        nodes = [v.node for v, _ in settled]
        kinds = [x.kind for x in nodes]
        if OPS[op].rule(*kinds) is None:
            self.wrong_kind(op, settled, what)
            return None
        ar = self.at(span)
        node = ar.map(op, *nodes)
        return Value(node, ar.union([v.axes for v, _ in settled]), values.merge(ar, [v.past for v, _ in settled]))

    def wrong_kind(self, op: str, args: Sequence[tuple[Value, Span]], what: str) -> None:
        logical = op in ("and", "or", "not", "where")
        for v, span in args[:1] if op == "where" else args:
            if logical and v.kind != "bool":
                self.error(errors_kinds.NotBool(span, what if op != "where" else "the condition of `where`", v.kind))
            elif not logical and v.kind == "complex":
                self.error(errors_kinds.ComplexOperand(span, what))

    def cast(self, v: Value, kind: Kind) -> Value:
        return replace(v, node=self.arena.cast(v.node, kind))


def unique(name: str, taken: Container[str]) -> str:
    """`name`, or `name.2`, `name.3`, … if it is taken."""
    number = 1
    while (name if number == 1 else f"{name}.{number}") in taken:
        number += 1
    return name if number == 1 else f"{name}.{number}"
