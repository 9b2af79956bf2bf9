"""W8: a GRU over projected inputs, B = 16, H = 256, L = 512, as `nn.GRU` has it.

`examples/gru.ssm` takes the projected inputs and `nn.GRU` projects them itself, so every side begins at the same x:
one product by torch (or jax) for all steps, whose three parts are views, then the recurrence.
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
    jax_peer,
    normal,
    seeded,
    torch_peer,
)

BATCH, H, LENGTH = 16, 256, 512


def arguments() -> dict[str, Tensor]:
    g = seeded()
    scale = H**-0.5
    return {
        "x": normal(g, BATCH, LENGTH, H),
        "W": normal(g, 3 * H, H, scale=scale),
        "U": normal(g, 3 * H, H, scale=scale),
        "b": normal(g, 3 * H, scale=scale),
        "c": normal(g, 3 * H, scale=scale),
    }


def around(spec: Function) -> Function:
    """The spec's call with the product before it. The parts of the projection and of U are views."""

    def run(x: Tensor, W: Tensor, U: Tensor, b: Tensor, c: Tensor) -> Tensor:
        r, z, n = F.linear(x, W, b).chunk(3, -1)
        U_r, U_z, U_n = U.chunk(3)
        b_r, b_z, b_n = c.chunk(3)
        return spec(r=r, z=z, n=n, U_r=U_r, U_z=U_z, U_n=U_n, b_r=b_r, b_z=b_z, b_n=b_n)  # type: ignore[no-any-return]

    return run


def module_runs(given: Arguments, weight: Tensor) -> Runs:
    module = torch.nn.GRU(H, H, batch_first=True)
    names = {"W": "weight_ih_l0", "U": "weight_hh_l0", "b": "bias_ih_l0", "c": "bias_hh_l0"}
    with torch.no_grad():
        for name, parameter in names.items():
            getattr(module, parameter).copy_(given[name])

    def forward() -> Tensor:
        with torch.no_grad():
            return module(given["x"])[0]  # type: ignore[no-any-return]

    x = given["x"].detach().requires_grad_()
    leaves = {"x": x} | {name: getattr(module, parameter) for name, parameter in names.items()}

    def both() -> dict[str, Tensor]:
        taken = torch.autograd.grad(module(x)[0], tuple(leaves.values()), weight)
        return dict(zip(leaves, taken, strict=True))

    return Runs(forward, both)


def cell_loop(x: Tensor, W: Tensor, U: Tensor, b: Tensor, c: Tensor) -> Tensor:
    h = x.new_zeros(x.shape[0], H)
    hs = []
    for x_t in x.unbind(1):
        h = torch.gru_cell(x_t, h, W, U, b, c)
        hs.append(h)
    return torch.stack(hs, 1)


def jax_scan() -> Function:
    import jax
    import jax.numpy as jnp

    def run(x: Any, W: Any, U: Any, b: Any, c: Any) -> Any:
        projected = jnp.swapaxes(x @ W.T + b, 0, 1)
        turned = U.T

        def step(h: Any, now: Any) -> Any:
            r, z, n = jnp.split(now, 3, -1)
            h_r, h_z, h_n = jnp.split(h @ turned + c, 3, -1)
            reset, update = jax.nn.sigmoid(r + h_r), jax.nn.sigmoid(z + h_z)
            h = (1 - update) * jnp.tanh(n + reset * h_n) + update * h
            return h, h

        _, hs = jax.lax.scan(step, jnp.zeros((x.shape[0], H), x.dtype), projected)
        return jnp.swapaxes(hs, 0, 1)

    return run


def work() -> Mapping[str, Work]:
    rows = BATCH * LENGTH
    product = 2 * rows * 3 * H * H
    return {
        FORWARD: Work(bytes=4 * 2 * rows * H, flops=2 * product, exps=3 * rows * H),
        BACKWARD: Work(bytes=4 * 5 * rows * H, flops=6 * product, exps=3 * rows * H),
    }


W8 = Workload(
    name="W8",
    title=f"GRU, B = {BATCH}, H = {H}, L = {LENGTH} (with the projection of its input)",
    spec="gru",
    arguments=arguments,
    peers=(
        Peer("nn.GRU", module_runs),
        torch_peer("loop of torch.gru_cell", cell_loop),
        jax_peer("jax scan", jax_scan),
    ),
    work=work(),
    output=(BATCH, LENGTH, H),
    possible={FORWARD: 36.0, BACKWARD: 110.0},
    targets={FORWARD: (Target(1.8, "nn.GRU"),), BACKWARD: (Target(1.5),)},
    around=around,
)
