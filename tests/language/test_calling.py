"""Language reference, the specs at its top and "Calling a compiled spec": a case a sentence."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.language.support import Case, agrees, cases, compiled, run, sigmoid, silu, softplus

MAMBA = """
# Mamba's selective state space (S6)
ssm mamba
axis   D, N
input  u[D], dt[D], B[N], C[N], z[D]       # one value a time step
param  A_log[D, N], skip[D], dt_bias[D]    # one value for the whole sequence
state  h[D, N] = 0

delta = softplus(dt + dt_bias)
h = exp(-delta * exp(A_log)) * h + delta * B * u
output y[D] = (C · h + skip * u) * silu(z)
"""

TINY = """
ssm tiny                                   # functions of the input
axis   N
input  x[N], u
A(x) = sigmoid(x)
B(x) = 1 - A(x)
C(x) = tanh(x)
state  h[N]
h = A(x)*h + B(x)*u; y = C(x)·h
output y
"""

S4D = """
ssm s4d                                    # `each D`: channels are independent, `·` never sums over D
axis   D, N
each   D
input  u[D]
param  A_re[D, N], A_im[D, N], C[D, N] complex, log_dt[D], skip[D]
state  h[D, N] complex = 0
lam = -exp(A_re) + 1j*A_im
h' = lam*h + u using zoh(step = exp(log_dt))
output y[D] = 2*real(C · h) + skip*u
"""


def mamba(a):
    def step(t, h):
        delta = softplus(a.dt[t] + a.dt_bias)
        h = np.exp(-delta[:, None] * np.exp(a.A_log)) * h + np.outer(delta * a.u[t], a.B[t])
        return h, (h @ a.C[t] + a.skip * a.u[t]) * silu(a.z[t])

    return run(a.L, step, np.zeros((3, 2)))


def tiny(a):
    def step(t, h):
        g = sigmoid(a.x[t])
        h = g * h + (1 - g) * a.u[t]
        return h, np.tanh(a.x[t]) @ h

    return run(a.L, step, np.zeros(3))


def s4d(a):
    def step(t, h):
        lam, dt = -np.exp(a.A_re) + 1j * a.A_im, np.exp(a.log_dt)[:, None]
        h = np.exp(lam * dt) * h + (np.exp(lam * dt) - 1) / lam * a.u[t][:, None]
        return h, 2 * (a.C * h).sum(-1).real + a.skip * a.u[t]

    return run(a.L, step, np.zeros((3, 2), complex))


TABLE = {
    "mamba": Case(
        "the first spec",
        MAMBA,
        mamba,
        {"u": (3,), "dt": (3,), "B": (2,), "C": (2,), "z": (3,)},
        {"A_log": (3, 2), "skip": (3,), "dt_bias": (3,)},
        length=70,
    ),
    "tiny": Case("the second spec", TINY, tiny, {"x": (3,), "u": ()}, length=70),
    "s4d": Case(
        "the third spec",
        S4D,
        s4d,
        {"u": (3,)},
        {"A_re": (3, 2), "A_im": (3, 2), "C": (3, 2), "log_dt": (3,), "skip": (3,)},
        length=70,
    ),
    "no_inputs": Case(
        "A spec without inputs takes `length=`",
        "axis D = 2\nparam a[D]\nstate h[D] = 1\nh = a*h + t\noutput y = h",
        lambda a: run(a.L, lambda t, h: ((n := a.a * h + t + 1), n), np.ones(2)),
        params={"a": (2,)},
    ),
    "no_inputs_given_state": Case(
        "A spec without inputs takes `length=`",
        "axis D\nparam a[D]\nstate h[D]\nh = a*h\noutput y = h",
        lambda a: run(a.L, lambda t, h: ((n := a.a * h), n), a.h),
        params={"a": (2,)},
        state={"h": (2,)},
    ),
}


@cases(TABLE)
def test_agrees(case):
    agrees(case)


EMA = "axis D\ninput x[D], u\nparam g[D], k = 2\nstate h[D] = 0\nh = sigmoid(g)*h + x*u*k\noutput y[D] = h"


def ema(x, u, g, k=2.0, h=None):
    h = np.zeros_like(x[..., 0, :]) if h is None else h
    found = []
    for t in range(x.shape[-2]):
        h = sigmoid(g) * h + x[..., t, :] * u[..., t, None] * k
        found.append(h)
    return np.stack(found, -2)


@pytest.fixture
def numbers():
    rng = np.random.default_rng(1)
    return rng.normal(size=(2, 6, 3)), rng.normal(size=(2, 6)), rng.normal(size=3)


def test_keywords_and_positions(numbers):
    """Positional arguments follow the declarations, inputs first."""
    f = compiled(EMA)
    x, u, g = numbers
    for y in (
        f(x, u, g),
        f(x, u, g, 2),
        f(x, u, g=g),
        f(x, g=g, u=u),
        f(u=torch.tensor(u), x=torch.tensor(x), g=torch.tensor(g), k=2.0),
    ):
        np.testing.assert_allclose(y, ema(x, u, g), atol=1e-12)
    np.testing.assert_allclose(f(x, u, g, 3), ema(x, u, g, 3), atol=1e-12)


def test_positions_follow_the_declarations():
    """Positional arguments follow the declarations, inputs first, however they are interleaved."""
    f = compiled("param p\ninput a\nparam q\ninput b\noutput y = p + 10*q + 100*a + 1000*b")
    assert f(torch.ones(1), 2 * torch.ones(1), 3, 4).item() == 2143


def test_state_in_and_out(numbers):
    """`y, state = f(..., state={"h": h0}, return_state=True)`; gradients flow into and out of the state."""
    f = compiled(EMA)
    x, u, g = numbers
    h0 = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    y, state = f(x, u, g, state={"h": h0}, return_state=True)
    want = ema(x, u, g, h=h0.detach().numpy())
    np.testing.assert_allclose(y.detach(), want, atol=1e-12)
    np.testing.assert_allclose(state["h"].detach(), want[:, -1], atol=1e-12)
    assert state["t"] == 6
    (gradient,) = torch.autograd.grad(state["h"].sum(), h0)
    np.testing.assert_allclose(gradient, np.broadcast_to(sigmoid(g) ** 6, (2, 3)), atol=1e-12)


def test_gradient_of_the_final_state_alone(numbers):
    """Gradients flow out of the state, also where the output is not used."""
    f = compiled(EMA)
    x, u, g = (torch.tensor(v, requires_grad=True) for v in numbers)
    _, state = f(x, u, g, return_state=True)
    state["h"].sum().backward()
    n = numbers
    powers = sigmoid(n[2])[None, None] ** np.arange(5, -1, -1)[None, :, None]
    np.testing.assert_allclose(x.grad, 2 * powers * n[1][..., None], atol=1e-12)


@pytest.mark.parametrize("batch", [(), (2,), (2, 2)])
def test_step(batch):
    """`y_t, state = f.step(state, u=u_t, ...)`: one token, no time dimension."""
    f = compiled(EMA)
    rng = np.random.default_rng(1)
    x, u, g = rng.normal(size=(*batch, 6, 3)), rng.normal(size=(*batch, 6)), rng.normal(size=3)
    state = f.init_state(batch, dtype=torch.float64, sizes={"D": 3})
    assert state["h"].shape == (*batch, 3)
    assert state["t"] == 0
    want = ema(x, u, g)
    for t in range(6):
        y, state = f.step(state, x[..., t, :], u[..., t], g=g)
        np.testing.assert_allclose(y, want[..., t, :], atol=1e-12)
    assert state["t"] == 6
    np.testing.assert_allclose(state["h"], want[..., -1, :], atol=1e-12)


ENTRIES = """
axis D, W, P, T, R = 3
input x[D]
param w[W], b[P], a[P]
state h[D]
h = 0.5*h + x
output y = prev(x, 2) + conv(x, w) + transfer(b, a, x) + sum[T](past[T](x)) + mean[R](past[R](h)) + prev(h, 2) + t
"""


def test_entries():
    """`state` holds one entry a state, `t`, and one for each delayed expression; `init_state` gives all of them."""
    f = compiled(ENTRIES)
    params = {"w": torch.randn(4).double(), "b": torch.randn(3).double(), "a": torch.randn(3).double() / 9}
    start = f.init_state(2, sizes={"D": 3}, **params)
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    y, end = f(x, **params, return_state=True)
    assert set(start) == set(end)
    assert {"h", "t"} < set(start)
    kinds = {k.partition(".")[0] for k in start}
    assert kinds == {"h", "t", "prev", "conv", "transfer", "past"}
    told = f.explain(sizes={"D": 3})
    assert all(k in told for k in start if k != "t")
    torch.testing.assert_close(f(x, **params, state=start), y)
    torch.testing.assert_close(f(x, **params, state={}), y)
    # running in two pieces equals running at once
    for cut in (0, 1, 4, 9):
        first, state = f(x[:, :cut], **params, return_state=True)
        second, state = f(x[:, cut:], **params, state=state, return_state=True)
        torch.testing.assert_close(torch.cat([first, second], 1), y)
        for k in end:
            torch.testing.assert_close(torch.as_tensor(state[k]), torch.as_tensor(end[k]))


def test_missing_entry():
    """A missing entry is the initial value."""
    f = compiled("input x\nstate h = 3\nh = 0.5*h + x\noutput y = h + prev(x, 1, 10)")
    x = torch.tensor([1.0, 1.0])
    _, state = f(x, return_state=True)
    (name,) = set(state) - {"h", "t"}
    assert f(x, state={"h": torch.tensor(0.0)}).tolist() == [11, 2.5]
    assert f(x, state={name: state[name]}).tolist() == [2.5 + 1, 2.25 + 1]
    assert f(x, state={"t": 5}).tolist() == [12.5, 3.25]


def test_t_of_the_state():
    """`t` (steps done)."""
    f = compiled("input x\noutput y = x*t")
    assert f(torch.ones(3), state={"t": 10}).tolist() == [11, 12, 13]
    y, state = f.step({"t": 4}, torch.tensor(1.0))
    assert (y.item(), state["t"]) == (5, 5)
    y = f(torch.ones(2, 2), state={"t": torch.tensor([0, 7])})
    assert y.tolist() == [[1, 2], [8, 9]]


def test_several_outputs():
    """Several outputs come back as a named tuple in the order of `output`."""
    f = compiled("input x\noutput b = x\noutput a = 2*x, c = 3*x")
    y = f(torch.ones(1))
    assert y._fields == ("b", "a", "c")
    assert [v.item() for v in y] == [1, 2, 3]
    y, _ = f.step(None, torch.tensor(1.0))
    assert y._fields == ("b", "a", "c")
    assert y.c.item() == 3


PACKED = """
axis D, W
input x[D], g[D]
param w[D, W]
state h[D] = 1
c = conv(x, w)
h = sigmoid(g)*h + c*t
output y = h + prev(x, 2, 5)
"""


def packed(x, g, w):
    h = np.ones(x.shape[1])
    line = np.concatenate([np.zeros((w.shape[1] - 1, x.shape[1])), x])
    found = []
    for t in range(len(x)):
        c = sum(w[:, j] * line[t + w.shape[1] - 1 - j] for j in range(w.shape[1]))
        h = sigmoid(g[t]) * h + c * (t + 1)
        found.append(h + (x[t - 2] if t >= 2 else 5.0))
    return np.stack(found) if found else x


@pytest.mark.parametrize("lengths", [[9], [4, 5], [1, 1, 7], [0, 9], [3, 0, 6], [2, 3, 4]])
def test_packed(lengths):
    """`lengths`/`cu_seqlens`: no sequence sees another."""
    f = compiled(PACKED)
    rng = np.random.default_rng(0)
    x, g, w = rng.normal(size=(1, 9, 2)), rng.normal(size=(1, 9, 2)), rng.normal(size=(2, 3))
    ends = np.cumsum([0, *lengths])
    want = np.concatenate([packed(x[0, a:b], g[0, a:b], w) for a, b in pairwise(ends)])
    for options in ({"cu_seqlens": ends.tolist()}, {"cu_seqlens": torch.tensor(ends)}, {"lengths": lengths}):
        y, state = f(x, g, w, return_state=True, **options)
        np.testing.assert_allclose(y[0], want, atol=1e-12)
        assert state["h"].shape == (len(lengths), 2)


SPECS = {
    "scan": PACKED,
    "matrix": """
axis K, V
input x[K], g[V]
param w[K, V]
state S[V, K] = 0.5
o = x · S
S = sigmoid(sum[K](x))*S + (x*w)*g
output y = o + sum[K](S)
""",
    "past": """
axis D, T, V
input x[D], g[V]
param w[D, V]
output y = sum[T](softmax[T](x · past[T](2*x)) * past[T](g)) + (x · w) + transfer(w/9, w/9, sum[D](x))[D = 0]
""",
    "reverse": """
axis D, V
input x[D], g[V]
param w[D, V]
state h[D] = 1, b[D] = 2 reverse
h = 0.9*h + x
b = sigmoid(x)*b + h
output y = (b · w)*g + sum[D](next(x) + prev(x, 2))
""",
}


@pytest.mark.parametrize("name", SPECS)
def test_gradients_of_packed(name):
    """Packed sequences are as if each were run alone, forward and backward."""
    f = compiled(SPECS[name])
    rng = np.random.default_rng(0)
    x, g, w = (torch.tensor(rng.normal(size=s), requires_grad=True) for s in ((1, 9, 2), (1, 9, 2), (2, 2)))
    weight = torch.tensor(rng.normal(size=(9, 2)))
    ends = [0, 2, 2, 9]
    whole = f(x, g, w, cu_seqlens=ends)
    alone = torch.cat([f(x[:, a:b], g[:, a:b], w) for a, b in pairwise(ends)], 1)
    torch.testing.assert_close(whole, alone)
    for y, z in zip(*(torch.autograd.grad((v[0] * weight).sum(), (x, g, w)) for v in (whole, alone)), strict=True):
        torch.testing.assert_close(y, z)


def test_padded():
    """`lengths`, one a row: what is past the end is not seen, and states are those after the last step."""
    f = compiled(PACKED)
    rng = np.random.default_rng(0)
    x, g, w = rng.normal(size=(3, 9, 2)), rng.normal(size=(3, 9, 2)), rng.normal(size=(2, 3))
    lengths = [9, 4, 0]
    y, state = f(x, g, w, lengths=torch.tensor(lengths), return_state=True)
    for b, n in enumerate(lengths):
        np.testing.assert_allclose(y[b, :n], packed(x[b, :n], g[b, :n], w)[:n], atol=1e-12)
        assert (y[b, n:] == 0).all()
        _, alone = f(x[b, :n], g[b, :n], w, return_state=True)
        np.testing.assert_allclose(state["h"][b], alone["h"], atol=1e-12)


@pytest.mark.parametrize("form", [None, "recurrent", "scan", "chunked", {"S": "recurrent"}, {"S": "scan"}])
def test_form(form):
    """`form=`: every legal form is the same function."""
    f = compiled("axis K, V\ninput q[K], k[K], v[V], g\nstate S[K, V]\nS = sigmoid(g)*S + k*v\noutput y = q · S")
    rng = np.random.default_rng(0)
    q, k, v, g = (rng.normal(size=(150, *s)) for s in ((3,), (3,), (2,), ()))
    S = np.zeros((3, 2))
    want = []
    for t in range(150):
        S = sigmoid(g[t]) * S + np.outer(k[t], v[t])
        want.append(q[t] @ S)
    np.testing.assert_allclose(f(q, k, v, g, form=form), np.stack(want), atol=1e-10)


def test_out():
    """`out`: the outputs are written there."""
    f = compiled("input x\noutput a = x, b = 2*x")
    a, b = torch.empty(3), torch.empty(3)
    f(torch.ones(3), out=(a, b))
    assert (a.tolist(), b.tolist()) == ([1] * 3, [2] * 3)


@pytest.mark.parametrize("length", [0, 1, 2, 31, 32, 33, 63, 64, 65, 127, 129, 200])
def test_lengths_around_chunks(length):
    """Any number of steps, none included."""
    f = compiled(TINY)
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=(length, 3)), rng.normal(size=length)
    h, want = np.zeros(3), []
    for t in range(length):
        h = sigmoid(x[t]) * h + (1 - sigmoid(x[t])) * u[t]
        want.append(np.tanh(x[t]) @ h)
    for form in ("recurrent", "scan"):
        np.testing.assert_allclose(f(x, u, form=form), np.array(want), atol=1e-12)
