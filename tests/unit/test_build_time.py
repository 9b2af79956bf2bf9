"""Delays, directions and the order of statements, against loops written from the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.specs import built, codes, outputs

L, D, W = 7, 3, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(L, D))
Z = RNG.normal(size=(L, D))


def back(x: np.ndarray, k: int, init: object = 0.0) -> np.ndarray:
    """x k steps before (after, for a negative k)."""
    y = np.empty_like(x)
    for i in range(len(x)):
        y[i] = x[i - k] if 0 <= i - k < len(x) else init
    return y


def test_prev_and_next_of_an_input() -> None:
    text = """
    axis D
    input x[D]
    param m[D]
    output a[D] = prev(x), b[D] = prev(x, 3), c[D] = prev(x, 2, m), d[D] = next(x), e[D] = next(x, 2, 1)
    """
    m = RNG.normal(size=D)
    y = outputs(text, x=X, m=m)
    for name, wanted in {"a": back(X, 1), "b": back(X, 3), "c": back(X, 2, m), "d": back(X, -1),
                         "e": back(X, -2, 1.0)}.items():  # fmt: skip
        np.testing.assert_allclose(y[name], wanted, err_msg=name)


def test_equal_delays_share_the_deepest_register() -> None:
    graph = built("""
    axis D
    input x[D]
    twice(v) = prev(v) + prev(v, 3)
    output a[D] = twice(x) + prev(x, 2), b[D] = prev(x, 1, 5)
    """)
    assert [(r.name, r.depth.steps) for r in graph.registers] == [("prev.x", 3), ("prev.x.2", 1)]


def test_a_delay_is_named_after_what_it_delays_or_who_asks() -> None:
    graph = built("""
    axis D, W = 2
    input x[D], u[D]
    param w[W], b[W], a[W]
    y = prev(2*x) + prev(x)
    output z[D] = conv(u, w) + transfer(b, a, u) + next(y)
    """)
    assert [r.name for r in graph.registers] == ["prev.y", "prev.x", "conv.u", "transfer.z", "next.y"]


def test_prev_of_a_state_is_what_the_step_began_with() -> None:
    text = """
    axis D
    input x[D]
    state h[D] = 2
    before = h
    h = 0.5*h + x
    output a[D] = prev(h), b[D] = before, c[D] = h, d[D] = prev(h, 3), e[D] = prev(2*h)
    """
    graph = built(text)
    assert {r.name for r in graph.registers} == {"h", "prev.h", "prev.e"}
    h0 = RNG.normal(size=D)
    y = outputs(text, x=X, state={"h": h0})
    h = np.empty((L, D))
    last = h0
    for i in range(L):
        last = h[i] = 0.5 * last + X[i]
    np.testing.assert_allclose(y["c"], h)
    np.testing.assert_allclose(y["a"], back(h, 1, h0))
    np.testing.assert_allclose(y["b"], back(h, 1, h0))
    # three steps before: the state that the caller gave is what it was before the first step, then the spec's own
    began = back(h, 1, h0)
    np.testing.assert_allclose(y["d"], back(began, 2, 2.0))
    np.testing.assert_allclose(y["e"], back(2 * h, 1))


def test_inside_prev_every_name_is_final() -> None:
    text = """
    axis D
    input x[D]
    state h[D]
    early = prev(x*h) + prev(late)
    h = 0.9*h + x
    late = 3*h
    output early
    """
    h = np.empty((L, D))
    last = np.zeros(D)
    for i in range(L):
        last = h[i] = 0.9 * last + X[i]
    np.testing.assert_allclose(outputs(text, x=X)["early"], back(X * h, 1) + back(3 * h, 1))


def test_a_macro_in_and_around_prev() -> None:
    text = """
    axis D
    input x[D]
    state h[D]
    diff(v) = v - prev(v)
    a = diff(h)
    h = 0.9*h + x
    b = diff(h)
    output a, b, c[D] = diff(diff(x)), d[D] = prev(diff(x))
    """
    y = outputs(text, x=X)
    h = np.empty((L, D))
    last = np.zeros(D)
    for i in range(L):
        last = h[i] = 0.9 * last + X[i]
    # before its assignment h is what the step began with, and so is prev(h)
    np.testing.assert_allclose(y["a"], 0 * X)
    np.testing.assert_allclose(y["b"], h - back(h, 1))
    dx = X - back(X, 1)
    np.testing.assert_allclose(y["c"], dx - back(dx, 1))
    np.testing.assert_allclose(y["d"], back(dx, 1))


def test_recursive_filters() -> None:
    text = """
    axis D
    input x[D]
    a = x + 0.5*prev(b)
    b = tanh(a) - 0.25*prev(b, 2)
    output a, b
    """
    y = outputs(text, x=X)
    a, b = np.zeros((L, D)), np.zeros((L, D))
    for i in range(L):
        a[i] = X[i] + 0.5 * (b[i - 1] if i >= 1 else 0)
        b[i] = np.tanh(a[i]) - 0.25 * (b[i - 2] if i >= 2 else 0)
    np.testing.assert_allclose(y["a"], a)
    np.testing.assert_allclose(y["b"], b)


def test_types_round_a_circle_are_found() -> None:
    graph = built("""
    axis N, K
    input x[N], k[K], q[N]
    y = q · prev(z)
    z = 1j*(y + k) + x
    output y complex, z complex
    """)
    lines = {r.name: (set(r.axes), r.kind) for r in graph.registers}
    assert lines == {"prev.z": ({"N", "K"}, "complex")}
    assert {o.name: set(o.axes) for o in graph.outputs} == {"y": {"K"}, "z": {"N", "K"}}


def test_a_circle_without_a_type_is_a_real_number() -> None:
    graph = built("""
    y = prev(y)
    output y
    """)
    (line,) = graph.registers
    assert (line.axes, line.kind, line.source) == ((), "real", graph.arena.read("prev.y", (), "real"))


def test_a_bool_stays_one_when_delayed() -> None:
    text = """
    input x
    output y bool = prev(x > 0), n int = prev(t)
    """
    y = outputs(text, x=X[:, 0])
    assert y["y"].dtype == bool
    np.testing.assert_array_equal(y["y"], back(X[:, 0] > 0, 1, False))
    np.testing.assert_array_equal(y["n"], np.arange(L))


def test_reverse_states() -> None:
    text = """
    axis D
    input x[D]
    state h[D] = 1 reverse
    h = 0.5*h + x
    output y[D] = h, a[D] = prev(h), b[D] = prev(h, 2), c[D] = next(h), d[D] = prev(2*h)
    """
    y = outputs(text, x=X)
    h = np.empty((L, D))
    last = np.ones(D)
    for i in reversed(range(L)):
        last = h[i] = 0.5 * last + X[i]
    np.testing.assert_allclose(y["y"], h)
    np.testing.assert_allclose(y["a"], back(h, -1, 1.0))
    np.testing.assert_allclose(y["b"], back(h, -2, 1.0))
    np.testing.assert_allclose(y["c"], back(h, -1, 1.0))  # the step after in time: what the step began with
    np.testing.assert_allclose(y["d"], back(2 * h, 1))  # of an expression, `prev` is the step before


def test_forward_after_reverse_is_legal() -> None:
    text = """
    axis D
    input x[D]
    state f[D], g[D] reverse
    g = 0.5*g + x
    f = 0.5*f + g + next(x)
    output f
    """
    assert codes(text) == []
    assert codes(text.replace("g = 0.5*g + x", "g = 0.5*g + f")) == ["E505"]


def test_conv_is_a_sum_of_delays() -> None:
    text = """
    axis D, W = 4
    input x[D]
    param w[D, W]
    state h[D] = 3
    a = conv(x, w)
    b = conv(h, w)
    c = conv(x*h, w)
    h = 0.5*h + x
    output a, b, c, d[D] = conv(h, w)
    """
    w, h0 = RNG.normal(size=(D, W)), RNG.normal(size=D)
    y = outputs(text, x=X, w=w, state={"h": h0})
    h = np.empty((L, D))
    last = h0
    for i in range(L):
        last = h[i] = 0.5 * last + X[i]
    began = back(h, 1, h0)

    def conv(now: np.ndarray, delayed: list[np.ndarray]) -> np.ndarray:
        return w[:, 0] * now + sum(w[:, j] * delayed[j - 1] for j in range(1, W))  # type: ignore[no-any-return]

    np.testing.assert_allclose(y["a"], conv(X, [back(X, j) for j in range(1, W)]))
    of_h = [back(began, j - 1, 3.0) for j in range(1, W)]
    np.testing.assert_allclose(y["b"], conv(began, of_h))
    np.testing.assert_allclose(y["c"], conv(X * began, [back(X * h, j) for j in range(1, W)]))
    np.testing.assert_allclose(y["d"], conv(h, of_h))


@pytest.mark.parametrize("lags", ["N", "M"])
def test_transfer_is_a_rational_filter(lags: str) -> None:
    text = f"""
    axis D, N, M
    input u[D]
    param b[D, {lags}], a[D, N]
    output y[D] = transfer(b, a, u)
    """
    n, m = 3, 5 if lags == "M" else 3
    b, a = RNG.normal(size=(D, m)), 0.3 * RNG.normal(size=(D, n))
    y = np.zeros((L, D))
    for i in range(L):
        y[i] = sum(b[:, j] * X[i - j] for j in range(m) if i >= j)
        y[i] -= sum(a[:, j] * y[i - j - 1] for j in range(n) if i >= j + 1)
    np.testing.assert_allclose(outputs(text, u=X, b=b, a=a)["y"], y, atol=1e-12)


def test_before_and_after_the_assignment() -> None:
    text = """
    axis K, V
    input r[K], k[K], v[V], w[K]
    param b[K]
    state S[K, V]
    y = r · (S + b*k*v)
    S = w*S + k*v
    output y[V], z[V] = r · S
    """
    r, k, w = (RNG.normal(size=(L, 2)) for _ in range(3))
    b = RNG.normal(size=2)
    got = outputs(text, r=r, k=k, v=X, w=w, b=b)
    S = np.zeros((2, D))
    for i in range(L):
        np.testing.assert_allclose(got["y"][i], r[i] @ (S + np.outer(b * k[i], X[i])))
        S = w[i][:, None] * S + np.outer(k[i], X[i])
        np.testing.assert_allclose(got["z"][i], r[i] @ S)


def test_a_states_value_is_broadcast() -> None:
    text = """
    axis D, N
    input x[D], c[N]
    state h[D, N] = 1
    was = sum[N](c*h)
    h = 2*x
    output h, was, now[D] = c · h
    """
    c = RNG.normal(size=(L, 2))
    y = outputs(text, x=X, c=c)
    np.testing.assert_allclose(y["h"], np.broadcast_to(2 * X[:, :, None], (L, D, 2)))
    np.testing.assert_allclose(y["now"], 2 * X * c.sum(1)[:, None])
    np.testing.assert_allclose(y["was"], back(2 * X, 1, 1.0) * c.sum(1)[:, None])


def test_the_unknown_of_an_equation_is_written_in_it() -> None:
    text = """
    axis D
    input x[D]
    state h[D]
    leak(v) = -0.5*v
    held = 0.25*h
    h' = leak(h) + held + x using euler(step = 0.1)
    output h
    """
    h = np.zeros(D)
    for got, x in zip(outputs(text, x=X)["h"], X, strict=True):
        h = h + 0.1 * (-0.5 * h + 0.25 * h + x)
        np.testing.assert_allclose(got, h)
    implicit = text.replace("euler", "backward_euler")
    h = np.zeros(D)
    for got, x in zip(outputs(implicit, x=X)["h"], X, strict=True):
        # what was named above is held: only the leak is taken at the end of the step
        h = (h + 0.1 * (0.25 * h + x)) / 1.05
        np.testing.assert_allclose(got, h)


def test_circles_are_told_apart() -> None:
    assert codes("input x\ny = x + z\nz = 2*x\noutput y") == ["E501"]
    assert codes("input x\ny = x + z\nz = 2*y\noutput y") == ["E502"]
    assert codes("input x\ny = x + prev(z)\nz = 2*y\noutput y") == []
    assert codes("input x\ny = x + next(z)\nz = 2*y\noutput y") == []
    assert codes("input x\ny = x + next(z)\nz = 2*prev(y)\noutput y") == ["E505"]


def test_a_state_with_a_value_before_the_start() -> None:
    text = """
    axis D
    input x[D]
    state h[D] = 1
    h = 0.5*h + x
    output y[D] = h, a[D] = prev(h, 1, 3)
    """
    y = outputs(text, x=X)
    np.testing.assert_allclose(y["a"], back(y["y"], 1, 3.0))
