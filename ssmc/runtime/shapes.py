"""Shapes of a call: batch, length and axes; tensors to exactly one batch dimension and back.

Batch dimensions are broadcast: two arguments agree where their batches are equal, 1, or left out from the left. The
number of batch dimensions of a tensor follows from its rank, since its other dimensions are declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssmc.diagnostics import SpecError
from ssmc.expr.nodes import Axes
from ssmc.runtime import problems
from ssmc.runtime.problems import shape_text
from ssmc.source import Span
from ssmc.step.nodes import Port

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Lead:
    """The batch part of an argument's shape, by whose name a disagreement is told."""

    name: str
    batch: Shape
    span: Span | None = None


def declared(axes: Iterable[str]) -> tuple[str, ...]:
    """Axes as the user wrote them: the columns of a square value are named like its rows."""
    return tuple(a.rstrip("'") for a in axes)


def split_input(port: Port, shape: Sequence[int], timed: bool) -> tuple[Shape, int | None, Shape]:
    """(batch, length, sizes of the axes) of an input; without time, length is None. Raises SpecError."""
    rank, time = len(port.axes), 1 if timed else 0
    cut = len(shape) - rank - time
    if cut < 0:
        expected = shape_text(["batch…", *(["L"] if timed else []), *declared(port.axes)])
        raise SpecError([problems.WrongRank(port.span, port.name, expected, shape_text(shape))])
    return tuple(shape[:cut]), shape[cut] if timed else None, fixed(shape[cut + time :])


def fixed(shape: Sequence[int]) -> Shape:
    """Sizes of axes as numbers: a tracer's symbols for them become what they stand for, unlike a batch or a length."""
    return tuple(int(n) for n in shape)


def check_param(port: Port, shape: Sequence[int]) -> None:
    """Raise SpecError where a param has another number of dimensions than axes."""
    if len(shape) != len(port.axes):
        expected = shape_text(declared(port.axes)) if port.axes else "a single number"
        raise SpecError([problems.WrongRank(port.span, port.name, expected, shape_text(shape))])


def common_batch(leads: Iterable[Lead]) -> Shape:
    """The broadcast of all batches. Raises SpecError naming two that disagree."""
    result: Shape = ()
    seen: list[Lead] = []
    for lead in leads:
        joined = _joined(result, lead.batch)
        if joined is None:
            other = next(s for s in seen if _joined(s.batch, lead.batch) is None)
            batches = shape_text(lead.batch), other.name, shape_text(other.batch)
            raise SpecError([problems.DifferentBatches(lead.span, lead.name, *batches)])
        result = joined
        seen.append(lead)
    return result


def _joined(x: Shape, y: Shape) -> Shape | None:
    longer, shorter = (x, y) if len(x) >= len(y) else (y, x)
    skip = len(longer) - len(shorter)
    tail = []
    for a, b in zip(longer[skip:], shorter, strict=True):
        if a != b and a != 1 and b != 1:
            return None
        tail.append(b if a == 1 else a)
    return (*longer[:skip], *tail)


def common_length(lengths: Mapping[str, int], spans: Mapping[str, Span | None]) -> int | None:
    """The one length of all inputs. Raises SpecError naming two that disagree."""
    first: str | None = None
    for name, length in lengths.items():
        if first is None:
            first = name
        elif length != lengths[first]:
            raise SpecError([problems.DifferentLengths(spans[name], name, length, first, lengths[first])])
    return None if first is None else lengths[first]


def product(shape: Iterable[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


def flatten_batch(x: Tensor, kept: int, batch: Shape) -> Tensor:
    """x (its batch…, rest…), the rest being its last `kept` dimensions, as (product of `batch`, rest…).

    A view wherever strides allow; an expanded batch of one dimension stays expanded.
    """
    own = x.ndim - kept
    if tuple(x.shape[:own]) != batch:
        x = x.expand(*batch, *x.shape[own:])
    if len(batch) == 1:
        return x
    return x.unsqueeze(0) if not batch else x.reshape(product(batch), *x.shape[len(batch) :])


def unflatten_batch(x: Tensor, batch: Shape) -> Tensor:
    """(B, rest…) as (batch…, rest…)."""
    if len(batch) == 1:
        return x
    return x.reshape((*batch, *x.shape[1:]))


def axes_of(axes: Axes, sizes: Mapping[str, int]) -> Shape:
    return tuple(sizes[a.rstrip("'~")] for a in axes)


def empty_index(device: torch.device) -> Tensor:
    return torch.empty(0, dtype=torch.int64, device=device)
