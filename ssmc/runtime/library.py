"""The operator of a traced graph, `ssmc::sequence`: one for all specs, which finds the program by its name.

    torch.ops.ssmc.sequence("leaky@5f3a…/auto/any/outputs", [x, g, h], [batch, L, t, *sizes]) -> [y]

`torch.compile` and `torch.export` write it down where an eager call would run. Its derivatives are calls of it, with
the names of derived operators; so a graph of a forward and a backward holds nothing but text, numbers and tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ssmc.runtime import autograd
from ssmc.runtime.operators import Operator
from ssmc.runtime.recent import Recent
from ssmc.runtime.registry import spec_of

_FOUND: Recent[str, Operator] = Recent(512)


def operator_of(key: str) -> Operator:
    """The operator of a name: `spec/form/backend/state or outputs`, then the steps by which it was derived."""
    return _FOUND.get(key, lambda: _looked_up(key))


def _looked_up(key: str) -> Operator:
    before, _, step = key.rpartition("/")
    if step not in ("state", "outputs"):
        return operator_of(before).derived(step)
    spec, form, backend = before.split("/")
    wish = dict(pair.split("=") for pair in form.split(",")) if "=" in form else form
    runner = spec_of(spec).runner(None if form == "auto" else wish, None if backend == "any" else backend)
    return runner.with_state if step == "state" else runner.operator


def call(operator: Operator, numbers: Sequence[int], tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """The results of an operator, as a call of `ssmc::sequence`."""
    made: Sequence[Tensor] = torch.ops.ssmc.sequence(operator.key, list(tensors), list(numbers))
    return made


def _sequence(program: str, tensors: Sequence[Tensor], numbers: Sequence[int]) -> list[Tensor]:
    operator = operator_of(program)
    made = operator.run(tuple(numbers), list(tensors)[: operator.count])
    taken = {x.untyped_storage()._cdata for x in tensors}
    own = []
    for x in made:
        # as the fake kernel says: dense, and memory of its own
        x = x.contiguous()
        if x.untyped_storage()._cdata in taken:
            x = x.clone()
        taken.add(x.untyped_storage()._cdata)
        own.append(x.resolve_conj().resolve_neg())
    return own


def _fake(program: str, tensors: Sequence[Tensor], numbers: Sequence[int]) -> list[Tensor]:
    return operator_of(program).blank(numbers, tensors)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    program, tensors, numbers = inputs
    ctx.program, ctx.numbers, ctx.count = program, tuple(numbers), len(tensors)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors[: operator_of(program).count])


def _backward(ctx: Any, came: Sequence[Tensor | None]) -> tuple[None, list[Tensor | None], None]:
    operator = operator_of(ctx.program)
    found = autograd.gradients(operator, ctx.numbers, ctx.saved_tensors, came, ctx.needs_input_grad[1])
    return None, found, None


def _vmap(info: Any, in_dims: Any, program: str, tensors: Sequence[Tensor], numbers: Sequence[int]) -> Any:
    operator = operator_of(program)
    dims = in_dims[1] or [None] * len(tensors)
    made = autograd.mapped(operator, tuple(numbers), tensors[: operator.count], dims, info.batch_size)
    return list(made), [0] * len(made)


_op = torch.library.custom_op(
    "ssmc::sequence",
    _sequence,
    mutates_args=(),
    schema="(str program, Tensor[] tensors, SymInt[] numbers) -> Tensor[]",
)
_op.register_fake(_fake)
_op.register_autograd(_backward, setup_context=_setup_context)
_op.register_vmap(_vmap)
