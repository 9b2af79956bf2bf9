"""The sequential interpreter against loops written by hand, and in two pieces against at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from ssmc.diagnostics import CompilerBug, SpecError
from ssmc.expr.arrays import NumpyArrays, TorchArrays
from ssmc.expr.nodes import Node
from ssmc.step.interp import components, run
from ssmc.step.nodes import Depth, StepGraph
from ssmc.step.sizes import solve_sizes
from tests.unit.graphs import Builder

RNG = np.random.default_rng(0)


def both_ways(
    graph: StepGraph, inputs: Mapping[str, Any], params: Mapping[str, Any] | None = None, **kwargs: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result at once, which the result in two pieces and torch's must equal."""
    params = params or {}
    outputs, state = run(graph, inputs, params, **kwargs)
    length = next(iter(inputs.values())).shape[1]
    for cut in {0, 1, length // 2, length}:
        head, middle = run(graph, {k: x[:, :cut] for k, x in inputs.items()}, params, **kwargs)
        rest = {**kwargs, "state": middle}
        tail, end = run(graph, {k: x[:, cut:] for k, x in inputs.items()}, params, **rest)
        for name, whole in outputs.items():
            np.testing.assert_allclose(np.concatenate([head[name], tail[name]], 1), whole, rtol=1e-12, atol=1e-14)
        assert end.keys() == state.keys()
        for name, whole in state.items():
            np.testing.assert_allclose(end[name], whole, rtol=1e-12, atol=1e-14)
    other, _ = run(graph, inputs, params, **{**kwargs, "xp": TorchArrays})
    for name, whole in outputs.items():
        assert whole.dtype in (np.float64, np.complex128, np.int64, np.bool_)
        np.testing.assert_allclose(other[name].numpy(), whole, rtol=1e-11, atol=1e-13)
    return outputs, state


def mamba() -> StepGraph:
    b = Builder("D N")
    ar = b.ar
    u, dt, bb, c = b.input("u", "D"), b.input("dt", "D"), b.input("B", "N"), b.input("C", "N")
    a = b.param("A", "D N")
    delta = ar.map("softplus", dt)
    new = ar.add(ar.mul(ar.exp(ar.neg(ar.mul(delta, ar.exp(a)))), b.read("h", "D N")), ar.mul(ar.mul(delta, bb), u))
    b.register("h", new, "D N")
    b.output("y", ar.contract(c, new, ("N",)))
    return b.graph()


def test_selective_scan() -> None:
    L = 9
    data = {k: RNG.normal(size=(2, L, s)) for k, s in {"u": 3, "dt": 3, "B": 4, "C": 4}.items()}
    a = RNG.normal(size=(3, 4))
    out, state = both_ways(mamba(), data, {"A": a})
    h, ys = np.zeros((2, 3, 4)), []
    for t in range(L):
        d = np.log1p(np.exp(data["dt"][:, t]))[..., None]
        h = np.exp(-d * np.exp(a)) * h + d * data["B"][:, t, None] * data["u"][:, t, :, None]
        ys.append((h * data["C"][:, t, None]).sum(-1))
    np.testing.assert_allclose(out["y"], np.stack(ys, 1), rtol=1e-12)
    np.testing.assert_allclose(state["h"], h, rtol=1e-12)
    assert state["t"] == L


def test_two_thousand_steps_in_about_a_second() -> None:
    data = {k: RNG.normal(size=(2, 2000, s)) for k, s in {"u": 3, "dt": 3, "B": 4, "C": 4}.items()}
    before = time.perf_counter()
    run(mamba(), data, {"A": RNG.normal(size=(3, 4))})
    assert time.perf_counter() - before < 3


def test_initial_values_and_given_states() -> None:
    b = Builder("N")
    h = b.read("h", "N")
    p = b.param("p", "N")
    new = b.ar.add(b.ar.mul(b.ar.const(0.5), h), b.input("u"))
    b.register("h", new, "N", init=b.ar.exp(p))
    b.output("y", new)
    b.output("before", h)
    u = RNG.normal(size=(2, 3))
    p_ = RNG.normal(size=4)
    out, _ = both_ways(b.graph(), {"u": u}, {"p": p_})
    np.testing.assert_allclose(out["before"][:, 0], np.tile(np.exp(p_), (2, 1)))
    np.testing.assert_allclose(out["y"][:, 0], 0.5 * np.exp(p_) + u[:, :1])
    h0 = RNG.normal(size=(2, 4))
    out, _ = both_ways(b.graph(), {"u": u}, {"p": p_}, state={"h": h0})
    np.testing.assert_allclose(out["before"][:, 0], h0)


def test_prev_of_an_expression_and_a_recursive_filter() -> None:
    """y = x + 0.5 prev(y, 2) + prev(x, 3, init 7)."""
    b = Builder()
    ar, x = b.ar, b.input("x")
    y = ar.add(ar.add(x, ar.mul(ar.const(0.5), b.read("prev.y", steps=2))), b.read("prev.x", steps=3))
    b.register("prev.y", y, depth=Depth(2), origin="prev")
    b.register("prev.x", x, depth=Depth(3), init=7.0, origin="prev")
    b.output("y", y)
    xs = RNG.normal(size=(1, 8))
    out, state = both_ways(b.graph(), {"x": xs})
    ys: list[float] = []
    for t in range(8):
        ys.append(xs[0, t] + (0.5 * ys[t - 2] if t >= 2 else 0) + (xs[0, t - 3] if t >= 3 else 7))
    np.testing.assert_allclose(out["y"][0], ys)
    np.testing.assert_allclose(state["prev.x"], xs[:, -3:])
    np.testing.assert_allclose(state["prev.y"], [ys[-2:]])


def test_convolution_window() -> None:
    b = Builder("D W")
    ar, x, w = b.ar, b.input("x", "D"), b.param("w", "D W")
    window = ar.window("conv.x", "W", ("D",), "real", x)
    b.register("conv.x", x, "D", depth=Depth(0, "W"), origin="conv")
    b.output("y", ar.contract(window, w, ("W",)))
    xs, ws = RNG.normal(size=(2, 7, 3)), RNG.normal(size=(3, 4))
    out, _ = both_ways(b.graph(), {"x": xs}, {"w": ws})
    expected = np.zeros((2, 7, 3))
    for t in range(7):
        for j in range(min(t + 1, 4)):
            expected[:, t] += ws[:, j] * xs[:, t - j]
    np.testing.assert_allclose(out["y"], expected)


def test_transfer_function() -> None:
    """s = u - sum a s[t-1-i]; y = sum b s[t-i]: what scipy.signal.lfilter computes."""
    from scipy.signal import lfilter

    g = Builder("P Q")
    ar, u, num, den = g.ar, g.input("u"), g.param("b", "P"), g.param("a", "Q")
    s = ar.sub(u, ar.contract(ar.window("transfer.y", "Q", (), "real", None), den, ("Q",)))
    y = ar.contract(ar.window("transfer.y", "P", (), "real", s), num, ("P",))
    g.register("transfer.y", s, depth=Depth(0, "Q"), origin="transfer")
    g.output("y", y)
    us, bs, as_ = RNG.normal(size=(2, 20)), RNG.normal(size=3), np.array([0.5, -0.2, 0.1])
    out, _ = both_ways(g.graph(), {"u": us}, {"b": bs, "a": as_})
    np.testing.assert_allclose(out["y"], lfilter(bs, [1, *as_], us), atol=1e-12)


def attention(size: int | None) -> StepGraph:
    b = Builder("T K")
    if size is not None:
        b.sizes["T"] = b.ar.const(size)
    ar, q, k, v = b.ar, b.input("q", "K"), b.input("k", "K"), b.input("v")
    depth = Depth(0, unbounded=True) if size is None else Depth(0, "T")
    keys = ar.history("past.k", "T", k, ("K",), "real")
    values = ar.history("past.v", "T", v, (), "real")
    b.register("past.k", k, "K", depth=depth, origin="past")
    b.register("past.v", v, depth=depth, origin="past")
    score = ar.contract(q, keys, ("K",))
    if size is not None:  # steps before the start take no part
        there = ar.map("gt", ar.add(ar.index("T"), ar.time()), ar.sub(ar.size("T"), ar.const(1)))
        score = ar.where(there, score, ar.const(float("-inf")))
    weight = ar.exp(ar.sub(score, ar.reduce("logsumexp", score, ("T",))))
    b.output("y", ar.contract(weight, values, ("T",)))
    b.output("count", ar.cast(ar.size("T"), "real"))
    return b.graph()


@pytest.mark.parametrize("size", [None, 3])
def test_attention_over_the_past(size: int | None) -> None:
    L = 7
    q, k, v = RNG.normal(size=(2, L, 4)), RNG.normal(size=(2, L, 4)), RNG.normal(size=(2, L))
    out, state = both_ways(attention(size), {"q": q, "k": k, "v": v})
    for t in range(L):
        since = 0 if size is None else max(0, t + 1 - size)
        w = np.exp(np.einsum("bk,btk->bt", q[:, t], k[:, since : t + 1]))
        np.testing.assert_allclose(out["y"][:, t], (w * v[:, since : t + 1]).sum(1) / w.sum(1))
    np.testing.assert_array_equal(out["count"][0], np.arange(1, L + 1) if size is None else [3] * L)
    assert state["past.k"].shape == (2, L if size is None else 3, 4)


def test_a_past_of_a_state_that_feeds_back() -> None:
    """h = x + mean of all earlier h: the history is part of the recurrence."""
    b = Builder("T")
    ar, x = b.ar, b.input("x")
    h = b.read("h")
    past = ar.history("past.h", "T", h, (), "real")
    mean = ar.div(ar.reduce("sum", past, ("T",)), ar.time())
    new = ar.add(x, mean)
    b.register("h", new)
    b.register("past.h", h, depth=Depth(0, unbounded=True), origin="past")
    b.output("y", new)
    xs = RNG.normal(size=(1, 6))
    out, _ = both_ways(b.graph(), {"x": xs})
    hs = [0.0]
    for t in range(6):
        hs.append(xs[0, t] + sum(hs) / (t + 1))
    np.testing.assert_allclose(out["y"][0], hs[1:])


def test_reverse_states_next_and_forward_states_in_one_spec() -> None:
    b = Builder()
    ar, x = b.ar, b.input("x")
    half = ar.const(0.5)
    back = ar.add(ar.mul(half, b.read("back")), x)
    ahead = b.read("next.x", steps=2)
    forward = ar.add(ar.mul(half, b.read("h")), ar.mul(back, ar.time()))
    b.register("h", forward)
    b.register("back", back, reverse=True, init=3.0)
    b.register("next.x", x, depth=Depth(2), init=-1.0, reverse=True, origin="prev")
    b.output("y", ar.add(forward, ahead))
    xs = RNG.normal(size=(2, 5))
    out, state = run(b.graph(), {"x": xs}, {})
    backs, r = np.zeros((2, 5)), np.full(2, 3.0)
    for t in reversed(range(5)):
        r = backs[:, t] = 0.5 * r + xs[:, t]
    h, ys = np.zeros(2), []
    for t in range(5):
        h = 0.5 * h + backs[:, t] * (t + 1)
        ys.append(h + (xs[:, t + 2] if t + 2 < 5 else -1))
    np.testing.assert_allclose(out["y"], np.stack(ys, 1))
    np.testing.assert_allclose(state["back"], backs[:, 0])
    np.testing.assert_allclose(state["next.x"], xs[:, [1, 0]])
    assert components(b.graph()) == [("back",), ("h",), ("next.x",)]


def test_a_cycle_between_directions_is_a_bug_of_the_level_above() -> None:
    b = Builder()
    f, r = b.read("f"), b.read("r")
    b.register("f", r)
    b.register("r", f, reverse=True)
    with pytest.raises(CompilerBug, match="both directions"):
        components(b.graph())


def test_coupled_states_and_a_cascade() -> None:
    b = Builder()
    ar, x = b.ar, b.input("x")
    p, q, s = b.read("p"), b.read("q"), b.read("s")
    new_p = ar.add(ar.mul(ar.const(0.9), p), ar.mul(ar.const(0.1), q))
    new_q = ar.add(ar.sub(q, p), x)
    new_s = ar.map("tanh", ar.add(s, ar.mul(new_p, p)))
    b.register("s", new_s)
    b.register("p", new_p)
    b.register("q", new_q)
    b.output("y", new_s)
    assert components(b.graph()) == [("p", "q"), ("s",)]
    xs = RNG.normal(size=(1, 6))
    out, _ = both_ways(b.graph(), {"x": xs})
    P = Q = S = 0.0
    for t in range(6):
        old = P
        P, Q = 0.9 * P + 0.1 * Q, Q - P + xs[0, t]
        S = np.tanh(S + P * old)
        np.testing.assert_allclose(out["y"][0, t], S)


def test_complex_and_bool_and_int_states() -> None:
    b = Builder()
    ar, x, reset = b.ar, b.input("x"), b.input("reset", kind="bool")
    z = ar.add(ar.mul(ar.const(0.3 + 0.4j), b.read("z", kind="complex")), x)
    seen = ar.map("or", b.read("seen", kind="bool"), reset)
    count = ar.where(reset, ar.const(0), ar.add(b.read("count", kind="int"), ar.const(1)))
    b.register("z", z, kind="complex", init=1.0)
    b.register("seen", seen, kind="bool", init=b.ar.const(False))
    b.register("count", count, kind="int", init=b.ar.const(0))
    b.output("z", z)
    b.output("seen", seen)
    b.output("count", count)
    xs = RNG.normal(size=(1, 5))
    resets = np.array([[False, False, True, False, False]])
    out, state = both_ways(b.graph(), {"x": xs, "reset": resets})
    np.testing.assert_array_equal(out["seen"][0], [False, False, True, True, True])
    np.testing.assert_array_equal(out["count"][0], [1, 2, 0, 1, 2])
    assert state["z"].dtype == np.complex128
    np.testing.assert_allclose(out["z"][0, 1], (0.3 + 0.4j) * (0.3 + 0.4j + xs[0, 0]) + xs[0, 1])


def test_gradients_by_autograd_agree_with_differences() -> None:
    graph = mamba()
    data = {k: torch.tensor(RNG.normal(size=(2, 4, s))) for k, s in {"u": 3, "dt": 3, "B": 4, "C": 4}.items()}
    a, h0 = torch.tensor(RNG.normal(size=(3, 4))), torch.tensor(RNG.normal(size=(2, 3, 4)))
    names = list(data)

    def f(a: Any, h0: Any, *inputs: Any) -> Any:
        given = dict(zip(names, inputs, strict=True))
        out, state = run(graph, given, {"A": a}, state={"h": h0}, xp=TorchArrays)
        return out["y"], state["h"]

    leaves = [a, h0, *data.values()]
    assert torch.autograd.gradcheck(f, tuple(x.requires_grad_() for x in leaves))


def test_without_inputs_and_without_steps() -> None:
    b = Builder("N")
    new = b.ar.add(b.read("h", "N"), b.ar.index("N"))
    b.register("h", new, "N")
    b.output("y", new)
    out, state = run(b.graph(), {}, {}, length=3, sizes={"N": 2})
    np.testing.assert_array_equal(out["y"], [[[0, 1], [0, 2], [0, 3]]])
    out, state = run(b.graph(), {}, {}, length=0, sizes={"N": 2}, state={"h": np.ones((1, 2)), "t": 5})
    assert out["y"].shape == (1, 0, 2)
    np.testing.assert_array_equal(state["h"], [[1, 1]])
    assert state["t"] == 5
    empty = {k: np.zeros((0, 4, s)) for k, s in {"u": 3, "dt": 3, "B": 4, "C": 4}.items()}
    out, _ = run(mamba(), empty, {"A": np.zeros((3, 4))})
    assert out["y"].shape == (0, 4, 3)


def test_outputs_are_broadcast_to_their_axes_in_their_order() -> None:
    b = Builder("D N")
    x = b.input("x", "N")
    b.output("y", x, ("D", "N"))
    b.output("z", b.ar.mul(x, b.param("p", "D")), ("N", "D"))
    xs, p = RNG.normal(size=(1, 2, 3)), RNG.normal(size=4)
    out, _ = both_ways(b.graph(), {"x": xs}, {"p": p})
    np.testing.assert_array_equal(out["y"], np.tile(xs[:, :, None], (1, 1, 4, 1)))
    np.testing.assert_allclose(out["z"], xs[..., None] * p)


def test_a_param_left_out_takes_its_default() -> None:
    b = Builder("N")
    x = b.input("x")
    table = b.ar.table("hippo.legs", ("N", "N'"), "real")
    m = b.param("A", "N N'", default=table)
    b.output("y", b.ar.mul(x, b.ar.reduce("sum", m, ("N'",))))
    out, _ = run(b.graph(), {"x": np.ones((1, 1))}, {}, sizes={"N": 2})
    np.testing.assert_allclose(out["y"][0, 0], [-1, -2 - np.sqrt(3)])


# -- sizes ---------------------------------------------------------------------------------------------------------


def sized() -> Builder:
    b = Builder("P N M")
    b.sizes["N"] = b.ar.mul(b.ar.const(2), b.ar.size("P"))
    b.input("x", "P")
    b.param("w", "N")
    b.param("m", "M")
    return b


def problems(graph: StepGraph, shapes: dict[str, tuple[int, ...]], sizes: dict[str, int] | None = None) -> list[str]:
    with pytest.raises(SpecError) as caught:
        solve_sizes(graph, shapes, sizes)
    return [f"{d.code} {d.title} {' '.join(d.notes)}" for d in caught.value.diagnostics]


def test_sizes_are_solved_forward() -> None:
    graph = sized().graph()
    assert solve_sizes(graph, {"x": (8, 100, 3), "m": (5,)}) == {"P": 3, "N": 6, "M": 5}
    assert solve_sizes(graph, {"x": (8, 100, 3)}, partial=True) == {"P": 3, "N": 6}
    assert solve_sizes(graph, {}, {"P": 1, "M": 0}) == {"P": 1, "N": 2, "M": 0}


def test_a_mismatch_names_the_axis_both_tensors_and_both_sizes() -> None:
    graph = sized().graph()
    (first,) = problems(graph, {"x": (1, 3), "w": (7,), "m": (5,)})
    assert first.startswith("E601")
    assert "`N` is 6 in its declaration, and 7 in `w`" in first
    (second,) = problems(graph, {"x": (1, 3), "m": (5,)}, {"P": 4})
    assert "`P` is 4 in `sizes`, and 3 in `x`" in second


def test_an_axis_that_nothing_fixes_names_the_params_left_out() -> None:
    (text,) = problems(sized().graph(), {"x": (1, 3)})
    assert text.startswith("E603")
    assert "`m`" in text
    both = problems(sized().graph(), {})
    assert [t[:4] for t in both] == ["E603", "E603"]  # P and M; N waits for P


def test_renamed_axes_are_equal() -> None:
    b = sized()
    b.equations = (("P", "M"),)
    assert solve_sizes(b.graph(), {"x": (1, 3)})["M"] == 3
    (text,) = problems(b.graph(), {"x": (1, 3), "m": (4,)})
    assert text.startswith("E602")
    assert "`P` is 3 in `x`, `M` is 4 in `m`" in text


def test_impossible_sizes() -> None:
    b = Builder("P N")
    half: Node = b.ar.div(b.ar.size("P"), b.ar.const(2))
    b.sizes["N"] = half
    assert solve_sizes(b.graph(), {}, {"P": 4}) == {"P": 4, "N": 2}
    assert problems(b.graph(), {}, {"P": 3})[0].startswith("E604 the size of the axis `N` comes out as 1.5")
    assert problems(b.graph(), {}, {"P": -1})[0].startswith("E604")
    assert problems(b.graph(), {}, {"P": 2, "Q": 1})[0].startswith("E605")


def test_the_oracle_uses_numpy_by_default() -> None:
    out, _ = run(sized_output(), {"x": np.ones((1, 1, 2))}, {}, xp=NumpyArrays())
    assert isinstance(out["y"], np.ndarray)


def sized_output() -> StepGraph:
    b = Builder("P")
    b.output("y", b.input("x", "P"))
    return b.graph()
