"""The text of derived step graphs is a spec that means the same."""

from __future__ import annotations

import contextlib
import warnings

import pytest

import ssmc
from ssmc.adjoint.graph import adjoint, refusal
from ssmc.step.nodes import StepGraph
from ssmc.step.sizes import solve_sizes
from ssmc.step.spec_text import NoText
from tests.differential.generate import generate
from tests.differential.spec_text_check import check_text
from tests.examples import harness
from tests.examples.cases import CASES, Case

# solves a linear system at every step, for which the language has `using` alone
WORDLESS = {"hippo_legs", "hippo_legt", "lssl"}


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
    derived = adjoint(graph).graph
    if case.name in WORDLESS:
        with pytest.raises(NoText):
            _check(derived, sizes)
        return
    _check(derived, sizes)


def test_generated_and_their_adjoints(seed: int) -> None:
    spec = generate(seed)
    graph = ssmc.compile(spec.text).graph
    sizes = solve_sizes(graph, {}, spec.sizes)
    for what in (graph,) if refusal(graph) else (graph, adjoint(graph).graph):
        with contextlib.suppress(NoText):
            _check(what, sizes, seed)
