"""What the analysis says of a step graph: components in dependency order, each with its algebra.

Guaranteed by `analyse`: every register is in exactly one component; a component comes after those it reads; within a
recurrent component every register is read one step back only (longer delays were turned into states with an axis of
their own by `expand_delays`), so its step is a function of `Read(register, 1)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ssmc.expr.linear import Affine, Blocker
from ssmc.expr.nodes import Local, Node
from ssmc.step.nodes import StepGraph

Algebra = Literal[
    "affine",
    "maxplus",
    "minplus",
    "maxtimes",
    "mintimes",
    "logsumexp",
    "boolean",
    "clamp",
    "moebius",
    "stabilised",
    "nonlinear",
    "delay",
]
TimeDependence = Literal["invariant", "index", "data"]


@dataclass(frozen=True)
class Monoid:
    """The associative operator of a component, slot by slot, as expressions.

    `element` is this step's element, in the step graph's leaves (none of them a Read of this component).
    `combined` composes: apply(combine(earlier, later), s) = apply(later, apply(earlier, s)); it is written with the
    placeholders `earlier` and `later`. `applied` gives each register's new value from the placeholders `later` and
    `Read(register, 1)`. `identity` is the neutral element (axes may be missing: broadcast).
    """

    element: tuple[Node, ...]
    earlier: tuple[Local, ...]
    later: tuple[Local, ...]
    combined: tuple[Node, ...]
    identity: tuple[Node, ...]
    applied: tuple[tuple[str, Node], ...]


@dataclass(frozen=True)
class Component:
    """One strongly connected component of the register graph.

    `recurrent` is false for a delay line that nothing feeds back into. `affine` has an entry a register where the
    algebra is affine (the stabilised pair included): its source as an affine map of the component's own Reads.
    `structure` describes the transition: identity, scalar, diagonal, low_rank, companion, shift, dense, block (several
    coupled registers); for a nonlinear component its Jacobian's: elementwise, block, dense.
    """

    index: int
    registers: tuple[str, ...]
    recurrent: bool
    reverse: bool
    algebra: Algebra
    time: TimeDependence
    structure: str
    kclass: str  # K0 … K14 of the families in the README, e.g. "K4"
    affine: tuple[tuple[str, Affine], ...] = ()
    monoid: Monoid | None = None
    blockers: tuple[Blocker, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Analysis:
    """`graph` is the step graph after `expand_delays`; every expression below belongs to its arena."""

    graph: StepGraph
    components: tuple[Component, ...]
    facts: tuple[str, ...] = field(default=())
