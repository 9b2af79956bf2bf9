"""Calling a compiled example with numpy arrays, and reading what `explain` says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

import ssmc
from tests.examples.cases import BY_NAME, Arrays, Case

KINDS = {torch.float32: torch.complex64, torch.float64: torch.complex128}


@cache
def load(name: str) -> Any:
    """The compiled spec of an example."""
    return ssmc.load(str(BY_NAME[name].file))


@cache
def explained(name: str) -> dict[str, Any]:
    """`explain --json` of an example at the case's sizes."""
    case = BY_NAME[name]
    told = load(name).explain(sizes=case.sizes, batch=2, length=case.length, json=True)
    assert isinstance(told, dict)
    return told


def legal_forms(told: Mapping[str, Any]) -> list[str]:
    """The forms that some component allows: `form=` asks for one wherever it is legal."""
    allowed = [form["name"] for component in told["components"] for form in component["forms"] if form["legal"]]
    return list(dict.fromkeys(allowed)) or ["recurrent"]


def to_tensor(x: np.ndarray, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A tensor of the precision, keeping booleans and complex numbers what they are."""
    tensor = torch.from_numpy(np.array(x, order="C"))
    if tensor.dtype is torch.bool:
        return tensor
    return tensor.to(KINDS[dtype] if tensor.is_complex() else dtype)


def tensors(arrays: Arrays, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    return {name: to_tensor(x, dtype) for name, x in arrays.items()}


def output_names(case: Case) -> list[str]:
    """The names of the outputs, from an empty run of the reference."""
    empty = case.run(case.make_inputs(np.random.default_rng(0), 1, 0))
    return [name for name in empty if not name.startswith("state.")]


def by_name(case: Case, result: Any) -> dict[str, torch.Tensor]:
    """The outputs of a call by name: one comes back bare, several as a named tuple."""
    names = output_names(case)
    if len(names) == 1:
        assert isinstance(result, torch.Tensor)
        return {names[0]: result}
    assert list(result._fields) == names
    return result._asdict()


def call(
    case: Case,
    arrays: Mapping[str, torch.Tensor],
    state: Mapping[str, torch.Tensor] | None = None,
    **options: Any,
) -> dict[str, torch.Tensor]:
    """Outputs and the declared final states, keyed as the reference keys them."""
    given = {} if state is None else {"state": dict(state)}
    result, after = load(case.name)(**arrays, **given, return_state=True, **options)
    states = {f"state.{d.name}": after[d.name] for d in case.states}
    return by_name(case, result) | states


def agree(actual: Mapping[str, Any], expected: Arrays, tolerance: float, where: str = "") -> None:
    """Every array within `tolerance` of the expected one's scale."""
    assert set(actual) == set(expected)
    for name, want in expected.items():
        got = actual[name]
        got = got.detach().numpy() if isinstance(got, torch.Tensor) else np.asarray(got)
        assert got.shape == want.shape, f"{where} {name}: shape {got.shape}, not {want.shape}"
        if not want.size:
            continue
        scale = max(1.0, float(np.abs(want[np.isfinite(want)]).max(initial=0.0)))
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale, err_msg=f"{where} {name}")


def slopes(loss: Callable[[Arrays], float], arrays: Arrays, directions: Arrays, step: float = 1e-5) -> dict[str, float]:
    """Central differences of `loss` along one direction for each array."""
    result = {}
    for name, direction in directions.items():
        ahead, behind = arrays[name] + step * direction, arrays[name] - step * direction
        result[name] = (loss(arrays | {name: ahead}) - loss(arrays | {name: behind})) / (2 * step)
    return result
