"""Pieces of C++ text: loops, products, parentheses where they are needed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ssmc.backends.cpp.value import Value

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
    text = count.replace("LANES", str(lanes))
    if not re.fullmatch(r"[\d *()+-]+", text):
        return None
    return int(eval(text))  # noqa: S307  digits and operators only, from this module


def term(index: str, stride: str) -> str:
    return index if stride == "1" else f"{index} * {stride}"
