"""W5: the gated delta rule, B = 1, H = 8, L = 2048, K = V = 64.

`examples/gated_deltanet.ssm` has the block around the rule as well: short convolutions, keys and queries of length
one, the RMS norm and the gate. So have all sides here. One value head a key head: G = 8, R = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

LENGTH, H, K, V, WIDTH = 2048, 8, 64, 64, 4
CHUNK = 64


def arguments() -> dict[str, Tensor]:
    g = seeded()
    return {
        "q": normal(g, 1, LENGTH, H, K),
        "k": normal(g, 1, LENGTH, H, K),
        "v": normal(g, 1, LENGTH, H, 1, V),
        "a": normal(g, 1, LENGTH, H, 1),
        "b": normal(g, 1, LENGTH, H, 1),
        "gate": normal(g, 1, LENGTH, H, 1, V),
        "w_q": normal(g, H, K, WIDTH, scale=0.5),
        "w_k": normal(g, H, K, WIDTH, scale=0.5),
        "w_v": normal(g, H, 1, V, WIDTH, scale=0.5),
        "A_log": torch.log(torch.linspace(1, 16, H))[:, None],
        "dt_bias": normal(g, H, 1) - 4,
        "weight": torch.ones(V),
    }


# -- torch: the block around a rule (q, k, v, beta, log-decay: batch, time, head, ...) -> batch, time, head, V ------


def block(rule: Function) -> Function:
    def convolved(x: Tensor, weight: Tensor) -> Tensor:
        flat = x.flatten(2)
        line = F.pad(flat.transpose(1, 2), (WIDTH - 1, 0))
        # the spec's weight has the newest step first
        taps = weight.reshape(-1, 1, WIDTH).flip(2)
        return F.silu(F.conv1d(line, taps, groups=flat.shape[2]).transpose(1, 2)).view(x.shape)

    def unit(x: Tensor) -> Tensor:
        return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)

    def run(
        q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, gate: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor,
        A_log: Tensor, dt_bias: Tensor, weight: Tensor,
    ) -> Tensor:  # fmt: skip
        query, key = unit(convolved(q, w_q)) * K**-0.5, unit(convolved(k, w_k))
        log = -torch.exp(A_log) * F.softplus(a + dt_bias)
        r = rule(query, key, convolved(v, w_v).squeeze(3), torch.sigmoid(b).squeeze(3), log.squeeze(3)).unsqueeze(3)
        return weight * r * torch.rsqrt((r * r).mean(-1, keepdim=True) + 1e-5) * F.silu(gate)

    return run


def chunked_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log: Tensor) -> Tensor:
    """A triangular system a chunk (all at once), then a loop over the chunks with two products each."""
    batch, length = q.shape[:2]
    count = length // CHUNK

    def cut(x: Tensor) -> Tensor:  # (batch, head, chunk, step, ...)
        return x.view(batch, count, CHUNK, *x.shape[2:]).movedim(3, 1)

    q, k, v, beta, log = cut(q), cut(k), cut(v), cut(beta)[..., None], cut(log).cumsum(-1)
    below = torch.ones(CHUNK, CHUNK, dtype=torch.bool).tril()
    between = (log[..., :, None] - log[..., None, :]).masked_fill(~below, -torch.inf).exp()
    from_start, to_end = log.exp()[..., None], (log[..., -1:] - log).exp()[..., None]
    system = torch.eye(CHUNK) + (beta * (k @ k.transpose(-1, -2)) * between).tril(-1)
    both = torch.cat([beta * v, beta * from_start * k], -1)
    solved = torch.linalg.solve_triangular(system, both, upper=False, unitriangular=True)
    written, erased = solved.split([V, K], -1)
    scores, queries, keys = q @ k.transpose(-1, -2) * between, q * from_start, (k * to_end).transpose(-1, -2)
    state = q.new_zeros(batch, H, K, V)
    ys = []
    steps = (scores, queries, keys, written, erased, from_start[..., -1:, :])
    for score, query, key, write, erase, decay in zip(*(x.unbind(2) for x in steps), strict=True):
        new = write - erase @ state
        ys.append(query @ state + score @ new)
        state = decay * state + key @ new
    return torch.stack(ys, 2).movedim(1, 3).reshape(batch, length, H, V)


def _fla_rule(name: str) -> Function:
    naive = getattr(file_of_package("fla", "ops/gated_delta_rule/naive.py"), name)

    def rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log: Tensor) -> Tensor:
        return naive(q=q, k=k, v=v, beta=beta, g=log, scale=1.0)[0]  # type: ignore[no-any-return]

    return rule


def _fla(name: str) -> Callable[[Arguments, Tensor], Runs]:
    return lambda given, weight: torch_runs(block(_fla_rule(name)), given, weight)


# -- jax -----------------------------------------------------------------------------------------------------------


def jax_block(rule: Callable[[], Function]) -> Callable[[], Function]:
    def make() -> Function:
        import jax
        import jax.numpy as jnp

        inner = rule()

        def convolved(x: Any, weight: Any) -> Any:
            line = jnp.pad(x, ((0, 0), (WIDTH - 1, 0), *((0, 0),) * (x.ndim - 2)))
            return jax.nn.silu(sum(line[:, WIDTH - 1 - w : WIDTH - 1 - w + LENGTH] * weight[..., w]
                                   for w in range(WIDTH)))  # fmt: skip

        def unit(x: Any) -> Any:
            return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + 1e-6)

        def run(
            q: Any, k: Any, v: Any, a: Any, b: Any, gate: Any, w_q: Any, w_k: Any, w_v: Any,
            A_log: Any, dt_bias: Any, weight: Any,
        ) -> Any:  # fmt: skip
            query, key = unit(convolved(q, w_q)) * K**-0.5, unit(convolved(k, w_k))
            log = (-jnp.exp(A_log) * jax.nn.softplus(a + dt_bias))[..., 0]
            r = inner(query, key, convolved(v, w_v)[..., 0, :], jax.nn.sigmoid(b)[..., 0], log)[..., None, :]
            return weight * r * jax.lax.rsqrt((r * r).mean(-1, keepdims=True) + 1e-5) * jax.nn.silu(gate)

        return run

    return make


def jax_scan_rule() -> Function:
    import jax
    import jax.numpy as jnp

    def rule(q: Any, k: Any, v: Any, beta: Any, log: Any) -> Any:
        def step(S: Any, now: Any) -> Any:
            q_t, k_t, v_t, beta_t, a_t = now
            S = a_t[..., None, None] * S
            new = beta_t[..., None] * (v_t - jnp.einsum("bhk,bhkv->bhv", k_t, S))
            S = S + k_t[..., None] * new[..., None, :]
            return S, jnp.einsum("bhk,bhkv->bhv", q_t, S)

        S0 = jnp.zeros((q.shape[0], H, K, V), q.dtype)
        _, ys = jax.lax.scan(step, S0, tuple(jnp.swapaxes(x, 0, 1) for x in (q, k, v, beta, jnp.exp(log))))
        return jnp.swapaxes(ys, 0, 1)

    return rule


def jax_chunked_rule() -> Function:
    import jax
    import jax.numpy as jnp

    def rule(q: Any, k: Any, v: Any, beta: Any, log: Any) -> Any:
        batch, count = q.shape[0], LENGTH // CHUNK

        def cut(x: Any) -> Any:  # (chunk, batch, head, step, ...)
            return jnp.moveaxis(x.reshape(batch, count, CHUNK, *x.shape[2:]), (1, 3), (0, 2))

        q, k, v, beta, log = cut(q), cut(k), cut(v), cut(beta)[..., None], jnp.cumsum(cut(log), -1)
        below = jnp.tril(jnp.ones((CHUNK, CHUNK), bool))
        between = jnp.exp(jnp.where(below, log[..., :, None] - log[..., None, :], -jnp.inf))
        from_start, to_end = jnp.exp(log)[..., None], jnp.exp(log[..., -1:] - log)[..., None]
        turned = jnp.swapaxes(k, -1, -2)
        lower = jnp.tril(beta * (k @ turned) * between, -1)
        both = jnp.concatenate([beta * v, beta * from_start * k], -1)
        # (I + A)^-1 = (I - A)(I + A^2)(I + A^4) ..., for A is nilpotent: products only
        power, inverse = -lower, jnp.eye(CHUNK) - lower
        for _ in range(CHUNK.bit_length() - 2):
            power = power @ power
            inverse = inverse + inverse @ power
        solved = inverse @ both
        steps = ((q @ turned) * between, q * from_start, jnp.swapaxes(k * to_end, -1, -2),
                 solved[..., :V], solved[..., V:], from_start[..., -1:, :])  # fmt: skip

        def chunk(S: Any, now: Any) -> Any:
            score, query, key, write, erase, decay = now
            new = write - erase @ S
            return decay * S + key @ new, query @ S + score @ new

        _, ys = jax.lax.scan(chunk, jnp.zeros((batch, H, K, V), q.dtype), steps)
        return jnp.moveaxis(ys, (0, 2), (1, 3)).reshape(batch, LENGTH, H, V)

    return rule


def work() -> Mapping[str, Work]:
    """One pass over the state a step: decay, two dot products and the update; the block around it is small."""
    cells, row = LENGTH * H * K * V, LENGTH * H * K
    return {
        FORWARD: Work(bytes=4 * 5 * row, flops=7 * cells, exps=4 * row),
        BACKWARD: Work(bytes=4 * 13 * row, flops=28 * cells, exps=8 * row),
    }


W5 = Workload(
    name="W5",
    title=f"gated delta rule, H = {H}, K = V = {K}, L = {LENGTH} (with its block: convolutions, norms, gate)",
    spec="gated_deltanet",
    arguments=arguments,
    peers=(
        jax_peer("jax scan", jax_block(jax_scan_rule)),
        jax_peer("jax chunked", jax_block(jax_chunked_rule)),
        # its backward takes minutes to compile
        torch_peer("torch chunked, compiled", block(chunked_rule), compiled=True, backward=False),
        torch_peer("torch chunked", block(chunked_rule)),
        Peer("fla, naive chunk", _fla("naive_chunk_gated_delta_rule"), needs=("fla", "einops")),
        Peer("fla, naive", _fla("naive_recurrent_gated_delta_rule"), needs=("fla", "einops"), slow=True),
    ),
    work=work(),
    output=(1, LENGTH, H, 1, V),
    possible={FORWARD: 4.7, BACKWARD: 20.0},
    targets={FORWARD: (Target(3.2, "jax scan"),), BACKWARD: (Target(4),)},
)
