"""Intervals cover what an expression is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.expr.arena import Arena
from ssmc.expr.bounds import ANY, Interval
from ssmc.expr.evaluate import evaluate
from ssmc.expr.nodes import Node
from ssmc.expr.ops import OPS
from ssmc.expr.ranges import Ranges
from tests.unit.recurrence_cases import XP, full, leaf_of

UNARY = sorted(o.name for o in OPS.values() if o.arity == 1 and o.user and o.name not in ("not", "imag"))
BINARY = ["add", "sub", "mul", "div", "min", "max", "logaddexp", "mod"]
REDUCE = ["sum", "prod", "max", "min", "logsumexp"]


@st.composite
def expressions(draw: st.DrawFn) -> tuple[Arena, Node]:
    """A chain over the input x[D], with constants and reuse."""
    ar = Arena(("D",))
    e: Node = ar.input("x", ("D",), "real")
    x = e
    for _ in range(draw(st.integers(1, 5))):
        how = draw(st.sampled_from(["unary", "binary", "square", "reduce", "shift", "where", "cumulative"]))
        other = draw(st.sampled_from([x, e, ar.const(draw(st.sampled_from([-2.0, -0.5, 0.0, 0.5, 1.0, 3.0])))]))
        match how:
            case "unary":
                e = ar.map(draw(st.sampled_from(UNARY)), e)
            case "binary":
                e = ar.map(draw(st.sampled_from(BINARY)), e, other)
            case "square":
                e = ar.mul(e, e)
            case "reduce" if e.axes:
                e = ar.reduce(draw(st.sampled_from(REDUCE)), e, e.axes)
            case "shift" if e.axes:
                e = ar.shift(e, "D", 1)
            case "cumulative" if e.axes:
                e = ar.cumulative(draw(st.sampled_from(["sum", "prod"])), e, "D")
            case _:
                e = ar.where(ar.map("gt", x, ar.const(0)), e, other)
    return ar, e


@settings(max_examples=300, deadline=None)
@given(expressions(), st.integers(0, 100))
def test_covers(made: tuple[Arena, Node], seed: int) -> None:
    _, e = made
    found = Ranges()(e)
    x = np.random.default_rng(seed).normal(size=4) * 3
    (value,) = evaluate([e], leaf_of({"x": x}), XP, {"D": 4})
    data = np.asarray(full(value, e.axes, {"D": 4}), dtype=float)
    data = data[np.isfinite(data)]  # overflow and invalid operands are outside what an interval says
    slack = 1e-9 * np.maximum(1.0, np.abs(data))
    assert np.all(data >= found.low - slack)
    assert np.all(data <= found.high + slack)


@pytest.mark.parametrize(
    ("build", "low", "high"),
    [
        (lambda ar, x: ar.map("sigmoid", x), 0, 1),
        (lambda ar, x: ar.sub(ar.const(1), ar.map("sigmoid", x)), 0, 1),
        (lambda ar, x: ar.mul(x, x), 0, np.inf),
        (lambda ar, x: ar.map("abs", ar.map("tanh", x)), 0, 1),
        (lambda ar, x: ar.reduce("max", ar.map("relu", x), ("D",)), 0, np.inf),
        (lambda ar, x: ar.map("lt", x, ar.const(0)), 0, 1),
        (lambda ar, x: ar.time(), 1, np.inf),
        (lambda ar, x: x, -np.inf, np.inf),
    ],
)
def test_known(build: object, low: float, high: float) -> None:
    ar = Arena(("D",))
    assert Ranges()(build(ar, ar.input("x", ("D",), "real"))) == Interval(low, high)  # type: ignore[operator]


def test_what_is_known_of_leaves_is_used() -> None:
    ar = Arena(("D",))
    x = ar.input("x", ("D",), "real")
    assert Ranges()(ar.neg(x)) == ANY
    assert Ranges(lambda node: Interval(1.0, 2.0) if node is x else None)(ar.neg(x)) == Interval(-2.0, -1.0)
