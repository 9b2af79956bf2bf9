"""The delta-rule family: every step is written with the dense transition matrix of its equation."""

from __future__ import annotations

import numpy as np

from .common import Array, Result, causal_filter, layer_norm, rms_norm, sigmoid, silu, softplus, start, unit


def householder(beta: Array, write: Array, erase: Array) -> Array:
    """I - beta write erase^T, (…, K, K)."""
    return np.eye(write.shape[-1]) - beta[..., None, None] * write[..., :, None] * erase[..., None, :]


def _write(beta: Array, k: Array, v: Array) -> Array:
    return beta[..., None, None] * k[..., :, None] * v[..., None, :]


def _read(q: Array, S: Array) -> Array:
    return np.einsum("...k,...kv->...v", q, S) / np.sqrt(q.shape[-1])


def deltanet(
    q: Array,
    k: Array,
    v: Array,
    b: Array,
    w_q: Array,
    w_k: Array,
    w_v: Array,
    weight: Array,
    state_S: Array | None = None,
) -> Result:
    batch, length, H, K = q.shape
    q, k, v = unit(silu(causal_filter(q, w_q))), unit(silu(causal_filter(k, w_k))), silu(causal_filter(v, w_v))
    beta = sigmoid(b)
    S = start(state_S, (batch, H, K, v.shape[-1]))
    o = np.zeros_like(v)
    for t in range(length):
        S = householder(beta[:, t], k[:, t], k[:, t]) @ S + _write(beta[:, t], k[:, t], v[:, t])
        o[:, t] = weight * rms_norm(_read(q[:, t], S))
    return {"o": o, "state.S": S}


def gated_deltanet(
    q: Array,
    k: Array,
    v: Array,
    a: Array,
    b: Array,
    gate: Array,
    w_q: Array,
    w_k: Array,
    w_v: Array,
    A_log: Array,
    dt_bias: Array,
    weight: Array,
    state_S: Array | None = None,
) -> Result:
    """q and k of a group are repeated for each of its value heads."""
    batch, length, G, R, V = v.shape
    K = q.shape[-1]
    q, k, v = unit(silu(causal_filter(q, w_q))), unit(silu(causal_filter(k, w_k))), silu(causal_filter(v, w_v))
    q, k = np.repeat(q[:, :, :, None], R, axis=3), np.repeat(k[:, :, :, None], R, axis=3)
    beta = sigmoid(b)
    g = -np.exp(A_log) * softplus(a + dt_bias)
    S = start(state_S, (batch, G, R, K, V))
    o = np.zeros_like(v)
    for t in range(length):
        transition = np.exp(g[:, t])[..., None, None] * householder(beta[:, t], k[:, t], k[:, t])
        S = transition @ S + _write(beta[:, t], k[:, t], v[:, t])
        o[:, t] = weight * rms_norm(_read(q[:, t], S)) * silu(gate[:, t])
    return {"o": o, "state.S": S}


def kda(
    q: Array,
    k: Array,
    v: Array,
    a: Array,
    b: Array,
    gate: Array,
    A_log: Array,
    dt_bias: Array,
    weight: Array,
    state_S: Array | None = None,
) -> Result:
    batch, length, H, K = q.shape
    q, k, beta = unit(q), unit(k), sigmoid(b)
    g = -np.exp(A_log)[:, None] * softplus(a + dt_bias)
    S = start(state_S, (batch, H, K, v.shape[-1]))
    o = np.zeros_like(v)
    for t in range(length):
        S = np.exp(g[:, t])[..., None] * S
        S = householder(beta[:, t], k[:, t], k[:, t]) @ S + _write(beta[:, t], k[:, t], v[:, t])
        o[:, t] = weight * rms_norm(_read(q[:, t], S)) * sigmoid(gate[:, t])
    return {"o": o, "state.S": S}


def delta_product(
    q: Array, k: Array, v: Array, a: Array, b: Array, A_log: Array, dt_bias: Array, state_S: Array | None = None
) -> Result:
    batch, length, H, J, K = k.shape
    q, k, beta = unit(q), unit(k), sigmoid(b)
    g = -np.exp(A_log) * softplus(a + dt_bias)
    S = start(state_S, (batch, H, K, v.shape[-1]))
    o = np.zeros((batch, length, H, v.shape[-1]))
    for t in range(length):
        S = np.exp(g[:, t])[..., None, None] * S
        for j in range(J):
            key, rate = k[:, t, :, j], beta[:, t, :, j]
            S = householder(rate, key, key) @ S + _write(rate, key, v[:, t, :, j])
        o[:, t] = _read(q[:, t], S)
    return {"o": o, "state.S": S}


def comba(q: Array, k: Array, p: Array, v: Array, g: Array, beta: Array, state_S: Array | None = None) -> Result:
    batch, length, H, K = q.shape
    S = start(state_S, (batch, H, K, v.shape[-1]))
    o = np.zeros_like(v)
    for t in range(length):
        decayed = np.exp(g[:, t])[..., None, None] * S
        S = householder(beta[:, t], k[:, t], p[:, t]) @ decayed + _write(beta[:, t], k[:, t], v[:, t])
        o[:, t] = _read(q[:, t], S)
    return {"o": o, "state.S": S}


def rwkv7(
    r: Array,
    k: Array,
    v: Array,
    w: Array,
    a: Array,
    g: Array,
    v_first: Array,
    mix: Array,
    w_0: Array,
    a_0: Array,
    mix_0: Array,
    k_k: Array,
    k_a: Array,
    r_k: Array,
    weight: Array,
    bias: Array,
    state_S: Array | None = None,
) -> Result:
    """S is (B, H, V, K) and is multiplied from the right."""
    batch, length, H, K = r.shape
    S = start(state_S, (batch, H, v.shape[-1], K))
    decay = np.exp(-np.exp(-0.5) * sigmoid(w_0 + w))
    rate = sigmoid(a_0 + a)
    direction = k * k_k
    direction = direction / np.maximum(np.sqrt(np.sum(direction**2, axis=-1, keepdims=True)), 1e-12)
    key = k * (1 + (rate - 1) * k_a)
    value = v + (v_first - v) * sigmoid(mix_0 + mix)
    o = np.zeros_like(v)
    for t in range(length):
        transition = decay[:, t, :, :, None] * np.eye(K)
        transition = transition - direction[:, t, :, :, None] * (direction * rate)[:, t, :, None, :]
        S = S @ transition + value[:, t, :, :, None] * key[:, t, :, None, :]
        y = np.einsum("bhvk,bhk->bhv", S, r[:, t])
        bonus = np.sum(r[:, t] * key[:, t] * r_k, axis=-1, keepdims=True) * value[:, t]
        o[:, t] = (weight * layer_norm(y, eps=64e-5) + bias + bonus) * g[:, t]
    return {"o": o, "state.S": S}
