"""Readouts: where the values that a spec computes from a state leave it by a sum.

A form that never holds the states of all steps (chunked, conv) can be used where every use of the state goes through a
**tap**: an expression affine in the state, before (`old`) or after (`new`) the step's update, whose coefficients the
form can handle. The taps found are the greatest such expressions on every path from the state to the outputs, to
other registers, and to the parts that other components are computed from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ssmc.expr import nodes as n
from ssmc.expr.affine import affine
from ssmc.expr.linear import Affine, Term
from ssmc.expr.nodes import Axes, Node
from ssmc.recurrence.drives import parts
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.step.nodes import reads_of


@dataclass(frozen=True)
class Reading:
    """One linear term of a tap: left * sum over `mixed` of right * state, the state before or after the update."""

    when: Literal["old", "new"]
    mixed: Axes
    left: Node
    right: Node


@dataclass(frozen=True)
class Tap:
    node: Node
    readings: tuple[Reading, ...]
    constant: Node | None


def taps(analysis: Analysis, component: Component, accepts: Callable[[Reading], bool]) -> tuple[Tap, ...] | Node:
    """The taps of a component of one register, or the expression that uses the state in another way.

    `accepts` says which terms the form can compute.
    """
    graph, ar = analysis.graph, analysis.graph.arena
    (name,) = component.registers
    register = graph.register[name]
    old = ar.read(name, register.axes, register.kind, 1)
    atoms = {old, register.source}
    roots = [o.value for o in graph.outputs] + [r.source for r in graph.registers if r.name != name]
    depends: set[Node] = set()

    def depend(nodes: list[Node]) -> None:
        for node in n.postorder(nodes):
            if node in atoms or name in reads_of(node) or any(c in depends for c in n.children(node)):
                depends.add(node)

    depend(roots)
    # whichever form the others run in: what it is computed from must be within reach of a tap too
    others = [c for c in analysis.components if c is not component and c.recurrent]
    readers = [c for c in others if any(graph.register[r].source in depends for r in c.registers)]
    made = [p for c in readers for p in parts(analysis, c)]
    depend(made)
    roots += made
    # what the tap is computed from must be known when the component is lowered, in the order of the components
    known = {r for c in analysis.components if c.index < component.index for r in c.registers}

    def tap(node: Node) -> Tap | None:
        form = affine(ar, node, atoms)
        if not isinstance(form, Affine) or not form.terms:
            return None
        readings = tuple(_reading(t, old) for t in form.terms)
        return Tap(node, readings, form.constant) if all(map(accepts, readings)) and _reads(form) <= known else None

    found: dict[Node, Tap] = {}
    seen: set[Node] = set()
    stack = [r for r in roots if r in depends]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        below = [c for c in n.children(node) if c in depends]
        here = tap(node)
        # a readout times what has other axes: the readout alone holds less
        widened = here is not None and all(len(c.axes) < len(node.axes) and tap(c) is not None for c in below)
        if here is not None and not (below and widened):
            found[node] = here
            continue
        if node in atoms or name in reads_of(node):
            return node
        stack.extend(below)
    return tuple(found.values())


def _reading(term: Term, old: Node) -> Reading:
    return Reading("old" if term.atom is old else "new", term.mixed, term.left, term.right)


def _reads(form: Affine) -> set[str]:
    """The registers that the coefficients and the constant read."""
    parts = [t.left for t in form.terms] + [t.right for t in form.terms]
    parts += [form.constant] if form.constant is not None else []
    return {r for x in n.postorder(parts) for r in reads_of(x)}
