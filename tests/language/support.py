"""One case a sentence of the language reference: a spec, and the same as a numpy loop over one sequence.

`agrees` runs a spec in every legal form, forward and backward, in one call, in two, step by step and packed, and
compares each with the loop. Gradients are compared with central differences of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch

import ssmc
from ssmc.runtime.selftest import legal_forms

BATCH = 2
DTYPE = {"real": np.float64, "complex": np.complex128, "int": np.int64, "bool": np.bool_}


class Given(dict[str, np.ndarray]):
    """The arrays of one sequence by name: inputs (L, axes…), params and initial states (axes…)."""

    L: int

    def __getattr__(self, name: str) -> Any:
        return self[name]


Loop = Callable[[Given], Any]


@dataclass(frozen=True)
class Case:
    """`inputs`, `params` and `state` give the shapes of the drawn arrays; an array stands for itself (an input's is
    (L, axes…)). `loop` gives the output, or a tuple of them, (L, axes…).
    """

    sentence: str
    spec: str
    loop: Loop
    inputs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] | None = None
    length: int = 7
    gradients: bool = True
    tolerance: float = 1e-9
    positive: bool = False


def cases(table: Mapping[str, Any]) -> Any:
    return pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in table.items()])


def compiled(spec: str, name: str | None = None) -> Any:
    """A spec from its body: the first line is supplied where there is none."""
    text = dedent(spec).strip("\n")
    return ssmc.compile(text if "ssm " in text else f"ssm case\n{text}\n", name=name)


def agrees(case: Case, f: Any = None) -> None:
    f = compiled(case.spec) if f is None else f
    given = _draw(case, f)
    rows = [_row(given, b) for b in range(BATCH)]
    expected = _stack([_outputs(case.loop, row) for row in rows])
    for form in legal_forms(f):
        _compare(_run(f, case, given, form), expected, case, form)
        if case.gradients:
            _gradients(f, case, given, rows, form)
    backwards = any(r.reverse for r in f.graph.registers)
    if not backwards:
        _compare(_steps(f, case, given), expected, case, "step by step")
        if case.gradients:
            _gradients(f, case, given, rows, "step")
        _compare(_pieces(f, case, given), expected, case, "in two pieces")
    if given["inputs"]:
        cut = case.length // 2
        whole = rows[0]
        parts = [_cut(given, whole, 0, cut), _cut(given, whole, cut, case.length)]
        packed = [np.concatenate(y) for y in zip(*(_outputs(case.loop, p) for p in parts), strict=True)]
        _compare(_packed(f, case, given, cut), [y[None] for y in packed], case, "packed")


def _draw(case: Case, f: Any) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(20)
    kinds = {p.name: p.kind for p in (*f.graph.inputs, *f.graph.params)} | {r.name: r.kind for r in f.graph.states}

    def one(name: str, what: Any, lead: tuple[int, ...]) -> np.ndarray:
        if isinstance(what, np.ndarray):
            return np.broadcast_to(what, (*lead[:1], *what.shape)).copy() if lead else what
        shape = (*lead, *what)
        match kinds[name]:
            case "bool":
                return rng.random(shape) < 0.4
            case "int":
                return rng.integers(-3, 4, shape)
            case "complex":
                return rng.normal(size=shape) + 1j * rng.normal(size=shape)
        drawn = rng.normal(size=shape)
        return np.abs(drawn) + 0.1 if case.positive else drawn

    return {
        "inputs": {k: one(k, w, (BATCH, case.length)) for k, w in case.inputs.items()},
        "params": {k: one(k, w, ()) for k, w in case.params.items()},
        "state": {k: one(k, w, (BATCH,)) for k, w in case.state.items()},
        "length": {"L": np.array(case.length)},
    }


def _row(given: Mapping[str, Mapping[str, np.ndarray]], b: int) -> Given:
    row = Given({k: x[b] for k, x in (given["inputs"] | given["state"]).items()} | dict(given["params"]))
    row.L = int(given["length"]["L"])
    return row


def _cut(given: Mapping[str, Mapping[str, np.ndarray]], whole: Given, start: int, end: int) -> Given:
    part = Given({k: x[start:end] if k in given["inputs"] else x for k, x in whole.items()})
    part.L = end - start
    return part


def _outputs(loop: Loop, row: Given) -> list[np.ndarray]:
    found = loop(row)
    return [np.asarray(y) for y in found] if isinstance(found, tuple) else [np.asarray(found)]


def _stack(rows: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.stack(ys) for ys in zip(*rows, strict=True)]


def _tensors(group: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(np.array(x)) for k, x in group.items()}


def _listed(result: Any) -> list[torch.Tensor]:
    return [result] if isinstance(result, torch.Tensor) else list(result)


def _options(case: Case, given: Any, length: int | None = None) -> dict[str, Any]:
    options: dict[str, Any] = {} if case.sizes is None else {"sizes": case.sizes}
    if not given["inputs"] and length is not None:
        options["length"] = length
    return options


def _run(f: Any, case: Case, given: Any, form: str) -> list[torch.Tensor]:
    inputs, params, state = (_tensors(given[k]) for k in ("inputs", "params", "state"))
    ys = _listed(f(**inputs, **params, state=state, form=form, **_options(case, given, case.length)))
    # a spec without inputs or a given state has no batch
    return ys if inputs or state else [y.expand(BATCH, *y.shape) for y in ys]


def _steps(f: Any, case: Case, given: Any, tensors: Mapping[str, torch.Tensor] | None = None) -> list[torch.Tensor]:
    groups = [_tensors(given[k]) for k in ("inputs", "params", "state")]
    if tensors is not None:
        groups = [{k: tensors[k] for k in group} for group in groups]
    inputs, params, state = groups
    batched = bool(inputs or state)
    found = []
    for t in range(case.length):
        y, state = f.step(state, **{k: x[:, t] for k, x in inputs.items()}, **params, **_options(case, given))
        found.append(_listed(y))
    assert state["t"] == case.length
    ys = [torch.stack(y, 1 if batched else 0) for y in zip(*found, strict=True)]
    return ys if batched else [y.expand(BATCH, *y.shape) for y in ys]


def _pieces(f: Any, case: Case, given: Any) -> list[torch.Tensor]:
    inputs, params = (_tensors(given[k]) for k in ("inputs", "params"))
    state: Any = _tensors(given["state"])
    batched = bool(inputs or state)
    found = []
    cut = max(case.length // 3, 1)
    for a, b in ((0, cut), (cut, case.length)):
        part = {k: x[:, a:b] for k, x in inputs.items()}
        y, state = f(**part, **params, state=state, return_state=True, **_options(case, given, b - a))
        found.append(_listed(y))
    ys = [torch.cat(y, 1 if batched else 0) for y in zip(*found, strict=True)]
    return ys if batched else [y.expand(BATCH, *y.shape) for y in ys]


def _packed(f: Any, case: Case, given: Any, cut: int) -> list[torch.Tensor]:
    inputs, params = (_tensors(given[k]) for k in ("inputs", "params"))
    state = {k: x[:1].expand(2, *x.shape[1:]) for k, x in _tensors(given["state"]).items()}
    row = {k: x[:1] for k, x in inputs.items()}
    return _listed(f(**row, **params, state=state, cu_seqlens=[0, cut, case.length], **_options(case, given)))


def _compare(found: list[torch.Tensor], expected: list[np.ndarray], case: Case, where: str) -> None:
    assert len(found) == len(expected), where
    for i, (y, want) in enumerate(zip(found, expected, strict=True)):
        got = y.detach().numpy()
        assert got.shape == want.shape, f"{where}: output {i} has the shape {got.shape}, not {want.shape}"
        assert np.iscomplexobj(got) == np.iscomplexobj(want), f"{where}: output {i} is {got.dtype}"
        np.testing.assert_allclose(got, want, rtol=case.tolerance, atol=case.tolerance, err_msg=where)


def _gradients(f: Any, case: Case, given: Any, rows: list[Given], form: str) -> None:
    leaves = {**given["inputs"], **given["params"], **given["state"]}
    real = {k: x for k, x in leaves.items() if x.dtype == np.float64}
    if not real:
        return
    tensors = _tensors(leaves)
    for k in real:
        tensors[k].requires_grad_()
    if form == "step":
        ys = _steps(f, case, given, tensors)
    else:
        parts = [{k: tensors[k] for k in given[group]} for group in ("inputs", "params", "state")]
        ys = _listed(f(**parts[0], **parts[1], state=parts[2], form=form, **_options(case, given, case.length)))
        if not (parts[0] or parts[2]):
            ys = [y.expand(BATCH, *y.shape) for y in ys]
    if not any(y.requires_grad for y in ys):
        return
    total = torch.zeros((), dtype=torch.float64)
    for y in ys:
        weight = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)
        total = total + ((y.real + y.imag if y.is_complex() else y) * weight).sum()
    total.backward()
    rng = np.random.default_rng(3)
    directions = {k: rng.normal(size=x.shape) for k, x in real.items()}

    def loss(step: float) -> float:
        moved = [
            _moved(row, {k: step * (d if k in given["params"] else d[b]) for k, d in directions.items()})
            for b, row in enumerate(rows)
        ]
        value = 0.0
        for y in _stack([_outputs(case.loop, row) for row in moved]):
            weight = np.cos(np.arange(y.size)).reshape(y.shape)
            value += float(((y.real + y.imag if np.iscomplexobj(y) else y) * weight).sum())
        return value

    step = 1e-5
    slope = (loss(step) - loss(-step)) / (2 * step)
    found = 0.0
    for k, direction in directions.items():
        gradient = tensors[k].grad
        found += 0.0 if gradient is None else float((gradient.numpy() * direction).sum())
    assert found == pytest.approx(slope, rel=2e-5, abs=2e-6), f"gradient, {form}"


def _moved(row: Given, by: Mapping[str, np.ndarray]) -> Given:
    moved = Given({k: x + by[k] if k in by else x for k, x in row.items()})
    moved.L = row.L
    return moved


def refused(spec: str, *words: str) -> None:
    """The spec is an error whose text has the words."""
    with pytest.raises(ssmc.SpecError) as caught:
        compiled(spec)
    text = str(caught.value)
    missing = [w for w in words if w not in text]
    assert not missing, f"{missing} not in:\n{text}"


# -- numpy ---------------------------------------------------------------------------------------------------------


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softplus(x: Any) -> Any:
    return np.log1p(np.exp(x))


def silu(x: Any) -> Any:
    return x * sigmoid(x)


def softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def run(length: int, step: Callable[[int, Any], tuple[Any, Any]], start: Any) -> np.ndarray:
    """Outputs of `step(t, state) -> (state, output)`, stacked."""
    found = []
    state = start
    for t in range(length):
        state, y = step(t, state)
        found.append(np.asarray(y))
    return np.stack(found)
