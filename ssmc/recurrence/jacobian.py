"""The sparsity of a nonlinear component's Jacobian, from which axes of the state an update mixes.

elementwise   one register, each new element depends on its own old one: Newton is a diagonal scan
block         several registers, element by element: a small matrix an element
dense         an axis is mixed: a matrix over the axes `mixed`, for each position along the others
"""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Node, children, postorder
from ssmc.step.nodes import StepGraph


@dataclass(frozen=True)
class Jacobian:
    """`pairs` are the (register, register it reads) that are not zero; `mixed` the axes summed by any of them."""

    structure: str
    mixed: Axes
    pairs: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


_Mixed = frozenset[str]


def jacobian_of(graph: StepGraph, names: tuple[str, ...]) -> Jacobian:
    """The Jacobian of the registers' sources by their own values one step before."""
    registers = [graph.register[name] for name in names]
    found: dict[Node, dict[str, _Mixed]] = {}
    for node in postorder([r.source for r in registers]):
        found[node] = _mixing(node, found, graph, frozenset(names))
    pairs: list[tuple[str, str]] = []
    mixed: set[str] = set()
    for r in registers:
        for name, axes in found[r.source].items():
            pairs.append((r.name, name))
            mixed |= axes
            # an axis that only one of the two has is spread over, or was dropped
            mixed |= set(r.axes) ^ set(graph.register[name].axes)
    ordered = graph.arena.sorted_axes(mixed)
    if ordered:
        notes = (f"the Jacobian mixes {', '.join(ordered)}",)
        return Jacobian("dense", ordered, tuple(pairs), notes)
    return Jacobian("elementwise" if len(names) == 1 else "block", (), tuple(pairs))


def _mixing(
    node: Node, found: dict[Node, dict[str, _Mixed]], graph: StepGraph, own: frozenset[str]
) -> dict[str, _Mixed]:
    """For each register of `own` that a node depends on, the axes of the register that are not carried elementwise."""
    joined: dict[str, _Mixed] = {}
    for child in children(node):
        for name, axes in found[child].items():
            joined[name] = joined.get(name, frozenset()) | axes
    match node:
        case n.Read(register=r) if r in own:
            joined[r] = frozenset()
        case n.Window(register=r) | n.History(register=r) if r in own:
            joined[r] = frozenset(graph.register[r].axes)
        case n.Reduce(over=over):
            return _with(joined, over, graph)
        case n.Rename(pairs=pairs):
            return _with(joined, tuple(a for pair in pairs for a in pair), graph)
        case n.Pick(axis=axis) | n.Shift(axis=axis) | n.Cumulative(axis=axis):
            return _with(joined, (axis,), graph)
        case n.Solve(row=row, col=col) | n.Expm(row=row, col=col):
            return _with(joined, (row, col), graph)
        case _:
            pass
    return joined


def _with(joined: dict[str, _Mixed], axes: Axes, graph: StepGraph) -> dict[str, _Mixed]:
    return {name: old | {a for a in axes if a in graph.register[name].axes} for name, old in joined.items()}
