"""A step graph beside the spec that is printed of it."""

from __future__ import annotations

from typing import Any

import numpy as np

import ssmc
from ssmc.step.interp import run
from ssmc.step.nodes import StepGraph
from ssmc.step.spec_text import spec_text

LENGTH = 6


def check_text(graph: StepGraph, sizes: dict[str, int], seed: int = 0) -> str:
    """Outputs and the last values of the states of both on drawn data; AssertionError where they differ."""
    text = spec_text(graph)
    again = ssmc.compile(text).graph
    rng = np.random.default_rng(seed)

    def draw(lead: tuple[int, ...], axes: tuple[str, ...], kind: str) -> Any:
        shape = (*lead, *(sizes[a.rstrip("'")] for a in axes))
        x = rng.normal(size=shape) * 0.5
        match kind:
            case "complex":
                return x + 1j * rng.normal(size=shape) * 0.5
            case "bool":
                return x > 0.2
            case "int":
                return np.floor(3 * x).astype(np.int64)
            case _:
                return x

    inputs = {p.name: draw((2, LENGTH), p.axes, p.kind) for p in graph.inputs}
    params = {p.name: draw((), p.axes, p.kind) for p in graph.params}
    with np.errstate(all="ignore"):
        one, one_state = run(graph, inputs, params, length=LENGTH, sizes=sizes)
        other, other_state = run(again, inputs, params, length=LENGTH, sizes=sizes)
    for name, x in one.items():
        np.testing.assert_allclose(other[name], x, rtol=1e-9, atol=1e-10, err_msg=f"{name}\n{text}")
    for r in graph.states:
        x = one_state[r.name]
        y = other_state[r.name]
        np.testing.assert_allclose(y, x, rtol=1e-9, atol=1e-10, err_msg=f"{r.name}\n{text}")
    return text
