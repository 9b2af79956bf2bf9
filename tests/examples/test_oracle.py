"""Every example through the oracle, against its numpy reference: forward, and in two pieces."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import ssmc
from ssmc.step.interp import run
from ssmc.step.nodes import StepGraph
from tests.conftest import ROOT
from tests.examples.cases import CASES, Arrays, Case

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@cache
def graph_of(name: str) -> StepGraph:
    graph: StepGraph = ssmc.load(ROOT / "examples" / f"{name}.ssm").graph
    return graph


def oracle(case: Case, arrays: Arrays, state: Arrays | None) -> tuple[Arrays, Arrays]:
    graph = graph_of(case.name)
    params = {p.name: arrays[p.name] for p in graph.params if p.name in arrays}
    return run(graph, {p.name: arrays[p.name] for p in graph.inputs}, params, state)


@each_case
@pytest.mark.parametrize("given", [False, True], ids=["default state", "given state"])
def test_forward(case: Case, given: bool) -> None:
    rng = np.random.default_rng(1)
    arrays, state = case.make_inputs(rng, 2, 11), case.make_state(rng, 2)
    outputs, final = oracle(case, arrays, state if given else None)
    found = outputs | {f"state.{name}": x for name, x in final.items()}
    for name, expected in case.run(arrays, state if given else None).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("case", [c for c in CASES if c.causal], ids=lambda case: case.name)
def test_in_two_pieces(case: Case) -> None:
    rng = np.random.default_rng(2)
    arrays = case.make_inputs(rng, 1, 9)
    names = {p.name for p in graph_of(case.name).inputs}
    whole, _ = oracle(case, arrays, None)
    for cut in (1, 4):
        head, middle = oracle(case, {k: x[:, :cut] if k in names else x for k, x in arrays.items()}, None)
        tail, _ = oracle(case, {k: x[:, cut:] if k in names else x for k, x in arrays.items()}, middle)
        for name, expected in whole.items():
            joined = np.concatenate([head[name], tail[name]], 1)
            np.testing.assert_allclose(joined, expected, rtol=1e-10, atol=1e-12, err_msg=name)
