"""Pieces of C++ text: loops, products, parentheses where they are needed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from ssmc.backends.cpp.value import NotPrintable, Value

from ssmc.expr.nodes import Kind

SCALAR: dict[Kind, str] = {"bool": "bool", "int": "i64", "real": "real", "complex": "cx<real>"}

INDENT = "    "


def enclosed(head: str, lines: list[str]) -> list[str]:
    """A loop; `head` may go on with lines of its body."""
    first, *more = head.split("\n")
    return [first, *indented([*more, *lines]), "}"]


def indented(lines: Iterable[str]) -> list[str]:
    return [INDENT + line if line else "" for line in lines]


def told(line: str, v: Value) -> str:
    if v.span is None:
        return line
    where = "".join(c if c.isprintable() else "?" for c in v.span.where.rsplit("/", 1)[-1])
    return f"{line}  // {where}"


def atom(text: str) -> str:
    return text if is_enclosed(text) or re.fullmatch(r"\w+(\([^()]*\))?", text) else f"({text})"


def without_zeros(index: str) -> str:
    return simple(index.replace(" + 0)", ")").removesuffix(" + 0"))


def simple(text: str) -> str:
    return re.sub(r"(?<!\w)\((\w+)\)", r"\1", text)


def times(x: str, y: str) -> str:
    if x == "1":
        return y
    if y == "1":
        return x
    if x.isdigit() and y.isdigit():
        return str(int(x) * int(y))
    return f"{atom(x)} * {atom(y)}" if " + " in x + y or " - " in x + y else f"{x} * {y}"


def product(x: str, y: str) -> str:
    if y == "1":
        return x if is_enclosed(x) or re.fullmatch(r"\w+( \* \w+)?", x) else f"({x})"
    return f"{x} * {y}" if is_enclosed(x) or re.fullmatch(r"\w+( \* \w+)*", x) else f"({x}) * {y}"


def is_enclosed(text: str) -> bool:
    """Whether one pair of parentheses is around all of it."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0 and i < len(text) - 1:
            return False
    return text.startswith("(") and text.endswith(")")


def number_of(count: str, lanes: int) -> int | None:
    """A count as a number, where it is one."""

    def value(node: ast.expr) -> int | None:
        match node:
            case ast.Constant(value=int() as number):
                return number
            case ast.Name(id="LANES"):
                return lanes
            case ast.BinOp(left=left, op=ast.Mult() | ast.Add() | ast.Sub() as op, right=right):
                x, y = value(left), value(right)
                if x is None or y is None:
                    return None
                return x * y if isinstance(op, ast.Mult) else x + y if isinstance(op, ast.Add) else x - y
            case _:
                return None

    return value(ast.parse(count, mode="eval").body)


def term(index: str, stride: str) -> str:
    return index if stride == "1" else f"{index} * {stride}"


def identity(op: str, kind: Kind) -> str:
    match op, kind:
        case ("sum", "complex"):
            return "cx<real>{real(0), real(0)}"
        case ("prod", "complex"):
            return "cx<real>{real(1), real(0)}"
        case ("sum", _):
            return f"{SCALAR[kind]}(0)"
        case ("prod", _):
            return f"{SCALAR[kind]}(1)"
        case ("max", "int"):
            return "i64(-9223372036854775807 - 1)"
        case ("min", "int"):
            return "i64(9223372036854775807)"
        case ("max", _):
            return "-INFINITE"
        case ("min", _):
            return "INFINITE"
        case ("any", _):
            return "false"
        case ("all", _):
            return "true"
    raise NotPrintable(op)
