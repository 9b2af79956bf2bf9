"""Passes: which sweep over time computes what.

A pass sweeps time once, in one direction, in chunks of one length. Components are put into the earliest pass that runs
in their direction with their chunk length and follows what they read (and what their readouts are computed from, in a
form that holds no states). A value that belongs to one pass and is used in a later one crosses through a workspace of
the whole sequence (lower.py asks for it when it meets one): the greatest expression that the earlier pass can compute
alone, so that a readout crosses, not the state. What depends on no register is computed again where it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.plan.nodes import Choice, Plan
from ssmc.recurrence.chunkable import chunked_readings
from ssmc.recurrence.invariant import invariant_readings
from ssmc.recurrence.nodes import Component
from ssmc.recurrence.readout import Tap
from ssmc.recurrence.separable import MatrixForm, matrix_form
from ssmc.step.nodes import StepGraph

FREE = -1  # the stage of a value that depends on no register


@dataclass(frozen=True)
class Sweep:
    """One pass: its components with their choices, and the outputs it computes."""

    index: int
    reverse: bool
    chunk: int
    components: tuple[tuple[Component, Choice], ...]
    outputs: tuple[str, ...]


class _Draft:
    def __init__(self, reverse: bool, chunk: int | None) -> None:
        self.reverse = reverse
        self.chunk = chunk  # None until a component that minds joins
        self.members: list[tuple[Component, Choice]] = []


def unbounded(graph: StepGraph, node: Node) -> bool:
    return isinstance(node, n.History) and graph.register[node.register].depth.unbounded


def sweeps(plan: Plan) -> tuple[tuple[Sweep, ...], Callable[[Node], int]]:
    """The passes of a plan, in order; and the stage of any expression: the first pass that can compute it, or FREE."""
    graph = plan.analysis.graph
    drafts: list[_Draft] = []
    pass_of: dict[str, int] = {}
    cyclic = {r for c in plan.analysis.components if c.recurrent for r in c.registers}
    stages: dict[Node, int] = {}

    def stage(root: Node) -> int:
        for node in n.postorder([root]):
            if node in stages:
                continue
            at = max((stages[k] for k in n.children(node)), default=FREE)
            match node:
                case n.Read(register=r) | n.Window(register=r) | n.History(register=r):
                    late = unbounded(graph, node) and r not in cyclic
                    at = max(at, pass_of[r] + late)
            stages[node] = at
        return stages[root]

    for component, choice in zip(plan.analysis.components, plan.choices, strict=True):
        own = set(component.registers)
        earliest = 0
        needs = [graph.register[r].source for r in component.registers] + _tap_parts(plan, component, choice)
        for node in n.postorder(needs):
            match node:
                case n.Read(register=r) | n.Window(register=r) | n.History(register=r) if r not in own:
                    late = unbounded(graph, node) and r not in cyclic
                    earliest = max(earliest, pass_of[r] + late)
        where = _join(drafts, earliest, component, choice)
        drafts[where].members.append((component, choice))
        for r in component.registers:
            pass_of[r] = where
    last = max((stage(o.value) for o in graph.outputs), default=0)
    while len(drafts) <= max(last, 0):
        drafts.append(_Draft(False, None))

    outputs: list[list[str]] = [[] for _ in drafts]
    for o in graph.outputs:
        outputs[max(stage(o.value), 0)].append(o.name)
    return tuple(
        Sweep(i, d.reverse, d.chunk if d.chunk is not None else DEFAULT_CHUNK, tuple(d.members), tuple(outputs[i]))
        for i, d in enumerate(drafts)
    ), stage


def _tap_parts(plan: Plan, component: Component, choice: Choice) -> list[Node]:
    """What the readouts of a form that holds no states are computed from, besides the component itself."""
    analysis = plan.analysis
    found: tuple[Tap, ...] | Node = ()
    if component.recurrent and choice.form == "chunked":
        form = matrix_form(analysis, component)
        found = chunked_readings(analysis, component, form) if isinstance(form, MatrixForm) else ()
    elif component.recurrent and choice.form == "conv":
        found = invariant_readings(analysis, component)
    parts: list[Node] = []
    for tap in found if isinstance(found, tuple) else ():
        parts += [tap.constant] if tap.constant is not None else []
        parts += [x for reading in tap.readings for x in (reading.left, reading.right)]
    return parts


DEFAULT_CHUNK = 0  # a pass without a recurrence has no reason to be cut


def _join(drafts: list[_Draft], earliest: int, component: Component, choice: Choice) -> int:
    """The pass a component joins: the earliest possible one that fits, else a new one at the end."""
    chunk = choice.chunk if component.recurrent else None
    for i in range(earliest, len(drafts)):
        d = drafts[i]
        if d.reverse == component.reverse and (chunk is None or d.chunk is None or d.chunk == chunk):
            d.chunk = chunk if d.chunk is None else d.chunk
            return i
    while len(drafts) < earliest:
        drafts.append(_Draft(False, None))
    drafts.append(_Draft(component.reverse, chunk))
    return len(drafts) - 1
