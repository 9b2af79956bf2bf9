"""What the C++ printer makes of small specs, each of a structure easy to get wrong, at sizes that are not round.

Outputs, the state after and every gradient are those of the oracle in double precision. The calls ask for chunks of a
few steps, so that the backward goes on from saved states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ssmc.backends.cpp import toolchain
from ssmc.backends.cpp.module import CppModule

import ssmc
from ssmc.expr.arrays import TorchArrays
from ssmc.step.interp import run

pytestmark = pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")

BATCH, LENGTH = 2, 11
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-4}
GRADIENTS = {torch.float64: 1e-8, torch.float32: 5e-3}

SPECS = {
    # two states that share one axis only: a sum over an axis of the one is made in many cells of the other
    "states of different axes": """
        axis D, K, N
        input x[D], u[K]
        param p[N], a[K, N]
        state h[N, D], g[K, N]
        h = 0.5*sin(h) + p*x
        g = a*g + 0.3*u*p
        output y[K] = sum[N](p*g)
        output z[D] = sum[N](h)
    """,
    # a param's delay line is saved, and lies along an axis of its own in the backward
    "a delay line of a param": """
        axis D
        axis W = 3
        input x[D]
        param p, w[W]
        state h[D]
        h = sigmoid(next(x, 2, 0.5))*h + (1 - sigmoid(x))*conv(p, w)
        output y[D] = h*h
    """,
    # what a loop begins with is turned round before its first step, in either direction
    "a filter with feedback": """
        axis D
        axis W = 3
        input x[D], z
        param a[W], b[W], p
        state h[D]
        h = exp(-softplus(x))*h + 0.3*shift[D](h) + transfer(b, 0.2*tanh(a), p)
        output y = sum[D](h) + z*transfer(b, 0.2*tanh(a), p)
    """,
    # the next value of a state is a running sum, written where the state is
    "a running sum in a state": """
        axis D, N
        input x[D], z[D, N]
        param p[N]
        state h[D, N]
        h = 0.4*cumsum[N](h)/size[N] + x*p
        output y[D] = sum[N](h*z)
    """,
    "a system solved in a state": """
        axis D, N
        input x[N]
        param A[N, N], p
        state h[D, N]
        h' = A @ h - h + x using backward_euler(step = softplus(p))
        output y[D, N] = h
    """,
    # one state takes the value that another had
    "a value that waits two steps": """
        axis D
        input x[D]
        param p[D]
        state a[D], h[D]
        a = min(max(a + p + 0.01, -1), 1)
        h = 0.4*prev(h, 2) + a*x
        output y[D] = h
    """,
    # the state of the step before is read by a sweep in the other direction
    "both directions": """
        axis D, N
        input x[D], z[D]
        param p[N]
        state h[D, N]
        state g[D] reverse
        h = 0.9*h*sigmoid(z) + x*p
        g = tanh(0.5*g + sum[N](h*prev(h)))
        output y[D] = g*z + sum[N](h)
    """,
    "complex beside real": """
        axis D, N
        input x[D], o[N]
        param p[N], c[D, N] complex
        state h[D, N] complex
        h = exp(-softplus(p))*exp(1j*o)*h + x
        output y[D] = 2*real(sum[N](c*h))
    """,
    # in the backward one nest sums the lanes of one product, and another of which each cell has one term
    "sums of lanes beside sums of cells": """
        axis D, N, K
        input x[N], o[N], u[D], w[N, K], z[D, K]
        state h[D, N] = 0.5
        h = h + sum[K](w*z) + x*u
        output y[D] = sum[N](o*h)
    """,
    # sums, and choices between two, are factors and terms of products and of conditions over an axis
    "products of sums": """
        axis D, N
        input x[D], o[N]
        param p[N], q[D, N]
        state h[D, N]
        h = 0.5*h + x*p
        output y[D] = prod[N](tanh(q*h) + 0.5) + where(all[N](h < 0.1 or q < o), 1, 2)
        output z[N] = where(any[D](h > 0.2 and q > 0), p, o)
    """,
    # a real beside a complex number, products that are added, and sums of which one part is read, or both
    "parts of complex sums": """
        axis D, N
        input x[D], c[N] complex
        param p[N] complex, a[D, N]
        state h[D, N] complex, s[N] complex
        h = 0.8*exp(1j*a)*h + x*p - x/(2 + p*c)
        s = 0.5*s*c + sum[D](h*p)
        output y[D] = real(c · h) - imag(sum[N](h)) + real(sum[N](s))
        output z[D] complex = (c · h)*x - x*(p · h) + (2*x - 1j)
    """,
    "the largest of a past": """
        axis D
        axis T = 3
        input x[D]
        param p
        state h[D] = p
        h = 0.3*max[T](past[T](prev(h) + x)) + x
        output y = sum[D](0.5*h)
    """,
    # what a chunk computes again, from states handed in, is read some steps before, in either direction
    "delay lines of what is computed again": """
        axis D, N
        axis W = 3
        input x[D], z[N]
        param p[N], w[W]
        state g[N]
        state r[N] reverse
        state h[D, N]
        g = 0.9*g + tanh(z)
        r = 0.8*r + sin(z)
        k = p*cos(g)
        h = sigmoid(x)*h + x*prev(k, 2) + 0.3*conv(k*k, w)*x
        output y[D] = sum[N](h*k*next(sin(r)))
    """,
    # one element along an axis whose elements are computed alone
    "one of many": """
        axis D, N
        input x[D, N], z[N]
        param p[N], q[D]
        state h[D, N]
        h = sigmoid(z)*h + x*q
        first = h[D = 0]
        output y[N] = first
        output w[N] = p*first
    """,
    "numbers, conditions and steps": """
        axis D
        input x[D], i[D] int, go bool
        param p[D]
        state h[D], n int = 2
        n = where(go, n + 1, min(n, 5))
        h = where(mod(t - 1, 3) == 0, x, 0.5*h + p*min(t, 4)) + i*n
        output y[D] = h
        output m int = n
    """,
}

SIZES = [{"D": 1, "K": 3, "N": 1}, {"D": 7, "K": 16, "N": 3}, {"D": 17, "K": 1, "N": 7}, {"D": 3, "K": 2, "N": 33}]


def _sample(spec: Any, sizes: dict[str, int], dtype: torch.dtype, length: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(7)
    values = {}
    inputs = {p.name for p in spec.graph.inputs}
    for port in (*spec.graph.inputs, *spec.graph.params):
        shape = (*((BATCH, length) if port.name in inputs else ()), *(sizes[a.rstrip("'")] for a in port.axes))
        if port.kind == "bool":
            values[port.name] = torch.as_tensor(rng.random(shape) > 0.5)
        elif port.kind == "int":
            values[port.name] = torch.as_tensor(rng.integers(-2, 4, shape))
        else:
            x = torch.as_tensor(rng.normal(size=shape) * 0.5)
            x = torch.complex(x, torch.as_tensor(rng.normal(size=shape) * 0.5)) if port.kind == "complex" else x
            values[port.name] = x.to(dtype.to_complex() if x.is_complex() else dtype)
    return values


def _far(found: torch.Tensor, wanted: torch.Tensor) -> float:
    assert found.shape == wanted.shape
    if not wanted.numel():
        return 0.0
    found, wanted = found.detach(), wanted.detach()
    gap = (found.to(torch.complex128) - wanted.to(torch.complex128)).abs().max()
    return float(gap / max(1.0, float(wanted.to(torch.complex128).abs().max())))


def _number(values: dict[str, torch.Tensor]) -> torch.Tensor:
    rng = np.random.default_rng(8)
    total: Any = 0.0
    for x in values.values():
        if x.is_floating_point() or x.is_complex():
            weights = torch.as_tensor(rng.normal(size=x.shape))
            total = total + ((x.real + 0.3 * x.imag if x.is_complex() else x).double() * weights).sum()
    return total  # type: ignore[no-any-return]


def _both(name: str, sizes: dict[str, int], dtype: torch.dtype, length: int = LENGTH, **options: Any) -> Any:
    """Outputs, state and gradients: of the backend, and of the oracle."""
    spec = ssmc.compile("ssm tried\n" + SPECS[name])
    every = {a.name: sizes.get(a.name, 3) for a in spec.graph.axes if a.span is not None}
    given = {a: size for a, size in every.items() if a in sizes}
    values = _sample(spec, every, dtype, length)
    names = [o.name for o in spec.graph.outputs]
    inputs = {p.name for p in spec.graph.inputs}

    def leaves(wide: bool) -> dict[str, torch.Tensor]:
        kinds = {torch.float32: torch.float64, torch.complex64: torch.complex128} if wide else {}
        return {
            k: x.to(kinds.get(x.dtype, x.dtype))
            .detach()
            .clone()
            .requires_grad_(x.is_floating_point() or x.is_complex())
            for k, x in values.items()
        }

    ours = leaves(False)
    result, state = spec(**ours, backend="cpp", form="recurrent:4", sizes=given, return_state=True, **options)
    found = dict(zip(names, [result] if len(names) == 1 else result, strict=True))
    exact = leaves(True)
    wanted, last = run(
        spec.graph, {k: x for k, x in exact.items() if k in inputs},
        {k: x for k, x in exact.items() if k not in inputs},
        None, length, TorchArrays(), sizes=given,
    )  # fmt: skip
    return (found, state, ours), (wanted, last, exact)


CASES = [(name, sizes, torch.float64) for name in SPECS for sizes in SIZES]
CASES += [(name, SIZES[1], torch.float32) for name in SPECS]


@pytest.fixture(autouse=True)
def _nothing_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: CppModule, other: Any) -> None:
        raise AssertionError("no C++ for this")

    monkeypatch.setattr(CppModule, "_leave_to", refused)


def _id(value: Any) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value).removeprefix("torch.")


@pytest.mark.parametrize(("name", "sizes", "dtype"), CASES, ids=_id)
def test_as_the_oracle(name: str, sizes: dict[str, int], dtype: torch.dtype) -> None:
    (found, state, ours), (wanted, last, exact) = _both(name, sizes, dtype)
    for k, x in wanted.items():
        assert _far(found[k], x) < TOLERANCE[dtype], k
    for k, x in last.items():
        assert k == "t" or _far(state[k], x) < TOLERANCE[dtype], k
    _number(found).backward()
    _number(wanted).backward()
    for k, x in exact.items():
        if x.grad is not None:
            grad = ours[k].grad
            assert grad is not None, k
            assert _far(grad, x.grad) < GRADIENTS[dtype], f"gradient of {k}"


def test_a_backward_alone() -> None:
    """Under torch.func nothing is saved: the backward runs the forward again, the delay line's chunks with it."""
    spec = ssmc.compile(
        "ssm alone\naxis D, W\ninput x[D], g[D]\nparam w[D, W]\nstate h[D]\n"
        "h = sigmoid(g)*h + conv(x, w)\noutput y = h\n"
    )
    x, g, w = (torch.randn(s, dtype=torch.float64) for s in ((2, 300, 17), (2, 300, 17), (17, 3)))

    def slopes(backend: str) -> Any:
        def total(*given: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = spec(*given, backend=backend)
            return y.square().sum()

        return torch.func.grad(total, argnums=(0, 1, 2))(x, g, w)

    torch.testing.assert_close(slopes("cpp"), slopes("torch"))


@pytest.mark.parametrize("sizes", [{"D": 0, "K": 2, "N": 3}, {"D": 3, "K": 0, "N": 1}], ids=_id)
def test_axes_of_no_length(sizes: dict[str, int]) -> None:
    (found, _, ours), (wanted, _, exact) = _both("states of different axes", sizes, torch.float64)
    for k, x in wanted.items():
        assert _far(found[k], x) < 1e-12, k
    _number(found).backward()
    _number(wanted).backward()
    for k, x in exact.items():
        assert _far(ours[k].grad if ours[k].grad is not None else torch.zeros_like(x), x.grad) < 1e-12, k


@pytest.mark.parametrize("name", ["states of different axes", "both directions", "complex beside real"])
def test_the_number_of_threads_changes_no_bit(name: str) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            (found, _, ours), _ = _both(name, {"D": 37, "K": 5, "N": 9}, torch.float32)
            _number(found).backward()
            results.append([*found.values(), *(x.grad for x in ours.values())])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


# Words of C++, of the support code, and of what the printer makes itself.
NAMES = (
    "b", "c", "r", "q", "s", "e", "start", "stop", "load", "store", "put", "real", "long", "i_D", "LANES",
    "vreal", "chunk", "last", "steps", "rows", "memory", "bytes", "cell", "cells", "n_b", "rest", "thread",
    "groups", "job", "scratch", "Scratch", "size", "room", "free", "x_D", "h_now", "new_h", "once_x", "prepare",
    "run", "matrix", "running", "m_exp", "hsum", "splat", "register", "int8_t", "restrict", "w", "i_N", "first",
    "cx", "d_x1", "T", "K", "V", "INLINE", "c1", "pass_1", "call", "part", "z9", "matrix_", "groups_size",
    "a_D", "t0", "done",
)  # fmt: skip


@pytest.mark.parametrize("block", range(0, len(NAMES), 8))
def test_any_name(block: int) -> None:
    names = list(NAMES[block : block + 8])
    ports = names[: len(names) // 2]
    states = names[len(ports) :]
    text = ["ssm names", "axis D, N", f"input {', '.join(f'{x}[D]' for x in ports[:2])}"]
    text += [f"param {', '.join(f'{x}[D, N]' for x in ports[2:])}"] if ports[2:] else []
    text += [f"state {', '.join(f'{x}[D, N]' for x in states)}"]
    product = "*".join(ports)
    text += [f"{x} = 0.5*{x} + exp(-{product})" for x in states]
    text += [f"output out_{i}[D] = sum[N]({x}*{ports[0]})" for i, x in enumerate(states)]
    spec = ssmc.compile("\n".join(text))
    given = {x: 0.3 * torch.randn((2, 5, 3) if i < 2 else (3, 9), dtype=torch.float64) for i, x in enumerate(ports)}
    for x in given.values():
        x.requires_grad_()
    found = spec(**given, backend="cpp", sizes={"N": 9})
    wanted = spec(**given, backend="torch", sizes={"N": 9})
    both = [y if isinstance(y, tuple) else (y,) for y in (found, wanted)]
    torch.testing.assert_close(both[0], both[1])
    grads = [torch.autograd.grad(sum(x.square().sum() for x in y), list(given.values())) for y in both]  # type: ignore[arg-type]
    torch.testing.assert_close(grads[0], grads[1])


def test_an_axis_that_nothing_has() -> None:
    """It needs no size, in a first call and in later ones."""
    spec = ssmc.compile("ssm s\naxis D, Q\ninput x[D]\nstate h[D]\nh = 0.5*h + x\noutput y[D] = h*h")
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    wanted = spec(x=x, backend="torch")
    for _ in range(3):
        torch.testing.assert_close(spec(x=x, backend="cpp"), wanted)
        torch.testing.assert_close(spec.step(None, x=x[:, 0], backend="cpp")[0], wanted[:, 0])
