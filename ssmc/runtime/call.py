"""A call of a compiled spec: arguments in, outputs and state out.

What the generated program is given is uniform: one batch dimension, one dtype and device, all params, all entries of
the state. Everything a caller may write differently is settled here, by the rules of `tensors`, `shapes`, `state` and
`segments`; mistakes are `SpecError`s that name the argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssmc.diagnostics import Problem, SpecError
from ssmc.runtime import problems
from ssmc.runtime import state as states
from ssmc.runtime.arguments import arrange, whole
from ssmc.runtime.initial import Memo, default_params, sizes_of_call
from ssmc.runtime.runner import Runner
from ssmc.runtime.segments import Segment, cut, run_cut
from ssmc.runtime.shapes import (
    Lead,
    Shape,
    check_param,
    common_batch,
    common_length,
    fixed,
    flatten_batch,
    product,
    split_input,
    unflatten_batch,
)
from ssmc.runtime.tensors import Precision, check_kinds, convert, precision_of, store, value_of
from ssmc.step.nodes import StepGraph

OPTIONS = ("state", "return_state", "form", "backend", "lengths", "cu_seqlens", "length", "sizes", "out")


@dataclass(frozen=True)
class Bound:
    """The arguments of a call as the program takes them, but for the batch: inputs keep their own until it is known."""

    inputs: dict[str, Tensor]
    leads: tuple[Lead, ...]
    length: int | None
    params: dict[str, Tensor]
    sizes: dict[str, int]
    given: states.Given
    given_tensors: dict[str, Tensor]
    precision: Precision

    def flat_inputs(self, batch: Shape, timed: bool) -> dict[str, Tensor]:
        kept = {lead.name: self.inputs[lead.name].ndim - len(lead.batch) for lead in self.leads}
        return {name: flatten_batch(x, kept[name], batch) for name, x in self.inputs.items()}


def bind(
    graph: StepGraph,
    expanded: StepGraph,
    args: Sequence[Any],
    named: Mapping[str, Any],
    memo: Memo,
    *,
    state: object = None,
    sizes: Mapping[str, int] | None = None,
    timed: bool = True,
    options: Sequence[str] = OPTIONS,
) -> Bound:
    """Arguments checked and converted. `expanded` is the graph the program was made from. Raises SpecError."""
    raw = arrange(graph, (*graph.inputs, *graph.params), args, named, options)
    port = {p.name: p for p in (*graph.inputs, *graph.params)}
    values = [value_of(name, x, port[name].kind, port[name].span) for name, x in raw.items()]
    given = states.given_state(graph, state)
    check_kinds([*values, *given.values])
    precision = precision_of(values, given.values)
    shapes: dict[str, Shape] = {}
    leads: list[Lead] = []
    lengths: dict[str, int] = {}
    found: list[Problem] = []
    for v in values:
        p = port[v.name]
        try:
            if p in graph.inputs:
                batch, length, shapes[p.name] = split_input(p, v.tensor.shape, timed)
                leads.append(Lead(p.name, batch, p.span))
                if length is not None:
                    lengths[p.name] = length
            else:
                check_param(p, v.tensor.shape)
                shapes[p.name] = fixed(v.tensor.shape)
        except SpecError as wrong:
            found.extend(wrong.diagnostics)  # type: ignore[arg-type]
    if found:
        raise SpecError(found)
    steps = common_length(lengths, {name: p.span for name, p in port.items()})
    for v in given.values:
        name = states.entry_name(v)
        if v.tensor.ndim >= len(graph.register[name].axes):
            own = v.tensor.ndim - len(graph.register[name].axes)
            shapes.setdefault(name, fixed(v.tensor.shape[own:]))
    # the same for every batch and length, so worth keeping: solving takes longer than binding everything else
    question = ("sizes", tuple(shapes.items()), tuple((sizes or {}).items()))
    solved = memo(question, lambda: sizes_of_call(graph, expanded, shapes, sizes))
    tensors = convert(values, precision, halves=True)
    inputs = {p.name: tensors[p.name] for p in graph.inputs}
    params = {p.name: tensors[p.name] for p in graph.params if p.name in tensors}
    params = default_params(graph, params, solved, precision, memo)
    return Bound(inputs, tuple(leads), steps, params, solved, given, convert(given.values, precision), precision)


def run_sequence(
    graph: StepGraph,
    runner: Runner,
    bound: Bound,
    keep: bool,
    *,
    length: int | None = None,
    lengths: Any = None,
    cu_seqlens: Any = None,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Outputs by name in the caller's shapes, and the new state where it is to be kept."""
    steps = _length(graph, bound.length, length)
    input_batch = common_batch(bound.leads)
    chunks = cut(lengths, cu_seqlens, input_batch, steps)
    if chunks is None:
        batch, entries = _state(graph, runner, bound, input_batch, open_batch=True)
        rows = batch
    else:
        batch, entries = _state(graph, runner, bound, chunks.batch, open_batch=False)
        rows = input_batch
    times = states.times_of(bound.given.t, batch)
    inputs = bound.flat_inputs(rows, timed=True)
    grows = {r.name: 1 for r in graph.registers if r.depth.unbounded}
    if chunks is None and (not isinstance(times, tuple) or len(set(times)) == 1):
        t = times if not isinstance(times, tuple) else times[0]
        for name, dimension in grows.items():
            entries[name] = entries[name].narrow(dimension, 0, t)
        ys, new = runner.sequence(
            bound.sizes, product(batch), steps, inputs, bound.params, entries | {"t": t}, bound.precision, keep
        )
        if isinstance(times, tuple):
            new = dict(new) | {"t": _times_like(bound.given.t, steps)}
    else:
        segments = tuple(Segment(row, 0, steps) for row in range(product(batch))) if chunks is None else chunks.segments
        every = (times,) * len(segments) if not isinstance(times, tuple) else times
        ys, new = run_cut(
            lambda x, count, taken, s: runner.sequence(
                bound.sizes, count, taken, x, bound.params, s, bound.precision, keep
            ),
            inputs, product(rows), steps, segments, every, entries, grows, bound.precision.device,
        )  # fmt: skip
    outputs = {o.name: unflatten_batch(y, rows) for o, y in zip(graph.outputs, ys, strict=True)}
    return store(outputs, bound.precision), states.as_given(graph, new, batch) if keep else {}


def run_step(graph: StepGraph, runner: Runner, bound: Bound) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Outputs of one step by name, and the new state."""
    input_batch = common_batch(bound.leads)
    batch, entries = _state(graph, runner, bound, input_batch, open_batch=True)
    times = states.times_of(bound.given.t, batch)
    inputs = bound.flat_inputs(batch, timed=False)
    grows = {r.name: 1 for r in graph.registers if r.depth.unbounded}
    if not isinstance(times, tuple) or len(set(times)) == 1:
        t = times if not isinstance(times, tuple) else times[0]
        for name, dimension in grows.items():
            entries[name] = entries[name].narrow(dimension, 0, t)
        ys, new = runner.step(bound.sizes, product(batch), inputs, bound.params, entries | {"t": t}, bound.precision)
        if isinstance(times, tuple):
            new = dict(new) | {"t": _times_like(bound.given.t, 1)}
    else:

        def one(x: Mapping[str, Tensor], n: int, _: int, s: Mapping[str, Any]) -> Any:
            now = {k: v.squeeze(1) for k, v in x.items()}
            stepped, after = runner.step(bound.sizes, n, now, bound.params, s, bound.precision)
            return tuple(y.unsqueeze(1) for y in stepped), after

        rows = product(batch)
        segments = [Segment(row, 0, 1) for row in range(rows)]
        timed = {k: v.unsqueeze(1) for k, v in inputs.items()}
        ys, new = run_cut(one, timed, rows, 1, segments, times, entries, grows, bound.precision.device)
        ys = tuple(y.squeeze(1) for y in ys)
    outputs = {o.name: unflatten_batch(y, batch) for o, y in zip(graph.outputs, ys, strict=True)}
    return store(outputs, bound.precision), states.as_given(graph, new, batch)


def _length(graph: StepGraph, of_inputs: int | None, given: int | None) -> int:
    length = whole(given)
    if given is not None and length is None:
        raise SpecError([problems.BadOption(None, "length", f"is a number of steps, not {given!r}")])
    if of_inputs is None:
        if length is None:
            raise SpecError([problems.NeedsLength(None, graph.name)])
        return length
    if length is not None and length != of_inputs:
        raise SpecError([problems.BadOption(None, "length", f"is {given}, and the inputs have {of_inputs} steps")])
    return of_inputs


def _state(
    graph: StepGraph, runner: Runner, bound: Bound, batch: Shape, open_batch: bool
) -> tuple[Shape, dict[str, Tensor]]:
    """The batch of the call and all entries of the state with one batch dimension, without `t`.

    With `open_batch` the entries given may widen the batch, as an input may.
    """
    if not bound.given.values and not open_batch:
        return batch, runner.initial_state(bound.sizes, product(batch), bound.params, bound.precision)
    if not bound.given.values:
        batch = common_batch([*bound.leads, *_time_lead(bound.given.t)])
        return batch, runner.initial_state(bound.sizes, product(batch), bound.params, bound.precision)
    template = runner.initial_state(bound.sizes, 1, bound.params, bound.precision)
    leads = states.check_entries(graph, bound.given, template)
    if open_batch:
        batch = common_batch([*bound.leads, *leads, *_time_lead(bound.given.t)])
    else:
        joined = common_batch([Lead("lengths", batch), *leads])
        if joined != batch:
            other = next(lead for lead in leads if common_batch([Lead("", batch), lead]) != batch)
            shapes = problems.shape_text(other.batch), "lengths", problems.shape_text(batch)
            raise SpecError([problems.DifferentBatches(other.span, other.name, *shapes)])
    return batch, states.complete(bound.given, bound.given_tensors, template, batch)


def _time_lead(t: Any) -> list[Lead]:
    return [Lead("state['t']", tuple(t.shape))] if isinstance(t, Tensor) and t.ndim else []


def _times_like(t: Any, steps: int) -> Any:
    return torch.as_tensor(t).flatten().cpu() + steps
