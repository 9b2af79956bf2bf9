"""W1: `h = a*h + b`, elementwise. W1a: 2048 channels, L = 4096, time outermost in memory, more than the caches hold.
W1b: 64 channels, L = 65,536, time innermost.
"""

from __future__ import annotations

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
    channel_major,
    jax_peer,
    normal,
    seeded,
    time_major,
    torch_peer,
    torch_runs,
)

SIZES = {"W1a": (4, 4096, 512), "W1b": (2, 65536, 32)}
LAYOUT = {"W1a": time_major, "W1b": channel_major}


def arguments(name: str) -> Callable[[], dict[str, Tensor]]:
    def draw() -> dict[str, Tensor]:
        g = seeded()
        shape, stored = SIZES[name], LAYOUT[name]
        return {"a": stored(torch.sigmoid(normal(g, *shape) + 2)), "b": stored(normal(g, *shape))}

    return draw


# -- torch ---------------------------------------------------------------------------------------------------------


def loop(a: Tensor, b: Tensor) -> Tensor:
    h = b.new_zeros(b.shape[0], b.shape[2])
    hs = []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = a_t * h + b_t
        hs.append(h)
    return torch.stack(hs, 1)


def associative(a: Tensor, b: Tensor) -> Tensor:
    from torch._higher_order_ops.associative_scan import associative_scan

    def combine(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return first[0] * second[0], second[0] * first[1] + second[1]

    found = associative_scan(combine, (a, b), dim=1, combine_mode="generic")
    return found[1]  # type: ignore[no-any-return]


def _associative_runs(given: Arguments, weight: Tensor) -> Runs:
    return torch_runs(torch.compile(associative, fullgraph=True, dynamic=False), given, weight)


def _mambapy_runs(given: Arguments, weight: Tensor) -> Runs:
    from mambapy.pscan import pscan

    # its states have an axis more, and lengths are powers of two
    return torch_runs(lambda a, b: pscan(a[..., None], b[..., None]).squeeze(-1), given, weight)


def _torchlpc_runs(given: Arguments, weight: Tensor) -> Runs:
    from torchlpc import sample_wise_lpc

    def run(a: Tensor, b: Tensor) -> Tensor:
        rows = [x.transpose(1, 2).flatten(0, 1) for x in (a, b)]
        h = sample_wise_lpc(rows[1], -rows[0][..., None])
        return h.view(b.shape[0], b.shape[2], b.shape[1]).transpose(1, 2)

    return torch_runs(run, given, weight)


# -- numba ---------------------------------------------------------------------------------------------------------


def numba_runs(name: str, reuses: bool) -> Callable[[Arguments, Tensor], Runs]:
    """Loops in the order of the memory, in parallel over channels."""

    def prepare(given: Arguments, weight: Tensor) -> Runs:
        import numpy as np
        from numba import njit, prange

        # W1a as (L, channels), W1b as (channels, L)
        if name == "W1a":
            # views of a row: indices that are seen to begin at zero make vector loops
            def forward(a: Any, b: Any, h: Any) -> None:  # pragma: no cover
                length, channels = a.shape
                for block in prange(channels // 512):
                    low, high = block * 512, block * 512 + 512
                    now = np.zeros(512, np.float32)
                    for t in range(length):
                        a_t, b_t, h_t = a[t, low:high], b[t, low:high], h[t, low:high]
                        for i in range(512):
                            now[i] = a_t[i] * now[i] + b_t[i]
                            h_t[i] = now[i]

            def backward(a: Any, h: Any, w: Any, da: Any, db: Any) -> None:  # pragma: no cover
                length, channels = a.shape
                for block in prange(channels // 512):
                    low, high = block * 512, block * 512 + 512
                    now = np.zeros(512, np.float32)
                    zero = np.zeros(512, np.float32)
                    for back in range(length):
                        t = length - 1 - back
                        before = h[t - 1, low:high] if t > 0 else zero
                        a_t, w_t, da_t, db_t = a[t, low:high], w[t, low:high], da[t, low:high], db[t, low:high]
                        for i in range(512):
                            slope = now[i] + w_t[i]
                            db_t[i] = slope
                            da_t[i] = slope * before[i]
                            now[i] = a_t[i] * slope

        else:

            def forward(a: Any, b: Any, h: Any) -> None:  # pragma: no cover
                channels, length = a.shape
                for c in prange(channels):
                    now = np.float32(0)
                    for t in range(length):
                        now = a[c, t] * now + b[c, t]
                        h[c, t] = now

            def backward(a: Any, h: Any, w: Any, da: Any, db: Any) -> None:  # pragma: no cover
                channels, length = a.shape
                for c in prange(channels):
                    now = np.float32(0)
                    for back in range(length):
                        t = length - 1 - back
                        now = now + w[c, t]
                        db[c, t] = now
                        da[c, t] = now * h[c, t - 1] if t > 0 else np.float32(0)
                        now = a[c, t] * now

        ready, back = njit(parallel=True, fastmath=True)(forward), njit(parallel=True, fastmath=True)(backward)
        batch, length, channels = SIZES[name]

        def plain(x: Tensor) -> Any:
            if name == "W1a":
                return x.transpose(0, 1).contiguous().view(length, batch * channels).numpy()
            return x.transpose(1, 2).contiguous().view(batch * channels, length).numpy()

        def public(x: Any) -> Tensor:
            if name == "W1a":
                return torch.from_numpy(x).view(length, batch, channels).transpose(0, 1)
            return torch.from_numpy(x).view(batch, channels, length).transpose(1, 2)

        a, b, w = plain(given["a"]), plain(given["b"]), plain(weight)
        kept = [np.empty_like(a) for _ in range(3)]

        def place(n: int) -> Any:
            return kept[n] if reuses else np.empty_like(a)

        def run() -> Tensor:
            h = place(0)
            ready(a, b, h)
            return public(h)

        def both() -> dict[str, Tensor]:
            h, da, db = (place(n) for n in range(3))
            ready(a, b, h)
            back(a, h, w, da, db)
            return {"a": public(da), "b": public(db)}

        return Runs(run, both)

    return prepare


# -- jax -----------------------------------------------------------------------------------------------------------


def jax_scan() -> Function:
    import jax
    import jax.numpy as jnp

    def run(a: Any, b: Any) -> Any:
        def step(h: Any, now: Any) -> Any:
            h = now[0] * h + now[1]
            return h, h

        _, hs = jax.lax.scan(step, jnp.zeros_like(b[:, 0]), (jnp.swapaxes(a, 0, 1), jnp.swapaxes(b, 0, 1)))
        return jnp.swapaxes(hs, 0, 1)

    return run


def jax_associative() -> Function:
    import jax

    def run(a: Any, b: Any) -> Any:
        return jax.lax.associative_scan(lambda x, y: (x[0] * y[0], y[0] * x[1] + y[1]), (a, b), axis=1)[1]

    return run


# -- scipy ---------------------------------------------------------------------------------------------------------


def lfilter_runs(given: Arguments, weight: Tensor) -> Runs:
    from scipy.signal import lfilter

    b = given["b"].numpy()
    # one factor for all steps is all that it can do; the result is that of another problem, of the same size
    return Runs(lambda: lfilter([1.0], [1.0, -0.9], b, axis=1))


def work(name: str) -> Mapping[str, Work]:
    batch, length, channels = SIZES[name]
    cells = batch * length * channels
    return {
        FORWARD: Work(bytes=4 * 3 * cells, flops=2 * cells),
        # a, b read and h written; then a, h and the weights read, and two gradients written
        BACKWARD: Work(bytes=4 * 8 * cells, flops=5 * cells),
    }


def peers(name: str) -> tuple[Peer, ...]:
    every = (
        Peer("numba, by hand, reused", numba_runs(name, True), needs=("numba",), reuses=True),
        Peer("numba, by hand", numba_runs(name, False), needs=("numba",)),
        jax_peer("jax scan", jax_scan, slow=name == "W1b"),
        jax_peer("jax associative_scan", jax_associative, slow=True),
        Peer("torchlpc", _torchlpc_runs, needs=("torchlpc",)),
        Peer("mambapy", _mambapy_runs, needs=("mambapy",)),
        Peer("torch associative_scan, compiled", _associative_runs, slow=name == "W1b"),
        torch_peer("torch loop", loop, slow=True),
    )
    constant = "its factor is the same at every step, an easier problem"
    scipy = Peer("scipy lfilter", lfilter_runs, needs=("scipy",), unranked=constant)
    return every if name == "W1a" else (*every, scipy)


W1A, W1B = (
    Workload(
        name=name,
        title=f"h = a*h + b, (B, L, D) = {SIZES[name]}, {layout}",
        spec="diagonal",
        arguments=arguments(name),
        peers=peers(name),
        work=work(name),
        output=SIZES[name],
        possible=possible,
        targets=targets,
        out=True,
    )
    for name, layout, possible, targets in (
        (
            "W1a",
            "time outermost",
            {FORWARD: 2.5, BACKWARD: 9.0},
            {
                FORWARD: (Target(1.6, "numba, by hand, reused", reused=True),),
                BACKWARD: (Target(3, "jax scan"), Target(8, "jax scan", reused=True)),
            },
        ),
        (
            "W1b",
            "time innermost",
            {FORWARD: 1.0},
            {FORWARD: (Target(1.6, "numba, by hand, reused", reused=True),)},
        ),
    )
)
