"""Array namespaces and the named-axis evaluator, against NumPy, SciPy and mpmath-like references."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.special
import torch

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.arrays import Arrays, NumpyArrays, TorchArrays
from ssmc.expr.evaluate import Evaluator, Named, evaluate
from ssmc.expr.ops import OPS, REDUCTIONS

BOTH = pytest.mark.parametrize("xp", [NumpyArrays(), TorchArrays()], ids=["numpy", "torch"])


def leaves(**values: tuple[tuple[str, ...], object]) -> Callable[[n.Node], Named]:
    return lambda node: Named(values[node.name][0], values[node.name][1])  # type: ignore[attr-defined]


def arr(value: Named) -> np.ndarray:
    return np.asarray(value.data)


@BOTH
def test_every_operator_evaluates_to_its_kind(xp: Arrays) -> None:
    ar = Arena(["N"])
    data = {"bool": [True, False], "int": [3, 2], "real": [0.5, 1.25], "complex": [0.5 + 1j, 2 - 0.25j]}
    seen = 0
    for name, op in OPS.items():
        for kind in n.KINDS:
            kinds = [kind] * op.arity
            if name == "where":
                kinds[0] = "bool"
            if op.rule(*kinds) is None:
                continue
            args = [ar.input(f"{name}{i}{k}", ("N",), k) for i, k in enumerate(kinds)]
            if name == "phi":
                args[1] = ar.const(2)  # type: ignore[call-overload]
            node = ar.map(name, *args)

            def leaf(x: n.Node) -> Named:
                return Named(("N",), xp.asarray(data[x.kind], x.kind))

            (value,) = evaluate([node], leaf, xp, {"N": 2})
            assert xp.kind_of(value.data) == node.kind, (name, kind)
            assert kind == "bool" or np.isfinite(arr(value)).all(), (name, kind)
            seen += 1
    assert seen > 100


@BOTH
def test_both_namespaces_agree_on_every_real_operator(xp: Arrays) -> None:
    ar = Arena(["N"])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50))
    a, b = ar.input("a", ("N",), "real"), ar.input("b", ("N",), "real")
    for name, op in OPS.items():
        if name == "phi" or op.rule(*["real"] * op.arity) is None:
            continue
        node = ar.map(name, *[a, b][: op.arity])
        mine = evaluate([node], leaves(a=(("N",), x), b=(("N",), y)), xp, {"N": 50})[0]
        reference = evaluate([node], leaves(a=(("N",), x), b=(("N",), y)), NumpyArrays(), {"N": 50})[0]
        np.testing.assert_allclose(arr(mine), arr(reference), rtol=1e-13, err_msg=name)


@BOTH
def test_extremes_are_finite_or_infinite_never_nan(xp: Arrays) -> None:
    x = xp.asarray([-1000.0, -50.0, 0.0, 50.0, 1000.0], "real")
    np.testing.assert_allclose(xp.sigmoid(x), [0, math.exp(-50), 0.5, 1, 1], rtol=1e-14)
    np.testing.assert_allclose(xp.softplus(x), [0, math.exp(-50), math.log(2), 50, 1000], rtol=1e-14)
    inf = xp.asarray([-math.inf, -math.inf, math.inf, 1.0], "real")
    other = xp.asarray([-math.inf, 2.0, math.inf, -math.inf], "real")
    np.testing.assert_array_equal(xp.logaddexp(inf, other), [-math.inf, 2, math.inf, 1])
    rows = xp.asarray([[-math.inf] * 3, [1.0, math.inf, 0.0], [1000.0, 1000.0, -math.inf]], "real")
    np.testing.assert_allclose(xp.logsumexp(rows, (1,)), [-math.inf, math.inf, 1000 + math.log(2)])


def test_gradients_at_the_extremes() -> None:
    xp = TorchArrays()
    x = torch.tensor([[-math.inf, -math.inf], [0.0, -math.inf]], dtype=torch.float64, requires_grad=True)
    xp.logsumexp(x, (1,)).exp().sum().backward()
    np.testing.assert_array_equal(x.grad, [[0, 0], [1, 0]])
    y = torch.tensor([-math.inf, 3.0], dtype=torch.float64, requires_grad=True)
    xp.logaddexp(y, torch.tensor([-math.inf, 3.0], dtype=torch.float64)).exp().sum().backward()
    np.testing.assert_allclose(y.grad, [0, math.exp(3)])
    z = torch.tensor([-1000.0, 0.0, 1000.0], dtype=torch.float64, requires_grad=True)
    xp.softplus(z).sum().backward()
    np.testing.assert_allclose(z.grad, [0, 0.5, 1])


@BOTH
@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_phi(xp: Arrays, k: int) -> None:
    """Against the confluent hypergeometric function: phi_k(x) = M(1, k + 1, x) / k!."""
    x = np.array([-300.0, -30.0, -3.0, -2.0, -1.0, -0.999, -1e-3, -1e-12, 0.0, 1e-9, 0.3, 0.9999, 1.0, 1.999, 2.0, 5.0])
    expected = scipy.special.hyp1f1(1, k + 1, x) / math.factorial(k)
    np.testing.assert_allclose(xp.phi(xp.asarray(x, "real"), k), expected, rtol=3e-14)
    z = x[(abs(x) > 0.1) & (x > -10)] * np.exp(0.7j)  # SciPy itself is inaccurate near 0 here
    expected = scipy.special.hyp1f1(1, k + 1, z) / math.factorial(k)
    np.testing.assert_allclose(xp.phi(xp.asarray(z, "complex"), k), expected, rtol=1e-13)


def test_phi_is_differentiable_at_zero() -> None:
    for k in (1, 2):
        x = torch.tensor([0.0, 1e-8, -0.7, 1.3, 4.0], dtype=torch.float64, requires_grad=True)
        xp = TorchArrays()
        xp.phi(x, k).sum().backward()
        y = x.detach()
        np.testing.assert_allclose(x.grad, xp.phi(y, k) - k * xp.phi(y, k + 1), rtol=1e-13)


@BOTH
def test_mod_is_floored(xp: Arrays) -> None:
    x, y = [7, -7, 7, -7], [3, 3, -3, -3]
    expected = [a % b for a, b in zip(x, y, strict=True)]
    np.testing.assert_array_equal(xp.mod(xp.asarray(x, "int"), xp.asarray(y, "int")), expected)
    np.testing.assert_array_equal(xp.mod(xp.asarray(x, "real"), xp.asarray(y, "real")), expected)


@BOTH
@pytest.mark.parametrize("op", list(REDUCTIONS))
def test_a_reduction_over_an_empty_axis_is_the_identity(xp: Arrays, op: str) -> None:
    kind: n.Kind = "bool" if op in ("any", "all") else "real"
    value = xp.reduce(op, xp.zeros((2, 0), kind), (1,))
    np.testing.assert_array_equal(value, [OPS[REDUCTIONS[op].operator].identity] * 2)


@BOTH
def test_expm(xp: Arrays) -> None:
    rng = np.random.default_rng(1)
    for scale in (0.0, 0.01, 1.0, 40.0):
        a = scale * (rng.normal(size=(3, 5, 5)) + 1j * rng.normal(size=(3, 5, 5)) - 3 * np.eye(5))
        values, vectors = np.linalg.eig(a)
        expected = vectors * np.exp(values)[:, None, :] @ np.linalg.inv(vectors)
        np.testing.assert_allclose(
            xp.expm(xp.asarray(a, "complex")), expected, rtol=1e-9, atol=1e-11 * abs(expected).max()
        )
    jordan = np.eye(4, k=1)
    series = sum(np.linalg.matrix_power(jordan, j) / math.factorial(j) for j in range(4))
    np.testing.assert_allclose(xp.expm(xp.asarray(jordan, "real")), series, atol=1e-15)
    for order in (1, 2):
        phi = sum(np.linalg.matrix_power(jordan, j) / math.factorial(j + order) for j in range(4))
        np.testing.assert_allclose(xp.expm(xp.asarray(jordan, "real"), order), phi, atol=1e-15)
        expected = vectors * NumpyArrays().phi(values, order)[:, None, :] @ np.linalg.inv(vectors)
        got = xp.expm(xp.asarray(a, "complex"), order)
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-10 * abs(expected).max())


@BOTH
def test_broadcasting_is_by_name_and_extra_axes_come_first(xp: Arrays) -> None:
    ar = Arena(["K", "V"])
    k, v = ar.input("k", ("K",), "real"), ar.param("v", ("V",), "real")
    node = ar.mul(v, k)
    rng = np.random.default_rng(2)
    kd, vd = rng.normal(size=(7, 2, 3)), rng.normal(size=4)
    leaf = leaves(k=((n.TIME, n.BATCH, "K"), kd), v=(("V",), vd))
    (value,) = evaluate([node], leaf, xp, {"K": 3, "V": 4})
    assert value.axes == (n.BATCH, n.TIME, "K", "V")
    np.testing.assert_allclose(value.data, np.einsum("tbk,v->btkv", kd, vd))
    (y,) = evaluate([ar.contract(node, k, ("K",))], leaf, xp, {"K": 3, "V": 4})
    assert y.axes == (n.BATCH, n.TIME, "V")
    np.testing.assert_allclose(y.data, np.einsum("tbk,tbk,v->btv", kd, kd, vd))


@BOTH
def test_structure_operations(xp: Arrays) -> None:
    ar = Arena(["N", "M"])
    a = ar.param("a", ("M", "N"), "real")
    data = np.arange(12.0).reshape(3, 4) ** 1.5
    leaf = leaves(a=(("M", "N"), data))
    sizes = {"N": 4, "M": 3}

    def value(node: n.Node) -> np.ndarray:
        (v,) = evaluate([node], leaf, xp, sizes)
        assert v.axes == node.axes
        return arr(v)

    np.testing.assert_allclose(value(ar.cumulative("sum", a, "N")), data.cumsum(1))
    np.testing.assert_allclose(value(ar.cumulative("sum", a, "M", reverse=True)), data[::-1].cumsum(0)[::-1])
    np.testing.assert_allclose(value(ar.cumulative("prod", a, "M")), data.cumprod(0))
    np.testing.assert_allclose(value(ar.pick(a, "M", -1)), data[-1])
    np.testing.assert_allclose(value(ar.shift(a, "N", 1))[:, 1:], data[:, :-1])
    np.testing.assert_allclose(value(ar.shift(a, "N", 1))[:, 0], 0)
    np.testing.assert_allclose(value(ar.shift(a, "N", -3))[:, 0], data[:, 3])
    np.testing.assert_allclose(value(ar.shift(a, "N", 9)), 0 * data)
    np.testing.assert_allclose(value(ar.rename(a, {"N": "M", "M": "N"})), data)
    np.testing.assert_allclose(value(ar.eye("N", "N'")), np.eye(4))
    np.testing.assert_allclose(value(ar.broadcast(ar.pick(a, "N", 0), ("M", "N"))), np.tile(data[:, 0], (4, 1)))
    assert value(ar.reduce("sum", ar.size("N'"), ())) == 4


@BOTH
def test_solve_aligns_by_name(xp: Arrays) -> None:
    ar = Arena(["D", "N", "P"])
    a = ar.param("a", ("N", "D", "N'"), "real")
    b = ar.input("b", ("P", "N"), "complex")
    node = ar.solve(a, b, "N", "N'")
    rng = np.random.default_rng(3)
    ad = rng.normal(size=(3, 2, 3)) + 3 * np.eye(3)[:, None, :]
    bd = rng.normal(size=(5, 4, 3)) + 1j * rng.normal(size=(5, 4, 3))
    leaf = leaves(a=(("N", "D", "N'"), ad), b=((n.BATCH, "P", "N"), bd))
    (x,) = evaluate([node], leaf, xp, {"N": 3, "D": 2, "P": 4})
    assert set(x.axes) == {n.BATCH, "P", "N", "D"}
    got = np.einsum(arr(x), [{"P": 0, "N": 1, "D": 2, n.BATCH: 3}[c] for c in x.axes], [3, 0, 1, 2])
    np.testing.assert_allclose(np.einsum("ndm,bpmd->bpnd", ad, got), np.tile(bd[..., None], 2), atol=1e-12)


@BOTH
def test_window_and_history_append_the_current_step(xp: Arrays) -> None:
    ar = Arena(["N", "T"])
    now = ar.input("x", ("N",), "real")
    w = ar.window("r", "T", ("N",), "real", now)
    h = ar.history("r", "T", now, ("N",), "real")

    def leaf(node: n.Node) -> Named:
        if isinstance(node, n.Input):
            return Named((n.BATCH, "N"), xp.asarray([[1.0, 2.0]], "real"))
        return Named((n.BATCH, "T", "N"), xp.asarray([[[3.0, 4.0], [5.0, 6.0]]], "real"))

    a, b = evaluate([w, h], leaf, xp, {"N": 2, "T": 3})
    assert a.axes == (n.BATCH, *w.axes)
    order = [1 + w.axes.index("N"), 1 + w.axes.index("T")]
    np.testing.assert_array_equal(np.transpose(a.data, (0, *order))[0], [[1, 3, 5], [2, 4, 6]])
    np.testing.assert_array_equal(np.transpose(b.data, (0, *order))[0], [[3, 5, 1], [4, 6, 2]])


class Tile:
    """Two tiles of six steps and a halo of three."""

    def __init__(self, xp: Arrays) -> None:
        rng = np.random.default_rng(4)
        self.xp = xp
        self.ar = Arena(["N", "W"])
        self.a, self.b = (self.ar.load(x, (n.TIME, "N"), "real") for x in "ab")
        self.halo = self.ar.load("halo", (n.LAG, "N"), "real")
        self.ad, self.bd = rng.normal(size=(2, 6, 3))
        self.hd = rng.normal(size=(3, 3))

    def values(self, *roots: n.Node) -> list[Named]:
        data = {"a": ((n.TIME, "N"), self.ad), "b": ((n.TIME, "N"), self.bd), "halo": ((n.LAG, "N"), self.hd)}

        def leaf(x: n.Node) -> Named:
            axes, value = data[x.buffer]  # type: ignore[attr-defined]
            return Named(axes, self.xp.asarray(value, "real"))

        return evaluate(list(roots), leaf, self.xp, {"N": 3, "W": 2, n.TIME: 6})


@BOTH
@pytest.mark.parametrize("axes", [("N",), (n.TIME, "N")])
def test_prefix(xp: Arrays, axes: tuple[str, ...]) -> None:
    tile = Tile(xp)
    ar = tile.ar
    a1, b1, a2, b2 = (ar.local(x, axes, "real") for x in ("a1", "b1", "a2", "b2"))
    combined = (ar.mul(a2, a1), ar.add(ar.mul(a2, b1), b2))
    identity = (ar.const(1.0), ar.const(0.0))
    node = ar.prefix((tile.a, tile.b), (a1, b1), (a2, b2), combined, identity, 1)
    still = ar.prefix((ar.const(0.5), tile.b), (a1, b1), (a2, b2), combined, identity, 1)
    state, other, expected = np.zeros(3), np.zeros(3), []
    for t in range(6):
        state, other = tile.ad[t] * state + tile.bd[t], 0.5 * other + tile.bd[t]
        expected.append([state, other])
    h, g = tile.values(node, still)
    order = [h.axes.index(x) for x in (n.TIME, "N")]
    np.testing.assert_allclose(np.transpose(arr(h), order), np.array(expected)[:, 0])
    np.testing.assert_allclose(np.transpose(arr(g), order), np.array(expected)[:, 1])


@BOTH
def test_halos(xp: Arrays) -> None:
    tile = Tile(xp)
    ar, whole = tile.ar, np.concatenate([tile.hd, tile.bd])
    lag = ar.lag(tile.b, tile.halo, 2)
    newest = ar.frames(tile.b, tile.halo, "W", 1, False)
    oldest = ar.frames(tile.b, tile.halo, "W", 0, True)
    tail = ar.tail(tile.b, tile.halo)
    append = ar.append(tile.b, tile.halo, "T")
    (back,) = tile.values(ar.flip(tile.b, n.TIME))
    np.testing.assert_array_equal(back.data, tile.bd[::-1])
    one = ar.append(ar.load("halo", ("N",), "real"), tile.halo, "T")
    values = tile.values(lag, newest, oldest, tail, append)
    assert values[0].axes == (n.TIME, "N")
    np.testing.assert_array_equal(values[0].data, whole[1:7])
    assert set(values[1].axes) == {n.TIME, "N", "W"}
    order = [values[1].axes.index(x) for x in (n.TIME, "W", "N")]
    got = np.transpose(arr(values[1]), order)
    np.testing.assert_array_equal(got, np.stack([whole[2:8], whole[1:7]], 1))
    got = np.transpose(arr(values[2]), [values[2].axes.index(x) for x in (n.TIME, "W", "N")])
    np.testing.assert_array_equal(got, np.stack([whole[2:8], whole[3:9]], 1))
    assert values[3].axes == (n.LAG, "N")
    np.testing.assert_array_equal(values[3].data, whole[-3:])
    assert set(values[4].axes) == {"T", "N"}
    got = np.transpose(arr(values[4]), [values[4].axes.index(x) for x in ("T", "N")])
    np.testing.assert_array_equal(got, whole)
    (last,) = evaluate([one], lambda x: Named(x.axes, xp.zeros([3] * len(x.axes), "real")), xp, {"N": 3})
    assert arr(last).shape == tuple({"T": 4, "N": 3}[x] for x in last.axes)


@BOTH
def test_convolution_by_definition(xp: Arrays) -> None:
    tile = Tile(xp)
    (c,) = tile.values(tile.ar.fft_conv(tile.a, tile.b, ("N",)))
    np.testing.assert_allclose(c.data, sum(np.convolve(tile.ad[:, i], tile.bd[:, i])[:6] for i in range(3)))


@BOTH
@pytest.mark.parametrize("late", [False, True])
def test_products_with_the_decay_between_two_steps(xp: Arrays, late: bool) -> None:
    tile = Tile(xp)
    ar = tile.ar
    scores = ar.scores(tile.a, tile.b, ar.map("tanh", tile.a), ("N",), late)
    weights = ar.map("mul", ar.rename(ar.pick(tile.a, "N", 0), {n.TIME: n.SOURCE}), ar.pick(tile.b, "N", 1))
    gathered = ar.gather(weights, tile.b, ar.map("sin", tile.a), late)
    found, sums = tile.values(scores, gathered)
    expected, total = np.zeros((6, 6)), np.zeros((6, 3))
    for t in range(6):
        for s in range(t if late else t + 1):
            between = tile.ad[s + 1 : t if late else t + 1]
            expected[t, s] = (tile.ad[t] * tile.bd[s] * np.tanh(between).prod(0)).sum()
            total[t] += tile.ad[s, 0] * tile.bd[t, 1] * tile.bd[s] * np.sin(between).prod(0)
    np.testing.assert_allclose(arr(found), expected if found.axes == (n.TIME, n.SOURCE) else expected.T, atol=1e-14)
    np.testing.assert_allclose(arr(sums), total if sums.axes == (n.TIME, "N") else total.T, atol=1e-14)


@BOTH
def test_powers(xp: Arrays) -> None:
    tile = Tile(xp)
    ar = tile.ar
    c, a = ar.load("c", ("N",), "real"), ar.load("base", ("N",), "real")
    powers = ar.geometric(c, a, ("N",), 1)
    moment = ar.moment(tile.b, a, c, ar.load("carry", ("N",), "real"))
    small = {"c": np.array([1.0, -2, 0.5]), "base": np.array([0.5, -0.9, 0.0]), "carry": np.array([3.0, 1, 2])}

    def leaf(x: n.Node) -> Named:
        value = tile.bd if x.buffer == "b" else small[x.buffer]  # type: ignore[attr-defined]
        return Named(x.axes, xp.asarray(value, "real"))

    k, h = evaluate([powers, moment], leaf, xp, {"N": 3, n.TIME: 6})
    np.testing.assert_allclose(arr(k), [(small["c"] * small["base"] ** (t + 1)).sum() for t in range(6)])
    state = small["carry"]
    for t in range(6):
        state = small["base"] * state + small["c"] * tile.bd[t]
    np.testing.assert_allclose(arr(h), state)


def test_a_deep_expression_needs_no_stack_and_shared_parts_are_computed_once() -> None:
    ar = Arena()
    x: n.Node = ar.input("x", (), "real")
    for _ in range(5000):
        x = ar.map("tanh", ar.add(x, x))
    calls = []

    def leaf(node: n.Node) -> Named:
        calls.append(node)
        return Named((), np.float64(0.1))

    (value,) = evaluate([x], leaf, NumpyArrays(), {})
    assert 0.9 < float(value.data) < 1
    assert len(calls) == 1


def test_cut_nodes_are_given() -> None:
    ar = Arena(["N"])
    x = ar.input("x", ("N",), "real")
    inner = ar.exp(x)
    run = Evaluator([ar.add(inner, ar.const(1))], NumpyArrays(), frozenset([inner]))
    (value,) = run(lambda node: Named((), np.float64(5.0)), {"N": 2})
    np.testing.assert_array_equal(value.data, [6, 6])
