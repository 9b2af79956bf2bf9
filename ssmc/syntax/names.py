"""Which words may name what. Axes, functions, methods with their options, and values are four namespaces."""

from __future__ import annotations

import keyword
import re

STATEMENTS = ("ssm", "axis", "each", "input", "param", "state", "output")
KEYWORDS = frozenset((*STATEMENTS, "using", "and", "or", "not"))
CONSTANTS = frozenset(("true", "false", "t", "pi", "inf"))
CALL_KEYWORDS = frozenset(("backend", "form", "lengths", "cu_seqlens", "return_state", "sizes", "out"))
KINDS = ("complex", "bool", "int")
REVERSE = "reverse"

IDENTIFIER = re.compile(r"[A-Za-z_\u0391-\u03a9\u03b1-\u03c9][A-Za-z0-9_\u0391-\u03a9\u03b1-\u03c9]*")


def why_reserved(name: str) -> str | None:
    """Why a name cannot be given to a value, or None."""
    if name in KEYWORDS:
        return "it is a word of the language"
    if name in CONSTANTS:
        return "it is the step number" if name == "t" else "it is a constant"
    if name in CALL_KEYWORDS:
        return f"a call of the compiled spec takes `{name}=` itself"
    return None


def why_no_output(name: str) -> str | None:
    """Why a name cannot be an output's, or None."""
    if keyword.iskeyword(name):
        return "it is a keyword of Python"
    if name.startswith("_"):
        return "it begins with `_`"
    return None
