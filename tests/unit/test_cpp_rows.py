"""Tensors of any layout through generated C++: rows of a chunk that lie as the lanes need them, and rows to be copied.

Whatever the strides, results are those of the PyTorch backend; whatever is larger than the caches is stored past them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ssmc.backends.cpp import build, toolchain
from torch import Tensor

import ssmc

pytestmark = pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")

SPECS = {
    # nothing but the memory sets the pace
    "elementwise": """
        axis D
        input a[D], b[D]
        param p[D]
        state h[D]
        h = sigmoid(a)*h + p*b
        output y[D] = h + a
    """,
    "both directions": """
        axis D
        input a[D], b[D]
        state h[D]
        state g[D] reverse
        h = tanh(a)*h + b
        g = 0.5*g + h*a
        output y[D] = g
        output z[D] = h
    """,
    # rows have an axis beside the lanes, and one is summed over
    "matrices": """
        axis D, N = 3
        input x[D], m[N, D], u[D, N]
        param p[N, D]
        state h[D, N]
        h = sigmoid(m)*h + x*u*p
        output y[D] = sum[N](h)
        output w[N, D] = h*m
    """,
    "delays": """
        axis D
        input x[D], z[D]
        param p[D]
        state h[D]
        h = 0.7*h + p*x*prev(z)
        output y[D] = h + prev(x, 2)
    """,
    "complex": """
        axis D
        input x[D] complex, z[D]
        param p[D]
        state h[D] complex
        h = exp(-softplus(p) + 1j*z)*h + x
        output y[D] = real(h*conj(x))
        output c[D] complex = h
    """,
    "whole numbers and conditions": """
        axis D
        input x[D], go[D] bool, i[D] int
        state h[D]
        h = where(go, x, 0.5*h) + i
        output y[D] = h
    """,
}


def _permuted(*order: int) -> Callable[[Tensor], Tensor]:
    """Dimensions in memory in another order; the last ones keep theirs where there are fewer."""

    def laid(x: Tensor) -> Tensor:
        mine = [d for d in order if d < x.dim()]
        mine += [d for d in range(x.dim()) if d not in mine]
        return x.permute(mine).contiguous().permute([mine.index(d) for d in range(x.dim())])

    return laid


def _spread(x: Tensor) -> Tensor:
    """Every second element of every dimension of something larger."""
    wide = x.new_zeros([2 * s + 1 for s in x.shape])
    for d in range(x.dim()):
        wide = wide.narrow(d, 1, 2 * x.shape[d]) if x.shape[d] else wide
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    view.copy_(x)
    return view


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "time outermost": _permuted(1, 0),
    "time innermost": _permuted(0, 2, 3, 1),
    "other order": _permuted(0, 1, 3, 2),
    "batch innermost": _permuted(1, 2, 3, 0),
    "off the alignment": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape),
    "every second": _spread,
}
BATCH = 2


def _drawn(f: Any, sizes: dict[str, int], length: int, dtype: torch.dtype) -> dict[str, Tensor]:
    torch.manual_seed(3)
    found = {}
    inputs = [p.name for p in f.graph.inputs]
    for port in (*f.graph.inputs, *f.graph.params):
        lead = (BATCH, length) if port.name in inputs else ()
        shape = (*lead, *(sizes[a] for a in port.axes))
        if port.kind == "bool":
            found[port.name] = torch.rand(shape) > 0.5
        elif port.kind == "int":
            found[port.name] = torch.randint(-3, 4, shape)
        else:
            kind = dtype.to_complex() if port.kind == "complex" else dtype
            found[port.name] = torch.randn(shape, dtype=torch.float64).to(kind) * 0.5
    return found


def _results(f: Any, given: dict[str, Tensor], laid: Callable[[Tensor], Tensor], backend: str) -> dict[str, Tensor]:
    """Outputs, and gradients of every input; what comes into the backward has the layout too."""
    leaves = {name: laid(x).requires_grad_(x.is_floating_point() or x.is_complex()) for name, x in given.items()}
    made = f(**leaves, backend=backend, form="recurrent:16")
    made = made if isinstance(made, tuple) else (made,)
    torch.manual_seed(4)
    weights = [laid(torch.randn(y.shape, dtype=torch.float64).to(y.dtype)) for y in made]
    wanted = {name: x for name, x in leaves.items() if x.requires_grad}
    grads = torch.autograd.grad(made, list(wanted.values()), weights, allow_unused=True)
    found = {f"output {i}": y.detach() for i, y in enumerate(made)}
    return found | {f"d {name}": g for name, g in zip(wanted, grads, strict=True) if g is not None}


def _compare(f: Any, given: dict[str, Tensor], layout: str, tolerance: float) -> None:
    mine = _results(f, given, LAYOUTS[layout], "cpp")
    theirs = _results(f, {k: x.clone() for k, x in given.items()}, LAYOUTS["contiguous"], "torch")
    assert mine.keys() == theirs.keys()
    for name, x in mine.items():
        torch.testing.assert_close(x, theirs[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spec", SPECS)
def test_any_layout(spec: str, layout: str) -> None:
    f = ssmc.compile(f"ssm rows\n{SPECS[spec]}")
    _compare(f, _drawn(f, {"D": 33, "N": 3}, 70, torch.float64), layout, 1e-9)
    _compare(f, _drawn(f, {"D": 48, "N": 3}, 33, torch.float32), layout, 2e-4)


@pytest.mark.parametrize(("size", "length"), [(1, 5), (64, 0), (0, 3), (7, 1), (600, 20)])
@pytest.mark.parametrize("layout", ["time innermost", "off the alignment"])
def test_any_size(size: int, length: int, layout: str) -> None:
    f = ssmc.compile(f"ssm rows\n{SPECS['elementwise']}")
    _compare(f, _drawn(f, {"D": size}, length, torch.float32), layout, 2e-4)


@pytest.mark.parametrize("layout", ["contiguous", "time innermost", "every second"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves(dtype: torch.dtype, layout: str) -> None:
    """What is stored as halves is turned as such: to no bit's loss, whatever the layout."""
    f = ssmc.compile(f"ssm rows\n{SPECS['elementwise']}")
    for size, length in ((33, 70), (64, 16)):
        given = _drawn(f, {"D": size}, length, dtype)
        mine = _results(f, given, LAYOUTS[layout], "cpp")
        plain = _results(f, {k: x.clone() for k, x in given.items()}, LAYOUTS["contiguous"], "cpp")
        assert all(torch.equal(mine[name], plain[name]) for name in plain)
        exact = f(**{k: x.double() for k, x in given.items()}, backend="torch")
        torch.testing.assert_close(mine["output 0"].double(), exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_past_the_caches(dtype: torch.dtype, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same to the last bit where everything is stored past the caches, which is never the case for small sizes."""
    given = None
    found = []
    for cache in (1 << 40, 0):
        monkeypatch.setattr(build, "last_cache", lambda cache=cache: cache)
        f = ssmc.compile(f"ssm rows\n{SPECS['elementwise']}")
        for size, length in ((64, 40), (33, 70)):
            given = _drawn(f, {"D": size}, length, dtype)
            out = LAYOUTS[layout](torch.full((BATCH, length, size), float("nan"), dtype=dtype))
            for _ in range(2):  # the second time straight into it
                f(**{k: LAYOUTS[layout](x) for k, x in given.items()}, backend="cpp", out=out)
            found.append({**_results(f, given, LAYOUTS[layout], "cpp"), "out": out})
    for one, other in zip(found[:2], found[2:], strict=True):
        assert all(torch.equal(x, other[name]) for name, x in one.items())
        assert torch.equal(one["out"], one["output 0"])


def test_threads_do_not_matter() -> None:
    f = ssmc.compile(f"ssm rows\n{SPECS['both directions']}")
    given = _drawn(f, {"D": 200}, 50, torch.float32)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(_results(f, given, LAYOUTS["time innermost"], "cpp"))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, other[name]) for other in found[1:] for name, x in found[0].items())
