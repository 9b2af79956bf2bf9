"""W4: gated linear attention, a decay for every key channel: B = 1, H = 4, L = 2048, K = 128, V = 256.

`examples/gla.ssm` has the decay's squashing, the RMS norm and the gate as well; so have all sides here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.workloads.base import (
    BACKWARD,
    FORWARD,
    Arguments,
    Function,
    Peer,
    Runs,
    Target,
    Work,
    Workload,
    file_of_package,
    jax_peer,
    normal,
    seeded,
    torch_peer,
    torch_runs,
)

LENGTH, H, K, V = 2048, 4, 128, 256
CHUNK = 64


def arguments() -> dict[str, Tensor]:
    g = seeded()
    return {
        "q": normal(g, 1, LENGTH, H, K),
        "k": normal(g, 1, LENGTH, H, K),
        "v": normal(g, 1, LENGTH, H, V),
        "g": normal(g, 1, LENGTH, H, K),
        "gate": normal(g, 1, LENGTH, H, V),
        "weight": torch.ones(V),
    }


def block(rule: Function) -> Function:
    """The block around a rule (q, k, v, log-decay: batch, time, head, ...) -> batch, time, head, V."""

    def run(q: Tensor, k: Tensor, v: Tensor, g: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
        r = rule(q * K**-0.5, k, v, F.logsigmoid(g) / 16)
        return weight * r * torch.rsqrt((r * r).mean(-1, keepdim=True) + 1e-5) * F.silu(gate)

    return run


def chunked_rule(q: Tensor, k: Tensor, v: Tensor, log: Tensor) -> Tensor:
    """Products inside chunks with the decay taken out of queries and keys: it is mild here, `exp` cannot overflow."""
    batch, length = q.shape[:2]
    count = length // CHUNK

    def cut(x: Tensor) -> Tensor:  # (batch, head, chunk, step, channel)
        return x.view(batch, count, CHUNK, *x.shape[2:]).movedim(3, 1)

    q, k, v, log = cut(q), cut(k), cut(v), cut(log).cumsum(-2)
    below = torch.ones(CHUNK, CHUNK, dtype=torch.bool).tril()
    last = log[..., -1:, :]
    queries, keys, to_end = q * log.exp(), k * (-log).exp(), k * (last - log).exp()
    inside = (queries @ keys.transpose(-1, -2)).masked_fill(~below, 0) @ v
    added = to_end.transpose(-1, -2) @ v
    state = q.new_zeros(batch, H, K, V)
    before = []
    for new, decay in zip(added.unbind(2), last.exp().transpose(-1, -2).unbind(2), strict=True):
        before.append(state)
        state = decay * state + new
    ys = inside + queries @ torch.stack(before, 2)
    return ys.movedim(1, 3).reshape(batch, length, H, V)


def _fla_runs(given: Arguments, weight: Tensor) -> Runs:
    naive = file_of_package("fla", "ops/gla/naive.py").naive_recurrent_gla

    def rule(q: Tensor, k: Tensor, v: Tensor, log: Tensor) -> Tensor:
        return naive(q * K**0.5, k, v, log)[0]  # type: ignore[no-any-return]

    return torch_runs(block(rule), given, weight)


def jax_block(chunked: bool) -> Function:
    import jax
    import jax.numpy as jnp

    def scan(q: Any, k: Any, v: Any, log: Any) -> Any:
        def step(S: Any, now: Any) -> Any:
            q_t, k_t, v_t, a_t = now
            S = a_t[..., None] * S + k_t[..., None] * v_t[..., None, :]
            return S, jnp.einsum("bhk,bhkv->bhv", q_t, S)

        S0 = jnp.zeros((q.shape[0], H, K, V), q.dtype)
        _, ys = jax.lax.scan(step, S0, tuple(jnp.swapaxes(x, 0, 1) for x in (q, k, v, jnp.exp(log))))
        return jnp.swapaxes(ys, 0, 1)

    def in_chunks(q: Any, k: Any, v: Any, log: Any) -> Any:
        batch, count = q.shape[0], LENGTH // CHUNK

        def cut(x: Any) -> Any:  # (chunk, batch, head, step, channel)
            return jnp.moveaxis(x.reshape(batch, count, CHUNK, *x.shape[2:]), (1, 3), (0, 2))

        below = jnp.tril(jnp.ones((CHUNK, CHUNK), bool))

        def chunk(S: Any, now: Any) -> Any:
            q_c, k_c, v_c, log_c = now
            g = jnp.cumsum(log_c, -2)
            queries = q_c * jnp.exp(g)
            scores = jnp.where(below, queries @ jnp.swapaxes(k_c * jnp.exp(-g), -1, -2), 0)
            y = scores @ v_c + queries @ S
            to_end = k_c * jnp.exp(g[..., -1:, :] - g)
            S = jnp.exp(g[..., -1, :])[..., None] * S + jnp.swapaxes(to_end, -1, -2) @ v_c
            return S, y

        S0 = jnp.zeros((batch, H, K, V), q.dtype)
        _, ys = jax.lax.scan(chunk, S0, tuple(cut(x) for x in (q, k, v, log)))
        return jnp.moveaxis(ys, (0, 2), (1, 3)).reshape(batch, LENGTH, H, V)

    rule = in_chunks if chunked else scan

    def run(q: Any, k: Any, v: Any, g: Any, gate: Any, weight: Any) -> Any:
        r = rule(q * K**-0.5, k, v, jax.nn.log_sigmoid(g) / 16)
        return weight * r * jax.lax.rsqrt((r * r).mean(-1, keepdims=True) + 1e-5) * jax.nn.silu(gate)

    return run


def work() -> Mapping[str, Work]:
    """Chunks of 32: scores and their product with v over half of the square, states in and out."""
    q = 32
    forward = 2 * LENGTH * H * (q * K / 2 + q * V / 2 + 2 * K * V)
    keys, values = LENGTH * H * K, LENGTH * H * V
    return {
        FORWARD: Work(bytes=4 * (3 * keys + 3 * values), flops=forward, exps=4 * keys + values),
        BACKWARD: Work(bytes=4 * (9 * keys + 8 * values), flops=3.5 * forward, exps=8 * keys + 2 * values),
    }


W4 = Workload(
    name="W4",
    title=f"gated linear attention, H = {H}, K = {K}, V = {V}, L = {LENGTH} (with its norm and gate)",
    spec="gla",
    arguments=arguments,
    peers=(
        torch_peer("torch chunked, compiled", block(chunked_rule), compiled=True),
        torch_peer("torch chunked", block(chunked_rule)),
        jax_peer("jax chunked", lambda: jax_block(True)),
        jax_peer("jax scan", lambda: jax_block(False), slow=True),
        Peer("fla, naive", _fla_runs, needs=("fla",), slow=True),
    ),
    work=work(),
    output=(1, LENGTH, H, V),
    possible={FORWARD: 10.7, BACKWARD: 40.0},
    targets={FORWARD: (Target(1.7, "torch chunked, compiled"),), BACKWARD: (Target(2),)},
)
