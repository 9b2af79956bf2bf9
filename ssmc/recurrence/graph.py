"""The dependence graph of a step graph's registers, its strongly connected components, and what they depend on.

Guaranteed by the level before: every dependence on another step is a Read, Window or History of a register.
An edge q -> r stands where the value of r at a step needs q at an earlier one (a later one, for a reverse register).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node, postorder
from ssmc.recurrence.nodes import TimeDependence
from ssmc.step.nodes import StepGraph, reads_of


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
    """The strongly connected components, each after those it reads; deterministic, states of fewer axes first."""
    # small states before large ones: what a matrix state is read with is known when it is lowered
    by_rank = sorted(graph.registers, key=lambda r: len(r.axes))
    order = {r.name: i for i, r in enumerate(by_rank)}
    needs = {r.name: registers_read([r.source]) for r in graph.registers}
    members = {r: (r,) for r in order}
    links = {r: needs[r] - {r} for r in order}
    try:
        return _sequence(members, links, {r for r in order if r in needs[r]}, order)
    except CycleError:
        pass
    # most specs have no cycle through several registers, and this import takes longer than all the rest
    import networkx as nx

    g = nx.DiGraph((q, r) for r in order for q in needs[r])
    g.add_nodes_from(order)
    found = [tuple(sorted(c, key=order.__getitem__)) for c in nx.strongly_connected_components(g)]
    head = {r: c[0] for c in found for r in c}
    members = {c[0]: c for c in found}
    links = {c[0]: {head[q] for r in c for q in needs[r]} - {c[0]} for c in found}
    recurrent = {c[0] for c in found if len(c) > 1 or c[0] in needs[c[0]]}
    return _sequence(members, links, recurrent, order)


def _sequence(
    members: Mapping[str, tuple[str, ...]],
    links: Mapping[str, set[str]],
    recurrent: set[str],
    order: Mapping[str, int],
) -> list[tuple[str, ...]]:
    """The members, each after those that `links` names, raising CycleError; delay lines as early as they can be.

    A query that comes from a delay line is then known where the state it reads is lowered.
    """
    sorter = TopologicalSorter(links)
    sorter.prepare()
    result = []
    ready: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=lambda r: (r in recurrent, order[r]))
        head = ready.pop(0)
        result.append(members[head])
        sorter.done(head)
    return result


def is_recurrent(graph: StepGraph, registers: tuple[str, ...]) -> bool:
    """Whether the value of one of them ever comes back to it."""
    return len(registers) > 1 or registers[0] in registers_read([graph.register[registers[0]].source])


def check_directions(graph: StepGraph, components: Iterable[tuple[str, ...]]) -> None:
    """`build` has reported cycles between directions: here one is a CompilerBug."""
    for names in components:
        if len({graph.register[name].reverse for name in names}) > 1:
            raise CompilerBug(f"{', '.join(names)} need one another in both directions of time")
