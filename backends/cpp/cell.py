"""A pass as a C++ function of one cell: the part of the batch and of the independent axes that one thread computes.

    grid     axes along which nothing is read at another index: one cell an index, or a block of vectors of the lane
    lanes    the axis whose elements are computed together, a vector at a time; every nest of loops has its own
    arrays   what is kept between nests, steps and groups: in registers, on the stack, or in the thread's scratch

Which axis is what stands in a `Schedule`; this module prints what it says.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ssmc.backends.cpp.access import Access, Array
from ssmc.backends.cpp.keeping import axes_of_one, compute_again, kept_in_rows, over_tiles
from ssmc.backends.cpp.matrices import Layout, layout_of, lines
from ssmc.backends.cpp.nests import Nest, nests_of, pointwise
from ssmc.backends.cpp.over_steps import OverSteps, over_steps, take_over_steps
from ssmc.backends.cpp.point import VECTOR, Code, Env, Index, Point
from ssmc.backends.cpp.registers import around, enter, held_carries, leave
from ssmc.backends.cpp.rows import Rows
from ssmc.backends.cpp.schedule import Schedule
from ssmc.backends.cpp.texts import SCALAR, atom, enclosed, indented, number_of, times, told
from ssmc.backends.cpp.tiles import CHUNK, Tiles
from ssmc.backends.cpp.value import BEGUN, Group, NotPrintable, Value
from ssmc.backends.cpp.values import Pass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node

if TYPE_CHECKING:
    from ssmc.backends.cpp.printer import Printer

NARROW = 4  # vectors
HELD = "held"  # the argument
STACK = 16384  # bytes up to which an array of known size stands on the stack


@dataclass
class Frame:
    """What one way of printing found out: which arrays are read, and which other than as whole vectors."""

    scalar: set[Value] = field(default_factory=set)
    kept: set[Value] = field(default_factory=set)


class Cell(Access):
    typed: set[Value]  # kept in vectors
    rows: dict[Value, Value]  # carries kept as the rows of their next values
    placed: set[Value]  # kept where the carry is whose next value they are

    def __init__(self, printer: Printer, values: Pass, schedule: Schedule, number: int) -> None:
        self.printer, self.values, self.schedule, self.number = printer, values, schedule, number
        self.used: set[str] = set()
        self.frame = Frame()
        self.tensors = Rows(self)
        self.arrays: dict[Value, Array] = {}
        self.products: dict[Value, Layout] = {}
        self.over_steps: dict[int, list[OverSteps]] = {}
        self.nests: list[list[Nest]] = []
        self.step = values.step
        self.depths: dict[str, str] = {}
        self.block = values.p.loop.block
        if any(g.tiles for g in values.groups) and not values.cut:
            self.block = CHUNK
        self.tiles: Tiles | None = None  # while what stands in its loops is printed
        self.led = {v for v in values.led if v.crosses}
        self.filling: Value | None = None
        tiled = [g.tiles for g in values.groups if g.tiles]
        self.near = {v: t for t in tiled for v in t.near}
        self.ones = axes_of_one(self)
        self.updates = {v.place: v for g in values.groups for v in g.values if v.place is not None}
        self.partials: dict[str, Value] = {}  # parts of what several cells add to, by name
        self.totalled = {v.total for v in values.totals if v.total is not None}
        self.in_tile: set[Value] = set()  # carries that are in arrays of the tile now
        self.scratch: list[str] = []
        self.scratch_needs: list[str] = []  # of helper functions

    def text(self) -> list[str]:
        """The lines of the cell's function, without its head."""
        self.typed, self.placed, self.rows = set(), set(), {}
        self.nests, self.products = [], {}
        self.over_steps = take_over_steps(self)
        for g in self.values.groups:
            self.tiles = g.tiles
            self.products |= {v: layout for v in g.values if (layout := layout_of(self, v)) is not None}
            nests = self._nests(g.values)
            compute_again(self, g, nests)
            self.nests.append(nests)
        self.tiles = None
        self._commit()
        self.rows = kept_in_rows(self)
        self._lines()  # to find out how arrays are read
        carried = set(self.values.carries.values()) | {v for vs in self.values.resets.values() for v in vs}
        every = [*carried, *self._others(), *(v for g in self.values.groups for v in g.values)]
        for v in every:
            a = self.array_of(v)
            if v not in self.frame.scalar and a.order and a.padded and v in self.arrays:
                self.typed.add(v)
        self.frame = Frame()
        return self._lines()

    def _others(self) -> list[Value]:
        """Values outside the sweeps."""
        v = self.values
        carried = [*v.carries.values(), *(c for cs in v.resets.values() for c in cs)]
        return [*v.after, *v.final, *v.starts, *v.held, *(x for c in carried for x in c.before)]

    def _commit(self) -> None:
        """Which carries take their next value in place: nobody reads the old one afterwards."""
        after = self.values.after
        every = [(g.values, nests) for g, nests in zip(self.values.groups, self.nests, strict=True)]
        every.append((after, nests_of(after, self.loops, self.lane_of, self._lag_length, self._narrow, self.values)))
        for values, nests in every:
            at = {v: i for i, nest in enumerate(nests) for v in nest.values}
            for v in list(values):
                if v.place is None:
                    continue
                safe = not v.op
                for r in values:
                    if v.place in r.reads and r is not v:
                        same = at[r] == at[v] and pointwise(r, v.place, self.values)
                        safe = safe and (at[r] < at[v] or same)
                safe = safe and pointwise(v, v.place, self.values)
                safe = safe and set(self.loops(v)) == set(self.axes_of(v.place))
                if safe:
                    self.placed.add(v)

    def _lines(self) -> list[str]:
        v = self.values
        self.tensors = Rows(self, self.tensors)
        body = self._plain(v.held)
        for c in v.carries.values():
            body += self._fill(c, c.value)
        if v.at_once:
            body += self.printer.at_once(self)
        elif self.step or not v.sequential:
            body += self._parallel()
        else:
            body += self._sequential()
        self.afterwards = []
        parts = [f for f in v.final if f.only is not None and f.only in self.totalled and self.missing(f.only)]
        for f in parts:
            body += self._total_parts(f)
        finals = [f for f in v.final if f not in parts]
        if finals and (v.sequential or v.at_once or self.step):
            lines = self._plain(finals)
            body += ["", *(["if (chunk == 0) {", *indented(lines), "}"] if self.schedule.chunks else lines)]
        elif v.final and not v.sequential and not v.at_once and not self.step:
            self.afterwards = self._plain(v.final)
        if self.tensors.streams:
            body += ["", "if (c.past) stream_end();"]
        return [*self._declarations(), *self.tensors.declared(), *body]

    def _total_parts(self, f: Value) -> list[str]:
        """A cell's part of a total, to those of the others."""
        c = f.only
        assert c is not None
        term = next(v for v in self.values.totals if v.total is c)
        alone = self.alone(c, term.over)
        axes = self.axes_of(c)
        nest = Nest(axes, self.lane_of(c, axes), set(), [])

        def body(env: Env) -> list[str]:
            code = self.array(c, Point(self, env, None, {}))
            return [self._stored_part(f, code, env)]

        lines = self._loops(nest, body, {})
        if alone:
            return [f"if ({alone}) {{", *indented(lines), "}"]
        return lines

    afterwards: list[str]  # of a pass whose cells are steps: when all are done

    def _declarations(self) -> list[str]:
        v = self.values
        out: list[str] = []
        every = [*v.carries.values(), *(x for xs in v.resets.values() for x in xs)]
        every += [x for g in v.groups for x in g.values] + self._others()
        self.scratch = list(self.scratch_needs)
        for x in every:
            if x.store or (x.total is not None) or (x in self.placed and not x.crosses) or x in self.rows:
                continue
            if not x.carry and x not in self.frame.kept and not x.crosses:
                continue
            out += self._declared(x)
        return out

    def _declared(self, x: Value) -> list[str]:
        a = self.array_of(x)
        element = VECTOR[x.kind] if x in self.typed else SCALAR[x.kind]
        if x.kind == "bool" and x not in self.typed:
            element = "bool"
        name = self.printer.identifier(x.name)
        timed = x.crosses and self.values.sequential
        if not a.order and not timed:
            return [f"{element} {name};"]
        count = self._count(x, a)
        lanes: int = self.printer.lanes
        number = number_of(count, lanes)
        width = {"bool": 1, "int": 8, "real": self.printer.width, "complex": 2 * self.printer.width}[x.kind]
        if x in self.typed:
            width = {
                "bool": self.printer.width,
                "int": 8,
                "real": self.printer.width,
                "complex": 2 * self.printer.width,
            }[x.kind] * lanes
        if number is not None and number * width <= STACK:
            return [f"alignas(64) {element} {name}[{number}];"]
        self.scratch.append(f"room({count}, sizeof({element}))")
        return [f"{element} *const {name} = scratch.take<{element}>({count});"]

    def _count(self, x: Value, a: Array) -> str:
        """The elements, or vectors, of a value's array."""
        count = self.chunk() if x.crosses and self.values.sequential else "1"
        if x in self.led:
            count = str(int(count) + 1) if count.isdigit() else f"({count} + 1)"
        for axis in a.order:
            count = times(count, self._dim(x, a, axis))
        return count

    def chunk(self) -> str:
        return str(self.block) if self.block else "length"

    # -- the order of things -------------------------------------------------------------------------------------

    def _fill(self, c: Value, init: Node) -> list[str]:
        """A carry's first value."""
        if self.missing(c):
            zero = self.values.arena.const(0.0)
            return self._nest_lines(self._nest_for(Value(c.name, c.axes, c.kind, zero, timed=False), fills=c))
        first = Value(c.name, c.axes, c.kind, init, timed=False, reads=list(c.reads), stands=c.stands)
        self.filling = c
        lines = self._nest_lines(self._nest_for(first, fills=c))
        self.filling = None
        return [*self._plain(c.before), *lines]

    def _plain(self, values: list[Value]) -> list[str]:
        out: list[str] = []
        for nest in self._nests(values):
            out += self._nest_lines(nest)
        return out

    def _nests(self, values: list[Value]) -> list[Nest]:
        def alone(v: Value) -> bool:
            return v.serial or v in self.products

        return nests_of(values, self.loops, self.lane_of, self._lag_length, self._narrow, self.values, alone)

    def _nest_for(self, v: Value, fills: Value | None = None) -> Nest:
        if fills is not None:
            v.place = fills
            self.placed.add(v)
        axes = self.loops(v)
        lane = None if v.serial else self.lane_of(v, axes)
        return Nest(axes, lane, {frozenset(v.over)} - {frozenset()}, [v], v.serial)

    def _parallel(self) -> list[str]:
        out: list[str] = []
        for nests in self.nests:
            for nest in nests:
                out += self._nest_lines(nest)
        return [*out, *self._plain(self.values.after)]

    def _sequential(self) -> list[str]:
        v = self.values
        inner: list[str] = []
        if v.starts:
            inner += self._plain(v.starts)
        for tiles, numbers in itertools.groupby(range(len(v.groups)), lambda i: v.groups[i].tiles):
            self.tiles = tiles
            sweeps: list[str] = []
            for number in numbers:
                for c in v.resets.get(number, []):
                    sweeps += self._fill(c, c.value)
                sweeps += self._sweep(v.groups[number], self.nests[number])
                sweeps += [line for x in self.over_steps.get(number, []) for line in over_steps(self, x)]
            if tiles is not None:
                inner += over_tiles(self, tiles, sweeps)
            else:
                inner += sweeps
            self.tiles = None
        if v.after:
            inner.append("const i64 last = " + ("start;" if v.reverse else "stop - 1;"))
            inner += self._plain(v.after)
            inner += self._copies(v.after)
        inner = [*self.tensors.begun(), *inner, *self.tensors.done()]
        chunks = self.chunked() or self.schedule.chunks
        if not ((chunks and self.block) or self.tensors.found):
            # a delay line may begin with what stands there for each chunk: here is but one
            only = ", chunk = 0" if re.search(r"\bchunk\b", "\n".join(inner)) else ""
            return ["{", *indented([f"const i64 start = 0, stop = length{only};", *inner]), "}"]
        block = self.tensors.steps
        bounds = f"const i64 start = chunk * {block}, stop = start + {block} < length ? start + {block} : length;"
        if self.schedule.chunks:
            return [bounds, *inner]
        if self.backwards():
            head = f"for (i64 chunk = (length - 1) / {block}; chunk >= 0 && length > 0; chunk--) {{"
        else:
            head = f"for (i64 chunk = 0; chunk * {block} < length; chunk++) {{"
        return [head, *indented([bounds, *inner]), "}"]

    def _reads_begun(self) -> bool:
        """Whether a step reads what its chunk begins with: a delay line's first steps."""
        loads = n.postorder([v.value for g in self.values.groups for v in g.values])
        return any(isinstance(x, n.Load) and self.values.buffers[x.buffer].role in BEGUN for x in loads)

    def chunked(self) -> bool:
        """Whether steps are done in chunks because something happens between them."""
        v = self.values
        several = len([g for g in v.groups if g.values]) > 1
        return bool(several or v.starts or v.resets or v.after or self.over_steps) or self._reads_begun()

    def backwards(self) -> bool:
        """Whether chunks run from the last to the first."""
        if self.chunked() or self.schedule.chunks:
            return bool(self.values.reverse)
        return next(self._reverse(g) for g in self.values.groups if g.values)

    def _reverse(self, group: Group) -> bool:
        return self.values.reverse if group.reverse is None else group.reverse

    def _sweep(self, group: Group, nests: list[Nest]) -> list[str]:
        if not group.values:
            return []
        reverse = self._reverse(group)
        held = held_carries(self, group)
        enter(self, held)
        inner: list[str] = []
        last = next(g for g in reversed(self.values.groups) if g.values)
        self.tensors.begin(reverse, group is last)
        for nest in nests:
            inner += self._nest_lines(nest)
        self.tensors.end()
        inner = [*self.tensors.next_chunk(self.tiles), *inner, *self._copies(group.values)]
        leave(self, held)
        head = "for (i64 t = stop - 1; t >= start; t--) {" if reverse else "for (i64 t = start; t < stop; t++) {"
        changed = {c for v in group.values for c in (v.place, v.total) if c is not None}
        return around(self, held, [head, *indented(inner), "}"], changed)

    def gathered(self, v: Value, code: Code, env: Env) -> str:
        """A tile's part of a sum over tiles."""
        before = self.array(v, Point(self, env, None, {}))
        if v.op == "sum":
            after = Code(f"{before.text} + {code.text}", 75, v.kind, before.lanes or code.lanes)
        else:
            after = Code(f"m_{v.op}({before.text}, {code.text})", 100, v.kind, before.lanes or code.lanes)
        return self._assign(v, after, env)

    def _copies(self, values: list[Value]) -> list[str]:
        """The next values of carries that could not be written in place."""
        return [line for v in values if v.place is not None and v not in self.placed for line in self._copy(v, v.place)]

    def _copy(self, v: Value, home: Value) -> list[str]:
        axes = tuple(a for a in self.axes_of(home))
        lane = self.lane_of(home, axes)
        nest = Nest(axes, lane, set(), [])
        copied: list[tuple[Value, Value]] = [(home, v)]
        return self._loops(nest, lambda env: self._assign_copy(env, copied), {})

    def _assign_copy(self, env: Env, pairs: list[tuple[Value, Value]]) -> list[str]:
        out: list[str] = []
        for home, v in pairs:
            self.frame.kept.add(v)
            point = Point(self, env, None, {})
            code = point.converted(self.array(v, point), home.kind)
            out.append(self._assign(home, code, env))
        return out

    # -- nests ---------------------------------------------------------------------------------------------------

    def _nest_lines(self, nest: Nest) -> list[str]:
        if any(n.LAG in v.axes for v in nest.values):
            self._lag_now = self._lag_length(nest.values[0])
        if nest.values[0] in self.products:
            return lines(self, nest, self.products[nest.values[0]])
        if nest.serial:
            return self.printer.serial(self, nest)
        if nest.over:
            return self._reducing(nest)

        def body(env: Env) -> list[str]:
            self.tensors.fetched.clear()  # of nests that fetch nothing
            lines = self._body(nest, env, {})
            return [*self.tensors.taken(env), *lines]

        return self._loops(nest, body, {})

    def _env(self, axes: Iterable[str]) -> dict[str, Index]:
        env: dict[str, Index] = {}
        s = self.schedule
        env[n.BATCH] = Index("0", "b") if s.batch == 1 else Index("i_batch", "(b + i_batch)")
        env |= dict.fromkeys(self.ones, Index("0", "0"))
        for a in s.grid:
            if a != s.lane:
                env[a] = Index("0", self.printer.variable(a))
        if self.values.sequential and not self.step:
            env[n.TIME] = Index("(t - start)", "t")
        elif not self.step and not self.values.at_once and s.time == 1:
            env[n.TIME] = Index("0", "t")
        if self.tiles is not None:
            for a, extent in self.tiles.extents.items():
                if extent == 1 and a != self.tiles.lane:
                    env[a] = Index(self.tile_at(a), self.tile_at(a), near=Index("0", "0"))
        return env

    def _loops(self, nest: Nest, body: object, env: Mapping[str, Index], over: bool = False) -> list[str]:
        """Loops over the axes of a nest, the lane innermost."""
        env = {**self._env(nest.axes), **env}
        axes = [a for a in nest.axes if a != nest.lane]
        heads: list[str] = []
        for a in axes:
            if a not in env or (a == n.BATCH and self.schedule.batch != 1):
                heads.append(self._head(a, env))
        if nest.lane is not None:
            heads.append(self._lane_head(nest.lane, env))
        lines: list[str] = body(env)  # type: ignore[operator]
        for head in reversed(heads):
            lines = [*self._unrolled(head), *enclosed(head, lines)]
        return lines

    def _unrolled(self, head: str) -> list[str]:
        """What keeps a tile in registers: its indices are numbers when its loops are unrolled."""
        count = re.search(r"< (\d+); ", head)
        return [f"#pragma GCC unroll {count[1]}"] if self.in_tile and count and " r++" not in head else []

    def _head(self, a: str, env: dict[str, Index], unroll: str = "") -> str:
        if a == n.BATCH:
            env[a] = Index("i_batch", "(b + i_batch)")
            return "for (i64 i_batch = 0; i_batch < rows; i_batch++) {"
        if a == n.TIME:
            env[a] = Index("i_time", "(t + i_time)")
            return "for (i64 i_time = 0; i_time < steps; i_time++) {"
        if a == n.SOURCE:
            env[a] = Index("i_source", "(t + i_source)")
            return "for (i64 i_source = 0; i_source < steps; i_source++) {"
        var = self.printer.variable(a)
        if a == self.schedule.lane and self.schedule.blocked:
            # one element of the block after the other
            env[a] = Index("e", f"({var} + e)")
            return f"for (i64 e = 0; e < {self.held()} * LANES && {var} + e < {self.size(a)}; e++) {{"
        env[a] = Index(var, var)
        if self.tiles is not None and a in self.tiles.extents:
            at = f"({self.tile_at(a)} + {var})"
            env[a] = Index(at, at, near=Index(var, var))
        size = self.turns(a) if a != n.LAG else self._lag_now
        return f"for (i64 {var} = 0; {var} < {size}; {var}++) {{"

    def _narrow(self, lane: str) -> bool:
        """Whether the vectors of an axis are so few that all of them are computed together."""
        count = self.turns(lane, lane=True)
        return count.isdigit() and int(count) <= NARROW

    def _lag_length(self, v: Value) -> str:
        if v.store:
            return self.depth(v.store)
        return self.lag(v.place.value if v.place is not None else v.value)

    _lag_now = "0"

    def _lane_head(self, a: str, env: dict[str, Index]) -> str:
        env[a] = self._lane_index(a, "r")
        if a == self.schedule.lane and self.schedule.wide:
            count = self.held()
        else:
            count = self.turns(a, lane=True)
        return f"for (i64 r = 0; r < {count}; r++) {{"

    def held(self) -> str:
        """How many vectors of the schedule's lane the cell has: of a wide one, that is an argument."""
        return HELD if self.schedule.wide else str(self.schedule.vectors)

    def _lane_index(self, a: str, r: str) -> Index:
        near = None
        if self.tiles is not None and a in self.tiles.extents:
            near = Index(f"{atom(r)} * LANES", "", True, "", r)
            r = f"({self.tile_at(a)} + {r})"
        local = f"{atom(r)} * LANES"
        if a == self.schedule.lane and self.schedule.blocked:
            whole = f"({self.printer.variable(a)} + {local})"
        elif a == n.SOURCE:
            return Index(local, f"(t + {local})", True, f"steps - {local}", r)
        else:
            whole = f"{local}"
        return Index(local, whole, True, f"{self.size(a)} - {whole}", r, near)

    def _body(self, nest: Nest, env: Env, known: dict[Value, str]) -> list[str]:
        out: list[str] = []
        late: list[str] = []
        for v in nest.values:
            if v.op:  # over the steps alone
                point = Point(self, env, v, known)
                code = point.converted(point.code(v.value), v.kind)
                out.append(told(self.added(v, code, env, point.factors(v.value)), v))
                continue
            out += self._computed(v, env, known, late)
        return [*out, *late]

    def added(self, v: Value, code: Code, env: Env, product: tuple[Code, Code] | None = None) -> str:
        """One step's part of a sum over the steps, and its factors where it is a product of complex numbers."""
        home = v.total if v.total is not None else v
        if v.op != "sum":
            raise NotPrintable(f"{v.op} over the steps")
        before = self.array(home, Point(self, env, None, {}))
        lanes = before.lanes or code.lanes
        if product is not None and before.kind == "complex":
            after = Code(f"fused({', '.join(c.text for c in (*product, before))})", 100, v.kind, lanes)
        else:
            after = Code(f"{before.text} + {code.text}", 75, v.kind, lanes)
        return self._assign(home, after, env)

    def _computed(self, v: Value, env: Env, known: dict[Value, str], late: list[str]) -> list[str]:
        point = Point(self, env, v, known)
        code = point.code(v.special if v.special is not None else v.value)
        if v.store:
            return [told(self.stored(v, code, env), v)]
        code = point.converted(code, v.kind)
        lanes = code.lanes
        kind = VECTOR[v.kind] if lanes else SCALAR[v.kind]
        name = self.printer.identifier(f"{v.name} now")
        out = [told(f"const {kind} {name} = {code.text};", v)]
        known[v] = name + ("|lanes" if lanes else "")
        now = Code(name, 100, v.kind, lanes)
        if v in self.placed:
            assert v.place is not None
            if v.place not in self.rows:
                late.append(self._assign(v.place, point.converted(now, v.place.kind), env))
            if v.crosses:
                late.append(self._assign(v, now, env))
            if self.filling is v.place:
                for x in (x for x in self.led if x.place is self.filling):
                    begin = Index("(stop - start)", "stop") if self._backwards(x) else Index("((t - start) - 1)", "")
                    late.append(self._assign(x, now, {**env, n.TIME: begin}))
        elif self._needed(v):
            late.append(self._assign(v, now, env))
        return out

    def _backwards(self, v: Value) -> bool:
        group = self.values.groups[v.group]
        return group.reverse if group.reverse is not None else self.values.reverse

    def _needed(self, v: Value) -> bool:
        """Whether a value is read outside its nest."""
        if v.crosses or v.carry or v.place is not None:
            return True
        if v in self.frame.kept:
            return True
        for g, nests in zip(self.values.groups, self.nests, strict=True):
            home = next((i for i, x in enumerate(nests) if v in x.values), None)
            if home is None:
                continue
            for i, nest in enumerate(nests):
                if i != home and any(v in x.reads for x in nest.values):
                    return True
            del g
        return any(v in x.reads for x in self._others()) or v in self._others()

    def kept(self, v: Value, code: Code, env: Env) -> str:
        """A value to where it is read from: the carry's array, where that is its next value, and its own."""
        lines = []
        if v.place is not None and v in self.placed and v.place not in self.rows:
            lines.append(self._assign(v.place, Point(self, env, None, {}).converted(code, v.place.kind), env))
        if v.place is None or v not in self.placed or v.crosses:
            lines.append(self._assign(v, code, env))
        return " ".join(lines)

    def _assign(self, v: Value, code: Code, env: Env) -> str:
        a = self.array_of(v)
        timed = v.crosses and self.values.sequential
        name = self.name(v)
        text, _, unit = self._address(v, a, env, timed)
        if not a.order and not timed:
            return f"{name} = {code.text};"
        lane_axis = next((x for x in a.order if env[x].lane), None)
        if lane_axis is None:
            self.frame.scalar.add(v)
            return f"{name}[{text}] = {code.text};"
        value = code.text if code.lanes else f"splat({code.text})"
        if v in self.typed:
            return f"{name}[{text}] = {value};"
        if unit:
            return f"store(&{name}[{text}], {value});"
        self.frame.scalar.add(v)
        return f"put(&{name}[{text}], {self._stride(a, lane_axis)}, {env[lane_axis].left}, {value});"

    # -- sums ----------------------------------------------------------------------------------------------------

    def _reducing(self, nest: Nest) -> list[str]:
        """Result axes outside, with accumulators; what is reduced inside."""
        return self.printer.reduction(self, nest)
