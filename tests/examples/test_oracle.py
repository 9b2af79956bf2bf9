"""The sequential interpreter of the step graph, the definition of every spec, equals the numpy reference."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from ssmc.source import Source
from ssmc.step.build import build
from ssmc.step.interp import run
from ssmc.step.nodes import StepGraph
from ssmc.syntax.parser import parse
from tests.examples.cases import BY_NAME, CASES, Arrays, Case


@cache
def graph_of(name: str) -> StepGraph:
    source = Source(f"{name}.ssm", BY_NAME[name].file.read_text())
    return build(parse(source).specs[0], source)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("length", [0, 1, 11])
@pytest.mark.parametrize("with_state", [False, True], ids=["default state", "given state"])
def test_oracle(case: Case, length: int, with_state: bool) -> None:
    rng = np.random.default_rng([length, with_state, *case.name.encode()])
    arrays = case.make_inputs(rng, 2, length)
    state = case.make_state(rng, 2) if with_state else None
    inputs = {d.name: arrays[d.name] for d in case.inputs}
    params = {d.name: arrays[d.name] for d in case.params}
    outputs, after = run(graph_of(case.name), inputs, params, state)
    actual: Arrays = outputs | {f"state.{d.name}": after[d.name] for d in case.states}
    expected = case.run(arrays, state)
    assert set(actual) == set(expected)
    for name, want in expected.items():
        assert actual[name].shape == want.shape
        np.testing.assert_allclose(actual[name], want, rtol=1e-10, atol=1e-10, err_msg=name)
