"""Products with matrices in generated C++: several rows of the batch, or steps, at once, at sizes that are not round.

Outputs, last states and gradients are those of the PyTorch backend.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from ssmc.backends.cpp import printer, toolchain
from ssmc.backends.cpp.module import CppModule

import ssmc

pytestmark = pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")

SPECS = {
    "dense": """
        axis D, K
        input x[K]
        param W[D, K], U[D, D], b[D]
        state h[D]
        h = tanh(W @ x + 0.5*U @ h + b)
        output y[D] = h
    """,
    "a product of a product": """
        axis D, K
        input x[D], g[D]
        param W[K, D], U[D, K]
        state h[D]
        h = 0.5*h + tanh(U @ (W @ (sigmoid(g)*h) + W @ x))
        output y[K] = W @ h
    """,
    "a matrix for each head": """
        axis H, D
        input x[H, D]
        param R[H, D, D], c[H]
        state h[H, D], n[H, D]
        n = sigmoid(R @ h)*n + 1
        h = c*tanh(x + R @ h) + 0.1*n
        output y[H, D] = h
    """,
    "a matrix that heads share": """
        axis H, D, K
        input x[H, D]
        param R[D, D], Q[K, D]
        state h[H, D]
        h = tanh(x + 0.3*R @ h)
        output y[H, K] = Q @ h
    """,
    "summed over two axes": """
        axis D, H, P
        input x[H, P]
        param W[D, H, P], V[H, P, D]
        state h[D]
        h = 0.5*tanh(h) + sum[H, P](W*(x + sum[D](V*h)))
        output y[D] = h
    """,
    "params of params": """
        axis D
        input x[D]
        param A[D, D]
        state h[D]
        h = 0.2*exp(-A*A) @ tanh(h) + x
        output y[D] = A @ h
    """,
    "two directions": """
        axis D
        input x[D]
        param A[D, D], B[D, D]
        state h[D]
        state g[D] reverse
        h = tanh(0.5*A @ h + x)
        g = tanh(0.5*B @ g + A @ h)
        output y[D] = g*h
    """,
    "no recurrence": """
        axis D, K
        input x[D], u[K]
        param A[D, K], b[K]
        output y[D] = tanh(A @ silu(u)) + x
        output z[K] = x @ A + b
    """,
}
SIZES = [{"D": 1, "K": 3, "H": 2, "P": 1}, {"D": 7, "K": 16, "H": 3, "P": 5}, {"D": 17, "K": 2, "H": 1, "P": 33},
         {"D": 48, "K": 33, "H": 4, "P": 16}]  # fmt: skip
ROWS = [(1, 11), (3, 1), (9, 4), (17, 9)]  # of the batch, and steps
NEAR = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 3e-2}


def _arguments(
    spec: Any, sizes: dict[str, int], batch: int, length: int, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    found: dict[str, torch.Tensor] = {}
    for port in (*spec.graph.inputs, *spec.graph.params):
        lead = (batch, length) if port in spec.graph.inputs else ()
        shape = (*lead, *(sizes[a.rstrip("'")] for a in port.axes))
        scale = 0.5 if lead else 0.5 * shape[-1] ** -0.5
        found[port.name] = (scale * torch.randn(shape, generator=g, dtype=torch.float64)).to(dtype).requires_grad_()
    return found


def _result(spec: Any, given: dict[str, torch.Tensor], backend: str) -> list[torch.Tensor]:
    """Outputs, last states, and the gradients of all of them."""
    outputs, state = spec(**given, backend=backend, form="recurrent:4", return_state=True)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    outputs += [x for name, x in state.items() if name != "t"]
    weights = torch.Generator().manual_seed(4)
    loss = sum((x.float() * torch.randn(x.shape, generator=weights)).sum() for x in outputs)
    return [*outputs, *torch.autograd.grad(loss, list(given.values()))]  # type: ignore[arg-type]


def _far(found: torch.Tensor, wanted: torch.Tensor) -> float:
    assert found.shape == wanted.shape
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).abs().max()) / max(1.0, float(wanted.abs().max()))


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The text of each program; nothing is left to PyTorch."""
    texts: list[str] = []
    before = printer.print_program

    def kept(program: Any, **options: Any) -> Any:
        made = before(program, **options)
        texts.append(made.text)
        return made

    def refused(self: CppModule, other: Any) -> None:
        raise AssertionError("no C++ for this")

    monkeypatch.setattr(printer, "print_program", kept)
    monkeypatch.setattr(CppModule, "_leave_to", refused)
    return texts


def _id(value: Any) -> str:
    if isinstance(value, dict):
        return "-".join(map(str, value.values()))
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value).removeprefix("torch.")


CASES = [(name, SIZES[i % 4], ROWS[(i + j) % 4], torch.float64) for j, name in enumerate(SPECS) for i in range(4)]
CASES += [(name, SIZES[3], ROWS[3], torch.float32) for name in SPECS]
CASES += [(name, SIZES[2], ROWS[2], torch.bfloat16) for name in ("dense", "no recurrence")]


@pytest.mark.parametrize(("name", "sizes", "rows", "dtype"), CASES, ids=_id)
def test_as_the_torch_backend(
    name: str, sizes: dict[str, int], rows: tuple[int, int], dtype: torch.dtype, printed: list[str]
) -> None:
    spec = ssmc.compile("ssm tried\n" + SPECS[name])
    given = _arguments(spec, sizes, *rows, dtype)
    found = _result(spec, given, "cpp")
    exact = torch.float64 if dtype == torch.bfloat16 else dtype
    wide = {k: x.detach().to(exact).requires_grad_() for k, x in given.items()}
    wanted = _result(spec, wide, "torch")
    for i, (x, y) in enumerate(zip(found, wanted, strict=True)):
        assert _far(x, y) < NEAR[dtype], i
    if min(sizes["D"], sizes["K"]) > 1:
        assert "products(" in printed[0].split("namespace sequence")[1]
    if name in ("dense", "two directions", "params of params") and sizes["D"] > 1:
        assert re.search(r"products\(\d+, stop - start, ", printed[-1])  # gradients of matrices, a chunk at once


@pytest.mark.parametrize("name", ["dense", "a matrix for each head", "two directions"])
def test_neither_threads_nor_rows_change_a_bit(name: str) -> None:
    spec = ssmc.compile("ssm tried\n" + SPECS[name])
    given = _arguments(spec, {"D": 19, "K": 5, "H": 3}, 11, 6, torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(_result(spec, given, "cpp"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))
    one = {k: x[4:5] if x.shape[:2] == (11, 6) else x for k, x in given.items()}
    alone, whole = spec(**one, backend="cpp", form="recurrent:4"), spec(**given, backend="cpp", form="recurrent:4")
    assert torch.equal(alone[0], whole[4])


def test_packed_sequences_of_any_length() -> None:
    spec = ssmc.compile("ssm tried\n" + SPECS["dense"])
    lengths = [3, 1, 0, 7, 5, 4, 1, 2, 9]
    given = _arguments(spec, {"D": 17, "K": 3}, 1, sum(lengths), torch.float64)
    given["x"] = given["x"].detach()[0].requires_grad_()
    results = []
    for backend in ("cpp", "torch"):
        y = spec(**given, backend=backend, form="recurrent:4", lengths=lengths)
        results.append([y, *torch.autograd.grad((y * y).sum(), list(given.values()))])
    for x, y in zip(*results, strict=True):
        assert _far(x, y) < 1e-10
