"""Passes: which sweep over time computes what.

A pass sweeps time once, in one direction, in chunks of one length. Components are put into the earliest pass that runs
in their direction with their chunk length and follows what they read. A value that belongs to one pass and is used in
a later one is exported through a workspace of the whole sequence: the greatest expressions that the earlier pass can
compute alone, so that a readout crosses, not the state. What depends on no register is computed again where needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.plan.nodes import Choice, Plan
from ssmc.recurrence.nodes import Component
from ssmc.step.nodes import StepGraph

FREE = -1  # the stage of a value that depends on no register


@dataclass(frozen=True)
class Sweep:
    """One pass: its components with their choices, the outputs and exports it computes, and the histories it reads."""

    index: int
    reverse: bool
    chunk: int
    components: tuple[tuple[Component, Choice], ...]
    outputs: tuple[str, ...]
    exports: tuple[Node, ...]
    imports: tuple[Node, ...]
    histories: tuple[n.History, ...]


class _Draft:
    def __init__(self, reverse: bool, chunk: int | None) -> None:
        self.reverse = reverse
        self.chunk = chunk  # None until a component that minds joins
        self.members: list[tuple[Component, Choice]] = []


def unbounded(graph: StepGraph, node: Node) -> bool:
    return isinstance(node, n.History) and graph.register[node.register].depth.unbounded


def sweeps(plan: Plan) -> tuple[Sweep, ...]:
    """The passes of a plan, in order."""
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
        for node in n.postorder([graph.register[r].source for r in component.registers]):
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

    roots: list[list[Node]] = [[graph.register[r].source for c, _ in d.members for r in c.registers] for d in drafts]
    outputs: list[list[str]] = [[] for _ in drafts]
    for o in graph.outputs:
        at = max(stage(o.value), 0)
        roots[at].append(o.value)
        outputs[at].append(o.name)
    exports: list[dict[Node, None]] = [{} for _ in drafts]
    imports: list[dict[Node, None]] = [{} for _ in drafts]
    histories: list[dict[n.History, None]] = [{} for _ in drafts]
    for at in reversed(range(len(drafts))):
        _cross(graph, at, roots[at] + list(exports[at]), stage, cyclic, exports, imports[at], histories[at])
    return tuple(
        Sweep(i, d.reverse, d.chunk if d.chunk is not None else DEFAULT_CHUNK, tuple(d.members), tuple(outputs[i]),
              tuple(exports[i]), tuple(imports[i]), tuple(histories[i]))
        for i, d in enumerate(drafts)
    )


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


def _cross(graph: StepGraph, at: int, roots: list[Node], stage: object, cyclic: set[str],
           exports: list[dict[Node, None]], imports: dict[Node, None], histories: dict[n.History, None]) -> None:
    """Walk down from the roots of pass `at`; where an earlier pass's value is met, export it from there."""
    seen: set[Node] = set()
    stack = list(reversed(roots))
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        s = stage(node)  # type: ignore[operator]
        if FREE < s < at:
            exports[s][node] = None
            imports[node] = None
            continue
        if isinstance(node, n.History) and unbounded(graph, node) and node.register not in cyclic:
            # the whole past is read: its source must be a whole sequence
            histories[node] = None
            source = graph.register[node.register].source
            exports[max(stage(source), 0)][source] = None  # type: ignore[operator]
            continue
        stack.extend(n.children(node))
