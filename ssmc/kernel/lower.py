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
from ssmc.expr.words import describe
from ssmc.kernel import nodes as k
from ssmc.kernel.naming import Names, finish, size_names
from ssmc.kernel.projections import widest
from ssmc.kernel.regroup import regroup_products
from ssmc.kernel.schedule import FREE, NOTHING, Given, Schedule, Sweep, unbounded
from ssmc.kernel.verify import verify
from ssmc.plan.nodes import Choice, Plan
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.telescope import Telescope, step_of
from ssmc.source import Span
from ssmc.step.nodes import Depth, Register, StepGraph


def entry_axes(register: Register) -> Axes:
    """Dimensions of a register's entry in the state dictionary: a delay line has `lag`, oldest first."""
    if register.origin == "state":
        return (n.BATCH, *register.axes)
    return (n.BATCH, n.LAG, *(a for a in register.axes if a != register.line))


def carry_from(ar: Arena, register: Register, entry: Node, recurrent: bool) -> Node:
    """What a loop carries, from the entry: a line that became a state lies along its own axis, newest first; a line of
    one step in a cycle is the step itself."""
    if register.line is not None:
        return ar.flip(ar.rename(entry, {n.LAG: register.line}), register.line)
    if recurrent and n.LAG in entry.axes and register.depth == Depth(1):
        return ar.pick(entry, n.LAG, -1)
    return entry


def entry_from(ar: Arena, register: Register, carry: Node) -> Node:
    """The entry, from what a loop carried (a missing `lag` is one step)."""
    if register.line is not None:
        return ar.rename(ar.flip(carry, register.line), {register.line: n.LAG})
    return carry


def saved_axes(register: Register, given: Given) -> Axes:
    """Dimensions of a saved register for one chunk: those of its entry, also where it is a line no longer."""
    line = given.lines.get(register.name)
    if line is None:
        return entry_axes(register)
    return (n.BATCH, n.LAG, *(a for a in register.axes if a != line))


def saved_depth(register: Register, given: Given) -> Depth:
    """The steps that a saved register holds: of a line that is one no longer, as many as the axis it lies along."""
    line = given.lines.get(register.name)
    return register.depth if line is None else Depth(0, line)


def saved_every(schedule: Schedule, saves: frozenset[str]) -> int:
    """The steps between the states that are stored."""
    (chunk,) = {s.chunk for s in schedule.sweeps for c in s.homes if saves & set(c.registers)}
    return chunk


class Tiles:
    """The values of one pass: step-graph expressions as expressions over tiles.

    `values` overrides any expression (a component's readouts, imports from earlier passes).
    """

    def __init__(
        self,
        analysis: Analysis,
        names: Names,
        ports: dict[str, str],
        timed: bool,
        import_value: Callable[[Node], Node | None] = lambda node: None,
    ) -> None:
        self.analysis = analysis
        self.graph = graph = analysis.graph
        self.arena: Arena = graph.arena
        self.names = names
        self.import_value = import_value  # a value of an earlier pass, or None
        self.ports = ports  # an input's or a param's name -> its buffer's
        self.time: Axes = (n.TIME,) if timed else ()
        self.values: dict[Node, Node] = {}
        self.carries: dict[str, Node] = {}  # register -> its carry of the chunk loop
        self.trajectory: dict[str, Node] = {}  # register -> its source as a tile
        self.statements: list[k.Statement] = []
        self.sets: list[k.Set] = []
        self.scratch: list[k.Buffer] = []
        self.resumed: set[str] = set()  # registers whose carries are handed in, chunk by chunk
        self.ends: dict[str, Node] = {}  # of those, the value with which the next chunk begins

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
        imported = self.import_value(node)
        if imported is not None:
            self.values[node] = imported
            return imported
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
            arg = self.turned(self.timed(self._source(register.name)), register.reverse)
            return self.turned(ar.lag(arg, halo, steps), register.reverse)
        return halo if n.LAG not in halo.axes else ar.pick(halo, n.LAG, -steps)

    def _frames(self, name: str, axis: str, skip: int, oldest_first: bool) -> Node:
        arg = self._source(name) if self.time or skip == 0 else self.arena.const(0)
        halo, reverse = self.carries[name], self.graph.register[name].reverse
        if self.time:
            arg = self.turned(self.timed(arg), reverse)
        elif skip == 1:
            arg = self.arena.pick(halo, n.LAG, -1)  # not used: a frame that skips this step
        return self.turned(self.arena.frames(arg, halo, axis, skip, oldest_first), reverse)

    def turned(self, value: Node, reverse: bool) -> Node:
        """A tile from the order of time into that of a direction, or back."""
        return self.arena.flip(value, n.TIME) if reverse and n.TIME in value.axes else value

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
            new: Node = ar.tail(self.turned(self.timed(source), register.reverse) if self.time else source, carry)
        elif self.time and n.TIME in source.axes:
            new = ar.pick(source, n.TIME, 0 if register.reverse else -1)
        else:
            new = source
        self.carry_on(register, new)

    def carry_on(self, register: Register, value: Node) -> None:
        """The value with which the next chunk begins."""
        if register.name in self.resumed:
            self.ends[register.name] = value
            return
        carry = self.carries[register.name]
        if not isinstance(carry, Local):
            raise CompilerBug(f"{register.name} is carried outside a loop")
        self.sets.append(k.Set(carry, value, register.span))


class _Rerun(Tiles):
    """The values of a pass, in the chunks of a later one: they begin with what that pass carried, and carry nothing."""

    def __init__(self, of: Tiles, import_value: Callable[[Node], Node | None]) -> None:
        super().__init__(of.analysis, of.names, of.ports, True, import_value)

    def carry_on(self, register: Register, value: Node) -> None:
        pass


class InOrder:
    """The tiles of a component in the order in which it runs: its last step is its last, in either direction."""

    def __init__(self, tiles: Tiles, component: Component) -> None:
        self.tiles, self.reverse = tiles, component.reverse
        self.analysis, self.graph, self.arena, self.carries = tiles.analysis, tiles.graph, tiles.arena, tiles.carries

    def tile(self, node: Node) -> Node:
        return self.tiles.turned(self.tiles.tile(node), self.reverse)

    def timed(self, value: Node) -> Node:
        return self.tiles.timed(value)

    def let(self, name: str, value: Node, origin: Node | None = None) -> Local:
        return self.tiles.let(name, value, origin)

    def give(self, node: Node, name: str, value: Node) -> Node:
        """What stands for an expression of the step graph from here on, by a name; in the order of time."""
        named = self.tiles.let(name, self.tiles.turned(value, self.reverse), node)
        self.tiles.values[node] = named
        return named

    def carry_on(self, register: Register, value: Node) -> None:
        self.tiles.carry_on(register, value)


HOLDS_STATES = ("recurrent", "scan")  # the forms that have the state of every step of a chunk

Lowering = Callable[[Tiles, Component, int], None]


def lower(plan: Plan, saves: frozenset[str] = frozenset(), given: Given = NOTHING) -> k.Program:
    """The kernel program of a plan, verified.

    It stores the registers of `saves` at the beginning of each chunk, and goes on from those that are `given` so
    (pair.py says which).
    """
    from ssmc.kernel.forms import LOWERINGS

    graph = plan.analysis.graph
    ar = graph.arena
    lengths = size_names(a.name for a in graph.axes)
    names = Names(lengths)
    ports = {p.name: names.fresh(p.name) for p in (*graph.inputs, *graph.params)}
    reserved = [*ports.values(), *(o.name for o in graph.outputs), *lengths]
    buffers: list[k.Buffer] = [
        *(k.Buffer(ports[p.name], (n.BATCH, n.TIME, *p.axes), p.kind, "input", p.name) for p in graph.inputs),
        *(k.Buffer(ports[p.name], p.axes, p.kind, "param", p.name) for p in graph.params),
        *(
            k.Buffer(names.fresh(f"state_{r.name}"), entry_axes(r), r.kind, "state", r.name, r.depth)
            for r in graph.registers
            if r.name not in given.registers
        ),
        *(
            k.Buffer(names.fresh(f"{entry}_start"), saved_axes(r, given), r.kind, "saved", entry, saved_depth(r, given))
            for entry, r in _handed_over(graph, saves, given).items()
        ),
        *(k.Buffer(names.fresh(o.name), (n.BATCH, n.TIME, *o.axes), o.kind, "output", o.name) for o in graph.outputs),
        k.Buffer("t", (n.TIME,), "int", "time"),
    ]
    state_buffer = {b.entry: b for b in buffers if b.role == "state"}
    output_buffer = {b.entry: b for b in buffers if b.role == "output"}
    schedule = Schedule(plan, given)
    drafts: list[_Draft] = []
    for sweep in schedule.sweeps:
        draft = _Draft(plan, sweep, schedule, drafts, names, ports, buffers)
        drafts.append(draft)
        draft.compute(LOWERINGS)
        for output in (o for o in graph.outputs if o.name in sweep.outputs):
            draft.store(output_buffer[output.name].name, output.value, output.span)
    passes = [p for p in (d.finish() for d in drafts) if p.loop.body or p.final]
    program = k.Program(
        graph.name,
        graph,
        ar,
        tuple(buffers),
        (),
        tuple(passes),
        tuple(
            (r.name, Tiles(plan.analysis, Names(()), ports, timed=False).tile(r.init))
            for r in graph.registers
            if r.name in state_buffer
        ),
        ()
        if saves or given.registers or any(r.reverse for r in graph.registers)
        else _step(plan, Names(reserved), ports, state_buffer, output_buffer),
        _header(plan),
        saved_every(schedule, saves) if saves else given.chunk,
    )
    finished = finish(regroup_products(program), names)
    verify(finished)
    return finished


def _handed_over(graph: StepGraph, saves: frozenset[str], given: Given) -> dict[str, Register]:
    """The registers that are saved, or handed in, by the names under which they are."""
    found: dict[str, Register] = {}
    for r in graph.registers:
        entry = r.name if r.name in saves else given.handed_in_as(r.name)
        if entry is not None:
            found.setdefault(entry, r)
    return found


class Apart(Exception):
    """What a running sum begins with is not known in the pass that computes it."""


class _Draft:
    """A pass while it is made. Later passes may still ask it to export a value."""

    def __init__(
        self,
        plan: Plan,
        sweep: Sweep,
        schedule: Schedule,
        earlier: list[_Draft],
        names: Names,
        ports: dict[str, str],
        buffers: list[k.Buffer],
    ) -> None:
        self.graph, self.arena = plan.analysis.graph, plan.analysis.graph.arena
        self.sweep, self.schedule, self.names, self.buffers = sweep, schedule, names, buffers
        self.states = {b.entry: b for b in buffers if b.role == "state"}
        self.saved = {b.entry: b for b in buffers if b.role == "saved"}
        self.earlier = list(earlier)
        self.tiles = Tiles(plan.analysis, names, ports, True, self.bring)
        self.before: list[k.Statement] = []
        self.stores: list[k.Statement] = []
        self.exported: dict[Node, Node] = {}
        self.boundaries: dict[str, Node] = {}
        self.again: dict[int, Tiles] = {}  # earlier passes that run again inside this one
        self.rank = widest(self.graph)
        self.carries: list[k.Carry] = []
        self.summaries: dict[int, tuple[k.Buffer, ...]] = {}  # by component: what its chunks do
        for component, _ in sweep.components:
            for name in component.registers:
                if self._grows_aside(component, name):
                    continue
                if schedule.resumes(component):
                    self.tiles.resumed.add(name)
                    names.fresh(name)  # as a carry would have it: its value at a step is called after it
                    if name in schedule.starts_of:
                        self.tiles.carries[name] = earlier[schedule.starts_of[name]].boundary(name)
                    elif name not in schedule.given.sums:
                        self.tiles.carries[name] = self._handed_in(component, name)
                    continue
                self._carry(component, name)
        for component in sweep.starts:
            for name in component.registers:
                self._carry(component, name)

    def _carry(self, component: Component, name: str) -> None:
        """A register goes from chunk to chunk."""
        st = self.states[name]
        entry = self.arena.load(st.name, st.axes, st.kind)
        init = carry_from(self.arena, self.graph.register[name], entry, component.recurrent)
        carry = self.arena.local(self.names.fresh(name), init.axes, init.kind)
        self.tiles.carries[name] = carry
        self.carries.append(k.Carry(carry, init))

    def _handed_in(self, component: Component, name: str) -> Node:
        """What this chunk begins with, of a given register."""
        ar, given = self.arena, self.schedule.given
        saved = self.saved[given.handed_in_as(name) or name]
        entry = ar.load(saved.name, saved.axes, saved.kind)
        if name in given.lines:
            return ar.flip(ar.rename(entry, {n.LAG: given.lines[name]}), given.lines[name])
        return carry_from(ar, self.graph.register[name], entry, component.recurrent)

    def _grows_aside(self, component: Component, name: str) -> bool:
        """Whether a register is a whole past outside a cycle: its entry is the entry before and the sequence."""
        return self.graph.register[name].depth.unbounded and not component.recurrent

    def compute(self, lowerings: dict[str, Lowering]) -> None:
        from ssmc.kernel.segments import lower_starts, lower_summaries

        self.lowerings = lowerings
        for component, choice in self.sweep.components:
            telescope = self.schedule.given.sums.get(component.registers[0])
            if telescope is not None:
                self._running_sum(telescope)
                continue
            if component.recurrent:
                lowerings[choice.form](self.tiles, component, choice.chunk)
                continue
            for name in component.registers:
                if name in self.tiles.carries.keys() - self.tiles.resumed:
                    self.tiles.advance(self.graph.register[name])
        for component in self.sweep.summaries:
            self.summaries[component.index] = made = lower_summaries(self.tiles, component)
            self.buffers.extend(made)
        for component in self.sweep.starts:
            made = next(d.summaries[component.index] for d in self.earlier if component.index in d.summaries)
            lower_starts(self.tiles, component, made)

    def _running_sum(self, telescope: Telescope) -> None:
        """A sum of readouts, which begins anew where the chunk ends: there the two states are known."""
        tiles, ar, register = self.tiles, self.arena, self.graph.register[telescope.sum]
        if telescope.state not in tiles.ends or telescope.cotangent not in tiles.carries.keys() - tiles.resumed:
            raise Apart(telescope.sum)
        ends = tiles.ends[telescope.state], tiles.carries[telescope.cotangent]
        end = tiles.let(f"{register.name}_end", ar.contract(*ends, telescope.over))
        steps = tiles.timed(tiles.tile(step_of(self.graph, telescope)))
        total = ar.add(end, ar.cumulative("sum", steps, n.TIME, reverse=register.reverse))
        tiles.carries[register.name] = end
        tiles.trajectory[register.name] = tiles.values[register.source] = tiles.let(f"{register.name}_all", total)

    def bring(self, node: Node) -> Node | None:
        """`node` from an earlier pass, if it belongs to one."""
        if isinstance(node, n.History) and unbounded(self.graph, node) and node.register not in self.tiles.carries:
            register = self.graph.register[node.register]
            source = self._whole(register.source)
            st = self.states[register.name]
            whole = self.arena.append(source, self.arena.load(st.name, st.axes, st.kind), node.axis)
            local = self.arena.local(self.names.fresh(f"{node.register}_whole"), whole.axes, whole.kind)
            self.before.append(k.Let(local, whole, register.span))
            return local
        return self._import(node, self.sweep.index)

    def _import(self, node: Node, before: int) -> Node | None:
        at = self.schedule.stage(node)
        if not FREE < at < before or not self.schedule.crosses(node):
            return None
        if self._runs_again(self.earlier[at], node):
            return self._again(at).tile(node)
        return self.earlier[at].export(node)

    def _runs_again(self, other: _Draft, node: Node) -> bool:
        """Whether a value of another pass is computed anew in each chunk: it is wider than what the caller holds."""
        same = 0 < other.sweep.chunk == self.sweep.chunk
        whole = any(self.graph.register[r].depth.unbounded for c, _ in other.sweep.components for r in c.registers)
        states = all(choice.form in HOLDS_STATES for c, choice in other.sweep.components if c.recurrent)
        return same and states and not whole and len(node.axes) > self.rank

    def _again(self, at: int) -> Tiles:
        """An earlier pass inside the chunks of this one, from the states with which they began there."""
        if at not in self.again:
            other = self.earlier[at]
            tiles = _Rerun(other.tiles, lambda node: self._import(node, at))
            tiles.statements, tiles.scratch = self.tiles.statements, self.tiles.scratch
            tiles.carries = {name: other.boundary(name) for name in other.tiles.carries}
            self.again[at] = tiles
            for component, choice in other.sweep.components:
                if component.recurrent:
                    self.lowerings[choice.form](tiles, component, choice.chunk)
        return self.again[at]

    def boundary(self, register: str) -> Node:
        """A register's value at the beginning of this chunk, for later passes."""
        carry = self.tiles.carries[register]
        if register in self.tiles.resumed:
            return carry
        if register not in self.boundaries:
            b = k.Buffer(self.names.fresh(f"{register}_start"), carry.axes, carry.kind, "boundary")
            self.buffers.append(b)
            self.stores.append(k.Store(b.name, carry))
            self.boundaries[register] = self.arena.load(b.name, b.axes, b.kind)
        return self.boundaries[register]

    def _whole(self, source: Node) -> Node:
        """The whole sequence of a value, which is not this pass's own."""
        at = self.schedule.stage(source)
        return (self.earlier[max(at, 0)] if self.earlier else self).export(source)

    def export(self, node: Node) -> Node:
        if node not in self.exported:
            value = self.tiles.tile(node)
            axes = (n.BATCH, n.TIME, *node.axes)
            ws = k.Buffer(
                self.names.fresh(self.arena.labels.get(node) or describe(value, self.arena)),
                axes,
                value.kind,
                "workspace",
            )
            self.buffers.append(ws)
            self.stores.append(k.Store(ws.name, value, self.graph.span_of(node)))
            self.exported[node] = self.arena.load(ws.name, ws.axes, ws.kind)
        return self.exported[node]

    def store(self, buffer: str, value: Node, span: Span | None) -> None:
        self.stores.append(k.Store(buffer, self.tiles.tile(value), span))

    def finish(self) -> k.Pass:
        carried = {r: c for r, c in self.tiles.carries.items() if r not in self.tiles.resumed}
        entries = {r: entry_from(self.arena, self.graph.register[r], c) for r, c in carried.items()}
        final = [k.Store(self.states[r].name, entry) for r, entry in entries.items()]
        self.stores += [k.Store(self.saved[r].name, entry) for r, entry in entries.items() if r in self.saved]
        for component, _ in self.sweep.components:
            for name in component.registers:
                if self._grows_aside(component, name):
                    st = self.states[name]
                    whole = self.export(self.graph.register[name].source)
                    grown = self.arena.append(whole, self.arena.load(st.name, st.axes, st.kind), n.LAG)
                    final.append(k.Store(st.name, grown))
        self.buffers.extend(self.tiles.scratch)
        body = _needed((*self.tiles.statements, *self.stores, *self.tiles.sets))
        loop = k.For(
            self.sweep.chunk,
            self.sweep.reverse,
            tuple(self.carries),
            body,
            recompute=bool(self.carries) and self.sweep.chunk > 0,
        )
        return k.Pass(_title(self.sweep, self.schedule), tuple(self.before), loop, tuple(final))


def _needed(body: tuple[k.Statement, ...]) -> tuple[k.Statement, ...]:
    """A pass's body without values that nothing in it uses: a component offers more readouts than a plan takes."""
    used: set[str] = set()  # by name: inside the loop of a recurrent form a tile's local stands for one step of it
    kept: list[k.Statement] = []
    for statement in reversed(body):
        match statement:
            case k.Let(target=target):
                makes = {target.name}
            case k.For(carries=carries, body=inside):
                makes = {c.target.name for c in carries} | {s.buffer for s in inside if isinstance(s, k.Store)}
            case _:
                makes = set()
        if makes and not makes & used:
            continue
        read = n.postorder(_values(statement))
        used.update(x.name if isinstance(x, Local) else x.buffer for x in read if isinstance(x, Local | n.Load))
        kept.append(statement)
    return tuple(reversed(kept))


def _values(statement: k.Statement) -> list[Node]:
    match statement:
        case k.Let(value=value) | k.Set(value=value) | k.Store(value=value):
            return [value]
        case k.For(carries=carries, body=body):
            return [c.init for c in carries] + [v for inner in body for v in _values(inner)]
        case _:
            return []


def _step(
    plan: Plan, names: Names, ports: dict[str, str], states: dict[str, k.Buffer], outputs: dict[str, k.Buffer]
) -> tuple[k.Statement, ...]:
    graph = plan.analysis.graph
    tiles = Tiles(plan.analysis, names, ports, timed=False)
    ar = graph.arena
    for component in plan.analysis.components:
        for r in (graph.register[name] for name in component.registers):
            st = states[r.name]
            entry = ar.load(st.name, st.axes, st.kind)
            tiles.carries[r.name] = carry_from(ar, r, entry, component.recurrent)
    stores: list[k.Statement] = []
    for o in graph.outputs:
        stores.append(k.Store(outputs[o.name].name, tiles.tile(o.value), o.span))
    for r in graph.registers:
        source, carry = tiles.tile(r.source), tiles.carries[r.name]
        if r.depth.unbounded:
            new: Node = ar.append(source, carry, n.LAG)
        elif n.LAG in carry.axes:
            new = ar.tail(source, carry)
        else:
            new = entry_from(ar, r, source)
        stores.append(k.Store(states[r.name].name, new, r.span))
    return tuple(stores)


def _title(sweep: Sweep, schedule: Schedule) -> str:
    def how(component: Component, choice: Choice) -> str:
        if component.registers[0] in schedule.given.sums:
            return "sum"
        return (choice.form if component.recurrent else "delay") + (" again" if schedule.resumes(component) else "")

    parts = [(c, how(c, choice)) for c, choice in sweep.components]
    parts += [(c, "summaries") for c in sweep.summaries] + [(c, "from chunk to chunk") for c in sweep.starts]
    what = ", ".join(f"{', '.join(c.registers)}: {does}" for c, does in parts)
    direction = "from the last step to the first" if sweep.reverse else "over time"
    time = f"{direction}, in chunks of {sweep.chunk}" if sweep.chunk else "the whole sequence at once"
    return f"{time} ({what})" if what else time


def _header(plan: Plan) -> tuple[str, ...]:
    lines = []
    for component, choice in zip(plan.analysis.components, plan.choices, strict=True):
        if component.recurrent:
            lines.append(f"{', '.join(component.registers)}: {choice.form}. {choice.why}")
    return tuple(lines)
