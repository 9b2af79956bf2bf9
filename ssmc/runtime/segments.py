"""Sequences of different lengths in one call.

Packed: one row of L steps holds several sequences end to end (`cu_seqlens=`, or `lengths=` that add up to L). Padded:
each row holds one sequence at its start (`lengths=`, one entry a row); what the program never sees cannot leak, so each
sequence is cut out, sequences of equal length and equal `t` run as one batch, and outputs are put back where their
steps were. Outputs past the end of a padded sequence are zero; states are those after a sequence's last step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ssmc.diagnostics import SpecError
from ssmc.runtime import problems
from ssmc.runtime.problems import shape_text
from ssmc.runtime.shapes import Shape, product

# (inputs of a group, its number of sequences, its length, its state with `t`) -> (outputs, new state with `t`)
RunGroup = Callable[[Mapping[str, Tensor], int, int, Mapping[str, Any]], tuple[tuple[Tensor, ...], Mapping[str, Any]]]


@dataclass(frozen=True)
class Segment:
    """One sequence: `length` steps of row `row`, from step `start` (from 0) of it."""

    row: int
    start: int
    length: int


@dataclass(frozen=True)
class Cut:
    """How a call is cut into sequences. `batch` is the batch of the states: one entry a sequence."""

    segments: tuple[Segment, ...]
    batch: Shape


def cut(lengths: Any, cu_seqlens: Any, batch: Shape, length: int) -> Cut | None:
    """The sequences that `lengths=` or `cu_seqlens=` say; None where neither is given. Raises SpecError."""
    if lengths is not None and cu_seqlens is not None:
        raise SpecError([problems.BadSegments(None, "cu_seqlens", "cannot be given together with `lengths=`")])
    if cu_seqlens is not None:
        ends, _ = _integers("cu_seqlens", cu_seqlens)
        if product(batch) != 1:
            _fail("cu_seqlens", f"needs inputs of one row, and the batch is {shape_text(batch)}")
        if not ends or ends[0] != 0 or ends[-1] != length:
            _fail("cu_seqlens", f"runs from 0 to {length}, the number of steps")
        if any(a > b for a, b in pairwise(ends)):
            _fail("cu_seqlens", "does not grow")
        return _packed([b - a for a, b in pairwise(ends)])
    if lengths is None:
        return None
    counts, shape = _integers("lengths", lengths)
    if any(n < 0 for n in counts):
        _fail("lengths", "has a negative entry")
    if product(batch) == 1 and sum(counts) == length and len(shape) == 1:
        return _packed(counts)
    if not batch:
        _fail("lengths", f"adds up to {sum(counts)}, and the inputs have {length} steps")
    if shape != batch and not (len(shape) == 1 and shape[0] == product(batch)):
        _fail("lengths", f"has the shape {shape_text(shape)}; expected {shape_text(batch)}, the batch")
    if any(n > length for n in counts):
        _fail("lengths", f"has the entry {max(counts)}, and the inputs have {length} steps")
    return Cut(tuple(Segment(row, 0, n) for row, n in enumerate(counts)), batch)


def _packed(counts: Sequence[int]) -> Cut:
    segments, start = [], 0
    for n in counts:
        segments.append(Segment(0, start, n))
        start += n
    return Cut(tuple(segments), (len(segments),))


def _fail(option: str, why: str) -> None:
    raise SpecError([problems.BadSegments(None, option, why)])


def _integers(option: str, given: Any) -> tuple[list[int], Shape]:
    if isinstance(given, (list, tuple)) and all(type(n) is int for n in given):
        return list(given), (len(given),)  # no tensor, whose numbers a tracer would not know
    try:
        tensor = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise SpecError([problems.BadSegments(None, option, "is not a tensor or a list of integers")]) from None
    if tensor.numel() == 0:
        return [], tuple(tensor.shape)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool or tensor.ndim == 0:
        _fail(option, "is not a tensor or a list of integers")
    if option == "cu_seqlens" and tensor.ndim != 1:
        _fail(option, "has more than one dimension")
    return [int(n) for n in tensor.flatten().tolist()], tuple(tensor.shape)


def run_cut(
    run: RunGroup,
    inputs: Mapping[str, Tensor],
    rows: int,
    length: int,
    segments: Sequence[Segment],
    times: Sequence[int],
    state: Mapping[str, Tensor],
    grows: Mapping[str, int],
    device: torch.device,
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """Run each segment on its own, equal ones together; outputs (rows, length, …) and states (segments, …).

    `inputs` are (rows, length, …), `state` (segments, …) without `t`, `times` the steps each segment's past has;
    `grows` the dimension (batch counted) in which an entry's size is the number of those steps.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, (segment, t) in enumerate(zip(segments, times, strict=True)):
        groups.setdefault((segment.length, t), []).append(i)
    if not groups:
        groups[0, 0] = []
    places: list[Tensor] = []
    members: list[int] = []
    outputs: list[tuple[Tensor, ...]] = []
    states: list[Mapping[str, Any]] = []
    for (steps, t), group in groups.items():
        starts = torch.tensor([segments[i].row * length + segments[i].start for i in group], dtype=torch.int64)
        place = (starts[:, None] + torch.arange(steps)).flatten().to(device)
        which = torch.tensor(group, dtype=torch.int64).to(device)
        taken = {k: _take(x, place, len(group), steps) for k, x in inputs.items()}
        begun = {k: _history(e.index_select(0, which), t, grows.get(k)) for k, e in state.items()}
        ys, new = run(taken, len(group), steps, begun | {"t": t})
        places.append(place)
        members.extend(group)
        outputs.append(ys)
        states.append(new)
    where = torch.cat(places)
    ends = [t + s.length for s, t in zip(segments, times, strict=True)]
    kept = [k for k in state if k in states[0]]  # none where the caller does not ask for the state
    merged: dict[str, Any] = {k: _merge_state([new[k] for new in states], members, grows.get(k), device) for k in kept}
    merged["t"] = torch.tensor(ends, dtype=torch.int64)
    return tuple(_place(parts, where, rows, length) for parts in zip(*outputs, strict=True)), merged


def _take(x: Tensor, place: Tensor, count: int, steps: int) -> Tensor:
    # not x[rows, times]: the gradient of index_select at distinct places needs no sorting
    taken = x.flatten(0, 1).index_select(0, place)
    return taken.reshape(count, steps, *x.shape[2:])


def _place(parts: Sequence[Tensor], where: Tensor, rows: int, length: int) -> Tensor:
    """The groups' outputs (count, steps, …) at their places of a (rows, length, …); zero elsewhere."""
    flat = torch.cat([p.flatten(0, 1) for p in parts])
    whole = flat.new_zeros(rows * length, *flat.shape[1:]).index_copy(0, where, flat)
    return whole.reshape(rows, length, *flat.shape[1:])


def _history(entry: Tensor, t: int, dimension: int | None) -> Tensor:
    return entry if dimension is None else entry.narrow(dimension, 0, t)


def _merge_state(parts: Sequence[Tensor], members: Sequence[int], grows: int | None, device: torch.device) -> Tensor:
    """The groups' entries in the order of the segments; histories padded with zeros to the longest."""
    if grows is not None:
        longest = max(p.shape[grows] for p in parts)
        parts = [_padded(p, grows, longest) for p in parts]
    order = torch.tensor(sorted(range(len(members)), key=members.__getitem__), dtype=torch.int64)
    return torch.cat(list(parts)).index_select(0, order.to(device))


def _padded(x: Tensor, dimension: int, size: int) -> Tensor:
    missing = size - x.shape[dimension]
    if missing == 0:
        return x
    shape = list(x.shape)
    shape[dimension] = missing
    return torch.cat([x, x.new_zeros(shape)], dimension)
