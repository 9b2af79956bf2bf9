"""Language reference, "Operators": a case a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special

from tests.language.support import Case, Given, agrees, cases, compiled, refused, sigmoid, silu, softmax, softplus

X = {"x": ()}
XU = {"x": (), "u": ()}

# expression of x, u (positive with `positive`) -> numpy
EXPRESSIONS = {
    "-x**2": lambda x, u: -(x**2),
    "x**-2": lambda x, u: 1 / x**2,
    "2**3**2*x": lambda x, u: 512 * x,
    "2**-x**2": lambda x, u: 2 ** -(x**2),
    "-x**-2": lambda x, u: -(1 / x**2),
    "-x*u": lambda x, u: -x * u,
    "x - u - 1": lambda x, u: x - u - 1,
    "x/u/2": lambda x, u: x / u / 2,
    "x/u*2": lambda x, u: x / u * 2,
    "x*u + 2*x - u/4": lambda x, u: x * u + 2 * x - u / 4,
    "(x + u)*2": lambda x, u: (x + u) * 2,
    "--x": lambda x, u: x,
    "x*-u": lambda x, u: -x * u,
    "x ⊗ u / 2": lambda x, u: x * u / 2,
    "where(x + 1 < 2*u, x, u)": lambda x, u: np.where(x + 1 < 2 * u, x, u),
    "where(not x > u and x > 0 or u > 2, 1, 0)": lambda x, u: np.where((~(x > u) & (x > 0)) | (u > 2), 1.0, 0.0),
    "where(x > 0 or u > 0 and x > u, 1, 0)": lambda x, u: np.where((x > 0) | ((u > 0) & (x > u)), 1.0, 0.0),
    "where(not x > 0 or u > 0, 1, 0)": lambda x, u: np.where(~(x > 0) | (u > 0), 1.0, 0.0),
    "where(x <= u, 1, 0)": lambda x, u: np.where(x <= u, 1.0, 0.0),
    "where(x >= u, 1, 0)": lambda x, u: np.where(x >= u, 1.0, 0.0),
    "where(x == x, 1, 0) + where(x == u, 1, 0)": lambda x, u: np.ones_like(x),
    "where(x != x, 1, 0) + where(x != u, 1, 0)": lambda x, u: np.ones_like(x),
    "where((x > u) == (u > 0), 1, 0)": lambda x, u: np.where((x > u) == (u > 0), 1.0, 0.0),
    "where(true, x, u) + where(false, x, u)": lambda x, u: x + u,
    "x + 1 + 1. + .5 + 1e-3 + 2.5E2": lambda x, u: x + 252.501,
    "x*pi": lambda x, u: x * np.pi,
    "min(x, inf) + max(u, -inf)": lambda x, u: x + u,
    "real(2j*x*3j)": lambda x, u: -6 * x,
    "exp(x)": lambda x, u: np.exp(x),
    "log(abs(x))": lambda x, u: np.log(abs(x)),
    "log1p(x*x)": lambda x, u: np.log1p(x * x),
    "expm1(x)": lambda x, u: np.expm1(x),
    "sqrt(u*u + 1)": lambda x, u: np.sqrt(u * u + 1),
    "rsqrt(u*u + 1)": lambda x, u: 1 / np.sqrt(u * u + 1),
    "abs(x)": lambda x, u: np.abs(x),
    "sign(x)": lambda x, u: np.sign(x),
    "sin(x) + cos(u) + tan(x)": lambda x, u: np.sin(x) + np.cos(u) + np.tan(x),
    "tanh(x)": lambda x, u: np.tanh(x),
    "sigmoid(x)": lambda x, u: sigmoid(x),
    "logsigmoid(x)": lambda x, u: np.log(sigmoid(x)),
    "silu(x)": lambda x, u: silu(x),
    "gelu(x)": lambda x, u: x * 0.5 * (1 + special.erf(x / np.sqrt(2))),
    "relu(x)": lambda x, u: np.maximum(x, 0),
    "softplus(x)": lambda x, u: softplus(x),
    "elu(x)": lambda x, u: np.where(x > 0, x, np.exp(x) - 1),
    "erf(x)": lambda x, u: special.erf(x),
    "floor(3*x)": lambda x, u: np.floor(3 * x),
    "round(3*x)": lambda x, u: np.round(3 * x),
    "mod(x, 0.7)": lambda x, u: np.mod(x, 0.7),
    "mod(x, -0.7)": lambda x, u: np.mod(x, -0.7),
    "min(x, u, 0.2)": lambda x, u: np.minimum(np.minimum(x, u), 0.2),
    "max(x, u, 0.2)": lambda x, u: np.maximum(np.maximum(x, u), 0.2),
    "logaddexp(x, u)": lambda x, u: np.logaddexp(x, u),
    "clamp(x, -0.5, 0.5)": lambda x, u: np.clip(x, -0.5, 0.5),
    "clamp(x, -u*u, u*u)": lambda x, u: np.clip(x, -u * u, u * u),
    "where(x > u, x, 2*u)": lambda x, u: np.where(x > u, x, 2 * u),
    "pow(u*u + 1, x)": lambda x, u: (u * u + 1) ** x,
    "(u*u + 1)**x": lambda x, u: (u * u + 1) ** x,
    "imag(exp(1j*x)) + real(exp(1j*u))": lambda x, u: np.sin(x) + np.cos(u),
    "angle(exp(1j*x))": lambda x, u: np.angle(np.exp(1j * x)),
    "real(conj(x + 1j*u)*(x + 2j*u))": lambda x, u: (np.conj(x + 1j * u) * (x + 2j * u)).real,
    "abs(x + 1j*u)": lambda x, u: np.hypot(x, u),
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expression(text):
    """Tightest first: … Scalar functions: …"""
    of = EXPRESSIONS[text]
    agrees(Case("", f"input x, u\noutput y = {text}", lambda a: of(a.x, a.u), XU, length=5))


@pytest.mark.parametrize("text", [t for t in EXPRESSIONS if "⊗" not in t])
def test_expression_of_params(text):
    """The same with operands of different axes, once before the loop."""
    of = EXPRESSIONS[text]
    spec = f"axis D, N\ninput x[D]\nparam u[N]\noutput y[D, N] = {text} + 0*x*u"
    agrees(
        Case(
            "",
            spec,
            lambda a: of(a.x[:, :, None], a.u[None, None]) + 0 * a.x[:, :, None] * a.u,
            {"x": (2,)},
            {"u": (3,)},
            length=3,
        )
    )


COMPLEX = {
    "z*w": lambda z, w: z * w,
    "z/w": lambda z, w: z / w,
    "z + 1": lambda z, w: z + 1,
    "-z**2": lambda z, w: -(z**2),
    "z**-2": lambda z, w: z**-2.0,
    "exp(z)": lambda z, w: np.exp(z),
    "log(z)": lambda z, w: np.log(z),
    "sqrt(z)": lambda z, w: np.sqrt(z),
    "sin(z) + cos(w)": lambda z, w: np.sin(z) + np.cos(w),
    "tanh(z)": lambda z, w: np.tanh(z),
    "conj(z)": lambda z, w: np.conj(z),
    "where(real(z) > 0, z, 1)": lambda z, w: np.where(z.real > 0, z, 1),
    "real(z) + 0j": lambda z, w: z.real + 0j,
    "expm1(z)": lambda z, w: np.exp(z) - 1,
    "abs(z)*w": lambda z, w: abs(z) * w,
    "angle(z) + imag(w)*1j": lambda z, w: np.angle(z) + 1j * w.imag,
}


@pytest.mark.parametrize("text", COMPLEX)
def test_complex(text):
    """Real with complex gives complex."""
    of = COMPLEX[text]
    spec = f"input z complex, w complex\noutput y complex = {text}"
    agrees(Case("", spec, lambda a: of(a.z, a.w), {"z": (), "w": ()}, length=5))


INTEGERS = {
    "i + k": lambda i, k: i + k,
    "i*k - 2": lambda i, k: i * k - 2,
    "mod(i, 3)": lambda i, k: np.mod(i, 3),
    "mod(i, -3)": lambda i, k: np.mod(i, -3),
    "i**2": lambda i, k: i**2,
    "-i": lambda i, k: -i,
    "abs(i)": lambda i, k: abs(i),
    "max(i, k)": lambda i, k: np.maximum(i, k),
    "min(i, 1)": lambda i, k: np.minimum(i, 1),
    "where(i > k, i, k + 1)": lambda i, k: np.where(i > k, i, k + 1),
    "clamp(i, -1, 1)": lambda i, k: np.clip(i, -1, 1),
    "sign(i)": lambda i, k: np.sign(i),
}


@pytest.mark.parametrize("text", INTEGERS)
def test_integers(text):
    """KIND is … `int`."""
    of = INTEGERS[text]
    spec = f"input i int, k int\noutput y int = {text}"
    agrees(Case("", spec, lambda a: of(a.i, a.k), {"i": (), "k": ()}))


BOOLS = {
    "m + k": lambda m, k: m + k,
    "m - k": lambda m, k: m - k,
    "-m": lambda m, k: -m,
    "m*k + m": lambda m, k: m * k + m,
    "m/2 + 2*k": lambda m, k: m / 2 + 2 * k,
    "max(m, 3*k) + min(m, k)": lambda m, k: np.maximum(m, 3 * k) + np.minimum(m, k),
    "m**2 + abs(m) + sign(k) + mod(m, 2) + relu(k)": lambda m, k: 3 * m + 2 * k,
    "sqrt(m) + exp(k)": lambda m, k: np.sqrt(m) + np.exp(k),
    "where(m == k, m, k)": lambda m, k: np.where(m == k, m, k),
    "where(m < k, 1, 0)": lambda m, k: np.where(m < k, 1, 0),
}


@pytest.mark.parametrize("text", BOOLS)
def test_bools(text):
    """A bool among numbers is 0 or 1."""
    of = BOOLS[text]
    spec = f"input m bool, k bool\noutput y = 1.0*({text})"
    loop = lambda a: of(a.m.astype(float), a.k.astype(float))  # noqa: E731
    agrees(Case("", spec, loop, {"m": (), "k": ()}, tolerance=1e-6))


MIXED = {
    "x*(index[N]/3) + t/3": lambda a: a.x * (np.arange(3) / 3) + a.t / 3,
    "x*exp(index[N]) + t**0.5": lambda a: a.x * np.exp(np.arange(3)) + a.t**0.5,
    "x*2**t + 0.9**t": lambda a: a.x * 2**a.t + 0.9**a.t,
    "(i · x) + (m · i) + 0*x": lambda a: (a.i * a.x).sum(-1, keepdims=True) + (a.m * a.i).sum(-1, keepdims=True),
    "W @ i + K @ x + K @ m": lambda a: a.i @ a.W.T + a.x @ a.K.T + a.m @ a.K.T,
    "real((W @ z) + (z · i) + (K @ z))": lambda a: ((z := a.z) @ a.W.T + (z * a.i).sum(-1)[:, None] + z @ a.K.T).real,
    "mean[N](i) + mean[N](m) + norm[N](i)": lambda a: a.i.mean(-1) + a.m.mean(-1) + np.sqrt((a.i**2).sum(-1)),
    "softmax[N](i) + cumsum[N](m)/3": lambda a: softmax(1.0 * a.i, 1) + a.m.cumsum(-1) / 3,
    "logsumexp[N](i)*clamp(x, i, 2)": lambda a: (
        np.log(np.exp(a.i).sum(-1, keepdims=True)) * np.minimum(np.maximum(a.x, a.i), 2)
    ),
    "real(where(m, z, i)*m) + max(i, x)": lambda a: (np.where(a.m, a.z, a.i) * a.m).real + np.maximum(a.i, a.x),
}


@pytest.mark.parametrize("text", MIXED)
def test_mixed_kinds(text):
    """Real with complex gives complex; an int or bool joins either in the caller's precision."""
    spec = f"axis N, M\ninput x[N], i[N] int, m[N] bool, z[N] complex\nparam W[M, N], K[M, N] int\noutput y = {text}"

    def loop(a):
        value = MIXED[text](Given(a | {"t": np.arange(1.0, len(a.x) + 1)[:, None]}))
        return value + 0 * a.x if value.shape == (len(a.x), 1) else value

    inputs = {"x": (3,), "i": (3,), "m": (3,), "z": (3,)}
    agrees(Case("", spec, loop, inputs, {"W": (2, 3), "K": (2, 3)}, tolerance=1e-12))


TABLE = {
    "integers_divide": Case(
        "everything else is real",
        "input i int\noutput y = i/4 + sqrt(abs(i)) + i**-2",
        lambda a: a.i / 4 + np.sqrt(abs(a.i)) + 1 / a.i.astype(float) ** 2,
        {"i": np.array([1, -2, 3, 5, -7, 2, 9])},
        tolerance=1e-6,
    ),
    "minus_before_matrix": Case(
        "unary `-` binds tighter than `@` and `·`",
        "axis D, N\ninput x[D]\nparam A[N, D], k[D]\noutput y = -A @ x + (-k · x)",
        lambda a: a.x @ -a.A.T - (a.x @ a.k)[:, None],
        {"x": (3,)},
        {"A": (2, 3), "k": (3,)},
    ),
    "matrix_before_times": Case(
        "`@` and `·` before `* /`",
        "axis D, N\ninput x[D], g[N], s\nparam A[N, D], k[D]\noutput y = g * A @ x / 2 + s * k · x",
        lambda a: a.g * (a.x @ a.A.T) / 2 + (a.s * (a.x @ a.k))[:, None],
        {"x": (3,), "g": (2,), "s": ()},
        {"A": (2, 3), "k": (3,)},
    ),
    "matrix_left_associative": Case(
        "`@` and `·` (left-associative)",
        "axis N, M, D\ninput x[D]\nparam A[N, M], B[M, D]\noutput y = A @ B @ x",
        lambda a: a.x @ (a.A @ a.B).T,
        {"x": (3,)},
        {"A": (2, 4), "B": (4, 3)},
    ),
    "dot_of_power": Case(
        "`**` before `·`",
        "axis D\ninput x[D], k[D]\noutput y = x**2 · k**2",
        lambda a: (a.x**2 * a.k**2).sum(-1),
        {"x": (3,), "k": (3,)},
    ),
    "neighbour_without_the_axis": Case(
        "a neighbour of `a · b` that has the axis it sums; one that has not is none",
        "axis K, V\ninput b, k[K], v[V]\nstate S[K, V]\nS = S + k*v\noutput y = b*k · S*v",
        lambda a: np.stack([a.b[t] * (a.k[t] @ (a.k[: t + 1].T @ a.v[: t + 1])) * a.v[t] for t in range(a.L)]),
        {"b": (), "k": (3,), "v": (2,)},
    ),
}


@cases(TABLE)
def test_agrees(case):
    agrees(case)


NUMBERS = {
    "exp(1) + sqrt(2) + log(3)": np.e + 2**0.5 + np.log(3),
    "max(1, 2, 3) - min(1, -2.5)": 5.5,
    "sigmoid(1) + softplus(1) + silu(1)": 2 * sigmoid(1) + softplus(1),
    "gelu(1) + erf(1) + elu(-1) + relu(2)": special.ndtr(1) + special.erf(1) + np.exp(-1) + 1,
    "logsigmoid(1) + logaddexp(0, 1)": np.log(sigmoid(1)) + np.logaddexp(0, 1),
    "abs(3 + 4j) + angle(1j) + sign(-2)": 4 + np.pi / 2,
    "real(.5j*1e1j) + imag(exp(1j)) + real(conj(2j)*1j)": -3 + np.sin(1),
    "real(1/1j + (1 + 1j)**2) + real((1 + 1j)**-1)": 0.5,
    "mod(-1, 3) + mod(7.5, -2) + mod(size[N], 3)": 2.5,
    "rsqrt(size[N]) + 1/sqrt(size[N]) + size[N]**-2 + 2**size[N]": 17.0625,
    "exp(-size[N]) + log(size[N]) + floor(size[N]/3)": np.exp(-4) + np.log(4) + 1,
    "where(not true or false, 2, 3) + where(size[N] > 3, 1, 2)": 4,
    "round(2.5) + round(-0.5) + floor(-0.5)": 1,
    "log(0)": -np.inf,
    "1/0": np.inf,
    "exp(1000)": np.inf,
    "exp(-inf) + 1/inf": 0,
    "log(size[N] - 4)": -np.inf,
    "1/(size[N] - 4)": np.inf,
    "exp(250*size[N])": np.inf,
    "sqrt(3 - size[N])": np.nan,
    "silu(size[N]) + softplus(0*size[N])": silu(4) + np.log(2),
}


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers(text):
    """Numbers and sizes alone are values like any other, infinite ones too, wherever they stand."""
    for place in (
        "output y = x + ({})",
        "state h = {}\nh = x + prev(h)\noutput y = h",
        "param p = {}\noutput y = x + p",
    ):
        f = compiled("axis N = 4\ninput x\n" + place.format(text))
        np.testing.assert_allclose(f(torch.zeros(1, dtype=torch.float64)), [NUMBERS[text]], rtol=1e-12)
        y, _ = f.step(None, torch.zeros((), dtype=torch.float64))
        np.testing.assert_allclose(y, NUMBERS[text], rtol=1e-12)


REFUSED = {
    "chained": ("input x\noutput y = where(0 < x < 1, 1, 0)", "<"),
    "chained_equality": ("input x\noutput y = where(0 < x == 1, 1, 0)", "=="),
    "left_neighbour": ("axis K\ninput b[K], k[K], D[K]\noutput y = b*k · D", "two readings", "write"),
    "right_neighbour": ("axis K\ninput b[K], k[K], D[K]\noutput y = k · D*b", "two readings", "write"),
    "far_neighbour": ("axis K\ninput b[K], s, k[K], D[K]\noutput y = b*k · D", "two readings", "write"),
    "matrix_neighbour": ("axis K, N\ninput b[K], k[K]\nparam A[N, K]\noutput y = b*A @ k", "two readings", "write"),
    "divided": ("axis K\ninput x, a[K], b[K]\noutput y = x / a · b", "two readings", "write"),
    "divided_matrix": ("axis K, N\ninput x, b[K]\nparam A[N, K]\noutput y = x / A @ b", "two readings", "write"),
    "unary_plus": ("input x\noutput y = +x", "+"),
    "not_of_a_number": ("input x\noutput y = where(not x, 1, 0)", "true or false"),
    "complex_order": ("input z complex\noutput y = where(z > 0, 1, 0)", "complex"),
    "complex_function": ("input z complex\noutput y complex = floor(z)", "complex"),
    "arity": ("input x\noutput y = exp(x, x)", "exp"),
    "unknown": ("input x\noutput y = sofplus(x)", "softplus"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    spec, *words = REFUSED[name]
    refused(spec, *words)


def test_round_is_to_even():
    """round, floor, sign, at halves and zeros."""
    f = compiled("input x\noutput a = round(x), b = floor(x), c = sign(x)")
    a, b, c = f(torch.tensor([-1.5, -0.5, 0.0, 0.5, 1.5, 2.5]))
    assert a.tolist() == [-2, 0, 0, 0, 2, 2]
    assert b.tolist() == [-2, -1, 0, 0, 1, 2]
    assert c.tolist() == [-1, -1, 0, 1, 1, 1]


def test_extremes():
    """Functions whose formula overflows are still right far out, and so are their gradients."""
    f = compiled("input x\noutput a = softplus(x), b = logsigmoid(x), c = silu(x), d = elu(x), e = logaddexp(x, 0)")
    x = torch.tensor([-800.0, 800.0], requires_grad=True)
    a, b, c, d, e = f(x)
    assert a.tolist() == [0, 800]
    assert b.tolist() == [-800, 0]
    assert c.tolist() == [0, 800]
    assert d.tolist() == [-1, 800]
    assert e.tolist() == [0, 800]
    (a + b + c + d + e).sum().backward()
    assert x.grad.tolist() == [1, 4]
