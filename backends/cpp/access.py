"""Where the values of a cell are, and how the caller's tensors are read and written."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ssmc.backends.cpp.point import Code, Env, Index, Point
from ssmc.backends.cpp.registers import tile_name
from ssmc.backends.cpp.texts import SCALAR, atom, product, simple, times
from ssmc.backends.cpp.tiles import Tiles
from ssmc.backends.cpp.value import BEGUN, Line, NotPrintable, Value, moved_axes

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Kind, Node


@dataclass
class Array:
    """How a value is kept: `order` of its axes, in vectors along the last (`typed`) or in elements padded to them."""

    order: Axes
    typed: bool
    padded: bool


BEFORE = "((t - start) - 1)"


def _next(row: str) -> str:
    """The row after one."""
    return "(t - start)" if row == BEFORE else f"({row} + 1)"


class Access:
    """The part of a cell that knows places.

    It is a part of Cell, whose attributes it takes for granted.
    """

    # -- sizes ---------------------------------------------------------------------------------------------------

    def size(self: Any, axis: str) -> str:
        if axis in (n.TIME, n.SOURCE):
            return "steps" if self.values.at_once else "length"
        if axis == n.BATCH:
            return "batch"
        return self.printer.size(axis)

    def extent(self: Any, axis: str) -> str:
        """How many elements of an axis a cell has."""
        if axis == self.schedule.lane and self.schedule.blocked:
            return f"{self.schedule.vectors} * LANES"
        if axis in (n.TIME, n.SOURCE) and self.values.at_once:
            return self.chunk()
        if axis == n.TIME:
            return str(self.schedule.time)
        if axis == n.BATCH:
            return str(self.schedule.batch)
        if axis == n.LAG:
            raise CompilerBug("the length of a delay line by its axis")
        return self.size(axis)

    def vectors(self: Any, axis: str) -> str:
        if axis == self.schedule.lane and self.schedule.blocked:
            return str(self.schedule.vectors)
        size = self.size(axis)
        return str(-(-int(size) // self.printer.lanes)) if size.isdigit() else f"vectors({size})"

    def turns(self: Any, axis: str, lane: bool = False) -> str:
        """How often a loop over an axis turns: through all of it, or through a tile."""
        if self.tiles is None or axis not in self.tiles.extents:
            return self.vectors(axis) if lane else self.size(axis)
        tile = self.tiles.extents[axis]
        whole = self.vectors(axis) if lane else self.extent(axis)
        tile = tile // self.printer.lanes if lane else tile
        return str(tile) if int(whole) % tile == 0 else f"turns_{self.printer.variable(axis)[2:]}"

    def tile_head(self: Any, axis: str) -> str:
        """The loop over the tiles along an axis; along the lane it counts vectors."""
        assert self.tiles is not None
        lane = axis == self.tiles.lane
        tile = self.tiles.extents[axis] // (self.printer.lanes if lane else 1)
        whole = self.vectors(axis) if lane else self.extent(axis)
        var = self.tile_at(axis)
        head = f"for (i64 {var} = 0; {var} < {whole}; {var} += {tile}) {{"
        turns = self.turns(axis, lane)
        if not turns.isdigit():
            head += f"\nconst i64 {turns} = {var} + {tile} < {whole} ? {tile} : {whole} - {var};"
        return head

    def tile_at(self: Any, axis: str) -> str:
        """Where a tile begins."""
        return f"tile_{self.printer.variable(axis)[2:]}"

    def lag(self: Any, node: Node) -> str:
        """The length of a delay line."""
        for x in n.postorder([node]):
            if isinstance(x, n.Load) and n.LAG in x.axes:
                return self.depth(x.buffer)
            if isinstance(x, n.Local):
                if x.name in self.values.lines:
                    return self.lag(self.values.lines[x.name])
                named = self.values.named.get(x.name)
                if isinstance(named, Value) and n.LAG in named.axes:
                    return self.lag(named.value)
        raise CompilerBug("a delay line of no length")

    def depth(self: Any, buffer: str) -> str:
        d = self.values.buffers[buffer].depth
        if d is None and buffer in self.values.line_starts:
            return self.lag(self.values.line_starts[buffer])
        if d is None:
            raise CompilerBug(f"{buffer} has no depth")
        if d.unbounded:
            raise NotPrintable("a past that grows")
        if d.axis is None:
            return str(d.steps)
        size = self.size(d.axis)
        if size.isdigit():
            return str(int(size) + d.steps)
        return f"({size} + {d.steps})" if d.steps > 0 else f"({size} - {-d.steps})" if d.steps else size

    # -- which axes are narrowed ---------------------------------------------------------------------------------

    def narrowed(self: Any, axis: str) -> bool:
        """Whether a cell has one index of an axis only."""
        s = self.schedule
        if axis == n.TIME:
            return s.time == 1 and not self.values.at_once
        if axis == n.BATCH:
            return s.batch == 1
        return axis != s.lane and (axis in s.grid or axis in self.ones)

    def axes_of(self: Any, v: Value) -> Axes:
        """The axes of a value that loops of its cell have."""
        axes = [a for a in v.axes if not self.narrowed(a)]
        if v.timed and not v.carry and not self.values.sequential and not self.step and not self.narrowed(n.TIME):
            axes.insert(0, n.TIME)
        return tuple(axes)

    def loops(self: Any, v: Value) -> Axes:
        over = [a for a in v.over if a != n.TIME or not self.values.sequential]
        axes = self.axes_of(v)
        return (*axes, *(a for a in over if a not in axes and not (self.narrowed(a) and a != n.TIME)))

    def lane_of(self: Any, v: Value, axes: Axes) -> str | None:
        moved = moved_axes(v)
        possible = [a for a in axes if a not in (n.BATCH, n.TIME, n.LAG) and a not in moved]
        # sources lie a step apart in memory: a sum along what is contiguous goes without them
        if n.SOURCE in possible and (self.moves_steps(v) or (v.op and {*v.over} & {*possible})):
            possible.remove(n.SOURCE)
        if self.tiles is not None:  # tiles are whole vectors along one axis only
            possible = [a for a in possible if a not in self.tiles.extents or a == self.tiles.lane]
        mine = [a for a in possible if a in v.axes]
        tiles = self._tiles_of(v)
        if tiles is not None and tiles.lane in possible:
            return tiles.lane
        if self.schedule.traffic is not None:
            open_ = possible if v.op in ("sum", "max", "min", "prod") else mine
            return self.schedule.traffic.best(axes, open_) if open_ else None
        if self.schedule.lane in possible:
            return self.schedule.lane
        if v.store and mine:
            order = [a for a in self.values.buffers[v.store].axes if a in mine]
            return order[-1]
        if mine:
            return self._preferred(mine)
        return self._preferred(possible) if possible and v.op in ("sum", "max", "min", "prod") else None

    def _tiles_of(self: Any, v: Value) -> Tiles | None:
        """The tiles whose loops a value is computed in, or a carry gets its next value."""
        if self.tiles is not None or v.group >= len(self.values.groups):
            return self.tiles
        home = self.updates.get(v, v)
        return self.values.groups[home.group].tiles if home.group >= 0 else None

    def moves_steps(self: Any, v: Value) -> bool:
        """Whether a value reads something at other steps than its own."""
        todo, seen = [v.special if v.special is not None else v.value], set()
        while todo:
            node = todo.pop()
            if node in seen or node in v.stands:
                continue
            seen.add(node)
            named = self.values.named.get(node.name) if isinstance(node, n.Local) else None
            if isinstance(node, n.Lag | n.Frames) or (isinstance(node, n.Flip | n.Shift) and node.axis == n.TIME):
                return True
            todo += [named] if isinstance(named, n.Node) else n.children(node)
        return False

    def _preferred(self: Any, axes: list[str]) -> str:
        return max(axes, key=lambda a: (self.schedule.rank(a), axes.index(a)))

    # -- arrays --------------------------------------------------------------------------------------------------

    def array_of(self: Any, v: Value) -> Array:
        if v not in self.arrays:
            axes = list(self.axes_of(v))
            if v.place is not None and not v.crosses and self.in_place(v):
                return self.array_of(v.place)
            lane = None if v.serial else self.lane_of(v, tuple(axes))
            if lane not in axes:  # no lanes in its own nest, but perhaps where it is read
                ordinary = [a for a in axes if a not in (n.BATCH, n.TIME, n.LAG)]
                lane = self._preferred(ordinary) if ordinary else None
            if lane is not None:
                axes.remove(lane)
                axes.append(lane)
            self.arrays[v] = Array(tuple(axes), False, lane is not None)
        return self.arrays[v]

    def in_place(self: Any, v: Value) -> bool:
        return v in self.placed

    def name(self: Any, v: Value) -> str:
        if v.place is not None and not v.crosses and self.in_place(v):
            return self.name(v.place)
        return tile_name(self, v) if v in self.in_tile else self.printer.identifier(v.name)

    def array(self: Any, v: Value, point: Point) -> Code:
        """A value read from where it is kept."""
        row = self.rows.get(v)
        if row is not None:  # the state that this step begins with is the row before
            sign = "+" if self._backwards(row) else "-"
            before = Index(f"((t - start) {sign} 1)", f"(t {sign} 1)")
            return self.array(row, point.moved({**point.env, n.TIME: before}))
        self.frame.kept.add(v)
        a = self.array_of(v)
        home = v.place if v.place is not None and not v.crosses and self.in_place(v) else v
        env = point.env
        text, _, unit = self._address(home, a, env, timed=v.crosses and self.values.sequential)
        if not a.order and not (v.crosses and self.values.sequential):
            return Code(self.name(v), 100, v.kind, False)
        lane_axis = next((x for x in a.order if env[x].lane), None)
        if lane_axis is None:
            self.frame.scalar.add(home)
            return Code(f"{self.name(v)}[{text}]", 100, v.kind, False)
        if home in self.typed:
            return Code(f"{self.name(v)}[{text}]", 100, v.kind, True)
        if unit:
            return Code(f"load(&{self.name(v)}[{text}])", 100, v.kind, True)
        self.frame.scalar.add(home)
        stride = self._stride(a, lane_axis)
        return Code(f"fetch(&{self.name(v)}[{text}], {stride}, {env[lane_axis].left})", 100, v.kind, True)

    def _dim(self: Any, v: Value, a: Array, axis: str) -> str:
        if axis == n.LAG:
            return self.lag_of(v)
        tiles = self.near.get(v)
        if tiles is not None and axis in tiles.extents:
            extent = tiles.extents[axis]
            if a.padded and axis == a.order[-1]:
                vectors = -(-extent // self.printer.lanes)
                return str(vectors) if v in self.typed else str(vectors * self.printer.lanes)
            return str(extent)
        if a.padded and axis == a.order[-1]:
            count = self.vectors(axis)
            if axis == n.SOURCE:
                whole = self.extent(axis)
                count = str(-(-int(whole) // self.printer.lanes)) if whole.isdigit() else f"vectors({whole})"
            return count if v in self.typed else times(count, "LANES")
        return self.extent(axis)

    def lag_of(self: Any, v: Value) -> str:
        return self.lag(v.value)

    def _address(self: Any, v: Value, a: Array, env: Env, timed: bool) -> tuple[str, bool, bool]:
        text = ""
        if timed:
            text = env[n.TIME].local if n.TIME in env else "(t - start)"
            if v in self.led and not self._backwards(v):  # the first row is from before the first step
                text = _next(text) if n.TIME not in env or env[n.TIME].whole else "0"
        lanes = unit = False
        for axis in a.order:
            i = env[axis]
            here = i.local
            if i.near is not None and v in self.near:
                i = i.near
                here = i.local
            if i.lane:
                lanes = True
                unit = axis == a.order[-1]
                if v in self.typed:
                    here = i.vector
            text = here if not text or text == "0" else f"({text}) * {atom(self._dim(v, a, axis))} + {here}"
            text = simple(text)
        return text or "0", lanes, unit

    def _stride(self: Any, a: Array, axis: str) -> str:
        at = a.order.index(axis)
        v = next(x for x, y in self.arrays.items() if y is a)
        stride = "1"
        for other in a.order[at + 1 :]:
            stride = times(stride, self._dim(v, a, other))
        return stride

    # -- the caller's tensors ------------------------------------------------------------------------------------

    def fetched(self: Any, buffer: str, axes: Axes, kind: Kind, env: Env) -> Code:
        name, axes, _ = self.printer.source(self, buffer, axes, env)
        near = self.tensors.read(name, buffer, axes, kind, env)
        if near is not None:
            return near
        offset, stride, left = self._offset(name, axes, env)
        if stride is None:
            plain = self.printer.fields[name][0] == "real"
            return Code(f"{name}[{offset}]" if plain else f"load1(&{name}[{offset}])", 100, kind, False)
        return Code(f"fetch(&{name}[{offset}], {stride}, {left})", 100, kind, True)

    def _offset(self: Any, name: str, axes: Axes, env: Env) -> tuple[str, str | None, str]:
        terms: list[str] = []
        stride, left = None, ""
        for a in axes:
            i = env[a]
            word = self.printer.stride(name, a)
            if i.whole != "0":
                terms.append(product(i.whole, word))
            if i.lane:
                stride, left = word, i.left
        return " + ".join(terms) or "0", stride, left

    # -- sums over cells -----------------------------------------------------------------------------------------

    def missing(self: Any, v: Value) -> tuple[str, ...]:
        """The axes of the grid over which a value is summed: its parts come from several cells."""
        mine = v.only if v.store and v.only is not None and v.only.op else v
        if v.carry and v in self.totalled:
            chunks = (n.TIME,) if self.schedule.chunks else ()
            return (*chunks, *(a for a in self.schedule.grid if a not in v.axes))
        if not mine.op:
            return ()
        return tuple(a for a in self.schedule.grid if a in mine.over)

    def alone(self: Any, v: Value, over: Axes) -> str:
        """The condition that one of the cells meets of those that compute the same part: it is counted once."""
        axes = [a for a in self.schedule.grid if a not in v.axes and a not in over]
        return " && ".join(f"{self.printer.variable(a)} == 0" for a in axes)

    def partial(self: Any, v: Value) -> str:
        """The name of the parts of what is stored."""
        name = self.printer.identifier(f"{v.store} parts")
        if name not in self.partials:
            self.partials[name] = v
            self.printer.part(v, name, self.values.buffers[v.store])
        return name

    def _stored_part(self: Any, v: Value, code: Code, env: Env) -> str:
        b = self.values.buffers[v.store]
        name = self.partial(v)
        if n.TIME in b.axes and n.TIME not in env:
            env = {**env, n.TIME: Index("t", "t")}
        offset, stride, left = self._offset(name, b.axes, env)
        value = Point(self, env, v, {}).converted(code, b.kind)
        if stride is None:
            return f"{name}[{offset}] = {name}[{offset}] + {value.text};"
        text = value.text if value.lanes else f"splat({value.text})"
        return f"put_added(&{name}[{offset}], {stride}, {left}, {text});"

    def stored(self: Any, v: Value, code: Code, env: Env) -> str:
        if self.missing(v):
            mine = v.only if v.only is not None and v.only.op else v
            alone = self.alone(v, mine.over)
            return f"if ({alone}) {self._stored_part(v, code, env)}" if alone else self._stored_part(v, code, env)
        b = self.values.buffers[v.store]
        name = self.printer.target(v.store)
        axes = tuple(a for a in b.axes if not (self.step and a == n.TIME))
        if b.role in BEGUN:
            env = {**env, n.TIME: Index("chunk", "chunk")}
            axes = (axes[0], n.TIME, *axes[1:])
        elif n.TIME in axes and n.TIME not in env:
            env = {**env, n.TIME: Index("t", "t")}
        offset, stride, left = self._offset(name, axes, env)
        value = Point(self, env, v, {}).converted(code, b.kind)
        if stride is None:
            plain = self.printer.fields[name][0] == "real"
            return f"{name}[{offset}] = {value.text};" if plain else f"store1(&{name}[{offset}], {value.text});"
        text = value.text if value.lanes else f"splat({value.text})"
        near = self.tensors.written(name, v.store, axes, env, text)
        return near or f"put(&{name}[{offset}], {stride}, {left}, {text});"

    def once_value(self: Any, name: str) -> Node:
        return self.printer.once_value(name)

    def outer(self: Any, name: str, point: Point) -> Code:
        """A value computed once for a call."""
        b = self.printer.once[name]
        return self.fetched(b.name, b.axes, b.kind, point.env)

    # -- delay lines ---------------------------------------------------------------------------------------------

    def delayed(self: Any, line: Line, back: str, point: Point) -> Code:
        t = point.env[n.TIME].whole if n.TIME in point.env else "t"
        depth, local = self.lag(line.halo), ""
        begun = isinstance(line.halo, n.Load) and self.values.buffers[line.halo.buffer].role in BEGUN
        if begun:  # what the chunk began with, and its own steps
            done = f"(stop - 1 - {t})" if line.reverse else f"({t} - start)"
            at = f"{t} {'+' if line.reverse else '-'} {atom(back)}"
            before, inside = f"{depth} + {done} - {atom(back)}", f"{done} >= {atom(back)}"
            local = f"({at} - start)"
        elif line.reverse:
            at, before = f"{t} + {atom(back)}", f"{depth} - 1 - ({t} + {atom(back)} - length)"
            inside = f"{t} + {atom(back)} < length"
        else:
            at, before = f"{t} - {atom(back)}", f"{depth} + {t} - {atom(back)}"
            inside = f"{t} >= {atom(back)}"
        signal = point.moved({**point.env, n.TIME: Index(local or at, at)}).code(line.signal)
        halo = point.moved({**point.env, n.LAG: Index(before, before)}).code(line.halo)
        return self.either(inside, signal, point.converted(halo, signal.kind))

    def line_before(self: Any, line: Line, j: str, point: Point) -> Code:
        """Place `j` of a delay line where a chunk begins."""
        done = "(length - stop)" if line.reverse else "start"
        p = f"{done} - {self.lag(line.halo)} + {j}"
        at = f"length - 1 - ({p})" if line.reverse else p
        old = f"{j} + {done}"
        signal = point.moved({**point.env, n.TIME: Index(at, at)}).code(line.signal)
        halo = point.moved({**point.env, n.LAG: Index(old, old)}).code(line.halo)
        return self.either(f"{p} >= 0", point.converted(signal, halo.kind), halo)

    def line_after(self: Any, line: Line, j: str, point: Point) -> Code:
        """Place `j` of a delay line when the sequence is over."""
        depth = self.lag(line.halo)
        p = f"length - {depth} + {j}"
        at = f"length - 1 - ({p})" if line.reverse else p
        old = f"{j} + length"
        signal = point.moved({**point.env, n.TIME: Index(at, at)}).code(line.signal)
        halo = point.moved({**point.env, n.LAG: Index(old, old)}).code(line.halo)
        return self.either(f"{p} >= 0", point.converted(signal, halo.kind), halo)

    def either(self: Any, condition: str, a: Code, b: Code) -> Code:
        lanes = a.lanes or b.lanes
        if a.kind != b.kind:
            point = Point(self, {}, None, {})
            kind = max((a.kind, b.kind), key=lambda k: ("bool", "int", "real", "complex").index(k))
            a, b = point.converted(a, kind), point.converted(b, kind)
        x, y = (c.text if c.lanes or not lanes else f"splat({c.text})" for c in (a, b))
        if not lanes:
            x, y = (f"{SCALAR[a.kind]}({c})" for c in (x, y)) if a.kind != "complex" else (x, y)
        return Code(f"({condition} ? {x} : {y})", 100, a.kind, lanes)
