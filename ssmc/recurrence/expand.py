"""Delay lines inside a cycle become states with an axis of their own, so that cycles read one step back only.

    before   register r[X], depth k, in a cycle; Read(r, j), Window(r, W, current)
    after    register r[W, X], newest first along its `line` axis W:
                 source = where(index[W] == 0, source of r, shift[W](Read(r, 1)))
                 Read(r, j)                = Read(r, 1)[W = j - 1]
                 Window(r, W, None)        = Read(r, 1)
                 Window(r, W, current = c) = where(index[W] == 0, c, shift[W](Read(r, 1)))

W is the axis of the register's windows, or a fresh axis of fixed size `prev1`, `prev2`, … where it has none. The first
of the axes of such a register is W and `Register.line` names it; its name, `origin` and `depth` stay as they were.

The entry of the state dictionary keeps its layout: shape (depth, axes…), oldest first. The size of W is the depth, so
the value of the register is that entry reversed along its first axis.

Not handled here: `past` (History) in a cycle. Without a size it has no axis to lie along; its component stays as it is.
"""

from __future__ import annotations

from dataclasses import replace

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node, postorder
from ssmc.recurrence.graph import components_of, is_recurrent
from ssmc.step.nodes import Axis, Depth, Output, Register, StepGraph


def expand_delays(graph: StepGraph) -> StepGraph:
    """The graph with every delay line of a cycle turned into a state; the graph itself if there is none."""
    return _expanded(graph, {name for c in components_of(graph) if is_recurrent(graph, c) for name in c})


def expand_all(graph: StepGraph) -> StepGraph:
    """The graph with every delay line but a `past` turned into a state."""
    return _expanded(graph, set(graph.register))


def past_as_state(graph: StepGraph) -> tuple[StepGraph, dict[str, str]]:
    """The graph with every `past` of a size a state of one step, and the axis, its first, of each: oldest first.

    before   History(r, T, current = c)
    after    r[T, X] = where(index[T] == size[T] - 1, source of r, shift[T](Read(r, 1)) by -1), and the same of c
    """
    arena = graph.arena
    found = [x for x in postorder(graph.roots) if isinstance(x, n.History)]
    pasts = {x.register: x.axis for x in found if not graph.register[x.register].depth.unbounded}
    if not pasts:
        return graph, {}

    def pushed(name: str, newest: Node) -> Node:
        axis, r = pasts[name], graph.register[name]
        last = arena.map("eq", arena.index(axis), arena.sub(arena.size(axis), arena.const(1)))
        return arena.where(last, newest, arena.shift(arena.read(name, (axis, *r.axes), r.kind), axis, -1))

    done: dict[Node, Node] = {}
    for node in postorder(graph.roots):
        kids = [done[c] for c in n.children(node)]
        own = isinstance(node, n.History) and node.register in pasts
        done[node] = arena.noted(pushed(node.register, kids[0]) if own else arena.rebuild(node, kids), node)  # type: ignore[attr-defined]
    registers = tuple(
        replace(r, axes=(pasts[r.name], *r.axes), source=pushed(r.name, done[r.source]), depth=Depth(1))
        if r.name in pasts
        else replace(r, source=done[r.source])
        for r in graph.registers
    )
    outputs = tuple(replace(o, value=done[o.value]) for o in graph.outputs)
    return replace(graph, registers=registers, outputs=outputs, names=()), pasts


def _expanded(graph: StepGraph, names: set[str]) -> StepGraph:
    lines: dict[str, str] = {}
    axes = list(graph.axes)
    for register in graph.registers:
        if register.name in names and register.line is None and (line := _line_axis(graph, register, axes)) is not None:
            lines[register.name] = line
    return _rewritten(replace(graph, axes=tuple(axes)), lines) if lines else graph


def _line_axis(graph: StepGraph, register: Register, axes: list[Axis]) -> str | None:
    """The axis along which a register's earlier values will lie (declared here if new); None: it needs none."""
    uses = [x for x in postorder(graph.roots) if isinstance(x, (n.Read, n.Window, n.History))]
    mine = [x for x in uses if x.register == register.name]
    if any(isinstance(x, n.History) for x in mine):
        return None
    windows = sorted({x.axis for x in mine if isinstance(x, n.Window)})
    if len(windows) > 1:
        raise CompilerBug(f"windows of `{register.name}` along several axes: {windows}")
    if windows:
        return windows[0]
    deepest = max((x.steps for x in mine if isinstance(x, n.Read)), default=1)
    if deepest == 1:
        return None
    taken = {a.name for a in axes}
    name = next(f"prev{i}" for i in range(1, len(axes) + 2) if f"prev{i}" not in taken)
    graph.arena.declare_axis(name)
    axes.append(Axis(name, graph.arena.const(deepest), each=False))
    return name


def _rewritten(graph: StepGraph, lines: dict[str, str]) -> StepGraph:
    arena = graph.arena

    def held(register: str) -> Node:
        r = graph.register[register]
        return arena.read(register, (lines[register], *r.axes), r.kind)

    def pushed(register: str, newest: Node) -> Node:
        line = lines[register]
        first = arena.map("eq", arena.index(line), arena.const(0))
        return arena.where(first, newest, arena.shift(held(register), line, 1))

    done: dict[Node, Node] = {}

    def change(node: Node) -> Node | None:
        match node:
            case n.Read(register=r, steps=steps) if r in lines:
                return arena.pick(held(r), lines[r], steps - 1)
            case n.Window(register=r, current=None) if r in lines:
                return held(r)
            case _:
                return None

    def rebuilt(roots: list[Node]) -> list[Node]:
        # bottom-up: a Window's `current` may itself read an expanded register
        for node in postorder(roots):
            if node in done:
                continue
            if (new := change(node)) is None:
                kids = [done[c] for c in n.children(node)]
                if isinstance(node, n.Window) and node.register in lines:
                    new = pushed(node.register, kids[0])
                else:
                    new = arena.rebuild(node, kids)
            done[node] = arena.noted(new, node)
        return [done[r] for r in roots]

    registers: list[Register] = []
    for r, source in zip(graph.registers, rebuilt([r.source for r in graph.registers]), strict=True):
        if r.name in lines:
            line = lines[r.name]
            whole = pushed(r.name, source)
            if r.source in arena.spans:
                arena.spans.setdefault(whole, arena.spans[r.source])
            registers.append(replace(r, axes=(line, *r.axes), source=whole, line=line))
        else:
            registers.append(replace(r, source=source))
    values = rebuilt([o.value for o in graph.outputs])
    outputs = tuple(Output(o.name, o.axes, o.kind, v, o.span) for o, v in zip(graph.outputs, values, strict=True))
    names = tuple(zip((k for k, _ in graph.names), rebuilt([v for _, v in graph.names]), strict=True))
    return replace(graph, registers=tuple(registers), outputs=outputs, names=names)
