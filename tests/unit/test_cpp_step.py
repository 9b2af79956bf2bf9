"""One step of the C++ backend, which takes tensors as they lie: states and params with lanes over either axis."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ssmc.backends.cpp import toolchain
from ssmc.backends.cpp.printer import print_program

import ssmc
from ssmc.api import Compiled
from ssmc.kernel.lower import lower

pytestmark = pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")

SPECS = {
    "a state whose rows are summed": """
        axis D, N
        input u[D], dt[D], B[N], C[N]
        param A_log[D, N], skip[D]
        state h[D, N]
        delta = softplus(dt)
        h = exp(-delta*exp(A_log))*h + delta*B*u
        output y[D] = (C · h + skip*u)*silu(u)
    """,
    "a state whose columns are summed": """
        axis D, N
        input u[D], B[N]
        param a[D, N]
        state h[D, N]
        h = sigmoid(a)*h + u*B
        output y[N] = sum[D](u*h)
        output z[N] = max[D](h) + B
    """,
    "complex": """
        axis D, N
        input u[D], c[N] complex
        param a[D, N] complex, d[D]
        state h[D, N] complex
        h = exp(-0.2 + 1j*a)*h + d*u*c
        output y[D] = 2*real(c · h)
        output z[D] complex = c · h
        output w[D] = imag(sum[N](a*h)) + d
    """,
    "matrix products either way": """
        axis D, N
        input u[D]
        param W[D, D], U[N, D], b[N]
        state h[D], g[N]
        h = tanh(W @ h + u)
        g = 0.5*g + U @ h + b
        output y[N] = g
        output z[D] = g @ U
    """,
    "a matrix a head": """
        axis D, K, N
        each D
        input q[D, K], k[D, K], v[D, N], beta[D]
        param scale[K]
        state S[D, K, N]
        S = sigmoid(beta)*S + k*scale*(v - k · S)
        output y[D, N] = q · S
    """,
    "neighbours": """
        axis D, N
        input u[D, N]
        param p[N]
        state h[D, N]
        h = 0.5*shift[N](h) + softmax[N](u)*p
        output y[D] = sum[N](cumsum[N](h)*u)
    """,
}  # fmt: skip
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-4}
FIXED = {torch.float64: [(7, 3), (17, 33)], torch.float32: [(16, 16), (33, 17)]}
ANY = [(1, 1), (1, 16), (7, 3), (16, 16), (17, 33), (33, 17), (40, 1)]


def _call(spec: Compiled, sizes: dict[str, int], dtype: torch.dtype, batch: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(5)
    given = {}
    for p in (*spec.graph.inputs, *spec.graph.params):
        lead = (batch,) if p in spec.graph.inputs else ()
        kind = dtype.to_complex() if p.kind == "complex" else dtype
        given[p.name] = 0.5 * torch.randn(*lead, *(sizes[a.rstrip("'")] for a in p.axes), generator=g, dtype=kind)
    return given


def _transposed(x: torch.Tensor) -> torch.Tensor:
    """The same numbers, the first axis innermost in memory."""
    order = list(range(x.ndim))[::-1]
    return x.permute(order).contiguous().permute(order)


def _near(found: Any, wanted: Any, tolerance: float) -> None:
    for x, y in zip(found, wanted, strict=True):
        torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)


dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))


@pytest.mark.parametrize("name", SPECS)
@dtypes
def test_sizes_of_their_own(name: str, dtype: torch.dtype) -> None:
    _steps(name, dtype, FIXED[dtype])


@pytest.mark.parametrize("name", SPECS)
def test_any_sizes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssmc.backends.cpp.module.MOST_SIZES", 0)
    _steps(name, torch.float32, ANY)


def _steps(name: str, dtype: torch.dtype, every_size: list[tuple[int, int]]) -> None:
    spec = ssmc.compile("ssm tried\n" + SPECS[name])
    for D, N in every_size:
        sizes = {"D": D, "N": N, "K": 5}
        given = _call(spec, sizes, dtype, 2)
        ours: Any = None
        theirs: Any = None
        for turn in range(3):
            y, ours = spec.step(ours, **given, backend="cpp")
            x, theirs = spec.step(theirs, **given, backend="torch")
            every = [(y,), (x,)] if isinstance(y, torch.Tensor) else [y, x]
            _near(every[0], every[1], TOLERANCE[dtype])
            _near([ours[k] for k in theirs if k != "t"], [theirs[k] for k in theirs if k != "t"], TOLERANCE[dtype])
            if turn == 1:  # another order in memory, and nothing at a round address
                given = {k: _transposed(x) for k, x in given.items()}
                ours = {k: _transposed(x) if k != "t" else x for k, x in ours.items()}


def test_what_threads_share() -> None:
    """Wide enough for several threads, and no whole number of blocks."""
    spec = ssmc.compile("ssm tried\n" + SPECS["a state whose rows are summed"])
    given = _call(spec, {"D": 2051, "N": 17}, torch.float32, 1)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y, state = spec.step(None, **given, backend="cpp")
            y, state = spec.step(state, **given, backend="cpp")
            results.append((y, state["h"]))
    finally:
        torch.set_num_threads(before)
    _, state = spec.step(None, **given, backend="torch")
    y, state = spec.step(state, **given, backend="torch")
    _near(results[0], (y, state["h"]), 1e-4)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


def test_lanes_lie_along_memory() -> None:
    """The state, read and written once, decides the lanes of its nest; the vectors beside it have their own."""
    spec = ssmc.compile("ssm tried\n" + SPECS["a state whose rows are summed"])
    printed = print_program(lower(spec.plan(form="recurrent")), real="float", lanes=16, sizes={"D": 64, "N": 16})
    step = printed.text[printed.text.index("namespace step") :]
    assert "lanes over what is contiguous" in step
    assert "state_h_N, 16 - r * LANES" in step, "the state's lanes are those of N"
    assert "dt_D, 64 - r * LANES" in step, "those of an input over D alone are D"
