"""The rows of the caller's tensors that a chunk of steps reads and writes: as they lie, or laid out for the lanes.

    const bool x_lies = x_D == 1 && …;                                  once a cell: whole vectors of neighbours
    const real *x_here = x_lies ? &x[…] : laid_out(x_tile, &x[…], …);   once a chunk
    … load(&x_here[(t - start) * x_here_time + r * LANES]) …            at every step

Where lanes are not neighbours in memory, or the last vector of an axis is not whole, the chunk's rows are copied
(through transposes in registers, where another axis is contiguous), so that a step has nothing to ask. What is written
is copied the other way when the chunk is done. What is larger than the caches is stored past them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssmc.backends.cpp.point import Code, Env, Index
from ssmc.backends.cpp.texts import product, times

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Kind

if TYPE_CHECKING:
    from ssmc.backends.cpp.cell import Cell
    from ssmc.backends.cpp.tiles import Tiles

STEPS = 64  # of a chunk, where the program has none
TILE = 1 << 16  # elements of a tile, at most
AHEAD = 4  # steps that rows are fetched before they are read, where nothing but the memory sets the pace


@dataclass(frozen=True)
class Row:
    """A tensor whose rows a chunk has, and its dimensions. Names are made of `word`."""

    tensor: str
    word: str
    written: bool
    axes: Axes  # all of them
    lane: str
    others: Axes  # in loops outside the lane's


class Rows:
    """Of one cell."""

    def __init__(self, cell: Cell, before: Rows | None = None) -> None:
        self.cell, self.printer = cell, cell.printer
        self.known = tuple(before.found.values()) if before is not None else ()  # from the first time of printing
        self.ahead = False  # whether a sweep of this chunk fetches the rows of the next
        self.found: dict[tuple[str, str], Row] = {}
        self.fetched: dict[str, None] = {}  # addresses that the nest at hand reads first
        self.seen: set[Row] = set()  # that the chunk has read already
        self.waiting: list[Row] = []  # that the first sweeps of the next chunk read
        self.sweep = 0  # +1 or -1 in a sweep over the steps

    # -- which -----------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        return self.cell.block or STEPS

    def possible(self) -> bool:
        """Whether the pass has chunks, or can have."""
        v = self.cell.values
        return v.sequential and not self.cell.step and bool(self.cell.block or not self.cell.chunked())

    def _row(self, tensor: str, buffer: str, axes: Axes, env: Env, written: bool) -> Row | None:
        """The rows that a read or a write is of; None where it is of no such kind."""
        cell, s = self.cell, self.cell.schedule
        lane = next((a for a in axes if env[a].lane), None)
        if not self.sweep or not self.possible() or lane is None or n.TIME not in axes or env[n.TIME].whole != "t":
            return None
        if not self._apart(buffer, written):
            return None
        others: list[str] = []
        for a in axes:
            if a in (n.TIME, lane):
                continue
            if a == n.LAG or (a == s.lane and s.blocked) or (a == n.BATCH and s.batch != 1):
                return None
            if a == n.BATCH or cell.narrowed(a):
                own = "b" if a == n.BATCH else self.printer.variable(a)
                if env[a].whole != own:
                    return None
            else:
                others.append(a)
        if not self._fits(lane, others):
            return None
        if (tensor, lane) not in self.found:
            first = not any(t == tensor for t, _ in self.found)
            self.found[tensor, lane] = Row(
                tensor, tensor if first else f"{tensor} {lane}", written, axes, lane, tuple(others)
            )
        return self.found[tensor, lane]

    def _apart(self, buffer: str, written: bool) -> bool:
        """Whether a pass does not read what it writes."""
        v = self.cell.values
        b = v.buffers[buffer]
        if not written:
            return b.role == "input"
        if b.role != "output" or buffer in v.spare:
            return False
        loads = (x.buffer for g in v.groups for w in g.values for x in n.postorder([w.value]) if isinstance(x, n.Load))
        return buffer not in loads

    def _fits(self, lane: str, others: list[str]) -> bool:
        sizes = [self.printer.size(a) for a in others]
        if not all(x.isdigit() for x in sizes):
            return False
        width = self.cell.vectors(lane)
        count = self.steps * self.printer.lanes * (int(width) if width.isdigit() else 1)
        for x in sizes:
            count *= int(x)
        return count <= TILE

    # -- at a step -------------------------------------------------------------------------------------------------

    def read(self, tensor: str, buffer: str, axes: Axes, kind: Kind, env: Env) -> Code | None:
        row = self._row(tensor, buffer, axes, env, False)
        if row is None:
            return None
        if row not in self.seen:
            self.seen.add(row)
            if self.cell.tiles is None:
                there = self._at(row, self._later(env, self.sweep * AHEAD))
                self.fetched[f"prefetch(&{self.here(row)}[{there}]);"] = None
        return Code(f"load(&{self.here(row)}[{self._at(row, env)}])", 100, kind, True)

    def next_chunk(self, tiles: Tiles | None) -> list[str]:
        """At a step of a sweep over a tile: the rows that the next chunk reads there, and that this one is to write.

        The sweep computes for long on what is near, and the memory has time."""
        if self.ahead or tiles is None or tiles.lane not in tiles.extents:
            return []
        self.ahead = True
        out: list[str] = []
        for row in (row for row in self.known if row.lane == tiles.lane and not row.others):
            time = (
                "(t - start)" if row.written else f"(t - start {'-' if self.cell.values.reverse else '+'} {self.steps})"
            )
            row_at = f"{self.here(row)}[{time} * {self.here(row)}_time + "
            ask = f"if (!{self.past(row)}) " if row.written else ""
            for r in range(tiles.extents[row.lane] // self.printer.lanes):
                first = self.cell.tile_at(row.lane)
                vector = f"({first} + {r})" if r else first
                out.append(f"{ask}prefetch(&{row_at}{vector} * LANES]);")
        return out

    def _later(self, env: Env, steps: int) -> Env:
        later = f"(t - start {'+' if steps > 0 else '-'} {abs(steps)})"
        return {**env, n.TIME: Index(later, later)}

    def begin(self, reverse: bool, last: bool) -> None:
        """Begin a sweep: the last of a chunk fetches what the next chunk begins with, while it does other things."""
        self.sweep = -1 if reverse else 1
        fetches = last and self.cell.tiles is None and not self.cell.schedule.chunks
        self.waiting = [row for row in self.found.values() if row in self.seen] if fetches else []

    def end(self) -> None:
        self.sweep, self.waiting, self.fetched = 0, [], {}

    def written(self, tensor: str, buffer: str, axes: Axes, env: Env, text: str) -> str | None:
        row = self._row(tensor, buffer, axes, env, True)
        if row is None:
            return None
        return f"place(&{self.here(row)}[{self._at(row, env)}], {text}, {self.past(row)});"

    def _at(self, row: Row, env: Env) -> str:
        """Where an element is among the rows of the chunk."""
        time = "(t - start)" if env[n.TIME].whole == "t" else env[n.TIME].whole
        terms = [product(time, f"{self.here(row)}_time")]
        terms += [product(env[a].whole, self._word(row, a)) for a in row.others if env[a].whole != "0"]
        terms += [env[row.lane].local] if env[row.lane].local != "0" else []
        return " + ".join(terms)

    def _word(self, row: Row, axis: str) -> str:
        return f"{self.here(row)}_{self.printer.variable(axis)[2:]}"

    # -- names -------------------------------------------------------------------------------------------------------

    def here(self, row: Row) -> str:
        """The first of the chunk's rows."""
        return self.printer.identifier(f"{row.word} here")

    def lies(self, row: Row) -> str:
        """Whether rows are whole vectors in the tensor itself."""
        return self.printer.identifier(f"{row.word} lies")

    def tile(self, row: Row) -> str:
        return self.printer.identifier(f"{row.word} tile")

    def past(self, row: Row) -> str:
        """Whether it is stored past the caches."""
        return self.printer.identifier(f"{row.word} past")

    @property
    def streams(self) -> bool:
        """Whether something may be written past the caches."""
        found = any(row.written for row in self.found.values())
        self.printer.streams |= found
        return found

    def taken(self, env: Env) -> list[str]:
        """What a nest fetches for later steps."""
        lines, self.fetched = list(self.fetched), {}
        steps = -self.steps if self.waiting and self.cell.backwards() else self.steps
        for row in [x for x in self.waiting if x.lane in env and env[x.lane].lane and not x.others]:
            lines.append(f"prefetch_second(&{self.here(row)}[{self._at(row, self._later(env, steps))}]);")
            self.waiting.remove(row)
        return lines

    # -- around the steps --------------------------------------------------------------------------------------------

    def _width(self, row: Row, most: bool = False) -> str:
        """Elements of a row of a tile along the lane: whole vectors."""
        s = self.cell.schedule
        blocked = row.lane == s.lane and s.blocked
        return times(self.cell.held() if blocked and not most else self.cell.vectors(row.lane), "LANES")

    def _tile(self, row: Row) -> list[tuple[str, str, str]]:
        """(axis, count, distance in a tile) of the steps and of the other axes."""
        out: list[tuple[str, str, str]] = []
        step = self._width(row)
        for a in reversed(row.others):
            out.insert(0, (a, self.printer.size(a), step))
            step = times(step, self.printer.size(a))
        return [(n.TIME, "stop - start", step), *out]

    def _first(self, row: Row) -> str:
        """The element of the tensor at which the rows of a chunk begin."""
        terms = []
        for a in row.axes:
            word = self.printer.stride(row.tensor, a)
            if a == n.TIME:
                terms.append(f"start * {word}")
            elif a == n.BATCH:
                terms.append(f"b * {word}")
            elif a not in row.others and not (a == row.lane and not self._blocked(row)):
                terms.append(f"{self.printer.variable(a)} * {word}")
        return f"&{row.tensor}[{' + '.join(terms)}]"

    def _blocked(self, row: Row) -> bool:
        return row.lane == self.cell.schedule.lane and self.cell.schedule.blocked

    def _left(self, row: Row) -> str:
        """How many elements there are along the lane from the cell's first."""
        size = self.printer.size(row.lane)
        return f"{size} - {self.printer.variable(row.lane)}" if self._blocked(row) else size

    def declared(self) -> list[str]:
        """What is decided once a cell, and the tiles."""
        out: list[str] = []
        for row in self.found.values():
            lane = self.printer.stride(row.tensor, row.lane)
            out.append(f"const bool {self.lies(row)} = {lane} == 1 && {self._width(row)} <= {self._left(row)};")
            element = self.printer.fields[row.tensor][0]
            count = str(self.steps)
            for size in (*map(self.printer.size, row.others), self._width(row, most=True)):
                count = times(count, size)
            self.cell.scratch.append(f"room({count}, sizeof({element}))")
            out.append(f"{element} *const {self.tile(row)} = scratch.take<{element}>({count});")
            if row.written:
                strides = ", ".join(self.printer.stride(row.tensor, a) for a in row.axes)
                out.append(f"const bool {self.past(row)} = c.past && whole_vectors({row.tensor}, {strides});")
        return out

    def begun(self) -> list[str]:
        """Where the rows are, at the beginning of a chunk."""
        out: list[str] = []
        for row in self.found.values():
            element = self.printer.fields[row.tensor][0]
            tile = self._tile(row)
            for a, _, step in tile:
                word = self._word(row, a) if a != n.TIME else f"{self.here(row)}_time"
                out.append(f"const i64 {word} = {self.lies(row)} ? {self.printer.stride(row.tensor, a)} : {step};")
            if row.written:
                other = f"{self.tile(row)}"
            else:
                other = f"laid_out({self.tile(row)}, {self._first(row)}, {self._shape(row)}, {self._ahead(row)})"
            kind = f"{'' if row.written else 'const '}{element} *__restrict const"
            out.append(f"{kind} {self.here(row)} = {self.lies(row)} ? {self._first(row)} : {other};")
        return out

    def _ahead(self, row: Row) -> str:
        """How far away in the tensor the rows of the next chunk are."""
        if self.cell.schedule.chunks:
            return "0"  # they are another cell's
        return f"{'-' if self.cell.backwards() else ''}{self.steps} * {self.printer.stride(row.tensor, n.TIME)}"

    def done(self) -> list[str]:
        """What was written in tiles, to where it belongs."""
        out: list[str] = []
        for row in self.found.values():
            if row.written:
                back = f"put_back({self._first(row)}, {self.tile(row)}, {self._shape(row)}, {self.past(row)});"
                out.append(f"if (!{self.lies(row)}) {back}")
        return out

    def _shape(self, row: Row) -> str:
        tile = self._tile(row)
        counts = ", ".join(count for _, count, _ in tile)
        inside = ", ".join(step for _, _, step in tile)
        outside = ", ".join(self.printer.stride(row.tensor, a) for a, _, _ in tile)
        lane = self.printer.stride(row.tensor, row.lane)
        return f"{{{counts}}}, {{{inside}}}, {{{outside}}}, {lane}, {self._left(row)}, {self._width(row)}"
