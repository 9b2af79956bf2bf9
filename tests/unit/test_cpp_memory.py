"""What generated C++ loads and stores, its integers and conditions, and what it makes of the lanes of a vector."""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ssmc.backends.cpp.library_text import names, support_text

from tests.unit.cpp_driver import BUILDS, COMPILER, FLAGS, Build, compiled, functions

Array = Any

OPTIMISED = True  # what the compiler makes of it is what is tested
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")

# What is in memory: its C++ type, and numpy's; half precisions as their bits.
STORED: dict[str, tuple[str, type]] = {
    "f32": ("float", np.float32), "f64": ("double", np.float64), "bf16": ("bf16", np.uint16),
    "f16": ("f16", np.uint16), "bool": ("bool", np.bool_), "i64": ("std::int64_t", np.int64),
    "i32": ("std::int32_t", np.int32), "i16": ("std::int16_t", np.int16), "i8": ("std::int8_t", np.int8),
    "u8": ("std::uint8_t", np.uint8), "c32": ("cx<float>", np.complex64), "c64": ("cx<double>", np.complex128),
}  # fmt: skip

MEMORY = """
extern "C" void copy_NAME(TYPE *o, const TYPE *x, i64 n) {
    for (i64 i = 0; i < n; i += LANES) store(o + i, load(x + i));
}
extern "C" void past_NAME(TYPE *o, const TYPE *x, i64 n) {
    for (i64 i = 0; i < n; i += LANES) place(o + i, load(x + i), true);
    stream_end();
}
extern "C" void laid_NAME(TYPE *o, TYPE *tile, const TYPE *x, i64 k, i64 s, i64 n, i64 of_k, i64 of_s, i64 of_n,
                          i64 past) {
    const i64 width = (n + LANES - 1) / LANES * LANES;
    laid_out(tile, x, {k, s}, {s * width, width}, {of_k, of_s}, of_n, n, width, 0);
    put_back(o, tile, {k, s}, {s * width, width}, {of_k, of_s}, of_n, n, width, past != 0);
    stream_end();
}
extern "C" void each_NAME(TYPE *o, const TYPE *x, i64 n) {
    for (i64 i = 0; i < n; i++) store1(o + i, load1(x + i));
}
extern "C" void tail_NAME(TYPE *o, const TYPE *x, i64 n) { store_n(o, load_n(x, n, load1(x)), n); }
extern "C" void strided_NAME(TYPE *o, const TYPE *x, i64 stride, i64 n) {
    store_strided(o, 2 * stride, load_strided(x, stride, n, load1(x)), n);
}
"""

LANES_CODE = """
extern "C" void filled(real *o, const real *x, i64 n) { store(o, load_n(x, n, real(7))); }
extern "C" void widened(real *b, real *h, const bf16 *x, const f16 *y, i64 n) {
    for (i64 i = 0; i < n; i += LANES) store(b + i, load(x + i)), store(h + i, load(y + i));
}
extern "C" void narrowed(bf16 *b, f16 *h, const real *x, i64 n) {
    for (i64 i = 0; i < n; i += LANES) store(b + i, load(x + i)), store(h + i, load(x + i));
}
extern "C" void turned(real *o, const real *x) {
    vreal rows[LANES];
    for (int i = 0; i < LANES; i++) rows[i] = load(x + i * LANES);
    transpose(rows);
    for (int i = 0; i < LANES; i++) store(o + i * LANES, rows[i]);
}
extern "C" void summed(real *o, const real *x) {
    vreal rows[LANES];
    for (int i = 0; i < LANES; i++) rows[i] = load(x + i * LANES);
    store(o, hsums(rows));
}
extern "C" void scanned(real *o, const real *a, const real *b) { store(o, lane_scan(load(a), load(b), real(0.5))); }
extern "C" void streamed(real *o, const real *x) { stream(o, load(x)), stream_end(); }
extern "C" void folds(real *o, const real *x) {
    vreal v = load(x);
    o[0] = hsum(v), o[1] = hprod(v), o[2] = hmax(v), o[3] = hmin(v);
    o[4] = hany(v > 2), o[5] = hall(v > -100);
}
extern "C" void complex_folds(cx<real> *o, const cx<real> *x) { o[0] = hsum(load(x)), o[1] = hprod(load(x)); }
extern "C" void integer_folds(i64 *o, const i64 *x) {
    vint v = load(x);
    o[0] = hsum(v), o[1] = hprod(v), o[2] = hmax(v), o[3] = hmin(v);
}
"""

# name: (code, kinds of the operands, kind of the result)
OPERATIONS = {
    "neg": ("-{}", "i", "i"), "add": ("{} + {}", "ii", "i"), "sub": ("{} - {}", "ii", "i"),
    "mul": ("{} * {}", "ii", "i"), "mod": ("m_mod({}, {})", "ii", "i"), "pow": ("m_pow({}, {})", "ii", "i"),
    "min": ("m_min({}, {})", "ii", "i"), "max": ("m_max({}, {})", "ii", "i"), "abs": ("m_abs({})", "i", "i"),
    "sign": ("m_sign({})", "i", "i"), "relu": ("m_relu({})", "i", "i"), "lt": ("{} < {}", "ii", "b"),
    "le": ("{} <= {}", "ii", "b"), "gt": ("{} > {}", "ii", "b"), "ge": ("{} >= {}", "ii", "b"),
    "eq": ("{} == {}", "ii", "b"), "ne": ("{} != {}", "ii", "b"), "cast_real": ("m_real({})", "i", "r"),
    "angle": ("m_angle({})", "i", "r"), "where": ("m_where({}, {}, {})", "bii", "i"), "not": ("m_not({})", "b", "b"),
    "and": ("m_and({}, {})", "bb", "b"), "or": ("m_or({}, {})", "bb", "b"), "beq": ("m_eq({}, {})", "bb", "b"),
    "bne": ("m_ne({}, {})", "bb", "b"), "blt": ("m_lt({}, {})", "bb", "b"), "ble": ("m_le({}, {})", "bb", "b"),
    "bgt": ("m_gt({}, {})", "bb", "b"), "bge": ("m_ge({}, {})", "bb", "b"),
    "bwhere": ("m_where({}, {}, {})", "bbb", "b"), "real_if": ("m_real_if({})", "b", "r"),
    "int_if": ("m_int_if({})", "b", "i"), "rwhere": ("m_where({}, {}, {})", "brr", "r"),
    "rmax": ("m_max({}, {})", "rr", "r"), "rmul": ("{} * {}", "rr", "r"), "rmod": ("m_mod({}, {})", "rr", "r"),
}  # fmt: skip
for mixed in ("cc", "cr", "rc"):
    for word, sign in (("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/")):
        OPERATIONS[f"{mixed}_{word}"] = (f"{{}} {sign} {{}}", mixed, "c")
    OPERATIONS[f"{mixed}_eq"] = ("{} == {}", mixed, "b")
    OPERATIONS[f"{mixed}_ne"] = ("{} != {}", mixed, "b")
    OPERATIONS[f"{mixed}_where"] = ("m_where({}, {}, {})", f"b{mixed}", "c")
OPERATIONS["cc_power"] = ("m_pow({}, {})", "cc", "c")
OPERATIONS["rr_logaddexp"] = ("m_logaddexp({}, {})", "rr", "r")
OPERATIONS["c_complex"] = ("m_complex({})", "i", "c")
OPERATIONS["c_if"] = ("m_complex_if({})", "b", "c")
TYPES = {"i": "i64", "b": "bool", "r": "real", "c": "cx<real>"}


def operators() -> str:
    """Each of OPERATIONS over vectors, numbers, and vectors beside a number in each place."""
    parts = []
    for name, (code, kinds, result) in OPERATIONS.items():
        declared = ", ".join(f"const {TYPES[k]} *x{i}" for i, k in enumerate(kinds))
        for number in range(-1, len(kinds)):
            args = [f"x{i}[0]" if i == number else f"load(x{i} + i)" for i in range(len(kinds))]
            if len(kinds) == 1 and number == 0:
                continue
            parts.append(
                f'extern "C" void v{number + 1}_{name}({TYPES[result]} *o, {declared}, i64 n) {{\n'
                f"    for (i64 i = 0; i < n; i += LANES) store(o + i, {code.format(*args)});\n}}"
            )
        each = code.format(*(f"x{i}[i]" for i in range(len(kinds))))
        parts.append(
            f'extern "C" void s_{name}({TYPES[result]} *o, {declared}, i64 n) {{\n'
            f"    for (i64 i = 0; i < n; i++) o[i] = {each};\n}}"
        )
    return "\n".join(parts)


def memory() -> str:
    return "".join(MEMORY.replace("NAME", name).replace("TYPE", kind) for name, (kind, _) in STORED.items())


@pytest.fixture(scope="module", params=BUILDS, ids=str)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, ctypes.CDLL]:
    build: Build = request.param
    text = support_text(names(), build.real, build.lanes) + memory() + LANES_CODE + operators()
    library = compiled(text, tmp_path_factory.mktemp("cpp") / str(build), "-O1", build.machine)
    return build, ctypes.CDLL(str(library))


def call(library: ctypes.CDLL, name: str, *args: Array | int) -> None:
    values = [ctypes.c_int64(a) if isinstance(a, int) else ctypes.c_void_p(a.ctypes.data) for a in args]
    getattr(library, name)(*values)


def some(dtype: type, count: int) -> Array:
    rng = np.random.default_rng(11)
    if dtype is np.bool_:
        return rng.random(count) < 0.5
    if np.issubdtype(dtype, np.complexfloating):
        return (rng.normal(size=count) + 1j * rng.normal(size=count)).astype(np.complex64).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        return rng.normal(size=count).astype(np.float32).astype(dtype)
    return rng.integers(0, 100, count).astype(dtype)


@pytest.mark.parametrize("name", [*STORED])
def test_what_is_loaded_is_stored(made: tuple[Build, ctypes.CDLL], name: str) -> None:
    build, library = made
    dtype, lanes = STORED[name][1], build.lanes
    x = some(dtype, 8 * lanes)
    for kind in ("copy", "each"):
        out = np.zeros_like(x)
        call(library, f"{kind}_{name}", out, x, len(x))
        np.testing.assert_array_equal(out, x)
    out = _aligned(np.zeros_like(x))
    call(library, f"past_{name}", out, x, len(x))
    np.testing.assert_array_equal(out, x)
    for n in range(lanes + 1):
        out = np.ones_like(x)
        call(library, f"tail_{name}", out, x, n)
        np.testing.assert_array_equal(out, np.where(np.arange(len(x)) < n, x, 1))
        out = np.ones_like(x)
        call(library, f"strided_{name}", out, x, 3, n)
        expected = np.ones_like(x)
        expected[: 6 * n : 6] = x[: 3 * n : 3]
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", [*STORED])
def test_what_is_laid_out_is_put_back(made: tuple[Build, ctypes.CDLL], name: str) -> None:
    """Whichever axis is contiguous, whole vectors or not, past the caches or not: with zeros beyond the end."""
    build, library = made
    dtype, lanes = STORED[name][1], build.lanes
    for k, s, n in ((2, 2 * lanes, lanes), (1, lanes + 3, 2 * lanes + 1), (3, 5, lanes - 1), (lanes, 2, 1)):
        for order in itertools.permutations(range(3)):
            shape = [(k, s, n)[d] for d in order]
            x = _aligned(some(dtype, k * s * n)).reshape(shape).transpose(np.argsort(order))
            back = _aligned(np.ones(k * s * n, dtype)).reshape(shape).transpose(np.argsort(order))
            strides = [d // x.itemsize for d in x.strides]
            tile = np.ones((k, s, -(-n // lanes) * lanes), dtype)
            past = all(d == 1 or d % lanes == 0 for d in strides)
            call(library, f"laid_{name}", back, tile, x, k, s, n, *strides, int(past))
            np.testing.assert_array_equal(tile[..., :n], x)
            np.testing.assert_array_equal(tile[..., n:], 0)
            np.testing.assert_array_equal(back, x)


def _aligned(x: Array) -> Array:
    room = np.empty(x.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 128
    found = room[start : start + x.nbytes].view(x.dtype)
    found[:] = x
    return found


def test_the_other_lanes_have_the_fill(made: tuple[Build, ctypes.CDLL]) -> None:
    build, library = made
    x, out = some(build.dtype, build.lanes), np.zeros(build.lanes, build.dtype)
    call(library, "filled", out, x, 1)
    np.testing.assert_array_equal(out, [x[0], *[7] * (build.lanes - 1)])


@np.errstate(all="ignore")
def test_half_precisions(made: tuple[Build, ctypes.CDLL]) -> None:
    """Every number of 16 bits as torch reads it; every kind of real number rounded as torch rounds it."""
    build, library = made
    patterns = np.arange(2**16, dtype=np.uint16)
    reals = np.concatenate([
        np.random.default_rng(2).integers(0, 2**32, 60000, dtype=np.uint32).view(np.float32),
        np.random.default_rng(3).normal(size=60000) * 10.0 ** np.random.default_rng(4).uniform(-9, 6, 60000),
        [0.0, -0.0, math.inf, -math.inf, math.nan, 65504, 65519.99, 65520, -65536, 2**-24, 2**-25, 2**-14],
        (patterns.view(np.float16).astype(np.float64) * (1 + 2.0**-11)),
    ])[: 185536 // 16 * 16]  # fmt: skip
    reals = reals.astype(np.float32).astype(build.dtype)
    wide, stored = np.zeros((2, 2**16), build.dtype), np.zeros((2, len(reals)), np.uint16)
    call(library, "widened", wide[0], wide[1], patterns, patterns, 2**16)
    call(library, "narrowed", stored[0], stored[1], reals, len(reals))
    for dtype, got, halves in zip((torch.bfloat16, torch.float16), wide, stored, strict=True):
        expected = torch.from_numpy(patterns.view(np.int16)).view(dtype).to(torch.float64).numpy()
        np.testing.assert_array_equal(got, expected)
        rounded = torch.from_numpy(reals.astype(np.float32)).to(dtype)
        back = torch.from_numpy(halves.view(np.int16)).view(dtype)
        np.testing.assert_array_equal(back.to(torch.float32).numpy(), rounded.to(torch.float32).numpy())
        number = ~torch.isnan(rounded)
        assert torch.equal(torch.signbit(back[number]), torch.signbit(rounded[number]))


def test_lanes(made: tuple[Build, ctypes.CDLL]) -> None:
    build, library = made
    lanes = build.lanes
    x = some(build.dtype, lanes * lanes)
    out = np.zeros_like(x)
    call(library, "turned", out, x)
    np.testing.assert_array_equal(out.reshape(lanes, lanes), x.reshape(lanes, lanes).T)
    call(library, "summed", out, x)
    np.testing.assert_allclose(out[:lanes], x.reshape(lanes, lanes).sum(1), rtol=1e-5, atol=1e-5)
    call(library, "scanned", out, x, x[lanes:])
    h = 0.5
    for step in range(lanes):
        h = x[step] * h + x[lanes + step]
        assert out[step] == pytest.approx(h, rel=1e-4, abs=1e-5)
    room = np.zeros(3 * lanes, build.dtype)
    start = (-room.ctypes.data % (lanes * room.itemsize)) // room.itemsize
    call(library, "streamed", room[start:], x[:lanes])
    np.testing.assert_array_equal(room[start : start + lanes], x[:lanes])

    v = x[:lanes]
    got = np.zeros(6, build.dtype)
    call(library, "folds", got, v)
    wide = v.astype(np.float64)
    np.testing.assert_allclose(got[:4], [wide.sum(), wide.prod(), wide.max(), wide.min()], rtol=1e-5)
    assert list(got[4:]) == [np.any(v > 2), 1]
    for place in range(lanes):
        w = v.copy()
        w[place] = math.nan
        call(library, "folds", got, w)
        assert np.all(np.isnan(got[:4]))
    z, folded = some(build.complex, lanes), np.zeros(2, build.complex)
    call(library, "complex_folds", folded, z)
    np.testing.assert_allclose(folded, [z.sum(), z.prod()], rtol=1e-5)
    k, whole = np.arange(1, lanes + 1), np.zeros(4, np.int64)
    call(library, "integer_folds", whole, k)
    assert list(whole) == [k.sum(), k.prod(), lanes, 1]


@np.errstate(all="ignore")
def expected_of(name: str, x: list[Array]) -> Array:
    own = {
        "relu": lambda a: np.maximum(a, 0), "mod": lambda a, b: np.where(b == 0, 0, np.mod(a, np.where(b == 0, 1, b))),
        "pow": lambda a, b: np.array([_power(int(p), int(q)) for p, q in zip(a, b, strict=True)]),
        "cast_real": lambda a: a, "real_if": lambda a: a, "int_if": lambda a: a, "rmax": np.maximum,
        "rmul": np.multiply, "rmod": np.mod, "angle": np.angle,
        "neg": np.negative, "add": np.add, "sub": np.subtract, "mul": np.multiply,
        "min": np.minimum, "max": np.maximum, "lt": np.less, "le": np.less_equal, "gt": np.greater,
        "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal, "not": np.logical_not, "and": np.logical_and,
        "or": np.logical_or, "abs": np.abs, "sign": np.sign, "where": np.where,
        "div": np.true_divide, "power": np.power, "logaddexp": np.logaddexp, "complex": lambda a: a, "if": lambda a: a,
    }  # fmt: skip
    key = name if name in own else name.split("_")[1] if "_" in name else name[1:]
    return own[key](*x)


def _power(a: int, n: int) -> int:
    """As torch has it for negative exponents, modulo 2^64."""
    if n < 0:
        return {1: 1, -1: -1 if n % 2 else 1}.get(a, 0)
    value = pow(a, n, 2**64)
    return value - 2**64 if value >= 2**63 else value


@pytest.mark.parametrize("name", [*OPERATIONS])
def test_operators(made: tuple[Build, ctypes.CDLL], name: str) -> None:
    build, library = made
    _, kinds, result = OPERATIONS[name]
    rng = np.random.default_rng(9)
    dtypes = {"i": np.int64, "b": np.bool_, "r": build.dtype, "c": build.complex}
    values: dict[str, Array] = {
        "i": rng.integers(-9, 10, 256), "b": rng.random(256) < 0.5, "r": rng.normal(size=256) * 4,
        "c": rng.normal(size=256) + 1j * rng.normal(size=256),
    }  # fmt: skip
    x = [np.roll(values[k], 37 * i).astype(dtypes[k]) for i, k in enumerate(kinds)]
    out = np.zeros(256, dtypes[result])
    for number in [*range(-1, len(kinds) if len(kinds) > 1 else 0), None]:
        operands = [np.full_like(a, a[0]) if number == i else a for i, a in enumerate(x)]
        call(library, f"s_{name}" if number is None else f"v{number + 1}_{name}", out, *x, 256)
        np.testing.assert_allclose(out, expected_of(name, operands), rtol=1e-5, atol=1e-5)


SANITIZED = """
extern "C" void *malloc(unsigned long);
extern "C" void free(void *) noexcept;
template <class T> void edges() {
    for (i64 n = 1; n <= LANES; n++) {
        T *x = (T *)malloc(n * sizeof(T)), *y = (T *)malloc(n * sizeof(T));
        __builtin_memset(x, 0, n * sizeof(T));
        store_n(y, load_n(x, n, load1(x)), n);
        if (n % 3 == 1) store_strided(y, 3, load_strided(x, 3, n / 3 + 1, load1(x)), n / 3 + 1);
        free(x);
        free(y);
    }
}
int main() {
    TYPES
    const real ends[] = {0, -real(0), 1, -1, real(0.3), 1000, -1000, real(3e38), -real(3e38), SMALLEST, SMALLEST / 8,
                         INFINITE, -INFINITE, NOT_A_NUMBER, real(12345678), -real(1e30)};
    real x[16], o[16];
    for (int i = 0; i < 16; i++) x[i] = ends[i];
    FUNCTIONS
    return 0;
}
"""


@pytest.mark.slow
def test_nothing_undefined_and_nothing_out_of_bounds(tmp_path: Path) -> None:
    """Tails at the very ends of allocations, and every function of a number and of a vector over special values."""
    types = "\n    ".join(f"edges<{kind}>();" for kind, _ in STORED.values())
    heads = [line.split("(")[0].split()[-1] for line in functions().splitlines() if line.startswith('extern "C" void')]
    plain = [
        h
        for h in heads
        if not h.startswith(("v_c_", "s_c_")) and h[2:] not in ("pow", "mod", "min", "max", "logaddexp")
    ]
    calls = "\n    ".join(f"{h}(o, x, 16);" for h in plain)
    text = support_text(names(), "float", 8) + functions()
    text += SANITIZED.replace("TYPES", types).replace("FUNCTIONS", calls)
    source = tmp_path / "checked.cpp"
    source.write_text(text)
    assert COMPILER is not None
    checks = "-fsanitize=address,undefined"
    command = [
        COMPILER,
        *FLAGS,
        "-O1",
        checks,
        "-fno-sanitize-recover=all",
        "-o",
        str(tmp_path / "checked"),
        str(source),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in built.stderr:
        pytest.skip("the compiler has no sanitizers here")
    assert built.returncode == 0, built.stderr[:3000]
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    done = subprocess.run([tmp_path / "checked"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[:3000]
