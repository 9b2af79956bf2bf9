"""W6: S4D, 256 channels of 32 conjugate pairs, B = 4, L = 4096, 16,384 and 65,536."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
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

BATCH, D, N = 4, 256, 32
LENGTHS = {"W6": 4096, "W6-16k": 16384, "W6-64k": 65536}


def arguments(length: int) -> Callable[[], dict[str, Tensor]]:
    def draw() -> dict[str, Tensor]:
        g = seeded()
        return {
            "u": normal(g, BATCH, length, D),
            "A_re": torch.full((D, N), math.log(0.5)),
            "A_im": math.pi * torch.arange(N).repeat(D, 1),
            "C": torch.complex(normal(g, D, N), normal(g, D, N)) * 0.5**0.5,
            "log_dt": torch.empty(D).uniform_(math.log(1e-3), math.log(1e-1), generator=g),
            "skip": normal(g, D),
        }

    return draw


def fft_convolution(u: Tensor, kernel: Tensor) -> Tensor:
    """Causal, along the second dimension: u (batch, L, D), kernel (D, L)."""
    length = u.shape[1]
    spectrum = torch.fft.rfft(u, n=2 * length, dim=1) * torch.fft.rfft(kernel, n=2 * length).T
    return torch.fft.irfft(spectrum, n=2 * length, dim=1)[:, :length]


def fft_form(u: Tensor, A_re: Tensor, A_im: Tensor, C: Tensor, log_dt: Tensor, skip: Tensor) -> Tensor:
    """As S4D's reference: a Vandermonde product for the kernel, then an FFT convolution."""
    A = torch.complex(-torch.exp(A_re), A_im)
    dtA = torch.exp(log_dt)[:, None] * A
    weights = C * torch.expm1(dtA) / A
    powers = torch.exp(dtA[..., None] * torch.arange(u.shape[1], dtype=u.dtype))
    kernel = 2 * torch.einsum("dn,dnl->dl", weights, powers).real
    return fft_convolution(u, kernel) + skip * u


def convolution_runs(given: Arguments, weight: Tensor) -> Runs:
    kernel = torch.randn(D, given["u"].shape[1])

    def forward() -> Tensor:
        with torch.no_grad():
            return fft_convolution(given["u"], kernel)

    return Runs(forward)


def jax_fft() -> Function:
    import jax.numpy as jnp

    def run(u: Any, A_re: Any, A_im: Any, C: Any, log_dt: Any, skip: Any) -> Any:
        length = u.shape[1]
        A = -jnp.exp(A_re) + 1j * A_im
        dtA = jnp.exp(log_dt)[:, None] * A
        weights = C * jnp.expm1(dtA) / A
        powers = jnp.exp(dtA[..., None] * jnp.arange(length))
        kernel = 2 * jnp.einsum("dn,dnl->ld", weights, powers).real
        spectrum = jnp.fft.rfft(u, n=2 * length, axis=1) * jnp.fft.rfft(kernel, n=2 * length, axis=0)
        return jnp.fft.irfft(spectrum, n=2 * length, axis=1)[:, :length] + skip * u

    return run


def jax_scan() -> Function:
    import jax
    import jax.numpy as jnp

    def run(u: Any, A_re: Any, A_im: Any, C: Any, log_dt: Any, skip: Any) -> Any:
        A = -jnp.exp(A_re) + 1j * A_im
        dtA = jnp.exp(log_dt)[:, None] * A
        factor, weights = jnp.exp(dtA), C * jnp.expm1(dtA) / A

        def step(h: Any, u_t: Any) -> Any:
            h = factor * h + u_t[..., None]
            return h, 2 * (weights * h).sum(-1).real

        _, ys = jax.lax.scan(step, jnp.zeros((u.shape[0], D, N), factor.dtype), jnp.swapaxes(u, 0, 1))
        return jnp.swapaxes(ys, 0, 1) + skip * u

    return run


def work(length: int) -> Mapping[str, Work]:
    """By recurrence: a complex product and sum for the state, the real part of another for the output."""
    rows = BATCH * length * D
    return {
        FORWARD: Work(bytes=4 * 2 * rows, flops=12 * rows * N),
        BACKWARD: Work(bytes=4 * 5 * rows, flops=44 * rows * N),
    }


def workload(name: str) -> Workload:
    length = LENGTHS[name]
    short = length == 4096
    goals = (Target(30, "jax, FFT"),) if short else ()
    alone = "the kernel is given, an easier problem"
    return Workload(
        name=name,
        title=f"S4D, {D} channels, {N} conjugate pairs, B = {BATCH}, L = {length}",
        spec="s4d",
        arguments=arguments(length),
        # the Vandermonde matrices of the longer ones do not fit
        peers=(
            *((jax_peer("jax, FFT", jax_fft), torch_peer("torch, FFT", fft_form)) if short else ()),
            Peer("torch, FFT convolution alone", convolution_runs, unranked=alone),
            jax_peer("jax scan", jax_scan, slow=not short, backward=short),
        ),
        work=work(length),
        output=(BATCH, length, D),
        possible={FORWARD: 9.2, BACKWARD: 40.0} if short else {},
        targets={FORWARD: (*goals, Target(7, "torch, FFT convolution alone")), BACKWARD: (Target(4),)},
        backward=short,
    )


W6 = tuple(workload(name) for name in LENGTHS)
