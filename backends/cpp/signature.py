"""What a generated library takes: the order and the dimensions of the words of a call.

    extern "C" int64_t ssmc_sequence(const int64_t *call);
    extern "C" int64_t ssmc_step(const int64_t *call);

0 is done, 1 out of memory. `call` holds, a word each: for every slot, in order, the address of its first element and
then its stride in elements along each of its dimensions; the size of each of `axes`; then batch, length, the number of
steps done before, and the number of threads. A dimension along which a tensor is broadcast has the stride 0. `step` has
the same slots without their dimensions `@time`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ssmc.expr.nodes import TIME, Axes, Kind
from ssmc.step.nodes import Depth

if TYPE_CHECKING:
    from ssmc.backends.cpp.account import Account

Role = Literal["input", "param", "state", "given", "output", "new_state", "saved"]
WRITTEN: tuple[Role, ...] = ("output", "new_state", "saved")

# What follows the sizes of the axes.
TRAILER = ("batch", "length", "t0", "threads")


@dataclass(frozen=True)
class Slot:
    """A tensor of a call.

    `name` is the generated text's name of it, `entry` the caller's: a port's, an output's, an entry of the state.
    `axes` are its dimensions in order, `@batch`, `@time` and `@lag` among them; `depth` is the length of `@lag`.
    A slot of role `saved`, which a forward writes, or `given`, which its backward reads, has one state for each chunk
    of `chunk` steps, (batch, chunks, …): its dimension `@time` counts chunks. `dtype` is the element type as torch
    names it; empty, it follows from `kind` and the precision of the program.
    """

    name: str
    entry: str
    role: Role
    axes: Axes
    kind: Kind
    depth: Depth | None = None
    dtype: str = ""
    chunk: int = 0


@dataclass(frozen=True)
class Signature:
    """The slots in the order inputs, params, states, given, outputs, new states, saved; the sizes of `axes` follow."""

    slots: tuple[Slot, ...]
    axes: Axes

    def of_role(self, *roles: Role) -> tuple[Slot, ...]:
        return tuple(s for s in self.slots if s.role in roles)

    def for_step(self) -> Signature:
        """The slots as `ssmc_step` takes them; what is saved for a backward is none of its business."""
        kept = (s for s in self.slots if s.role != "saved")
        return Signature(tuple(replace(s, axes=tuple(a for a in s.axes if a != TIME)) for s in kept), self.axes)

    @property
    def words(self) -> int:
        """How many words a call has."""
        return sum(1 + len(s.axes) for s in self.slots) + len(self.axes) + len(TRAILER)


@dataclass(frozen=True)
class Printed:
    """Generated C++, what its functions take, and how the passes of its sequence run."""

    text: str
    signature: Signature
    passes: tuple[Account, ...] = ()
