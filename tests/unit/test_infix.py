"""Expressions as a person reads them: the parentheses that are needed, and no others."""

from __future__ import annotations

import pytest

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.printer import ELLIPSIS, show


class Leaves:
    """Letters as inputs of an arena with the axes D, N, K."""

    def __init__(self) -> None:
        self.ar = Arena(("D", "N", "K"))
        self.a, self.b, self.c = (self.ar.input(x, (), "real") for x in "abc")
        self.u, self.v = (self.ar.input(x, ("N",), "real") for x in "uv")
        self.M = self.ar.input("M", ("D", "N"), "real")
        self.A = self.ar.param("A", ("N", "N'"), "real")
        self.p, self.q = (self.ar.input(x, (), "bool") for x in "pq")


@pytest.fixture
def x() -> Leaves:
    return Leaves()


def test_sums_and_products(x: Leaves) -> None:
    ar, a, b, c = x.ar, x.a, x.b, x.c
    assert show(ar.add(ar.mul(a, b), c)) == "a * b + c"
    assert show(ar.mul(ar.add(a, b), c)) == "(a + b) * c"
    assert show(ar.sub(a, ar.sub(b, c))) == "a - (b - c)"
    assert show(ar.sub(ar.sub(a, b), c)) == "a - b - c"
    assert show(ar.div(a, ar.mul(b, c))) == "a / (b * c)"
    assert show(ar.div(ar.mul(a, b), c)) == "a * b / c"
    assert show(ar.add(a, ar.neg(b))) == "a - b"
    assert show(ar.add(a, ar.neg(ar.add(b, c)))) == "a - (b + c)"
    assert show(ar.mul(a, ar.neg(b))) == "a * -b"


def test_signs_and_powers(x: Leaves) -> None:
    ar, a, b = x.ar, x.a, x.b
    two = ar.const(2)
    assert show(ar.neg(ar.map("pow", a, two))) == "-a**2"
    assert show(ar.map("pow", ar.neg(a), two)) == "(-a)**2"
    assert show(ar.map("pow", a, ar.neg(b))) == "a**-b"
    assert show(ar.map("pow", ar.map("pow", a, b), two)) == "(a**b)**2"
    assert show(ar.map("pow", a, ar.map("pow", b, two))) == "a**b**2"
    assert show(ar.map("pow", ar.const(-1.5), a)) == "(-1.5)**a"
    assert show(ar.neg(ar.mul(a, b))) == "-(a * b)"
    assert show(ar.mul(ar.neg(a), b)) == "-a * b"


def test_conditions(x: Leaves) -> None:
    ar, p, q = x.ar, x.p, x.q
    less = ar.map("lt", x.a, ar.add(x.b, x.c))
    assert show(ar.map("and", p, ar.map("or", q, less))) == "p and (q or a < b + c)"
    assert show(ar.map("or", ar.map("and", p, q), less)) == "p and q or a < b + c"
    assert show(ar.map("not", ar.map("and", p, q))) == "not (p and q)"
    assert show(ar.map("and", ar.map("not", p), less)) == "not p and a < b + c"
    assert show(ar.map("not", less)) == "not a < b + c"
    assert show(ar.where(p, x.a, ar.const(0.0))) == "where(p, a, 0)"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (1.0, "1"), (0.1, "0.1"), (1e-30, "1e-30"), (True, "true"), (float("inf"), "inf"), (-2.5, "-2.5"),
     (2j, "2j"), (1 - 0.5j, "1 - 0.5j"), (1e22, "1e+22"), (float("nan"), "nan")],
)  # fmt: skip
def test_numbers(x: Leaves, value: complex, text: str) -> None:
    assert show(x.ar.const(value)) == text


def test_a_complex_number_is_a_sum(x: Leaves) -> None:
    assert show(x.ar.mul(x.ar.const(1 + 2j), x.a)) == "(1 + 2j) * a"


def test_contractions_and_matrices(x: Leaves) -> None:
    ar = x.ar
    dot = ar.contract(x.u, x.M, ("N",))
    assert show(dot) == "u · M"
    assert show(ar.contract(x.M, x.u, ("N",))) == "M · u"
    assert show(ar.mul(x.a, dot)) == "a * u · M"
    # a neighbour that has the summed axis, and a divisor: the language asks for parentheses
    assert show(ar.mul(x.v, dot)) == "v * (u · M)"
    assert show(ar.mul(dot, x.v)) == "(u · M) * v"
    assert show(ar.mul(ar.mul(x.a, dot), x.v)) == "(a * u · M) * v"
    assert show(ar.div(x.a, dot)) == "a / (u · M)"
    assert show(ar.contract(ar.mul(x.u, x.v), x.M, ("N",))) == "(u * v) · M"
    assert show(ar.contract(x.M, ar.mul(x.M, x.u), ("N",))) == "M @ (M * u)"
    assert show(ar.contract(ar.exp(x.M), ar.mul(x.M, x.u), ("N",)), each=frozenset(("D",))) == "exp(M) · (M * u)"
    assert show(ar.contract(x.M, x.M, ("D", "N"))) == "sum[D, N](M * M)"
    assert show(ar.contract(x.a, x.u, ("N",))) == "sum[N](a * u)"
    column = ar.rename(x.u, {"N": "N'"})
    assert show(ar.contract(x.A, column, ("N'",))) == "A @ u"
    assert show(ar.contract(x.A, ar.rename(ar.add(x.u, x.v), {"N": "N'"}), ("N'",))) == "A @ (u + v)"
    assert show(ar.rename(x.A, {"N": "N'", "N'": "N"})) == "transpose(A)"
    assert show(ar.rename(x.M, {"N": "K"})) == "M[N -> K]"
    assert show(ar.pick(ar.add(x.M, x.a), "N", -1)) == "(M + a)[N = -1]"


def test_every_other_node(x: Leaves) -> None:
    ar = x.ar
    assert show(ar.reduce("logsumexp", x.M, ("D", "N"))) == "logsumexp[D, N](M)"
    assert show(ar.cumulative("sum", x.u, "N")) == "cumsum[N](u)"
    assert show(ar.shift(x.u, "N", 1)) == "shift[N](u)"
    assert show(ar.shift(x.u, "N", -2)) == "shift[N](u, -2)"
    assert show(ar.solve(x.A, x.u, "N", "N'")) == "solve[N, N'](A, u)"
    assert show(ar.expm(x.A, "N", "N'")) == "expm[N, N'](A)"
    assert show(ar.mul(ar.time(), ar.size("N"))) == "t * size[N]"
    assert show(ar.index("N")) == "index[N]"
    assert show(ar.table("hippo.legs", ("N", "N'"), "real")) == "hippo.legs"
    assert show(ar.draw("uniform", (ar.const(0), ar.const(1)), ("N",))) == "uniform(0, 1)"
    assert show(ar.read("h", ("N",), "real")) == "h"
    assert show(ar.read("h", ("N",), "real", 2)) == "prev(h, 2)"
    assert show(ar.read("prev.x", ("N",), "real", 3)) == "prev(x, 3)"
    assert show(ar.window("conv.u", "K", ("N",), "real", x.u)) == "window[K](u)"
    assert show(ar.history("past.u", "K", x.u, ("N",), "real")) == "past[K](u)"
    assert show(ar.broadcast(x.a, ("N",))) == "a"
    assert show(ar.cast(x.a, "complex")) == "a"
    assert show(ar.lag(x.u, ar.load("halo", ("lag",), "real"), 2)) == "lag(u, halo, 2)"
    assert show(ar.fft_conv(x.u, x.a, ())) == "fft_conv(u, a)"
    assert show(ar.local("later.a", (), "real")) == "later.a"


def test_labels_depth_and_length(x: Leaves) -> None:
    ar = x.ar
    delta = ar.map("softplus", x.a)
    ar.labels[delta] = "delta"
    update = ar.mul(ar.exp(ar.mul(ar.neg(delta), ar.exp(x.b))), x.c)
    assert show(update) == "exp(-softplus(a) * exp(b)) * c"
    assert show(update, ar) == "exp(-delta * exp(b)) * c"
    assert show(update, ar, stop_at_labels=False) == "exp(-softplus(a) * exp(b)) * c"
    assert show(update, names={x.b: "rate"}) == "exp(-softplus(a) * exp(rate)) * c"
    assert show(delta, ar) == "softplus(a)"  # the root is what was asked for
    assert show(update, depth=4) == f"exp(-{ELLIPSIS} * exp(b)) * c"
    assert show(update, depth=3) == f"exp({ELLIPSIS} * {ELLIPSIS}) * c"
    assert show(update, depth=0) == ELLIPSIS


def test_sharing_does_not_explode(x: Leaves) -> None:
    node: n.Node = x.a
    for _ in range(500):
        node = x.ar.add(node, x.ar.exp(node))
    assert len(show(node)) < 10_000
