"""The functions of the language: which there are, what they take, how a call is written."""

from __future__ import annotations

from collections.abc import Collection

from ssmc.expr.ops import OPS
from ssmc.syntax.names import why_reserved

SCALAR = (
    "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "abs", "sign", "sin", "cos", "tan", "tanh", "sigmoid",
    "logsigmoid", "silu", "gelu", "relu", "softplus", "elu", "erf", "floor", "round", "mod", "real", "imag", "conj",
    "angle", "where", "pow",
)  # fmt: skip
"""Operators of the table that are called by their own name, with as many arguments as the table says."""

FOLDED = ("min", "max", "logaddexp")
"""Operators of two operands that take two or more arguments."""

REDUCING = ("sum", "mean", "max", "min", "prod", "any", "all", "logsumexp", "norm")
ALONG = ("softmax", "cumsum")
OVER_AXES = (*REDUCING, *ALONG)
TIME = ("prev", "next", "conv", "transfer", "past")
DISTRIBUTIONS = {"uniform": 2, "loguniform": 2, "normal": 1}

USAGE = {
    "clamp": "clamp(x, lo, hi)",
    "dot": "dot(a, b)",
    "outer": "outer(a, b)",
    "transpose": "transpose(A)",
    "shift": "shift[N](e)",
    "solve": "solve[N, M](A, b)",
    "prev": "prev(e, k, init)",
    "next": "next(e, k, init)",
    "conv": "conv(x, w)",
    "transfer": "transfer(b, a, u)",
    "past": "past[T](e)",
    "size": "size[N]",
    "index": "index[N]",
    "where": "where(c, a, b)",
    "uniform": "uniform(lo, hi)",
    "loguniform": "loguniform(lo, hi)",
    "normal": "normal(std)",
    **{name: f"{name}(a, b)" for name in ("mod", "pow", *FOLDED)},
    **{name: f"{name}[N](e)" for name in OVER_AXES if name not in FOLDED},
}
"""How a call is written; a function that is not here is `f(x)`."""

COUNTS: dict[str, tuple[int, int | None]] = {
    **{name: (OPS[name].arity, OPS[name].arity) for name in SCALAR},
    **dict.fromkeys(FOLDED, (2, None)),
    **{name: (n, n) for name, n in DISTRIBUTIONS.items()},
    "clamp": (3, 3),
    "dot": (2, 2),
    "outer": (2, 2),
    "transpose": (1, 1),
    "prev": (1, 3),
    "next": (1, 3),
    "conv": (2, 2),
    "transfer": (3, 3),
}
"""The least and the most arguments of a function without axes in brackets."""

BRACKETED: dict[str, tuple[int, int]] = {
    **dict.fromkeys(OVER_AXES, (1, 1)),
    "shift": (1, 2),
    "past": (1, 1),
    "solve": (2, 2),
}
"""The same of a function with axes."""

ONE_AXIS = ("cumsum", "shift", "past")
TWO_AXES = ("solve",)
"""Functions of one axis or two."""

FREE = frozenset(("solve",))
"""Functions that a spec may define for itself."""

BUILTINS = frozenset((*COUNTS, *BRACKETED, "size", "index"))

TABLES: dict[str, tuple[int, str]] = {
    **{f"hippo.{name}": (2, "real") for name in ("legs", "legt", "lmu", "fout")},
    **{f"hippo.{name}.B": (1, "real") for name in ("legs", "legt", "lmu", "fout")},
    **{f"s4d.{name}": (1, "complex") for name in ("lin", "inv", "legs")},
    "s4d.real": (1, "real"),
}
"""Initialiser tables: how many of a param's last axes they fill, and their kind."""


def usage(name: str, bracketed: bool = False) -> str:
    if bracketed and name in FOLDED and name in BRACKETED:
        return f"{name}(a, b)` of two values, over an axis `{name}[N](e)"
    if bracketed and name in BRACKETED:
        return USAGE[name] if name in ("shift", "solve") else f"{name}[N](e)"
    return USAGE.get(name, f"{name}(x)")


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def free_name(wish: str, taken: Collection[str]) -> str:
    """A name that a value may have and none of `taken` is: the wish itself, or with a number."""
    name, number = wish, 2
    while name in taken or name in BUILTINS or why_reserved(name) is not None:
        name, number = f"{wish}_{number}", number + 1
    return name
