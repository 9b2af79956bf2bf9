"""Time-invariant linear systems, and HiPPO-LegS, which depends on the step number only."""

from __future__ import annotations

import numpy as np

from .common import Array, ComplexArray, Result, bilinear, sigmoid, silu, start, zero_order_hold


def ema(x: Array, a: Array, state_h: Array | None = None) -> Result:
    batch, length, D = x.shape
    h = start(state_h, (batch, D))
    y = np.zeros_like(x)
    corrected = np.zeros_like(x)
    for t in range(length):
        h = a * h + (1 - a) * x[:, t]
        y[:, t] = h
        corrected[:, t] = h / (1 - a ** (t + 1))
    return {"y": y, "corrected": corrected, "state.h": h}


def hippo_legs(f: Array, A: Array, B: Array, state_c: Array | None = None) -> Result:
    batch, length = f.shape
    c = start(state_c, (batch, len(A)))
    out = np.zeros((batch, length, len(A)))
    for t in range(length):
        A_bar, B_bar = bilinear(A / (t + 1), B / (t + 1), 1.0)
        c = c @ A_bar.T + f[:, t, None] * B_bar
        out[:, t] = c
    return {"c": out, "state.c": c}


def _dense_channels(f: Array, pairs: list[tuple[Array, Array]], c: Array) -> tuple[Array, Array]:
    """One dense system a channel; returns all states (B, L, D, N) and the last."""
    batch, length, D = f.shape
    out = np.zeros((batch, length, D, c.shape[-1]))
    for t in range(length):
        c = np.stack([c[:, d] @ A.T + f[:, t, d, None] * B for d, (A, B) in enumerate(pairs)], axis=1)
        out[:, t] = c
    return out, c


def hippo_legt(f: Array, A: Array, B: Array, dt: Array, state_c: Array | None = None) -> Result:
    c = start(state_c, (f.shape[0], f.shape[2], len(A)))
    out, c = _dense_channels(f, [bilinear(A, B, step) for step in dt], c)
    return {"c": out, "state.c": c}


def hippo_fout(f: Array, A: Array, B: Array, dt: Array, state_c: Array | None = None) -> Result:
    c = start(state_c, (f.shape[0], f.shape[2], len(A)))
    out, c = _dense_channels(f, [zero_order_hold(A, B, step) for step in dt], c)
    return {"c": out, "state.c": c}


def lmu(u: Array, A: Array, B: Array, theta: Array, state_m: Array | None = None) -> Result:
    m = start(state_m, (u.shape[0], u.shape[2], len(A)))
    out, m = _dense_channels(u, [zero_order_hold(A / window, B / window, 1.0) for window in theta], m)
    return {"m": out, "state.m": m}


def lssl(u: Array, A: Array, B: Array, C: Array, skip: Array, log_dt: Array, state_h: Array | None = None) -> Result:
    h = start(state_h, (u.shape[0], u.shape[2], len(A)))
    states, h = _dense_channels(u, [bilinear(A, B, step) for step in np.exp(log_dt)], h)
    return {"y": np.einsum("dmn,bldn->bldm", C, states) + skip * u[..., None], "state.h": h}


def s4(
    u: Array,
    lam_re: Array,
    lam_im: Array,
    P: ComplexArray,
    B: ComplexArray,
    C: ComplexArray,
    log_dt: Array,
    skip: Array,
    state_h: ComplexArray | None = None,
) -> Result:
    """A = diag(lam) - P P* as a dense matrix a channel."""
    batch, length, D = u.shape
    h = start(state_h, (batch, D, P.shape[1]), dtype=np.complex128)
    pairs = []
    for d in range(D):
        A = np.diag(-np.exp(lam_re[d]) + 1j * lam_im[d]) - np.outer(P[d], P[d].conj())
        pairs.append(bilinear(A, B[d], np.exp(log_dt[d])))
    y = np.zeros_like(u)
    for t in range(length):
        h = np.stack([h[:, d] @ A.T + u[:, t, d, None] * b for d, (A, b) in enumerate(pairs)], axis=1)
        y[:, t] = np.sum(C * h, axis=-1).real + skip * u[:, t]
    return {"y": y, "state.h": h}


def s4d(
    u: Array,
    A_re: Array,
    A_im: Array,
    C: ComplexArray,
    log_dt: Array,
    skip: Array,
    state_h: ComplexArray | None = None,
) -> Result:
    batch, length, D = u.shape
    h = start(state_h, (batch, D, A_re.shape[1]), dtype=np.complex128)
    lam = -np.exp(A_re) + 1j * A_im
    a = np.exp(np.exp(log_dt)[:, None] * lam)
    b = (a - 1) / lam
    y = np.zeros_like(u)
    for t in range(length):
        h = a * h + b * u[:, t, :, None]
        y[:, t] = 2 * np.sum(C * h, axis=-1).real + skip * u[:, t]
    return {"y": y, "state.h": h}


def s5(
    u: Array,
    lam_re: Array,
    lam_im: Array,
    B: ComplexArray,
    C: ComplexArray,
    log_dt: Array,
    skip: Array,
    state_x: ComplexArray | None = None,
) -> Result:
    batch, length, _ = u.shape
    x = start(state_x, (batch, len(lam_re)), dtype=np.complex128)
    lam = np.minimum(lam_re, -1e-4) + 1j * lam_im
    lam_bar = np.exp(lam * np.exp(log_dt))
    B_bar = ((lam_bar - 1) / lam)[:, None] * B
    y = np.zeros_like(u)
    for t in range(length):
        x = lam_bar * x + u[:, t] @ B_bar.T
        y[:, t] = 2 * (x @ C.T).real + skip * u[:, t]
    return {"y": y, "state.x": x}


def lru(
    x: Array,
    nu_log: Array,
    theta_log: Array,
    gamma_log: Array,
    B: ComplexArray,
    C: ComplexArray,
    skip: Array,
    state_h: ComplexArray | None = None,
) -> Result:
    batch, length, _ = x.shape
    h = start(state_h, (batch, len(nu_log)), dtype=np.complex128)
    lam = np.exp(-np.exp(nu_log) + 1j * np.exp(theta_log))
    y = np.zeros_like(x)
    for t in range(length):
        h = lam * h + np.exp(gamma_log) * (x[:, t] @ B.T)
        y[:, t] = (h @ C.T).real + skip * x[:, t]
    return {"y": y, "state.h": h}


def h3(
    q: Array,
    k: Array,
    v: Array,
    B_shift: Array,
    C_shift: Array,
    skip_k: Array,
    A_re: Array,
    A_im: Array,
    C: ComplexArray,
    log_dt: Array,
    skip: Array,
    state_s: Array | None = None,
    state_h: ComplexArray | None = None,
) -> Result:
    batch, length, H, E = q.shape
    F, S, N = v.shape[-1], B_shift.shape[-1], A_re.shape[-1]
    s = start(state_s, (batch, H, E, S))
    h = start(state_h, (batch, H, E, F, N), dtype=np.complex128)
    lam = -np.exp(A_re) + 1j * A_im
    a = np.exp(np.exp(log_dt)[:, None] * lam)
    b = (a - 1) / lam
    down = np.eye(S, k=-1)  # down @ s moves every element one place on
    y = np.zeros((batch, length, H, F))
    for t in range(length):
        s = s @ down.T + B_shift * k[:, t, :, :, None]
        shifted = np.sum(C_shift * s, axis=-1) + skip_k * k[:, t]
        kv = shifted[..., :, None] * v[:, t, :, None, :]
        h = a[:, None, None, :] * h + b[:, None, None, :] * kv[..., None]
        z = 2 * np.einsum("hn,bhefn->bhef", C, h).real + skip[:, None, None] * kv
        y[:, t] = np.einsum("bhe,bhef->bhf", q[:, t], z)
    return {"y": y, "state.s": s, "state.h": h}


def mega(
    x: Array,
    delta: Array,
    alpha: Array,
    beta: Array,
    gamma: Array,
    omega: Array,
    state_h: Array | None = None,
) -> Result:
    batch, length, D = x.shape
    N = delta.shape[1]
    h = start(state_h, (batch, D, N))
    p = sigmoid(delta)
    q = 1 - p * sigmoid(alpha)
    y = np.zeros_like(x)
    for t in range(length):
        h = q * h + p * beta * x[:, t, :, None]
        y[:, t] = silu(np.sum(gamma * h, axis=-1) * np.sqrt(1 / N) + omega * x[:, t])
    return {"y": y, "state.h": h}


def rtf(u: Array, b: Array, a: Array, h0: Array) -> Result:
    """By the companion matrix: x <- roll(x, 1) with x_0 = -a·x + u; the output reads the x of the step before."""
    batch, length, D = u.shape
    x = np.zeros((batch, D, b.shape[1]))
    y = np.zeros_like(u)
    for t in range(length):
        y[:, t] = np.sum(b * x, axis=-1) + h0 * u[:, t]
        first = u[:, t] - np.sum(a * x, axis=-1)
        x = np.concatenate([first[..., None], x[..., :-1]], axis=-1)
    return {"y": y}
