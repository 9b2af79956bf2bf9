"""A step graph without squares: the columns of a square value lie along an axis of their own, of the same size."""

from __future__ import annotations

from dataclasses import replace

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Node
from ssmc.step.nodes import Axis, Port, StepGraph


def without_squares(graph: StepGraph) -> StepGraph:
    """The graph with `N'` as a declared axis `N_column`; the graph itself if it has no such axis."""
    values = [*graph.roots, *(r.init for r in graph.registers), *(p.default for p in graph.params if p.default)]
    used = {a for x in n.postorder(values) for a in x.axes} | {a for r in graph.registers for a in r.axes}
    used |= {a for p in (*graph.inputs, *graph.params) for a in p.axes} | {a for o in graph.outputs for a in o.axes}
    primed = sorted((a for a in used if a != n.base_axis(a)), key=graph.arena.rank)
    if not primed:
        return graph
    axes = list(graph.axes)
    columns = {
        axis: new_axis(graph.arena, axes, f"{n.base_axis(axis)}_column", graph.arena.size(n.base_axis(axis)))
        for axis in primed
    }
    return _Renamer(graph, columns).graph(tuple(axes))


def new_axis(arena: Arena, axes: list[Axis], wish: str, size: Node) -> str:
    """The name of one more axis, of a size, which `axes` has from here on."""
    taken = {a.name for a in axes}
    name, number = wish, 2
    while name in taken:
        name, number = f"{wish}{number}", number + 1
    arena.declare_axis(name)
    axes.append(Axis(name, size, each=False))
    return name


class _Renamer:
    def __init__(self, graph: StepGraph, columns: dict[str, str]) -> None:
        self.source, self.arena, self.columns = graph, graph.arena, columns
        self.done: dict[Node, Node] = {}

    def graph(self, axes: tuple[Axis, ...]) -> StepGraph:
        graph = self.source
        return replace(
            graph,
            axes=axes,
            inputs=tuple(self.port(p) for p in graph.inputs),
            params=tuple(self.port(p) for p in graph.params),
            registers=tuple(
                replace(r, axes=self.axes(r.axes), init=self.node(r.init), source=self.node(r.source))
                for r in graph.registers
            ),
            outputs=tuple(replace(o, axes=self.axes(o.axes), value=self.node(o.value)) for o in graph.outputs),
            names=(),
        )

    def port(self, p: Port) -> Port:
        default = None if p.default is None else self.node(p.default)
        return replace(p, axes=self.axes(p.axes), default=default)

    def axes(self, axes: Axes) -> Axes:
        return tuple(self.columns.get(a, a) for a in axes)

    def node(self, root: Node) -> Node:
        for node in n.postorder([root]):
            if node not in self.done:
                new = self.made(node, [self.done[c] for c in n.children(node)])
                self.done[node] = self.arena.noted(new, node)
        return self.done[root]

    def made(self, node: Node, kids: list[Node]) -> Node:
        ar, to = self.arena, self.columns
        match node:
            case n.Input(name=name):
                return ar.input(name, self.axes(node.axes), node.kind)
            case n.Param(name=name):
                return ar.param(name, self.axes(node.axes), node.kind)
            case n.Read(register=r, steps=steps):
                return ar.read(r, self.axes(node.axes), node.kind, steps)
            case n.Table(name=name):
                return ar.table(name, self.axes(node.axes), node.kind)
            case n.Index(axes=(axis,)):
                return ar.index(to.get(axis, axis))
            case n.Draw(distribution=distribution, number=number):
                return ar.draw(distribution, tuple(kids), self.axes(node.axes), number)
            case n.Reduce(op=op, over=over):
                return ar.reduce(op, kids[0], self.axes(over))
            case n.Cumulative(op=op, axis=axis, reverse=reverse):
                return ar.cumulative(op, kids[0], to.get(axis, axis), reverse)
            case n.Rename(pairs=pairs):
                return ar.rename(kids[0], {to.get(a, a): to.get(b, b) for a, b in pairs})
            case n.Pick(axis=axis, index=index):
                return ar.pick(kids[0], to.get(axis, axis), index)
            case n.Shift(axis=axis, steps=steps):
                return ar.shift(kids[0], to.get(axis, axis), steps)
            case n.Solve(row=row, col=col):
                return ar.solve(kids[0], kids[1], to.get(row, row), to.get(col, col))
            case n.Expm(row=row, col=col, order=order):
                return ar.expm(kids[0], to.get(row, row), to.get(col, col), order)
            case n.Window(register=r, axis=axis):
                rest = self.axes(tuple(a for a in node.axes if a != axis))
                return ar.window(r, to.get(axis, axis), rest, node.kind, kids[0] if kids else None)
            case n.History(register=r, axis=axis):
                rest = self.axes(tuple(a for a in node.axes if a != axis))
                return ar.history(r, to.get(axis, axis), kids[0], rest, node.kind)
            case _:
                return ar.rebuild(node, kids)
