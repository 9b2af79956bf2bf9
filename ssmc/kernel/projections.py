"""Projections: products with a matrix of parameters, for which the whole sequence is multiplied at once.

    x = silu(conv(u, w));  B = W_B @ x;  h = a * h + B * x        W_B @ x  over all steps, then the chunks of h read it

A chunk of a recurrence is short, so that its tiles stay in the cache; a matrix product wants to be long, and a vendor's
routine does it best. So a projection and what it is computed from leave the pass of the recurrence, before it or after.
They are held for the whole sequence then: only values with no more axes than the widest of the spec's inputs and
outputs may be, which the caller holds for the whole sequence too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.recurrence.nodes import Analysis
from ssmc.step.nodes import StepGraph, reads_of


@dataclass(frozen=True)
class Projections:
    """`found`: the products; `lines`: the delay lines they are computed from; `first`: whether one needs no state."""

    found: frozenset[Node]
    lines: frozenset[str]
    first: bool


def projections(analysis: Analysis, roots: Iterable[Node], held: set[Node]) -> Projections:
    """The projections below `roots` that may leave the passes of the recurrences: none of `held` does."""
    graph = analysis.graph
    recurrent = {r for c in analysis.components if c.recurrent for r in c.registers}
    slim = _Slim(analysis, recurrent, n.postorder([*roots, *graph.roots]))
    found = {x for x in slim.nodes if x not in held and slim.is_projection(x) and slim.holds(x)}
    lines: set[str] = set()
    first = False
    for projection in found:
        reached: set[str] = set()
        todo: list[Node] = [projection]
        while todo:
            new = {r for x in n.postorder(todo) for r in reads_of(x)} - reached
            reached |= new
            todo = [graph.register[r].source for r in new - recurrent]
        lines |= reached - recurrent
        first = first or not reached & recurrent
    return Projections(frozenset(found), frozenset(lines), first)


def widest(graph: StepGraph) -> int:
    """The number of axes of the widest input or output: the caller holds it for the whole sequence."""
    return max([len(p.axes) for p in graph.inputs] + [len(o.axes) for o in graph.outputs], default=0)


class _Slim:
    """Which values can be held for the whole sequence, with all that is held beside them: each has few axes.

    Delay lines are looked through; of what leaves a recurrence nothing but the value itself is held.
    """

    def __init__(self, analysis: Analysis, recurrent: set[str], nodes: list[Node]) -> None:
        graph = analysis.graph
        self.register = graph.register
        self.recurrent = recurrent
        self.rank = widest(graph)
        self.nodes = nodes
        self.varying: set[Node] = set()  # another value at another step
        self.moved: set[Node] = set()  # computed from a recurrence
        for node in nodes:
            kids, reads = n.children(node), set(reads_of(node))
            if reads or isinstance(node, n.Input | n.Time) or any(c in self.varying for c in kids):
                self.varying.add(node)
            if reads & recurrent or any(c in self.moved for c in kids):
                self.moved.add(node)
        self.known: dict[Node, bool] = {}

    def is_projection(self, node: Node) -> bool:
        """A sum over an axis that a varying factor shares with one of parameters, which has another axis besides."""
        if not (isinstance(node, n.Reduce) and node.op == "sum"):
            return False
        matrix = {a for f in n.factors(node.arg) if f not in self.varying for a in f.axes}
        vector = {a for f in n.factors(node.arg) if f in self.varying for a in f.axes}
        return bool(matrix & vector & set(node.over)) and bool(matrix - vector)

    def holds(self, root: Node) -> bool:
        stack = [root]
        while stack:
            node = stack[-1]
            beside = self._beside(node)
            unknown = [x for x in beside if x not in self.known] if beside else []
            if node not in self.known and unknown:
                stack += unknown
                continue
            self.known[node] = beside is not None and all(self.known[x] for x in beside)
            stack.pop()
        return self.known[root]

    def _beside(self, node: Node) -> list[Node] | None:
        """What is held beside a value that is; None where the value itself cannot be."""
        if node not in self.varying:
            return []
        if len(node.axes) > self.rank:
            return None
        match node:
            case n.Read(register=r) if r in self.recurrent:
                return []
            case n.History(register=r) if self.register[r].depth.unbounded:
                return None
            case n.Read(register=r) | n.Window(register=r) | n.History(register=r):
                return [self.register[r].source]
            case n.Map(args=args):
                return list(args)
            case _ if node in self.moved:
                return []
            case n.Reduce(op="sum", arg=arg, over=over):
                # the product is never made, nor are the windows of a sum over them
                parts = n.factors(arg)
                windows = [f for f in parts if isinstance(f, n.Window | n.History) and over == (f.axis,)]
                return [f for f in parts if f not in windows] + [self.register[f.register].source for f in windows]
            case _:
                return list(n.children(node))
