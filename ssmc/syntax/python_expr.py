"""Expressions of Python to expressions of the language.

Where Python groups a product otherwise (`@` binds there as `*` does), the text means what it means in a `.ssm` file.
"""

from __future__ import annotations

import ast
import math
import re
from typing import Literal

from ssmc.source import Span
from ssmc.syntax import errors, limits, nodes
from ssmc.syntax import python_errors as wrong
from ssmc.syntax.builder import NotLegal
from ssmc.syntax.names import IDENTIFIER
from ssmc.syntax.python_text import PythonText

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
    ast.MatMult: "@",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_PRODUCT = (ast.Mult, ast.Div, ast.MatMult)
_ITEM = re.compile(r"\s*(\w+)\s*(?:(->)\s*(\w+)|=\s*(-?)\s*(\w+))?\s*")


def _refusal(entry: tuple[str, str], span: Span) -> NotLegal:
    return NotLegal(wrong.NotInLanguage(span, *entry))


class ExpressionReader:
    """Converts expressions of one definition. Raises `NotLegal` at what the language does not have.

    `fixed` stands for every span where the text is not in the file itself (an expression in a string).
    """

    def __init__(self, text: PythonText, fixed: Span | None = None) -> None:
        self.text = text
        self.fixed = fixed

    def span(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword) -> Span:
        return self.fixed or self.text.span(node)

    def read(self, node: ast.expr, depth: int = 1) -> nodes.Expr:
        """The expression, within `Paren` nodes where the user wrote parentheses around it."""
        found = self._read(node, depth)
        if self.fixed is None:
            for pair in self.text.parentheses(self.span(node)):
                found = nodes.Paren(found, pair)
        return found

    def _read(self, node: ast.expr, depth: int) -> nodes.Expr:
        span = self.span(node)
        if depth > limits.MAX_DEPTH:
            raise NotLegal(errors.TooDeep(span))
        match node:
            case ast.Name(id=name):
                self.check_name(name, span)
                return nodes.Name(name, span)
            case ast.Constant():
                return self._constant(node, span)
            case ast.UnaryOp(op=ast.USub() | ast.Not() as op, operand=operand):
                sign: Literal["-", "not"] = "-" if isinstance(op, ast.USub) else "not"
                return nodes.Unary(sign, self.read(operand, depth + 1), span)
            case ast.UnaryOp(op=op):
                raise _refusal(wrong.OPERATORS[type(op)], span)
            case ast.BinOp():
                return self._chain(node, depth)
            case ast.BoolOp(op=op, values=values):
                return self._fold_bool("and" if isinstance(op, ast.And) else "or", values, depth)
            case ast.Compare():
                return self._compare(node, depth)
            case ast.Call():
                return self._call(node, span, depth)
            case ast.Subscript():
                return self._subscript(node, span, depth)
            case ast.Attribute():
                return self._dotted(node, span)
        raise _refusal(wrong.CONSTRUCTS.get(type(node), (f"`{span.text[:40]}`", "leave it out")), span)

    def check_name(self, name: str, span: Span) -> None:
        """Python allows letters in names that the language does not."""
        if IDENTIFIER.fullmatch(name):
            return
        if "·" in name:
            operands = ", ".join(part for part in name.split("·") if part)
            raise NotLegal(wrong.PythonName(span, name, f"in Python `·` is a letter; write `dot({operands})`"))
        raise NotLegal(wrong.PythonName(span, name, "choose another name"))

    def _constant(self, node: ast.Constant, span: Span) -> nodes.Expr:
        value = node.value
        if isinstance(value, bool):
            return nodes.Name("true" if value else "false", span)
        if isinstance(value, int):
            if value >= 10**18:
                remedy = "write it as a real number, such as `1e20`"
                raise NotLegal(errors.NumberOutOfRange(span, "", "too large for an integer", remedy))
            return nodes.Number(value, span)
        if isinstance(value, float | complex):
            if math.isinf(abs(value)):
                raise NotLegal(errors.NumberOutOfRange(span, "", "too large", "infinity is written `inf`"))
            return nodes.Number(value, span)
        if isinstance(value, str):
            raise _refusal(("strings", "values are numbers; names are written without quotes"), span)
        raise _refusal((f"`{span.text[:40]}`", "leave it out"), span)

    # -- operators

    def _chain(self, node: ast.BinOp, depth: int) -> nodes.Expr:
        """A run of operators of one precedence, unparenthesised: `a*b@c/d`, `a + b - c`, or a power."""
        product = isinstance(node.op, _PRODUCT)
        operands: list[ast.expr] = []
        operators: list[ast.operator] = []
        left: ast.expr = node
        while (
            isinstance(left, ast.BinOp)
            and not isinstance(left.op, ast.Pow)
            and (not operators or isinstance(left.op, _PRODUCT) == product)
            and (left is node or not self._in_parentheses(left))
        ):
            operands.append(left.right)
            operators.append(left.op)
            left = left.left
        if not operators and isinstance(left, ast.BinOp):
            operands, operators, left = [left.right], [left.op], left.left
        operands = [left, *reversed(operands)]
        operators.reverse()
        for op in operators:
            if type(op) not in _BINARY:
                raise _refusal(wrong.OPERATORS[type(op)], self.span(node))
        if depth + len(operators) > limits.MAX_DEPTH:
            raise NotLegal(errors.TooDeep(self.span(operands[-1])))
        read = [self.read(operand, depth + 1) for operand in operands]
        signs = [(_BINARY[type(op)], self._operator(read[i], _BINARY[type(op)])) for i, op in enumerate(operators)]
        if product:
            read, signs = self._contract(read, signs)
        found = read[0]
        for (op_text, op_span), right in zip(signs, read[1:], strict=True):
            found = nodes.Binary(op_text, found, right, op_span, found.span.to(right.span))
        return found

    def _in_parentheses(self, node: ast.expr) -> bool:
        # In a string (`fixed`), spans say nothing; `1*(2*3)` and `1*2*3` are one value there.
        return self.fixed is None and bool(self.text.parentheses(self.span(node)))

    def _operator(self, left: nodes.Expr, text: str) -> Span:
        return self.fixed or self.text.operator(left.span.end, text)

    def _contract(
        self, operands: list[nodes.Expr], signs: list[tuple[str, Span]]
    ) -> tuple[list[nodes.Expr], list[tuple[str, Span]]]:
        """Join the operands of `@` first: `d*B@u` is `d*(B@u)` in the language."""
        joined, rest = [operands[0]], []
        for (text, span), right in zip(signs, operands[1:], strict=True):
            if text == "@":
                joined[-1] = nodes.Binary("@", joined[-1], right, span, joined[-1].span.to(right.span))
            else:
                rest.append((text, span))
                joined.append(right)
        return joined, rest

    def _fold_bool(self, op: str, values: list[ast.expr], depth: int) -> nodes.Expr:
        if depth + len(values) > limits.MAX_DEPTH:
            raise NotLegal(errors.TooDeep(self.span(values[-1])))
        found = self.read(values[0], depth + 1)
        for value in values[1:]:
            right = self.read(value, depth + 1)
            found = nodes.Binary(op, found, right, self._operator(found, op), found.span.to(right.span))
        return found

    def _compare(self, node: ast.Compare, depth: int) -> nodes.Expr:
        for op in node.ops:
            if type(op) not in _COMPARE:
                raise _refusal(wrong.OPERATORS[type(op)], self.span(node))
        left, right = self.read(node.left, depth + 1), self.read(node.comparators[0], depth + 1)
        text = _COMPARE[type(node.ops[0])]
        if len(node.ops) > 1:
            second = _COMPARE[type(node.ops[1])]
            span = self._operator(right, second)
            last = self.span(node.comparators[1])
            operands = (left.span.text, text, right.span.text, second, last.text)
            raise NotLegal(errors.ChainedComparison(span, *operands))
        return nodes.Binary(text, left, right, self._operator(left, text), left.span.to(right.span))

    # -- calls, brackets, dots

    def _call(self, node: ast.Call, span: Span, depth: int) -> nodes.Expr:
        function, axes = self._function(node.func)
        if node.keywords:
            what, remedy = "arguments by name", "write the arguments in their order"
            raise NotLegal(wrong.NotInLanguage(self.span(node.keywords[0]), what, remedy))
        return nodes.Call(function, axes, tuple(self.read(arg, depth + 1) for arg in node.args), span)

    def _function(self, node: ast.expr) -> tuple[nodes.Identifier, tuple[nodes.Identifier, ...] | None]:
        span = self.span(node)
        match node:
            case ast.Name(id=name):
                self.check_name(name, span)
                return nodes.Identifier(name, span), None
            case ast.Subscript(value=ast.Name(id=name) as head, slice=inside):
                items = self.bracket_items(inside, span)
                if all(isinstance(item, nodes.Identifier) for item in items):
                    axes = tuple(item for item in items if isinstance(item, nodes.Identifier))
                    return nodes.Identifier(name, self.span(head)), axes
            case ast.Attribute(attr=attribute):
                if attribute in wrong.ATTRIBUTES:
                    raise _refusal((f"methods, such as `.{attribute}`", wrong.ATTRIBUTES[attribute]), span)
                raise _refusal((f"`{span.text[:40]}`", f"functions are written by name: `{attribute}(…)`"), span)
        raise NotLegal(errors.NotAFunction(span))

    def _subscript(self, node: ast.Subscript, span: Span, depth: int) -> nodes.Expr:
        items = self.bracket_items(node.slice, span)
        if all(isinstance(item, nodes.Identifier) for item in items):
            axes = tuple(item for item in items if isinstance(item, nodes.Identifier))
            if not isinstance(node.value, ast.Name):
                raise NotLegal(wrong.WrongBracket(span, span.text[:60]))
            function = nodes.Identifier(node.value.id, self.span(node.value))
            if len(axes) != 1:
                what = f"`{function.text}` with axes, and no argument"
                raise NotLegal(errors.BracketContents(span, what, f'write `{function.text}["…"](…)`'))
            return nodes.AxisQuery(function, axes[0], span)
        found = self.read(node.value, depth + 1)
        pairs = tuple(item for item in items if isinstance(item, tuple))
        if len(pairs) == len(items):
            return nodes.Renamed(found, pairs, span)
        if pairs or any(isinstance(item, nodes.Identifier) for item in items):
            remedy = 'one string holds axes (`"K, V"`), renamings (`"K -> J"`) or picks (`"J = 0"`)'
            raise NotLegal(errors.BracketContents(span, "a bracket of different things", remedy))
        for item in items:
            if isinstance(item, nodes.Pick):
                found = nodes.Pick(found, item.axis, item.index, span)
        return found

    def bracket_items(
        self, node: ast.expr, around: Span
    ) -> list[nodes.Identifier | tuple[nodes.Identifier, nodes.Identifier] | nodes.Pick]:
        """The contents of `["…"]`: axes, renamings, or picks (of a placeholder)."""
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            raise NotLegal(wrong.WrongBracket(around, around.text[:60]))
        if "=" not in node.value and "->" not in node.value:
            return list(self.axes_of(node, around))
        found: list[nodes.Identifier | tuple[nodes.Identifier, nodes.Identifier] | nodes.Pick] = []
        start = 0
        for part in node.value.split(","):
            match = _ITEM.fullmatch(part)
            if match is None or not all(map(IDENTIFIER.fullmatch, filter(None, (match[1], match[3])))):
                raise NotLegal(wrong.WrongBracket(around, around.text[:60]))
            axis = self._in_string(node, match, 1, start)
            if match[3]:
                found.append((axis, self._in_string(node, match, 3, start)))
            elif match[5] is not None:
                if not match[5].isdecimal() or len(match[5]) > 18:
                    raise NotLegal(errors.PickIndex(around, match[4] + match[5]))
                index = int(match[4] + match[5])
                found.append(nodes.Pick(nodes.Name("", axis.span), axis, index, axis.span))
            else:
                found.append(axis)
            start += len(part) + 1
        return found

    def axes_of(self, node: ast.Constant, around: Span) -> tuple[nodes.Identifier, ...]:
        """The axes in a string, `"D N"` or `"D, N"`."""
        found = list(re.finditer(r"[^\s,]+", str(node.value)))
        if not found or not all(IDENTIFIER.fullmatch(match[0]) for match in found):
            raise NotLegal(wrong.WrongBracket(around, around.text[:60]))
        return tuple(self._in_string(node, match, 0, 0) for match in found)

    def _in_string(self, node: ast.Constant, match: re.Match[str], group: int, start: int) -> nodes.Identifier:
        begin, end = match.span(group)
        if self.fixed is not None:
            return nodes.Identifier(match[group], self.fixed)
        [span] = self.text.words_of_string(node, [(start + begin, start + end)])
        return nodes.Identifier(match[group], span)

    def _dotted(self, node: ast.Attribute, span: Span) -> nodes.Expr:
        """`hippo.legs.B`: a table by its dotted name."""
        parts: list[str] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            parts.append(root.attr)
            root = root.value
        if node.attr in wrong.ATTRIBUTES or not isinstance(root, ast.Name):
            remedy = wrong.ATTRIBUTES.get(node.attr, "values have no parts; a dot stands in tables (`hippo.legs`)")
            raise _refusal((f"attributes, such as `.{node.attr}`", remedy), span)
        name = ".".join((root.id, *reversed(parts)))
        for part in name.split("."):
            self.check_name(part, span)
        return nodes.Name(name, span)
