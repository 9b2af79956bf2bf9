"""The mathematics of generated C++: every function, of numbers and of vectors, against wider references."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy import special
from ssmc.backends.cpp.library_text import CONDITION_OPERATORS, OPERATORS, macros, names, support_text
from ssmc.backends.cpp.printer import KEYWORDS

from ssmc.expr.arrays import NumpyArrays
from ssmc.expr.ops import OPS
from tests.unit.cpp_driver import BUILDS, COMPILER, POWERS, Build, Driver, compiled, driver

Array = Any

OPTIMISED = True  # what the compiler makes of it is what is tested
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")

# The bound in units in the last place, of the vector's and of the number's code alike.
BOUNDS = {
    "exp2": 2, "log2": 2, "exp": 2, "log": 2, "log1p": 2, "expm1": 2, "sqrt": 0.5, "rsqrt": 2, "abs": 0, "sign": 0,
    "real": 0, "conj": 0, "angle": 0.5, "sin": 2, "cos": 2, "tan": 4, "tanh": 2, "sigmoid": 2, "logsigmoid": 2.1,
    "softplus": 2.1, "silu": 3, "gelu": 12, "relu": 0, "elu": 2, "erf": 2, "floor": 0, "round": 0, "phi0": 2,
    "phi1": 4, "phi2": 12, "phi3": 40,
}  # fmt: skip


@pytest.fixture(scope="module", params=BUILDS, ids=str)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Driver:
    return driver(request.param, tmp_path_factory.mktemp("cpp"))


def wide(build: Build) -> type:
    """A type to compute references in."""
    if build.real == "float":
        return np.float64
    if np.finfo(np.longdouble).eps > 2**-63:
        pytest.skip("no number here is wider than a double")
    return np.longdouble


def numbers(build: Build) -> Array:
    """Special values, every size of number, and where the functions change."""
    dtype, info = build.dtype, np.finfo(build.dtype)
    rng = np.random.default_rng(7)
    ends = [
        0,
        math.inf,
        math.nan,
        1,
        0.5,
        1.5,
        2.5,
        0.625,
        0.75,
        88.72,
        88.73,
        87.4,
        103.9,
        126,
        149.5,
        709.78,
        709.79,
        745.1,
    ]
    ends += [float(info.max), float(info.tiny), float(info.smallest_subnormal), 12000.0, 1e6, 2**22, 2**23 + 1, math.pi]
    bits = rng.integers(0, 2 ** (8 * dtype().itemsize), 20000, dtype=np.uint64)
    parts = [
        np.array(ends + [-x for x in ends], dtype),
        bits.astype(f"u{dtype().itemsize}").view(dtype),
        rng.normal(size=20000),
        rng.normal(size=20000) * 30,
        1 + rng.normal(size=5000) * 0.1,
        rng.uniform(-1e7, 1e7, 5000),
        np.exp(rng.uniform(-90, 5, 5000)),
    ]
    x = np.concatenate([p.astype(dtype) for p in parts])
    return x[: len(x) // 16 * 16]


def by_mpmath(f: Callable[[Any], Any]) -> Callable[[Array], Array]:
    def over(x: Array) -> Array:
        with mpmath.workprec(100):
            y = [mpmath.mpf(float(v)) if math.isfinite(v) else mpmath.nan for v in x]
            return np.array([np.longdouble(mpmath.nstr(f(v), 25)) for v in y])

    return over


def sigmoid(x: Array) -> Array:
    return np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x)))


def softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def phi(k: int) -> Callable[[Array], Array]:
    def over(z: Array) -> Array:
        if k == 0:
            return np.exp(z)
        small = np.abs(z) < (1 if k == 1 else 3)
        near, far = np.where(small, z, 0), np.where(small, 3, z)
        series = np.ones_like(near)
        for j in range(40, 0, -1):
            series = 1 + near / (j + k) * series
        value = expm1(far) / far
        for i in range(1, k):
            value = (value - near.dtype.type(1) / math.factorial(i)) / far
        value = np.where(np.real(far) == np.inf, far, value)
        return np.where(small, series / math.factorial(k), value)

    return over


def expm1(z: Array) -> Array:
    if np.isrealobj(z):
        return np.expm1(z)
    return np.expm1(z.real) * np.cos(z.imag) - 2 * np.sin(z.imag / 2) ** 2 + 1j * np.exp(z.real) * np.sin(z.imag)


def log1p(z: Array) -> Array:
    inside = np.log1p(z.real * (2 + z.real) + z.imag**2) / 2
    return np.where(np.abs(z) < 0.5, inside, np.log(np.abs(1 + z))) + 1j * np.arctan2(z.imag, 1 + z.real)


REFERENCES: dict[str, Callable[[Array], Array]] = {
    "exp2": np.exp2, "log2": np.log2, "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1,
    "sqrt": np.sqrt, "abs": np.abs, "sign": np.sign, "sin": np.sin, "cos": np.cos, "tan": np.tan, "tanh": np.tanh,
    "floor": np.floor, "angle": lambda x: np.arctan2(np.zeros_like(x), x),
    "rsqrt": lambda x: 1 / np.sqrt(x), "real": lambda x: x, "conj": lambda x: x, "round": np.round,
    "sigmoid": sigmoid, "softplus": softplus, "logsigmoid": lambda x: -softplus(-x), "silu": lambda x: x * sigmoid(x),
    "relu": lambda x: np.where(x <= 0, 0, x), "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    **{f"phi{k}": phi(k) for k in range(4)},
}  # fmt: skip


def ulps(got: Array, expected: Array) -> Array:
    """The distance in units of the last place of the expected value; infinite where a special value is another."""
    dtype = got.dtype.type
    rounded = expected.astype(dtype)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    unit = np.spacing(np.maximum(np.abs(rounded), np.finfo(dtype).tiny)).astype(expected.dtype)
    distance = np.abs(got.astype(expected.dtype) - expected) / unit
    finite = np.isfinite(rounded) & np.isfinite(got)
    return np.where(finite, distance, np.where(same, 0, np.inf)).astype(float)


def check(name: str, x: Array, got: Array, expected: Array, bound: float) -> None:
    error = ulps(got, expected)
    worst = int(np.argmax(error))
    assert error[worst] <= bound, (
        f"{name}({x[worst]!r}) = {got[worst]!r}, not {expected[worst]!r}: {error[worst]:.2f} ulp"
    )


def test_every_operator_is_mapped() -> None:
    assert set(OPERATORS) == set(OPS)
    assert set(CONDITION_OPERATORS) <= set(OPS)
    called = {
        text for style, text in [*OPERATORS.values(), *CONDITION_OPERATORS.values()] if style in ("call", "template")
    }
    assert called <= names()


def test_no_name_of_a_spec_is_a_macro() -> None:
    assert macros() <= KEYWORDS


def test_only_what_is_used_is_printed() -> None:
    text = support_text(["m_sigmoid"], "float", 8)
    assert "m_sigmoid" in text
    assert [name for name in ("m_sin", "cx", "vint", "1.442695041") if name in text] == ["1.442695041"]
    assert "m_exp" in support_text(["m_exp", "cx"], "float", 8)
    assert "cx<V> m_exp(cx<V> z)" in support_text(["m_exp", "cx"], "float", 8)


def test_the_support_code_compiles_at_once(tmp_path: Any) -> None:
    compiled('extern "C" int nothing() { return 0; }\n', tmp_path / "nothing", "-O3")
    begun = time.perf_counter()
    compiled(support_text(names(), "float", 16), tmp_path / "all", "-O3", "-march=native")
    seconds = time.perf_counter() - begun
    print(f"all of the support code: {seconds:.2f} s")
    assert seconds < 2


@pytest.mark.parametrize("name", [*BOUNDS])
@np.errstate(all="ignore")
def test_real_functions(made: Driver, name: str) -> None:
    x, exact = numbers(made.build), wide(made.build)
    f = REFERENCES.get(name)
    if name in ("erf", "gelu"):
        if made.build.real == "float":
            f = special.erf if name == "erf" else lambda v: 0.5 * v * special.erfc(-v * math.sqrt(0.5))
            x = x[np.isfinite(x)]
        else:
            x = np.concatenate([np.linspace(-7, 7, 400), [0.0, 1.0, -1.0, 1e-300, 1e-9, 30.0]])[:400]
            f = by_mpmath(mpmath.erf if name == "erf" else lambda v: v / 2 * mpmath.erfc(-v / mpmath.sqrt(2)))
        x = x[: len(x) // 16 * 16]
    assert f is not None
    expected = f(x.astype(exact))
    if name in ("silu", "gelu", "phi2", "phi3"):  # a product with a denormal number keeps no more digits than that has
        x = np.where((np.abs(expected) < 1e3 * np.finfo(made.build.dtype).tiny) | (x > 85), 1, x).astype(
            made.build.dtype
        )
        expected = f(x.astype(exact))
    for kind in ("v", "s"):
        got = made.call(f"{kind}_{name}", x)
        check(name, x, got, expected, BOUNDS[name])
        if name not in ("elu", "sign"):
            signed = np.signbit(got) == np.signbit(expected)
            assert np.all(signed | np.isnan(expected)), f"the sign of {name}({x[~signed][0]!r})"


@pytest.mark.parametrize("name", ["pow", "mod", "min", "max", "logaddexp"])
@np.errstate(all="ignore")
def test_functions_of_two_numbers(made: Driver, name: str) -> None:
    some = np.array([0.0, -0.0, 1, -1, 2, -2, 0.5, -3.5, 3, 1e-30, 1e30, 60, math.inf, -math.inf, math.nan, 1e-40])
    rng = np.random.default_rng(3)
    x = np.concatenate([np.repeat(some, len(some)), rng.normal(size=4096) * 5]).astype(made.build.dtype)
    y = np.concatenate([np.tile(some, len(some)), rng.normal(size=4096) * 5]).astype(made.build.dtype)
    if name == "pow":  # a power of 1/2 is a root, as numpy and torch have it too
        x = np.where((x == -math.inf) & (y == 0.5), 1, x).astype(x.dtype)
    exact = wide(made.build)
    f = {"pow": np.power, "mod": np.mod, "min": np.minimum, "max": np.maximum, "logaddexp": np.logaddexp}[name]
    expected = f(x.astype(exact), y.astype(exact))
    for kind in ("v", "s"):
        got = made.call(f"{kind}_{name}", x, y)
        # logaddexp near 0 cancels; the scale of its operands is what counts there
        slack = np.abs(expected).astype(float) * 0 if name != "logaddexp" else np.where(np.abs(expected) < 1, 4, 0.0)
        unit = np.finfo(made.build.dtype).eps
        error = ulps(got, expected)
        fine = (error <= (4 if name == "pow" else 2)) | (np.abs(got - expected).astype(float) <= slack * unit)
        if name == "mod":  # rounded once, where the remainder is moved to the divisor's sign
            fine |= np.abs(got - expected).astype(float) <= unit * np.abs(y)
        assert np.all(fine), [(x[i], y[i], got[i], expected[i]) for i in np.flatnonzero(~fine)[:5]]


@pytest.mark.parametrize("name", [*POWERS])
@np.errstate(all="ignore")
def test_powers_that_the_compiler_knows(made: Driver, name: str) -> None:
    x, power = numbers(made.build), POWERS[name]
    if name in ("half", "root"):  # a root is what numpy and torch take too, and not what pow says of -0 and -inf
        x = np.where((x == 0) | (x == -math.inf), 1, x).astype(x.dtype)
    expected = np.power(x.astype(wide(made.build)), power)
    for kind in ("v", "s"):
        got = made.call(f"{kind}_power_{name}", x)
        usual = (np.abs(expected) > np.finfo(x.dtype).tiny) | (expected == 0) | np.isnan(expected)
        error = np.where(usual, ulps(got, expected), 0)
        if power == 2.7:  # its rounding counts where a double's is not kept
            error = np.where(ulps(got, np.power(x.astype(wide(made.build)), x.dtype.type(power))) <= 1, 0, error)
        worst = int(np.argmax(error))
        assert error[worst] <= 4, (x[worst], got[worst], expected[worst])
        assert np.all(np.isnan(expected) | (np.signbit(got) == np.signbit(expected)))
    z = points(made.build)
    z = z[(np.abs(z) > 1e-7) & (np.abs(z) < 1e7)]
    z = z[: len(z) // 16 * 16]
    wanted = np.power(z.astype(np.complex128), power)
    np.testing.assert_allclose(made.call(f"v_c_power_{name}", z), wanted, rtol=60 * float(np.finfo(x.dtype).eps))


def points(build: Build) -> Array:
    rng = np.random.default_rng(5)
    plane = rng.normal(size=4000) + 1j * rng.normal(size=4000)
    turned = np.exp(1j * rng.uniform(-np.pi, np.pi, 4000))
    sizes = 10.0 ** rng.uniform(-30, 30, 4000)
    parts = [plane, 10.0 ** rng.uniform(-6, 1.8, 4000) * turned, 20 * plane, 1 + 1e-3 * plane, turned, sizes * turned]
    return np.concatenate(parts).astype(build.complex)


COMPLEX_BOUNDS = {
    "exp": 2, "log": 3, "log1p": 3, "expm1": 3, "sqrt": 2, "rsqrt": 2, "sign": 2, "conj": 0, "sin": 3, "cos": 3,
    "tan": 4, "tanh": 4, "abs": 1.5, "angle": 2, "real": 0, "imag": 0, "phi1": 5, "phi2": 20, "phi3": 60,
}  # fmt: skip


@pytest.mark.parametrize("name", [*COMPLEX_BOUNDS])
@np.errstate(all="ignore")
def test_complex_functions(made: Driver, name: str) -> None:
    """The error relative to the modulus, in units of the precision."""
    z = points(made.build)
    exact = np.complex128 if wide(made.build) is np.float64 else np.clongdouble
    own: dict[str, Callable[[Array], Array]] = {
        "log1p": log1p, "expm1": expm1, "rsqrt": lambda v: 1 / np.sqrt(v), "sign": lambda v: v / np.abs(v),
        "phi1": phi(1), "phi2": phi(2), "phi3": phi(3),
    }  # fmt: skip
    f = own.get(name) or getattr(np, name)
    expected = f(z.astype(exact)) + 0j
    info = np.finfo(made.build.dtype)
    size = np.abs(expected)
    usual = (size < info.max / 4) & (size > info.tiny * 8)
    if name.startswith("phi"):
        usual &= z.real < 80
    assert usual.mean() > 0.6
    for kind in ("v", "s"):
        got = made.call(f"{kind}_c_{name}", z)
        error = np.where(usual, np.abs(got - expected) / (size * info.eps), 0).astype(float)
        worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
        assert error[worst] <= COMPLEX_BOUNDS[name], (z[worst], got[worst], expected[worst], error[worst])


@pytest.mark.parametrize("name", ["mul", "div", "pow"])
@np.errstate(all="ignore")
def test_functions_of_two_complex_numbers(made: Driver, name: str) -> None:
    z = points(made.build)
    w = np.roll(z, 777)
    if name == "pow":  # e^(w log z) has the error of its exponent
        w = (w / np.maximum(1, np.abs(w)) * 2).astype(z.dtype)
    exact = np.complex128 if wide(made.build) is np.float64 else np.clongdouble
    f = {"mul": np.multiply, "div": np.true_divide, "pow": np.power}[name]
    expected = f(z.astype(exact), w.astype(exact))
    info, size = np.finfo(made.build.dtype), np.abs(expected)
    usual = (size < info.max / 4) & (size > info.tiny * 8)
    for kind in ("v", "s"):
        got = made.call(f"{kind}_c_{name}", z, w)
        error = np.abs(got - expected)[usual] / (size[usual] * info.eps)
        assert np.max(error) <= (300 if name == "pow" else 3)


@np.errstate(all="ignore")
def test_complex_numbers_at_the_ends(made: Driver) -> None:
    """Where C99 and numpy agree on what becomes of zeros and infinities."""
    inf, build = math.inf, made.build
    z = np.zeros(16, build.complex)

    def at(name: str, value: complex, *more: complex) -> complex:
        got = made.call(f"v_c_{name}", np.full_like(z, value), *(np.full_like(z, m) for m in more))
        assert np.all((got == got[0]) | np.isnan(got))
        assert made.call(f"s_c_{name}", np.full_like(z, value), *(np.full_like(z, m) for m in more))[0] == got[0]
        return complex(got[0])

    assert at("exp", complex(-inf, 1)) == 0
    assert at("exp", complex(inf, 0)) == complex(inf, 0)
    assert at("abs", complex(-inf, math.nan)) == inf
    assert at("abs", 0) == 0
    assert at("sqrt", 0) == 0
    assert at("sqrt", -4) == 2j
    assert at("sqrt", complex(-inf, 1)) == complex(0, inf)
    assert at("sqrt", complex(inf, -1)) == complex(inf, -0.0)
    assert at("log", 0).real == -inf
    assert at("angle", -1).real == pytest.approx(math.pi)
    assert at("angle", 0) == 0
    assert at("sign", 0) == 0
    assert at("tanh", complex(inf, 1)) == 1
    assert at("phi2", 0) == 0.5
    assert at("pow", 0, 2) == 0
    assert at("pow", 0, 0) == 1
    assert at("div", 1 + 1j, 1e30 + 1e30j) == pytest.approx(1e-30)


@np.errstate(all="ignore")
def test_they_mean_what_the_operator_table_means(made: Driver) -> None:
    """Against `evaluate` of each operator, the definition, over values where doubles suffice."""
    if made.build.real == "double":
        pytest.skip("the table's own precision")
    xp = NumpyArrays()
    x = np.concatenate([np.linspace(-9, 9, 1000), [0.0, math.inf, -math.inf, math.nan]])[-992:].astype(np.float32)
    for op in OPS.values():
        if op.arity != 1 or op.name in ("neg", "not") or op.name.startswith("cast_"):
            continue
        expected = np.asarray(op.evaluate(xp, x.astype(np.float64)), np.float64)
        got = made.call(f"v_{op.name}", x)
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=1e-7, err_msg=op.name)
