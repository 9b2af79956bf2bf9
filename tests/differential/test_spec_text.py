"""The text of derived step graphs is a spec that means the same."""

from __future__ import annotations

import contextlib
import warnings

import pytest
import torch

import ssmc
from ssmc.adjoint.graph import adjoint, refusal
from ssmc.kernel.lower import lower
from ssmc.step.interp import run
from ssmc.step.nodes import StepGraph
from ssmc.step.sizes import solve_sizes
from ssmc.step.spec_text import NoText, spec_text
from tests.differential.generate import generate
from tests.differential.spec_text_check import check_text
from tests.examples import harness
from tests.examples.cases import BY_NAME, CASES, Case


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--specs")))


def _check(graph: StepGraph, sizes: dict[str, int], seed: int = 0) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_text(graph, solve_sizes(graph, {}, sizes), seed)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_adjoints_of_examples(case: Case) -> None:
    graph = harness.load(case.name).graph
    sizes = solve_sizes(graph, {}, {**case.sizes, **case.extra_sizes})
    _check(adjoint(graph).graph, sizes)


def test_generated_and_their_adjoints(seed: int) -> None:
    spec = generate(seed)
    graph = ssmc.compile(spec.text).graph
    sizes = solve_sizes(graph, {}, spec.sizes)
    for what in (graph,) if refusal(graph) else (graph, adjoint(graph).graph):
        with contextlib.suppress(NoText):
            _check(what, sizes, seed)


@pytest.mark.parametrize("name", ["selective_scan", "mamba", "gla", "gated_deltanet", "mlstm", "gru", "s4d", "hydra"])
def test_the_backward_runs_in_chunks(name: str) -> None:
    """A derived backward as a compiled spec: forward states are computed again in the chunks of the reverse pass."""
    case = BY_NAME[name]
    graph = harness.load(name).graph
    derived = adjoint(graph).graph
    f = ssmc.compile(spec_text(derived))
    sizes = solve_sizes(f.graph, {}, solve_sizes(graph, {}, {**case.sizes, **case.extra_sizes}))
    g = torch.Generator().manual_seed(0)

    def draw(lead: tuple[int, ...], axes: tuple[str, ...], kind: str) -> torch.Tensor:
        x = torch.randn((*lead, *(sizes[a.rstrip("'")] for a in axes)), generator=g, dtype=torch.float64) * 0.5
        return torch.complex(x, x.flip(0)) if kind == "complex" else x

    inputs = {p.name: draw((2, 11), p.axes, p.kind) for p in f.graph.inputs}
    params = {p.name: draw((), p.axes, p.kind) for p in f.graph.params}
    wanted, last = run(f.graph, {k: v.numpy() for k, v in inputs.items()}, {k: v.numpy() for k, v in params.items()})
    with torch.no_grad():
        result, state = f(**inputs, **params, form="recurrent:4", return_state=True)
    for i, o in enumerate(f.graph.outputs):
        got = result[i] if len(f.graph.outputs) > 1 else result
        torch.testing.assert_close(got, torch.as_tensor(wanted[o.name]), msg=lambda m, o=o: f"{o.name}: {m}")
    for r in f.graph.states:
        torch.testing.assert_close(state[r.name], torch.as_tensor(last[r.name]), msg=lambda m, r=r: f"{r.name}: {m}")
    program = lower(f.plan(form="recurrent:4"))
    wide = max(len(p.axes) for p in (*f.graph.inputs, *f.graph.outputs))
    # a text holds windows of the past as states, narrow ones
    held = [b for b in program.buffers if b.role == "workspace" and "W" not in b.axes]
    assert all(len(b.axes) - 2 <= wide for b in held), held
