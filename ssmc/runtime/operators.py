"""A step graph as a function of flat tensors, and its derivatives, which are such functions again.

    tensors = inputs (batch, L, axes…), params (axes…), entries of the state (batch, …)
    numbers = batch, L, the steps done, then the size of every axis of the spec
    results = outputs (batch, L, axes…), last entries of the state (batch, …)

The backward of an operator is the operator of the derived adjoint, for what is asked of it: the gradients that someone
wants, from the results that a gradient came to. Its forward derivative is the operator of the tangent. Nothing here
records what a program does; `autograd` and `library` tell PyTorch which operator is whose derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ssmc.adjoint.graph import ONE_STEP, adjoint, lined, refusal
from ssmc.adjoint.parts import is_zero, restricted, written_out
from ssmc.adjoint.tangent import tangent
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.recurrence.analyse import analyse
from ssmc.runtime.generate import Programs, Route, target_of
from ssmc.runtime.initial import held
from ssmc.runtime.recent import COMPILING, Recent
from ssmc.runtime.shapes import axes_of
from ssmc.runtime.tensors import COMPLEX_OF, REAL_OF
from ssmc.step.nodes import StepGraph
from ssmc.step.sizes import solve_sizes

Numbers = tuple[int, ...]
UNUSED = -1  # the size of an axis that nothing has
SMOOTH = ("real", "complex")


class Operator:
    """`given` are the registers whose first value is an argument, the others begin at zero; `returned` those whose last
    value is a result. `axes` are the axes whose sizes come with the numbers. `key` names the operator in a traced
    graph, see `library`."""

    def __init__(
        self,
        graph: StepGraph,
        programs: Programs,
        route: Route,
        key: str,
        given: Sequence[str],
        returned: Sequence[str],
        axes: tuple[str, ...],
    ) -> None:
        self.graph, self.programs, self.route, self.key, self.axes = graph, programs, route, key, axes
        self.inputs = tuple(p.name for p in graph.inputs)
        self.params = tuple(p.name for p in graph.params)
        self.given, self.returned = tuple(given), tuple(returned)
        self.outputs = tuple(o.name for o in graph.outputs)
        self.first_param = len(self.inputs)
        self.first_entry = self.first_param + len(self.params)
        self.count = self.first_entry + len(self.given)
        self.started = tuple(r for r in graph.registers if r.name not in self.given)
        kinds = [*(o.kind for o in graph.outputs), *(graph.register[r].kind for r in self.returned)]
        self.smooth = tuple(kind in SMOOTH for kind in kinds)
        self._sizes: Recent[tuple[int, ...], dict[str, int]] = Recent(64)
        self._backwards: Recent[str, Backward] = Recent(32)
        self._tangents: Recent[str, Forward] = Recent(32)

    @property
    def differentiable(self) -> bool:
        """Whether the graph has an adjoint; a `past` that grows has none of fixed size."""
        return self._refusal is None

    @cached_property
    def _refusal(self) -> str | None:
        return refusal(self.graph)

    # -- running ---------------------------------------------------------------------------------------------------

    def sizes(self, given: tuple[int, ...]) -> dict[str, int]:
        """The size of every axis, also of those that were added since."""

        def solved() -> dict[str, int]:
            known = {a: s for a, s in zip(self.axes, given, strict=True) if a in self.graph.axis and s != UNUSED}
            return solve_sizes(self.graph, {}, known, partial=True)

        return self._sizes.get(given, solved)

    def run(self, numbers: Numbers, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The results. No gradients: those are the derivatives' business."""
        batch, length, t = numbers[:3]
        sizes = self.all_sizes(numbers[3:])
        device = tensors[0].device if tensors else torch.get_default_device()
        program = self.programs.get(sizes, batch, length, target_of(device), self.route.form, self.route.backend, False)
        first, second = self.first_param, self.first_entry
        state: dict[str, Tensor | int] = dict(zip(self.given, tensors[second : self.count], strict=True))
        for r in self.started:
            shape = (batch, *held(r, sizes), *axes_of(r.axes, sizes))
            state[r.name] = torch.zeros(shape, dtype=_dtype(r.kind, tensors), device=device)
        state["t"] = t
        inputs = dict(zip(self.inputs, tensors[:first], strict=True))
        params = dict(zip(self.params, tensors[first:second], strict=True))
        with torch.no_grad():
            ys, new = program.sequence(sizes, batch, length, inputs, params, state)
        return _apart([*ys, *(new[r] for r in self.returned)], tensors)

    def all_sizes(self, given: tuple[int, ...]) -> dict[str, int]:
        """With the axes that the analysis adds."""
        expanded = self.programs.analysis.graph
        if expanded is self.graph:
            return self.sizes(given)
        return self._sizes.get((*given, -1), lambda: solve_sizes(expanded, {}, self.sizes(given), partial=True))

    def blank(self, numbers: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
        """Empty tensors of the results' shapes; lengths and batches may be symbols."""
        batch, length = numbers[:2]
        sizes = self.sizes(tuple(numbers[3:]))
        device = tensors[0].device if tensors else torch.get_default_device()
        shapes = [((batch, length, *axes_of(o.axes, sizes)), o.kind) for o in self.graph.outputs]
        for r in (self.graph.register[name] for name in self.returned):
            shapes.append(((batch, *held(r, sizes), *axes_of(r.axes, sizes)), r.kind))
        return [torch.empty(shape, dtype=_dtype(kind, tensors), device=device) for shape, kind in shapes]

    # -- constants -------------------------------------------------------------------------------------------------

    @cached_property
    def constants(self) -> tuple[tuple[str, Node], ...]:
        """The values of params alone that gradients pass through once, outside (ssmc.adjoint.constants)."""
        from ssmc.adjoint.constants import hoisted

        with COMPILING:
            return tuple((name, value) for name, value in hoisted(self.graph)[1] if value.kind in SMOOTH)

    def constant_values(self, numbers: Sequence[int], tensors: Sequence[Tensor]) -> list[Tensor]:
        """Their values from the params, by operations that PyTorch records."""
        if not self.constants:
            return []
        from ssmc.runtime.constants import evaluated

        params = dict(zip(self.params, tensors[self.first_param : self.first_entry], strict=True))
        layouts = [self.graph.arena.sorted_axes(value.axes) for _, value in self.constants]
        return evaluated(self.constants, params, self.sizes(tuple(numbers[3:])), layouts)

    # -- derivatives -----------------------------------------------------------------------------------------------

    def backward(self, came: Sequence[bool], wanted: Sequence[bool]) -> Backward:
        """The operator of the gradients: from those results to which one `came`, to those tensors that `wanted` one.

        `wanted` may go on over the constants.
        """
        step = f"backward {_bits(came)} {_bits(wanted)}"
        return self._backwards.get(step, lambda: _backward(self, step, came, wanted))

    def forward(self, moved: Sequence[bool]) -> Forward:
        """The operator of the tangents of the results, for tangents of those tensors that `moved`."""
        step = f"forward {_bits(moved)}"
        return self._tangents.get(step, lambda: _forward(self, step, moved))

    def derived(self, step: str) -> Operator:
        """The operator that `step`, the last part of its key, made of this one."""
        kind, *bits = step.split(" ")
        flags = [[b == "1" for b in part] for part in bits]
        made = self.backward(*flags) if kind == "backward" else self.forward(*flags)
        return made.operator


@dataclass(frozen=True)
class Slot:
    """Where an argument comes from: `tensors` of the forward, or what came (gradients, tangents), by position.

    `turned`: as the entry of a delay line that has become a state.
    """

    of: str
    at: int
    turned: bool = False


@dataclass(frozen=True)
class Found:
    """Where a derivative is among the results; `how`: as it is, summed over the batch, or a line turned back."""

    at: int
    how: str = ""


@dataclass(frozen=True)
class Backward:
    operator: Operator
    arguments: tuple[Slot, ...]
    gradients: tuple[Found | None, ...]  # one a tensor and constant; None: the gradient is zero


@dataclass(frozen=True)
class Forward:
    operator: Operator
    arguments: tuple[Slot, ...]
    tangents: tuple[Found | None, ...]  # one a result


def arguments(of: Backward | Forward, tensors: Sequence[Tensor], came: Sequence[Tensor | None]) -> list[Tensor]:
    """The tensors that a derivative's operator takes."""
    made = []
    for slot in of.arguments:
        x = (tensors if slot.of == "tensors" else came)[slot.at]
        assert x is not None
        made.append(x.flip(1).unsqueeze(1) if slot.turned else x)
    return made


def results(found: Sequence[Found | None], made: Sequence[Tensor]) -> list[Tensor | None]:
    """What a derivative's operator gave, in the order in which it is wanted."""
    every: list[Tensor | None] = []
    for f in found:
        if f is None:
            every.append(None)
            continue
        x = made[f.at]
        every.append(x.sum(0) if f.how == "summed" else x.squeeze(1).flip(1) if f.how == "turned" else x)
    return every


def _derived(of: Operator, graph: StepGraph, step: str, given: Sequence[str], returned: Sequence[str]) -> Operator:
    route = Route(of.route.form, of.route.backend)
    programs = Programs(graph.name, lambda: analyse(graph), derived=True)
    return Operator(graph, programs, route, f"{of.key}/{step}", given, returned, of.axes)


def _backward(of: Operator, step: str, came: Sequence[bool], wanted: Sequence[bool]) -> Backward:
    outputs = {name for name, c in zip(of.outputs, came, strict=False) if c}
    last = [name for name, c in zip(of.returned, came[len(of.outputs) :], strict=True) if c]
    entries = {name: wanted[of.first_entry + i] for i, name in enumerate(of.given)}
    named = [*last, *(name for name, w in entries.items() if w)]
    whole, lines = of.graph, dict[str, str]()
    if any(of.graph.register[name].depth != ONE_STEP for name in named):
        whole, lines = lined(of.graph)
    found = adjoint(restricted(whole, outputs, last))
    values = dict(found.constants)
    graph = written_out(found.graph, found.constants, of.graph)

    # what comes out, by the position of the forward's argument
    wishes: list[tuple[str, str] | None] = []
    for i, name in enumerate(of.inputs):
        at = found.inputs.get(name)
        value = next((o.value for o in graph.outputs if o.name == at), None)
        wishes.append(("output", at) if wanted[i] and at and value is not None and not is_zero(value) else None)
    for i, name in enumerate(of.params, of.first_param):
        at = found.params.get(name)
        wishes.append(("summed", at) if wanted[i] and at else None)
    for name in of.given:
        at = found.states.get(name)
        wishes.append((("turned" if name in lines else ""), at) if entries[name] and at else None)
    by_value = {value: name for name, value in values.items()}
    for i, (_, value) in enumerate(of.constants[: len(wanted) - of.count], of.count):
        at = found.params.get(by_value.get(value, ""))
        wishes.append(("summed", at) if wanted[i] and at else None)

    graph = restricted(
        graph, {w[1] for w in wishes if w and w[0] == "output"}, [w[1] for w in wishes if w and w[0] != "output"]
    )
    begun: dict[str, Slot] = {}
    for name in of.given:
        if name in graph.register:
            begun[name] = Slot("tensors", of.first_entry + of.given.index(name), name in lines)
    for name in last:
        at = found.states.get(name)
        if at in graph.register:
            begun[at] = Slot("came", len(of.outputs) + of.returned.index(name), name in lines)
    given = [r.name for r in graph.registers if r.name in begun]
    returned = list(dict.fromkeys(w[1] for w in wishes if w and w[0] != "output"))
    operator = _derived(of, graph, step, given, returned)
    cotangent = {port: Slot("came", of.outputs.index(y)) for y, port in found.cotangents.items()}
    slots = [cotangent.get(name) or Slot("tensors", of.inputs.index(name)) for name in operator.inputs]
    slots += [Slot("tensors", of.first_param + of.params.index(name)) for name in operator.params]
    slots += [begun[name] for name in given]
    places = {name: i for i, name in enumerate((*operator.outputs, *(f"\n{r}" for r in operator.returned)))}
    gradients = tuple(
        None if w is None else Found(places[w[1]]) if w[0] == "output" else Found(places[f"\n{w[1]}"], w[0])
        for w in wishes
    )
    return Backward(operator, tuple(slots), gradients)


def _forward(of: Operator, step: str, moved: Sequence[bool]) -> Forward:
    """`moved` goes over the tensors, then over the constants."""
    names = (*of.inputs, *of.params, *of.given, *(name for name, _ in of.constants))
    entries = of.given
    lines: dict[str, str] = {}
    graph = of.graph
    moving = [name for name, m in zip(entries, moved[of.first_entry :], strict=False) if m]
    if any(graph.register[name].depth != ONE_STEP for name in (*moving, *of.returned)):
        graph, lines = lined(graph)
    found = tangent(graph, {name for name, m in zip(names, moved, strict=False) if m})
    fixed = set(found.params.values())
    made = replace(of.graph, params=(*of.graph.params, *(p for p in found.graph.params if p.name in fixed)))
    own = written_out(found.graph, found.constants, made)
    ends = {name: found.states[name] for name in of.returned if name in found.states}
    live = [o.name for o in own.outputs if not is_zero(o.value)]
    own = restricted(own, live, [at for at in ends.values() if at in own.register])
    begun: dict[str, Slot] = {}
    for i, name in enumerate(entries, of.first_entry):
        if name in own.register:
            begun[name] = Slot("tensors", i, name in lines)
        at = found.states.get(name)
        if at in own.register and moved[i]:
            begun[at] = Slot("came", i, name in lines)
    given = [r.name for r in own.registers if r.name in begun]
    returned = [at for at in ends.values() if at in own.register]
    operator = _derived(of, own, step, given, returned)
    came = {new: Slot("came", names.index(old)) for old, new in (*found.inputs.items(), *found.params.items())}
    slots = [came.get(name) or Slot("tensors", of.inputs.index(name)) for name in operator.inputs]
    slots += [came.get(name) or Slot("tensors", names.index(name)) for name in operator.params]
    slots += [begun[name] for name in given]
    tangents: list[Found | None] = []
    for y in of.outputs:
        at = found.outputs.get(y)
        tangents.append(Found(operator.outputs.index(at)) if at in operator.outputs else None)
    for name in of.returned:
        at = ends.get(name)
        place = len(operator.outputs) + returned.index(at) if at in returned else None
        tangents.append(None if place is None else Found(place, "turned" if name in lines else ""))
    return Forward(operator, tuple(slots), tuple(tangents))


def _bits(flags: Sequence[bool]) -> str:
    return "".join("1" if f else "0" for f in flags)


def _dtype(kind: n.Kind, tensors: Sequence[Tensor]) -> torch.dtype:
    if kind == "int":
        return torch.int64
    if kind == "bool":
        return torch.bool
    for x in tensors:
        if x.is_floating_point() or x.is_complex():
            real = REAL_OF.get(x.dtype, x.dtype)
            return real if kind == "real" else COMPLEX_OF[real]
    real = torch.get_default_dtype()
    return real if kind == "real" else COMPLEX_OF[real]


def _apart(made: list[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """The results, none of them an argument or another result: a program over no steps gives the state it was given."""
    taken = {id(x) for x in tensors}
    every = []
    for x in made:
        every.append(x.clone() if id(x) in taken else x)
        taken.add(id(x))
    return every
