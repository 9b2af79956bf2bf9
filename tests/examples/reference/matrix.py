"""Matrix states with a scalar or a diagonal decay, gated slots, Based and Hydra.

States are kept as the references keep them, K first unless said: `S[b, h, k, v]`.
"""

from __future__ import annotations

import numpy as np

from .common import (
    Array,
    Result,
    causal_filter,
    centred_filter,
    elu,
    layer_norm,
    logsigmoid,
    rms_norm,
    sigmoid,
    silu,
    softplus,
    start,
)


def _outer(k: Array, v: Array) -> Array:
    return k[..., :, None] * v[..., None, :]


def _read(q: Array, S: Array) -> Array:
    return np.einsum("...k,...kv->...v", q, S)


def linear_attention(
    q: Array, k: Array, v: Array, state_S: Array | None = None, state_z: Array | None = None
) -> Result:
    batch, length, H, K = q.shape
    S = start(state_S, (batch, H, K, v.shape[-1]))
    z = start(state_z, (batch, H, K))
    o = np.zeros_like(v)
    for t in range(length):
        phi_q, phi_k = elu(q[:, t]) + 1, elu(k[:, t]) + 1
        S = S + _outer(phi_k, v[:, t])
        z = z + phi_k
        o[:, t] = _read(phi_q, S) / (np.sum(phi_q * z, axis=-1, keepdims=True) + 1e-6)
    return {"o": o, "state.S": S, "state.z": z}


def linear_attention_unnormalised(q: Array, k: Array, v: Array, state_S: Array | None = None) -> Result:
    batch, length, H, K = q.shape
    S = start(state_S, (batch, H, K, v.shape[-1]))
    o = np.zeros_like(v)
    for t in range(length):
        S = S + _outer(elu(k[:, t]) + 1, v[:, t])
        o[:, t] = _read((elu(q[:, t]) + 1) / np.sqrt(K), S)
    return {"o": o, "state.S": S}


def rotate_pairs(x: Array, angle: Array) -> Array:
    """Rotate the pairs (2i, 2i + 1) of the last axis by `angle[..., i]`, counter-clockwise."""
    even, odd = x[..., 0::2], x[..., 1::2]
    y = np.empty(np.broadcast_shapes(x.shape, (*angle.shape[:-1], x.shape[-1])))
    y[..., 0::2] = even * np.cos(angle) - odd * np.sin(angle)
    y[..., 1::2] = even * np.sin(angle) + odd * np.cos(angle)
    return y


def retnet(q: Array, k: Array, v: Array, g: Array, gamma: Array, theta: Array, state_S: Array | None = None) -> Result:
    """theta has an entry for every dimension, the same for both of a pair."""
    batch, length, H, K = q.shape
    S = start(state_S, (batch, H, K, v.shape[-1]))
    o = np.zeros_like(v)
    for t in range(length):
        # Written without the pairs' theta being equal, so that a gradient for theta means something.
        cos, sin = np.cos(t * theta), np.sin(t * theta)
        turned_k, turned_q = (
            rotate_pairs(k[:, t], np.full(K // 2, np.pi / 2)),
            rotate_pairs(q[:, t], np.full(K // 2, np.pi / 2)),
        )
        S = gamma[:, None, None] * S + _outer((k[:, t] * cos + turned_k * sin) / np.sqrt(K), v[:, t])
        o[:, t] = silu(g[:, t]) * rms_norm(_read(q[:, t] * cos + turned_q * sin, S))
    return {"o": o, "state.S": S}


def lightning_attention(
    q: Array, k: Array, v: Array, g: Array, depth: Array, weight: Array, bias: Array, state_S: Array | None = None
) -> Result:
    batch, length, H, K = q.shape
    S = start(state_S, (batch, H, K, v.shape[-1]))
    ratio = 2.0 ** (-8.0 / H)
    slope = np.array([ratio ** (h + 1) for h in range(H)]) * (1 - depth + 1e-5)
    o = np.zeros_like(v)
    for t in range(length):
        S = np.exp(-slope)[:, None, None] * S + _outer(silu(k[:, t]), silu(v[:, t]))
        r = _read(silu(q[:, t]), S)
        o[:, t] = (weight * layer_norm(r, (-2, -1)) + bias) * sigmoid(g[:, t])
    return {"o": o, "state.S": S}


def ssd(x: Array, dt: Array, B: Array, C: Array, A_log: Array, state_S: Array | None = None) -> Result:
    batch, length, H, P = x.shape
    S = start(state_S, (batch, H, P, B.shape[-1]))
    y = np.zeros_like(x)
    for t in range(length):
        write = _outer(x[:, t] * dt[:, t, :, None], np.repeat(B[:, t, None], H, axis=1))
        S = np.exp(-dt[:, t] * np.exp(A_log))[..., None, None] * S + write
        y[:, t] = np.einsum("bhpn,bn->bhp", S, C[:, t])
    return {"y": y, "state.S": S}


def mamba2(
    x: Array,
    B: Array,
    C: Array,
    dt: Array,
    z: Array,
    w_x: Array,
    b_x: Array,
    w_B: Array,
    b_B: Array,
    w_C: Array,
    b_C: Array,
    A_log: Array,
    dt_bias: Array,
    skip: Array,
    weight: Array,
    state_S: Array | None = None,
) -> Result:
    batch, length, G, R, P = x.shape
    x = silu(causal_filter(x, w_x) + b_x)
    B = silu(causal_filter(B, w_B) + b_B)
    C = silu(causal_filter(C, w_C) + b_C)
    delta = softplus(dt + dt_bias)
    S = start(state_S, (batch, G, R, P, B.shape[-1]))
    o = np.zeros_like(x)
    for t in range(length):
        decay = np.exp(-delta[:, t] * np.exp(A_log))
        S = decay[..., None, None] * S + np.einsum("bgr,bgrp,bgn->bgrpn", delta[:, t], x[:, t], B[:, t])
        y = np.einsum("bgrpn,bgn->bgrp", S, C[:, t]) + skip[..., None] * x[:, t]
        o[:, t] = weight * rms_norm(y * silu(z[:, t]), (-3, -2, -1))
    return {"o": o, "state.S": S}


def _turn(u: Array, theta: Array) -> Array:
    """Rotate u (…, M, 2) by theta (…, M)."""
    c, s = np.cos(theta), np.sin(theta)
    return np.stack([u[..., 0] * c - u[..., 1] * s, u[..., 0] * s + u[..., 1] * c], axis=-1)


def mamba3(
    x: Array,
    z: Array,
    B: Array,
    C: Array,
    dt: Array,
    a: Array,
    trap: Array,
    angle: Array,
    dt_bias: Array,
    w_B: Array,
    w_C: Array,
    b_B: Array,
    b_C: Array,
    skip: Array,
    state_theta: Array | None = None,
    state_S: Array | None = None,
) -> Result:
    one = np.ones((x.shape[2], 1, x.shape[3]))
    return mamba3_mimo(
        x, z, B[:, :, None], C[:, :, None], dt, a, trap, angle, dt_bias, w_B, w_C, b_B[:, None], b_C[:, None],
        skip, one, one, one, state_theta, state_S,
    )  # fmt: skip


def mamba3_mimo(
    x: Array,
    z: Array,
    B: Array,
    C: Array,
    dt: Array,
    a: Array,
    trap: Array,
    angle: Array,
    dt_bias: Array,
    w_B: Array,
    w_C: Array,
    b_B: Array,
    b_C: Array,
    skip: Array,
    mimo_x: Array,
    mimo_z: Array,
    mimo_o: Array,
    state_theta: Array | None = None,
    state_S: Array | None = None,
) -> Result:
    """B, C (B, L, R, M, 2); the state is S (B, H, P, M, 2)."""
    batch, length, H, P = x.shape
    R, M = B.shape[2], B.shape[3]
    theta = start(state_theta, (batch, H, M))
    S = start(state_S, (batch, H, P, M, 2))
    k_before, v_before = np.zeros((batch, H, R, M, 2)), np.zeros((batch, H, R, P))
    A = np.minimum(-softplus(a), -1e-4)
    y = np.zeros_like(x)
    for t in range(length):
        delta = softplus(dt[:, t] + dt_bias)
        lam = sigmoid(trap[:, t])
        theta = theta + np.pi * np.tanh(angle[:, t])[:, None, :] * delta[..., None]
        k = _turn((w_B * rms_norm(B[:, t], (-2, -1)))[:, None] + b_B, theta[:, :, None])
        q = _turn((w_C * rms_norm(C[:, t], (-2, -1)))[:, None] + b_C, theta[:, :, None])
        v = x[:, t, :, None] * mimo_x
        alpha = np.exp(delta * A[:, t])
        S = (
            np.einsum("bh,bhpmj->bhpmj", alpha, S)
            + np.einsum("bh,bhrp,bhrmj->bhpmj", (1 - lam) * delta * alpha, v_before, k_before)
            + np.einsum("bh,bhrp,bhrmj->bhpmj", lam * delta, v, k)
        )
        read = np.einsum("bhpmj,bhrmj->bhrp", S, q) + skip[:, None, None] * v
        y[:, t] = np.sum(mimo_o * read * silu(z[:, t, :, None] * mimo_z), axis=2)
        k_before, v_before = k, v
    return {"y": y, "state.theta": theta, "state.S": S}


def gla(q: Array, k: Array, v: Array, g: Array, gate: Array, weight: Array, state_S: Array | None = None) -> Result:
    batch, length, H, K = q.shape
    S = start(state_S, (batch, H, K, v.shape[-1]))
    o = np.zeros_like(v)
    for t in range(length):
        S = np.exp(logsigmoid(g[:, t]) / 16)[..., None] * S + _outer(k[:, t], v[:, t])
        o[:, t] = weight * rms_norm(_read(q[:, t] / np.sqrt(K), S)) * silu(gate[:, t])
    return {"o": o, "state.S": S}


def hgrn2(q: Array, f: Array, v: Array, lower: Array, weight: Array, state_S: Array | None = None) -> Result:
    batch, length, H, K = q.shape
    S = start(state_S, (batch, H, K, v.shape[-1]))
    o = np.zeros_like(v)
    for t in range(length):
        keep = lower + (1 - lower) * sigmoid(f[:, t])
        S = keep[..., None] * S + _outer(1 - keep, v[:, t])
        o[:, t] = weight * rms_norm(_read(silu(q[:, t]), S), (-2, -1))
    return {"o": o, "state.S": S}


def rwkv5(
    r: Array,
    k: Array,
    v: Array,
    g: Array,
    time_decay: Array,
    u: Array,
    weight: Array,
    bias: Array,
    state_S: Array | None = None,
) -> Result:
    w = np.broadcast_to(time_decay, r.shape)
    return rwkv6(r, k, v, w, g, u, weight, bias, state_S)


def rwkv6(
    r: Array,
    k: Array,
    v: Array,
    w: Array,
    g: Array,
    u: Array,
    weight: Array,
    bias: Array,
    state_S: Array | None = None,
) -> Result:
    batch, length, H, K = r.shape
    S = start(state_S, (batch, H, K, v.shape[-1]))
    o = np.zeros_like(v)
    for t in range(length):
        kv = _outer(k[:, t], v[:, t])
        y = _read(r[:, t], S + u[..., None] * kv)
        S = np.exp(-np.exp(w[:, t]))[..., None] * S + kv
        o[:, t] = (weight * layer_norm(y, eps=64e-5) + bias) * silu(g[:, t])
    return {"o": o, "state.S": S}


def gsa(
    q: Array,
    k: Array,
    v: Array,
    f: Array,
    weight: Array,
    state_keys: Array | None = None,
    state_values: Array | None = None,
) -> Result:
    batch, length, H, K = q.shape
    V, M = v.shape[-1], f.shape[-1]
    keys = start(state_keys, (batch, H, K, M))
    values = start(state_values, (batch, H, M, V))
    o = np.zeros_like(v)
    for t in range(length):
        keep = np.exp(logsigmoid(f[:, t]) / 8)
        keys = keys * keep[..., None, :] + _outer(silu(k[:, t]), 1 - keep)
        score = np.exp(_read(silu(q[:, t]) / np.sqrt(K), keys))
        values = keep[..., :, None] * values + _outer(1 - keep, silu(v[:, t]))
        read = _read(score / np.sum(score, axis=-1, keepdims=True), values)
        o[:, t] = weight * rms_norm(silu(read), (-2, -1))
    return {"o": o, "state.keys": keys, "state.values": values}


def based(
    q: Array,
    k: Array,
    v: Array,
    state_S0: Array | None = None,
    state_S1: Array | None = None,
    state_S2: Array | None = None,
    state_z0: Array | None = None,
    state_z1: Array | None = None,
    state_z2: Array | None = None,
) -> Result:
    """With the feature map [1, x/d^(1/4), vec(x x^T)/(sqrt(2) sqrt(d))] written as one long vector."""
    batch, length, H, K = q.shape
    V = v.shape[-1]

    def phi(x: Array) -> Array:
        square = (x[..., :, None] * x[..., None, :]).reshape(*x.shape[:-1], K * K)
        return np.concatenate([np.ones((*x.shape[:-1], 1)), x / K**0.25, square / np.sqrt(2 * K)], axis=-1)

    S = np.concatenate(
        [
            start(state_S0, (batch, H, V))[:, :, None],
            start(state_S1, (batch, H, K, V)),
            start(state_S2, (batch, H, K, K, V)).reshape(batch, H, K * K, V),
        ],
        axis=2,
    )
    z = np.concatenate(
        [
            start(state_z0, (batch, H))[:, :, None],
            start(state_z1, (batch, H, K)),
            start(state_z2, (batch, H, K, K)).reshape(batch, H, K * K),
        ],
        axis=2,
    )
    o = np.zeros_like(v)
    for t in range(length):
        phi_q, phi_k = phi(q[:, t]), phi(k[:, t])
        S = S + _outer(phi_k, v[:, t])
        z = z + phi_k
        o[:, t] = _read(phi_q, S) / (np.sum(phi_q * z, axis=-1, keepdims=True) + 1e-12)
    return {
        "o": o,
        "state.S0": S[:, :, 0],
        "state.S1": S[:, :, 1 : K + 1],
        "state.S2": S[:, :, K + 1 :].reshape(batch, H, K, K, V),
        "state.z0": z[:, :, 0],
        "state.z1": z[:, :, 1 : K + 1],
        "state.z2": z[:, :, K + 1 :].reshape(batch, H, K, K),
    }


def hydra(
    x: Array,
    z: Array,
    B_f: Array,
    C_f: Array,
    B_b: Array,
    C_b: Array,
    dt_f: Array,
    dt_b: Array,
    w_x: Array,
    b_x: Array,
    w_Bf: Array,
    b_Bf: Array,
    w_Cf: Array,
    b_Cf: Array,
    w_Bb: Array,
    b_Bb: Array,
    w_Cb: Array,
    b_Cb: Array,
    A_log: Array,
    dt_bias: Array,
    skip: Array,
    W_skip: Array,
    weight: Array,
    state_S: Array | None = None,
    state_T: Array | None = None,
) -> Result:
    """shift(SSD(x)) + flip(shift(SSD(flip x))) + d x, the norm, the gate.

    `state_T` is what the backward run starts from.
    """
    u = silu(centred_filter(x, w_x) + b_x)

    def run(u: Array, dt: Array, B: Array, C: Array, state: Array | None) -> tuple[Array, Array]:
        result = ssd(u, softplus(dt + dt_bias), B, C, A_log, state)
        y = result["y"]
        return np.concatenate([np.zeros_like(y[:, :1]), y[:, :-1]], axis=1)[:, : u.shape[1]], result["state.S"]

    def mixed(u: Array, w: Array, b: Array) -> Array:
        return silu(centred_filter(u, w) + b)

    forward, S = run(u, dt_f, mixed(B_f, w_Bf, b_Bf), mixed(C_f, w_Cf, b_Cf), state_S)
    backward, T = run(
        u[:, ::-1], dt_b[:, ::-1], mixed(B_b, w_Bb, b_Bb)[:, ::-1], mixed(C_b, w_Cb, b_Cb)[:, ::-1], state_T
    )
    free = np.einsum("hip,blip->blh", W_skip, u) + skip
    y = forward + backward[:, ::-1] + free[..., None] * u
    return {"o": weight * rms_norm(y, (-2, -1)) * silu(z), "state.S": S, "state.T": T}
