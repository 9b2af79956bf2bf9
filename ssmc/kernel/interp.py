"""What a kernel program means: it is run with numpy in double precision, statement by statement.

Expressions are evaluated by `ssmc.expr.evaluate`, which defines every node slowly and plainly; this file says only what
the statements do. A program's outputs and states must equal those of the step graph (`ssmc.step.interp`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arrays import Array, NumpyArrays
from ssmc.expr.evaluate import Evaluator, Named, evaluate, size_of
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.kernel import nodes as k
from ssmc.step.initial import table

State = dict[str, Any]
Saved = Mapping[str, Array]  # a register's name -> its entry at the beginning of each chunk, (batch, chunks, …)


def initial(program: k.Program, params: Mapping[str, Array], sizes: Mapping[str, int], batch: int = 1) -> State:
    """Every entry of the state before the first step, and `t` = 0."""
    run = _Run(program, {}, params, {"t": 0}, sizes, batch, 0)
    return {name: run.entry(name, value) for name, value in program.initial} | {"t": 0}


def sequence(
    program: k.Program,
    inputs: Mapping[str, Array],
    params: Mapping[str, Array],
    state: Mapping[str, Any],
    sizes: Mapping[str, int],
    batch: int,
    length: int,
    saved: Saved | None = None,
) -> tuple[dict[str, Array], State]:
    """All steps: inputs and outputs (batch, length, …) by name; `state` is complete, as `initial` gives it."""
    outputs, new_state, _ = sequence_saving(program, inputs, params, state, sizes, batch, length, saved)
    return outputs, new_state


def sequence_saving(
    program: k.Program,
    inputs: Mapping[str, Array],
    params: Mapping[str, Array],
    state: Mapping[str, Any],
    sizes: Mapping[str, int],
    batch: int,
    length: int,
    saved: Saved | None = None,
) -> tuple[dict[str, Array], State, dict[str, Array]]:
    """`sequence`, and what it saves for another program."""
    run = _Run(program, inputs, params, state, sizes, batch, length)
    for b in program.buffers:
        if b.role == "saved" and saved is not None:
            chunks = range(0, length, program.saving)
            run.boundaries[b.name] = {start: saved[b.entry][:, i] for i, start in enumerate(chunks)}
    run.run(program.once, run.outside())
    for p in program.passes:
        run.one_pass(p)
    outputs = {b.entry: run.arrays[b.name] for b in program.buffers if b.role == "output"}
    made = {b.entry: run.all_chunks(b) for b in program.buffers if b.role == "saved" and saved is None}
    return outputs, run.new_state | {"t": run.t0 + length}, made


def step(
    program: k.Program,
    inputs: Mapping[str, Array],
    params: Mapping[str, Array],
    state: Mapping[str, Any],
    sizes: Mapping[str, int],
    batch: int,
) -> tuple[dict[str, Array], State]:
    """One step: inputs and outputs (batch, …)."""
    run = _Run(program, inputs, params, state, sizes, batch, 1)
    now = run.xp.asarray(run.t0 + 1, "int")
    frame = _Frame({}, {**run.arrays, "t": now}, {a: s for a, s in run.sizes.items() if a != n.TIME})
    run.run(program.step, frame)
    by_role = {
        role: {b.entry: frame.stores[b.name] for b in program.buffers if b.role == role} for role in ("output", "state")
    }
    return by_role["output"], by_role["state"] | {"t": run.t0 + 1}


@dataclass
class _Frame:
    """What names mean where a statement stands: Locals, tiles (or steps) of buffers, sizes."""

    locals: dict[str, Named]
    loads: dict[str, Array]
    sizes: dict[str, int]
    at: int | None = None  # the step inside a loop over the steps
    sets: dict[str, Named] = field(default_factory=dict)
    stores: dict[str, Array] = field(default_factory=dict)


class _Run:
    def __init__(
        self,
        program: k.Program,
        inputs: Mapping[str, Array],
        params: Mapping[str, Array],
        state: Mapping[str, Any],
        sizes: Mapping[str, int],
        batch: int,
        length: int,
    ) -> None:
        self.program, self.xp = program, NumpyArrays()
        self.placing = Evaluator([], self.xp)
        self.buffers = {b.name: b for b in program.buffers}
        self.t0, self.length = int(state["t"]), length
        # the axes of whole pasts, each with the registers that lie along it
        self.growing: dict[str, set[str]] = {}
        for x in n.postorder(program.graph.roots):
            if isinstance(x, n.History) and program.graph.register[x.register].depth.unbounded:
                self.growing.setdefault(x.axis, set()).add(x.register)
        self.sizes = {**sizes, n.BATCH: batch, n.TIME: length, n.LAG: 1}
        self.sizes |= dict.fromkeys(self.growing, self.t0 + length)
        given: dict[str, Mapping[str, Any]] = {"input": inputs, "param": params, "state": state}
        # every buffer that is whole
        self.arrays = {
            b.name: self.xp.asarray(given[b.role][b.entry], b.kind)
            for b in program.buffers
            if b.entry in given.get(b.role, {})
        }
        self.arrays["t"] = self.xp.arange(length) + (self.t0 + 1)
        self.boundaries: dict[str, dict[int, Array]] = {}  # what a chunk began with, by its first step
        self.locals: dict[str, Named] = {}  # those bound outside loops
        self.new_state: State = {}

    def outside(self) -> _Frame:
        return _Frame(self.locals, self.arrays, self.sizes)

    # -- values ----------------------------------------------------------------------------------------------------

    def value(self, node: Node, frame: _Frame) -> Named:
        def leaf(x: Node) -> Named:
            match x:
                case n.Local(name=name):
                    return _at(frame.locals[name], frame.at)
                case n.Load(buffer=buffer):
                    data, axes = frame.loads[buffer], self.buffers[buffer].axes
                    if len(data.shape) < len(axes):  # one token
                        axes = _timeless(axes)
                    return _at(Named(axes, data), frame.at)
                case n.Table(name=name, axes=axes):
                    return Named(axes, self.xp.asarray(table(name, [size_of(a, frame.sizes) for a in axes]), x.kind))
                case _:
                    raise CompilerBug(f"{x!r} in a kernel program")

        return evaluate([node], leaf, self.xp, frame.sizes)[0]

    def full(self, x: Named, axes: Axes, kind: Kind, sizes: Mapping[str, int]) -> Array:
        """x with exactly these dimensions and this kind; the lag of what has none is one step."""
        known = dict(zip(x.axes, x.data.shape, strict=True))
        shape = [known[a] if a in known else size_of(a, sizes) for a in axes]
        return self.xp.cast(self.xp.expand(self.placing.align(x, axes), shape), kind)

    def entry(self, name: str, value: Node) -> Array:
        b = next(b for b in self.program.buffers if b.role == "state" and b.entry == name)
        sizes = dict(self.sizes)
        if b.depth is not None and n.LAG in b.axes:
            along = size_of(b.depth.axis, sizes) if b.depth.axis is not None else 0
            sizes[n.LAG] = 0 if b.depth.unbounded else b.depth.steps + along
        return self.full(self.value(value, self.outside()), b.axes, b.kind, sizes)

    # -- statements ------------------------------------------------------------------------------------------------

    def run(self, body: tuple[k.Statement, ...], frame: _Frame) -> None:
        """The statements in order; what they set and store is left in the frame."""
        for s in body:
            match s:
                case k.Let(target=target, value=value):
                    frame.locals[target.name] = self.value(value, frame)
                case k.Set(target=target, value=value):
                    frame.sets[target.name] = self._carried(self.value(value, frame), target, frame)
                case k.Store(buffer=buffer, value=value):
                    b = self.buffers[buffer]
                    one = frame.at is not None or n.TIME not in frame.sizes
                    axes = _timeless(b.axes) if one else b.axes
                    frame.stores[buffer] = self.full(self.value(value, frame), axes, b.kind, frame.sizes)
                case k.For():
                    self.steps(s, frame)

    def _carried(self, x: Named, target: n.Local, frame: _Frame) -> Named:
        return Named(target.axes, self.full(x, target.axes, target.kind, frame.sizes))

    def one_pass(self, p: k.Pass) -> None:
        self.run(p.before, self.outside())
        loop, steps = p.loop, p.loop.block or max(self.length, 1)
        carries = {c.target.name: self._carried(self.value(c.init, self.outside()), c.target, self.outside())
                   for c in loop.carries}  # fmt: skip
        every = [s.buffer for s in loop.body if isinstance(s, k.Store)]
        stored = [name for name in every if self.buffers[name].role not in ("boundary", "saved")]
        parts: dict[str, list[Array]] = {name: [self._none(self.buffers[name])] for name in stored}
        starts, made = range(0, self.length, steps), dict[str, dict[int, Array]]()
        for start in reversed(starts) if loop.reverse else starts:
            count = min(steps, self.length - start)
            tiles = self._tiles(start, count) | {name: x[start] for name, x in self.boundaries.items() if start in x}
            frame = _Frame({**self.locals, **carries}, tiles, self._tile_sizes(loop, count))
            self.run(loop.body, frame)
            carries = frame.sets
            for name in stored:
                parts[name].append(frame.stores[name])
            for name in set(every) - set(stored):
                made.setdefault(name, {})[start] = frame.stores[name]
        self.boundaries |= made
        for name in stored:
            dim = self.buffers[name].axes.index(n.TIME)
            self.arrays[name] = self.xp.concatenate(parts[name][::-1] if loop.reverse else parts[name], dim)
        frame = _Frame({**self.locals, **carries}, self.arrays, self.sizes)
        self.run(p.final, frame)
        self.new_state |= {self.buffers[name].entry: x for name, x in frame.stores.items()}

    def _tiles(self, start: int, count: int) -> dict[str, Array]:
        """Every buffer, of the sequences a tile."""
        found = dict(self.arrays)
        for name, x in self.arrays.items():
            axes = self.buffers[name].axes
            if n.TIME in axes:
                dim = axes.index(n.TIME)
                where = (*(slice(None) for _ in range(dim)), slice(start, start + count))
                found[name] = x[where]
        return found

    def all_chunks(self, b: k.Buffer) -> Array:
        """What was stored for each chunk, in the order of time: (batch, chunks, …)."""
        parts = [x for _, x in sorted(self.boundaries.get(b.name, {}).items())]
        return self.xp.stack(parts, 1) if parts else self.xp.zeros([self.sizes[n.BATCH], 0], b.kind)

    def _tile_sizes(self, loop: k.For, count: int) -> dict[str, int]:
        return {**self.sizes, n.TIME: count, n.SOURCE: count}

    def _none(self, b: k.Buffer) -> Array:
        return self.xp.zeros([0 if a == n.TIME else size_of(a, self.sizes) for a in b.axes], b.kind)

    def steps(self, loop: k.For, outer: _Frame) -> None:
        """One step of the tile after the other."""
        carries = {c.target.name: self._carried(self.value(c.init, outer), c.target, outer) for c in loop.carries}
        scratch = [s.buffer for s in loop.body if isinstance(s, k.Store)]
        rows: dict[str, list[Array]] = {name: [] for name in scratch}
        steps = range(outer.sizes[n.TIME])
        for at in reversed(steps) if loop.reverse else steps:
            sizes = outer.sizes | {
                axis: x.data.shape[x.axes.index(n.LAG)] + 1
                for axis, registers in self.growing.items()
                for name, x in carries.items()
                if n.LAG in x.axes and self._entry_of(name, loop) in registers
            }
            frame = _Frame({**outer.locals, **carries}, outer.loads, sizes, at)
            self.run(loop.body, frame)
            carries = frame.sets
            for name in scratch:
                rows[name].append(frame.stores[name])
        outer.locals.update(carries)
        for name in scratch:
            rows[name] = rows[name][::-1] if loop.reverse else rows[name]
            outer.loads[name] = self.xp.stack(rows[name], self.buffers[name].axes.index(n.TIME))

    def _entry_of(self, carry: str, loop: k.For) -> str:
        """The state entry that a carry of an inner loop began as, through the carry of the loop around it."""
        inits = {c.target.name: c.init for p in self.program.passes for c in p.loop.carries}
        inits |= {c.target.name: c.init for c in loop.carries}
        node: Node = inits[carry]
        while True:
            leaves = [x for x in n.postorder([node]) if isinstance(x, n.Local | n.Load)]
            match leaves:
                case [n.Load(buffer=buffer)]:
                    return self.buffers[buffer].entry
                case [n.Local(name=name)] if name in inits:
                    node = inits[name]
                case _:
                    raise CompilerBug(f"`{carry}` does not begin as one state entry")


def _at(x: Named, step: int | None) -> Named:
    """x, at the current step where a loop over the steps is around."""
    if step is None or n.TIME not in x.axes:
        return x
    where = (*(slice(None) for _ in range(x.axes.index(n.TIME))), step)
    return Named(_timeless(x.axes), x.data[where])


def _timeless(axes: Axes) -> Axes:
    return tuple(a for a in axes if a != n.TIME)
