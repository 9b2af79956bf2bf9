"""The loops that the cases of test_time.py are compared with."""

from __future__ import annotations

import numpy as np
from scipy import linalg, signal

from tests.language.support import run, softmax


def delayed(x, k=1, init=0.0):
    """x of k steps before, `init` before the start."""
    x = np.asarray(x)
    before = np.broadcast_to(np.asarray(init, x.dtype), (k, *x.shape[1:]))
    return np.concatenate([before, x])[: len(x)]


def ahead(x, k=1, init=0.0):
    return delayed(x[::-1], k, init)[::-1]


def ema(a, g=0.5, start=0.0):
    return run(a.L, lambda t, h: ((n := g * h + a.x[t]), n), start)


def rwkv(a):
    def step(t, S):
        kv = np.outer(a.k[t], a.v[t])
        return a.w[:, None] * S + kv, a.r[t] @ (S + a.b[:, None] * kv)

    return run(a.L, step, np.zeros((3, 2)))


def delta_rule(a):
    def step(t, S):
        D = np.exp(a.g[t]) * S
        S = D - a.b[t] * np.outer(a.k[t], a.k[t] @ D) + a.b[t] * np.outer(a.k[t], a.v[t])
        return S, a.q[t] @ S

    return run(a.L, step, np.zeros((3, 2)))


def recursive(a):
    y = np.zeros(a.L + 2)
    for t in range(a.L):
        y[t + 2] = a.x[t] + 0.5 * y[t + 1] - 0.25 * y[t]
    return y[2:]


def recursive_forward(a):
    """b reads c of the step before, c is assigned below it."""
    b, c = np.zeros(a.L), np.zeros(a.L)
    for t in range(a.L):
        b[t] = a.x[t] + 0.5 * (c[t - 1] if t else 1.5)
        c[t] = 2 * np.tanh(b[t])
    return b + c


def delayed_state(a):
    """prev(h), prev(h, 2), prev(h, 3) of a state that the caller gives; what was before it is the initial value."""
    h = ema(a, 0.5, a.h)
    line = np.concatenate([[0.0, 0.0, a.h], h])
    return line[2:-1] + 10 * line[1:-2] + 100 * line[:-3]


def delayed_by_init(a):
    h = ema(a, 0.5, 2.0 * a.p)
    line = np.concatenate([[2.0 * a.p] * 2, h])
    return line[1:-1] + 10 * line[:-2]


def filtered(a):
    return np.stack([signal.lfilter(a.b[d], np.concatenate([[1.0], a.a[d]]), a.u[:, d]) for d in range(2)], 1)


def attention(a):
    found = []
    for t in range(a.L):
        w = softmax(a.k[: t + 1] @ a.q[t], 0)
        found.append(w @ a.v[: t + 1])
    return np.stack(found)


def heads(a):
    found = []
    for t in range(a.L):
        w = softmax(np.einsum("hk,shk->hs", a.q[t], a.k[: t + 1]), 1)
        found.append(np.einsum("hs,shv->hv", w, a.v[: t + 1]))
    return np.stack(found)


def windowed(a, width=3):
    found = []
    for t in range(a.L):
        e = a.x[max(0, t + 1 - width) : t + 1]
        s = softmax(e, 0)
        found.append(
            (
                e.sum(0),
                e.mean(0),
                e.max(0),
                e.min(0),
                e.prod(0),
                np.log(np.exp(e).sum(0)),
                np.sqrt((e**2).sum(0)),
                (s * e).sum(0),
                (e > 0).any(0),
                (e > 0).all(0),
            )
        )
    return tuple(np.stack(x) for x in zip(*found, strict=True))


def whole(a):
    return windowed(a, 1000)


def reverse_of_forward(a):
    h = ema(a)
    g = np.zeros(a.L)
    last = 3.0
    for t in range(a.L - 1, -1, -1):
        last = g[t] = 0.7 * last + h[t]
    return g


def forward_of_reverse(a):
    back = run(a.L, lambda t, h: ((n := 0.5 * h + a.x[a.L - 1 - t]), n), 0.0)[::-1]
    return run(a.L, lambda t, g: ((n := 0.8 * g + back[t]), n), 0.0)


def matrix_method(a, of):
    """h of `of(h, b, A, dt)` step by step; A is (3, 3)."""
    return run(a.L, lambda t, h: ((n := of(h, a.b[t], a.A, 0.1)), n), a.h)


def gbt(h, b, A, dt, alpha):
    eye = np.eye(len(A))
    return np.linalg.solve(eye - alpha * dt * A, (eye + (1 - alpha) * dt * A) @ h + dt * b)


def zoh(h, b, A, dt):
    size = len(A)
    block = linalg.expm(dt * np.block([[A, b[:, None]], [np.zeros((1, size + 1))]]))
    return block[:size, :size] @ h + block[:size, size]


def diagonal(a, of):
    return run(a.L, lambda t, h: ((n := of(h, a.u[t] * np.ones(3), a.lam, a.dt[t])), n), np.zeros(3))


def zoh1(h, b, lam, dt):
    safe = np.where(lam == 0, 1, lam)
    return np.exp(dt * lam) * h + np.where(lam == 0, dt, np.expm1(dt * safe) / safe) * b


def gbt1(h, b, lam, dt, alpha):
    return ((1 + (1 - alpha) * dt * lam) * h + dt * b) / (1 - alpha * dt * lam)


def legs(a):
    q = np.arange(3)
    r = np.sqrt(2 * q + 1)
    A = -np.tril(np.outer(r, r), -1) - np.diag(q + 1.0)
    return run(a.L, lambda t, c: ((n := gbt(c, r * a.f[t] / (t + 1), A / (t + 1), 1.0, 0.5)), n), np.zeros(3))


def own_past(a):
    h, line, found = 0.0, [], []
    for t in range(a.L):
        line.append(h)
        h = np.tanh(0.5 * h + np.mean(line[-3:]) + a.x[t])
        found.append(h)
    return np.array(found)
