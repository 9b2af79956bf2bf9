"""Derived operators evaluated in an exact domain, element by element: symbols for proofs, rationals for tests.

Only the nodes that monoids are made of: constants, indices, locals, Reads, operators, reductions, renamings. A value is
a table from the indices along the node's axes to a scalar. Scalars that come from constants and indices stay Python
numbers and are computed with here; any other goes to the domain.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Node, base_axis, children, postorder
from ssmc.expr.ops import REDUCTIONS

Scalar = Any
Table = dict[tuple[int, ...], Scalar]


class Domain(Protocol):
    """Where scalars live. `apply` computes an operator of the table; Python numbers among `args` are constants."""

    def apply(self, op: str, args: Sequence[Scalar]) -> Scalar: ...


def evaluate_exact(
    roots: Sequence[Node], leaf: Callable[[Node], Table], sizes: Mapping[str, int], domain: Domain
) -> list[Table]:
    """The roots' tables. `leaf` gives those of Locals, Reads, Inputs and Params; `sizes` is by axis or by its base."""
    values: dict[Node, Table] = {}
    for node in postorder(list(roots)):
        values[node] = _table(node, [values[c] for c in children(node)], leaf, sizes, domain)
    return [values[r] for r in roots]


def indices(axes: Axes, sizes: Mapping[str, int]) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(size_of(a, sizes)) for a in axes)))


def size_of(axis: str, sizes: Mapping[str, int]) -> int:
    return sizes[axis] if axis in sizes else sizes[base_axis(axis)]


def _table(
    node: Node, args: list[Table], leaf: Callable[[Node], Table], sizes: Mapping[str, int], domain: Domain
) -> Table:
    places = indices(node.axes, sizes)
    match node:
        case n.Const(value=value):
            return {(): value}
        case n.Size(axis=axis):
            return {(): size_of(axis, sizes)}
        case n.Index():
            return {i: i[0] for i in places}
        case n.Map(op=op, args=operands):
            at = [tuple(node.axes.index(a) for a in x.axes) for x in operands]
            return {
                i: _mapped(op, [t[tuple(i[k] for k in where)] for t, where in zip(args, at, strict=True)], domain)
                for i in places
            }
        case n.Reduce(op=op, arg=arg, over=over):
            return _reduced(op, arg.axes, args[0], over, places, node.axes, sizes, domain)
        case n.Rename():
            return args[0]
        case n.Local() | n.Read() | n.Input() | n.Param():
            return leaf(node)
        case _:
            raise CompilerBug(f"{node!r} in a derived operator")


def _reduced(
    op: str,
    inner: Axes,
    table: Table,
    over: Axes,
    places: list[tuple[int, ...]],
    axes: Axes,
    sizes: Mapping[str, int],
    domain: Domain,
) -> Table:
    fold = REDUCTIONS[op].operator
    result: Table = {}
    for place in places:
        at = dict(zip(axes, place, strict=True))
        total: Scalar = None
        for index in indices(over, sizes):
            full = at | dict(zip(over, index, strict=True))
            x = table[tuple(full[a] for a in inner)]
            total = x if total is None else _mapped(fold, [total, x], domain)
        result[place] = total
    return result


_CONCRETE: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "neg": operator.neg, "eq": operator.eq,
    "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "and": lambda x, y: x and y, "or": lambda x, y: x or y, "not": operator.not_, "max": max, "min": min,
}  # fmt: skip


def _mapped(op: str, args: list[Scalar], domain: Domain) -> Scalar:
    if op == "where" and isinstance(args[0], bool):
        return args[1] if args[0] else args[2]
    if op.startswith("cast_"):
        return args[0]
    if op in _CONCRETE and all(isinstance(a, (bool, int, float)) for a in args):
        return _CONCRETE[op](*args)
    return domain.apply(op, args)


class Rationals:
    """Exact rational arithmetic. -inf and inf, the identities of max and min, stay the floats."""

    def apply(self, op: str, args: Sequence[Scalar]) -> Scalar:
        args = [Fraction(a) if isinstance(a, float) and math.isfinite(a) else a for a in args]
        match op:
            case "mul":
                # 0 * inf is asked for only where `where` discards it
                return Fraction(0) if 0 in args else args[0] * args[1]
            case "div":
                return Fraction(args[0]) / Fraction(args[1])
            case "abs":
                return abs(args[0])
            case "where":
                return args[1] if args[0] else args[2]
            case _:
                return _CONCRETE[op](*args)


class Exponentials:
    """Logarithms by their exponentials, rational: + is *, logaddexp is +, -inf is 0."""

    def apply(self, op: str, args: Sequence[Scalar]) -> Scalar:
        x = [self.lifted(a) for a in args]
        match op:
            case "add":
                return x[0] * x[1]
            case "logaddexp":
                return x[0] + x[1]
            case "where":
                return x[1] if args[0] else x[2]
            case _:
                raise CompilerBug(f"`{op}` in a log-sum-exp operator")

    def lifted(self, a: Scalar) -> Scalar:
        if isinstance(a, float) and a == -math.inf:
            return 0
        if isinstance(a, (int, float)) and not isinstance(a, bool) and a == 0:
            return 1
        return a
