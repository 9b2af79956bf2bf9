"""Which algebra a component is found to be in, and that its monoid computes what its source says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ssmc.recurrence.analyse import analyse
from ssmc.recurrence.nodes import Analysis, Component
from tests.unit.recurrence_cases import Spec, check_component

Build = Callable[[Spec], None]


def ema(s: Spec) -> None:
    a, x, h = s.param("a", "D"), s.input("x", "D"), s.state("h", "D")
    s.set("h", s.arena.add(s.arena.mul(a, h), x))


def scalar_decay(s: Spec) -> None:
    ar = s.arena
    a, k, v, h = s.input("a", "H"), s.input("k", "H K"), s.input("v", "H V"), s.state("h", "H K V")
    s.set("h", ar.add(ar.mul(ar.map("sigmoid", a), h), ar.mul(k, v)))


def cumulative_sum(s: Spec) -> None:
    s.set("h", s.arena.add(s.state("h", "D"), s.input("x", "D")))


def running_product(s: Spec) -> None:
    s.set("h", s.arena.mul(s.input("x", "D"), s.state("h", "D", init=1.0)))


def dense(s: Spec) -> None:
    ar = s.arena
    a, x, h = s.param("A", "N N'"), s.input("x"), s.state("h", "D N")
    s.set("h", ar.add(ar.contract(a, ar.rename(h, {"N": "N'"}), ("N'",)), x))


def delta_rule(s: Spec) -> None:
    ar = s.arena
    k, v, b, h = s.input("k", "H K"), s.input("v", "H V"), s.input("b", "H"), s.state("S", "H K V")
    erased = ar.sub(v, ar.contract(k, h, ("K",)))
    s.set("S", ar.add(h, ar.mul(b, ar.mul(k, erased))))


def shift_register(s: Spec) -> None:
    ar = s.arena
    h, u, b = s.state("s", "D N"), s.input("u", "D"), s.param("b", "D N")
    s.set("s", ar.add(ar.shift(h, "N", 1), ar.mul(b, u)))


def momentum(s: Spec) -> None:
    ar = s.arena
    g, eta, alpha = s.input("g", "K V"), s.input("eta"), s.input("alpha", "V")
    m, p = s.state("m", "K V"), s.state("p", "K V")
    new = ar.sub(ar.mul(eta, p), ar.add(g, ar.mul(ar.const(0.1), m)))
    s.set("p", new)
    s.set("m", ar.add(ar.mul(alpha, m), new))


def two_shapes(s: Spec) -> None:
    """A vector that reads a matrix, which reads the vector."""
    ar = s.arena
    w, x, u, m = s.input("w", "V"), s.input("x", "K"), s.state("u", "K"), s.state("m", "K V")
    s.set("u", ar.add(ar.contract(m, w, ("V",)), x))
    s.set("m", ar.add(ar.mul(ar.const(0.5), m), ar.mul(u, w)))


def complex_rotation(s: Spec) -> None:
    ar = s.arena
    a, x, h = s.param("a", "D", "complex"), s.input("x", "D"), s.state("h", "D", "complex")
    s.set("h", ar.add(ar.mul(a, h), x))


def segment_reset(s: Spec) -> None:
    ar = s.arena
    c, a, x, h = s.input("c", "", "bool"), s.input("a", "D"), s.input("x", "D"), s.state("h", "D")
    s.set("h", ar.where(c, x, ar.add(ar.mul(a, h), x)))


def index_dependent(s: Spec) -> None:
    ar = s.arena
    h, x = s.state("h", "D"), s.input("x", "D")
    s.set("h", ar.add(ar.div(h, ar.time()), x))


def counter(s: Spec) -> None:
    ar = s.arena
    c, h = s.input("c", "", "bool"), s.state("n", "", "int")
    s.set("n", ar.where(c, ar.const(0), ar.add(h, ar.const(1))))


def maxplus(s: Spec) -> None:
    ar = s.arena
    w, i, h = s.input("w", "H"), s.input("i", "H D"), s.state("m", "H D")
    s.set("m", ar.map("max", ar.add(w, h), i))


def minplus_reset(s: Spec) -> None:
    ar = s.arena
    c, w, i, h = s.input("c", "", "bool"), s.input("w", "D"), s.input("i", "D"), s.state("m", "D")
    s.set("m", ar.where(c, i, ar.map("min", ar.sub(h, w), i)))


def viterbi(s: Spec) -> None:
    ar = s.arena
    a, e, h = s.param("A", "N N'"), s.input("e", "N"), s.state("h", "N")
    s.set("h", ar.add(ar.reduce("max", ar.add(a, ar.rename(h, {"N": "N'"})), ("N'",)), e))


def forward_algorithm(s: Spec) -> None:
    ar = s.arena
    a, e, h = s.param("A", "N N'"), s.input("e", "D N"), s.state("h", "D N")
    s.set("h", ar.add(ar.reduce("logsumexp", ar.add(a, ar.rename(h, {"N": "N'"})), ("N'",)), e))


def left_to_right(s: Spec) -> None:
    """Dynamic programming that moves to the right or stays, max-plus; shift fills with 0, which joins the constant."""
    ar = s.arena
    e, h = s.input("e", "N"), s.state("h", "N")
    s.set("h", ar.add(ar.map("max", h, ar.shift(h, "N", 1)), e))


def coupled_maxplus(s: Spec) -> None:
    ar = s.arena
    a, b, p, q = s.input("a", "D"), s.input("b"), s.state("p", "D"), s.state("q", "D")
    s.set("p", ar.map("max", ar.add(a, q), b))
    s.set("q", ar.map("max", ar.add(b, p), ar.add(a, q)))


def maxtimes(s: Spec) -> None:
    ar = s.arena
    a, x, h = s.input("a", "D"), s.input("x", "D"), s.state("h", "D")
    s.set("h", ar.map("max", ar.mul(ar.map("sigmoid", a), h), x))


def log_sum_exp(s: Spec) -> None:
    ar = s.arena
    a, b, h = s.input("a", "D"), s.input("b", "D"), s.state("h", "D")
    s.set("h", ar.map("log", ar.add(ar.exp(ar.add(h, a)), ar.exp(b))))


def softplus_chain(s: Spec) -> None:
    ar = s.arena
    s.set("h", ar.map("softplus", ar.add(s.state("h", "D"), s.input("a", "D"))))


def latch(s: Spec) -> None:
    ar = s.arena
    a, b, h = s.input("a", "D", "bool"), s.input("b", "D", "bool"), s.state("h", "D", "bool")
    s.set("h", ar.map("or", ar.map("and", h, a), b))


def reachable(s: Spec) -> None:
    ar = s.arena
    a, h = s.input("A", "N N'", "bool"), s.state("h", "N", "bool")
    s.set("h", ar.reduce("any", ar.map("and", a, ar.rename(h, {"N": "N'"})), ("N'",)))


def toggle(s: Spec) -> None:
    """exclusive or, and a comparison of numbers chosen by the state (a Schmitt trigger)"""
    ar = s.arena
    x, lo, hi, h = s.input("x", "D"), s.param("lo"), s.param("hi"), s.state("h", "D", "bool")
    s.set("h", ar.map("gt", x, ar.where(h, lo, hi)))


def saturated(s: Spec) -> None:
    ar = s.arena
    x, h = s.input("x", "D"), s.state("h", "D")
    s.set("h", ar.map("min", ar.map("max", ar.add(h, x), ar.const(-1)), ar.const(1)))


def nested_clamps(s: Spec) -> None:
    ar = s.arena
    c, x, y, h = s.input("c", "", "bool"), s.input("x", "D"), s.input("y"), s.state("h", "D")
    inner = ar.map("max", ar.sub(ar.map("min", ar.add(h, x), y), x), ar.const(-2))
    s.set("h", ar.where(c, x, ar.map("min", ar.map("relu", inner), y)))


def leaky_saturated(s: Spec) -> None:
    ar = s.arena
    a, x, h = s.param("a", "D"), s.input("x", "D"), s.state("h", "D")
    s.set("h", ar.map("min", ar.map("max", ar.add(ar.mul(ar.map("sigmoid", a), h), x), ar.const(-1)), ar.const(1)))


def signed_saturated(s: Spec) -> None:
    """A slope of unknown sign: the bounds may change places."""
    ar = s.arena
    a, x, h = s.param("a", "D"), s.input("x", "D"), s.state("h", "D")
    s.set("h", ar.map("relu", ar.add(ar.mul(a, h), x)))


def reset_relu(s: Spec) -> None:
    ar = s.arena
    c, x, h = s.input("c", "", "bool"), s.input("x", "D"), s.state("h", "D")
    s.set("h", ar.where(c, x, ar.map("relu", ar.add(ar.mul(ar.const(0.5), h), x))))


def integer_queue(s: Spec) -> None:
    ar = s.arena
    x, h = s.input("x", "", "int"), s.state("n", "", "int")
    s.set("n", ar.map("max", ar.add(h, x), ar.const(0)))


def continued_fraction(s: Spec) -> None:
    ar = s.arena
    s.set("h", ar.div(ar.const(1), ar.add(s.input("x", "D"), s.state("h", "D"))))


def kalman_variance(s: Spec) -> None:
    """The scalar Riccati equation as it is written: squares of the state cancel."""
    ar = s.arena
    a, q, r, p = s.param("a", "D"), s.input("q", "D"), s.input("r", "D"), s.state("p", "D")
    prior = ar.add(ar.mul(ar.mul(a, p), a), q)
    gain = ar.div(prior, ar.add(prior, r))
    s.set("p", ar.mul(ar.sub(ar.const(1), gain), prior))


CASES: list[tuple[Build, str, str, str, str]] = [
    # build, algebra, time, structure, class
    (ema, "affine", "invariant", "diagonal", "K1"),
    (scalar_decay, "affine", "data", "scalar", "K4"),
    (cumulative_sum, "affine", "invariant", "identity", "K1"),
    (running_product, "affine", "data", "diagonal", "K3"),
    (dense, "affine", "invariant", "dense", "K1"),
    (delta_rule, "affine", "data", "low_rank", "K6"),
    (shift_register, "affine", "invariant", "shift", "K1"),
    (momentum, "affine", "data", "block", "K8"),
    (two_shapes, "affine", "data", "block", "K8"),
    (complex_rotation, "affine", "invariant", "diagonal", "K1"),
    (segment_reset, "affine", "data", "diagonal", "K3"),
    (index_dependent, "affine", "index", "scalar", "K2"),
    (counter, "affine", "data", "scalar", "K3"),
    (maxplus, "maxplus", "data", "scalar", "K7"),
    (minplus_reset, "minplus", "data", "diagonal", "K7"),
    (viterbi, "maxplus", "data", "dense", "K7"),
    (forward_algorithm, "logsumexp", "data", "dense", "K7"),
    (left_to_right, "maxplus", "data", "dense", "K7"),
    (coupled_maxplus, "maxplus", "data", "block", "K7"),
    (maxtimes, "maxtimes", "data", "diagonal", "K7"),
    (log_sum_exp, "logsumexp", "data", "diagonal", "K7"),
    (softplus_chain, "logsumexp", "data", "diagonal", "K7"),
    (latch, "boolean", "data", "diagonal", "K7"),
    (reachable, "boolean", "data", "dense", "K7"),
    (toggle, "boolean", "data", "diagonal", "K7"),
    (saturated, "clamp", "data", "diagonal", "K7"),
    (nested_clamps, "clamp", "data", "diagonal", "K7"),
    (leaky_saturated, "clamp", "data", "diagonal", "K7"),
    (signed_saturated, "clamp", "data", "diagonal", "K7"),
    (reset_relu, "clamp", "data", "diagonal", "K7"),
    (integer_queue, "maxplus", "data", "scalar", "K7"),
    (continued_fraction, "moebius", "data", "diagonal", "K7"),
    (kalman_variance, "moebius", "data", "diagonal", "K7"),
]


def analysed(build: Build) -> Analysis:
    s = Spec(each="H")
    build(s)
    return analyse(s.graph())


def only(analysis: Analysis) -> Component:
    (component,) = analysis.components
    return component


@pytest.mark.parametrize(
    ("build", "algebra", "time", "structure", "kclass"), CASES, ids=lambda x: getattr(x, "__name__", None)
)
def test_classification(build: Build, algebra: str, time: str, structure: str, kclass: str) -> None:
    c = only(analysed(build))
    assert (c.algebra, c.time, c.structure, c.kclass) == (algebra, time, structure, kclass)
    assert c.recurrent
    assert not c.blockers


@pytest.mark.parametrize("build", [c[0] for c in CASES], ids=lambda x: x.__name__)
@pytest.mark.parametrize("seed", [0, 1])
def test_monoid_computes_the_source(build: Build, seed: int) -> None:
    analysis = analysed(build)
    check_component(analysis.graph, only(analysis), seed=seed)


@pytest.mark.parametrize("build", [c[0] for c in CASES], ids=lambda x: x.__name__)
def test_slots_are_closed(build: Build) -> None:
    """The operator gives back what it takes, slot by slot; the element reads none of the component's registers."""
    monoid = only(analysed(build)).monoid
    assert monoid is not None
    for e, a, b, c in zip(monoid.element, monoid.earlier, monoid.later, monoid.combined, strict=True):
        assert set(e.axes) == set(a.axes) == set(b.axes) == set(c.axes)
        assert e.kind == a.kind == b.kind == c.kind
