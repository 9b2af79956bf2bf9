"""The untyped tree of a file, as lark's parser or Python's `ast` gives it.

Every node has a `span` (left out of comparison). Nothing is resolved here: names are text (NFKC-normalised), axes are
text, macros are not expanded. Both front ends give exactly this tree, so no later level knows which one was used.

    File     = Spec*
    Spec     = "ssm" name Statement*
    Statement= AxisDecl | EachDecl | Declaration | Assign | Macro | Equation
    Expr     = Number | Name | Unary | Binary | Call | AxisQuery | Pick | Renamed | Paren
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ssmc.source import Source, Span

Role = Literal["input", "param", "state", "output"]


def _span() -> Span:
    return field(compare=False, repr=False)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Identifier:
    """A name with its place: axes, formals, declared names."""

    text: str
    span: Span = _span()


# -- expressions -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """A literal. `value` is an int, a float, or a complex (`2j`)."""

    value: int | float | complex
    span: Span = _span()


@dataclass(frozen=True)
class Name:
    """A value by name, the reserved ones (`t pi inf true false`) included; or a dotted table name (`hippo.legs`)."""

    text: str
    span: Span = _span()


@dataclass(frozen=True)
class Unary:
    op: Literal["-", "not"]
    operand: Expr
    span: Span = _span()


@dataclass(frozen=True)
class Binary:
    """`op` is one of `+ - * / ** @ · ⊗ < <= > >= == != and or` (the ASCII and look-alike spellings are folded)."""

    op: str
    left: Expr
    right: Expr
    op_span: Span = _span()
    span: Span = _span()


@dataclass(frozen=True)
class Call:
    """`f(x, y)`, `sum[K, V](e)`, `l2[K](x)`, `past[T](e)`, `shift[N](e, k)`, `normal(1)`, `zoh` has none of these.

    `axes` is None without brackets. `dot(a, b)` and `outer(a, b)` are Calls, not folded into Binary.
    """

    function: Identifier
    axes: tuple[Identifier, ...] | None
    args: tuple[Expr, ...]
    span: Span = _span()


@dataclass(frozen=True)
class AxisQuery:
    """`size[K]` or `index[N]`: a bracket without a call."""

    function: Identifier
    axis: Identifier
    span: Span = _span()


@dataclass(frozen=True)
class Pick:
    """`e[J = 0]`; several axes at once are nested by the parser, first axis innermost."""

    operand: Expr
    axis: Identifier
    index: int
    span: Span = _span()


@dataclass(frozen=True)
class Renamed:
    """`e[K -> V, V -> K]`, simultaneous."""

    operand: Expr
    pairs: tuple[tuple[Identifier, Identifier], ...]
    span: Span = _span()


@dataclass(frozen=True)
class Paren:
    """Parentheses as written; they matter to the two ambiguous products and to the formatter."""

    operand: Expr
    span: Span = _span()


Expr = Number | Name | Unary | Binary | Call | AxisQuery | Pick | Renamed | Paren


# -- statements --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AxisDecl:
    """`axis N`, `axis N = 16`, `axis N = 2*P`; one node a name."""

    name: Identifier
    size: Expr | None
    span: Span = _span()


@dataclass(frozen=True)
class EachDecl:
    names: tuple[Identifier, ...]
    span: Span = _span()


@dataclass(frozen=True)
class Declaration:
    """One declarator of an `input`, `param`, `state` or `output` line. `axes` is None without brackets.

    `kind` is None, `complex`, `bool` or `int`; `init` is the default, initial value, or an output's expression.
    `inferred` is true for what Python's `return` makes, which cannot say a kind: complex where the value is.
    """

    role: Role
    name: Identifier
    axes: tuple[Identifier, ...] | None
    kind: Identifier | None
    init: Expr | None
    reverse: bool
    span: Span = _span()
    inferred: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Assign:
    name: Identifier
    value: Expr
    span: Span = _span()


@dataclass(frozen=True)
class Macro:
    """`f(x, y) = expr` (axes None) or `l2[K](x) = expr`."""

    name: Identifier
    axes: tuple[Identifier, ...] | None
    formals: tuple[Identifier, ...]
    body: Expr
    span: Span = _span()


@dataclass(frozen=True)
class Equation:
    """`h' = right using method(alpha = …, step = …)`; `options` in the order written."""

    state: Identifier
    right: Expr
    method: Identifier
    options: tuple[tuple[Identifier, Expr], ...]
    span: Span = _span()


Statement = AxisDecl | EachDecl | Declaration | Assign | Macro | Equation


@dataclass(frozen=True)
class Spec:
    name: Identifier
    statements: tuple[Statement, ...]
    span: Span = _span()


@dataclass(frozen=True)
class File:
    source: Source
    specs: tuple[Spec, ...]
