"""The dependence graph of a step graph's registers, its strongly connected components, and what they depend on.

Guaranteed by the level before: every dependence on another step is a Read, Window or History of a register.
An edge q -> r stands where the value of r at a step needs q at an earlier one (a later one, for a reverse register).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ssmc.diagnostics import Label, Problem, SpecError
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node, postorder
from ssmc.recurrence.nodes import TimeDependence
from ssmc.source import Span
from ssmc.step.nodes import Register, StepGraph, reads_of


@dataclass(frozen=True)
class CycleBetweenDirections(Problem):
    """A forward and a reverse register that need each other."""

    forward: str
    backward: str
    other: Span | None
    code = "E450"
    title = "`{forward}` and `{backward}` need each other, and run in opposite directions"
    label = "`{forward}` runs from the first step to the last"
    helps = ("break the cycle: what one direction reads must not depend on the other",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.other, f"`{self.backward}` runs from the last step to the first"),) if self.other else ()


@dataclass(frozen=True)
class CycleThroughNext(Problem):
    """`next(e)` where e depends on that very `next`."""

    register: str
    code = "E451"
    title = "`next` in a cycle: this value needs its own later value"
    label = "what stands here depends on this `next`"
    helps = ("a recurrence from the last step to the first is written as a state with `reverse`",)


def registers_read(roots: Iterable[Node]) -> set[str]:
    """The registers whose value of another step the expressions need."""
    return {name for node in postorder(list(roots)) for name in reads_of(node)}


def leaves_time(nodes: Iterable[Node]) -> TimeDependence:
    """How expressions vary with the step: not at all, with its number only, or with data."""
    found: TimeDependence = "invariant"
    for node in postorder(list(nodes)):
        match node:
            case n.Input() | n.Read() | n.Window() | n.History():
                return "data"
            case n.Time():
                found = "index"
            case _:
                pass
    return found


def components_of(graph: StepGraph) -> list[tuple[str, ...]]:
    """The strongly connected components, each after those it reads; deterministic, names in the graph's order."""
    order = {r.name: i for i, r in enumerate(graph.registers)}
    needs = {r.name: registers_read([r.source]) for r in graph.registers}
    if all(needs[r] <= {r} for r in needs):
        return [(r,) for r in order]
    import networkx as nx

    g = nx.DiGraph()
    g.add_nodes_from(order)
    g.add_edges_from((q, r) for r in order for q in sorted(needs[r], key=order.__getitem__))
    condensed = nx.condensation(g)
    members = {c: tuple(sorted(condensed.nodes[c]["members"], key=order.__getitem__)) for c in condensed}
    sequence = nx.lexicographical_topological_sort(condensed, key=lambda c: order[members[c][0]])
    return [members[c] for c in sequence]


def is_recurrent(graph: StepGraph, registers: tuple[str, ...]) -> bool:
    """Whether the value of one of them ever comes back to it."""
    return len(registers) > 1 or registers[0] in registers_read([graph.register[registers[0]].source])


def check_directions(graph: StepGraph, components: Iterable[tuple[str, ...]]) -> None:
    """Raise `SpecError` for a cycle of both directions, or one through `next`."""
    problems: list[Problem] = []
    for names in components:
        if not is_recurrent(graph, names):
            continue
        members = [graph.register[name] for name in names]
        forward = [r for r in members if not r.reverse]
        backward = [r for r in members if r.reverse]
        later = [r for r in members if r.origin == "next"]
        if later:
            problems.append(CycleThroughNext(later[0].span, later[0].name))
        elif forward and backward:
            problems.append(
                CycleBetweenDirections(forward[0].span, forward[0].name, backward[0].name, backward[0].span)
            )
    if problems:
        raise SpecError(problems)


def span_of(graph: StepGraph, register: Register) -> Span | None:
    """Where the update of a register stands."""
    return graph.span_of(register.source) or register.span
