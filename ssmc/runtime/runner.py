"""Who runs a call: a program alone, or the operator of which PyTorch knows the derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ssmc.runtime.autograd import call, followed, records
from ssmc.runtime.constants import starts
from ssmc.runtime.generate import Programs, Route, target_of
from ssmc.runtime.operators import UNUSED, Operator
from ssmc.runtime.program import Program
from ssmc.runtime.tensors import HALVES, Precision, widened
from ssmc.step.nodes import StepGraph

Result = tuple[tuple[Tensor, ...], dict[str, Any]]
Sizes = Mapping[str, int]
Named = Mapping[str, Tensor]


def _watched(inputs: Named, params: Named, state: Mapping[str, Any]) -> tuple[Named, Named]:
    """Inputs and params as their derivatives are computed where somebody may ask for those; else as they are stored."""
    stored = [*inputs.values(), *params.values()]
    entries = [x for name, x in state.items() if name != "t"]
    if any(x.dtype in HALVES for x in stored) and followed([*stored, *entries]):
        return widened(inputs), widened(params)
    return inputs, params


class Runner:
    """Runs one spec by one route. `key` names its operators, see `Operator`."""

    def __init__(self, graph: StepGraph, programs: Programs, route: Route, key: str) -> None:
        self.route, self.programs = route, programs
        states, axes = [r.name for r in graph.registers], tuple(a.name for a in graph.axes)
        key = f"{key}/{route}"
        # apart, so that nobody derives the tangent of a state that nobody asked for
        self.operator = Operator(graph, programs, route, f"{key}/outputs", states, (), axes)
        self.last: tuple[dict[str, int], int, int] | None = None  # sizes, batch, length of the last call
        self.with_state = Operator(graph, programs, route, f"{key}/state", states, states, axes)

    def program(
        self, sizes: Sizes, batch: int, length: int, precision: Precision, gradients: bool = False, saves: bool = False
    ) -> Program:
        target = target_of(precision.device)
        return self.programs.get(sizes, batch, length, target, self.route, gradients=gradients, saves=saves)

    def initial_state(self, sizes: Sizes, batch: int, params: Named, precision: Precision) -> dict[str, Tensor]:
        """Every entry of the state but `t` at the start, differentiable in the params."""
        return starts(self.operator.graph, sizes, batch, widened(params), precision)

    def sequence(
        self, sizes: Sizes, batch: int, length: int, inputs: Named, params: Named, state: Mapping[str, Any],
        precision: Precision, keep: bool,
    ) -> Result:  # fmt: skip
        """Outputs (batch, length, …) in order, and the new state (`keep`; else it is empty); differentiable."""
        operator = self.with_state if keep else self.operator
        self.last = dict(sizes), batch, length
        t = state["t"]
        inputs, params = _watched(inputs, params, state)
        if not operator.differentiable:
            groups = (inputs, params, {k: x for k, x in state.items() if k != "t"})
            gradients = records([x for group in groups for x in group.values()])
            program = self.program(sizes, batch, length, precision, gradients)
            return program.sequence(sizes, batch, length, inputs, params, state)
        tensors = [*(inputs[p] for p in operator.inputs), *(params[p] for p in operator.params)]
        tensors += [state[r] for r in operator.given]
        numbers = (batch, length, t, *(sizes.get(a, UNUSED) for a in operator.axes))
        made = call(operator, numbers, tensors)
        count = len(operator.outputs)
        return tuple(made[:count]), dict(zip(operator.returned, made[count:], strict=True)) | {"t": t + length}

    def step(
        self, sizes: Sizes, batch: int, inputs: Named, params: Named, state: Mapping[str, Any], precision: Precision
    ) -> Result:
        """Outputs (batch, …) of one step, and the new state."""
        self.last = dict(sizes), batch, 1
        tensors = [*inputs.values(), *params.values(), *(x for k, x in state.items() if k != "t")]
        if self.operator.differentiable and followed(tensors):
            one = {name: x.unsqueeze(1) for name, x in widened(inputs).items()}
            ys, new = self.sequence(sizes, batch, 1, one, params, state, precision, True)
            return tuple(y.squeeze(1) for y in ys), new
        return self.program(sizes, batch, 1, precision).step(sizes, batch, inputs, params, state)
