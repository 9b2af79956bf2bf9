"""The derivatives of an operator as operators: which graph, which of its arguments come from where, what is where."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from ssmc.adjoint.graph import ONE_STEP, adjoint, lined
from ssmc.adjoint.parts import is_zero, restricted, written_out
from ssmc.adjoint.tangent import tangent
from ssmc.recurrence.analyse import analyse
from ssmc.runtime.generate import Programs
from ssmc.runtime.operators import Operator
from ssmc.step.nodes import StepGraph

# how an entry of the state is held in a derived graph: as it is; as a line, newest step first; as a past, oldest first
Held = Literal["", "line", "past"]


@dataclass(frozen=True)
class Slot:
    """Where an argument comes from: `tensors` of the forward, or what came (gradients, tangents), by position."""

    of: Literal["tensors", "came"]
    at: int
    held: Held = ""


@dataclass(frozen=True)
class Found:
    """Where a derivative is among the results. A total is a sum for each of the batch."""

    at: int
    held: Held = ""
    total: bool = False


@dataclass(frozen=True)
class Derivative:
    """`found` has an entry a tensor and constant of the forward (a gradient), or a result (a tangent); None: zero."""

    operator: Operator
    arguments: tuple[Slot, ...]
    found: tuple[Found | None, ...]

    def given(self, tensors: Sequence[Tensor], came: Sequence[Tensor | None]) -> list[Tensor]:
        """The tensors that the operator takes."""
        made = []
        for slot in self.arguments:
            x = (tensors if slot.of == "tensors" else came)[slot.at]
            assert x is not None
            if slot.held == "line":
                x = x.flip(1)
            made.append(x.unsqueeze(1) if slot.held else x)
        return made

    def taken(self, made: Sequence[Tensor]) -> list[Tensor | None]:
        """What the operator gave, in the order in which it is wanted."""
        return [None if f is None else _taken(f, made[f.at]) for f in self.found]


def _taken(found: Found, x: Tensor) -> Tensor:
    if found.total:
        return x.sum(0)
    x = x.squeeze(1) if found.held else x
    return x.flip(1) if found.held == "line" else x


@dataclass(frozen=True)
class _Lined:
    """A graph in which the delay lines that gradients go through are states."""

    graph: StepGraph
    lines: dict[str, str]
    pasts: dict[str, str]

    @classmethod
    def of(cls, graph: StepGraph, registers: Collection[str]) -> _Lined:
        if all(graph.register[name].depth == ONE_STEP for name in registers):
            return cls(graph, {}, {})
        return cls(*lined(graph))

    def held(self, name: str) -> Held:
        return "line" if name in self.lines else "past" if name in self.pasts else ""


def _operator(
    of: Operator, graph: StepGraph, step: str, given: Sequence[str], returned: Sequence[str], lines: dict[str, str]
) -> Operator:
    asked = of.programs.scheduling
    programs = Programs(
        graph.name, lambda: analyse(graph), derived=True, forward=of.programs, lines=lines,
        scheduling=asked.derived(step.startswith("backward")) if asked is not None else None,
    )  # fmt: skip
    return Operator(graph, programs, of.route, f"{of.key}/{step}", given, returned, of.axes)


def backward(of: Operator, step: str, came: Sequence[bool], wanted: Sequence[bool]) -> Derivative:
    """See `Operator.backward`."""
    outputs = {name for name, c in zip(of.outputs, came, strict=False) if c}
    last = [name for name, c in zip(of.returned, came[len(of.outputs) :], strict=True) if c]
    first = [name for name, w in zip(of.given, wanted[of.first_entry :], strict=False) if w]
    whole = _Lined.of(of.graph, [*last, *first])
    # a name of the whole means the same in its parts: the forward may hand over what it calls so
    found = adjoint(restricted(whole.graph, outputs, last), avoid=of.graph.register.keys())
    graph = written_out(found.graph, found.constants, of.graph)

    # the output or the register of each gradient, in the order of the forward's arguments
    output = {o.name: o.value for o in graph.outputs}
    constant = {value: name for name, value in found.constants}
    in_outputs = [found.inputs.get(name) for name in of.inputs]
    wishes = [at if at is not None and not is_zero(output[at]) else None for at in in_outputs]
    wishes += [found.params.get(name) for name in of.params]
    wishes += [found.states.get(name) for name in of.given]
    wishes += [found.params.get(constant.get(value, "")) for _, value in of.constants[: len(wanted) - of.count]]
    wishes = [at if w else None for at, w in zip(wishes, wanted, strict=True)]
    asked = [at for at in wishes if at is not None]
    graph = restricted(graph, [at for at in asked if at in output], [at for at in asked if at not in output])

    begun = {
        name: Slot("tensors", at, whole.held(name))
        for at, name in enumerate(of.given, of.first_entry)
        if name in graph.register
    }
    for name in last:
        if found.states.get(name) in graph.register:
            at = len(of.outputs) + of.returned.index(name)
            begun[found.states[name]] = Slot("came", at, whole.held(name))
    given = [r.name for r in graph.registers if r.name in begun]
    returned = list(dict.fromkeys(at for at in asked if at not in output))
    operator = _operator(of, graph, step, given, returned, whole.lines)

    cotangent = {port: Slot("came", of.outputs.index(y)) for y, port in found.cotangents.items()}
    slots = [cotangent.get(name) or Slot("tensors", of.inputs.index(name)) for name in operator.inputs]
    slots += [Slot("tensors", of.first_param + of.params.index(name)) for name in operator.params]
    slots += [begun[name] for name in given]

    def place(i: int, at: str | None) -> Found | None:
        if at is None:
            return None
        if at in output:
            return Found(operator.outputs.index(at))
        entry = of.first_entry <= i < of.count
        held = whole.held(of.given[i - of.first_entry]) if entry else ""
        return Found(len(operator.outputs) + returned.index(at), held, total=not entry)

    return Derivative(operator, tuple(slots), tuple(place(i, at) for i, at in enumerate(wishes)))


def forward(of: Operator, step: str, moved: Sequence[bool]) -> Derivative:
    """See `Operator.forward`."""
    names = (*of.inputs, *of.params, *of.given, *(name for name, _ in of.constants))
    moving = {name for name, m in zip(names, moved, strict=False) if m}
    whole = _Lined.of(of.graph, [*(name for name in of.given if name in moving), *of.returned])
    found = tangent(whole.graph, moving)
    new = set(found.params.values())
    ports = (*of.graph.params, *(p for p in found.graph.params if p.name in new))
    graph = written_out(found.graph, found.constants, replace(of.graph, params=ports))
    ends = {name: found.states[name] for name in of.returned if found.states.get(name) in graph.register}
    graph = restricted(graph, [o.name for o in graph.outputs if not is_zero(o.value)], list(ends.values()))

    begun: dict[str, Slot] = {}
    for at, name in enumerate(of.given, of.first_entry):
        if name in graph.register:
            begun[name] = Slot("tensors", at, whole.held(name))
        if name in moving and found.states.get(name) in graph.register:
            begun[found.states[name]] = Slot("came", at, whole.held(name))
    given = [r.name for r in graph.registers if r.name in begun]
    returned = list(ends.values())
    operator = _operator(of, graph, step, given, returned, whole.lines)

    came = {port: Slot("came", names.index(old)) for old, port in (*found.inputs.items(), *found.params.items())}
    slots = [came.get(name) or Slot("tensors", names.index(name)) for name in (*operator.inputs, *operator.params)]
    slots += [begun[name] for name in given]
    places: list[Found | None] = []
    for y in of.outputs:
        port = found.outputs.get(y)
        places.append(Found(operator.outputs.index(port)) if port in operator.outputs else None)
    for name in of.returned:
        end = ends.get(name)
        held = whole.held(name)
        places.append(None if end is None else Found(len(operator.outputs) + returned.index(end), held))
    return Derivative(operator, tuple(slots), tuple(places))
