"""W3: Mamba-2's state-space dual, scalar decay a head, one group: B = 1, L = 2048, H = 24, P = 64, N = 128."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.workloads.base import (
    BACKWARD,
    FORWARD,
    Function,
    Target,
    Work,
    Workload,
    jax_peer,
    normal,
    seeded,
    torch_peer,
)

LENGTH, H, P, N = 2048, 24, 64, 128
CHUNK = 64


def arguments() -> dict[str, Tensor]:
    g = seeded()
    return {
        "x": normal(g, 1, LENGTH, H, P),
        "dt": torch.nn.functional.softplus(normal(g, 1, LENGTH, H) - 3),
        "B": normal(g, 1, LENGTH, N),
        "C": normal(g, 1, LENGTH, N),
        "A_log": torch.log(torch.linspace(1, 16, H)),
    }


def chunked(x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A_log: Tensor) -> Tensor:
    """Matrix products inside a chunk, a loop over the states at chunk boundaries."""
    batch, length = x.shape[:2]
    count = length // CHUNK
    x = (x * dt[..., None]).view(batch, count, CHUNK, H, P)
    B = B.view(batch, count, CHUNK, N)
    C = C.view(batch, count, CHUNK, N)
    # (batch, head, chunk, step): the logarithm of the decay from the chunk's start
    log = (-dt * torch.exp(A_log)).view(batch, count, CHUNK, H).permute(0, 3, 1, 2).cumsum(-1)
    below = torch.ones(CHUNK, CHUNK, dtype=torch.bool).tril()
    between = (log[..., :, None] - log[..., None, :]).masked_fill(~below, -torch.inf).exp()
    products = C @ B.transpose(-1, -2)
    inside = torch.einsum("bhcij,bcjhp->bcihp", between * products[:, None], x)
    to_end = (log[..., -1:] - log).exp()
    states = torch.einsum("bcjn,bhcj,bcjhp->bchpn", B, to_end, x)
    state = x.new_zeros(batch, H, P, N)
    before = []
    for added, decay in zip(states.unbind(1), log[..., -1].exp().unbind(2), strict=True):
        before.append(state)
        state = decay[..., None, None] * state + added
    carried = torch.einsum("bcin,bchpn,bhci->bcihp", C, torch.stack(before, 1), log.exp())
    return (inside + carried).reshape(batch, length, H, P)


def jax_scan() -> Function:
    import jax
    import jax.numpy as jnp

    def scan(x: Any, dt: Any, B: Any, C: Any, A_log: Any) -> Any:
        decay = jnp.exp(-dt * jnp.exp(A_log))

        def step(S: Any, now: Any) -> Any:
            x_t, dt_t, a_t, B_t, C_t = now
            S = a_t[..., None, None] * S + (dt_t[..., None] * x_t)[..., None] * B_t[:, None, None, :]
            return S, jnp.einsum("bhpn,bn->bhp", S, C_t)

        S0 = jnp.zeros((x.shape[0], H, P, N), x.dtype)
        _, ys = jax.lax.scan(step, S0, tuple(jnp.swapaxes(v, 0, 1) for v in (x, dt, decay, B, C)))
        return jnp.swapaxes(ys, 0, 1)

    return scan


def jax_chunked() -> Function:
    import jax
    import jax.numpy as jnp

    def scan(x: Any, dt: Any, B: Any, C: Any, A_log: Any) -> Any:
        batch, count = x.shape[0], x.shape[1] // CHUNK
        log = jnp.cumsum((-dt * jnp.exp(A_log)).reshape(batch, count, CHUNK, H), 2)
        xs = (x * dt[..., None]).reshape(batch, count, CHUNK, H, P)
        below = jnp.tril(jnp.ones((CHUNK, CHUNK), bool))

        def chunk(S: Any, now: Any) -> Any:
            x_c, g, B_c, C_c = now
            between = jnp.exp(jnp.where(below[..., None], g[:, :, None] - g[:, None], -jnp.inf))
            scores = jnp.einsum("bin,bjn->bij", C_c, B_c)[..., None] * between
            y = jnp.einsum("bijh,bjhp->bihp", scores, x_c)
            y += jnp.einsum("bin,bhpn->bihp", C_c, S) * jnp.exp(g)[..., None]
            weighted = x_c * jnp.exp(g[:, -1:] - g)[..., None]
            S = jnp.exp(g[:, -1])[..., None, None] * S + jnp.einsum("bjhp,bjn->bhpn", weighted, B_c)
            return S, y

        S0 = jnp.zeros((batch, H, P, N), x.dtype)
        chunks = (xs, log, B.reshape(batch, count, CHUNK, N), C.reshape(batch, count, CHUNK, N))
        _, ys = jax.lax.scan(chunk, S0, tuple(jnp.swapaxes(v, 0, 1) for v in chunks))
        return jnp.swapaxes(ys, 0, 1).reshape(x.shape)

    return scan


def work() -> Mapping[str, Work]:
    """Chunks of 32: the products of C and B once for all heads, half of a chunk's square, states in and out."""
    q = 32
    forward = 2 * LENGTH * (q * N / 2 + H * (q * P / 2 + 2 * P * N))
    row = LENGTH * H * P
    return {
        FORWARD: Work(bytes=4 * (2 * row + 2 * LENGTH * N), flops=forward, exps=LENGTH * H * q / 2),
        BACKWARD: Work(bytes=4 * (5 * row + 6 * LENGTH * N), flops=3.5 * forward, exps=LENGTH * H * q),
    }


W3 = Workload(
    name="W3",
    title=f"Mamba-2's state-space dual, H = {H}, P = {P}, N = {N}, L = {LENGTH}",
    spec="ssd",
    arguments=arguments,
    peers=(
        torch_peer("torch chunked, compiled", chunked, compiled=True),
        torch_peer("torch chunked", chunked),
        jax_peer("jax chunked", jax_chunked),
        jax_peer("jax scan", jax_scan, slow=True),
    ),
    work=work(),
    output=(1, LENGTH, H, P),
    possible={FORWARD: 11.5, BACKWARD: 45.0},
    targets={FORWARD: (Target(3, "torch chunked, compiled"),), BACKWARD: (Target(2),)},
)
