"""Every entry of the operator table says the truth: its columns against each other, numerically and symbolically."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ssmc.expr.arena import Arena
from ssmc.expr.arrays import Arrays, NumpyArrays, TorchArrays
from ssmc.expr.bounds import ANY, Interval
from ssmc.expr.evaluate import Named, evaluate
from ssmc.expr.nodes import KINDS, Kind, Node
from ssmc.expr.ops import OPS, REDUCTIONS, Operator

NUMPY = NumpyArrays()
RNG_SEED = 7
POINTS = 64

# Where an operand's values are drawn from; (-3, 3) where nothing is said. Away from the edges of the domain.
DOMAIN: dict[str, tuple[tuple[float, float], ...]] = {
    "log": ((0.1, 5.0),),
    "log1p": ((-0.9, 5.0),),
    "sqrt": ((0.1, 5.0),),
    "rsqrt": ((0.1, 5.0),),
    "pow": ((0.2, 3.0), (-2.0, 3.0)),
    "div": ((-3.0, 3.0), (0.3, 3.0)),
    "mod": ((-9.0, 9.0), (0.7, 3.0)),
    "tan": ((-1.3, 1.3),),
}
# Where the function is not differentiable; points nearer than 1e-3 to it are not used.
KINKS: dict[str, Callable[..., np.ndarray]] = {
    "abs": lambda x: x,
    "sign": lambda x: x,
    "relu": lambda x: x,
    "elu": lambda x: x,
    "angle": lambda x: x,
    "floor": lambda x: x - np.round(x),
    "round": lambda x: x - np.floor(x) - 0.5,
    "mod": lambda x, y: x / y - np.round(x / y),
    "min": lambda x, y: x - y,
    "max": lambda x, y: x - y,
    **{op: lambda x, y: x - y for op in ("lt", "le", "gt", "ge", "eq", "ne")},
}
SPECIAL = np.array([0.0, 1.0, -1.0, 0.5, 2.0, 1e-9, 700.0, -700.0])

ALL = pytest.mark.parametrize("op", OPS.values(), ids=list(OPS))


@pytest.fixture(scope="module")
def torch_arrays() -> TorchArrays:
    return TorchArrays()


def _legal_kinds(op: Operator) -> list[tuple[Kind, ...]]:
    every = itertools.product(KINDS, repeat=op.arity)
    return [k for k in every if op.rule(*k) is not None and not (op.name == "phi" and k[1] != "int")]


def _operand(op: Operator, i: int, kind: Kind, rng: np.random.Generator, count: int = POINTS) -> np.ndarray:
    if op.name == "phi" and i == 1:
        return np.asarray(2)
    low, high = DOMAIN.get(op.name, ((-3.0, 3.0),) * 3)[i]
    match kind:
        case "bool":
            return rng.random(count) < 0.5
        case "int":
            return rng.integers(math.ceil(low), math.floor(high) + 1, count)
        case "real":
            return rng.uniform(low, high, count)
        case "complex":
            return rng.uniform(low, high, count) + 1j * rng.uniform(-1.2, 1.2, count)


def _value(op: Operator, xp: Arrays, kinds: tuple[Kind, ...], *operands: Any) -> Any:
    """As the evaluator computes it: through an arena, so that conversions are those of the compiler."""
    arena = Arena()
    leaves = [
        arena.const(2) if op.name == "phi" and i == 1 else arena.local(f"x{i}", ("batch",), k)
        for i, k in enumerate(kinds)
    ]
    node = arena.map(op.name, *leaves)
    return _evaluated(node, xp, dict(zip(leaves, operands, strict=True)))


def _evaluated(node: Node, xp: Arrays, values: dict[Node, Any]) -> Any:
    count = max(len(v) for v in values.values() if np.ndim(v))
    return evaluate([node], lambda leaf: Named(("batch",), xp.asarray(values[leaf], leaf.kind)), xp, {"batch": count})[
        0
    ].data


# -- columns -------------------------------------------------------------------------------------------------------


@ALL
def test_no_column_is_missing(op: Operator) -> None:
    assert OPS[op.name] is op
    for field in dataclasses.fields(op):
        if field.default is dataclasses.MISSING:
            assert getattr(op, field.name) is not None, field.name
    assert len(op.monotone) == op.arity
    assert set(op.monotone) <= {-1, 0, 1}
    assert isinstance(op.range(*[ANY] * op.arity), Interval)
    assert _legal_kinds(op), "no operands are legal"
    assert set(op.distributes_over) | set(op.distributes_if_nonnegative) <= set(OPS)
    assert not (op.associative and op.arity != 2)
    assert op.cost >= 0


@ALL
def test_kind_of_the_result(op: Operator) -> None:
    for kinds in _legal_kinds(op):
        rng = np.random.default_rng(RNG_SEED)
        data = [NUMPY.asarray(_operand(op, i, k, rng), k) for i, k in enumerate(kinds)]
        result = op.rule(*kinds)
        assert result in KINDS
        raw = _value(op, NUMPY, kinds, *data)
        if op.name == "pow" and result == "int":
            result = "real"  # the exponent is not known not to be negative
        assert NUMPY.kind_of(raw) == result, kinds


def test_a_power_of_integers_is_one_where_the_exponent_says_so() -> None:
    arena = Arena()
    x = arena.local("x", ("batch",), "int")
    for exponent, kind, value in ((3, "int", 8), (0, "int", 1), (-2, "real", 0.25)):
        power = arena.map("pow", x, arena.const(exponent))
        assert power.kind == kind
        assert _evaluated(power, NUMPY, {x: np.full(1, 2)}) == value
    folded = arena.map("pow", arena.const(2), arena.const(-1))
    assert (folded.kind, folded.value) == ("real", 0.5)  # type: ignore[attr-defined]
    huge = arena.map("pow", arena.const(100_000), arena.const(63))
    assert huge.kind == "real"


def test_every_reduction_names_an_operator_with_an_identity() -> None:
    for name, reduction in REDUCTIONS.items():
        entry = OPS[reduction.operator]
        assert reduction.name == name
        assert entry.associative
        assert entry.commutative
        assert entry.identity is not None


# -- evaluation ----------------------------------------------------------------------------------------------------


@ALL
def test_numpy_and_torch_agree(op: Operator, torch_arrays: TorchArrays) -> None:
    for kinds in _legal_kinds(op):
        rng = np.random.default_rng(RNG_SEED)
        data = [_operand(op, i, k, rng) for i, k in enumerate(kinds)]
        ours = _plain(_value(op, NUMPY, kinds, *data))
        theirs = _plain(_value(op, torch_arrays, kinds, *data))
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=1e-14, err_msg=str(kinds))


@ALL
def test_numpy_and_torch_agree_at_special_values(op: Operator, torch_arrays: TorchArrays) -> None:
    real: tuple[Kind, ...] = tuple("bool" if (op.name, i) == ("where", 0) else "real" for i in range(op.arity))
    if op.rule(*real) is None or op.name == "pow":
        return  # logic has no special values; powers at the edges of the domain are libm's business
    grid = np.meshgrid(*[SPECIAL] * op.arity)
    data = [g.ravel() if k == "real" else g.ravel() > 0 for g, k in zip(grid, real, strict=True)]
    if op.name == "phi":
        data[1] = np.asarray(2)
        data[0] = SPECIAL
    if op.name in ("div", "mod"):  # by zero: infinities have a sign, NaN is NaN
        keep = data[1] != 0
        data = [d[keep] for d in data]
    ours, theirs = (_plain(_value(op, xp, real, *data)) for xp in (NUMPY, torch_arrays))
    np.testing.assert_allclose(theirs, ours, rtol=1e-11, atol=1e-300)


def _plain(x: Any) -> np.ndarray:
    """An array of either library as NumPy's."""
    return x.detach().resolve_conj().numpy(force=True) if hasattr(x, "detach") else np.asarray(x)


def _symbolic_value(op: Operator, *operands: Any) -> complex:
    import sympy as sp

    symbols = [sp.Symbol(f"x{i}", real=not isinstance(v, complex)) for i, v in enumerate(operands)]
    # the symbols first, so that `symbolic` sees what the proofs give it
    args = [sp.true if v is True else sp.false if v is False else s for s, v in zip(symbols, operands, strict=True)]
    expr = op.symbolic(sp, *args)
    result = expr.subs({s: sp.sympify(v) for s, v in zip(symbols, operands, strict=True) if not isinstance(v, bool)})
    return bool(result) if result in (sp.true, sp.false) else complex(sp.N(result, 30))


@ALL
def test_the_symbolic_form_has_the_same_value(op: Operator) -> None:
    if op.name in ("phi", "round"):
        return  # uninterpreted in proofs
    rng = np.random.default_rng(RNG_SEED)
    for kinds in _legal_kinds(op):
        if op.name.startswith("cast") or kinds.count("bool") not in (0, op.arity, 1 if op.name == "where" else 0):
            continue  # arithmetic on truth values goes through a conversion, which sympy does not have
        if "bool" in kinds and op.rule(*kinds) != "bool" and op.name != "where":
            continue
        if op.name in ("eq", "ne", "lt", "le", "gt", "ge") and "bool" in kinds:
            continue
        data = [_operand(op, i, k, rng, 3) for i, k in enumerate(kinds)]
        ours = np.asarray(_value(op, NUMPY, kinds, *data))
        for j in range(3):
            operands = [d[j].item() for d in data]
            np.testing.assert_allclose(_symbolic_value(op, *operands), ours[j], rtol=1e-10, atol=1e-12)


# -- derivatives ---------------------------------------------------------------------------------------------------


def _partials(op: Operator, kinds: tuple[Kind, ...]) -> tuple[list[Node], Node, tuple[Node | None, ...]]:
    arena = Arena()
    leaves: list[Node] = [
        arena.const(2) if op.name == "phi" and i == 1 else arena.local(f"x{i}", ("batch",), k)
        for i, k in enumerate(kinds)
    ]
    out = arena.map(op.name, *leaves)
    return leaves, out, op.derivative(arena, tuple(leaves), out)


def _smooth(op: Operator, data: list[np.ndarray]) -> np.ndarray:
    kink = KINKS.get(op.name)
    return np.abs(kink(*data)) > 1e-3 if kink is not None else np.full(POINTS, True)


@ALL
def test_the_derivative_is_the_slope(op: Operator) -> None:
    checked = 0
    for kinds in _legal_kinds(op):
        if (
            not set(kinds) & {"real", "complex"}
            or ("complex" in kinds and not op.holomorphic)
            or op.name == "cast_complex"
        ):
            continue
        rng = np.random.default_rng(RNG_SEED)
        data = [NUMPY.asarray(_operand(op, i, k, rng), k) for i, k in enumerate(kinds)]
        leaves, out, partials = _partials(op, kinds)
        assert len(partials) == op.arity
        with np.errstate(all="ignore"):
            smooth = _smooth(op, data)
        if op.name in ("div", "mod"):
            smooth &= data[1] != 0
        if op.name == "pow":
            smooth &= data[0] != 0
        for i, kind in enumerate(kinds):
            if kind not in ("real", "complex") or (op.name == "phi" and i == 1):
                continue
            for direction in (1.0, 1j) if kind == "complex" else (1.0,):
                h = 1e-5

                def at(step: complex, i: int = i) -> np.ndarray:
                    moved = [d + step if j == i else d for j, d in enumerate(data)]  # noqa: B023
                    return np.asarray(_evaluated(out, NUMPY, dict(zip(leaves, moved, strict=True))))  # noqa: B023

                ends = at(h * direction), at(-h * direction)
                with np.errstate(all="ignore"):  # at the points left out below
                    difference = ends[0] != ends[1] if ends[0].dtype == bool else ends[0] - ends[1]
                    slope = difference / (2 * h * direction)
                given = partials[i]
                if given is None:
                    value = np.zeros(POINTS)
                else:
                    value = np.broadcast_to(_evaluated(given, NUMPY, dict(zip(leaves, data, strict=True))), POINTS)
                np.testing.assert_allclose(
                    np.asarray(value)[smooth], slope[smooth], rtol=2e-7, atol=2e-8, err_msg=f"{kinds} by operand {i}"
                )
                checked += 1
    needs_one = op.rule(*["real"] * op.arity) is not None and op.name != "cast_complex"
    assert checked or not needs_one or not op.holomorphic


@ALL
def test_the_derivative_is_what_autograd_gives(op: Operator, torch_arrays: TorchArrays) -> None:
    import torch

    kinds: tuple[Kind, ...] = tuple("bool" if (op.name, i) == ("where", 0) else "real" for i in range(op.arity))
    if op.rule(*kinds) not in ("real", "complex"):
        return
    rng = np.random.default_rng(RNG_SEED)
    data = [_operand(op, i, k, rng) for i, k in enumerate(kinds)]
    tensors = [torch.tensor(d).requires_grad_(d.dtype == np.float64) for d in data]
    leaves, out, partials = _partials(op, kinds)
    value = _evaluated(out, torch_arrays, dict(zip(leaves, tensors, strict=True)))
    if value.is_complex():
        value = value.real
    wanted = [t for t in tensors if t.requires_grad]
    grads = iter(
        torch.autograd.grad(value.sum(), wanted, allow_unused=True) if value.requires_grad else [None] * len(wanted)
    )
    for i, t in enumerate(tensors):
        if not t.requires_grad:
            continue
        theirs = next(grads)
        expected = np.zeros(POINTS) if theirs is None else _plain(theirs)
        given = partials[i]
        ours = 0.0 if given is None else _evaluated(given, NUMPY, dict(zip(leaves, data, strict=True)))
        np.testing.assert_allclose(np.broadcast_to(np.real(ours), POINTS), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["min", "max"])
def test_a_tie_gives_half_to_each_side(name: str) -> None:
    leaves, _, partials = _partials(OPS[name], ("real", "real"))
    at = dict.fromkeys(leaves, np.ones(1))
    for p in partials:
        assert p is not None
        assert _evaluated(p, NUMPY, at) == 0.5


def test_a_masked_power_has_a_finite_derivative_at_zero() -> None:
    leaves, _, partials = _partials(OPS["pow"], ("real", "real"))
    at = {leaves[0]: np.zeros(1), leaves[1]: np.full(1, 2.0)}
    assert partials[1] is not None
    assert _evaluated(partials[1], NUMPY, at) == 0.0


# -- algebra -------------------------------------------------------------------------------------------------------


def _samples(op: Operator, kind: Kind) -> list[np.ndarray]:
    rng = np.random.default_rng(RNG_SEED)
    if kind == "bool":
        grid = np.meshgrid(*[[False, True]] * 3)
        return [g.ravel() for g in grid]
    if kind == "int":
        return [rng.integers(-9, 9, 200) for _ in range(3)]
    real = [rng.normal(size=200) * 3 for _ in range(3)]
    return [r + 1j * rng.normal(size=200) for r in real] if kind == "complex" else real


def _each_algebra(op: Operator) -> list[Kind]:
    """The kinds within which the operator is closed."""
    return [k for k in KINDS if op.arity == 2 and op.rule(k, k) == k]


def _apply(op: Operator, kind: Kind, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(_value(op, NUMPY, (kind, kind), x, y))


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.allclose(a, b, rtol=1e-12, atol=1e-12))


@ALL
def test_declared_algebra_holds_and_undeclared_does_not(op: Operator) -> None:
    kinds = _each_algebra(op)
    associative, commutative = [], []
    for kind in kinds:
        x, y, z = _samples(op, kind)
        with np.errstate(all="ignore"):
            left, right = _apply(op, kind, _apply(op, kind, x, y), z), _apply(op, kind, x, _apply(op, kind, y, z))
            associative.append(_equal(left, right))
            commutative.append(_equal(_apply(op, kind, x, y), _apply(op, kind, y, x)))
    if kinds and op.name not in ("eq", "ne"):  # those are closed within truth values only
        assert op.associative == all(associative), (kinds, associative)
        assert op.commutative == all(commutative), (kinds, commutative)
    elif op.arity == 2 and op.commutative:
        x, y, _ = _samples(op, "real")
        assert _equal(_apply(op, "real", x, y), _apply(op, "real", y, x))


@ALL
def test_identity_and_annihilator(op: Operator) -> None:
    for column in ("identity", "annihilator"):
        constant = getattr(op, column)
        if constant is None:
            continue
        kinds = [k for k in _each_algebra(op) if not (k in ("bool", "int") and isinstance(constant, float))]
        assert kinds, "no kind within which it could be one"
        for kind in kinds:
            x = _samples(op, kind)[0]
            c = np.full(x.shape, constant, dtype=x.dtype)
            wanted = x if column == "identity" else c
            assert _equal_exact(_apply(op, kind, x, c), wanted), (column, kind)
            assert _equal_exact(_apply(op, kind, c, x), wanted), (column, kind)


def _equal_exact(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b))


@ALL
def test_what_distributes(op: Operator) -> None:
    for other_name, columns in itertools.product(OPS, (False, True)):
        other = OPS[other_name]
        declared = op.distributes_if_nonnegative if columns else op.distributes_over
        kinds = [k for k in _each_algebra(op) if k in _each_algebra(other) and other.associative]
        if other_name not in declared and (columns or not kinds or not op.associative):
            continue
        if other_name in declared:
            kinds = [k for k in _each_algebra(op) if k in _each_algebra(other)]
            assert kinds, f"{op.name} cannot distribute over {other_name}: no kind in common"
        holds = []
        for kind in kinds:
            x, y, z = _samples(op, kind)
            if columns:
                x = np.abs(x)
            left = _apply(op, kind, x, _apply(other, kind, y, z))
            right = _apply(other, kind, _apply(op, kind, x, y), _apply(op, kind, x, z))
            holds.append(_equal(left, right))
        assert all(holds) == (other_name in declared), (other_name, kinds, holds)


@ALL
def test_monotone_as_declared(op: Operator) -> None:
    kinds: tuple[Kind, ...] = tuple("real" for _ in range(op.arity))
    if op.rule(*kinds) is None:
        kinds = tuple("bool" if i == 0 or op.name != "where" else "real" for i in range(op.arity))
    if op.rule(*kinds) in (None, "complex"):
        return
    for i, declared in enumerate(op.monotone):
        rng = np.random.default_rng(RNG_SEED)
        data = [_operand(op, j, k, rng, 400) for j, k in enumerate(kinds)]
        if op.name in ("div", "tan"):  # over several branches
            data = [rng.uniform(-3.0, 3.0, 400) for _ in kinds]
        if kinds[i] == "bool":
            more = np.full(400, True)
        elif op.name == "phi" and i == 1:
            continue
        else:
            more = data[i] + rng.uniform(0, 2, 400)
            more = np.minimum(more, DOMAIN.get(op.name, ((-3.0, 3.0),) * 3)[i][1])
        moved = [more if j == i else d for j, d in enumerate(data)]
        before, after = (np.asarray(_value(op, NUMPY, kinds, *d)).astype(float) for d in (data, moved))
        rises, falls = bool(np.all(after >= before - 1e-12)), bool(np.all(after <= before + 1e-12))
        if declared:
            assert rises if declared > 0 else falls, f"operand {i}"
        elif kinds[i] != "bool" and op.name not in ("eq", "ne", "real", "imag", "angle", "pow"):
            assert not rises, f"operand {i} rises and is not declared so"
            assert not falls, f"operand {i} falls and is not declared so"


INTERVALS = [
    *((-3.0, -1.0), (-2.0, 0.0), (-1.0, 1.0), (0.0, 2.0), (0.5, 2.5), (0.0, 1.0), (2.0, 2.0)),
    *((0.0, math.inf), (-math.inf, math.inf), (-math.inf, 0.0)),
]


@ALL
def test_the_range_holds_every_value(op: Operator) -> None:
    kinds: tuple[Kind, ...] = tuple("bool" if (op.name, i) == ("where", 0) else "real" for i in range(op.arity))
    if op.rule(*kinds) is None:
        kinds = ("bool",) * op.arity
    rng = np.random.default_rng(RNG_SEED)
    for ends in itertools.product(INTERVALS, repeat=op.arity):
        data = []
        for (low, high), kind in zip(ends, kinds, strict=True):
            points = rng.uniform(max(low, -50.0), min(high, 50.0), 40)
            points[:2] = max(low, -1e3), min(high, 1e3)
            data.append(rng.random(40) < 0.5 if kind == "bool" else points)
        given = [Interval(0.0, 1.0) if k == "bool" else Interval(*e) for e, k in zip(ends, kinds, strict=True)]
        if op.name == "phi":
            data[1] = np.asarray(2)
            given[1] = Interval(2.0, 2.0)
        with np.errstate(all="ignore"):
            value = np.asarray(_value(op, NUMPY, kinds, *data))
        if value.dtype == complex:
            continue
        value = value.astype(float)[~np.isnan(value.astype(float))]
        interval = op.range(*given)
        assert interval.low <= interval.high, (ends, interval)
        slack = 1e-12 * np.clip(np.abs(value), 1, 1e300)
        assert np.all(value >= interval.low - slack), (ends, interval, value.min())
        assert np.all(value <= interval.high + slack), (ends, interval, value.max())


# -- reductions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_reduction_folds_its_operator(name: str, count: int, torch_arrays: TorchArrays) -> None:
    reduction = REDUCTIONS[name]
    op = OPS[reduction.operator]
    rng = np.random.default_rng(RNG_SEED)
    for kind in KINDS:
        if reduction.rule(kind) != kind:
            continue
        if count == 0 and kind == "int" and isinstance(op.identity, float):
            continue  # an int has no infinity: see Arrays._empty
        data = np.asarray(_operand(op, 0, kind, rng, 3 * count)).reshape(3, count)
        wanted = data[:, 0] if count else np.full(3, op.identity).astype(data.dtype)
        for j in range(1, count):
            wanted = _apply(op, kind, wanted, data[:, j])
        for xp in (NUMPY, torch_arrays):
            got = np.asarray(xp.reduce(name, xp.asarray(data, kind), (1,)))
            np.testing.assert_allclose(got, wanted, rtol=1e-12)
