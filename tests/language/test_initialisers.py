"""Language reference, "Initialisers": a case a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ssmc
from tests.language.support import Case, agrees, cases, compiled, refused

N = 5


def legs(n):
    """-sqrt((2i+1)(2j+1)) below the diagonal, -(i+1) on it; B = sqrt(2i+1)."""
    A = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            A[i, j] = -np.sqrt((2 * i + 1) * (2 * j + 1))
        A[i, i] = -(i + 1)
    return A, np.sqrt(2 * np.arange(n) + 1.0)


def legt(n):
    R = np.sqrt(2 * np.arange(n) + 1.0)
    A = np.array([[-0.5 * R[i] * R[j] * ((-1.0) ** (i - j) if i < j else 1) for j in range(n)] for i in range(n)])
    return A, 0.5 * R


def lmu(n):
    A = np.array([[(2 * i + 1) * (-1.0 if i < j else (-1.0) ** (i - j + 1)) for j in range(n)] for i in range(n)])
    return A, np.array([(2 * i + 1) * (-1.0) ** i for i in range(n)])


def fout(n):
    d = np.zeros(n)
    d[1::2] = np.arange(n // 2)
    d[0::2] = np.arange((n + 1) // 2)
    frequencies = np.stack([np.zeros(n // 2 + 1), np.arange(n // 2 + 1)], 1).reshape(-1)[1:]
    A = np.pi * (-np.diag(frequencies[: n - 1], 1) + np.diag(frequencies[: n - 1], -1))
    B = np.zeros(n)
    B[0::2] = np.sqrt(2)
    B[0] = 1
    return A - np.outer(B, B), B


def legs_diagonal(n):
    """Eigenvalues of the normal part of LegS of twice the size, one of each pair."""
    A, _ = legs(2 * n)
    P = np.sqrt(np.arange(2 * n) + 0.5)
    return np.linalg.eigvals(A + np.outer(P, P))


def output_of(text, kind="", **sizes):
    f = compiled(f"axis N\nparam p[N] {kind} = {text}\noutput y[N] {kind} = p")
    return f(length=1, sizes=sizes or {"N": N})[0].numpy()


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
@pytest.mark.parametrize(("name", "of"), [("legs", legs), ("legt", legt), ("lmu", lmu), ("fout", fout)])
def test_hippo(name, of, n):
    """`hippo.legs hippo.legt hippo.lmu hippo.fout` (matrices for `c' = A c + B f`) and their `.B`."""
    f = compiled(f"axis N\ninput f\nparam A[N, N] = hippo.{name}, B[N] = hippo.{name}.B\noutput y[N, N] = A, b = B*f")
    y, b = f(torch.ones(1, dtype=torch.float64), sizes={"N": n})
    A, B = of(n)
    np.testing.assert_allclose(y[0], A, atol=1e-12)
    np.testing.assert_allclose(b[0], B, atol=1e-12)


def test_s4d():
    """`s4d.lin s4d.inv s4d.legs s4d.real` (N values, the half with conjugates left out)."""
    n = np.arange(N)
    np.testing.assert_allclose(output_of("s4d.lin", "complex"), -0.5 + 1j * np.pi * n, rtol=1e-6)
    size = 2 * N  # with the conjugates
    inverse = -0.5 + 1j * size / np.pi * (size / (2 * n + 1) - 1)
    np.testing.assert_allclose(output_of("s4d.inv", "complex"), inverse, rtol=1e-6)
    np.testing.assert_allclose(output_of("s4d.real"), -(n + 1), rtol=1e-6)
    found = output_of("s4d.legs", "complex")
    every = legs_diagonal(N)
    assert all(abs(every - value).min() < 1e-4 * max(1, abs(value)) for value in found)
    assert len({round(abs(v.imag), 3) for v in found}) == N
    assert len(set(np.sign(found.imag))) == 1


TABLE = {
    "leading_axes_broadcast": Case(
        "filling the axes declared, leading axes broadcast",
        "axis D, N\ninput x[D]\nparam A[D, N] = s4d.real, M[D, N, N] = hippo.legs, b[D, N] = hippo.legs.B\n"
        "output y = sum[N](A*b)*x, z = M @ b",
        lambda a: (
            -(np.arange(1, 5) * legs(4)[1]).sum() * a.x,
            np.broadcast_to(legs(4)[0] @ legs(4)[1], (a.L, 3, 4)),
        ),
        {"x": (3,)},
        sizes={"N": 4},
    ),
    "constant_expression": Case(
        "any constant expression (`-(index[N] + 1)`)",
        "axis D, N = 4\ninput x[D]\nparam a[D, N] = log(index[N] + 1), b[N] = -(index[N] + 1), "
        "c[D, N] = -exp(b)/size[N]\noutput y = sum[N](a*b*c)*x",
        lambda a: (np.log(np.arange(1, 5)) * np.arange(1, 5) * np.exp(-np.arange(1.0, 5)) / 4).sum() * a.x,
        {"x": (3,)},
    ),
    "as_an_operand": Case(
        "of numbers and of initialisers",
        "axis N = 3\ninput x\nparam A[N, N] = hippo.legs/2, w[N] complex = 2*s4d.lin + 1\n"
        "output y = (A @ (x*(index[N] + 1))), z complex = sum[N](w)*x",
        lambda a: (
            np.outer(a.x, legs(3)[0] @ np.arange(1.0, 4) / 2),
            a.x * (2 * (-0.5 + 1j * np.pi * np.arange(3)) + 1).sum(),
        ),
        {"x": ()},
    ),
    "given_instead": Case(
        "A param with a default may be left out of the call",
        "axis N\ninput x[N]\nparam A[N, N] = hippo.legs\noutput y = A @ x",
        lambda a: a.x @ a.A.T,
        {"x": (3,)},
        {"A": (3, 3)},
    ),
}


@cases(TABLE)
def test_agrees(case):
    agrees(case)


RANDOM = """
axis D, N
input x[D]
param a[D, N] = uniform(-1, 3), b[D, N] = log(loguniform(1e-3, 1e-1)), c[D, N] = normal(0.5), d[D, N] = 2*a,
  e[N] = -(index[N] + 1), f[D] = uniform(0, 1), g[D] = uniform(0, 1)
output y = x*sum[N](a + b + c + d + e)*f*g
"""


def test_random():
    """`uniform(lo, hi) loguniform(lo, hi) normal(std)`; `.init_params` draws those."""
    f = compiled(RANDOM)
    p = f.init_params({"D": 200, "N": 50}, seed=0)
    assert list(p) == ["a", "b", "c", "d", "e", "f", "g"]
    a, b, c = (p[k].double() for k in "abc")
    assert a.shape == (200, 50)
    assert -1 <= a.min() < -0.99 < 2.99 < a.max() <= 3
    assert abs(a.mean() - 1) < 0.05
    assert np.log(1e-3) - 1e-5 <= b.min() < b.max() <= np.log(1e-1) + 1e-5
    assert abs(b.mean() - np.log(1e-2)) < 0.05
    assert abs(c.std() - 0.5) < 0.02
    assert abs(c.mean()) < 0.02
    torch.testing.assert_close(p["d"], 2 * p["a"])
    assert p["e"].tolist() == [-(i + 1) for i in range(50)]
    assert not torch.equal(p["f"], p["g"])
    again = f.init_params({"D": 200, "N": 50}, seed=0)
    assert all(torch.equal(p[k], again[k]) for k in p)
    assert not torch.equal(p["a"], f.init_params({"D": 200, "N": 50}, seed=1)["a"])
    y = f(torch.ones(3, 200), **p)
    assert y.shape == (3, 200)


def test_random_left_out():
    """… unless the default is random."""
    f = compiled("axis D\ninput x[D]\nparam a[D] = uniform(0, 1), b[D] = 1\noutput y = a*b*x")
    with pytest.raises(ssmc.SpecError, match="init_params"):
        f(torch.ones(3, 2))
    assert f(torch.ones(3, 2), a=torch.ones(2))[0].tolist() == [1, 1]


REFUSED = {
    "draw_in_a_statement": ("input x\noutput y = x + uniform(0, 1)", "uniform"),
    "draw_in_a_state": ("input x\nstate h = normal(1)\nh = h + x\noutput y = h", "normal"),
    "not_square": ("axis N, M\ninput x[M]\nparam A[N, M] = hippo.legs\noutput y = A @ x", "square"),
    "complex_into_real": ("axis N\ninput x\nparam a[N] = s4d.lin\noutput y = x*sum[N](a)", "complex"),
    "unknown": ("axis N\ninput x\nparam A[N, N] = hippo.leg\noutput y = sum[N](A @ (x*index[N]))", "hippo.leg"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    spec, *words = REFUSED[name]
    refused(spec, *words)


def test_default_in_double_precision():
    """A default is as exact as the caller's dtype."""
    f = compiled("input x\nparam a = 1/3\noutput y = a*x")
    assert f(torch.ones(1, dtype=torch.float64)).item() == 1 / 3
