"""W2: Mamba's selective scan, B = 1, D = 1536, N = 16, L = 2048; and W7, one step of it for decoding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import loops
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
    jax_peer,
    normal,
    seeded,
    torch_peer,
    torch_runs,
)

D, N, LENGTH = 1536, 16, 2048
PART = 16  # steps that the compiled loop unrolls


def arguments(length: int = LENGTH) -> dict[str, Tensor]:
    """At the scale that a trained model has them."""
    g = seeded()
    return {
        "u": normal(g, 1, length, D),
        "dt": normal(g, 1, length, D),
        "B": normal(g, 1, length, N),
        "C": normal(g, 1, length, N),
        "z": normal(g, 1, length, D),
        "A_log": torch.log(torch.arange(1.0, N + 1)).repeat(D, 1),
        "skip": torch.ones(D),
        "dt_bias": normal(g, D) - 4,
    }


def compiled_loop() -> Function:
    """A loop over compiled pieces of 16 steps: all 2048 in one graph take hours to compile."""

    def piece(h: Tensor, delta: Tensor, u: Tensor, B: Tensor, C: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
        ys = []
        for delta_t, u_t, B_t, C_t in zip(delta.unbind(1), u.unbind(1), B.unbind(1), C.unbind(1), strict=True):
            h = torch.exp(delta_t[..., None] * A) * h + (delta_t * u_t)[..., None] * B_t[:, None, :]
            ys.append((h * C_t[:, None, :]).sum(-1))
        return h, torch.stack(ys, 1)

    ready = torch.compile(piece, fullgraph=True, dynamic=False)

    def scan(
        u: Tensor, dt: Tensor, B: Tensor, C: Tensor, z: Tensor, A_log: Tensor, skip: Tensor, dt_bias: Tensor
    ) -> Tensor:
        A = -torch.exp(A_log)
        delta = F.softplus(dt + dt_bias)
        h = u.new_zeros(u.shape[0], *A.shape)
        ys = []
        for parts in zip(*(x.split(PART, 1) for x in (delta, u, B, C)), strict=True):
            h, y = ready(h, *parts, A)
            ys.append(y)
        return (torch.cat(ys, 1) + skip * u) * F.silu(z)

    return scan


def materialised(
    u: Tensor, dt: Tensor, B: Tensor, C: Tensor, z: Tensor, A_log: Tensor, skip: Tensor, dt_bias: Tensor
) -> Tensor:
    """As the reference of the paper's code has it: factors and inputs of all steps at once, then a loop."""
    delta = F.softplus(dt + dt_bias)
    factor = torch.exp(torch.einsum("bld,dn->bdln", delta, -torch.exp(A_log)))
    added = torch.einsum("bld,bln->bdln", delta * u, B)
    h = u.new_zeros(u.shape[0], D, N)
    ys = []
    for factor_t, added_t, C_t in zip(factor.unbind(2), added.unbind(2), C.unbind(1), strict=True):
        h = factor_t * h + added_t
        ys.append(torch.einsum("bdn,bn->bd", h, C_t))
    return (torch.stack(ys, 1) + skip * u) * F.silu(z)


def mambapy_scan() -> Function:
    from mambapy.pscan import pscan

    def scan(
        u: Tensor, dt: Tensor, B: Tensor, C: Tensor, z: Tensor, A_log: Tensor, skip: Tensor, dt_bias: Tensor
    ) -> Tensor:
        delta = F.softplus(dt + dt_bias)
        factor = torch.exp(delta[..., None] * -torch.exp(A_log))
        added = (delta * u)[..., None] * B[:, :, None]
        h = pscan(factor, added)
        return ((h @ C[..., None]).squeeze(-1) + skip * u) * F.silu(z)

    return scan


def jax_scan() -> Function:
    import jax
    import jax.numpy as jnp

    def scan(u: Any, dt: Any, B: Any, C: Any, z: Any, A_log: Any, skip: Any, dt_bias: Any) -> Any:
        A = -jnp.exp(A_log)
        delta = jax.nn.softplus(dt + dt_bias)

        def step(h: Any, now: Any) -> Any:
            delta_t, u_t, B_t, C_t = now
            h = jnp.exp(delta_t[..., None] * A) * h + (delta_t * u_t)[..., None] * B_t[:, None, :]
            return h, (h * C_t[:, None, :]).sum(-1)

        h0 = jnp.zeros((u.shape[0], D, N), u.dtype)
        _, ys = jax.lax.scan(step, h0, tuple(jnp.swapaxes(x, 0, 1) for x in (delta, u, B, C)))
        return (jnp.swapaxes(ys, 0, 1) + skip * u) * jax.nn.silu(z)

    return scan


def numba_runs(given: Arguments, weight: Tensor) -> Runs:
    import numpy as np
    from numba import njit, prange

    def scan(
        u: Any, dt: Any, B: Any, C: Any, z: Any, A_log: Any, skip: Any, dt_bias: Any, y: Any
    ) -> None:  # pragma: no cover
        for block in prange(D // 32):
            h = np.zeros((32, N), np.float32)
            A = np.empty((32, N), np.float32)
            for i in range(32):
                for n in range(N):
                    A[i, n] = -np.exp(A_log[block * 32 + i, n])
            for t in range(u.shape[1]):
                for i in range(32):
                    d = block * 32 + i
                    raw = dt[0, t, d] + dt_bias[d]
                    delta = raw if raw > np.float32(20) else np.log1p(np.exp(raw))
                    added = delta * u[0, t, d]
                    total = np.float32(0)
                    for n in range(N):
                        h[i, n] = np.exp(delta * A[i, n]) * h[i, n] + added * B[0, t, n]
                        total += h[i, n] * C[0, t, n]
                    gate = z[0, t, d]
                    y[0, t, d] = (total + skip[d] * u[0, t, d]) * gate / (np.float32(1) + np.exp(-gate))

    ready = njit(parallel=True, fastmath=True)(scan)
    arrays = {k: x.numpy() for k, x in given.items()}
    y = np.empty_like(arrays["u"])

    def forward() -> Any:
        ready(**arrays, y=y)
        return y

    return Runs(forward)


def _compiled_loop_runs(given: Arguments, weight: Tensor) -> Runs:
    return torch_runs(compiled_loop(), given, weight)


def _mambapy_runs(given: Arguments, weight: Tensor) -> Runs:
    return torch_runs(mambapy_scan(), given, weight)


def work() -> Mapping[str, Work]:
    """Of the forward and backward: the factors once each way, and the forward's states again in the backward."""
    cells, row = LENGTH * D * N, LENGTH * D
    return {
        # softplus is an exp and a log, silu an exp
        FORWARD: Work(bytes=4 * (4 * row + 2 * LENGTH * N), flops=6 * cells, exps=cells + 3 * row),
        BACKWARD: Work(bytes=4 * (11 * row + 6 * LENGTH * N), flops=24 * cells, exps=2 * cells + 8 * row),
    }


W2 = Workload(
    name="W2",
    title=f"Mamba's selective scan, D = {D}, N = {N}, L = {LENGTH}",
    spec="selective_scan",
    arguments=arguments,
    peers=(
        jax_peer("jax scan", jax_scan),
        Peer("numba, by hand", numba_runs, needs=("numba",)),
        torch_peer("torch loop", loops.selective_scan),
        Peer(f"torch loop over {PART} compiled steps", _compiled_loop_runs),
        torch_peer("torch, all steps' factors first", materialised, slow=True),
        Peer("mambapy", _mambapy_runs, needs=("mambapy",), slow=True),
    ),
    work=work(),
    output=(1, LENGTH, D),
    possible={FORWARD: 8.0, BACKWARD: 32.0},
    targets={FORWARD: (Target(11, "jax scan"),), BACKWARD: (Target(15),)},
)

# -- one step ------------------------------------------------------------------------------------------------------


def step_arguments() -> dict[str, Tensor]:
    given = arguments(1)
    inputs = {k: given[k][:, 0] for k in ("u", "dt", "B", "C", "z")}
    return given | inputs | {"h": normal(seeded(), 1, D, N)}


def step(
    h: Tensor, u: Tensor, dt: Tensor, B: Tensor, C: Tensor, z: Tensor, A_log: Tensor, skip: Tensor, dt_bias: Tensor
) -> tuple[Tensor, Tensor]:
    delta = F.softplus(dt + dt_bias)
    h = torch.exp(delta[..., None] * -torch.exp(A_log)) * h + (delta * u)[..., None] * B[:, None, :]
    return ((h * C[:, None, :]).sum(-1) + skip * u) * F.silu(z), h


def jax_step() -> Function:
    import jax
    import jax.numpy as jnp

    def one(h: Any, u: Any, dt: Any, B: Any, C: Any, z: Any, A_log: Any, skip: Any, dt_bias: Any) -> Any:
        delta = jax.nn.softplus(dt + dt_bias)
        h = jnp.exp(delta[..., None] * -jnp.exp(A_log)) * h + (delta * u)[..., None] * B[:, None, :]
        return ((h * C[:, None, :]).sum(-1) + skip * u) * jax.nn.silu(z), h

    return one


def around_step(one: Function) -> Function:
    """The state's dictionary is made once: decoding hands it on."""
    held: dict[str, Any] = {}

    def run(h: Tensor, **given: Tensor) -> tuple[Tensor, Tensor]:
        if not held:
            held.update({"h": h, "t": 0})
        y, after = one(held, **given)
        return y, after["h"]

    return run


W7 = Workload(
    name="W7",
    title=f"one decoding step of Mamba's selective scan, D = {D}, N = {N}",
    spec="selective_scan",
    arguments=step_arguments,
    peers=(
        torch_peer("torch, compiled", step, compiled=True, backward=False),
        torch_peer("torch", step, backward=False),
        jax_peer("jax", jax_step, backward=False),
    ),
    work={FORWARD: Work(flops=6 * D * N, exps=2 * D * N + 3 * D)},
    possible={FORWARD: 0.0068},
    targets={FORWARD: (Target(5, "torch, compiled"),)},
    around=around_step,
    step=True,
    backward=False,
)

assert math.prod((D // 32, 32)) == D
