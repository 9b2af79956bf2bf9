"""The oracle: a step graph run one step after the other in double precision. It defines what a spec means.

It knows nothing of the levels above. Registers are run component by component (registers that need one another's
values), each over the whole sequence in its own direction. What does not depend on a component's own registers is
evaluated for all steps at once, which is the same arithmetic on the same numbers; the rest step by step.

With `TorchArrays` every output and every entry of the new state is differentiable by autograd with respect to inputs,
params and the given state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arrays import Array, Arrays, NumpyArrays
from ssmc.expr.evaluate import Evaluator, Leaf, Named, evaluate, size_of
from ssmc.expr.nodes import BATCH, TIME, Axes, Node, base_axis, children, postorder
from ssmc.step.initial import table
from ssmc.step.nodes import Register, StepGraph, reads_of
from ssmc.step.sizes import growing_axes, solve_sizes

_LEAD = (BATCH, TIME)


def run(
    graph: StepGraph,
    inputs: Mapping[str, Any],
    params: Mapping[str, Any],
    state: Mapping[str, Any] | None = None,
    length: int | None = None,
    xp: Arrays | Callable[[], Arrays] = NumpyArrays,
    sizes: Mapping[str, int] | None = None,
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Outputs (B, L, axes…) by name, and the new state.

    Inputs are (B, L, axes…), params (axes…). A param may be left out if it has a default without a random draw.
    `state` maps names of registers to (B, axes…) for a declared state, (B, depth, axes…) for a delay line, oldest
    first, (B, steps so far, axes…) for an unbounded one; and `t` to the steps done. Entries left out are initial
    values. For a reverse register the entry is the value after the last step given, and before the first one returned.
    `length` is needed where there are no inputs. Running in two pieces equals running at once.
    """
    namespace = xp() if callable(xp) else xp
    return _Run(graph, inputs, params, state or {}, length, namespace, sizes).result()


class _Run:
    def __init__(
        self,
        graph: StepGraph,
        inputs: Mapping[str, Any],
        params: Mapping[str, Any],
        state: Mapping[str, Any],
        length: int | None,
        xp: Arrays,
        sizes: Mapping[str, int] | None,
    ) -> None:
        self.graph, self.xp = graph, xp
        self.inputs = {p.name: xp.asarray(inputs[p.name], p.kind) for p in graph.inputs}
        self.params = {p.name: xp.asarray(params[p.name], p.kind) for p in graph.params if p.name in params}
        entries = {r.name: xp.asarray(state[r.name], r.kind) for r in graph.registers if r.name in state}
        self.start = int(state.get("t", 0))
        shapes = {name: tuple(x.shape) for name, x in (self.inputs | self.params | entries).items()}
        self.sizes = solve_sizes(graph, shapes, sizes)
        self.growing = growing_axes(graph)
        first = next(iter(self.inputs.values()), None)
        self.length = int(first.shape[1]) if first is not None else int(length or 0)
        # one of several batches may be 1, or 0
        batches = {int(x.shape[0]) for x in (*self.inputs.values(), *entries.values())}
        self.batch = next(iter(batches - {1}), 1)
        self.placing = Evaluator([], xp)
        self.lines = {r.name: self._line(r, entries.get(r.name)) for r in graph.registers}
        # what came before and then, once its component has run, every value of a register, in the order it ran
        self.held = dict(self.lines)

    def result(self) -> tuple[dict[str, Array], dict[str, Any]]:
        for component in components(self.graph):
            self._run_component(component)
        outputs = self._over_time([o.value for o in self.graph.outputs], (), False)
        full = {o.name: self._shaped(v, o.axes) for o, v in zip(self.graph.outputs, outputs, strict=True)}
        cast = {o.name: self.xp.cast(full[o.name], o.kind) for o in self.graph.outputs}
        return cast, {r.name: self._final(r) for r in self.graph.registers} | {"t": self.start + self.length}

    # -- sizes and shapes ------------------------------------------------------------------------------------------

    def _sizes_at(self, step: int) -> dict[str, int]:
        return {**self.sizes, **dict.fromkeys(self.growing, step)}

    def _shape(self, axes: Axes) -> list[int]:
        return [size_of(a, self.sizes) for a in axes]

    def _shaped(self, x: Named, axes: Axes, lead: Axes = _LEAD) -> Array:
        """x as (lead…, axes…), broadcast to full size."""
        sizes = {**self.sizes, BATCH: self.batch, TIME: self.length}
        placed = self.placing.align(x, (*lead, *axes))
        return self.xp.expand(placed, [size_of(a, sizes) for a in (*lead, *axes)])

    # -- what is carried -------------------------------------------------------------------------------------------

    def _depth(self, r: Register) -> int:
        if r.depth.unbounded:
            return self.start
        return r.depth.steps + (size_of(r.depth.axis, self.sizes) if r.depth.axis is not None else 0)

    def _line(self, r: Register, entry: Array | None) -> Array:
        """What the register held before the first step it runs: (batch, depth, axes…), oldest first."""
        depth, shape = self._depth(r), self._shape(r.axes)
        if entry is not None:
            if _single(r):
                entry = self.xp.reshape(entry, [entry.shape[0], 1, *shape])
            if tuple(entry.shape[1:]) != (depth, *shape):
                raise CompilerBug(f"the state entry `{r.name}` has the shape {tuple(entry.shape)}")
            return self.xp.expand(entry, [self.batch, depth, *shape])
        (value,) = evaluate([r.init], self._constant, self.xp, self.sizes)
        whole = self.xp.cast(self._shaped(value, r.axes, ()), r.kind)
        return self.xp.expand(self.xp.reshape(whole, [1, 1, *shape]), [self.batch, depth, *shape])

    def _final(self, r: Register) -> Array:
        held = self.held[r.name]
        keep = held.shape[1] if r.depth.unbounded else self._depth(r)
        last = held[:, held.shape[1] - keep :]
        return last[:, 0] if _single(r) else last

    # -- leaves ----------------------------------------------------------------------------------------------------

    def _constant(self, node: Node) -> Named:
        match node:
            case n.Param(name=name):
                if name in self.params:
                    return Named(node.axes, self.params[name])
                port = next(p for p in self.graph.params if p.name == name)
                if port.default is None or any(isinstance(x, n.Draw) for x in postorder([port.default])):
                    raise CompilerBug(f"the param `{name}` has neither a value nor a default without a draw")
                (value,) = evaluate([port.default], self._constant, self.xp, self.sizes)
                self.params[name] = self.xp.cast(self._shaped(value, port.axes, ()), port.kind)
                return Named(port.axes, self.params[name])
            case n.Table(name=name):
                return Named(node.axes, self.xp.asarray(table(name, self._shape(node.axes)), node.kind))
            case _:
                raise CompilerBug(f"{node!r} in an expression of constants")

    def _over_all(self, node: Node) -> Named:
        """A leaf at all steps at once."""
        xp = self.xp
        match node:
            case n.Input(name=name):
                return Named((BATCH, TIME, *node.axes), self.inputs[name])
            case n.Time():
                return Named((TIME,), xp.arange(self.length) + (self.start + 1))
            case n.Read(register=name, steps=steps):
                r = self.graph.register[name]
                return Named((BATCH, TIME, *r.axes), self._delayed(r, steps))
            case n.Window(register=name, axis=axis, current=current):
                r = self.graph.register[name]
                back = range(1, size_of(axis, self.sizes) + (0 if current is not None else 1))
                return self._stacked(r, axis, [self._delayed(r, j) for j in back])
            case n.History(register=name, axis=axis):
                r = self.graph.register[name]
                if base_axis(axis) in self.growing:  # only where there are no steps: see _over_time
                    shape = [self.batch, self.length, *self._shape(r.axes), self.start]
                    return Named((BATCH, TIME, *r.axes, axis), xp.zeros(shape, r.kind))
                back = range(size_of(axis, self.sizes) - 1, 0, -1)
                return self._stacked(r, axis, [self._delayed(r, j) for j in back])
            case _:
                return self._constant(node)

    def _delayed(self, r: Register, steps: int) -> Array:
        """At each step, in the order of time, what the register's source was `steps` steps before (after)."""
        depth = self.lines[r.name].shape[1]
        if steps > depth:
            raise CompilerBug(f"`{r.name}` holds {depth} steps and is read {steps} steps back")
        moved = self.held[r.name][:, depth - steps : depth - steps + self.length]
        return self.xp.flip(moved, 1) if r.reverse else moved

    def _stacked(self, r: Register, axis: str, parts: list[Array]) -> Named:
        axes = (BATCH, TIME, *r.axes, axis)
        if not parts:
            return Named(axes, self.xp.zeros([self.batch, self.length, *self._shape(r.axes), 0], r.kind))
        return Named(axes, self.xp.stack(parts, len(axes) - 1))

    # -- running ---------------------------------------------------------------------------------------------------

    def _run_component(self, names: Sequence[str]) -> None:
        registers = [self.graph.register[name] for name in names]
        sources = self._over_time([r.source for r in registers], names, registers[0].reverse)
        for r, value in zip(registers, sources, strict=True):
            values = self.xp.cast(self._shaped(value, r.axes), r.kind)
            self.held[r.name] = self.xp.concatenate(
                [self.lines[r.name], self.xp.flip(values, 1) if r.reverse else values], 1
            )

    def _over_time(self, roots: list[Node], own: Sequence[str], reverse: bool) -> list[Named]:
        """The roots at all steps; `own` are the registers whose sources they are, if any."""
        order = postorder(roots)
        stepwise = self._stepwise(order, frozenset(own))
        if not stepwise or self.length == 0:
            return evaluate(roots, self._over_all, self.xp, self._sizes_at(self.start + 1))
        used = {c for x in stepwise for c in children(x)} | set(roots)
        cut = [x for x in order if x in used and x not in stepwise]
        at_once = evaluate(cut, self._over_all, self.xp, self.sizes)
        slices = {x: self._unbind(v) for x, v in zip(cut, at_once, strict=True)}
        step = _Step(self, Evaluator(roots, self.xp, frozenset(cut)), slices, own)
        steps = range(self.length - 1, -1, -1) if reverse else range(self.length)
        found = [step.at(t) for t in steps]
        if reverse:
            found.reverse()
        return [self._joined(root, [values[i] for values in found]) for i, root in enumerate(roots)]

    def _stepwise(self, order: list[Node], own: frozenset[str]) -> frozenset[Node]:
        """The nodes that only a loop over the steps can give: those that need own registers, or a growing axis."""
        found: set[Node] = set()
        for x in order:
            mine = any(r in own for r in reads_of(x)) or any(c in found for c in children(x))
            grown = any(base_axis(a) in self.growing for a in x.axes)
            if mine or grown or (isinstance(x, n.Size) and base_axis(x.axis) in self.growing):
                found.add(x)
        return frozenset(found)

    def _unbind(self, x: Named) -> list[Named]:
        if TIME not in x.axes:
            return [x] * self.length
        rest = tuple(a for a in x.axes if a != TIME)
        return [Named(rest, d) for d in self.xp.unbind(x.data, x.axes.index(TIME))]

    def _joined(self, root: Node, values: list[Named]) -> Named:
        shaped = [self._shaped(v, root.axes, (BATCH,)) for v in values]
        return Named((BATCH, TIME, *root.axes), self.xp.stack(shaped, 1))


class _Step:
    """One step of a loop: the leaves as they are at step `now` (from 0), own registers from the values made so far."""

    def __init__(
        self, over: _Run, evaluator: Evaluator, slices: Mapping[Node, list[Named]], own: Sequence[str]
    ) -> None:
        self.over, self.evaluator, self.slices = over, evaluator, slices
        self.own = {name: list(over.xp.unbind(over.lines[name], 1)) for name in own}
        self.now = 0
        self.leaf: Leaf = self._leaf

    def at(self, now: int) -> list[Named]:
        self.now = now
        over = self.over
        values = self.evaluator(self.leaf, over._sizes_at(over.start + now + 1) if over.growing else over.sizes)
        for name, value in zip(self.own, values, strict=False):
            r = over.graph.register[name]
            self.own[name].append(over.xp.cast(over._shaped(value, r.axes, (BATCH,)), r.kind))
        return values

    def _leaf(self, node: Node) -> Named:
        if node in self.slices:
            return self.slices[node][self.now]
        match node:
            case n.Read(register=name, steps=steps):
                return Named((BATCH, *node.axes), self._back(name, steps))
            case n.Window(register=name, axis=axis, current=current):
                size = size_of(axis, self.over.sizes)
                return self._stacked(name, axis, range(1, size + (0 if current is not None else 1)))
            case n.History(register=name, axis=axis):
                count = self.over.start + self.now + 1 if base_axis(axis) in self.over.growing else None
                size = size_of(axis, self.over.sizes) if count is None else count
                if count is not None and name not in self.own:
                    # the values of a register that has run already: a view of them, not a copy a step
                    r = self.over.graph.register[name]
                    return Named((BATCH, axis, *r.axes), self.over.held[name][:, : size - 1])
                return self._stacked(name, axis, range(size - 1, 0, -1))
            case _:
                raise CompilerBug(f"{node!r} inside a loop over the steps")

    def _back(self, name: str, steps: int) -> Array:
        """What the register's source was `steps` steps before this one."""
        if name not in self.own:  # it has run already
            return self.over._delayed(self.over.graph.register[name], steps)[:, self.now]
        line = self.own[name]
        if steps > len(line):
            raise CompilerBug(f"`{name}` is read {steps} steps back and holds {len(line)}")
        return line[-steps]

    def _stacked(self, name: str, axis: str, back: Iterable[int]) -> Named:
        r = self.over.graph.register[name]
        axes = (BATCH, axis, *r.axes)
        parts = [self._back(name, j) for j in back]
        if not parts:
            return Named(axes, self.over.xp.zeros([self.over.batch, 0, *self.over._shape(r.axes)], r.kind))
        return Named(axes, self.over.xp.stack(parts, 1))


def _single(r: Register) -> bool:
    """Whether the state entry has no dimension for the steps held: a declared state."""
    return r.origin == "state" and r.depth.steps == 1 and r.depth.axis is None and not r.depth.unbounded


def components(graph: StepGraph) -> list[tuple[str, ...]]:
    """Registers that need one another's values, in an order in which each comes after those it needs.

    Raises CompilerBug where a component runs in both directions, which `build` has reported.
    """
    needs = {r.name: dict.fromkeys(x for y in postorder([r.source]) for x in reads_of(y)) for r in graph.registers}
    found = _strongly_connected(needs)
    for names in found:
        if len({graph.register[name].reverse for name in names}) > 1:
            raise CompilerBug(f"{', '.join(names)} depend on one another in both directions of time")
    return found


def _strongly_connected(needs: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """Tarjan's algorithm, without recursion; a component comes after those it needs."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found: list[tuple[str, ...]] = []
    placed: set[str] = set()
    for start in needs:
        if start in number:
            continue
        work = [(start, iter(needs[start]))]
        number[start] = low[start] = len(number)
        path.append(start)
        while work:
            name, rest = work[-1]
            for other in rest:
                if other not in number:
                    number[other] = low[other] = len(number)
                    path.append(other)
                    work.append((other, iter(needs[other])))
                    break
                if other not in placed:
                    low[name] = min(low[name], number[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == number[name]:
                    at = path.index(name)
                    found.append(tuple(x for x in needs if x in path[at:]))
                    placed.update(path[at:])
                    del path[at:]
    return found
