"""Every example, compiled, against its reference: values, gradients, steps, packed sequences, in every legal form."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

import ssmc
from tests.examples import harness
from tests.examples.cases import BY_NAME, CASES, Arrays, Case

BATCH = 2
EXACT, SINGLE, SLOPE = 1e-9, 1e-4, 2e-6

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_causal_case = pytest.mark.parametrize("case", [c for c in CASES if c.causal], ids=lambda case: case.name)


def drawn(case: Case, length: int, batch: int = BATCH) -> tuple[Arrays, Arrays]:
    """Arrays and initial states, the same for the same question."""
    rng = np.random.default_rng([length, batch, *case.name.encode()])
    return case.make_inputs(rng, batch, length), case.make_state(rng, batch)


def input_names(case: Case) -> set[str]:
    return {d.name for d in case.inputs}


@each_case
def test_class(case: Case) -> None:
    told = harness.explained(case.name)
    for expect in case.expect:
        holders = [c for c in told["components"] if expect.state in ("*", *c["states"])]
        assert holders, f"no component holds {expect.state}"
        assert any(
            c["algebra"] in expect.algebra.split("|")
            and c["time"] in expect.time.split("|")
            and c["structure"] in expect.structure.split("|")
            and c["class"] in expect.kclass.split("|")
            for c in holders
        ), f"{expect} is not what was found: {[(c['algebra'], c['time'], c['structure'], c['class']) for c in holders]}"


# A form is of no use if the analysis does not find it: matrix states in chunks, diagonal time-invariant ones by FFT.
FORMS = (
    [(name, "S", "chunked") for name in (
        "linear_attention", "linear_attention_unnormalised", "retnet", "lightning_attention", "ssd", "mamba2", "mamba3",
        "mamba3_mimo", "gla", "hgrn2", "rwkv5", "rwkv6", "hydra",
    )]
    + [("gsa", "keys", "chunked"), ("gsa", "values", "chunked"), ("hydra", "T", "chunked")]
    + [("based", "S1", "chunked"), ("based", "S2", "chunked")]
    + [(name, "h", "conv") for name in ("ema", "s4d", "lru", "mega", "h3")]
    + [("s5", "x", "conv")]
    + [(name, "h", "scan") for name in ("diagonal", "mamba", "longhorn", "hgrn", "qrnn", "min_gru", "rg_lru")]
    + [("mlstm", "m", "scan"), ("mlstm", "C", "scan"), ("rwkv4", "aa", "scan"), ("rwkv4", "pp", "scan")]
)  # fmt: skip


@pytest.mark.parametrize(("name", "state", "form"), FORMS)
def test_form_is_found(name: str, state: str, form: str) -> None:
    (component,) = (c for c in harness.explained(name)["components"] if state in c["states"])
    legal = {f["name"]: (f["legal"], f["reason"]) for f in component["forms"]}
    assert legal[form][0], legal[form][1]


@each_case
@pytest.mark.parametrize("length", [0, 1, 11])
def test_forward(case: Case, length: int) -> None:
    arrays, state = drawn(case, length)
    for form in harness.legal_forms(harness.explained(case.name)):
        for given in (None, state):
            expected = case.run(arrays, given)
            initial = None if given is None else harness.tensors(given)
            actual = harness.call(case, harness.tensors(arrays), initial, form=form)
            harness.agree(actual, expected, EXACT, f"{form}, {'given' if given else 'default'} state:")


@each_case
def test_longer_sequence(case: Case) -> None:
    """Longer than any chunk, and a prime: every form, and the one chosen."""
    arrays, state = drawn(case, 131, batch=1)
    expected = case.run(arrays, state)
    for form in ["auto", *harness.legal_forms(harness.explained(case.name))]:
        actual = harness.call(case, harness.tensors(arrays), harness.tensors(state), form=form)
        harness.agree(actual, expected, EXACT, form)


@each_case
def test_single_precision(case: Case) -> None:
    arrays, state = drawn(case, case.length)
    expected = case.run(arrays, state)
    for form in harness.legal_forms(harness.explained(case.name)):
        single = torch.float32
        actual = harness.call(case, harness.tensors(arrays, single), harness.tensors(state, single), form=form)
        assert all(x.dtype in (torch.float32, torch.complex64) for x in actual.values())
        harness.agree(actual, expected, SINGLE, form)


@cache
def expected_slopes(name: str, with_state: bool) -> tuple[Arrays, Arrays, Arrays, dict[str, float]]:
    """Leaves (a state as `state:h`), a direction for each, weights of the loss, slopes along the directions."""
    case = BY_NAME[name]
    arrays, state = drawn(case, 7)
    rng = np.random.default_rng(len(name))
    leaves = arrays | ({f"state:{n}": x for n, x in state.items()} if with_state else {})

    def draw(x: np.ndarray) -> np.ndarray:
        noise = rng.standard_normal(x.shape)
        return noise + 1j * rng.standard_normal(x.shape) if np.iscomplexobj(x) else noise

    directions = {n: draw(x) for n, x in leaves.items() if x.dtype != bool}
    weights = {n: draw(x) for n, x in case.run(arrays, state).items()}

    def loss(values: Arrays) -> float:
        initial = {n.removeprefix("state:"): x for n, x in values.items() if n.startswith("state:")}
        result = case.run({n: x for n, x in values.items() if not n.startswith("state:")}, initial or None)
        return float(sum(np.sum(weights[n].conj() * x).real for n, x in result.items()))

    return leaves, directions, weights, harness.slopes(loss, leaves, directions)


@each_case
@pytest.mark.parametrize("with_state", [False, True], ids=["default state", "given state"])
def test_gradients(case: Case, with_state: bool) -> None:
    """Of a random projection of outputs and final states, along a random direction of every input, param and state."""
    leaves, directions, weights, expected = expected_slopes(case.name, with_state)
    for form in harness.legal_forms(harness.explained(case.name)):
        values = harness.tensors(leaves)
        for name in directions:
            values[name].requires_grad_(True)
        initial = {n.removeprefix("state:"): x for n, x in values.items() if n.startswith("state:")}
        arrays = {n: x for n, x in values.items() if not n.startswith("state:")}
        result = harness.call(case, arrays, initial or None, form=form)
        loss = sum((harness.to_tensor(weights[n]).conj() * x).real.sum() for n, x in result.items())
        names = list(directions)
        found = torch.autograd.grad(loss, [values[n] for n in names], allow_unused=True)
        scale = max(1.0, *(abs(slope) for slope in expected.values()))
        for name, gradient in zip(names, found, strict=True):
            along = (
                0.0 if gradient is None else float((gradient.conj() * harness.to_tensor(directions[name])).real.sum())
            )
            assert along == pytest.approx(expected[name], rel=SLOPE, abs=SLOPE * scale), f"{form}: gradient of {name}"


@each_case
def test_gradients_over_chunks(case: Case) -> None:
    """The whole gradient of every form equals that of the loop, where the forms cross the borders of their chunks."""
    arrays, state = drawn(case, 71, batch=1)
    rng = np.random.default_rng(2)
    found: dict[str, dict[str, torch.Tensor]] = {}
    weights: dict[str, torch.Tensor] = {}
    for form in ["recurrent", *harness.legal_forms(harness.explained(case.name))]:
        values, initial = harness.tensors(arrays), harness.tensors(state)
        leaves = {n: x.requires_grad_(True) for n, x in (values | initial).items() if x.dtype is not torch.bool}
        result = harness.call(case, values, initial, form=form)
        weights = weights or {n: torch.from_numpy(rng.standard_normal(x.shape)) for n, x in result.items()}
        loss = sum((x * weights[n]).real.sum() for n, x in result.items())
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        found[form] = dict(zip(leaves, gradients, strict=True))
    expected = {n: x.numpy() for n, x in found["recurrent"].items()}
    for form, gradient in found.items():
        harness.agree(gradient, expected, 1e-8, f"{form}: gradient of")


@each_causal_case
@pytest.mark.parametrize("with_state", [False, True], ids=["default state", "given state"])
def test_step_by_step(case: Case, with_state: bool) -> None:
    """Token by token: the outputs and the final state of the whole run."""
    arrays, state = drawn(case, 6)
    f, whole, steps = harness.load(case.name), harness.tensors(arrays), []
    if with_state:
        current = harness.tensors(state)
    else:
        params = {d.name: whole[d.name] for d in case.params}
        current = f.init_state(BATCH, **params, sizes=case.sizes, dtype=torch.float64)
    for t in range(6):
        now = {n: x[:, t] if n in input_names(case) else x for n, x in whole.items()}
        out, current = f.step(current, **now)
        steps.append(harness.by_name(case, out))
    actual = {n: torch.stack([step[n] for step in steps], dim=1) for n in steps[0]}
    actual |= {f"state.{d.name}": current[d.name] for d in case.states}
    harness.agree(actual, case.run(arrays, state if with_state else None), EXACT)


def test_what_looks_ahead_has_no_step() -> None:
    with pytest.raises(ssmc.SpecError):
        harness.load("hydra").step(None)


@each_causal_case
def test_two_pieces(case: Case) -> None:
    """Running in two pieces, with the whole state carried, equals running at once, in every form."""
    arrays, state = drawn(case, 9)
    expected = case.run(arrays, state)
    whole = harness.tensors(arrays)
    first = {n: x[:, :4] if n in input_names(case) else x for n, x in whole.items()}
    second = {n: x[:, 4:] if n in input_names(case) else x for n, x in whole.items()}
    f = harness.load(case.name)
    for form in harness.legal_forms(harness.explained(case.name)):
        a, middle = f(**first, state=harness.tensors(state), return_state=True, form=form)
        b, last = f(**second, state=middle, return_state=True, form=form)
        a, b = harness.by_name(case, a), harness.by_name(case, b)
        actual = {n: torch.cat([a[n], b[n]], dim=1) for n in a} | {f"state.{d.name}": last[d.name] for d in case.states}
        harness.agree(actual, expected, EXACT, form)


@each_case
def test_packed(case: Case) -> None:
    """Sequences end to end in one row equal separate runs, and a loss on one has no gradient in another."""
    counts = [3, 1, 0, 7]
    total, ends = sum(counts), np.cumsum([0, *counts])
    arrays, _ = drawn(case, total, batch=1)
    state = drawn(case, 0, batch=len(counts))[1]
    values = harness.tensors(arrays)
    for name in input_names(case):
        if values[name].dtype is not torch.bool:
            values[name].requires_grad_(True)
    actual = harness.call(case, values, harness.tensors(state), cu_seqlens=torch.tensor(ends))
    outputs = harness.output_names(case)
    for i, count in enumerate(counts):
        here = slice(ends[i], ends[i + 1])
        alone = {n: x[:, here] if n in input_names(case) else x for n, x in arrays.items()}
        expected = case.run(alone, {n: x[i : i + 1] for n, x in state.items()})
        part = {n: actual[n][:, here] if n in outputs else actual[n][i : i + 1] for n in expected}
        harness.agree(part, expected, EXACT, f"sequence {i} of {count} steps:")
    last = sum(actual[n][:, ends[-2] :].square().sum() for n in outputs)
    leaves = [n for n in input_names(case) if values[n].requires_grad]
    for name, gradient in zip(
        leaves, torch.autograd.grad(last, [values[n] for n in leaves], allow_unused=True), strict=True
    ):
        assert gradient is None or not gradient[:, : ends[-2]].any(), f"{name} leaks over a boundary"


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("hippo_legs", ("A", "B")),
        ("hippo_legt", ("A", "B")),
        ("hippo_fout", ("A", "B")),
        ("lmu", ("A", "B")),
        ("lssl", ("A", "B")),
        ("lru", ("gamma_log",)),
    ],
)
def test_defaults(name: str, left_out: tuple[str, ...]) -> None:
    """Params left out take their defaults: the published matrices, the published initial values."""
    case = BY_NAME[name]
    arrays, state = drawn(case, 5)
    if name == "lru":
        arrays["gamma_log"] = np.log(np.sqrt(1 - np.exp(-np.exp(arrays["nu_log"])) ** 2))
    given = {n: x for n, x in harness.tensors(arrays).items() if n not in left_out}
    actual = harness.call(case, given, harness.tensors(state), sizes={"N": case.sizes["N"]})
    harness.agree(actual, case.run(arrays, state), EXACT)


def test_retnet_defaults() -> None:
    """gamma = 1 - 2^(-5 - h); theta as 10000^-linspace(0, 1, K/2), twice each."""
    case = BY_NAME["retnet"]
    arrays, state = drawn(case, 5)
    arrays["gamma"] = np.array([1 - 2.0**-5, 1 - 2.0**-6])
    arrays["theta"] = np.repeat(10000.0 ** -np.linspace(0, 1, case.sizes["K"] // 2), 2)
    given = {n: x for n, x in harness.tensors(arrays).items() if n not in ("gamma", "theta")}
    actual = harness.call(case, given, harness.tensors(state))
    harness.agree(actual, case.run(arrays, state), EXACT)
