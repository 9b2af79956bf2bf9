"""A forward and its backward as two programs, the second of which goes on from states that the first saved.

    forward     for each chunk:  save h;  h_all = h, step after step;  outputs
    backward    for each chunk, from the last:  h_all again from the saved h;  d_h, step after step;  gradients

The backward of `adjoint` has the forward's registers among its own, with the same steps. Those that the forward has at
hand at the beginning of each chunk are handed over, as entries of the state; their components then have no pass in the
backward, and run inside the chunks of the one that needs them (schedule.py). The others keep a pass: a convolution or a
delay line over the whole sequence at once, a whole past, or a chunk of another length. What the forward computes from
its states is computed again beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ssmc.kernel import nodes as k
from ssmc.kernel.lower import entry_axes, lower
from ssmc.kernel.schedule import AT_ONCE, Given, Schedule
from ssmc.plan.nodes import Plan
from ssmc.step.nodes import Register


@dataclass(frozen=True)
class Pair:
    """`saved`: the registers that the forward hands over, as they are where each chunk of `chunk` steps begins.

    Where there are none, both programs are what they would be alone.
    """

    forward: k.Program
    backward: k.Program
    chunk: int
    saved: tuple[str, ...]


def lower_pair(forward: Plan, backward: Plan, chunk: int, lines: dict[str, str] | None = None) -> Pair:
    """The programs of a graph and of its adjoint, in chunks of `chunk` steps; `lines` are the adjoint's."""
    first, second = cut(forward, chunk), cut(backward, chunk)
    given = handed_over(first, second, chunk, lines or {})
    return Pair(
        lower(first, saves=given.registers),
        lower(second, given=given),
        chunk,
        tuple(r.name for r in forward.analysis.graph.registers if r.name in given.registers),
    )


def cut(plan: Plan, chunk: int) -> Plan:
    """The plan in chunks of one length, what runs over the whole sequence aside."""
    return replace(plan, choices=tuple(replace(c, chunk=chunk) if c.chunk else c for c in plan.choices))


def handed_over(forward: Plan, backward: Plan, chunk: int, lines: dict[str, str]) -> Given:
    """The registers of the backward that are the forward's, and at hand there where each chunk begins."""
    ours, theirs = forward.analysis.graph, backward.analysis.graph
    at_hand = {
        r
        for sweep in Schedule(forward).sweeps
        if sweep.chunk == chunk != AT_ONCE
        for component, _ in sweep.components
        for r in component.registers
        if not ours.register[r].depth.unbounded
    }
    whole = Schedule(backward).projections.lines
    found: set[str] = set()
    for component, choice in zip(backward.analysis.components, backward.choices, strict=True):
        names = set(component.registers)
        # a component that is not cut into chunks has no use for what they begin with
        chunked = choice.chunk == chunk or not component.recurrent
        same = all(r in at_hand and _same(ours.register[r], theirs.register[r], lines.get(r)) for r in names)
        if chunked and same and not names & whole:
            found |= names
    given = {r: line for r, line in lines.items() if r in found}
    return Given(chunk, frozenset(found), given) if found else Given()


def _same(ours: Register, theirs: Register, line: str | None) -> bool:
    """Whether two registers have one entry: kind, direction and dimensions; `line`, where one is a line no longer."""
    axes = entry_axes(theirs) if line is None else tuple(a for a in entry_axes(theirs) if a != line)
    return (ours.kind, ours.reverse, entry_axes(ours)) == (theirs.kind, theirs.reverse, axes)
