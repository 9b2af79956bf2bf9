"""Max-stabilised systems, learning at test time with mini-batches of one, the classical nonlinear networks."""

from __future__ import annotations

import numpy as np

from .common import Array, Result, layer_norm, logsigmoid, sigmoid, silu, start, zero_order_hold


def mlstm(
    q: Array,
    k: Array,
    v: Array,
    i: Array,
    f: Array,
    x: Array,
    z: Array,
    weight: Array,
    skip: Array,
    state_m: Array | None = None,
    state_C: Array | None = None,
    state_n: Array | None = None,
) -> Result:
    batch, length, H, K = q.shape
    m = start(state_m, (batch, H))
    C = start(state_C, (batch, H, K, v.shape[-1]))
    n = start(state_n, (batch, H, K))
    y = np.zeros_like(v)
    for t in range(length):
        log_f = logsigmoid(f[:, t])
        m_new = np.maximum(log_f + m, i[:, t])
        keep = np.exp(log_f + m - m_new)[..., None]
        write = np.exp(i[:, t] - m_new)[..., None]
        key = k[:, t] / np.sqrt(K)
        C = keep[..., None] * C + write[..., None] * key[..., :, None] * v[:, t, :, None, :]
        n = keep * n + write * key
        m = m_new
        total = np.maximum(np.abs(np.sum(q[:, t] * n, axis=-1)), np.exp(-m))
        h = np.einsum("bhk,bhkv->bhv", q[:, t], C) / (total[..., None] + 1e-6)
        y[:, t] = (weight * layer_norm(h) + skip * x[:, t]) * silu(z[:, t])
    return {"y": y, "state.m": m, "state.C": C, "state.n": n}


def rwkv4(
    r: Array,
    k: Array,
    v: Array,
    time_decay: Array,
    u: Array,
    state_aa: Array | None = None,
    state_bb: Array | None = None,
    state_pp: Array | None = None,
) -> Result:
    batch, length, D = r.shape
    aa, bb = start(state_aa, (batch, D)), start(state_bb, (batch, D))
    pp = start(state_pp, (batch, D), -1e38)
    w = -np.exp(time_decay)
    y = np.zeros_like(r)
    for t in range(length):
        p = np.maximum(pp, u + k[:, t])
        e1, e2 = np.exp(pp - p), np.exp(u + k[:, t] - p)
        y[:, t] = sigmoid(r[:, t]) * (e1 * aa + e2 * v[:, t]) / (e1 * bb + e2)
        p = np.maximum(pp + w, k[:, t])
        e1, e2 = np.exp(pp + w - p), np.exp(k[:, t] - p)
        aa, bb, pp = e1 * aa + e2 * v[:, t], e1 * bb + e2, p
    return {"y": y, "state.aa": aa, "state.bb": bb, "state.pp": pp}


def slstm(
    z: Array,
    i: Array,
    f: Array,
    o: Array,
    R_z: Array,
    R_i: Array,
    R_f: Array,
    R_o: Array,
    state_y: Array | None = None,
    state_c: Array | None = None,
    state_n: Array | None = None,
    state_m: Array | None = None,
) -> Result:
    batch, length, H, D = z.shape
    y, c, n = (start(s, (batch, H, D)) for s in (state_y, state_c, state_n))
    m = start(state_m, (batch, H, D), -np.inf)
    out = np.zeros_like(z)
    for t in range(length):
        log_i = i[:, t] + np.einsum("hij,bhj->bhi", R_i, y)
        log_f = logsigmoid(f[:, t] + np.einsum("hij,bhj->bhi", R_f, y))
        cell = np.tanh(z[:, t] + np.einsum("hij,bhj->bhi", R_z, y))
        gate = sigmoid(o[:, t] + np.einsum("hij,bhj->bhi", R_o, y))
        m_new = np.maximum(log_i, m + log_f)
        write = np.minimum(np.exp(log_i - m_new), 1)
        keep = np.minimum(np.exp(log_f + m - m_new), 1)
        c, n, m = keep * c + write * cell, keep * n + write, m_new
        y = gate * c / n
        out[:, t] = y
    return {"y": out, "state.y": y, "state.c": c, "state.n": n, "state.m": m}


def ln_l2_gradient(z: Array, target: Array, gamma: Array, beta: Array, eps: float = 1e-6) -> Array:
    """The gradient of 1/2 |gamma hat(z) + beta - target|^2 for z, as the fused backward of the layer norm has it."""
    size = z.shape[-1]
    std = np.sqrt(np.mean((z - z.mean(-1, keepdims=True)) ** 2, axis=-1, keepdims=True) + eps)
    hat = (z - z.mean(-1, keepdims=True)) / std
    g = (gamma * hat + beta - target) * gamma
    return (size * g - g.sum(-1, keepdims=True) - hat * (g * hat).sum(-1, keepdims=True)) / (size * std)


def titans(
    q: Array,
    k: Array,
    v: Array,
    alpha: Array,
    eta: Array,
    theta: Array,
    gamma: Array,
    beta: Array,
    state_M: Array | None = None,
    state_S: Array | None = None,
) -> Result:
    batch, length, H, F = q.shape
    M, S = start(state_M, (batch, H, F, F)), start(state_S, (batch, H, F, F))
    o = np.zeros_like(v)
    for t in range(length):
        grad = ln_l2_gradient(np.einsum("bhf,bhfe->bhe", k[:, t], M), v[:, t] - k[:, t], gamma, beta)
        rate = theta[:, t, :, None, None]
        S = eta[:, t, :, None, None] * S - 2 * rate * k[:, t, :, :, None] * grad[:, :, None, :]
        M = (1 - alpha[:, t, :, None, None]) * M + S
        r = np.einsum("bhf,bhfe->bhe", q[:, t], M)
        o[:, t] = r + gamma * layer_norm(r, eps=1e-6) + beta
    return {"o": o, "state.M": M, "state.S": S}


def ttt_linear(
    q: Array,
    k: Array,
    v: Array,
    lr: Array,
    W_0: Array,
    b_0: Array,
    gamma: Array,
    beta: Array,
    base_lr: Array,
    delta: Array,
    post_weight: Array,
    post_bias: Array,
    state_W: Array | None = None,
    state_b: Array | None = None,
) -> Result:
    """The dual form of the mini-batch with its one token: the attention matrix is q·k, the mask is all of it."""
    batch, length, H, F = q.shape
    W = np.broadcast_to(W_0, (batch, H, F, F)) if state_W is None else state_W
    b = np.broadcast_to(b_0, (batch, H, F)) if state_b is None else state_b
    o = np.zeros_like(v)
    for t in range(length):
        grad = ln_l2_gradient(np.einsum("bhf,bhfe->bhe", k[:, t], W) + b, v[:, t] - k[:, t], gamma, beta)
        eta = (np.maximum(1 + delta, 0) * base_lr * sigmoid(lr[:, t]) / F)[..., None]
        score = np.sum(q[:, t] * k[:, t], axis=-1, keepdims=True)
        z_bar = np.einsum("bhf,bhfe->bhe", q[:, t], W) - eta * score * grad + b - eta * grad
        W = W - (eta * k[:, t])[..., :, None] * grad[..., None, :]
        b = b - eta * grad
        r = q[:, t] + gamma * layer_norm(z_bar, eps=1e-6) + beta
        o[:, t] = post_weight * layer_norm(r, (-2, -1), eps=1e-6) + post_bias
    return {"o": o, "state.W": np.array(W), "state.b": np.array(b)}


def lmu_cell(
    x: Array,
    A: Array,
    B: Array,
    theta: Array,
    e_x: Array,
    e_h: Array,
    e_m: Array,
    W_x: Array,
    W_h: Array,
    W_m: Array,
    state_m: Array | None = None,
    state_h: Array | None = None,
) -> Result:
    batch, length, _ = x.shape
    m, h = start(state_m, (batch, len(B))), start(state_h, (batch, len(W_x)))
    A_bar, B_bar = zero_order_hold(A / theta, B / theta, 1.0)
    out = np.zeros((batch, length, len(W_x)))
    for t in range(length):
        u = x[:, t] @ e_x + h @ e_h + m @ e_m
        m = m @ A_bar.T + u[:, None] * B_bar
        h = np.tanh(x[:, t] @ W_x.T + h @ W_h.T + m @ W_m.T)
        out[:, t] = h
    return {"h": out, "state.m": m, "state.h": h}


def elman(x: Array, U: Array, b: Array, state_h: Array | None = None) -> Result:
    h = start(state_h, (x.shape[0], x.shape[2]))
    out = np.zeros_like(x)
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] + h @ U.T + b)
        out[:, t] = h
    return {"h": out, "state.h": h}


def gru(
    r: Array,
    z: Array,
    n: Array,
    U_r: Array,
    U_z: Array,
    U_n: Array,
    b_r: Array,
    b_z: Array,
    b_n: Array,
    state_h: Array | None = None,
) -> Result:
    h = start(state_h, (r.shape[0], r.shape[2]))
    out = np.zeros_like(r)
    for t in range(r.shape[1]):
        reset = sigmoid(r[:, t] + h @ U_r.T + b_r)
        update = sigmoid(z[:, t] + h @ U_z.T + b_z)
        candidate = np.tanh(n[:, t] + reset * (h @ U_n.T + b_n))
        h = (1 - update) * candidate + update * h
        out[:, t] = h
    return {"h": out, "state.h": h}


def lstm(
    i: Array,
    f: Array,
    g: Array,
    o: Array,
    U_i: Array,
    U_f: Array,
    U_g: Array,
    U_o: Array,
    state_h: Array | None = None,
    state_c: Array | None = None,
) -> Result:
    h, c = start(state_h, (i.shape[0], i.shape[2])), start(state_c, (i.shape[0], i.shape[2]))
    out = np.zeros_like(i)
    for t in range(i.shape[1]):
        write, keep = sigmoid(i[:, t] + h @ U_i.T), sigmoid(f[:, t] + h @ U_f.T)
        cell, expose = np.tanh(g[:, t] + h @ U_g.T), sigmoid(o[:, t] + h @ U_o.T)
        c = keep * c + write * cell
        h = expose * np.tanh(c)
        out[:, t] = h
    return {"h": out, "state.h": h, "state.c": c}
