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
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ssmc.adjoint.graph import refusal
from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.runtime.generate import Programs, Route, Saved, target_of
from ssmc.runtime.initial import held
from ssmc.runtime.program import Program
from ssmc.runtime.recent import COMPILING, Recent
from ssmc.runtime.shapes import axes_of
from ssmc.runtime.tensors import COMPLEX_OF, REAL_OF
from ssmc.step.nodes import StepGraph
from ssmc.step.sizes import solve_sizes

if TYPE_CHECKING:
    from ssmc.runtime.derivatives import Derivative

Numbers = tuple[int, ...]
Kept = tuple[Saved, Sequence[Tensor]]  # what a forward keeps for its backward besides its arguments
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
        self.derivatives: Recent[str, Derivative] = Recent(64)

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

    def run(self, numbers: Numbers, tensors: Sequence[Tensor], kept: Kept | None = None) -> list[Tensor]:
        """The results; a backward may go on from what its forward kept. Nothing is recorded."""
        given = self._given(numbers, tensors)
        program = self._program(given, resumes=kept[0] if kept else None)
        saved = dict(zip(kept[0].registers, kept[1], strict=True)) if kept and program.saved else None
        with torch.no_grad():
            ys, new = program.sequence(*given.arguments, saved)
        return _apart([*ys, *(new[r] for r in self.returned)], tensors)

    def run_saving(
        self, numbers: Numbers, tensors: Sequence[Tensor], saves: bool | Saved = True
    ) -> tuple[list[Tensor], Kept | None]:
        """The results, and states for the backward to go on from, if it needs any; or just the states `saves`."""
        given = self._given(numbers, tensors)
        program = self._program(given, saves=saves)
        if isinstance(saves, Saved) and set(program.saved) != set(saves.registers):
            raise CompilerBug(f"a forward saves {program.saved}, where a graph has {saves.registers}")
        if not program.saved:
            return self.run(numbers, tensors), None
        with torch.no_grad():
            ys, new, saved = program.sequence_saving(*given.arguments)
        made = _apart([*ys, *(new[r] for r in self.returned)], tensors)
        return made, (Saved(program.chunk, program.saved), [saved[r] for r in program.saved])

    def _given(self, numbers: Numbers, tensors: Sequence[Tensor]) -> _Given:
        batch, length, t = numbers[:3]
        sizes = self.all_sizes(numbers[3:])
        device = tensors[0].device if tensors else torch.get_default_device()
        first, second = self.first_param, self.first_entry
        state: dict[str, Tensor | int] = dict(zip(self.given, tensors[second : self.count], strict=True))
        for r in self.started:
            shape = (batch, *held(r, sizes), *axes_of(r.axes, sizes))
            state[r.name] = torch.zeros(shape, dtype=_dtype(r.kind, tensors), device=device)
        state["t"] = t
        inputs = dict(zip(self.inputs, tensors[:first], strict=True))
        params = dict(zip(self.params, tensors[first:second], strict=True))
        return _Given((sizes, batch, length, inputs, params, state), device)

    def _program(self, given: _Given, saves: bool | Saved = False, resumes: Saved | None = None) -> Program:
        sizes, batch, length, *_ = given.arguments
        target = target_of(given.device)
        return self.programs.get(sizes, batch, length, target, self.route, saves=saves, resumes=resumes)

    def all_sizes(self, given: tuple[int, ...]) -> dict[str, int]:
        """With the axes that the analysis adds."""
        expanded = self.programs.analysis.graph
        if expanded is self.graph:
            return self.sizes(given)
        return self._sizes.get((*given, -1), lambda: solve_sizes(expanded, {}, self.sizes(given), partial=True))

    def saving(self, numbers: Sequence[int], tensors: Sequence[Tensor]) -> Saved | None:
        """What a forward of such numbers saves, lengths and batches of symbols as long as they are just now."""
        batch, length = (n if isinstance(n, int) else int(n.node.hint or 1) for n in numbers[:2])
        device = tensors[0].device if tensors else torch.get_default_device()
        return self.programs.saving(self.all_sizes(tuple(numbers[3:])), batch, length, target_of(device), self.route)

    def blank(self, numbers: Sequence[int], tensors: Sequence[Tensor], saves: Saved | None = None) -> list[Tensor]:
        """Empty tensors of the results' shapes, and of what is saved; lengths and batches may be symbols."""
        batch, length = numbers[:2]
        sizes = self.sizes(tuple(numbers[3:]))
        device = tensors[0].device if tensors else torch.get_default_device()
        shapes = [((batch, length, *axes_of(o.axes, sizes)), o.kind) for o in self.graph.outputs]
        for r in (self.graph.register[name] for name in self.returned):
            shapes.append(((batch, *held(r, sizes), *axes_of(r.axes, sizes)), r.kind))
        for r in (self.graph.register[name] for name in (saves.registers if saves else ())):
            chunks = -(-length // saves.chunk) if saves else 0
            shapes.append(((batch, chunks, *held(r, sizes), *axes_of(r.axes, sizes)), r.kind))
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

    def backward(self, came: Sequence[bool], wanted: Sequence[bool]) -> Derivative:
        """The operator of the gradients: from those results to which one `came`, to those tensors that `wanted` one.

        `wanted` may go on over the constants.
        """
        from ssmc.runtime import derivatives

        step = f"backward {_bits(came)} {_bits(wanted)}"
        return self.derivatives.get(step, lambda: derivatives.backward(self, step, came, wanted))

    def forward(self, moved: Sequence[bool]) -> Derivative:
        """The operator of the tangents of the results, for tangents of those tensors that `moved`, and constants."""
        from ssmc.runtime import derivatives

        step = f"forward {_bits(moved)}"
        return self.derivatives.get(step, lambda: derivatives.forward(self, step, moved))

    def derived(self, step: str) -> Operator:
        """The operator that `step`, the last part of its key, made of this one."""
        kind, *bits = step.split(" ")
        flags = [[b == "1" for b in part] for part in bits]
        made = self.backward(*flags) if kind == "backward" else self.forward(*flags)
        return made.operator


@dataclass(frozen=True)
class _Given:
    """What a program takes: sizes, batch, length, inputs, params, state."""

    arguments: tuple[Any, Any, Any, Any, Any, Any]
    device: torch.device


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
