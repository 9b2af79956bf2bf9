"""The passes between the step graph that `build` gives and the one that is analysed; `explain --after` prints them."""

from __future__ import annotations

from collections.abc import Iterator

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node, postorder
from ssmc.recurrence.expand import expand_delays
from ssmc.recurrence.graph import components_of, is_recurrent
from ssmc.step.nodes import StepGraph
from ssmc.step.passes import Pass
from ssmc.step.verify import Check


def _one_step_back(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    grown = {x.register for x in nodes if isinstance(x, n.History)}
    for names in components_of(graph):
        if not is_recurrent(graph, names):
            continue
        own = set(names) - grown  # a `past` inside a cycle stays as it is
        for node in postorder([graph.register[name].source for name in names]):
            if ((isinstance(node, n.Read) and node.steps > 1) or isinstance(node, n.Window)) and node.register in own:
                yield f"{node!r} in the cycle of {', '.join(names)}"


ONE_STEP_BACK = Check("one-step-back", "a cycle reads its registers one step back only", _one_step_back)

PASSES = (
    Pass(
        "expand", expand_delays, "delay lines inside a cycle become states with an axis", establishes=(ONE_STEP_BACK,)
    ),
)
