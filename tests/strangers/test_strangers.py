"""Specs that were written to be used, not to test a rule: each runs in every way promised, and agrees with its loop."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ssmc
from ssmc.step.nodes import Port
from tests.strangers import linear, other
from tests.strangers.case import CASES, Array

TABLES = (linear, other)  # importing them fills the table

LENGTH, BATCH = 13, 2
FORMS = (None, "recurrent", "scan", "chunked", "conv")
Values = dict[str, Array]


class Stranger:
    """A compiled case with random arguments: `inputs` (BATCH, LENGTH, axes…) and those params that have no default."""

    def __init__(self, name: str) -> None:
        self.case = CASES[name]
        self.compiled = ssmc.compile(self.case.text)
        graph = self.compiled.graph
        self.sizes = dict(self.case.sizes)
        axes = next((line for line in self.case.text.splitlines() if line.startswith("axis")), "")
        for axis, size in re.findall(r"(\w+) = (\w+)", axes):
            self.sizes[axis] = int(size) if size.isdigit() else self.sizes[size]
        self.draws = np.random.default_rng(len(self.case.text))
        self.inputs = {p.name: self._draw(p, (BATCH, LENGTH)) for p in graph.inputs}
        self.params = {p.name: self._draw(p, ()) for p in graph.params if p.default is None}
        fixed = {a.name for a in graph.axes if any(a.name in p.axes for p in (*graph.inputs, *graph.params))}
        self.options = {} if fixed >= set(self.sizes) else {"sizes": self.sizes}
        self.tensors = {k: torch.tensor(v) for k, v in (self.inputs | self.params).items()}

    def _draw(self, port: Port, lead: tuple[int, ...]) -> Array:
        shape = lead + tuple(self.sizes[a.rstrip("'")] for a in port.axes)
        if port.kind == "bool":
            return self.draws.random(shape) > 0.5
        if port.kind == "int":
            return self.draws.integers(0, 4, shape)
        values = 0.6 * self.draws.normal(size=shape)
        return values + 0.6j * self.draws.normal(size=shape) if port.kind == "complex" else values

    def loop(self, rows: slice = slice(None), steps: slice = slice(None)) -> Values:
        """The outputs by the numpy loop, (rows, steps, axes…)."""
        inputs = {k: v[rows, steps] for k, v in self.inputs.items()}
        count, length = next(iter(inputs.values())).shape[:2]
        done = [
            list(self.case.loop(length, **{k: v[b] for k, v in inputs.items()}, **self.params)) for b in range(count)
        ]
        return {k: np.stack([np.stack([np.asarray(y[k]) for y in row]) for row in done]) for k in done[0][0]}

    def forms(self) -> list[str | None]:
        """Those that are legal."""
        legal: list[str | None] = []
        for form in FORMS:
            try:
                self.compiled.plan(self.sizes, form=form or "auto")
            except ssmc.SpecError:
                continue
            legal.append(form)
        return legal

    def named(self, result: Any) -> dict[str, torch.Tensor]:
        values = result if isinstance(result, tuple) else (result,)
        return {o.name: v for o, v in zip(self.compiled.graph.outputs, values, strict=True)}

    def run(self, tensors: dict[str, torch.Tensor] | None = None, **options: Any) -> dict[str, torch.Tensor]:
        return self.named(self.compiled(**(tensors or self.tensors), **self.options, **options))

    def at(self, steps: slice | int) -> dict[str, torch.Tensor]:
        """The arguments of some steps."""
        return {k: v[:, steps] if k in self.inputs else v for k, v in self.tensors.items()}

    def smooth(self) -> list[str]:
        """Outputs that have gradients."""
        return [o.name for o in self.compiled.graph.outputs if o.kind in ("real", "complex")]


def agree(got: dict[str, torch.Tensor], wanted: Values, tolerance: float = 1e-9) -> None:
    assert set(got) == set(wanted)
    for name, value in wanted.items():
        array = got[name].detach().numpy()
        assert array.shape == value.shape, name
        np.testing.assert_allclose(array, value, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module", params=sorted(CASES))
def stranger(request: pytest.FixtureRequest) -> Stranger:
    return Stranger(request.param)


def test_forms_agree_with_the_loop(stranger: Stranger) -> None:
    wanted = stranger.loop()
    for form in stranger.forms():
        agree(stranger.run(form=form), wanted)
    single = {
        k: v.to(torch.complex64) if v.is_complex() else v.float() if v.is_floating_point() else v
        for k, v in stranger.tensors.items()
    }
    agree(stranger.run(single), wanted, 2e-3)


def test_packed_sequences(stranger: Stranger) -> None:
    ends = [0, 4, 4, LENGTH]
    row = {k: v[:1] if k in stranger.inputs else v for k, v in stranger.tensors.items()}
    for form in stranger.forms():
        got = stranger.run(row, cu_seqlens=ends, form=form)
        for start, end in pairwise(ends):
            if start < end:
                piece = {k: v[:, start:end] for k, v in got.items()}
                agree(piece, stranger.loop(slice(1), slice(start, end)))


def test_steps_and_pieces(stranger: Stranger) -> None:
    if any(r.reverse for r in stranger.compiled.graph.registers):
        with pytest.raises(ssmc.SpecError):
            stranger.compiled.step(None, **stranger.at(0))
        return
    wanted = stranger.loop()
    state, steps = None, []
    for n in range(LENGTH):
        result, state = stranger.compiled.step(state, **stranger.at(n), **stranger.options)
        steps.append(stranger.named(result))
    agree({k: torch.stack([s[k] for s in steps], 1) for k in steps[0]}, wanted)
    first, state = stranger.compiled(**stranger.at(slice(5)), **stranger.options, return_state=True)
    second = stranger.compiled(**stranger.at(slice(5, None)), **stranger.options, state=state)
    parts = stranger.named(first), stranger.named(second)
    agree({k: torch.cat([p[k] for p in parts], 1) for k in wanted}, wanted)


def test_gradients_are_differences(stranger: Stranger) -> None:
    outputs = stranger.smooth()
    leaves = {k: v for k, v in stranger.tensors.items() if v.is_floating_point() or v.is_complex()}
    if not outputs or not leaves:
        assert not any(y.requires_grad for y in stranger.run().values())
        return
    draws = np.random.default_rng(1)
    weights = {k: torch.tensor(draws.normal(size=v.shape)) for k, v in stranger.loop().items() if k in outputs}

    def loss(values: dict[str, torch.Tensor], form: str | None) -> torch.Tensor:
        got = stranger.run(stranger.tensors | values, form=form)
        # an infinite output (a cell not reached yet) has no part in it
        return torch.stack([(torch.nan_to_num(got[k].real, posinf=0.0) * w).sum() for k, w in weights.items()]).sum()

    eps = 1e-6
    for form in stranger.forms():
        own = {k: v.clone().requires_grad_() for k, v in leaves.items()}
        gradients = torch.autograd.grad(loss(own, form), list(own.values()), allow_unused=True)
        along = {k: torch.tensor(draws.normal(size=v.shape)).to(v.dtype) for k, v in leaves.items()}
        with torch.no_grad():
            ahead, back = (loss({k: v + s * eps * along[k] for k, v in leaves.items()}, form) for s in (1, -1))
        found = sum((g.conj() * along[k]).real.sum() for k, g in zip(own, gradients, strict=True) if g is not None)
        torch.testing.assert_close(torch.as_tensor(found), (ahead - back) / (2 * eps), rtol=1e-5, atol=1e-6)


def test_module_trains(stranger: Stranger) -> None:
    outputs = stranger.smooth()
    module = stranger.compiled.module(sizes=stranger.sizes, seed=0, dtype=torch.float64)
    if not outputs or not list(module.parameters()):
        return
    inputs = {k: stranger.tensors[k] for k in stranger.inputs}
    with torch.no_grad():
        target = {k: 0.5 * v for k, v in stranger.named(module(**inputs, **stranger.options)).items()}
    optimiser = torch.optim.SGD(module.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        got = stranger.named(module(**inputs, **stranger.options))
        loss = torch.stack([torch.nan_to_num(got[k] - target[k]).abs().square().mean() for k in outputs]).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] <= losses[0]


def test_generated_module_stands_alone(stranger: Stranger, tmp_path: Path) -> None:
    if any(p.default is not None for p in stranger.compiled.graph.params):
        return  # a generated module takes all params, and a loop here takes the defaults
    (path,) = stranger.compiled.save(tmp_path, sizes=stranger.sizes)
    text = path.read_text(encoding="utf-8")
    assert "import ssmc" not in text
    made: dict[str, Any] = {}
    exec(compile(text, str(path), "exec"), made)  # noqa: S102
    renamed = made.get("ARGUMENTS", {})
    params = {renamed.get(k, k): stranger.tensors[k] for k in stranger.params}
    inputs = {renamed.get(k, k): stranger.tensors[k] for k in stranger.inputs}
    like = next((v for v in stranger.tensors.values() if v.is_floating_point()), torch.zeros(1, dtype=torch.float64))
    shape = {"sizes": dict(stranger.sizes), "batch": BATCH}
    state = made["initial_state"](**shape, like=like, **params)
    outputs, _ = made["sequence"](**shape, length=LENGTH, state=state, **inputs, **params)
    agree(stranger.named(outputs), stranger.loop())


def test_explained(stranger: Stranger) -> None:
    text = stranger.compiled.explain(stranger.sizes, length=64)
    assert all(f" {r.name}" in text for r in stranger.compiled.graph.registers if r.origin == "state")
