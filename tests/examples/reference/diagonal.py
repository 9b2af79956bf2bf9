"""Elementwise recurrences with data-dependent coefficients, and SRU's nonlinear second version."""

from __future__ import annotations

import numpy as np

from .common import Array, Result, causal_filter, gelu, logsigmoid, rms_norm, sigmoid, silu, softplus, start


def diagonal(a: Array, b: Array, state_h: Array | None = None) -> Result:
    h = start(state_h, (a.shape[0], a.shape[2]))
    out = np.zeros_like(a)
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        out[:, t] = h
    return {"h": out, "state.h": h}


def _selective(
    x: Array, delta: Array, A: Array, B: Array, C: Array, skip: Array, z: Array, h: Array
) -> tuple[Array, Array]:
    """Mamba's scan: x, delta, z (B, L, D), A (D, N), B, C (B, L, N)."""
    y = np.zeros_like(x)
    for t in range(x.shape[1]):
        h = np.exp(delta[:, t, :, None] * A) * h + delta[:, t, :, None] * B[:, t, None, :] * x[:, t, :, None]
        y[:, t] = np.einsum("bn,bdn->bd", C[:, t], h) + skip * x[:, t]
    return y * silu(z), h


def selective_scan(
    u: Array,
    dt: Array,
    B: Array,
    C: Array,
    z: Array,
    A_log: Array,
    skip: Array,
    dt_bias: Array,
    state_h: Array | None = None,
) -> Result:
    h = start(state_h, (u.shape[0], *A_log.shape))
    y, h = _selective(u, softplus(dt + dt_bias), -np.exp(A_log), B, C, skip, z, h)
    return {"y": y, "state.h": h}


def mamba(
    u: Array,
    z: Array,
    conv_weight: Array,
    conv_bias: Array,
    W_r: Array,
    W_dt: Array,
    dt_bias: Array,
    W_B: Array,
    W_C: Array,
    A_log: Array,
    skip: Array,
    state_h: Array | None = None,
) -> Result:
    x = silu(causal_filter(u, conv_weight) + conv_bias)
    delta = softplus(x @ W_r.T @ W_dt.T + dt_bias)
    h = start(state_h, (u.shape[0], *A_log.shape))
    y, h = _selective(x, delta, -np.exp(A_log), x @ W_B.T, x @ W_C.T, skip, z, h)
    return {"y": y, "state.h": h}


def longhorn(
    x: Array, b: Array, k: Array, q: Array, z: Array, bias: Array, skip: Array, state_h: Array | None = None
) -> Result:
    batch, length, D = x.shape
    h = start(state_h, (batch, D, k.shape[2]))
    y = np.zeros_like(x)
    for t in range(length):
        beta = sigmoid(b[:, t] + bias)
        delta = beta / (1 + beta * np.sum(k[:, t] ** 2, axis=-1, keepdims=True))
        erase = delta[:, :, None] * k[:, t, None, :] ** 2
        h = (1 - erase) * h + (delta * x[:, t])[:, :, None] * k[:, t, None, :]
        y[:, t] = (np.einsum("bn,bdn->bd", q[:, t], h) + skip * x[:, t]) * silu(z[:, t])
    return {"y": y, "state.h": h}


def hgrn(f: Array, i: Array, g: Array, lower: Array, weight: Array, state_h: Array | None = None) -> Result:
    h = start(state_h, (f.shape[0], f.shape[2]))
    y = np.zeros_like(f)
    for t in range(f.shape[1]):
        keep = np.exp(np.logaddexp(np.log(lower), np.log1p(-lower) + logsigmoid(f[:, t])))
        h = keep * h + silu(i[:, t]) * (1 - keep)
        y[:, t] = weight * rms_norm(h) * silu(g[:, t])
    return {"y": y, "state.h": h}


def qrnn(
    x: Array, W_z: Array, V_z: Array, W_f: Array, V_f: Array, W_o: Array, V_o: Array, state_h: Array | None = None
) -> Result:
    batch, length, _ = x.shape
    before = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)[:, :length]
    z = np.tanh(x @ W_z.T + before @ V_z.T)
    f = sigmoid(x @ W_f.T + before @ V_f.T)
    o = sigmoid(x @ W_o.T + before @ V_o.T)
    h = start(state_h, (batch, len(W_z)))
    y = np.zeros_like(z)
    for t in range(length):
        h = f[:, t] * z[:, t] + (1 - f[:, t]) * h
        y[:, t] = o[:, t] * h
    return {"y": y, "state.h": h}


def sru2(
    x: Array,
    u: Array,
    f: Array,
    r: Array,
    b_f: Array,
    b_r: Array,
    v_f: Array,
    v_r: Array,
    alpha: Array,
    state_c: Array | None = None,
) -> Result:
    c = start(state_c, (x.shape[0], x.shape[2]))
    y = np.zeros_like(x)
    for t in range(x.shape[1]):
        forget = sigmoid(f[:, t] + v_f * c + b_f)
        reset = sigmoid(r[:, t] + v_r * c + b_r)
        c = forget * c + (1 - forget) * u[:, t]
        y[:, t] = reset * np.tanh(c) + (1 - reset) * x[:, t] * alpha
    return {"y": y, "state.c": c}


def sru(
    x: Array, u: Array, f: Array, r: Array, b_f: Array, b_r: Array, alpha: Array, state_c: Array | None = None
) -> Result:
    c = start(state_c, (x.shape[0], x.shape[2]))
    y = np.zeros_like(x)
    for t in range(x.shape[1]):
        forget = sigmoid(f[:, t] + b_f)
        reset = sigmoid(r[:, t] + b_r)
        c = forget * c + (1 - forget) * u[:, t]
        y[:, t] = reset * np.tanh(c) + (1 - reset) * x[:, t] * alpha
    return {"y": y, "state.c": c}


def _positive(x: Array) -> Array:
    """x + 1/2 to the right of 0, sigmoid to the left."""
    return np.where(x >= 0, x + 0.5, sigmoid(x))


def min_gru(z: Array, c: Array, state_h: Array | None = None) -> Result:
    h = start(state_h, (z.shape[0], z.shape[2]))
    out = np.zeros_like(z)
    for t in range(z.shape[1]):
        update = sigmoid(z[:, t])
        h = (1 - update) * h + update * _positive(c[:, t])
        out[:, t] = h
    return {"h": out, "state.h": h}


def min_lstm(f: Array, i: Array, c: Array, state_h: Array | None = None) -> Result:
    """With log f' = -softplus(softplus(-f) - softplus(-i)), the published log-space gate, and i' alike."""
    h = start(state_h, (f.shape[0], f.shape[2]))
    out = np.zeros_like(f)
    for t in range(f.shape[1]):
        difference = softplus(-f[:, t]) - softplus(-i[:, t])
        h = np.exp(-softplus(difference)) * h + np.exp(-softplus(-difference)) * _positive(c[:, t])
        out[:, t] = h
    return {"h": out, "state.h": h}


def rg_lru(
    u: Array,
    gate: Array,
    reset: np.ndarray,
    conv_weight: Array,
    conv_bias: Array,
    W_x: Array,
    b_x: Array,
    W_a: Array,
    b_a: Array,
    Lambda: Array,
    state_h: Array | None = None,
) -> Result:
    batch, length, H, D = u.shape
    x = causal_filter(u, conv_weight) + conv_bias
    h = start(state_h, (batch, H, D))
    y = np.zeros_like(u)
    for t in range(length):
        i = sigmoid(np.einsum("hij,bhj->bhi", W_x, x[:, t]) + b_x)
        r = sigmoid(np.einsum("hij,bhj->bhi", W_a, x[:, t]) + b_a)
        a = np.exp(-8 * r * softplus(Lambda))
        fresh = reset[:, t, None, None]
        h = np.where(fresh, 0, a) * h + np.where(fresh, 1, np.sqrt(1 - a**2)) * i * x[:, t]
        y[:, t] = h * gelu(gate[:, t])
    return {"y": y, "state.h": h}
