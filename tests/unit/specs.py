"""Specs written out in tests: their step graphs, and what the oracle computes of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssmc.diagnostics import Diagnostic, SpecError
from ssmc.source import Source
from ssmc.step.build import build_with_warnings
from ssmc.step.interp import run
from ssmc.step.nodes import StepGraph
from ssmc.step.verify import verify
from ssmc.syntax.parser import parse


def checked(text: str) -> tuple[StepGraph, tuple[Diagnostic, ...]]:
    """The verified step graph of a text with one spec (its `ssm` line may be left out), and the warnings."""
    text = text.strip() + "\n"
    source = Source("test.ssm", text if text.startswith("ssm") else f"ssm s\n{text}")
    graph, warnings = build_with_warnings(parse(source).specs[0], source)
    verify(graph)
    return graph, warnings


def built(text: str) -> StepGraph:
    return checked(text)[0]


def codes(text: str) -> list[str]:
    """The codes of everything that is wrong with a text, in order."""
    try:
        return [w.code for w in checked(text)[1]]
    except SpecError as error:
        return [d.code for d in error.diagnostics]


def outputs(text: str, state: dict[str, Any] | None = None, length: int | None = None, **values: Any) -> dict[str, Any]:
    """The oracle's outputs, without the batch dimension: inputs are (L, axes…), params (axes…)."""
    graph = built(text)
    given = {name: np.asarray(v) for name, v in values.items()}
    inputs = {p.name: given[p.name][None] for p in graph.inputs}
    params = {p.name: given[p.name] for p in graph.params if p.name in given}
    start = {name: np.asarray(v)[None] for name, v in (state or {}).items()}
    found, _ = run(graph, inputs, params, start, length)
    return {name: np.asarray(y)[0] for name, y in found.items()}
