"""Intervals: what is known of the values of an expression, elementwise.

Used to prove that a factor is positive (so that it has a logarithm), non-negative (so that it distributes over max), or
at most one (so that a product of decays cannot grow). Every rule is conservative and covers what floating point can
round to: `exp` is non-negative, not positive, because it underflows; `log_of` (rewrite.py) uses structure instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

INF = math.inf


@dataclass(frozen=True)
class Interval:
    """A closed interval; the ends may be infinite. NaN is outside every interval: rules assume finite arguments."""

    low: float = -INF
    high: float = INF

    @property
    def nonnegative(self) -> bool:
        return self.low >= 0

    @property
    def nonpositive(self) -> bool:
        return self.high <= 0

    @property
    def positive(self) -> bool:
        return self.low > 0

    @property
    def sign(self) -> str:
        """`+`, `0+`, `-`, `0-` or `?`."""
        if self.low > 0:
            return "+"
        if self.low >= 0:
            return "0+"
        if self.high < 0:
            return "-"
        return "0-" if self.high <= 0 else "?"


ANY = Interval()
UNIT = Interval(0.0, 1.0)
NONNEGATIVE = Interval(0.0, INF)


def add(a: Interval, b: Interval) -> Interval:
    return Interval(_sum(a.low, b.low, -INF), _sum(a.high, b.high, INF))


def neg(a: Interval) -> Interval:
    return Interval(-a.high, -a.low)


def sub(a: Interval, b: Interval) -> Interval:
    return add(a, neg(b))


def mul(a: Interval, b: Interval) -> Interval:
    ends = [_times(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return Interval(min(ends), max(ends))


def div(a: Interval, b: Interval) -> Interval:
    if b.low > 0 or b.high < 0:
        ends = [_over(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
        return Interval(min(ends), max(ends))
    if b.low >= 0:
        return Interval(0.0 if a.low >= 0 else -INF, 0.0 if a.high <= 0 else INF)
    return ANY


def power(a: Interval, b: Interval) -> Interval:
    if b.low == b.high and b.low == int(b.low) and int(b.low) % 2 == 0 and b.low > 0:
        top = max(abs(a.low), abs(a.high))
        bottom = 0.0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high))
        return Interval(_raised(bottom, b.low), _raised(top, b.low))
    if a.low >= 0:
        if a.high <= 1 and b.low >= 0:
            return UNIT
        return NONNEGATIVE
    return ANY


def _raised(x: float, p: float) -> float:
    try:
        return math.pow(x, p)
    except OverflowError:
        return INF


def absolute(a: Interval) -> Interval:
    if a.low >= 0:
        return a
    if a.high <= 0:
        return neg(a)
    return Interval(0.0, max(-a.low, a.high))


def minimum(a: Interval, b: Interval) -> Interval:
    return Interval(min(a.low, b.low), min(a.high, b.high))


def maximum(a: Interval, b: Interval) -> Interval:
    return Interval(max(a.low, b.low), max(a.high, b.high))


def join(*parts: Interval) -> Interval:
    """The smallest interval that covers all parts."""
    return Interval(min(p.low for p in parts), max(p.high for p in parts))


def _sum(x: float, y: float, both: float) -> float:
    # -inf + inf appears only where one end is unknown: stay at the unknown end
    return both if math.isinf(x) and math.isinf(y) and x != y else x + y


def _times(x: float, y: float) -> float:
    return 0.0 if x == 0 or y == 0 else x * y


def _over(x: float, y: float) -> float:
    if math.isinf(x) and math.isinf(y):
        return 0.0 if x == 0 else math.copysign(INF, x * y)
    return x / y if y != 0 else math.copysign(INF, x)
