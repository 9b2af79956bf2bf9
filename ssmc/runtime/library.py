"""The operator of a traced graph, `ssmc::sequence`: one for all specs, which finds the program by its name.

    torch.ops.ssmc.sequence("leaky@5f3a…/auto/any/outputs", [x, g, h], [batch, L, t, *sizes]) -> [y]

`torch.compile` and `torch.export` write it down where an eager call would run. Its derivatives are calls of it, with
the names of derived operators; so a graph of a forward and a backward holds nothing but text, numbers and tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssmc.runtime import autograd
from ssmc.runtime.generate import Saved
from ssmc.runtime.operators import Kept, Numbers, Operator
from ssmc.runtime.recent import Recent
from ssmc.runtime.registry import spec_of


@dataclass(frozen=True)
class Named:
    """What a name means: an operator; one that gives states for its backward too, after its results; or one that takes
    such states, after its own tensors."""

    operator: Operator
    saves: Saved | None = None
    resumes: Saved | None = None

    @property
    def count(self) -> int:
        """The tensors that it takes; constants may follow, which only gradients are for."""
        return self.operator.count + (len(self.resumes.registers) if self.resumes else 0)

    @property
    def results(self) -> int:
        return len(self.operator.smooth)


_FOUND: Recent[str, Named] = Recent(512)


def named(key: str) -> Named:
    """The meaning of a name: `spec/form/backend/state or outputs`, then the steps by which it was derived."""
    return _FOUND.get(key, lambda: _looked_up(key))


def _looked_up(key: str) -> Named:
    before, _, step = key.rpartition("/")
    kind, *words = step.split(" ")
    if kind in ("saving", "resuming"):
        of = Saved(int(words[0]), tuple(words[1].split(",")))
        operator = named(before).operator
        return Named(operator, saves=of) if kind == "saving" else Named(operator, resumes=of)
    if kind not in ("state", "outputs"):
        return Named(named(before).operator.derived(step))
    spec, form, backend = before.split("/")
    wish = dict(pair.split("=") for pair in form.split(",")) if "=" in form else form
    runner = spec_of(spec).runner(None if form == "auto" else wish, None if backend == "any" else backend)
    return Named(runner.with_state if step == "state" else runner.operator)


def call(
    operator: Operator, numbers: Sequence[int], tensors: Sequence[Tensor], kept: Kept | None = None
) -> Sequence[Tensor]:
    """The results of an operator, as a call of `ssmc::sequence`; a backward may go on from what its forward kept."""
    key, count, given = operator.key, operator.count, list(tensors)
    if kept is not None:
        given[count:count] = kept[1]
        key = f"{key}/resuming {_text(kept[0])}"
    elif _goes_back(operator, given):
        saves = operator.saving(numbers, given)
        key = f"{key}/saving {_text(saves)}" if saves is not None else key
    return _called(key, numbers, given)[: len(operator.smooth)]


def _goes_back(operator: Operator, tensors: Sequence[Tensor]) -> bool:
    """Whether a backward is likely to follow. An exported graph is run more than trained, and is to be good for any
    length: the number of chunks would take part in its shapes."""
    exporting = getattr(torch.compiler, "is_exporting", None)  # from PyTorch 2.7 on
    if operator.programs.derived or not torch.is_grad_enabled() or (exporting is not None and exporting()):
        return False
    return any(x.requires_grad for x in tensors)


def _called(key: str, numbers: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
    made: list[Tensor] = torch.ops.ssmc.sequence(key, list(tensors), list(numbers))
    return made


def _text(saved: Saved) -> str:
    return f"{saved.chunk} {','.join(saved.registers)}"


def _sequence(program: str, tensors: Sequence[Tensor], numbers: Sequence[int]) -> list[Tensor]:
    name = named(program)
    given = list(tensors)[: name.operator.count]
    if name.saves is not None:
        made, kept = name.operator.run_saving(tuple(numbers), given, name.saves)
        assert kept is not None
        states = dict(zip(kept[0].registers, kept[1], strict=True))
        made = [*made, *(states[r] for r in name.saves.registers)]
    else:
        resumed = (name.resumes, tensors[name.operator.count : name.count]) if name.resumes is not None else None
        made = name.operator.run(tuple(numbers), given, resumed)
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
    name = named(program)
    return name.operator.blank(numbers, tensors, name.saves)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    program, tensors, numbers = inputs
    name = named(program)
    ctx.program, ctx.numbers = program, tuple(numbers)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors[: name.operator.count], *output[name.results :])


def _backward(ctx: Any, came: Sequence[Tensor | None]) -> tuple[None, list[Tensor | None], None]:
    name = named(ctx.program)
    count, end = name.operator.count, name.count
    tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad[1]
    kept = (name.saves, tensors[count:]) if name.saves is not None else None
    # nothing comes to what was saved, nor from what was taken up again: both only say again what the arguments say
    found = autograd.gradients(
        name.operator, ctx.numbers, tensors[:count], came[: name.results], [*wanted[:count], *wanted[end:]], kept
    )
    return None, [*found[:count], *[None] * (end - count), *found[count:]], None


def _vmap(info: Any, in_dims: Any, program: str, tensors: Sequence[Tensor], numbers: Sequence[int]) -> Any:
    name = named(program)
    dims = in_dims[1] or [None] * len(tensors)

    def each(_: Operator, numbers: Numbers, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return _called(program, numbers, tensors)

    given = tensors[: name.count]
    made = autograd.mapped(name.operator, tuple(numbers), given, dims, info.batch_size, each)
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
