"""The state of a call: entries of a dictionary, given in part or not at all, checked against the program's own.

An entry has the shape (batch…, the entry's dimensions). The program's initial state, computed for one sequence, is the
template: it says how many dimensions an entry has and of what size. The entry of an unbounded `past` grows; its
dimension of size 0 in the template is its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssmc.diagnostics import Problem, SpecError
from ssmc.runtime import problems
from ssmc.runtime.problems import shape_text
from ssmc.runtime.shapes import Lead, Shape, declared, flatten_batch, product, unflatten_batch
from ssmc.runtime.tensors import Value, value_of
from ssmc.step.nodes import Register, StepGraph

TIME_ENTRY = "t"


@dataclass(frozen=True)
class Given:
    """What the caller gave as state: entries but `t` as values, and `t` (None: left out)."""

    values: tuple[Value, ...] = ()
    t: Any = None


def given_state(graph: StepGraph, state: object) -> Given:
    """The entries of a state, by name. Raises SpecError where it is no dictionary or has an entry the spec has not."""
    if state is None:
        return Given()
    if not isinstance(state, Mapping):
        raise SpecError(
            [problems.BadOption(None, "state", f"is a dictionary from names to tensors, not {_type(state)}")]
        )
    entries = (*graph.register, TIME_ENTRY)
    unknown = [problems.UnknownState(None, str(k), entries, graph.name) for k in state if k not in entries]
    if unknown:
        raise SpecError(unknown)
    values = tuple(
        value_of(f"state[{r.name!r}]", state[r.name], r.kind, r.span)
        for r in graph.registers
        if state.get(r.name) is not None
    )
    return Given(values, state.get(TIME_ENTRY))


def _type(x: object) -> str:
    return f"of type {type(x).__name__}"


def entry_name(value: Value) -> str:
    return value.name[len("state['") : -len("']")]


def check_entries(graph: StepGraph, given: Given, template: Mapping[str, Tensor]) -> list[Lead]:
    """The batch of each entry given. Raises SpecError with every entry whose shape is not the template's."""
    found: list[Problem] = []
    leads = []
    for value in given.values:
        register = graph.register[entry_name(value)]
        wanted = tuple(template[register.name].shape[1:])
        shape = tuple(value.tensor.shape)
        cut = len(shape) - len(wanted)
        grows = grown_dimension(register, wanted)
        same = cut >= 0 and all(a == b or i == grows for i, (a, b) in enumerate(zip(shape[cut:], wanted, strict=True)))
        if same:
            leads.append(Lead(value.name, shape[:cut], value.span))
        else:
            found.append(problems.WrongRank(value.span, value.name, entry_shape(register, wanted), shape_text(shape)))
    if found:
        raise SpecError(found)
    return leads


def entry_shape(register: Register, wanted: Sequence[int]) -> str:
    """The shape of an entry as a person reads it, sizes with the names of their axes."""
    grows = grown_dimension(register, wanted)
    names: list[object] = []
    axes = list(declared(register.axes))
    held = len(wanted) - len(axes)
    for i, size in enumerate(wanted):
        if i == grows:
            names.append("steps so far")
        elif i < held:
            names.append(size)
        else:
            names.append(f"{axes[i - held]}={size}")
    return shape_text(["batch…", *names])


def grown_dimension(register: Register, dims: Sequence[int]) -> int | None:
    """The dimension of an unbounded history that counts steps, among an entry's own dimensions; None for others.

    The steps held come before the register's axes.
    """
    return len(dims) - len(register.axes) - 1 if register.depth.unbounded else None


def times_of(t: Any, batch: Shape) -> tuple[int, ...] | int:
    """Steps done: an int for all sequences, or one a sequence, in order. Raises SpecError."""
    if t is None:
        return 0
    if isinstance(t, (int, torch.SymInt)) and not isinstance(t, bool):
        return _checked(t)  # type: ignore[arg-type]  # a number that a tracer knows by name stays one
    try:
        tensor = torch.as_tensor(t)
    except (TypeError, ValueError, RuntimeError):
        raise SpecError([problems.BadTime(None, f"is {_type(t)}")]) from None
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise SpecError([problems.BadTime(None, f"is {dtype}, not an integer")])
    if tensor.ndim == 0:
        return _checked(int(tensor))
    if tuple(tensor.shape) != batch:
        shapes = f"has the shape {shape_text(tensor.shape)}; expected {shape_text(batch)}, the batch"
        raise SpecError([problems.BadTime(None, shapes)])
    return tuple(_checked(int(n)) for n in tensor.flatten().tolist())


def _checked(t: int) -> int:
    if t < 0:
        raise SpecError([problems.BadTime(None, "is negative")])
    return t


def complete(
    given: Given, converted: Mapping[str, Tensor], template: Mapping[str, Tensor], batch: Shape
) -> dict[str, Tensor]:
    """Every entry with exactly one batch dimension, of the size of `batch`; those left out from the template."""
    by_name = {entry_name(v): converted[v.name] for v in given.values}
    count = product(batch)
    return {
        name: (
            flatten_batch(by_name[name], initial.ndim - 1, batch)
            if name in by_name
            else initial.expand(count, *initial.shape[1:])
        )
        for name, initial in template.items()
    }


def as_given(graph: StepGraph, state: Mapping[str, Any], batch: Shape) -> dict[str, Any]:
    """The program's state with the caller's batch dimensions, in the order of the spec, whatever the form.

    `t` comes last; it is an int, or has the batch's shape.
    """
    entries = {name: state[name] for name in (*graph.register, TIME_ENTRY)}
    return {name: unflatten_batch(e, batch) if isinstance(e, Tensor) else e for name, e in entries.items()}
