"""A plan to a kernel program: each pass as a chunk loop, each component by the lowering of its form.

What the plan guarantees: every chosen form is legal. Outside the cycle of a recurrent component every expression of a
step is evaluated for a whole tile of time at once: its leaves become tiles, nothing else changes. So a lowering only
says what stands for the component's own values: a scratch filled by an inner loop (recurrent), a prefix (scan), or
readouts computed without the states (chunked, conv).

    step:  h = exp(-d * A) * h + d * B * u          recurrent, chunk 64:   a = exp(-d * A)       tile
           y = C . h                                                       b = d * B * u         tile
                                                                           for step: h = a h + b; store h
                                                                           y = sum(C * h_all)    tile
"""

from __future__ import annotations

from collections.abc import Callable

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Local, Node
from ssmc.kernel import nodes as k
from ssmc.kernel.naming import Names, finish
from ssmc.kernel.schedule import Sweep, sweeps
from ssmc.plan.nodes import Plan
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.step.nodes import Register


def entry_axes(register: Register) -> Axes:
    """Dimensions of a register's entry in the state dictionary: a delay line has `lag`, oldest first."""
    return (n.BATCH, *register.axes) if has_no_lag(register) else (n.BATCH, n.LAG, *register.axes)


def has_no_lag(register: Register) -> bool:
    return register.origin == "state" or register.depth.steps == 0 and not register.depth.unbounded


class Tiles:
    """The values of one pass: step-graph expressions as expressions over tiles.

    `values` overrides any expression (a component's readouts, imports from earlier passes).
    """

    def __init__(self, analysis: Analysis, names: Names, ports: dict[str, str], timed: bool) -> None:
        self.analysis = analysis
        self.graph = graph = analysis.graph
        self.arena: Arena = graph.arena
        self.names = names
        self.ports = ports  # an input's or a param's name -> its buffer's
        self.time: Axes = (n.TIME,) if timed else ()
        self.values: dict[Node, Node] = {}
        self.carries: dict[str, Local] = {}  # register -> its carry of the chunk loop
        self.trajectory: dict[str, Node] = {}  # register -> its source as a tile
        self.statements: list[k.Statement] = []
        self.sets: list[k.Set] = []
        self.scratch: list[k.Buffer] = []

    def tile(self, node: Node) -> Node:
        """`node` over the tile."""
        return self.arena.substitute([node], self._leaf)[0]

    def let(self, name: str, value: Node, origin: Node | None = None) -> Local:
        local = self.arena.local(self.names.fresh(name), value.axes, value.kind)
        span = self.graph.span_of(origin) if origin is not None else None
        self.statements.append(k.Let(local, value, span))
        return local

    def _leaf(self, node: Node) -> Node | None:
        if node in self.values:
            return self.values[node]
        ar = self.arena
        match node:
            case n.Input(name=name, axes=axes, kind=kind):
                new: Node = ar.load(self.ports[name], (n.BATCH, *self.time, *axes), kind)
            case n.Param(name=name, axes=axes, kind=kind):
                new = ar.load(self.ports[name], axes, kind)
            case n.Time():
                new = ar.load("t", self.time, "int")
            case n.Read(register=name, steps=steps):
                new = self._read(self.graph.register[name], steps)
            case n.Window(register=name, axis=axis, current=current):
                skip = 0 if current is not None else 1
                new = self._frames(name, axis, skip, oldest_first=False)
            case n.History(register=name, axis=axis, current=current):
                if self.graph.register[name].depth.unbounded:
                    if self.time:
                        raise CompilerBug(f"the whole past of {name} is read in a tile of the pass that computes it")
                    new = ar.append(self._source(name), self.carries[name], axis)
                else:
                    new = self._frames(name, axis, 0, oldest_first=True)
            case _:
                return None
        if node in ar.labels:
            ar.labels.setdefault(new, ar.labels[node])
        self.values[node] = new
        return new

    def _source(self, name: str) -> Node:
        if name not in self.trajectory:
            self.trajectory[name] = self.tile(self.graph.register[name].source)
        return self.trajectory[name]

    def _read(self, register: Register, steps: int) -> Node:
        ar, halo = self.arena, self.carries[register.name]
        if self.time:
            return ar.lag(self.timed(self._source(register.name)), halo, steps)
        return halo if n.LAG not in halo.axes else ar.pick(halo, n.LAG, -steps)

    def _frames(self, name: str, axis: str, skip: int, oldest_first: bool) -> Node:
        arg = self._source(name) if self.time or skip == 0 else self.arena.const(0)
        halo = self.carries[name]
        if self.time:
            arg = self.timed(arg)
        elif skip == 1:
            arg = self.arena.pick(halo, n.LAG, -1)  # not used: a frame that skips this step
        return self.arena.frames(arg, halo, axis, skip, oldest_first)

    def timed(self, value: Node) -> Node:
        """A tile with `time`, also where the value is the same at every step."""
        if n.TIME in value.axes:
            return value
        return self.arena.broadcast(value, (n.TIME, *value.axes))

    def advance(self, register: Register) -> None:
        """The next value of a delay line's carry."""
        ar, carry = self.arena, self.carries[register.name]
        source = self._source(register.name)
        if n.LAG in carry.axes:
            new: Node = ar.tail(self.timed(source) if self.time else source, carry)
        elif self.time and n.TIME in source.axes:
            new = ar.pick(source, n.TIME, -1)
        else:
            new = source
        self.sets.append(k.Set(carry, new, register.span))


Lowering = Callable[[Tiles, Component, int], None]


def lower(plan: Plan) -> k.Program:
    """The kernel program of a plan."""
    from ssmc.kernel.forms import LOWERINGS

    graph = plan.analysis.graph
    ar = graph.arena
    names = Names(a.name for a in graph.axes)
    ports = {p.name: names.fresh(p.name) for p in (*graph.inputs, *graph.params)}
    reserved = [*ports.values(), *(x.name for x in (*graph.outputs, *graph.axes))]
    buffers: list[k.Buffer] = [
        *(k.Buffer(ports[p.name], (n.BATCH, n.TIME, *p.axes), p.kind, "input", p.name) for p in graph.inputs),
        *(k.Buffer(ports[p.name], p.axes, p.kind, "param", p.name) for p in graph.params),
        *(
            k.Buffer(names.fresh(f"state_{r.name}"), entry_axes(r), r.kind, "state", r.name, r.depth)
            for r in graph.registers
        ),
        *(k.Buffer(names.fresh(o.name), (n.BATCH, n.TIME, *o.axes), o.kind, "output", o.name) for o in graph.outputs),
        k.Buffer("t", (n.TIME,), "int", "time"),
    ]
    state_buffer = {b.entry: b for b in buffers if b.role == "state"}
    output_buffer = {b.entry: b for b in buffers if b.role == "output"}
    workspaces: dict[Node, k.Buffer] = {}

    passes: list[k.Pass] = []
    for sweep in sweeps(plan):
        tiles = Tiles(plan.analysis, names, ports, timed=True)
        before: list[k.Statement] = []
        for node in sweep.imports:
            ws = workspaces[node]
            tiles.values[node] = ar.load(ws.name, ws.axes, ws.kind)
        for h in sweep.histories:
            r = graph.register[h.register]
            ws, st = workspaces[r.source], state_buffer[r.name]
            whole = ar.append(ar.load(ws.name, ws.axes, ws.kind), ar.load(st.name, st.axes, st.kind), h.axis)
            local = ar.local(names.fresh(r.name), whole.axes, whole.kind)
            before.append(k.Let(local, whole, r.span))
            tiles.values[h] = local
        carries: list[k.Carry] = []
        for component, _ in sweep.components:
            for name in component.registers:
                if graph.register[name].depth.unbounded and not component.recurrent:
                    continue
                st = state_buffer[name]
                carry = ar.local(names.fresh(name), st.axes, st.kind)
                tiles.carries[name] = carry
                carries.append(k.Carry(carry, ar.load(st.name, st.axes, st.kind)))
        for component, choice in sweep.components:
            if component.recurrent:
                LOWERINGS[choice.form](tiles, component, choice.chunk)
            else:
                for name in component.registers:
                    if name in tiles.carries:
                        tiles.advance(graph.register[name])
        body = tiles.statements
        buffers.extend(tiles.scratch)
        for node in sweep.exports:
            value = tiles.tile(node)
            axes = (n.BATCH, n.TIME, *node.axes)
            ws = k.Buffer(names.fresh(ar.labels.get(node, "carried")), axes, value.kind, "workspace")
            workspaces[node] = ws
            buffers.append(ws)
            body.append(k.Store(ws.name, value, graph.span_of(node)))
        for output in (o for o in graph.outputs if o.name in sweep.outputs):
            body.append(k.Store(output_buffer[output.name].name, tiles.tile(output.value), output.span))
        body.extend(tiles.sets)
        final = [k.Store(state_buffer[r].name, c) for r, c in tiles.carries.items()]
        for component, _ in sweep.components:
            for name in component.registers:
                r = graph.register[name]
                if r.depth.unbounded and not component.recurrent:
                    ws, st = workspaces.get(r.source), state_buffer[name]
                    if ws is None:
                        raise CompilerBug(f"the past of {name} was not exported")
                    grown = ar.append(ar.load(ws.name, ws.axes, ws.kind), ar.load(st.name, st.axes, st.kind), n.LAG)
                    final.append(k.Store(st.name, grown))
        loop = k.For(sweep.chunk, sweep.reverse, tuple(carries), tuple(body), recompute=bool(carries) and sweep.chunk > 0)
        passes.append(k.Pass(_title(sweep), tuple(before), loop, tuple(final)))
    program = k.Program(
        graph.name, graph, ar, tuple(buffers), (), tuple(passes),
        tuple((r.name, Tiles(plan.analysis, Names(()), ports, timed=False).tile(r.init)) for r in graph.registers),
        () if any(r.reverse for r in graph.registers) else _step(plan, Names(reserved), ports, state_buffer, output_buffer),
        _header(plan),
    )
    return finish(program, names)


def _step(plan: Plan, names: Names, ports: dict[str, str], states: dict[str, k.Buffer],
          outputs: dict[str, k.Buffer]) -> tuple[k.Statement, ...]:
    graph = plan.analysis.graph
    tiles = Tiles(plan.analysis, names, ports, timed=False)
    for r in graph.registers:
        st = states[r.name]
        tiles.carries[r.name] = graph.arena.load(st.name, st.axes, st.kind)  # type: ignore[assignment]
    stores: list[k.Statement] = []
    for o in graph.outputs:
        stores.append(k.Store(outputs[o.name].name, tiles.tile(o.value), o.span))
    for component in plan.analysis.components:
        for name in component.registers:
            r = graph.register[name]
            source = tiles.tile(r.source)
            entry = tiles.carries[name]
            if r.depth.unbounded:
                new: Node = graph.arena.append(source, entry, n.LAG)
            elif n.LAG in entry.axes:
                new = graph.arena.tail(source, entry)
            else:
                new = source
            stores.append(k.Store(states[name].name, new, r.span))
    return tuple(stores)


def _title(sweep: Sweep) -> str:
    what = ", ".join(
        f"{', '.join(c.registers)}: {choice.form}" if c.recurrent else f"{', '.join(c.registers)}: delay"
        for c, choice in sweep.components
    )
    direction = "from the last step to the first" if sweep.reverse else "over time"
    chunks = f"in chunks of {sweep.chunk}" if sweep.chunk else "at once"
    return f"{direction}, {chunks}" + (f" ({what})" if what else "")


def _header(plan: Plan) -> tuple[str, ...]:
    lines = []
    for component, choice in zip(plan.analysis.components, plan.choices, strict=True):
        if component.recurrent:
            lines.append(f"{', '.join(component.registers)}: {choice.form}. {choice.why}")
    return tuple(lines)
