"""Calls that go straight to a library: what an earlier call was found to mean holds for those like it.

A call is like an earlier one where its tensors have the same element types and, along the axes, the same sizes; where
its batch and length are of those that the plan was chosen for; where its options are the same; and where nobody but the
caller, or autograd, looks on. The library's own object checks all this (`backends/cpp/extension/public.hpp`), in less
than it takes to ask for one attribute of each tensor; what it does not know goes the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssmc.runtime.generate import rounded

if TYPE_CHECKING:
    from torch import Tensor

    from ssmc.runtime.call import Bound
    from ssmc.runtime.operators import Kept, Numbers
    from ssmc.runtime.program import Program
    from ssmc.runtime.runner import Runner
    from ssmc.step.nodes import StepGraph

Quick = Callable[..., Any]


class Known:
    """The quick calls of one spec: the last one of each kind.

    `sequence` takes calls that autograd records first, where there have been any; they go on to those that it does not.
    """

    def __init__(self, graph: StepGraph, sequence: Quick, step: Quick, result_of: Callable[[], Any]) -> None:
        """`sequence` and `step` settle any call; `result_of` gives the class of several outputs."""
        self._graph, self._result_of = graph, result_of
        self._slow = {"sequence": sequence, "step": step}
        self._keys: dict[str, Any] = {}
        self._plain: Quick | None = None
        self._recorded: Callable[[Quick], Quick | None] | None = None
        self.sequence: Quick | None = None
        self.step: Quick | None = None

    def learn(self, function: str, runner: Runner, bound: Bound, options: Mapping[str, Any]) -> None:
        """Take calls like one that was just settled."""
        from ssmc.runtime.autograd import followed, recorded_only

        if runner.last is None:
            return
        given = (*bound.inputs.values(), *bound.params.values(), *bound.given_tensors.values())
        if not followed(given):
            self._learn(function, function, runner, bound, options)
        elif function == "sequence" and recorded_only(given):
            self._learn("recorded", function, runner, bound, options)

    def _learn(self, kind: str, function: str, runner: Runner, bound: Bound, options: Mapping[str, Any]) -> None:
        assert runner.last is not None
        sizes, batch, length = runner.last
        program = runner.program(sizes, batch, length, bound.precision, saves=kind == "recorded")
        if not hasattr(program.module, "public"):
            return
        called = "sequence_saving" if program.saved else function
        classes = alike(batch), alike(length)
        key = (id(getattr(program.module, called, None)), tuple(sizes.items()), classes, tuple(options.items()))
        if self._keys.get(kind) == key:
            return
        self._keys[kind] = key
        several = self._result_of() if len(self._graph.outputs) > 1 else None
        order = [p.name for p in (*self._graph.inputs, *self._graph.params)]
        record = Recorder(runner, program, sizes, bound, several) if kind == "recorded" else None

        def made(slow: Quick) -> Quick | None:
            return program.module.public(  # type: ignore[no-any-return]
                called, slow, sizes, order, *classes, tuple(options.items()), several, record
            )

        if function == "step":
            self.step = made(self._slow["step"])
            return
        if kind == "recorded":
            self._recorded = made
        else:
            self._plain = made(self._slow["sequence"])
        last = self._plain or self._slow["sequence"]
        self.sequence = (self._recorded(last) if self._recorded is not None else None) or self._plain


class Recorder:
    """Does a call that autograd records, with arguments that are settled but for the batch that they may lack."""

    def __init__(self, runner: Runner, program: Program, sizes: Mapping[str, int], bound: Bound, several: Any) -> None:
        from ssmc.runtime.generate import Saved
        from ssmc.runtime.operators import UNUSED

        self._runner, self._sizes, self._bound, self._several = runner, sizes, bound, several
        self._axes = tuple(sizes.get(a, UNUSED) for a in runner.operator.axes)
        self._kernel = getattr(program.module, "sequence_saving" if program.saved else "sequence")
        self._kept = Saved(program.chunk, program.saved) if program.saved else None
        self._starts: dict[int, list[Tensor]] = {}

    def __call__(
        self, batch: int, length: int, t: int, own_batch: bool, return_state: bool, given: tuple[Tensor, ...]
    ) -> Any:
        """What the spec's call gives; NotImplemented where a transform looks on."""
        from ssmc.runtime.autograd import recorded, transforms

        if transforms():
            return NotImplemented
        operator = self._runner.with_state if return_state else self._runner.operator
        tensors = list(given)
        if not own_batch:
            params = range(operator.first_param, operator.first_entry)
            tensors = [x if i in params else x.unsqueeze(0) for i, x in enumerate(tensors)]
        if len(tensors) < operator.count:
            tensors += self._start(batch)

        def run_saving(numbers: Numbers, own: Sequence[Tensor]) -> tuple[list[Tensor], Kept | None]:
            first, second = operator.first_param, operator.first_entry
            state: dict[str, Any] = dict(zip(operator.given, own[second:], strict=True))
            state["t"] = t
            ports = dict(zip(operator.inputs, own[:first], strict=True))
            ports |= zip(operator.params, own[first:second], strict=True)
            ys, new, *saved = self._kernel(sizes=self._sizes, batch=batch, length=length, state=state, **ports)
            kept = None if self._kept is None else (self._kept, list(saved[0].values()))
            return [*ys, *(new[r] for r in operator.returned)], kept

        numbers = (batch, length, t, *self._axes)
        made: Sequence[Tensor] = recorded(operator, numbers, tensors, None, run_saving)
        if not own_batch:
            made = [x.squeeze(0) for x in made]
        count = len(operator.outputs)
        result = made[0] if self._several is None else self._several(*made[:count])
        if not return_state:
            return result
        return result, {**dict(zip(operator.returned, made[count:], strict=True)), "t": t + length}

    def _start(self, batch: int) -> list[Tensor]:
        """The entries of the state at the start, which no param has a part in."""
        found = self._starts.get(batch)
        if found is None:
            bound = self._bound
            state = self._runner.initial_state(self._sizes, batch, bound.params, bound.precision)
            found = self._starts[batch] = [state[name].detach() for name in self._runner.operator.given]
        return found


def alike(n: int) -> tuple[int, int]:
    """The least and the most that is rounded as `n` is: a plan is the same for all of them."""
    most = rounded(n)
    return (most // 2 + 1 if most > 1 else 0), most
