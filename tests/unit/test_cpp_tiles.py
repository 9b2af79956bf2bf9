"""Sweeps over tiles of large states: with caches taken to be tiny, so that small states have many tiles.

Outputs, the state after and every gradient are those of the oracle in double precision.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from ssmc.backends.cpp import printer, tiles, toolchain

import ssmc
from ssmc.expr.arrays import TorchArrays
from ssmc.kernel.lower import lower
from ssmc.step.interp import run

pytestmark = pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")

SPECS = {
    "decays of rows": """
        axis H, K, V
        input q[H, K], k[H, K], v[H, V], g[H, K]
        state S[H, K, V]
        S = exp(-softplus(g))*S + k*v
        output y[H, V] = sum[K](q*S)
    """,
    # what is read out decides what the backward begins with: sums over tiles before and after
    "normalised": """
        axis H, K, V
        input q[H, K], k[H, K], v[H, V]
        param w[V], g[H, K]
        state S[H, K, V]
        S = sigmoid(g)*S + k*v
        r = sum[K](q*S)
        output y[H, V] = w*r/sqrt(1 + mean[V](r*r))
    """,
    # a sum over the keys stands in the update: tiles along the values only
    "corrected": """
        axis K, V
        input q[K], k[K], v[V], b
        state S[K, V]
        D = 0.9*S
        S = D + sigmoid(b)*k*(v - sum[K](k*D))
        output y[V] = sum[K](q*S)
        output z[K] = sum[V](v*S)
    """,
    "two states and the largest": """
        axis K, V
        input k[K], v[V], a[K]
        param c[V]
        state S[K, V], Z[K, V], n[K]
        S = sigmoid(a)*S + k*v
        Z = 0.5*Z + tanh(S)*c
        n = sigmoid(a)*n + k
        output y[V] = sum[K](n*S) + sum[K](Z)
        output m = max[V](sum[K](Z*a))
    """,
    # what a chunk computes again of narrow and of wide states is read some steps before
    "lines of what is computed again": """
        axis H, K, V
        input z[K], v[V], x, q[K]
        param p[H, K]
        state g[H, K]
        state S[H, K, V]
        g = 0.9*g + tanh(z)*p
        k = sin(g)
        S = sigmoid(x)*S + v*prev(k, 2) + 0.3*k*v
        output y[V] = sum[H, K](q*prev(k)*S)
    """,
    # each element of the state has params of its own, which a cell holds for its tiles
    "coefficients for each element": """
        axis K, V
        input v[V]
        param a[K, V] complex, c[K, V] complex, p[V]
        state h[K, V] complex
        h = 0.9*a/(1 + abs(a))*h + c*v
        output y[V] = 2*real(sum[K](c*h)) + p*v
    """,
    "rates for each element": """
        axis H, K, V
        input q[K], k[K], v[V]
        param A[H, K, V], C[V]
        state h[H, K, V]
        h = exp(-softplus(v)*exp(A))*h + k*v
        output y[H, V] = sum[K](q*h)*C
        output z[K] = sum[H, V](A*h)
    """,
    "backwards in time, complex": """
        axis K, V
        input k[K], v[V], q[K] complex
        param o[K]
        state S[K, V] complex
        S = 0.8*exp(1j*o)*next(S) + k*v
        output y[V] = real(sum[K](q*S))
    """,
}

SIZES = [
    {"H": 2, "K": 16, "V": 32},
    {"H": 3, "K": 7, "V": 17},
    {"H": 1, "K": 33, "V": 40},
    {"H": 2, "K": 2, "V": 3},
]
CASES = [(name, sizes, torch.float64, 11) for name in SPECS for sizes in SIZES]
CASES += [(name, SIZES[2], torch.float32, length) for name in SPECS for length in (1, 16)]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-4}
BATCH = 2


@pytest.fixture(autouse=True)
def split(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Tiny caches; whether the passes that were printed have been put into levels."""
    for name, size in {"REGISTERS": 0, "NEAR": 512, "KEPT": 8192, "CROSSING": 0, "CHUNK": 5}.items():
        monkeypatch.setattr(tiles, name, size)
    monkeypatch.setattr("ssmc.backends.cpp.cell.CHUNK", 5)
    found: list[bool] = []
    before = tiles.split

    def noted(*arguments: Any) -> bool:
        found.append(before(*arguments))
        return found[-1]

    monkeypatch.setattr(printer, "split", noted)
    return found


def _values(spec: Any, sizes: dict[str, int], dtype: torch.dtype, length: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(3)
    values = {}
    for ports, lead in ((spec.graph.inputs, (BATCH, length)), (spec.graph.params, ())):
        for port in ports:
            shape = (*lead, *(sizes[a] for a in port.axes))
            x = torch.as_tensor(rng.normal(size=shape) * 0.5)
            if port.kind == "complex":
                x = torch.complex(x, torch.as_tensor(rng.normal(size=shape) * 0.5))
            values[port.name] = x.to(dtype.to_complex() if x.is_complex() else dtype)
    return values


def _leaves(values: dict[str, torch.Tensor], wide: bool) -> dict[str, torch.Tensor]:
    kinds = {torch.float32: torch.float64, torch.complex64: torch.complex128} if wide else {}
    return {k: x.to(kinds.get(x.dtype, x.dtype)).clone().requires_grad_() for k, x in values.items()}


def _number(values: dict[str, torch.Tensor]) -> torch.Tensor:
    rng = np.random.default_rng(8)
    total: Any = 0.0
    for x in values.values():
        total = total + (x.double() * torch.as_tensor(rng.normal(size=x.shape))).sum()
    return total  # type: ignore[no-any-return]


def _gap(found: torch.Tensor, wanted: torch.Tensor) -> float:
    scale = max(1.0, float(wanted.detach().abs().max()))
    return float((found.detach().to(wanted.dtype) - wanted.detach()).abs().max()) / scale


def _id(value: Any) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value).removeprefix("torch.")


@pytest.mark.parametrize(("name", "sizes", "dtype", "length"), CASES, ids=_id)
def test_as_the_oracle(name: str, sizes: dict[str, int], dtype: torch.dtype, length: int, split: list[bool]) -> None:
    spec = ssmc.compile("ssm tried\n" + SPECS[name])
    sizes = {a.name: sizes[a.name] for a in spec.graph.axes if a.name in sizes}
    values = _values(spec, sizes, dtype, length)
    ours, exact = _leaves(values, False), _leaves(values, True)
    names = [o.name for o in spec.graph.outputs]
    inputs = {p.name for p in spec.graph.inputs}
    result, state = spec(**ours, backend="cpp", form="recurrent:5", return_state=True)
    found = dict(zip(names, [result] if len(names) == 1 else result, strict=True))
    parts = [{k: x for k, x in exact.items() if (k in inputs) == among} for among in (True, False)]
    wanted, last = run(spec.graph, *parts, None, length, TorchArrays(), sizes=sizes)
    for k, x in wanted.items():
        assert _gap(found[k], x) < TOLERANCE[dtype], k
    for k, x in last.items():
        assert k == "t" or _gap(state[k], x) < TOLERANCE[dtype], k
    _number(found).backward()
    _number(wanted).backward()
    for k, x in exact.items():
        grad = ours[k].grad
        assert grad is not None, k
        assert _gap(grad, x.grad) < 50 * TOLERANCE[dtype], f"gradient of {k}"
    assert any(split), "no pass has tiles"


@pytest.mark.parametrize("name", ["lines of what is computed again", "decays of rows"])
def test_in_segments(name: str) -> None:
    """Summaries of wide states: what a level computes again is computed again in the next."""
    spec = ssmc.compile("ssm tried\n" + SPECS[name])
    sizes = {a.name: SIZES[0][a.name] for a in spec.graph.axes if a.name in SIZES[0]}
    values = _values(spec, sizes, torch.float64, 13)
    found, state = spec(**values, backend="cpp", form="scan:5", return_state=True)
    wanted, last = spec(**values, backend="cpp", form="recurrent:5", return_state=True)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(state, last)


def test_the_number_of_threads_changes_no_bit() -> None:
    spec = ssmc.compile("ssm tried\n" + SPECS["normalised"])
    values = _values(spec, {"H": 3, "K": 9, "V": 20}, torch.float32, 13)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            ours = _leaves(values, False)
            y = spec(**ours, backend="cpp", form="recurrent:5")
            _number({"y": y}).backward()
            results.append([y, *(x.grad for x in ours.values())])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


def test_small_tiles_have_arrays_of_their_own() -> None:
    """With coefficients for each element a tile is a few vectors, in an array that can be registers."""
    spec = ssmc.compile("ssm tried\n" + SPECS["coefficients for each element"])
    printed = printer.print_program(
        lower(spec.plan(form="recurrent")), real="float", lanes=16, sizes={"K": 32, "V": 64}
    )
    assert "cx<vreal> h_tile[8];" in printed.text
    assert "c_held" in printed.text


def test_a_tile_fetches_the_rows_of_the_next_chunk() -> None:
    """In one sweep of a chunk: what is read a chunk later, and what this one is to write."""
    spec = ssmc.compile("ssm tried\n" + SPECS["coefficients for each element"])
    program = lower(spec.plan(form="recurrent"))
    text = printer.print_program(program, real="float", lanes=16, sizes={"K": 32, "V": 64}).text
    steps = text[text.index("cx<vreal> h_tile[8];") :]
    reads = re.search(r"prefetch\(&v_here\[\(t - start \+ \d+\) \* v_here_time \+ tile_V \* LANES\]\);", steps)
    writes = re.search(r"if \(!y_past\) prefetch\(&y_here\[", steps)
    assert reads is not None
    assert writes is not None
    assert reads.start() < writes.start() < steps.index("y_2_sum_sum")
    # once in the sweep over the tiles: what comes before it has a fetch of its own, a few steps ahead
    assert len(re.findall(r"prefetch\(&v_here[^;]*tile_V", text)) == 1
