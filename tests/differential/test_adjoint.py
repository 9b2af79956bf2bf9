"""Derived adjoints, of the examples and of generated specs, and the adjoints of those."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ssmc
from ssmc.adjoint.graph import refusal
from ssmc.step.nodes import StepGraph
from ssmc.step.sizes import solve_sizes
from tests.differential.adjoint_check import check_adjoint
from tests.differential.generate import generate, sample
from tests.examples import harness
from tests.examples.cases import BY_NAME, CASES, Case

LENGTH = 6


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--specs")))


def _numbers(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(x) for name, x in arrays.items()}


def test_generated(seed: int) -> None:
    spec = generate(seed)
    graph = ssmc.compile(spec.text).graph
    smooth = [p for p in (*graph.inputs, *graph.params) if p.kind in ("real", "complex")]
    if refusal(graph) or not smooth or not any(o.kind in ("real", "complex") for o in graph.outputs):
        return
    inputs = {p.name for p in spec.ports if p.role == "input"}
    params = _numbers(sample(spec, np.random.default_rng(seed), 2, 1))
    values = _numbers(sample(spec, np.random.default_rng([seed, LENGTH]), 2, LENGTH))
    check_adjoint(
        graph,
        {k: v for k, v in values.items() if k in inputs},
        {k: v for k, v in params.items() if k not in inputs},
        spec.sizes,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_examples(case: Case) -> None:
    f = harness.load(case.name)
    arrays = harness.tensors(case.make_inputs(np.random.default_rng(5), 2, LENGTH))
    inputs = {d.name for d in case.inputs}
    check_adjoint(
        f.graph,
        {k: v for k, v in arrays.items() if k in inputs},
        {k: v for k, v in arrays.items() if k not in inputs},
        {**case.sizes, **case.extra_sizes},
    )


TWICE = ("selective_scan", "gla", "gated_deltanet", "mlstm", "gru", "s4d", "rtf", "hydra", "slstm", "hippo_legs")


@pytest.mark.parametrize("name", TWICE)
def test_twice(name: str) -> None:
    """The adjoint of an adjoint is right too: second derivatives."""
    case = BY_NAME[name]
    graph: StepGraph = harness.load(name).graph
    sizes = {**case.sizes, **case.extra_sizes}
    arrays = harness.tensors(case.make_inputs(np.random.default_rng(5), 2, LENGTH))
    first = check_adjoint(
        graph,
        {d.name: arrays[d.name] for d in case.inputs},
        {k: v for k, v in arrays.items() if k not in {d.name for d in case.inputs}},
        sizes,
    )
    full = solve_sizes(first.graph, {}, {**solve_sizes(graph, {}, sizes)})
    g = torch.Generator().manual_seed(2)

    def draw(lead: tuple[int, ...], axes: tuple[str, ...], kind: str) -> torch.Tensor:
        shape = (*lead, *(full[a.rstrip("'")] for a in axes))
        x = torch.randn(shape, generator=g, dtype=torch.float64) * 0.5
        return torch.complex(x, torch.randn(shape, generator=g, dtype=torch.float64)) if kind == "complex" else x

    inputs = {p.name: arrays.get(p.name, draw((2, LENGTH), p.axes, p.kind)) for p in first.graph.inputs}
    params = {p.name: arrays.get(p.name, draw((), p.axes, p.kind)) for p in first.graph.params}
    check_adjoint(first.graph, inputs, params, full)
