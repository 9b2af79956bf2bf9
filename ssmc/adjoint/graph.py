"""Reverse mode on the step graph: the step of a recurrence gives the step of its adjoint, a recurrence in reverse time.

    forward    h_t = f(h_{t-1}, x_t, p),  y_t = g(h_{t-1}, x_t, p)
    adjoint    with the cotangents dy_t, and dh_t of h_t from the steps after:
               the transpose of (f, g) at step t gives dx_t, a part of dp, and dh_{t-1}

The derived step graph has the forward registers that it needs, a register in the other direction for every read of a
register, a running sum for every param, an input for every output's cotangent and an output for every input's. Its
updates are affine in the adjoint registers, so that everything after the step graph takes it as it takes any other.

A value of params alone is a param of the derived graph, under its own name (`Adjoint.constants`): it is computed once,
and its gradient is taken to the params once, outside.

    read of r k steps back        a register of depth k, in the other direction, that holds the read's cotangent
    window of r, times weights    a window of the cotangent in the other direction, times the same weights
    any other window              a state with the window's axis, moved by one place a step
    param p                       d_p = d_p + this step's part
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ssmc.adjoint.constants import hoisted
from ssmc.adjoint.rules import Rules
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.recurrence.expand import expand_all, past_as_state
from ssmc.step.functions import free_name
from ssmc.step.nodes import Depth, Output, Port, Register, StepGraph, reads_of
from ssmc.step.squares import new_axis
from ssmc.step.verify import verify


@dataclass(frozen=True)
class Adjoint:
    """The derived graph, and what its parts are to the graph it was derived from (`source`, with its constants).

    `cotangents`: an output's name -> the input that is its cotangent. `inputs`: an input's -> the output that is its
    gradient. `params`: a param's or a constant's -> the register whose last value is its gradient, to be summed over
    the batch. `states`: a register's -> the register that begins with the cotangent of its last value and ends with the
    gradient of its initial one. `lines`: the delay lines that are registers of one step in `source`, with the axis,
    their first, along which their steps lie, newest first; `pasts`: those where they lie oldest first. `constants`: the
    values of params that are params of the derived graph.
    """

    source: StepGraph
    graph: StepGraph
    cotangents: dict[str, str]
    inputs: dict[str, str]
    params: dict[str, str]
    states: dict[str, str]
    lines: dict[str, str]
    pasts: dict[str, str]
    constants: tuple[tuple[str, Node], ...]


def adjoint(graph: StepGraph, lines: bool = False, avoid: Collection[str] = ()) -> Adjoint:
    """The adjoint of a graph without an unbounded `past` (see `refusal`). `avoid`: names that nothing new may have.

    With `lines` gradients go to the initial values of delay lines too, and come from their last ones: each is a state
    then, which costs its depth a step.
    """
    whole, found, pasts = lined(graph) if lines else (graph, {}, {})
    return _Deriver(whole, found, pasts, avoid).derive()


def lined(graph: StepGraph) -> tuple[StepGraph, dict[str, str], dict[str, str]]:
    """The graph with every delay line a state like any other, of one step; `Adjoint.lines` and `Adjoint.pasts`."""
    graph, pasts = past_as_state(graph)
    whole = expand_all(graph)
    lines = {r.name: r.line for r in whole.registers if r.line is not None}
    registers = tuple(replace(r, depth=ONE_STEP, line=None) if r.line else r for r in whole.registers)
    return replace(whole, registers=registers), lines, pasts


def refusal(graph: StepGraph) -> str | None:
    """Why a graph has no adjoint of fixed size, if so."""
    for r in graph.registers:
        if r.depth.unbounded:
            return f"`{r.name}` holds all steps so far, and so would what comes back to it"
    return None


ONE_STEP = Depth(1)


class _Deriver:
    def __init__(self, graph: StepGraph, lines: dict[str, str], pasts: dict[str, str], avoid: Collection[str]) -> None:
        self.lines, self.pasts = lines, pasts
        self.arena = graph.arena
        self.graph, self.constants = hoisted(graph)
        labels = {self.arena.labels[x] for x in n.postorder(graph.roots) if x in self.arena.labels}
        ports = [p.name for p in (*self.graph.inputs, *self.graph.params)]
        self.taken = {*ports, *(r.name for r in graph.registers), *(o.name for o in graph.outputs), *labels, *avoid}
        self.axes = list(self.graph.axes)
        self.registers: list[Register] = []
        self.cotangent: dict[Node, Node] = {}  # what has come to a node so far
        # what comes to a register's source from other steps: named now, known at the end
        self.later: dict[str, list[Node]] = {r.name: [] for r in self.graph.registers}
        self.placeholder: dict[str, n.Local] = {
            r.name: self.arena.local(f"later {r.name}", r.axes, r.kind) for r in self.graph.registers if _smooth(r.kind)
        }
        self.rules = Rules(self.arena, self.doubled)

    # -- names -------------------------------------------------------------------------------------------------

    def fresh(self, wish: str) -> str:
        name = free_name(wish, self.taken)
        self.taken.add(name)
        return name

    def new_axis(self, wish: str, size: Node) -> str:
        return new_axis(self.arena, self.axes, wish, size)

    def doubled(self, axis: str) -> str:
        base = n.base_axis(axis)
        size = self.arena.mul(self.arena.const(2), self.arena.size(base))
        return next((a.name for a in self.axes if a.size is size), None) or self.new_axis(f"{base}_twice", size)

    # -- the derivation ----------------------------------------------------------------------------------------

    def derive(self) -> Adjoint:
        graph, ar = self.graph, self.arena
        cotangents: dict[str, str] = {}
        ports: list[Port] = []
        for o in (o for o in graph.outputs if _smooth(o.kind)):
            cotangents[o.name] = self.fresh(f"d_{o.name}")
            ports.append(Port(cotangents[o.name], o.axes, o.kind))
            self.add(o.value, ar.input(cotangents[o.name], o.axes, o.kind))
        for r in graph.registers:
            if r.name in self.placeholder and _smooth(r.source.kind):
                self.add(r.source, self.placeholder[r.name])
        for node in reversed(n.postorder(graph.roots)):
            if node in self.cotangent:
                self.visit(node, self.cotangent[node])
        whole = [r for r in graph.registers if r.depth == ONE_STEP and r.name in self.placeholder]
        states = {r.name: self.read(r, 1) for r in whole}
        for r in graph.registers:
            for node in self.reads_of_one(r):
                if r.name not in states or node.steps > 1:
                    self.read(r, node.steps)
        inputs, outputs = self.gradients()
        params = self.totals()
        found = Adjoint(
            graph, graph, cotangents, inputs, params, states, self.lines, self.pasts, self.constants
        )  # fmt: skip
        return self.finished(ports, outputs, found)

    def add(self, node: Node, cot: Node) -> None:
        """One more part of a node's cotangent."""
        cot = self.rules.fitted(cot, node)
        if _nothing(cot):
            return
        known = self.cotangent.get(node)
        self.cotangent[node] = cot if known is None else self.arena.add(known, cot)

    def visit(self, node: Node, cot: Node) -> None:
        ar = self.arena
        ar.span = ar.spans.get(node)
        if node in ar.labels and cot not in ar.labels and not isinstance(cot, n.Input | n.Local):
            ar.labels[cot] = f"d_{ar.labels[node]}"
        if isinstance(node, n.Window | n.History):
            self.window(node, cot)
        else:
            for x, part in self.rules.operands(node, cot):
                self.add(x, part)
        ar.span = None

    def reads_of_one(self, r: Register) -> list[n.Read]:
        found = [x for x in self.cotangent if isinstance(x, n.Read) and x.register == r.name]
        return sorted(found, key=lambda x: x.steps)

    def read(self, r: Register, steps: int) -> str:
        """The register that takes the cotangent of a read of `r` back to where the value was made."""
        node = self.arena.read(r.name, r.axes, r.kind, steps)
        cot = self.cotangent.get(node, self.arena.const(0.0))
        state = r.origin == "state"
        name = self.fresh(f"d_{r.name}") if state else self.fresh(f"{_back(r)}.d_{_rest(r.name)}")
        source = self.arena.cast(cot, r.kind)
        self.register(name, r.axes, r.kind, source, not r.reverse, Depth(steps), state)
        self.later[r.name].append(self.arena.read(name, r.axes, r.kind, steps))
        return name

    def register(
        self, name: str, axes: Axes, kind: Kind, source: Node, reverse: bool, depth: Depth, state: bool
    ) -> Register:
        origin = "state" if state else "next" if reverse else "prev"
        made = Register(name, axes, kind, self.arena.const(0.0), source, reverse, depth, origin)  # type: ignore[arg-type]
        self.registers.append(made)
        return made

    # -- windows -----------------------------------------------------------------------------------------------

    def window(self, node: n.Window | n.History, cot: Node) -> None:
        ar, axis = self.arena, node.axis
        r = self.graph.register[node.register]
        for term in _terms(ar, cot):
            weight, signal = self.split(term, axis)
            if signal is None:
                self.along(r, node, term)
                continue
            name = self.fresh(f"{_back(r)}.d_{_rest(r.name)}")
            held = self.register(name, signal.axes, signal.kind, signal, not r.reverse, Depth(0, axis), False)
            back: Node
            if isinstance(node, n.History):
                back = ar.history(name, axis, signal, held.axes, held.kind)
            else:
                current = signal if node.current is not None else None
                back = ar.window(name, axis, held.axes, held.kind, current)
            part = ar.contract(weight, back, (axis,))
            if node.current is not None:
                self.add(node.current, part)
            else:
                self.later[r.name].append(self.rules.fitted(part, self.placeholder[r.name]))

    def split(self, cot: Node, axis: str) -> tuple[Node, Node | None]:
        """A cotangent as weights, the same at every step, times a signal without the axis; None where it is not."""
        if axis not in cot.axes:
            return self.arena.broadcast(self.arena.const(1.0), (axis,)), cot
        if isinstance(cot, n.Map) and cot.op == "mul":
            for x, y in (cot.args, cot.args[::-1]):
                if not _varies(x) and axis in x.axes and axis not in y.axes:
                    return x, y
                weight, signal = self.split(y, axis) if axis in y.axes else (y, None)
                if signal is None:
                    continue
                if not _varies(x):
                    return self.arena.mul(x, weight), signal
                if axis not in x.axes:
                    return weight, self.arena.mul(x, signal)
        return cot, None

    def along(self, r: Register, node: n.Window | n.History, cot: Node) -> None:
        """A window weighed anew at every step: what comes to each of its places moves with them."""
        ar, axis = self.arena, node.axis
        cot = cot if axis in cot.axes else ar.broadcast(cot, (*cot.axes, axis))
        axes = ar.sorted_axes((*r.axes, axis))
        name = self.fresh(f"d_{_rest(r.name)}_line")
        step = 1 if isinstance(node, n.History) else -1
        held = ar.read(name, axes, r.kind)
        source = ar.add(cot, ar.shift(held, axis, step))
        self.register(name, axes, r.kind, source, not r.reverse, Depth(1), True)
        if node.current is None:
            self.later[r.name].append(ar.pick(held, axis, 0))
        else:
            self.add(node.current, ar.pick(source, axis, -1 if isinstance(node, n.History) else 0))

    # -- what comes out ----------------------------------------------------------------------------------------

    def gradients(self) -> tuple[dict[str, str], list[Output]]:
        ar = self.arena
        names: dict[str, str] = {}
        outputs: list[Output] = []
        for p in (p for p in self.graph.inputs if _smooth(p.kind)):
            cot = self.cotangent.get(ar.input(p.name, p.axes, p.kind), ar.const(0.0))
            names[p.name] = self.fresh(f"d_{p.name}")
            outputs.append(Output(names[p.name], p.axes, p.kind, ar.broadcast(ar.cast(cot, p.kind), p.axes)))
        return names, outputs

    def totals(self) -> dict[str, str]:
        """A running sum for every param that the step reads. A state is never square: columns get an axis."""
        ar = self.arena
        names: dict[str, str] = {}
        reverse = not any(r.reverse for r in self.graph.registers)
        for p in (p for p in self.graph.params if _smooth(p.kind)):
            cot = self.cotangent.get(ar.param(p.name, p.axes, p.kind))
            if cot is None:
                continue
            columns = {a: self.column(a) for a in p.axes if a != n.base_axis(a)}
            axes = tuple(columns.get(a, a) for a in p.axes)
            names[p.name] = self.fresh(f"d_{p.name}")
            before = ar.read(names[p.name], axes, p.kind)
            self.register(names[p.name], axes, p.kind, ar.add(before, ar.rename(cot, columns)), reverse, Depth(1), True)
        return names

    def column(self, axis: str) -> str:
        size = self.arena.size(n.base_axis(axis))
        found = next((a.name for a in self.axes if a.size is size and a not in self.graph.axes), None)
        return found or self.new_axis(f"{n.base_axis(axis)}_column", size)

    def finished(self, ports: list[Port], outputs: list[Output], found: Adjoint) -> Adjoint:
        """The graph, with what comes from other steps in its places, and without what nothing needs."""
        graph, ar = self.graph, self.arena
        whole = {self.placeholder[r]: ar.total(parts) for r, parts in self.later.items() if r in self.placeholder}
        roots = [r.source for r in self.registers] + [o.value for o in outputs]
        new = ar.substitute(roots, lambda node: whole.get(node) if isinstance(node, n.Local) else None)
        values = dict(zip(roots, new, strict=True))
        made = [replace(r, source=ar.cast(values[r.source], r.kind)) for r in self.registers]
        outputs = [replace(o, value=ar.broadcast(ar.cast(values[o.value], o.kind), o.axes)) for o in outputs]
        needed = {r.name for r in made}
        todo = [*(r.source for r in made), *(o.value for o in outputs)]
        while todo:
            reached = {r for x in n.postorder(todo) for r in reads_of(x)} - needed
            needed |= reached
            todo = [graph.register[r].source for r in reached]
        registers = (*(r for r in graph.registers if r.name in needed), *made)
        inside = n.postorder(
            [*(r.source for r in registers), *(r.init for r in registers), *(o.value for o in outputs)]
        )
        read = {x.name for x in inside if isinstance(x, n.Input | n.Param)}
        derived = replace(
            graph,
            name=f"{graph.name}_adjoint",
            axes=tuple(self.axes),
            inputs=tuple(p for p in (*graph.inputs, *ports) if p.name in read or p in ports),
            params=tuple(replace(p, default=None) for p in graph.params if p.name in read),
            registers=registers,
            outputs=tuple(outputs),
            names=(),
        )
        verify(derived, "adjoint")
        return replace(found, graph=derived)


def _smooth(kind: Kind) -> bool:
    return kind in ("real", "complex")


def _nothing(cot: Node) -> bool:
    return isinstance(cot, n.Const) and cot.value == 0


def _varies(node: Node) -> bool:
    return any(isinstance(x, n.Input | n.Time | n.Local) or reads_of(x) for x in n.postorder([node]))


def _terms(ar: Arena, cot: Node) -> list[Node]:
    """The addends of a cotangent."""
    match cot:
        case n.Map(op="add", args=(x, y)):
            return [*_terms(ar, x), *_terms(ar, y)]
        case n.Map(op="neg", args=(x,)):
            return [ar.mul(ar.const(-1.0), t) for t in _terms(ar, x)]
        case _:
            return [cot]


def _back(r: Register) -> str:
    """What the register that runs the other way is called: it looks ahead where `r` looks back."""
    return "prev" if r.reverse else "next"


def _rest(name: str) -> str:
    """A register's name without what asked for it: `x` of `conv.x`."""
    return name.partition(".")[2] or name
