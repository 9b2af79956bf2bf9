"""The sizes of the axes of a call: from the declarations, from the shapes of the tensors, from `sizes=`.

Size equations (`axis N = 2*P`) are solved forward; the equations of renamings and matrices (`W[D -> E]`) both ways.
What two sources say of one axis must agree.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ssmc.diagnostics import CompilerBug, Label, Problem, SpecError, did_you_mean
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node, base_axis, children, postorder
from ssmc.source import Span
from ssmc.step.nodes import Port, Register, StepGraph


@dataclass(frozen=True)
class SizeMismatch(Problem):
    """Two sources give one axis two sizes; `first` and `second` say which (a tensor, `sizes`, a declaration)."""

    axis: str
    first: str
    first_size: int
    second: str
    second_size: int
    other: Span | None = None

    code: ClassVar[str] = "E601"
    title: ClassVar[str] = "the axis `{axis}` has two sizes"
    label: ClassVar[str] = "{second} makes `{axis}` {second_size} long"
    notes: ClassVar[tuple[str, ...]] = ("`{axis}` is {first_size} in {first}, and {second_size} in {second}",)

    def secondary(self) -> tuple[Label, ...]:
        if self.other is None:
            return ()
        return (Label(self.other, f"{self.first} makes `{self.axis}` {self.first_size} long"),)


@dataclass(frozen=True)
class UnequalAxes(Problem):
    """A renaming or a matrix needs two axes of one size."""

    first: str
    first_from: str
    first_size: int
    second: str
    second_from: str
    second_size: int

    code: ClassVar[str] = "E602"
    title: ClassVar[str] = "the axes `{first}` and `{second}` must have the same size"
    label: ClassVar[str] = "`{second}` is declared here"
    notes: ClassVar[tuple[str, ...]] = (
        "`{first}` is {first_size} in {first_from}, `{second}` is {second_size} in {second_from}",
        "one is renamed to the other, or a matrix maps one to the other elementwise",
    )


@dataclass(frozen=True)
class SizeNotFixed(Problem):
    """Nothing says how long an axis is; `params` are those left out of the call that would have."""

    axis: str
    params: tuple[str, ...]

    code: ClassVar[str] = "E603"
    title: ClassVar[str] = "nothing fixes the size of the axis `{axis}`"
    label: ClassVar[str] = "`{axis}` has no size here"

    def extra_notes(self) -> tuple[str, ...]:
        if not self.params:
            return ("no tensor of the call has this axis",)
        named = ", ".join(f"`{p}`" for p in self.params)
        return (f"left out of the call, though {'it has' if len(self.params) == 1 else 'they have'} it: {named}",)

    def extra_helps(self) -> tuple[str, ...]:
        first = f"pass `{self.params[0]}`, or " if self.params else ""
        return (
            f'{first}give `sizes={{"{self.axis}": …}}` (`--size {self.axis}=…`), or declare `axis {self.axis} = …`',
        )


@dataclass(frozen=True)
class SizeNotWhole(Problem):
    """A size equation, or an entry of `sizes`, gives something that is no length."""

    axis: str
    value: str

    code: ClassVar[str] = "E604"
    title: ClassVar[str] = "the size of the axis `{axis}` comes out as {value}"
    label: ClassVar[str] = "not a whole number of at least 0"


@dataclass(frozen=True)
class NoSuchAxis(Problem):
    """`sizes` names an axis that the spec does not have."""

    axis: str
    spec: str
    known: tuple[str, ...]

    code: ClassVar[str] = "E605"
    title: ClassVar[str] = "`sizes` names `{axis}`, which is no axis of `{spec}`"

    def extra_notes(self) -> tuple[str, ...]:
        return (f"its axes are {', '.join(f'`{a}`' for a in self.known)}" if self.known else "it has no axes",)

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(self.axis, self.known)


@dataclass(frozen=True)
class PickOutside(Problem):
    """An element picked of an axis that turns out to be too short for it."""

    axis: str
    index: int
    size: int
    origin: str

    code: ClassVar[str] = "E606"
    title: ClassVar[str] = "`{axis} = {index}` is outside the axis, which has size {size}"
    notes: ClassVar[tuple[str, ...]] = ("`{axis}` is {size} in {origin}",)
    helps: ClassVar[tuple[str, ...]] = ("elements count from 0; -1 is the last",)


@dataclass(frozen=True)
class _Known:
    size: int
    origin: str
    span: Span | None


def solve_sizes(
    graph: StepGraph,
    shapes: Mapping[str, Sequence[int]],
    sizes: Mapping[str, int] | None = None,
    *,
    partial: bool = False,
) -> dict[str, int]:
    """The size of every declared axis, but those along which an unbounded `past` grows.

    `shapes` has the shapes of tensors by the names of inputs, params and state entries; their last dimensions are the
    axes, whatever stands before (batch, time, steps held). With `partial`, axes that nothing fixes are left out instead
    of being reported. Raises SpecError (E601 to E606).
    """
    solver = _Solver(graph)
    for axis, size in (sizes or {}).items():
        solver.given(axis, size)
    for name, shape in shapes.items():
        solver.tensor(name, shape)
    solver.propagate()
    if not partial:
        solver.require_all(set(shapes))
    if solver.found:
        raise SpecError(solver.found)
    return {a.name: solver.known[a.name].size for a in graph.axes if a.name in solver.known}


def growing_axes(graph: StepGraph) -> frozenset[str]:
    """The axes without a size of their own, along which a `past` without bound grows by one each step."""
    found = {
        base_axis(node.axis)
        for node in postorder(graph.roots)
        if isinstance(node, n.History) and graph.register[node.register].depth.unbounded
    }
    while True:
        more = {b for pair in graph.equations for a, b in (pair, pair[::-1]) if a in found and b not in found}
        more = {b for b in more if b in graph.axis and graph.axis[b].size is None}
        if not more:
            return frozenset(found)
        found |= more


def _used_axes(graph: StepGraph) -> set[str]:
    """The axes that a tensor, a register or anything computed has; one that only unused lines name has no size."""
    nodes = postorder([*graph.roots, *(a.size for a in graph.axes if a.size is not None)])
    parts = [p.axes for p in (*graph.inputs, *graph.params)] + [r.axes for r in graph.registers]
    parts += [(*x.axes, x.axis) if isinstance(x, n.Size) else x.axes for x in nodes]
    return {base_axis(a) for axes in parts for a in axes}


class _Solver:
    def __init__(self, graph: StepGraph) -> None:
        self.graph = graph
        self.known: dict[str, _Known] = {}
        self.found: list[Problem] = []

    def given(self, axis: str, size: object) -> None:
        names = tuple(a.name for a in self.graph.axes)
        if axis not in names:
            self.found.append(NoSuchAxis(None, axis, self.graph.name, names))
        elif isinstance(size, bool) or not hasattr(size, "__index__") or operator.index(size) < 0:
            self.found.append(SizeNotWhole(self.graph.axis[axis].span, axis, repr(size)))
        else:
            self._fix(axis, _Known(operator.index(size), "`sizes`", None))

    def tensor(self, name: str, shape: Sequence[int]) -> None:
        every: list[Port | Register] = [*self.graph.inputs, *self.graph.params, *self.graph.registers]
        found = next((p for p in every if p.name == name), None)
        if found is None or len(shape) < len(found.axes):
            raise CompilerBug(f"the shape {tuple(shape)} for `{name}`")
        dims = list(shape)[len(shape) - len(found.axes) :]
        for axis, size in zip(found.axes, dims, strict=True):
            self._fix(base_axis(axis), _Known(int(size), f"`{name}`", found.span))

    def propagate(self) -> None:
        """Everything that follows: to a fixpoint, since an equation may wait for another."""
        growing = growing_axes(self.graph)
        waiting = [a for a in self.graph.axes if a.size is not None]
        progress = True
        while progress:
            progress = False
            for a in list(waiting):
                assert a.size is not None
                needed = {base_axis(x.axis) for x in postorder([a.size]) if isinstance(x, n.Size)}
                if needed <= self.known.keys():
                    waiting.remove(a)
                    progress = True
                    self._declared(a.name, a.size, a.span)
            for x, y in self.graph.equations:
                for one, other in ((base_axis(x), base_axis(y)), (base_axis(y), base_axis(x))):
                    if one in self.known and other not in self.known and other not in growing:
                        self.known[other] = self.known[one]
                        progress = True
        for x, y in self.graph.equations:
            self._equal(base_axis(x), base_axis(y))
        for pick in self.graph.picks:
            known = self.known.get(base_axis(pick.axis))
            if known is not None and not -known.size <= pick.index < known.size:
                where = self.graph.span_of(pick)
                self.found.append(PickOutside(where, pick.axis, pick.index, known.size, known.origin))

    def _declared(self, axis: str, size: Node, span: Span | None) -> None:
        value = _arithmetic(size, {a: k.size for a, k in self.known.items()})
        if not math.isfinite(value) or value < 0 or value != int(value):
            self.found.append(SizeNotWhole(span, axis, f"{value:g}"))
        else:
            self._fix(axis, _Known(int(value), "its declaration", span), first=True)

    def _fix(self, axis: str, new: _Known, first: bool = False) -> None:
        old = self.known.setdefault(axis, new)
        if old.size != new.size:
            a, b = (new, old) if first else (old, new)
            self.found.append(SizeMismatch(b.span, axis, a.origin, a.size, b.origin, b.size, a.span))

    def _equal(self, x: str, y: str) -> None:
        a, b = self.known.get(x), self.known.get(y)
        if a is not None and b is not None and a.size != b.size:
            span = self.graph.axis[y].span if y in self.graph.axis else None
            problem = UnequalAxes(span, x, a.origin, a.size, y, b.origin, b.size)
            if problem not in self.found:
                self.found.append(problem)

    def require_all(self, passed: set[str]) -> None:
        needed = _used_axes(self.graph) - growing_axes(self.graph) - self.known.keys()
        for a in self.graph.axes:
            # an equation that waits for another axis needs no error of its own
            if a.name in needed and a.size is None:
                params = tuple(
                    p.name
                    for p in self.graph.params
                    if p.name not in passed and a.name in {base_axis(x) for x in p.axes}
                )
                self.found.append(SizeNotFixed(a.span, a.name, params))


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "neg": operator.neg,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": lambda x, y: x / y if y else math.nan,
    "pow": lambda x, y: x**y if x or y >= 0 else math.nan,
    "mod": lambda x, y: x % y if y else math.nan,
    "floor": lambda x: math.floor(x) if math.isfinite(x) else x,
    "round": lambda x: round(x) if math.isfinite(x) else x,
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan,
    "log": lambda x: math.log(x) if x > 0 else math.nan,
    "abs": abs,
    "min": min,
    "max": max,
    "real": lambda x: x,
    "cast_real": float,
    "cast_int": int,
}


def _arithmetic(size: Node, sizes: Mapping[str, int]) -> float:
    values: dict[Node, Any] = {}
    for node in postorder([size]):
        match node:
            case n.Const(value=value):
                values[node] = value
            case n.Size(axis=axis):
                values[node] = sizes[base_axis(axis)]
            case n.Map(op=op) if op in _ARITHMETIC:
                try:
                    values[node] = _ARITHMETIC[op](*(values[c] for c in children(node)))
                except OverflowError:
                    values[node] = math.inf
            case _:
                raise CompilerBug(f"a size computed by {node!r}")
    return values[size]  # type: ignore[no-any-return]
