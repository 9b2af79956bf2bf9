"""The C++ that generated files carry along: vector types, memory access and mathematics, only what is used.

`support/*.hpp` holds it in pieces, each after a line `//: name …` that says what it defines. `(condition …)` behind
the names keeps a piece to files that need it: `float` and `double` are the file's precision, `other_precision` is
that both are asked for, and any other condition is a word that is asked for too (`cx`: overloads for complex numbers
come along where complex numbers do). What a piece uses it finds by name.

Every function takes one number or a vector of them; with `cx` complex numbers, with `vint` integers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Literal

Real = Literal["float", "double"]

# What has to be defined first stands first.
FILES = (
    "types", "exponentials", "activations", "trigonometry", "complex", "integers", "memory", "access", "rows", "cells",
    "linear", "products", "transforms",
)  # fmt: skip

OPERATORS: dict[str, tuple[str, str]] = {
    "neg": ("prefix", "-"),
    **{name: ("infix", text) for name, text in (
        ("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/"), ("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="),
        ("eq", "=="), ("ne", "!="),
    )},
    **{name: ("call", f"m_{name}") for name in (
        "pow", "not", "and", "or", "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "abs", "sign", "real", "imag",
        "conj", "angle", "sin", "cos", "tan", "tanh", "sigmoid", "logsigmoid", "silu", "gelu", "relu", "softplus",
        "elu", "erf", "floor", "round", "mod", "min", "max", "logaddexp", "where",
    )},
    "phi": ("template", "m_phi"),  # m_phi<k>(x); the order is a constant
    "cast_real": ("call", "m_real"), "cast_complex": ("call", "m_complex"), "cast_int": ("call", "m_int"),
}  # fmt: skip
"""How the printer writes each operator of ssmc.expr.ops: its style, and the symbol or the function."""

CONDITION_OPERATORS: dict[str, tuple[str, str]] = {
    **{name: ("call", f"m_{name}") for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "cast_real": ("call", "m_real_if"), "cast_complex": ("call", "m_complex_if"), "cast_int": ("call", "m_int_if"),
}  # fmt: skip
"""The operators that are written otherwise where their operands are bools."""

_HEAD = re.compile(r"^//: ([\w ]+?)(?: \(([\w ]+)\))?$")
_WORD = re.compile(r"[A-Za-z_]\w*")
_MACRO = re.compile(r"^#define (\w+)", re.M)
_GONE = re.compile(r"^#undef (\w+)", re.M)
_REMARK = re.compile(r"//[^\n]*")


@dataclass(frozen=True)
class Piece:
    """A passage of a support file: what it defines, when it is of use, its text, and the words in it."""

    names: frozenset[str]
    conditions: frozenset[str]
    text: str
    words: frozenset[str]

    def serves(self, wanted: set[str]) -> bool:
        return not self.names.isdisjoint(wanted) and self.conditions <= wanted


@functools.cache
def pieces() -> tuple[Piece, ...]:
    """All of them, in an order in which everything is defined before its use."""
    folder = resources.files("ssmc.backends.cpp") / "support"
    found = []
    for file in FILES:
        head, lines = None, list[str]()
        for line in [*(folder / f"{file}.hpp").read_text(encoding="utf-8").splitlines(), "//: end"]:
            opened = _HEAD.match(line)
            if opened is None:
                lines.append(line)
                continue
            if head is not None:
                text = "\n".join(lines).strip()
                words = frozenset(_WORD.findall(_REMARK.sub("", text)))
                found.append(Piece(frozenset(head[1].split()), frozenset((head[2] or "").split()), text, words))
            head, lines = opened, []
    return tuple(found)


def names() -> frozenset[str]:
    """What can be asked for."""
    return frozenset(name for piece in pieces() for name in (*piece.names, *piece.conditions))


def macros() -> frozenset[str]:
    """The words that stand for something else throughout a file: no name in it may be one of them."""
    text = "\n".join(["#define LANES", *(piece.text for piece in pieces())])
    return frozenset(_MACRO.findall(text)) - frozenset(_GONE.findall(text))


def support_text(names: Iterable[str], real: Real, lanes: int) -> str:
    """The types, and the pieces that define `names` with all they use; loads and stores of complex numbers, integers,
    bools, half precisions, and the other precision with `cx`, `vint`, `bool`, `bf16`, `f16`, `float` or `double` among
    them."""
    wanted = {"prelude", *names}
    if {"float", "double"} - {real} <= wanted:
        wanted.add("other_precision")
    wanted = wanted - {"float", "double"} | {real}
    kept: set[Piece] = set()
    while more := {p for p in pieces() if p not in kept and p.serves(wanted)}:
        kept |= more
        wanted |= {word for piece in more for word in piece.words} - {"float", "double", "bool"}
    return "\n\n".join([f"#define LANES {lanes}", *(p.text for p in pieces() if p in kept)]) + "\n"
