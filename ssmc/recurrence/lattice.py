"""Normal forms of expressions in min, max, sums and products with factors of known sign: equal forms, equal functions.

A form is a minimum over groups of a maximum over polynomials, distributed out and freed of redundant groups; such a
form of a distributive lattice is unique, so two expressions are equal as soon as their forms are. Addition distributes
over both, a factor of known sign too (a negative one exchanges them). `or` and `and` are max and min.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

BEYOND = 2**52  # what stands for an infinity among integers

Poly = Any  # an element of a sympy polynomial ring: hashable, with + and *
Groups = frozenset[frozenset[Poly]]


class Unprovable(Exception):
    """The expression is outside what the normal form covers."""


@dataclass(frozen=True)
class Form:
    """min over groups of max over the group. No groups: +inf; an empty group: -inf."""

    groups: Groups

    @staticmethod
    def of(groups: Iterable[frozenset[Poly]]) -> Form:
        kept = set(groups)
        return Form(frozenset(g for g in kept if not any(other < g for other in kept)))


BOTTOM = Form(frozenset({frozenset()}))
TOP = Form(frozenset())


def single(p: Poly) -> Form:
    return Form(frozenset({frozenset({p})}))


def minimum(x: Form, y: Form) -> Form:
    return Form.of(x.groups | y.groups)


def maximum(x: Form, y: Form) -> Form:
    return Form.of(a | b for a in x.groups for b in y.groups)


def plus(x: Form, y: Form) -> Form:
    return Form.of(frozenset(p + q for p in a for q in b) for a in x.groups for b in y.groups)


def scaled(x: Form, factor: Poly, positive: bool) -> Form:
    moved = [[p * factor for p in g] for g in x.groups]
    if positive:
        return Form.of(frozenset(g) for g in moved)
    # the minimum of maxima has become a maximum of minima: choose one of every group
    return Form.of(frozenset(choice) for choice in _transversals(moved))


def _transversals(groups: list[list[Poly]]) -> Iterable[frozenset[Poly]]:
    """max over groups of (min over the group) = min over choices of (max over what was chosen)."""
    return (frozenset(c) for c in itertools.product(*groups))


_ZERO_TEST: Any = object()  # what a comparison gives: clamps compare slopes with 0 and bounds with an infinity


class Lattices:
    """The domain of exact.py whose scalars are Forms. `sign(poly)` is +1, -1 or None where it is not known."""

    def __init__(self, constant: Callable[[Any], Poly], sign: Callable[[Poly], int | None]) -> None:
        self.constant, self.sign = constant, sign

    def lift(self, x: Any) -> Form:
        if isinstance(x, Form):
            return x
        if isinstance(x, bool):
            return TOP if x else BOTTOM
        if isinstance(x, (int, float)) and (math.isinf(x) or abs(x) >= BEYOND):
            return TOP if x > 0 else BOTTOM
        return single(self.constant(x))

    def apply(self, op: str, args: Sequence[Any]) -> Any:
        x = [self.lift(a) for a in args] if op != "where" else []
        match op:
            case "add":
                return plus(x[0], x[1])
            case "max" | "or":
                return maximum(x[0], x[1])
            case "min" | "and":
                return minimum(x[0], x[1])
            case "mul":
                return self.product(x[0], x[1])
            case "neg":
                return scaled(x[0], self.constant(-1), positive=False)
            case "sub":
                return plus(x[0], scaled(x[1], self.constant(-1), positive=False))
            case "eq":
                return _ZERO_TEST
            case "lt":  # of a slope and 0
                slope = _only(x[0])
                sign = None if slope is None or x[1] != self.lift(0) else self.sign(slope)
                if sign is None:
                    raise Unprovable(op)
                return sign < 0
            case "where" if isinstance(args[0], bool):
                return self.lift(args[1] if args[0] else args[2])
            case "where" if args[0] is _ZERO_TEST:
                # where(s == 0, 0, s*y) is s*y for finite y, and where(y == -inf, …, s*y): they only keep 0 * inf away
                return self.lift(args[2])
            case _:
                raise Unprovable(op)

    def product(self, x: Form, y: Form) -> Form:
        for form, factor in ((x, y), (y, x)):
            p = _only(factor)
            sign = None if p is None else self.sign(p)
            if p is not None and sign is not None:
                return scaled(form, p, sign > 0)
        raise Unprovable("a product of values of unknown sign")


def _only(x: Form) -> Poly | None:
    """The polynomial that a form is, if it has neither min nor max."""
    if len(x.groups) == 1:
        (group,) = x.groups
        if len(group) == 1:
            return next(iter(group))
    return None
