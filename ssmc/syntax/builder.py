"""Nodes from the parser's reductions: the callbacks of the rules in `grammar/ssm.lark`, bottom up.

A callback gets the tokens and nodes of its rule. It narrows what the grammar lets through and raises
`NotLegal` with the problem. Nothing here recurses, so no nesting is too deep for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ssmc.diagnostics import Problem
from ssmc.source import Span
from ssmc.syntax import errors, nodes
from ssmc.syntax.layout import Token
from ssmc.syntax.names import KINDS, REVERSE


class NotLegal(Exception):
    """A statement that follows the grammar and not the language."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


@dataclass(frozen=True)
class Header:
    """`ssm NAME`."""

    name: nodes.Identifier
    span: Span


@dataclass(frozen=True)
class AxisList:
    """`f[K, V]` before it is known whether arguments follow; never part of a tree."""

    function: nodes.Identifier
    axes: tuple[nodes.Identifier, ...]
    span: Span


@dataclass(frozen=True)
class Bracket:
    """The contents of `[…]`: axes, renamings or picks."""

    items: tuple[Any, ...]
    span: Span


@dataclass(frozen=True)
class PickItem:
    axis: nodes.Identifier
    index: int
    span: Span


@dataclass(frozen=True)
class RenameItem:
    source: nodes.Identifier
    target: nodes.Identifier
    span: Span


@dataclass(frozen=True)
class Declarator:
    name: nodes.Identifier
    axes: tuple[nodes.Identifier, ...] | None
    kind: nodes.Identifier | None
    init: nodes.Expr | None
    reverse: Token | None
    equal: Token | None
    span: Span


@dataclass(frozen=True)
class Method:
    name: nodes.Identifier
    options: tuple[tuple[nodes.Identifier, nodes.Expr], ...]
    span: Span


def identifier(token: Token) -> nodes.Identifier:
    return nodes.Identifier(token.text, token.span)


def number(token: Token) -> nodes.Number:
    """The literal's value; an integer stays one."""
    text = token.text
    if text.isdigit():
        if len(text) > 1 and text[0] == "0" and text.strip("0"):
            remedy = f"leave the leading zero out: `{text.lstrip('0')}`"
            raise NotLegal(errors.MalformedNumber(token.span, _short(text), remedy))
        if len(text) > 18:
            remedy = "write it as a real number, such as `1e20`"
            raise NotLegal(errors.NumberOutOfRange(token.span, _short(text), "too large for an integer", remedy))
        return nodes.Number(int(text), token.span)
    magnitude = float(text.rstrip("j"))
    if math.isinf(magnitude):
        raise NotLegal(errors.NumberOutOfRange(token.span, _short(text), "too large", "infinity is written `inf`"))
    if magnitude == 0 and any(c in "123456789" for c in text.lower().split("e")[0]):
        raise NotLegal(errors.NumberOutOfRange(token.span, _short(text), "too small to differ from 0", "write `0`"))
    return nodes.Number(complex(0, magnitude) if text.endswith("j") else magnitude, token.span)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "…"


class Builder:
    """The callbacks. `children` are those of the rule in `grammar/ssm.lark`; an absent `[part]` is None."""

    # -- statements: each gives the tuple of its nodes

    def spec_header(self, children: list[Any]) -> tuple[Header]:
        ssm, word = children
        return (Header(identifier(word), ssm.span.to(word.span)),)

    def axis_item(self, children: list[Any]) -> nodes.AxisDecl:
        word, _equal, size = children
        return nodes.AxisDecl(identifier(word), size, word.span.to((size or word).span))

    def axis_declarations(self, children: list[Any]) -> tuple[nodes.AxisDecl, ...]:
        return tuple(c for c in children if isinstance(c, nodes.AxisDecl))

    def each_declaration(self, children: list[Any]) -> tuple[nodes.EachDecl]:
        names = tuple(identifier(c) for c in children[1:] if c.type != "COMMA")
        return (nodes.EachDecl(names, children[0].span.to(children[-1].span)),)

    def role(self, children: list[Any]) -> Token:
        token: Token = children[0]
        return token

    def declarator(self, children: list[Any]) -> Declarator:
        word, bracket, *rest = children
        axes = None
        if bracket is not None:
            axes = tuple(item for item in bracket.items if isinstance(item, nodes.Identifier))
            if len(axes) != len(bracket.items):
                what, remedy = "a declaration lists axes", "write their names only: `x[D, N]`"
                raise NotLegal(errors.BracketContents(bracket.span, what, remedy))
            if not axes:
                what, remedy = "an empty bracket", "leave `[]` out: a value without axes is written `x`"
                raise NotLegal(errors.BracketContents(bracket.span, what, remedy))
        kind = reverse = equal = init = None
        for part in rest:
            if part is None:
                continue
            if not isinstance(part, Token):
                init = part
            elif part.type == "EQUAL":
                equal = part
            elif part.text == REVERSE:
                if reverse is not None:
                    raise NotLegal(errors.MisplacedPart(part.span, "`reverse` is written twice", "leave one out"))
                reverse = part
            elif part.text not in KINDS:
                raise NotLegal(errors.UnknownKind(part.span, part.text, (*KINDS, REVERSE)))
            elif equal is not None or reverse is not None:
                what = f"`{part.text}` stands before `=` and `reverse`"
                remedy = "the order is `NAME[axes] KIND = init reverse`"
                raise NotLegal(errors.MisplacedPart(part.span, what, remedy))
            elif kind is not None:
                what, remedy = "a value has one kind", f"leave `{kind.text}` or `{part.text}` out"
                raise NotLegal(errors.MisplacedPart(part.span, what, remedy))
            else:
                kind = identifier(part)
        if reverse is not None and equal is not None and reverse.span.start < equal.span.start:
            remedy = "the order is `NAME[axes] KIND = init reverse`"
            raise NotLegal(errors.MisplacedPart(reverse.span, "`reverse` stands after the initial value", remedy))
        last = next(c for c in reversed(children) if c is not None)
        return Declarator(identifier(word), axes, kind, init, reverse, equal, word.span.to(last.span))

    def declarations(self, children: list[Any]) -> tuple[nodes.Declaration, ...]:
        role = children[0]
        return tuple(
            nodes.Declaration(role.text, d.name, d.axes, d.kind, d.init, d.reverse is not None, d.span)
            for d in children[1:]
            if isinstance(d, Declarator)
        )

    def assignment(self, children: list[Any]) -> tuple[nodes.Assign | nodes.Macro]:
        left, _equal, value = children
        span = left.span.to(value.span)
        match left:
            case nodes.Name(text) if "." not in text:
                return (nodes.Assign(nodes.Identifier(text, left.span), value, span),)
            case nodes.Call(function, axes, args):
                return (nodes.Macro(function, axes, self._formals(left, args), value, span),)
        raise NotLegal(self._wrong_left(left))

    def _formals(self, left: nodes.Call, args: tuple[nodes.Expr, ...]) -> tuple[nodes.Identifier, ...]:
        if not args:
            name = left.function.text
            remedy = f"write `{name} = …` for a value, or give it a formal: `{name}(x) = …`"
            raise NotLegal(errors.Formals(left.span, "a macro has at least one formal", remedy))
        formals: dict[str, nodes.Identifier] = {}
        for arg in args:
            if not isinstance(arg, nodes.Name) or "." in arg.text:
                remedy = "write `f(x, y) = …`, and use the names on the right"
                raise NotLegal(errors.Formals(arg.span, "a formal of a macro is a plain name", remedy))
            if arg.text in formals:
                remedy = "give each formal its own name"
                raise NotLegal(errors.Formals(arg.span, f"two formals are called `{arg.text}`", remedy))
            formals[arg.text] = nodes.Identifier(arg.text, arg.span)
        return tuple(formals.values())

    def _wrong_left(self, left: Any) -> Problem:
        match left:
            case nodes.AxisQuery(function) | AxisList(function):
                remedy = (
                    f"write `{function.text} = …`: a step has no `[t]`, and axes follow from the value or a declaration"
                )
                return errors.LeftSide(left.span, "a name with axes", remedy)
            case nodes.Pick() | nodes.Renamed():
                return errors.LeftSide(left.span, "a part of a value", "assign the whole value at once")
            case nodes.Number():
                return errors.LeftSide(left.span, "a number", "names stand left of `=`")
            case nodes.Name(text):
                return errors.LeftSide(left.span, f"the dotted name `{text}`", "leave the dot out")
        return errors.LeftSide(left.span, "an expression", "names stand left of `=`")

    def equation(self, children: list[Any]) -> tuple[nodes.Equation]:
        left, _prime, _equal, right, _using, method = children
        if not isinstance(left, nodes.Name) or "." in left.text:
            raise NotLegal(errors.LeftSide(left.span, "the derivative of an expression", "write `h' = …` for a state"))
        state = nodes.Identifier(left.text, left.span)
        return (nodes.Equation(state, right, method.name, method.options, left.span.to(method.span)),)

    def method(self, children: list[Any]) -> Method:
        last = next(c for c in reversed(children) if c is not None)
        options = tuple(c for c in children if isinstance(c, tuple))
        return Method(identifier(children[0]), options, children[0].span.to(last.span))

    def option(self, children: list[Any]) -> tuple[nodes.Identifier, nodes.Expr]:
        word, _equal, value = children
        return identifier(word), value

    # -- expressions

    def binary(self, children: list[Any]) -> nodes.Binary:
        left, op, right = children
        text = {"DOT": "·", "OUTER": "⊗"}.get(op.type, op.text)
        if op.type == "COMPARE" and isinstance(left, nodes.Binary) and left.op[0] in "<>=!":
            operands = (_short(left.left.span.text), left.op, _short(left.right.span.text), text)
            raise NotLegal(errors.ChainedComparison(op.span, *operands, _short(right.span.text)))
        return nodes.Binary(text, left, right, op.span, left.span.to(right.span))

    def unary(self, children: list[Any]) -> nodes.Unary:
        op, operand = children
        return nodes.Unary("-" if op.type == "MINUS" else "not", operand, op.span.to(operand.span))

    def paren(self, children: list[Any]) -> nodes.Paren:
        opening, operand, closing = children
        return nodes.Paren(operand, opening.span.to(closing.span))

    def number(self, children: list[Any]) -> nodes.Number:
        return number(children[0])

    def name(self, children: list[Any]) -> nodes.Name:
        return nodes.Name(children[0].text, children[0].span)

    dotted = name

    def called(self, children: list[Any]) -> nodes.Call:
        left, _opening, *args, closing = children
        args = [a for a in args if a is not None and not isinstance(a, Token)]
        span = left.span.to(closing.span)
        match left:
            case nodes.Name(text) if "." not in text:
                return nodes.Call(nodes.Identifier(text, left.span), None, tuple(args), span)
            case nodes.AxisQuery(function, axis):
                return nodes.Call(function, (axis,), tuple(args), span)
            case AxisList(function, axes):
                return nodes.Call(function, axes, tuple(args), span)
        raise NotLegal(errors.NotAFunction(left.span, left.text if isinstance(left, nodes.Name) else ""))

    # -- brackets

    def axis_in_bracket(self, children: list[Any]) -> nodes.Identifier:
        return identifier(children[0])

    def rename_in_bracket(self, children: list[Any]) -> RenameItem:
        source, _arrow, target = children
        return RenameItem(identifier(source), identifier(target), source.span.to(target.span))

    def pick_in_bracket(self, children: list[Any]) -> PickItem:
        axis, _equal, minus, index = children
        span = (minus or index).span.to(index.span)
        value = number(index).value
        if not isinstance(value, int):
            raise NotLegal(errors.PickIndex(span, span.text))
        return PickItem(identifier(axis), -value if minus else value, axis.span.to(span))

    def bracket(self, children: list[Any]) -> Bracket:
        items = tuple(c for c in children if c is not None and not isinstance(c, Token))
        return Bracket(items, children[0].span.to(children[-1].span))

    def bracketed(self, children: list[Any]) -> nodes.Expr | AxisList:
        operand, bracket = children
        span = operand.span.to(bracket.span)
        items = bracket.items
        if isinstance(operand, AxisList):
            raise NotLegal(unused_axes(operand))
        if items and all(isinstance(i, PickItem) for i in items):
            picked: nodes.Expr = operand
            for item in items:
                picked = nodes.Pick(picked, item.axis, item.index, span)
            return picked
        if items and all(isinstance(i, RenameItem) for i in items):
            return nodes.Renamed(operand, tuple((i.source, i.target) for i in items), span)
        if items and all(isinstance(i, nodes.Identifier) for i in items):
            if not isinstance(operand, nodes.Name) or "." in operand.text:
                remedy = "`[K -> J]` renames an axis, `[K = 0]` picks an element, `sum[K](…)` sums"
                raise NotLegal(errors.BracketContents(bracket.span, "a bracket that says nothing to do", remedy))
            function = nodes.Identifier(operand.text, operand.span)
            if len(items) == 1:
                return nodes.AxisQuery(function, items[0], span)
            return AxisList(function, items, span)
        remedy = "inside one bracket are axes (`sum[K](…)`), renamings (`x[K -> J]`) or picks (`x[J = 0]`)"
        what = "a bracket of different things" if items else "an empty bracket"
        raise NotLegal(errors.BracketContents(bracket.span, what, remedy))


def unused_axes(found: AxisList) -> Problem:
    """The problem of `sum[K, V]` without its argument."""
    name = found.function.text
    remedy = f"write `{name}[…](…)` with its argument; axes of a value stand in its declaration only"
    return errors.BracketContents(found.span, f"`{name}` with axes, and no argument", remedy)
