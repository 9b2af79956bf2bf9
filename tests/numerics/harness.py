"""Every legal form of a spec against the sequential float64 interpreter: values and gradients, in both precisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ssmc
from ssmc.expr.arrays import TorchArrays
from ssmc.plan.forms import verdicts
from ssmc.plan.nodes import FORM_NAMES
from ssmc.step.interp import run

Tensors = dict[str, Tensor]
Make = Callable[[np.random.Generator, int, int], Mapping[str, Any]]

# of the largest value of each tensor; float32 is what the project promises
TOLERANCE = {torch.float64: (1e-9, 1e-7), torch.float32: (1e-4, 1e-4)}
COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


@dataclass(frozen=True)
class Case:
    """A spec, the forms it must have, and its arguments for a batch and a length (without those that are drawn).

    Inputs that `make` leaves out are standard normal, params half of that. `state` has initial values, by name, as
    functions of the batch: given ones, so that their gradients are checked too.
    """

    name: str
    spec: str
    forms: tuple[str, ...]
    make: Make = field(default=lambda rng, batch, length: {})
    sizes: Mapping[str, int] = field(default_factory=dict)
    lengths: Sequence[int] = (67,)
    chunks: Sequence[int] = (16,)
    gradients: bool = True
    state: tuple[str, ...] = ()
    batch: int = 2

    def __str__(self) -> str:
        return self.name


@cache
def compiled(spec: str) -> Any:
    return ssmc.compile("ssm s\n" + spec)


def legal_forms(spec: str) -> tuple[str, ...]:
    """The forms that at least one component can take."""
    analysis = compiled(spec).analysis
    found = [verdicts(analysis, c)[0] for c in analysis.components if c.recurrent]
    return tuple(f for f in FORM_NAMES if f == "recurrent" or any(v[f][0] for v in found))


def arguments(case: Case, length: int, seed: int = 7) -> tuple[Tensors, Tensors, Tensors]:
    """Inputs, params and given states in float64, each value exact in float32 too."""
    rng = np.random.default_rng([seed, length])
    graph = compiled(case.spec).graph
    made = {k: np.asarray(v) for k, v in case.make(rng, case.batch, length).items()}
    sizes = dict(case.sizes)

    def shape(axes: Iterable[str]) -> tuple[int, ...]:
        return tuple(sizes.get(a.rstrip("'"), 3) for a in axes)

    def draw(lead: tuple[int, ...], axes: Sequence[str], kind: str, scale: float) -> Any:
        whole = (*lead, *shape(axes))
        x = rng.normal(size=whole) * scale
        if kind == "complex":
            return x + 1j * scale * rng.normal(size=whole)
        return x > 0 if kind == "bool" else x

    inputs = {p.name: made.get(p.name) for p in graph.inputs}
    params = {p.name: made.get(p.name) for p in graph.params}
    for p in graph.inputs:
        if inputs[p.name] is None:
            inputs[p.name] = draw((case.batch, length), p.axes, p.kind, 1.0)
    for p in graph.params:
        if params[p.name] is None:
            params[p.name] = draw((), p.axes, p.kind, 0.5)
    registers = {r.name: r for r in graph.registers}
    states = {
        s: made[s] if s in made else draw((case.batch,), registers[s].axes, registers[s].kind, 0.5) for s in case.state
    }
    return exact(inputs), exact(params), exact(states)


def exact(group: Mapping[str, Any]) -> Tensors:
    """As tensors in double precision that lose nothing in single precision."""
    found = {}
    for name, value in group.items():
        x = torch.from_numpy(np.array(value, order="C"))
        single = to(x, torch.float32)
        found[name] = to(single, torch.float64)
    return found


def to(x: Tensor, dtype: torch.dtype) -> Tensor:
    if x.is_complex():
        return x.to(COMPLEX[dtype])
    return x.to(dtype) if x.is_floating_point() else x


def leaves(group: Mapping[str, Tensor], dtype: torch.dtype) -> Tensors:
    made = {k: to(v, dtype).clone() for k, v in group.items()}
    for x in made.values():
        x.requires_grad_(x.is_floating_point() or x.is_complex())
    return made


def named(graph: Any, result: Any) -> Tensors:
    outputs = [o.name for o in graph.outputs]
    return dict(zip(outputs, [result] if len(outputs) == 1 else result, strict=True))


def loss(values: Mapping[str, Any]) -> Tensor:
    """A number that every element of every value counts in, each with a weight of its own."""
    total = torch.zeros((), dtype=torch.float64)
    for i, (_, x) in enumerate(sorted((k, v) for k, v in values.items() if torch.is_tensor(v))):
        if x.is_floating_point() or x.is_complex():
            phase = torch.arange(x.numel(), dtype=torch.float64).reshape(x.shape)
            total = total + (x.real.double() * torch.cos(phase + i)).sum()
            if x.is_complex():
                total = total + (x.imag.double() * torch.sin(phase + 2 * i)).sum()
    return total


def gradients(total: Tensor, groups: Sequence[Mapping[str, Tensor]]) -> Tensors:
    wanted = {k: v for group in groups for k, v in group.items() if v.requires_grad}
    if not total.requires_grad:
        return {k: torch.zeros_like(v) for k, v in wanted.items()}
    found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(wanted.items(), found, strict=True)}


def oracle(case: Case, inputs: Tensors, params: Tensors, states: Tensors) -> tuple[dict[str, Any], dict[str, Any]]:
    given = {**states} if states else None
    return run(compiled(case.spec).graph, inputs, params, given, sizes=case.sizes, xp=TorchArrays())


def same(got: Mapping[str, Any], wanted: Mapping[str, Any], tolerance: float, what: str) -> None:
    """Equal to `tolerance` of the largest value of each; NaN and infinities nowhere but where they are wanted."""
    assert set(got) == set(wanted), f"{what}: {sorted(got)}, not {sorted(wanted)}"
    for name, b in wanted.items():
        if not torch.is_tensor(b):
            assert got[name] == b, f"{what}: `{name}` is {got[name]}, not {b}"
            continue
        a, b = (x.detach().to(torch.complex128) for x in (got[name], b))
        assert a.shape == b.shape, f"{what}: `{name}` has the shape {tuple(a.shape)}, not {tuple(b.shape)}"
        finite = torch.isfinite(b)
        assert torch.equal(torch.isfinite(a), finite), f"{what}: `{name}` is not finite where it should be"
        assert torch.equal(a[~finite].real, b[~finite].real), f"{what}: an infinity of `{name}` has the wrong sign"
        if not bool(finite.any()):
            continue
        a, b = a[finite], b[finite]
        scale = max(float(b.abs().max()), 1e-3)
        error = float((a - b).abs().max()) / scale
        assert error <= tolerance, f"{what}: `{name}` is off by {error:.2g} of its scale"


def check(case: Case, length: int, dtypes: Iterable[torch.dtype] = (torch.float64, torch.float32)) -> None:
    """Forward, state and gradients of every form, cut in chunks or not, in each precision."""
    f = compiled(case.spec)
    assert legal_forms(case.spec) == case.forms
    inputs, params, states = arguments(case, length)
    groups = [leaves(g, torch.float64) for g in (inputs, params, states)]
    wanted, wanted_state = oracle(case, *groups)
    if not case.state:  # what the oracle begins with may hold -inf and be no leaf
        groups[2] = {}
    found = gradients(loss({**wanted, **{f"state {k}": v for k, v in wanted_state.items()}}), groups)
    for name, g in found.items():
        assert bool(torch.isfinite(g).all()), f"{case.name}: the gradient of `{name}` by the oracle is not finite"
    for form in (
        "recurrent",
        *(f"{form}:{c}" for form in case.forms for c in (*case.chunks, 0) if form != "recurrent"),
    ):
        for dtype in dtypes:
            forward, backward = TOLERANCE[dtype]
            ours = [leaves(g, dtype) for g in (inputs, params, states)]
            given = {"state": ours[2]} if case.state else {}
            result, state = f(**ours[0], **ours[1], **given, form=form, sizes=case.sizes, return_state=True)
            where = f"{case.name}, {form}, length {length}, {dtype}"
            outputs = named(f.graph, result)
            same(outputs, wanted, forward, f"outputs, {where}")
            same(state, wanted_state, forward, f"state, {where}")
            if case.gradients:
                total = loss({**outputs, **{f"state {k}": v for k, v in state.items()}})
                same(gradients(total, ours), found, backward, f"gradients, {where}")
