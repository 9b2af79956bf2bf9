"""Rules of the text that need no meaning: reserved names, misplaced parts, depth. Both front ends apply them."""

from __future__ import annotations

from ssmc.diagnostics import Problem, Report
from ssmc.syntax import errors, limits, nodes
from ssmc.syntax.builder import AxisList, unused_axes
from ssmc.syntax.names import KEYWORDS, why_no_output, why_reserved
from ssmc.syntax.walk import expressions, walk


def first_wrong_expression(statement: nodes.Statement) -> Problem | None:
    """A word of the language used as a value, axes without arguments, or too deep a nesting."""
    for expression in expressions(statement):
        for node, depth in walk(expression):
            if depth > limits.MAX_DEPTH:
                return errors.TooDeep(node.span)
            if isinstance(node, AxisList):
                return unused_axes(node)
            if isinstance(node, nodes.Name) and node.text in KEYWORDS:
                return errors.KeywordAsValue(node.span, node.text)
    return None


def check_statement(statement: nodes.Statement, report: Report) -> None:
    """Report names that are reserved and parts of a declarator that its role does not have."""
    match statement:
        case nodes.Assign(name) | nodes.Equation(name):
            _check_name(name, report)
        case nodes.Macro(_, _, formals):
            for formal in formals:
                _check_name(formal, report)
        case nodes.Declaration(role, name):
            _check_name(name, report)
            if role == "output" and (why := why_no_output(name.text)) is not None:
                report.add(errors.OutputName(name.span, name.text, why))
            if role == "input" and statement.init is not None:
                what, remedy = f"the input `{name.text}` has a default", "every input is passed by the caller"
                report.add(errors.MisplacedPart(statement.init.span, what, f"{remedy}; a `param` may have a default"))
            if statement.reverse and role != "state":
                what, remedy = f"the {role} `{name.text}` has a direction", "only a state is `reverse`"
                report.add(errors.MisplacedPart(statement.span, what, remedy))


def _check_name(name: nodes.Identifier, report: Report) -> None:
    why = why_reserved(name.text)
    if why is not None:
        report.add(errors.ReservedName(name.span, name.text, why))
