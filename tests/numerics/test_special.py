"""Where an expression is at its limit: exponentials, logarithms and roots at the end of what they are defined for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.numerics.harness import Case, Make, arguments, check, compiled, gradients, leaves, legal_forms, loss, same

TWO, THREE = ("recurrent", "scan"), ("recurrent", "scan", "conv")
MATRIX = ("recurrent", "scan", "chunked")


def given(**values: Any) -> Make:
    """The same arguments at every batch and length."""

    def make(rng: np.random.Generator, batch: int, length: int) -> Mapping[str, Any]:
        return values

    return make


def timed(**values: Any) -> Make:
    """Values of one step, at all steps of all batches."""

    def make(rng: np.random.Generator, batch: int, length: int) -> Mapping[str, Any]:
        return {k: np.broadcast_to(v, (batch, length, *np.shape(v))) for k, v in values.items()}

    return make


def gates(rng: np.random.Generator, batch: int, length: int) -> Mapping[str, Any]:
    """Wide ones, for `i` and `f`."""
    return {name: rng.normal(size=(batch, length)) * 8 for name in "if"}


def every_third_zero(rng: np.random.Generator, batch: int, length: int) -> Mapping[str, Any]:
    """All of `x` or `k` at every third step."""
    values = rng.normal(size=(batch, length, 3)) * (np.arange(length) % 3 > 0)[None, :, None]
    return {"x": values, "k": values}


def missing(rng: np.random.Generator, batch: int, length: int) -> Mapping[str, Any]:
    """Terms that are there from the first step on, from the third, and never."""
    there = np.arange(length)[:, None] > np.array([0, 3, length])
    return {"c": np.broadcast_to(there, (batch, length, 3))}


STABILISED = """
axis K, V
input q[K], k[K], v[V], i, f
state m = {m}, C[K, V], n[K]
m = max(logsigmoid(f) + m, i)
a = exp(logsigmoid(f) + prev(m) - m)
b = exp(i - m)
C = a*C + b*k*v
n = a*n + b*k
output y = (q · C)/max(abs(q · n), exp(-m))
"""
NEAR_ONE = np.array([1e-7, 1e-4, 1e-2, 1.0])
LOGS = "axis D\ninput x[D], g[D]\nparam p[D]\nstate h[D] = 0\n"
CASES = [
    # log-gates
    Case("log-gate", LOGS + "h = exp(logsigmoid(g))*h + (1 - exp(logsigmoid(g)))*x\noutput y = h + p\n", TWO,
         timed(g=np.array([-200.0, -20.0, 0.0, 200.0])), {"D": 4}),
    Case("1 - a**2 near 1", LOGS + "h = exp(-g)*h + sqrt(-expm1(-2*g))*x\noutput y = h + p\n", TWO,
         timed(g=NEAR_ONE), {"D": 4}),
    Case("1 - a**2 of a sigmoid near 1", LOGS + "l = 8*softplus(p)*logsigmoid(g)\n"
                                                "h = exp(l)*h + sqrt(-expm1(2*l))*x\noutput y = h\n", TWO,
         timed(g=np.array([14.0, 8.0, 1.0, -3.0])), {"D": 4}),
    # discretisation
    Case("zoh, A to 0", "axis D\ninput u[D]\nparam A[D], s[D]\nstate h[D]\nh' = A*h + u using zoh(step = s)\n"
                        "output y = h\n", THREE,
         given(A=np.array([0.0, -1e-20, 1e-6, -1e-3, -0.9, -1.1, -30.0]), s=np.full(7, 0.5)), {"D": 7}),
    Case("zoh, A to 0, step an input", "axis D\ninput u[D], s[D]\nparam A[D]\nstate h[D]\n"
                                       "h' = A*h + u using zoh(step = softplus(s))\noutput y = h\n", TWO,
         given(A=np.array([0.0, -1e-20, 1e-6, -1e-3, -0.9, -1.1, -30.0])), {"D": 7}),
    Case("zoh, complex A to 0", "axis D\ninput u[D]\nparam A[D] complex\nstate h[D] complex\n"
                                "h' = A*h + u using zoh(step = 0.5)\noutput y = real(h)\n", THREE,
         given(A=np.array([0.0, 1e-7j, -1e-4 + 1e-3j, -0.5 + 3j])), {"D": 4}),
    Case("zoh, singular A", "axis N\ninput u[N]\nparam A[N, N]\nstate h[N]\nh' = A @ h + u using zoh(step = 0.5)\n"
                            "output y = h\n", TWO,
         given(A=np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])), {"N": 3}),
    Case("zoh, A of rank one", "axis N\ninput u\nparam A[N, N], B[N]\nstate h[N]\n"
                               "h' = A @ h + B*u using zoh(step = 0.3)\noutput y = sum[N](h)\n", TWO,
         given(A=-np.outer([1.0, 2.0, -1.0], [1.0, 1.0, 1.0])), {"N": 3}),
    Case("bilinear, A to 0", "axis D\ninput u[D]\nparam A[D]\nstate h[D]\n"
                             "h' = A*h + u using bilinear(step = 0.5)\noutput y = h\n", THREE,
         given(A=np.array([0.0, -1e-6, -1.0, -1000.0])), {"D": 4}),
    # conjugate pairs: the half of the poles, twice the real part
    Case("conjugate pairs", "axis D, N\neach D\ninput u[D]\nparam A[D, N] complex, C[D, N] complex\n"
                            "state h[D, N] complex\nh' = A*h + u using zoh(step = 0.1)\n"
                            "output y[D] = 2*real(C · h)\n", THREE,
         given(A=-0.5 + 1j * np.pi * np.arange(4.0) * np.ones((3, 1))), {"D": 3, "N": 4}),
    # stabilised pairs
    *(
        Case(f"stabilised, m from {m}", STABILISED.format(m=m), MATRIX, gates, {"K": 3, "V": 2})
        for m in ("-1e38", "0", "-5")
    ),
    Case("stabilised, m from -inf", "axis D\ninput k[D], v[D]\nparam w[D]\nstate m[D] = -inf, a[D], b[D]\n"
                                    "m = max(m - exp(w), k)\n"
         "e = exp(prev(m) - exp(w) - m)\ns = exp(k - m)\na = e*a + s*v\nb = e*b + s\noutput y = a/b\n", TWO,
         lambda rng, batch, length: {"k": rng.normal(size=(batch, length, 3)) * 60}, {"D": 3}),
    # log space
    Case("log-sum-exp from -inf", "axis D\ninput g[D], x[D]\nstate m[D] = -inf\n"
                                  "m = logaddexp(m + logsigmoid(g), x)\noutput y = exp(m)\n", TWO,
         given(), {"D": 3}),
    Case("log-sum-exp, terms missing", "axis D\ninput g[D], x[D], c[D] bool\nstate m[D] = -inf\n"
                                       "m = logaddexp(m + logsigmoid(g), where(c, x, -inf))\n"
                                       "output y = exp(m)\n", TWO,
         missing,
         {"D": 3}),
    Case("maxima from -inf", "axis D\ninput g[D], x[D]\nstate m[D] = -inf\nm = max(m - softplus(g), x)\n"
                             "output y = m\n", TWO, given(), {"D": 3}),
    # softmax and windows
    Case("softmax of a window", "axis T = 5, D\ninput q[D], k[D], v[D]\n"
                                "output y = sum[T](softmax[T](q · past[T](k))*past[T](v))\n", ("recurrent",),
         lambda rng, batch, length: {"q": rng.normal(size=(batch, length, 3)) * 100}, {"D": 3}),
    Case("softmax of the whole past", "axis T, D\ninput q[D], k[D], v[D]\n"
                                      "output y = sum[T](softmax[T](q · past[T](k))*past[T](v))\n", ("recurrent",),
         lambda rng, batch, length: {"q": rng.normal(size=(batch, length, 3)) * 100}, {"D": 3}),
    Case("a normaliser that begins at 0", "axis K, V\ninput q[K], k[K], v[V]\nstate S[K, V], z[K]\n"
                                          "S = S + exp(k)*v\nz = z + exp(k)\noutput y = (exp(q) · S)/(exp(q) · z)\n",
         ("recurrent", "scan", "chunked", "conv"), given(), {"K": 3, "V": 2}),
    # roots, norms and powers at 0
    Case("a norm of zeros", "axis D\ninput x[D]\nstate h[D]\nh = 0.5*h + x/(norm[D](x) + 1e-6)\n"
                            "output y = h\n", THREE,
         every_third_zero, {"D": 3}),
    Case("a norm of a complex zero", "axis D\ninput x[D] complex\nstate h[D] complex\n"
                                     "h = 0.5*h + x/(norm[D](x) + 1e-6)\noutput y = real(h)\n", THREE,
         lambda *given: {"x": every_third_zero(*given)["x"] * (1 - 2j)}, {"D": 3}),
    Case("normalised keys of zeros", "axis K, V\ninput q[K], k[K], v[V], b\nstate S[K, V]\n"
                                     "n = k*rsqrt(sum[K](k*k) + 1e-6)\n"
                                     "S = S - sigmoid(b)*n*(n · S) + sigmoid(b)*n*v\noutput y = q · S\n", TWO,
         every_third_zero, {"K": 3, "V": 2}),
    Case("powers of 0", "axis D\ninput x[D]\nstate h[D]\nh = 0.5*h + x**2 + abs(x)**3\noutput y = h\n", THREE,
         lambda rng, batch, length: {"x": rng.integers(-1, 2, (batch, length, 3)).astype(float)}, {"D": 3}),
    Case("products with zeros", "axis D, J\ninput x[D, J]\nstate h[D]\nh = 0.5*h + prod[J](x)\noutput y = h\n", THREE,
         lambda rng, batch, length: {"x": rng.integers(-1, 3, (batch, length, 3, 4)).astype(float)}, {"D": 3, "J": 4}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_at_the_limit(case: Case) -> None:
    check(case, 37)


def test_all_of_the_past_is_absent() -> None:
    """log(0) is -inf, in every form, and its gradient 0."""
    spec = "axis D\ninput g[D], x[D]\nstate m[D] = -inf\nm = logaddexp(m + logsigmoid(g), x)\noutput y = m\n"
    f = compiled(spec)
    for form in legal_forms(spec):
        x = torch.full((1, 20, 2), -torch.inf, dtype=torch.float64, requires_grad=True)
        g = torch.zeros(1, 20, 2, dtype=torch.float64, requires_grad=True)
        y = f(x=x, g=g, form=form)
        assert bool((y == -torch.inf).all()), form
        for grad in torch.autograd.grad(torch.exp(y).sum(), (x, g)):
            assert torch.equal(grad, torch.zeros_like(grad)), form


def test_a_sum_of_pairs_is_twice_the_half() -> None:
    """Half of the poles and twice the real part give what all poles in conjugate pairs give."""
    half = (
        "axis N\ninput u\nparam A[N] complex, C[N] complex\nstate h[N] complex\nh = exp(A)*h + u\n"
        "output y = 2*real(C · h)\n"
    )
    whole = half.replace("2*real", "real")
    f, g = compiled(half), compiled(whole)
    poles = torch.tensor([-0.1 + 1j, -0.2 + 3j, -0.01 + 0.1j], dtype=torch.complex128)
    weights = torch.tensor([1 + 1j, 0.3 - 2j, -1j], dtype=torch.complex128)
    u = torch.randn(2, 50, dtype=torch.float64)
    twice = torch.cat([poles, poles.conj()]), torch.cat([weights, weights.conj()])
    for form in THREE:
        a, b = f(u=u, A=poles, C=weights, form=form), g(u=u, A=twice[0], C=twice[1], form=form)
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


# -- independent of the interpreter: a loop over the steps --------------------------------------------------------


def loop_matrix(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    state = torch.zeros(q.shape[0], q.shape[2], v.shape[2], dtype=q.dtype)
    found = []
    for t in range(q.shape[1]):
        state = torch.exp(g[:, t]).unsqueeze(-1) * state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        found.append(torch.einsum("bk,bkv->bv", q[:, t], state))
    return torch.stack(found, 1)


@pytest.mark.parametrize("strength", [0.01, 1.0, 8.0, 60.0, 400.0])
def test_strong_decay_against_a_loop(strength: float) -> None:
    """exp(-cumsum) overflows here; no sum of logarithms may be negated."""
    spec = "axis K, V\ninput q[K], k[K], v[V], g[K]\nstate S[K, V]\nS = exp(g)*S + k*v\noutput y = q · S\n"

    def make(rng: np.random.Generator, batch: int, length: int) -> Mapping[str, Any]:
        return {"g": -strength * rng.uniform(0, 1, (batch, length, 4))}

    case = Case("loop", spec, MATRIX, make, {"K": 4, "V": 3})
    inputs, _, _ = arguments(case, 129)
    ours = leaves(inputs, torch.float64)
    wanted = loop_matrix(**ours)
    found = gradients(loss({"y": wanted}), [ours])
    for form in ("recurrent", "scan:64", "chunked:16", "chunked:64", "chunked:128"):
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
            values = leaves(inputs, dtype)
            y = compiled(spec)(**values, form=form)
            same({"y": y}, {"y": wanted}, tolerance, f"{form}, {dtype}")
            same(gradients(loss({"y": y}), [values]), found, tolerance, f"gradients, {form}, {dtype}")
