"""Decays that overflow, vanish, stand still, grow, alternate or turn, in every form and however the gate is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from tests.numerics.harness import Case, check, compiled, named

# along the axis of the decay: -60 in the exponent, 6.5e-12, 0, 1, ordinary, and a draw of these at every step
DECAYS = np.array([np.exp(-60.0), 6.5e-12, 0.0, 1.0, 0.9])
CHANNELS = len(DECAYS) + 1

FULL = ("recurrent", "scan", "chunked")


def decays(rng: np.random.Generator, *lead: int) -> np.ndarray:
    """(*lead, CHANNELS)."""
    drawn = DECAYS[rng.integers(len(DECAYS), size=(*lead, 1))]
    return np.concatenate([np.broadcast_to(DECAYS, (*lead, len(DECAYS))), drawn], -1)


def log(a: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(a)


def logit(a: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(a) - np.log1p(-a)


def inverse_softplus(x: np.ndarray) -> np.ndarray:
    """What softplus makes x of."""
    with np.errstate(divide="ignore"):
        return np.where(x > 40, x, log(np.expm1(np.minimum(x, 40))))


# how the decay is written, and the argument that makes it a
GATES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "exp": ("exp(g)", log),
    "sigmoid": ("sigmoid(g)", logit),
    "one minus sigmoid": ("1 - sigmoid(g)", lambda a: -logit(a)),
    "softplus": ("exp(-softplus(g))", lambda a: inverse_softplus(-log(a))),
    "logsigmoid": ("exp(logsigmoid(g)/16)", lambda a: logit(a**16)),
    "raw": ("g", lambda a: a),
    "reset": ("where(g < 0, 0, exp(-abs(g)))", lambda a: np.where(a == 0, -1.0, -log(np.where(a == 0, 1.0, a)))),
}
MATRIX = "axis H, K, V\neach H\ninput q[H, K], k[H, K], v[H, V]\n{kind} g{axes}\nstate S[H, K, V]\n"
AXES = {"heads": "[H]", "rows": "[H, K]", "columns": "[H, V]", "shared rows": "[K]"}
SIZES = {"heads": {"H": CHANNELS, "K": 3, "V": 2}, "columns": {"H": 2, "K": 3, "V": CHANNELS}}
ROWS = {"H": 2, "K": CHANNELS, "V": 3}
READ = {"after": "S = {a}*S + k*v\noutput y = q · S\n", "before": "y = q · S\nS = {a}*S + k*v\noutput y\n"}


def matrix_case(gate: str, axes: str, read: str, kind: str) -> Case:
    expression, argument = GATES[gate]
    sizes = SIZES.get(axes, ROWS)
    lead = (2,) if axes in ("rows", "columns") else ()

    def make(rng: np.random.Generator, batch: int, length: int) -> Mapping[str, Any]:
        steps = (batch, length) if kind == "input" else ()
        return {"g": argument(decays(rng, *steps, *lead))}

    spec = MATRIX.format(kind=kind, axes=AXES[axes]) + READ[read].format(a=f"({expression})")
    # a decay along the state's own axes needs a logarithm that is known to exist
    forms = FULL if axes == "heads" or gate != "raw" else ("recurrent", "scan")
    forms = (*forms, "conv") if kind == "param" else forms
    name = f"{gate}, {axes}, read {read}, {kind}"
    return Case(name, spec, forms, make, sizes, lengths=(70,), chunks=(16, 64), state=("S",))


MATRICES = [
    *(matrix_case(gate, axes, "after", "input") for gate in GATES for axes in ("heads", "rows")),
    *(matrix_case(gate, axes, "before", "input") for gate in ("exp", "reset") for axes in AXES),
    *(matrix_case("sigmoid", axes, "after", "param") for axes in AXES),
    matrix_case("raw", "heads", "before", "param"),
]


@pytest.mark.parametrize("case", MATRICES, ids=str)
def test_matrix_states(case: Case) -> None:
    check(case, case.lengths[0])


VECTOR = "axis D\ninput x[D]\n{kind} g[D]\nstate h[D]\nh = ({a})*h + x\noutput y = h\n"


def vector_case(gate: str, kind: str) -> Case:
    expression, argument = GATES[gate]

    def make(rng: np.random.Generator, batch: int, length: int) -> Mapping[str, Any]:
        return {"g": argument(decays(rng, *((batch, length) if kind == "input" else ())))}

    forms = ("recurrent", "scan", "conv") if kind == "param" else ("recurrent", "scan")
    spec = VECTOR.format(kind=kind, a=expression)
    return Case(f"{gate}, {kind}", spec, forms, make, {"D": CHANNELS}, chunks=(64,), state=("h",))


VECTORS = [vector_case(gate, kind) for gate in GATES for kind in ("input", "param")]


@pytest.mark.parametrize("case", VECTORS, ids=str)
def test_vector_states(case: Case) -> None:
    check(case, case.lengths[0])


def fixed(name: str, value: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]) -> list[Case]:
    """One decay in the three places: an input a head, an input an element, a param."""

    def of(size: int) -> Callable[[np.random.Generator, int, int], Mapping[str, Any]]:
        def make(rng: np.random.Generator, batch: int, length: int) -> Mapping[str, Any]:
            return {"g": value(rng, (batch, length, size))}

        return make

    complex_ = np.iscomplexobj(value(np.random.default_rng(0), (1,)))
    mark, out = (" complex", "real({})") if complex_ else ("", "{}")
    head = f"axis H, K, V\neach H\ninput q[H, K], k[H, K], v[H, V], g[H]{mark}\nstate S[H, K, V]{mark}\nS = g*S + k*v\n"
    line = f"axis D\ninput x[D], g[D]{mark}\nstate h[D]{mark}\nh = g*h + x\noutput y = {out.format('h')}\n"
    still = f"axis D\ninput x[D]\nparam g[D]{mark}\nstate h[D]{mark}\nh = g*h + x\noutput y = {out.format('h')}\n"
    heads, elements = {"H": 2, "K": 3, "V": 2}, {"D": 4}
    return [
        Case(f"{name}, head", head + f"output y = {out.format('q · S')}\n", FULL, of(2), heads, state=("S",)),
        Case(f"{name}, element", line, ("recurrent", "scan"), of(4), elements, state=("h",)),
        Case(
            f"{name}, param", still, ("recurrent", "scan", "conv"),
            lambda rng, batch, length: {"g": value(rng, (4,))}, elements, state=("h",),
        ),
    ]  # fmt: skip


FIXED = [
    *fixed("growing", lambda rng, shape: rng.uniform(1.0, 1.08, shape)),
    *fixed("negative", lambda rng, shape: -rng.uniform(0.5, 1.0, shape)),
    *fixed("minus one", lambda rng, shape: -np.ones(shape)),
    *fixed("either sign and zero", lambda rng, shape: rng.choice([-1.0, -0.3, 0.0, 0.6, 1.0], shape)),
    *fixed("on the circle", lambda rng, shape: np.exp(1j * rng.uniform(-np.pi, np.pi, shape))),
    *fixed("near the circle", lambda rng, shape: 0.9999 * np.exp(1j * rng.choice([1e-3, 0.5, np.pi], shape))),
    *fixed("complex or zero", lambda rng, shape: rng.choice([0.0, 0.0j, 1j, -0.5 + 0.5j], shape)),
]


@pytest.mark.parametrize("case", FIXED, ids=str)
def test_decays_of_any_sign(case: Case) -> None:
    check(case, case.lengths[0])


RESETS = {
    "head": ("r[H] bool, a[H]", "where(r, 0, sigmoid(a))"),
    "head, times": ("r[H], a[H]", "(1 - r)*exp(-softplus(a))"),
    "rows": ("r[H] bool, a[H, K]", "where(r, 0, sigmoid(a))"),
    "row by row": ("r[H, K] bool, a[H, K]", "where(r, 0, sigmoid(a))"),
    "rows and columns": ("r[H] bool, a[H, K], b[H, V]", "where(r, 0, sigmoid(a)*sigmoid(b))"),
    "kept": ("r[H] bool, a[H]", "where(r, sigmoid(a), 1)"),
}


@pytest.mark.parametrize("name", RESETS)
def test_resets_lose_no_precision(name: str) -> None:
    """Slow decays after many resets: a running sum of logarithms that kept LOG_ZERO would have two digits left."""
    inputs, decay = RESETS[name]
    soft = name == "head, times"
    spec = (
        f"axis H, K, V\neach H\ninput q[H, K], k[H, K], v[H, V], {inputs}\nstate S[H, K, V]\n"
        f"S = ({decay})*S + k*v\noutput y = q · S\n"
    )

    def make(rng: np.random.Generator, batch: int, length: int) -> Mapping[str, Any]:
        shape = (batch, length, 2, 3) if "r[H, K]" in inputs else (batch, length, 2)
        r = rng.uniform(size=shape) < 0.15
        slow = {"a": rng.uniform(3, 6, (batch, length, 2, 3) if "a[H, K]" in inputs else (batch, length, 2))}
        if soft:
            slow["a"] = -slow["a"]
        return {"r": r.astype(float) if soft else r, **slow}

    sizes = {"H": 2, "K": 3, "V": 4}
    case = Case(name, spec, FULL, make, sizes, chunks=(16, 64), state=("S",))
    check(case, 130)


def test_a_positive_decay_that_rounds_to_zero() -> None:
    """Its logarithm is legal, and infinite in float32: the derivative of the one must not meet that of the other."""
    f = compiled(MATRIX.format(kind="input", axes="[H, K]") + READ["after"].format(a="(1 - 0.999999999*sigmoid(g))"))
    k, g = torch.randn(1, 20, 2, 3), torch.full((1, 20, 2, 3), 40.0)
    wanted = torch.einsum("blhk,blhk->blh", k, k)[..., None] * k
    for form in FULL:
        g = g.detach().requires_grad_()
        y = f(q=k, k=k, v=k, g=g, form=form)
        torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-5)
        (grad,) = torch.autograd.grad(y.sum(), g)
        assert bool((grad.abs() < 1e-6).all()), form


def test_a_reset_forgets_an_infinite_state() -> None:
    """Nothing multiplies what is forgotten, where the spec says where(reset, x, …) and not (1 - reset)*…"""
    f = compiled("axis D\ninput x[D], r bool, a[D]\nstate h[D]\nh = where(r, x, sigmoid(a)*h + x)\noutput y = h\n")
    x = torch.ones(1, 9, 2)
    r = torch.zeros(1, 9, dtype=torch.bool)
    r[:, 4] = True
    (y,) = named(f.graph, f(x=x, r=r, a=x, state={"h": torch.full((1, 2), torch.inf)}, form="recurrent")).values()
    assert bool(torch.isinf(y[:, :4]).all())
    assert bool(torch.isfinite(y[:, 4:]).all())
