"""The step graph: one time step of a spec, typed, as expressions over named axes.

What `build` guarantees: every name is resolved, every macro expanded, every axis and kind checked; every dependence on
another time step goes through a register; nothing below mentions syntax.

A **register** is anything carried from step to step: a declared state, or a delay line that `prev`, `next`, `conv`,
`transfer` or `past` asked for. Its `source` is the expression whose value it takes at the end of the step; `Read(r, k)`
is what the source was k steps before. Before the start (after the end, for a reverse register) it is `init`.

    declared state h   depth 1;  source = its update, init = its initial value
    prev(e, k, i)      depth k;  source = e, init = i          (of a state h: Read(h, 1), or a line of it for k > 1)
    next(e, k, i)      the same, reverse
    conv(x, w)         source = x; Window(r, W, current = x) . w
    transfer(b, a, u)  source = s = u - sum(a * Window(r)); y = sum(b * Window(r, current = s)); depth size[axis]
    past[T](e)         source = e; History(r, T, current = e)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.source import Source, Span

Origin = Literal["state", "prev", "next", "conv", "transfer", "past"]


@dataclass(frozen=True)
class Axis:
    """A declared axis. `size` is an expression of Const, Size and arithmetic, or None where the call gives it."""

    name: str
    size: Node | None
    each: bool
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Port:
    """An input or a param: `axes` in the order of the tensor's dimensions (columns of a square are `N'`)."""

    name: str
    axes: Axes
    kind: Kind
    default: Node | None = None  # a param's; of Const, Size, Index, Param, Table, Draw
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Depth:
    """How many steps a delay line holds: `steps`, plus the size of `axis` where one is given; `unbounded` for past."""

    steps: int
    axis: str | None = None
    unbounded: bool = False


@dataclass(frozen=True)
class Register:
    """Something carried from step to step; see the module's docstring.

    `source` may lack axes of the register (it is broadcast), never have more; likewise `init`, which is an expression
    of params, constants and sizes only. `name` is the entry of the state dictionary: a declared state's own name, or
    `prev.x`, `conv.u`, `transfer.y`, `past.k` … for a delay line (made unique by a number).
    """

    name: str
    axes: Axes
    kind: Kind
    init: Node
    source: Node
    reverse: bool
    depth: Depth
    origin: Origin
    span: Span | None = field(default=None, compare=False, repr=False)
    line: str | None = None  # the axis of its earlier values, newest first: set by `expand_delays` (ssmc.recurrence)


@dataclass(frozen=True)
class Output:
    """`axes` is the layout of the tensor; `value` may lack some of them only if the spec wrote them for a state."""

    name: str
    axes: Axes
    kind: Kind
    value: Node
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class StepGraph:
    """One spec. `equations` are pairs of axes that a renaming or a matrix made equal in size.

    `names` maps the user's names to expressions, for readable printing and for messages.
    """

    name: str
    source: Source
    axes: tuple[Axis, ...]
    inputs: tuple[Port, ...]
    params: tuple[Port, ...]
    registers: tuple[Register, ...]
    outputs: tuple[Output, ...]
    equations: tuple[tuple[str, str], ...]
    arena: Arena = field(compare=False, repr=False)
    names: tuple[tuple[str, Node], ...] = field(default=(), compare=False, repr=False)

    @cached_property
    def register(self) -> dict[str, Register]:
        return {r.name: r for r in self.registers}

    @cached_property
    def axis(self) -> dict[str, Axis]:
        return {a.name: a for a in self.axes}

    @property
    def states(self) -> tuple[Register, ...]:
        return tuple(r for r in self.registers if r.origin == "state")

    @property
    def roots(self) -> list[Node]:
        """Every expression a step computes: the outputs' and the registers' sources."""
        return [o.value for o in self.outputs] + [r.source for r in self.registers]

    @cached_property
    def picks(self) -> tuple[n.Pick, ...]:
        """Every expression that picks an element of an axis."""
        values = [*self.roots, *(r.init for r in self.registers), *(p.default for p in self.params if p.default)]
        return tuple(x for x in n.postorder(values) if isinstance(x, n.Pick))

    def span_of(self, node: Node) -> Span | None:
        return self.arena.spans.get(node)


def reads_of(node: Node) -> tuple[str, ...]:
    """The registers that one node (not its operands) reads from another step."""
    match node:
        case n.Read(register=r) | n.Window(register=r) | n.History(register=r):
            return (r,)
        case _:
            return ()


def depending(roots: list[Node], registers: set[str]) -> set[Node]:
    """The nodes at and below `roots` that are computed from reads of the registers, the reads themselves included."""
    found: set[Node] = set()
    for node in n.postorder(roots):
        if registers & set(reads_of(node)) or any(c in found for c in n.children(node)):
            found.add(node)
    return found
