"""Forward and backward as a pair: gradients from saved states are autograd's, on examples and generated specs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

import ssmc
from ssmc.adjoint.graph import adjoint, refusal
from ssmc.expr import nodes as n
from ssmc.step.nodes import StepGraph
from tests.differential.adjoint_check import check_adjoint
from tests.differential.generate import generate, sample
from tests.differential.pair_check import ByPair, planned
from tests.examples import harness
from tests.examples.cases import BY_NAME, CASES, Case

CHUNK = 3
LENGTHS = (0, 1, 2, 3, 4, 7)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--specs")))


def _numbers(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(x) for name, x in arrays.items()}


def _check(case: Case, backward: ByPair, length: int, lines: bool) -> None:
    arrays = harness.tensors(case.make_inputs(np.random.default_rng(5), 2, length))
    inputs = {d.name for d in case.inputs}
    check_adjoint(
        harness.load(case.name).graph,
        {k: v for k, v in arrays.items() if k in inputs},
        {k: v for k, v in arrays.items() if k not in inputs},
        {**case.sizes, **case.extra_sizes},
        backward,
        lines,
    )


@pytest.mark.parametrize("lines", [False, True], ids=["", "lines"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_examples(case: Case, lines: bool) -> None:
    _check(case, ByPair(CHUNK), 7, lines)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_examples_as_modules(case: Case) -> None:
    _check(case, ByPair(CHUNK, module=True), 7, False)


# one of each kind: coupled, complex, both directions, delay lines, matrix states, a stabilised pair, several components
KINDS = ("gru", "s5", "hydra", "mamba", "gla", "gated_deltanet", "mlstm", "rwkv4", "linear_attention")


@pytest.mark.parametrize("module", [False, True], ids=["interpreted", "module"])
@pytest.mark.parametrize("name", KINDS)
def test_lengths(name: str, module: bool) -> None:
    backward = ByPair(CHUNK, module=module)
    for length in LENGTHS:
        _check(BY_NAME[name], backward, length, False)


@pytest.mark.parametrize("form", ["recurrent", "scan", "chunked", "conv"])
@pytest.mark.parametrize("name", ["selective_scan", "gla", "retnet", "s4d", "linear_attention_unnormalised", "hydra"])
def test_forms(name: str, form: str) -> None:
    """Whatever the forward runs as, and the backward, what is handed over is the same."""
    for forms in ((form, "recurrent"), ("recurrent", form), (form, form)):
        _check(BY_NAME[name], ByPair(CHUNK, forms), 7, False)


def test_generated(seed: int) -> None:
    spec = generate(seed)
    graph = ssmc.compile(spec.text).graph
    smooth = [p for p in (*graph.inputs, *graph.params) if p.kind in ("real", "complex")]
    if refusal(graph) or not smooth or not any(o.kind in ("real", "complex") for o in graph.outputs):
        return
    inputs = {p.name for p in spec.ports if p.role == "input"}
    params = _numbers(sample(spec, np.random.default_rng(seed), 2, 1))
    length = LENGTHS[1 + seed % (len(LENGTHS) - 1)]
    values = _numbers(sample(spec, np.random.default_rng([seed, length]), 2, length))
    # a delay line may begin with what a state does, a param say, which only a line with gradients tells
    begun = any(isinstance(x, n.Param) for r in graph.registers if r.origin != "state" for x in n.postorder([r.init]))
    check_adjoint(
        graph,
        {k: v for k, v in values.items() if k in inputs},
        {k: v for k, v in params.items() if k not in inputs},
        spec.sizes,
        ByPair(CHUNK, module=seed % 2 == 1, resumes=seed % 4 < 2),
        lines=seed % 3 == 1 or begun,
    )


def _pair(name: str, forms: tuple[str, str] = ("recurrent", "recurrent")) -> ByPair:
    backward = ByPair(CHUNK, forms)
    _check(BY_NAME[name], backward, 7, False)
    return backward


@pytest.mark.parametrize("name", ["selective_scan", "gla", "gated_deltanet", "gru", "mlstm", "s4d", "rwkv7", "retnet"])
def test_no_pass_forward(name: str) -> None:
    """Nothing is left of the forward's pass: one from the last step to the first does it all, without a workspace."""
    pair = _pair(name).pair
    assert pair is not None
    assert [p.loop.reverse for p in pair.backward.passes] == [True]
    assert {b.role for b in pair.backward.buffers} & {"boundary", "workspace"} == set()
    states = {b.entry for b in pair.backward.buffers if b.role == "state"}
    assert not states & set(pair.saved)
    assert set(pair.saved) == {r.name for r in harness.load(name).graph.registers}


def test_twice() -> None:
    """The adjoint of an adjoint, as a pair: the first backward hands its states to the second."""
    for name in ("selective_scan", "gru", "gla"):
        case = BY_NAME[name]
        graph: StepGraph = adjoint(harness.load(name).graph).graph
        arrays = harness.tensors(case.make_inputs(np.random.default_rng(5), 2, 7))
        rng = np.random.default_rng(7)
        sizes = {**case.sizes, **case.extra_sizes}

        def draw(lead: tuple[int, ...], axes: tuple[str, ...]) -> torch.Tensor:
            return torch.as_tensor(rng.normal(size=(*lead, *(sizes[a.rstrip("'")] for a in axes))) * 0.5)  # noqa: B023

        inputs = {p.name: arrays.get(p.name, draw((2, 7), p.axes)) for p in graph.inputs}
        params = {p.name: arrays.get(p.name, draw((), p.axes)) for p in graph.params}
        backward = ByPair(CHUNK, ("recurrent", "recurrent"))
        check_adjoint(graph, inputs, params, sizes, backward, False)
        assert backward.pair is not None
        assert len(backward.pair.saved) >= 2


def test_a_form_without_states_hands_nothing_over() -> None:
    pair = _pair("s4d", ("conv", "recurrent")).pair
    assert pair is not None
    assert pair.saved == ()
    assert pair.forward.saving == pair.backward.saving == 0
    assert planned(harness.load("s4d").graph, "conv").choices[0].chunk == 0
