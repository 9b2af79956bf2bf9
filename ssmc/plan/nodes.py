"""What the plan decides: for each component a form, the chunk length, and what is kept for the backward.

Guaranteed to the lowering: every chosen form is legal for its component.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ssmc.recurrence.nodes import Analysis
from ssmc.recurrence.telescope import Telescope

FormName = Literal["recurrent", "scan", "chunked", "conv"]
FORM_NAMES: tuple[FormName, ...] = ("recurrent", "scan", "chunked", "conv")


@dataclass(frozen=True)
class Cost:
    """Closed formulas, as text a person reads and as numbers at the sizes of the request (None without sizes).

    flops and bytes are totals over batch and length; depth is the number of serial steps.
    """

    flops: str
    bytes: str
    depth: str
    flops_at: float | None = None
    bytes_at: float | None = None
    depth_at: float | None = None
    seconds_at: float | None = None  # the estimate on the machine of the request


@dataclass(frozen=True)
class Form:
    """One form of one component: legal with a cost at the chunk it would take, or illegal with a reason."""

    name: FormName
    legal: bool
    reason: str
    cost: Cost | None = None
    chunk: int = 0


@dataclass(frozen=True)
class Choice:
    """What one component runs as. `chunk` is in steps; 0 is the whole sequence at once. `segments`: a scan whose chunks
    do not wait for each other.

    `why` is a sentence; `flips_at` the length from which another form would be chosen (form name, length).
    """

    component: int
    form: FormName
    chunk: int
    why: str
    forms: tuple[Form, ...] = ()
    flips_at: tuple[tuple[FormName, int], ...] = ()
    segments: bool = False


@dataclass(frozen=True)
class Saving:
    """`registers` are saved for the backward where each chunk of `chunk` steps begins; `bytes` of float32 in all."""

    chunk: int
    registers: tuple[str, ...]
    bytes: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Plan:
    """A choice a component, in the order of `analysis.components`.

    `saving` is what a forward saves that was planned to be followed by its backward. `saved` says what a backward keeps
    and what it computes again. `telescopes` are the running sums that a backward has in place of gradients of decays,
    where its states are handed in; `without` is the plan for where they are not.
    """

    analysis: Analysis = field(repr=False)
    choices: tuple[Choice, ...]
    saved: str = ""
    machine: str = ""
    saving: Saving | None = None
    telescopes: tuple[Telescope, ...] = ()
    without: Plan | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> tuple[tuple[str, int], ...]:
        """What generated code depends on."""
        saved = [(r, self.saving.chunk) for r in self.saving.registers] if self.saving is not None else []
        return (*((c.form, c.chunk) for c in self.choices), *saved, *((t.sum, 0) for t in self.telescopes))
