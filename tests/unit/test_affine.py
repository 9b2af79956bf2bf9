"""Affine maps: `reconstruct` gives the expression back, the structure is kept, and what is not affine is named."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ssmc.expr import nodes as n
from ssmc.expr.affine import affine, dense_kernel, kernel, reconstruct
from ssmc.expr.arena import Arena
from ssmc.expr.arrays import NumpyArrays
from ssmc.expr.evaluate import Named, evaluate
from ssmc.expr.linear import Affine, Blocker
from ssmc.expr.nodes import Node

SIZES = {"D": 2, "J": 3, "K": 3, "V": 4}


def numbers(node: Node) -> Named:
    """Fixed random values for any leaf, from its name."""
    name = getattr(node, "name", None) or node.register  # type: ignore[attr-defined]
    rng = np.random.default_rng(sum(map(ord, name)) + 1000 * len(name))
    shape = [SIZES[n.base_axis(a)] for a in node.axes]
    data = rng.normal(size=shape) + (1j * rng.normal(size=shape) if node.kind == "complex" else 0)
    return Named(node.axes, data > 0 if node.kind == "bool" else data)


def value(node: Node) -> np.ndarray:
    return np.asarray(evaluate([node], numbers, NumpyArrays(), SIZES)[0].data)


def linear(arena: Arena, root: Node, *atoms: Node) -> Affine:
    found = affine(arena, root, atoms)
    assert isinstance(found, Affine), found
    for t in found.terms:
        assert not any(a.endswith("~") for a in t.left.axes)
        assert set(t.left.axes) <= set(root.axes)
        assert set(t.mixed) <= set(t.atom.axes)
        assert {a for a in t.right.axes if a.endswith("~")} <= {a + "~" for a in t.mixed}
        if not t.mixed:
            assert t.right is arena.const(1)
    back = reconstruct(arena, found, root.axes)
    assert back.axes == root.axes or set(back.axes) == set(root.axes)
    expected, got = evaluate([root, back], numbers, NumpyArrays(), SIZES)
    order = [got.axes.index(a) for a in expected.axes]
    np.testing.assert_allclose(np.transpose(got.data, order), expected.data, rtol=1e-10, atol=1e-10)
    return found


class Spec:
    def __init__(self) -> None:
        self.ar = ar = Arena(["D", "K", "V"])
        self.h = ar.read("h", ("K", "V"), "real")
        self.s = ar.read("s", ("K",), "real")
        self.a = ar.input("a", ("K",), "real")
        self.k = ar.input("k", ("K",), "real")
        self.v = ar.input("v", ("V",), "real")
        self.x = ar.input("x", ("D",), "real")
        self.b = ar.input("b", (), "real")
        self.m = ar.param("m", ("K", "K'"), "real")
        self.flag = ar.input("flag", (), "bool")


@pytest.fixture
def sp() -> Spec:
    return Spec()


def matmul(ar: Arena, m: Node, x: Node, axis: str = "K") -> Node:
    return ar.contract(m, ar.rename(x, {axis: axis + "'"}), (axis + "'",))


def test_diagonal(sp: Spec) -> None:
    root = sp.ar.add(sp.ar.mul(sp.a, sp.h), sp.ar.mul(sp.k, sp.v))
    (term,) = linear(sp.ar, root, sp.h).terms
    assert term.mixed == ()
    assert term.left is sp.a


def test_delta_rule_is_diagonal_plus_rank_one(sp: Spec) -> None:
    ar = sp.ar
    d = ar.mul(ar.exp(sp.b), sp.h)
    root = ar.sub(d, ar.mul(ar.mul(sp.b, sp.k), ar.contract(sp.k, d, ("K",))))
    diag, low = linear(ar, root, sp.h).terms
    assert diag.mixed == ()
    assert low.mixed == ("K",)
    assert set(low.left.axes) == {"K"}
    assert low.right is ar.rename(sp.k, {"K": "K~"})


def test_the_decay_of_the_read_axis_moves_right(sp: Spec) -> None:
    ar = sp.ar
    root = ar.mul(sp.k, ar.contract(sp.k, ar.mul(sp.a, sp.h), ("K",)))
    (low,) = linear(ar, root, sp.h).terms
    assert low.left is sp.k
    assert low.right.axes == ("K~",)


def test_equal_right_factors_and_equal_lefts_merge(sp: Spec) -> None:
    ar = sp.ar
    read = ar.contract(sp.k, sp.h, ("K",))
    other = ar.contract(sp.a, sp.h, ("K",))
    assert len(linear(ar, ar.add(ar.mul(sp.k, read), ar.mul(sp.a, read)), sp.h).terms) == 1
    assert len(linear(ar, ar.add(ar.mul(sp.k, read), ar.mul(sp.k, other)), sp.h).terms) == 1
    assert len(linear(ar, ar.add(ar.mul(sp.k, read), ar.mul(sp.a, other)), sp.h).terms) == 2
    assert len(linear(ar, ar.add(ar.mul(sp.a, sp.h), ar.mul(sp.k, sp.h)), sp.h).terms) == 1


def test_dense(sp: Spec) -> None:
    (term,) = linear(sp.ar, matmul(sp.ar, sp.m, sp.h), sp.h).terms
    assert term.mixed == ("K",)
    assert set(term.right.axes) == {"K", "K~"}
    twice = matmul(sp.ar, sp.m, matmul(sp.ar, sp.m, sp.h))
    (term,) = linear(sp.ar, twice, sp.h).terms
    np.testing.assert_allclose(value(kernel(sp.ar, term)), value(sp.m) @ value(sp.m))


def test_shift_is_a_matrix_of_ones(sp: Spec) -> None:
    for steps in (1, -1, 2, 7):
        (term,) = linear(sp.ar, sp.ar.shift(sp.ar.mul(sp.a, sp.s), "K", steps), sp.s).terms
        expected = np.eye(3, k=-steps) * value(sp.a)[None, :]
        np.testing.assert_array_equal(value(kernel(sp.ar, term)), expected)


def test_dense_kernel_of_a_diagonal_term(sp: Spec) -> None:
    (term,) = linear(sp.ar, sp.ar.mul(sp.a, sp.h), sp.h).terms
    np.testing.assert_array_equal(value(dense_kernel(sp.ar, term, ("K",))), np.diag(value(sp.a)))
    assert set(dense_kernel(sp.ar, term, ("K", "V")).axes) == {"K", "K~", "V", "V~"}


def test_where_chooses_coefficients(sp: Spec) -> None:
    ar = sp.ar
    root = ar.where(sp.flag, ar.add(ar.mul(sp.a, sp.h), sp.b), ar.mul(sp.k, sp.v))
    found = linear(ar, root, sp.h)
    assert len(found.terms) == 1
    assert found.constant is not None
    one = linear(ar, ar.where(sp.flag, ar.mul(sp.a, sp.h), ar.mul(sp.k, sp.h)), sp.h)
    assert one.terms[0].left is ar.where(sp.flag, sp.a, sp.k)


def test_solve_with_a_free_matrix(sp: Spec) -> None:
    ar = sp.ar
    m = ar.add(sp.m, ar.mul(ar.const(5.0), ar.eye("K", "K'")))
    root = ar.solve(m, ar.add(ar.mul(sp.a, sp.h), sp.v), "K", "K'")
    (term,) = linear(ar, root, sp.h).terms
    np.testing.assert_allclose(value(kernel(ar, term)), np.linalg.inv(value(m)) * value(sp.a)[None, :])


def test_covariance_through_a_renaming(sp: Spec) -> None:
    """S[K, K'] is written with two axes; a transposition is a permutation matrix."""
    ar = Arena(["J", "K"])
    s = ar.read("S", ("J", "K"), "real")
    root = ar.add(s, ar.rename(s, {"J": "K", "K": "J"}))
    assert {t.mixed for t in linear(ar, root, s).terms} == {(), ("J", "K")}


def test_free_expressions_are_constants(sp: Spec) -> None:
    root = sp.ar.map("tanh", sp.k)
    assert linear(sp.ar, root, sp.h) == Affine((), root)


def random_affine(sp: Spec, rng: np.random.Generator, depth: int) -> Node:
    ar = sp.ar
    axes = ("K", "V")
    if depth == 0:
        return [sp.h, sp.s, ar.mul(sp.x, sp.s), sp.k, ar.mul(sp.k, sp.v)][rng.integers(5)]
    sub = lambda: random_affine(sp, rng, depth - 1)  # noqa: E731
    free = [sp.a, sp.k, sp.v, sp.b, sp.x, ar.exp(sp.a), ar.div(sp.k, ar.exp(sp.v)), ar.neg(ar.mul(sp.k, sp.v))]
    factor = free[rng.integers(len(free))]
    e = sub()
    axis = axes[rng.integers(2)]
    match rng.integers(12):
        case 0:
            return ar.add(e, sub())
        case 1:
            return ar.sub(e, sub())
        case 2:
            return ar.mul(factor, e)
        case 3:
            return ar.div(e, ar.exp(factor))
        case 4:
            return ar.where(sp.flag, e, sub())
        case 5:
            return ar.where(ar.map("gt", factor, ar.const(0)), ar.mul(factor, e), sub())
        case 6:
            return ar.mul(factor, ar.reduce("sum", e, [axis])) if axis in e.axes else e
        case 7:
            return ar.shift(e, axis, int(rng.integers(-3, 4))) if axis in e.axes else e
        case 8:
            return ar.cumulative("sum", e, axis, bool(rng.integers(2))) if axis in e.axes else e
        case 9:
            return ar.mul(factor, ar.pick(e, axis, int(rng.integers(-3, 3)))) if axis in e.axes else e
        case 10:
            return matmul(ar, sp.m, e) if "K" in e.axes and "K'" not in e.axes else e
        case _:
            m = ar.add(sp.m, ar.mul(ar.const(4.0), ar.eye("K", "K'")))
            return ar.solve(m, e, "K", "K'") if "K" in e.axes else ar.neg(e)


@pytest.mark.parametrize("seed", range(120))
def test_random_affine_expressions_come_back(seed: int) -> None:
    sp, rng = Spec(), np.random.default_rng(seed)
    linear(sp.ar, random_affine(sp, rng, 5), sp.h, sp.s)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda sp: sp.ar.map("tanh", sp.ar.mul(sp.a, sp.s)), "tanh of a value that depends on the carried state"),
        (lambda sp: sp.ar.map("tanh", sp.s), "tanh of the carried state"),
        (lambda sp: sp.ar.mul(sp.s, sp.ar.add(sp.s, sp.a)), "a product of two values that depend on the carried state"),
        (lambda sp: sp.ar.div(sp.a, sp.s), "a division by a value that depends on the carried state"),
        (lambda sp: sp.ar.map("real", sp.ar.read("z", ("K",), "complex")),
         "the real part of a complex state is not complex-linear"),
        (lambda sp: sp.ar.map("gt", sp.s, sp.a), "a comparison that depends on the carried state"),
        (lambda sp: sp.ar.reduce("max", sp.s, ["K"]), "max over an axis of the carried state"),
        (lambda sp: sp.ar.map("pow", sp.s, sp.ar.const(2)), "a power of the carried state"),
    ],
)  # fmt: skip
def test_blockers(sp: Spec, build: object, reason: str) -> None:
    at = build(sp)  # type: ignore[operator]
    z = sp.ar.read("z", ("K",), "complex")
    root = sp.ar.where(at, sp.a, sp.k) if at.kind == "bool" else sp.ar.map("sigmoid", sp.ar.add(at, sp.b))
    found = affine(sp.ar, root, [sp.s, z])
    assert isinstance(found, Blocker)
    assert found.node is at
    assert found.reason == reason


def test_a_reset_to_zero_adds_nothing(sp: Spec) -> None:
    ar = sp.ar
    kept = ar.where(ar.input("c", (), "bool"), ar.const(0), ar.mul(sp.a, sp.s))
    found = linear(ar, ar.add(ar.mul(sp.b, kept), sp.k), sp.s)
    assert found.constant is sp.k


def test_a_big_graph_is_fast(sp: Spec) -> None:
    ar = sp.ar
    before = time.perf_counter()
    y: Node = sp.h
    for _ in range(2000):
        y = ar.add(ar.mul(sp.a, y), y)
    assert isinstance(affine(ar, y, [sp.h]), Affine)
    x: Node = sp.h
    for i in range(40):
        x = ar.add(ar.mul(sp.a, x), ar.mul(sp.k, ar.contract(ar.add(sp.k, ar.const(float(i))), x, ("K",))))
    found = affine(ar, x, [sp.h])
    assert isinstance(found, Affine)
    assert len(found.terms) <= 41
    assert time.perf_counter() - before < 2
