"""Operators under PyTorch's automatic differentiation.

A call that someone may differentiate is a node of PyTorch's graph, of which its arguments are kept, and states where
chunks begin. Its derivatives are calls of derived operators, under the same rules, so that there are derivatives of any
order and direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ssmc.runtime.operators import Kept, Numbers, Operator

RunSaving = Callable[[Numbers, Sequence[Tensor]], tuple[Sequence[Tensor], Kept | None]]


def call(
    operator: Operator, numbers: Numbers, tensors: Sequence[Tensor], saved: Kept | None = None
) -> Sequence[Tensor]:
    """The results, differentiable where PyTorch asks for it; a backward may go on from what its forward `saved`."""
    if not followed(tensors):
        return operator.run(numbers, tensors, saved)
    if not (transforms() or traces()):
        return recorded(operator, numbers, tensors, saved)
    if transforms() or records(tensors[operator.first_param : operator.first_entry]):
        tensors = [*tensors, *operator.constant_values(numbers, tensors)]
    if not transforms():
        return written_down(operator, numbers, tensors, saved)
    made: Sequence[Tensor] = _Transformed.apply(operator, numbers, *tensors)  # type: ignore[no-untyped-call]
    return made


def written_down(
    operator: Operator, numbers: Numbers, tensors: Sequence[Tensor], saved: Kept | None = None
) -> Sequence[Tensor]:
    """The results, as a call in the graph that is traced."""
    from ssmc.runtime import library

    return library.call(operator, numbers, tensors, saved)


def recorded(
    operator: Operator,
    numbers: Numbers,
    tensors: Sequence[Tensor],
    saved: Kept | None = None,
    run_saving: RunSaving | None = None,
) -> Sequence[Tensor]:
    """The results, differentiable where only autograd looks on.

    `run_saving` may stand for the operator's own; the tensors are then known to be no wrappers of torch.func.
    """
    if operator.constants and records(tensors[operator.first_param : operator.first_entry]):
        tensors = [*tensors, *operator.constant_values(numbers, tensors)]
    made: Sequence[Tensor]
    if run_saving is None:
        run_saving = operator.run_saving
        made = _Recorded.apply(operator, numbers, saved, run_saving, *tensors)  # type: ignore[no-untyped-call]
    else:
        made = _apply(operator, numbers, saved, run_saving, *tensors)
    return made


def transforms() -> bool:
    """Whether a transform of torch.func is at work."""
    return bool(torch._C._are_functorch_transforms_active())


def recorded_only(tensors: Sequence[Tensor]) -> bool:
    """Whether autograd follows the tensors backwards, and nobody else does."""
    if transforms() or traces() or forward_ad._current_level >= 0:
        return False
    return records(tensors)


def records(tensors: Sequence[Tensor]) -> bool:
    """Whether autograd follows what is done with any of the tensors."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        return True
    if forward_ad._current_level < 0:
        return False
    return any(forward_ad.unpack_dual(x).tangent is not None for x in tensors)  # type: ignore[no-untyped-call]


def followed(tensors: Sequence[Tensor]) -> bool:
    """Whether anyone but the caller looks at what is done with the tensors: autograd, torch.func, a tracer."""
    return transforms() or traces() or records(tensors)


def traces() -> bool:
    """Whether operations are written down instead of run: `torch.compile`, `torch.export` and their like."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def gradients(
    operator: Operator,
    numbers: Numbers,
    tensors: Sequence[Tensor],
    came: Sequence[Tensor | None],
    wanted: Sequence[bool],
    saved: Kept | None = None,
) -> list[Tensor | None]:
    """The gradient of every tensor, and of the constants after them, from those of the results."""
    if not any(wanted) or all(x is None for x in came):
        return [None] * len(wanted)
    if any(x is not None and _batched(x) for x in came):
        return _for_a_batch(operator, numbers, tensors, came, wanted)
    derived = operator.backward([x is not None for x in came], wanted)
    return derived.taken(call(derived.operator, numbers, derived.given(tensors, came), saved))


def _batched(x: Tensor) -> bool:
    """Whether a tensor is a batch of `torch.autograd.grad(is_grads_batched=True)`, which no program takes."""
    return bool(torch._C._functorch.is_legacy_batchedtensor(x))


def _for_a_batch(
    operator: Operator,
    numbers: Numbers,
    tensors: Sequence[Tensor],
    came: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients for a batch of those of the results: as torch.func has them, which took the place of such batches."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    live = [i for i, x in enumerate(came) if x is not None]
    whole = [torch._remove_batch_dim(x, level, 0, 0) if _batched(x) else x for x in came if x is not None]
    dims = tuple(0 if _batched(x) else None for x in came if x is not None)
    places: list[int] = []

    def one(*given: Tensor) -> tuple[Tensor, ...]:
        by_place = dict(zip(live, given, strict=True))
        found = gradients(operator, numbers, tensors, [by_place.get(i) for i in range(len(came))], wanted)
        places[:] = [i for i, x in enumerate(found) if x is not None]
        return tuple(x for x in found if x is not None)

    made = torch.func.vmap(one, dims)(*whole)
    every: list[Tensor | None] = [None] * len(wanted)
    for i, x in zip(places, made, strict=True):
        every[i] = torch._add_batch_dim(x, 0, level)
    return every


def tangents(
    operator: Operator, numbers: Numbers, tensors: Sequence[Tensor], moves: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The tangent of every result, from those of the tensors and constants."""
    derived = operator.forward([x is not None for x in moves])
    found = derived.taken(call(derived.operator, numbers, derived.given(tensors, moves)))
    # torch.func takes no None for a result that could have a tangent
    missing = [i for i, x in enumerate(found) if x is None and operator.smooth[i]]
    if missing:
        blank = operator.blank(numbers, tensors)
        for i in missing:
            found[i] = torch.zeros_like(blank[i])
    return found


class _Recorded(torch.autograd.Function):
    """For plain autograd."""

    @staticmethod
    def forward(
        ctx: Any, operator: Operator, numbers: Numbers, saved: Kept | None, run_saving: RunSaving, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        own = tensors[: operator.count]
        ctx.operator, ctx.numbers, ctx.saved = operator, numbers, None
        states: Sequence[Tensor] = ()
        if not operator.programs.derived and any(ctx.needs_input_grad):
            made, kept = run_saving(numbers, own)
            if kept is not None:
                ctx.saved, states = kept
        else:
            made = operator.run(numbers, own, saved)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*own, *states)
        ctx.save_for_forward(*own)
        _mark(ctx, operator, made)
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *came: Tensor | None) -> tuple[Tensor | None, ...]:
        count = ctx.operator.count
        tensors = ctx.saved_tensors
        saved = (ctx.saved, tensors[count:]) if ctx.saved is not None else None
        found = gradients(ctx.operator, ctx.numbers, tensors[:count], came, ctx.needs_input_grad[4:], saved)
        return None, None, None, None, *found

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, ___: None, ____: None, *moves: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(tangents(ctx.operator, ctx.numbers, ctx.saved_tensors[: ctx.operator.count], moves))


# without the part that looks for wrappers of torch.func, which takes as long as the rest
_apply: Callable[..., Any] = super(torch.autograd.Function, _Recorded).apply


class _Transformed(torch.autograd.Function):
    """For torch.func, under whose transforms nothing can be kept but arguments."""

    @staticmethod
    def forward(operator: Operator, numbers: Numbers, *tensors: Tensor) -> tuple[Tensor, ...]:
        run = written_down if traces() else Operator.run
        return tuple(run(operator, numbers, tensors[: operator.count]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        operator, numbers, *tensors = inputs
        ctx.operator, ctx.numbers = operator, numbers
        ctx.set_materialize_grads(False)
        own = tensors[: operator.count]
        ctx.save_for_backward(*own)
        ctx.save_for_forward(*own)
        _mark(ctx, operator, output)

    @staticmethod
    def backward(ctx: Any, *came: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, None, *gradients(ctx.operator, ctx.numbers, ctx.saved_tensors, came, ctx.needs_input_grad[2:])

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, *moves: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(tangents(ctx.operator, ctx.numbers, ctx.saved_tensors, moves))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], operator: Operator, numbers: Numbers, *tensors: Tensor) -> Any:
        made = mapped(operator, numbers, tensors[: operator.count], in_dims[2:], info.batch_size)
        return tuple(made), (0,) * len(made)


def _mark(ctx: Any, operator: Operator, made: Sequence[Tensor]) -> None:
    if not all(operator.smooth):
        ctx.mark_non_differentiable(*(x for x, smooth in zip(made, operator.smooth, strict=True) if not smooth))


def mapped(
    operator: Operator,
    numbers: Numbers,
    tensors: Sequence[Tensor],
    dims: Sequence[int | None],
    size: int,
    call: Callable[[Operator, Numbers, Sequence[Tensor]], Sequence[Tensor]] = call,
) -> Sequence[Tensor]:
    """The results for each of `size` calls, along a new first dimension; `dims` says where a tensor has its calls.

    The calls are a batch, unless params differ among them: then they are made one after the other.
    """
    batch = numbers[0]
    first, second = operator.first_param, operator.first_entry
    if size == 0:
        blank = operator.blank(numbers, tensors)
        return [x.new_empty((0, *x.shape)) for x in blank]
    if any(d is not None for d in dims[first:second]):
        each = []
        for i in range(size):
            one = [x if d is None else x.select(d, i) for x, d in zip(tensors, dims, strict=False)]
            each.append(call(operator, numbers, one))
        return [torch.stack(parts) for parts in zip(*each, strict=True)]

    def joined(x: Tensor, d: int | None) -> Tensor:
        every = x.unsqueeze(0).expand(size, *x.shape) if d is None else x.movedim(d, 0)
        return every.reshape(size * batch, *every.shape[2:])

    params = tensors[first:second]
    inputs = [joined(x, d) for x, d in zip(tensors[:first], dims, strict=False)]
    entries = [joined(x, d) for x, d in zip(tensors[second:], dims[second:], strict=False)]
    made = call(operator, (size * batch, *numbers[1:]), [*inputs, *params, *entries])
    return [x.reshape(size, batch, *x.shape[1:]) for x in made]
