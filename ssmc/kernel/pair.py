"""A forward and its backward as two programs, the second of which goes on from states that the first saved.

    forward     for each chunk:  save h;  h_all = h, step after step;  outputs
    backward    for each chunk, from the last:  h_all again from the saved h;  d_h, step after step;  gradients

The backward of `adjoint` has the forward's registers among its own, with the same steps. Those that the forward has at
hand at the beginning of each chunk are handed over, as entries of the state; their components then have no pass in the
backward, and run inside the chunks of the one that needs them (schedule.py). The others keep a pass: a convolution or a
delay line over the whole sequence at once, a whole past, or a chunk of another length. What the forward computes from
its states is computed again beside them.

`lower_saving` and `lower_resuming` are the two apart: one forward may be followed by backwards of several parts of the
adjoint, whichever gradients are wanted, and each takes of the saved registers those it has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ssmc.kernel import nodes as k
from ssmc.kernel.lower import Apart, entry_axes, lower
from ssmc.kernel.schedule import AT_ONCE, NOTHING, Given, Schedule
from ssmc.plan.nodes import Plan
from ssmc.step.nodes import Register, StepGraph


@dataclass(frozen=True)
class Pair:
    """`saved`: the registers that the forward hands over, as they are where each chunk of `chunk` steps begins.

    Where there are none, both programs are what they would be alone.
    """

    forward: k.Program
    backward: k.Program
    chunk: int
    saved: tuple[str, ...]


def lower_pair(forward: Plan, backward: Plan, chunk: int, lines: Mapping[str, str] | None = None) -> Pair:
    """The programs of a graph and of its adjoint, in chunks of `chunk` steps; `lines` are the adjoint's."""
    first, graph = cut(forward, chunk), forward.analysis.graph
    second = lower_resuming(backward, graph, chunk, at_hand(first, chunk), lines)
    saved = saved_by(second)
    return Pair(lower(first, saves=frozenset(saved)), second, chunk, saved)


def lower_saving(plan: Plan) -> k.Program:
    """The forward of a plan with `saving`: it saves what it can of that. `saved_by` says what that is."""
    if plan.saving is None:
        return lower(plan)
    chunk = plan.saving.chunk
    return lower(plan, saves=frozenset(plan.saving.registers) & at_hand(plan, chunk))


def saved_by(program: k.Program) -> tuple[str, ...]:
    """The registers that a forward saves, or that its backward takes."""
    return tuple(b.entry for b in program.buffers if b.role == "saved")


def lower_resuming(
    plan: Plan, forward: StepGraph, chunk: int, saved: Collection[str], lines: Mapping[str, str] | None = None
) -> k.Program:
    """The backward of a plan in chunks of `chunk` steps, which takes what it can of the registers `saved` by the
    program of the graph `forward`; `lines` are the adjoint's."""
    second = cut(plan, chunk)
    given = _given(second, forward, chunk, saved, lines or {})
    if plan.without is not None and not {t.state for t in plan.telescopes} <= given.registers:
        return lower_resuming(plan.without, forward, chunk, saved, lines)
    try:
        return lower(second, given=given)
    except Apart:
        assert plan.without is not None
        return lower_resuming(plan.without, forward, chunk, saved, lines)


def cut(plan: Plan, chunk: int) -> Plan:
    """The plan in chunks of one length, what runs over the whole sequence aside."""
    return replace(plan, choices=tuple(replace(c, chunk=chunk) if c.chunk else c for c in plan.choices))


def at_hand(plan: Plan, chunk: int) -> frozenset[str]:
    """The registers that a program has where each chunk of `chunk` steps begins."""
    register = plan.analysis.graph.register
    return frozenset(
        r
        for sweep in Schedule(plan).sweeps
        if sweep.chunk == chunk != AT_ONCE
        for component in sweep.homes
        for r in component.registers
        if not register[r].depth.unbounded
    )


def _given(plan: Plan, forward: StepGraph, chunk: int, saved: Collection[str], lines: Mapping[str, str]) -> Given:
    """Which of the registers that were saved a backward goes on from."""
    own = plan.analysis.graph.register
    copies = {t.state: t.copy_of for t in plan.telescopes}
    sums = {t.sum: t for t in plan.telescopes}
    at_hand = {*saved, *(copy for copy, of in copies.items() if of in saved), *sums} - Schedule(plan).projections.lines
    found: set[str] = set()
    for component, choice in zip(plan.analysis.components, plan.choices, strict=True):
        # a component that is not cut into chunks has no use for what they begin with
        if set(component.registers) <= at_hand and (choice.chunk == chunk or not component.recurrent):
            pairs = [(copies.get(r, r), r) for r in component.registers if r not in sums]
            if all(_same(forward.register[x], own[r], lines.get(r)) for x, r in pairs):
                found |= set(component.registers)
    if not found - sums.keys():
        return NOTHING
    return Given(chunk, frozenset(found), {r: line for r, line in lines.items() if r in found}, sums)


def _same(ours: Register, theirs: Register, line: str | None) -> bool:
    """Whether two registers have one entry: kind, direction and dimensions; `line`, where one is a line no longer."""
    axes = entry_axes(theirs) if line is None else tuple(a for a in entry_axes(theirs) if a != line)
    return (ours.kind, ours.reverse, entry_axes(ours)) == (theirs.kind, theirs.reverse, axes)
