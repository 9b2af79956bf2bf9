"""Kernel IR: loops over tiles, target-neutral. A backend prints it and decides nothing else.

    Program = Buffer* Statement(once)* Pass*           Pass = Carry* For(time, block) ; Store(final states)
    Statement = Section | Let | Set | Store | For
    Expr    = the named-axis expressions of ssmc.expr, with Local (a name bound above) and Load (a buffer's tile)

Rules, checked by verify.py:

* Outside a loop over time a value has no `time` axis. In `For(block = C)` a Load of a sequence buffer is the tile of
  this chunk and has the axis `time` (C steps, fewer in the last chunk; `block = 0`: one chunk, the whole sequence).
  In a nested `For(block = 1)` every sequence, Loads and Lets of the enclosing chunk alike, stands for the current step
  and has no `time` axis.
* Tiles are in the order of time, in reverse loops too: these visit the chunks, or the steps, from the last to the
  first. What needs the order of processing is turned round by `Flip`.
* A Carry lives over the iterations of the loop it belongs to; `Set` gives it its next value, all Sets of a body at its
  end, at once: every expression of the body reads the value the iteration began with.
* A boundary buffer holds a value for each chunk: stored in a chunk loop it is the value with which a chunk begins, and
  a Load in a later chunk loop, of chunks of the same length, is this chunk's.
* A saved buffer is a boundary that one program stores and another loads: the entry of a register's state with which
  each chunk of `Program.saving` steps begins.
* A scratch buffer stored in a `For(block = 1)` is a tile, with `time`, after that loop.
* `Prefix`, `Lag`, `Frames`, `Tail` and `FftConv` stand only in chunk loops.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Kind, Local, Node
from ssmc.source import Span
from ssmc.step.nodes import Depth, StepGraph

Role = Literal["input", "param", "state", "output", "workspace", "scratch", "time", "boundary", "saved"]


@dataclass(frozen=True)
class Buffer:
    """`axes` are the dimensions in memory order. `entry` is the caller's name of it: a port's, an output's, or the
    entry of the state dictionary (read before the first pass, stored at the end of the pass that computes it; of a
    saved buffer, the register's). A boundary's and a saved buffer's axes are those of one chunk's value.
    `depth` is the length of a state buffer's axis `lag`. The one buffer of role `time` holds the step numbers `t`."""

    name: str
    axes: Axes
    kind: Kind
    role: Role
    entry: str = ""
    depth: Depth | None = None


@dataclass(frozen=True)
class Section:
    """A heading in the generated code."""

    title: str


@dataclass(frozen=True)
class Let:
    """`value` by name from here on. `span` is the place of the spec it comes from."""

    target: Local
    value: Node
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Set:
    """The next value of a Carry; it may lack axes of the carry (broadcast)."""

    target: Local
    value: Node
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Store:
    """`value`, broadcast to the buffer's axes, to the current tile (step) of the buffer."""

    buffer: str
    value: Node
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Carry:
    """A value carried over the iterations of a loop, with its value before the first."""

    target: Local
    init: Node


@dataclass(frozen=True)
class For:
    """A loop over time in tiles of `block` steps. `recompute`: the backward keeps the carries at the boundaries of the
    iterations and computes everything else again."""

    block: int
    reverse: bool
    carries: tuple[Carry, ...]
    body: tuple[Statement, ...]
    recompute: bool = False


Statement = Section | Let | Set | Store | For


@dataclass(frozen=True)
class Pass:
    """One sweep over time: a chunk loop, then the final states. `title` says which components, in which form.

    In `before` and `final` a Load of a workspace is the whole sequence, with `time`.
    """

    title: str
    before: tuple[Statement, ...]
    loop: For
    final: tuple[Store, ...]


@dataclass(frozen=True)
class Program:
    """`once` holds what depends on parameters only. `initial` gives every state entry's value before the start,
    `step` is the body of one token: no `time` axis anywhere, carries are the state entries. `saving` is the length of
    the chunks at whose beginnings saved buffers hold states; 0 without any."""

    name: str
    graph: StepGraph = field(repr=False)
    arena: Arena = field(repr=False, compare=False)
    buffers: tuple[Buffer, ...]
    once: tuple[Statement, ...]
    passes: tuple[Pass, ...]
    initial: tuple[tuple[str, Node], ...]
    step: tuple[Statement, ...]
    header: tuple[str, ...] = ()
    saving: int = 0

    def buffer(self, name: str) -> Buffer:
        return next(b for b in self.buffers if b.name == name)
