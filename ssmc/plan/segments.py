"""Whether recurrences run in segments (ssmc/kernel/segments.py): where batch and channels leave cores idle.

One step after the other, as many cores are busy as there are sequences, times the blocks of channels that one of them
takes. In segments all are, with more work: the summaries of the segments.
"""

from __future__ import annotations

from dataclasses import replace

from ssmc.expr import nodes as n
from ssmc.expr.nodes import children, postorder
from ssmc.plan.machines import Machine
from ssmc.plan.nodes import Choice
from ssmc.plan.work import Quantities, Work, parts_of, work_of
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.total import addend

SEGMENT, SHORT = 256, 64  # steps of a segment: of a long sequence, and of one with a backward, which keeps its states
LEAST = 8  # segments; fewer are not worth their beginnings
LANES, REGISTERS = 16, 24  # elements of a vector, and the vectors of a state that one core holds at a time
GAIN = 1.5  # by so much segments are to be faster, for they keep more in memory
SEGMENTS = "scan in segments: one step after the other keeps {busy} of {cores} cores busy"


def in_segments(
    analysis: Analysis, choices: list[Choice], q: Quantities, at: Machine, resumes: bool, chunk: int
) -> list[Choice]:
    """The choices, with segments in the place of recurrences where that pays.

    `resumes`: the plan is a backward's, whose forward's states are handed in, so that those need not be scans.
    """
    pairs = list(zip(analysis.components, choices, strict=True))
    serial = [c for c, _ in pairs if c.recurrent and addend(analysis.graph, c) is None]
    cut = [c for c in serial if _elementwise(c)]
    if not cut or q.length < LEAST * (chunk or SHORT):
        return choices
    if any(c not in cut and not (resumes and c.algebra == "nonlinear") for c in serial):
        return choices
    busy = min(at.cores, *(cells(analysis, c, q) for c in cut))
    steps, more = _work(analysis, cut, q)
    if at.cores * steps < GAIN * busy * (steps + more):
        return choices
    why = SEGMENTS.format(busy=busy, cores=at.cores)
    length = chunk or (SEGMENT if q.length >= LEAST * SEGMENT else SHORT)
    cut_at = {c.index for c in cut}
    return [
        replace(x, form="scan", chunk=length, why=why, segments=True)
        if c.index in cut_at
        else replace(x, chunk=length)
        if x.chunk
        else x
        for c, x in pairs
    ]


def _elementwise(component: Component) -> bool:
    """Whether the operator works on every element of the state alone: no matrices are multiplied."""
    monoid = component.monoid
    return monoid is not None and not any(n.base_axis(a) != a for slot in monoid.later for a in slot.axes)


def cells(analysis: Analysis, component: Component, q: Quantities) -> int:
    """How many cores can take part of one step each: what readouts sum stays together."""
    summed = {a for x in parts_of(analysis, component).readout if isinstance(x, n.Reduce) for a in x.over}
    states = [analysis.graph.register[name].axes for name in component.registers]
    inside = int(sum(q.elements(a for a in axes if a in summed) for axes in states))
    channels = min(int(q.elements(a for a in axes if a not in summed)) for axes in states)
    vectors = max(1, min(4, REGISTERS // max(1, inside)))
    return int(q.batch * max(1, q.ceil_div(channels, LANES * vectors)))


def _work(analysis: Analysis, components: list[Component], q: Quantities) -> tuple[float, float]:
    """Operations of a step as it is, and what summaries take besides."""
    steps = more = 0.0
    for c in components:
        assert c.monoid is not None
        parts = parts_of(analysis, c)
        steps += _flops(work_of([*parts.core, *parts.bulk, *parts.readout], q))
        made = [x for x in postorder(list(c.monoid.element)) if children(x)]
        more += _flops(work_of([*made, *postorder(list(c.monoid.combined))], q))
    return max(steps, 1.0), more


def _flops(work: Work) -> float:
    return float(work.flops + work.dots)
