"""Trees as `.ssm` text, for trees that come from elsewhere than a file. `parse` gives the same tree back.

Parentheses are those of the tree's `Paren` nodes, and those that the text would mean something else without.
"""

from __future__ import annotations

from ssmc.diagnostics import CompilerBug
from ssmc.syntax import nodes

# Binding strength, tightest last; one more than the operator's own is needed where it does not associate.
_BINARY = {
    "or": 1,
    "and": 2,
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), 4),
    **dict.fromkeys(("+", "-"), 5),
    **dict.fromkeys(("*", "/", "⊗"), 6),
    **dict.fromkeys(("@", "·"), 7),
    "**": 9,
}
_NOT, _COMPARE, _SIGN, _POWER, _POSTFIX = 3, 4, 8, 9, 10
KEYWORD_WIDTH = 7
"""Names in declarations begin in this column: `axis   D`, `output y`."""


def print_file(file: nodes.File) -> str:
    """The text of a file, with a blank line between specs."""
    return "\n".join(print_spec(spec) for spec in file.specs)


def print_spec(spec: nodes.Spec) -> str:
    """The text of one spec, a statement a line, a newline at the end."""
    lines = [f"ssm {spec.name.text}", *(print_statement(statement) for statement in spec.statements)]
    return "\n".join(lines) + "\n"


def print_statement(statement: nodes.Statement) -> str:
    """One statement, without a newline."""
    match statement:
        case nodes.AxisDecl(name, size):
            return f"{'axis':<{KEYWORD_WIDTH}}{name.text}" + (f" = {print_expr(size)}" if size is not None else "")
        case nodes.EachDecl(names):
            return f"{'each':<{KEYWORD_WIDTH}}{_names(names)}"
        case nodes.Declaration(role, name, axes, kind, init, reverse):
            parts = [name.text + (f"[{_names(axes)}]" if axes is not None else "")]
            parts += [kind.text] if kind is not None else []
            parts += [f"= {print_expr(init)}"] if init is not None else []
            parts += ["reverse"] if reverse else []
            return f"{role:<{KEYWORD_WIDTH}}{' '.join(parts)}"
        case nodes.Assign(name, value):
            return f"{name.text} = {print_expr(value)}"
        case nodes.Macro(name, axes, formals, body):
            brackets = f"[{_names(axes)}]" if axes is not None else ""
            return f"{name.text}{brackets}({_names(formals)}) = {print_expr(body)}"
        case nodes.Equation(state, right, method, options):
            arguments = ", ".join(f"{option.text} = {print_expr(value)}" for option, value in options)
            return f"{state.text}' = {print_expr(right)} using {method.text}" + (f"({arguments})" if options else "")
    raise CompilerBug(f"no such statement: {statement!r}")


def _names(names: tuple[nodes.Identifier, ...]) -> str:
    return ", ".join(name.text for name in names)


def print_expr(expr: nodes.Expr, needed: int = 0) -> str:
    """An expression; in parentheses if it binds less tightly than needed."""
    text, strength = _print(expr)
    return text if strength >= needed else f"({text})"


def _print(expr: nodes.Expr) -> tuple[str, int]:
    match expr:
        case nodes.Number(value):
            return print_number(value), _POSTFIX
        case nodes.Name(text):
            return text, _POSTFIX
        case nodes.Paren(operand):
            return f"({print_expr(operand)})", _POSTFIX
        case nodes.Unary("not", operand):
            return f"not {print_expr(operand, _NOT)}", _NOT
        case nodes.Unary(_, operand):
            return f"-{print_expr(operand, _SIGN)}", _SIGN
        case nodes.Binary("**", left, right):
            # The exponent may carry a sign; the base may not.
            if isinstance(right, nodes.Unary) and right.op == "-":
                return f"{print_expr(left, _POSTFIX)}**{_exponent(right)}", _POWER
            return f"{print_expr(left, _POSTFIX)}**{print_expr(right, _POWER)}", _POWER
        case nodes.Binary(op, left, right):
            own = _BINARY[op]
            left_needed = own + 1 if own == _COMPARE else own
            return f"{print_expr(left, left_needed)} {op} {print_expr(right, own + 1)}", own
        case nodes.Call(function, axes, args):
            brackets = f"[{_names(axes)}]" if axes is not None else ""
            return f"{function.text}{brackets}({', '.join(map(print_expr, args))})", _POSTFIX
        case nodes.AxisQuery(function, axis):
            return f"{function.text}[{axis.text}]", _POSTFIX
        case nodes.Pick(operand, axis, index):
            return f"{print_expr(operand, _POSTFIX)}[{axis.text} = {index}]", _POSTFIX
        case nodes.Renamed(operand, pairs):
            renamed = ", ".join(f"{old.text} -> {new.text}" for old, new in pairs)
            return f"{print_expr(operand, _POSTFIX)}[{renamed}]", _POSTFIX
    raise CompilerBug(f"no such expression: {expr!r}")


def _exponent(expr: nodes.Expr) -> str:
    if isinstance(expr, nodes.Unary) and expr.op == "-":
        return f"-{_exponent(expr.operand)}"
    return print_expr(expr, _POWER)


def print_number(value: int | float | complex) -> str:
    """A literal of that value. Signs are operators: the value is not negative, and a complex one is imaginary."""
    return repr(value)
