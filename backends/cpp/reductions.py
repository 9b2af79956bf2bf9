"""Nests that reduce: result axes outside, accumulators in registers, what is reduced inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ssmc.backends.cpp.nests import Nest
from ssmc.backends.cpp.point import VECTOR, Code, Env, Index, Point
from ssmc.backends.cpp.texts import SCALAR, atom, enclosed, identity, is_enclosed
from ssmc.backends.cpp.value import Value

from ssmc.expr import nodes as n

if TYPE_CHECKING:
    from ssmc.backends.cpp.cell import Cell

ROWS = 4  # results of one vector that share what is read for them
UNROLLED = 32  # the most turns of a loop that keeps what it makes in registers


def joined(op: str, acc: str, term: str) -> str:
    match op:
        case "sum":
            return f"{acc} += {term};"
        case "prod" | "any" | "all" if not is_enclosed(term) and not term.isidentifier():
            return joined(op, acc, f"({term})")
        case "prod":
            return f"{acc} = {acc} * {term};"
        case "any":
            return f"{acc} = {acc} | {term};"
        case "all":
            return f"{acc} = {acc} & {term};"
        case _:
            return f"{acc} = m_{op}({acc}, {term});"


def reduction(cell: Cell, nest: Nest) -> list[str]:
    """The lines of a nest with reductions."""
    return _Reduction(cell, nest).lines()


class _Reduction:
    """Loops over results, then over what is reduced, then the lanes.

    Sums over other axes than the lane are all over the same (`over`). Sums over the lane alone are done when its
    vectors are; those over both when all is.
    """

    def __init__(self, cell: Cell, nest: Nest) -> None:
        self.cell, self.nest = cell, nest
        self.printer = cell.printer
        self.lane = nest.lane
        self.sums = [v for v in nest.values if self._reduces(v)]
        self.over = [a for a in nest.axes if a != nest.lane and any(a in v.over for v in self.sums)]
        # what other cells add to, and this one has one term of at each turn of the loops over what others sum
        self.terms = [v for v in self.sums if set(v.axes) & set(self.over) and not set(v.over) & set(nest.axes)]
        self.sums = [v for v in self.sums if v not in self.terms]
        self.results = [a for a in nest.axes if a not in self.over and a != nest.lane]
        self.across = [v for v in self.sums if self.lane in v.over]
        lanes_only = bool(self.across) and len(self.across) == len(self.sums)
        if not self.over and lanes_only and self.results and self._looped(self.results[-1]):
            self.over = [self.results.pop()]
        self.inner = [v for v in self.across if not any(a in v.over for a in self.over)] if self.over else []
        self.together = self._together()
        self.outer = [v for v in self.sums if v not in self.inner]
        self.names = {v: self.printer.identifier(f"{v.name} {v.op}") for v in self.sums}

    def _reduces(self, v: Value) -> bool:
        # also where a cell has one index only of what is summed: then other cells add to it
        return bool(v.op) and any(a != n.TIME or not self.cell.values.sequential for a in v.over)

    def _looped(self, axis: str) -> bool:
        return axis not in (n.BATCH, n.TIME, n.LAG) and not self.cell.narrowed(axis)

    def _together(self) -> str | None:
        """The innermost axis of which LANES indices come at once: the lanes of as many sums are added up together."""
        if not self.inner or not self.over or not self._looped(self.over[-1]):
            return None
        axis, cell = self.over[-1], self.cell
        tiles = cell.tiles
        if tiles is not None and tiles.extents.get(axis, 0) % self.printer.lanes:
            return None
        for v in self.inner:
            order = cell.array_of(v).order
            if v.op != "sum" or v.kind != "real" or v.total is not None or not order or order[-1] != axis:
                return None
            if not cell.array_of(v).padded:
                return None
        return axis

    # -- the loops -----------------------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        cell, lane = self.cell, self.lane
        env = cell._env(self.nest.axes)
        heads: list[str] = []
        shared = self._shared()
        for a in self.results:
            fixed = a in env and not (a == n.BATCH and cell.schedule.batch != 1)
            if not fixed and a != shared:
                heads.append(cell._head(a, env))
        block, chunked, clamp = 1, False, ""
        if lane is not None and not self.across:
            block, count = self._block(lane)
            chunked = block != count
            if chunked:
                heads.append(f"for (i64 q = 0; q < {count}; q += {block}) {{")
        elif lane is not None and any(lane not in v.over for v in self.outer):
            block = int(cell.turns(lane, lane=True))
        if shared is not None:
            var = self.printer.variable(shared) if shared not in (n.BATCH, n.TIME) else f"i_{shared[1:]}"
            size = {n.BATCH: "rows", n.TIME: "steps"}.get(shared) or cell.size(shared)
            heads.append(f"for (i64 {var}_0 = 0; {var}_0 < {size}; {var}_0 += {ROWS}) {{")
            clamp = f"{var}_0 + s < {size} ? {var}_0 + s : {size} - 1"
        body = self._inside(env, block, chunked, shared, clamp)
        for head in reversed(heads):
            body = enclosed(head, body)
        return body

    def _shared(self) -> str | None:
        """A result axis of which several indices are computed together, to read the rest once for all of them."""
        if len(self.sums) < len(self.nest.values) or self.across or self.lane is None:
            return None
        wide = [a for a in self.results if a == n.TIME and not self.cell.narrowed(a)]
        return wide[0] if wide else None

    def _block(self, lane: str) -> tuple[int, int | str]:
        count = self.cell.turns(lane, lane=True)
        if not count.isdigit():
            return 1, count
        number = int(count)
        for block in (4, 3, 2, 1) if number > 4 else (max(number, 1),):
            if number % block == 0:
                return max(block, 1), number
        return 1, number

    def _inside(self, env: dict[str, Index], block: int, chunked: bool, shared: str | None, clamp: str) -> list[str]:
        """Accumulators, the loops over what is reduced, and what becomes of the sums."""
        cell, lane = self.cell, self.lane
        rows = ROWS if shared is not None else 1
        out = [line for v in self.outer for line in self._begun(v, rows * (1 if v in self.across else block))]
        inner, fixed = dict(env), self.cell._env(())
        heads = [cell._head(a, inner) for a in self.over if a not in fixed]
        if self.together is not None:
            heads[-1] = self._by_lanes(self.together, inner)
        if shared is not None:
            heads.append(f"for (i64 s = 0; s < {rows}; s++) {{" + self._at_shared(shared, inner, clamp))
        lane_head = ""
        if lane is not None:
            if self.across:
                lane_head = cell._lane_head(lane, inner)
            else:
                at = {(True, True): "(q + r)", (True, False): "q", (False, True): "r", (False, False): "0"}
                inner[lane] = cell._lane_index(lane, at[chunked, block > 1])
                if block > 1:
                    lane_head = f"for (i64 r = 0; r < {block}; r++) {{"

        def place(v: Value) -> str:
            name = self.names[v]
            if v in self.across or rows * block == 1 or lane is None:
                return name
            if block == 1:
                return f"{name}[s]"
            return f"{name}[s * {block} + r]" if shared is not None else f"{name}[r]"

        body = self._body(inner, place)
        if lane_head:
            body = enclosed(lane_head, body)
        if self.together is not None:
            body = self._added_together(body, inner)
        elif self.inner:
            ends = [self._keep(v, self._whole(v), inner) for v in self.inner]
            body = [*(line for v in self.inner for line in self._begun(v, 1)), *body, *ends]
        unroll = self._unroll()
        for i, head in enumerate(reversed(heads)):
            lead = [unroll] if unroll and i == len(heads) - 1 else []
            body = [*lead, *enclosed(head, body)]
        return [*out, *body, *self._finish(env, place, block, chunked, shared, clamp)]

    def _by_lanes(self, axis: str, env: dict[str, Index]) -> str:
        """The loop over an axis, LANES of its indices at a time."""
        env[axis] = self._lane_of_rows(axis, " + s")
        var, _ = self._first_row(axis)
        tiled = self.cell.tiles is not None and axis in self.cell.tiles.extents
        turns = self.cell.turns(axis) if tiled else self.cell.extent(axis)
        return f"for (i64 {var} = 0; {var} < {turns}; {var} += LANES) {{"

    def _first_row(self, axis: str) -> tuple[str, str]:
        """The first of LANES indices, in the cell and in the whole."""
        var = self.printer.variable(axis)
        tiles = self.cell.tiles
        if tiles is not None and axis in tiles.extents:
            return var, f"{self.cell.tile_at(axis)} + {var}"
        if axis == n.SOURCE:
            return var, f"t + {var}"
        blocked = axis == self.cell.schedule.lane and self.cell.schedule.blocked
        return ("e", f"{var} + e") if blocked else (var, var)

    def _lane_of_rows(self, axis: str, more: str) -> Index:
        local, whole = self._first_row(axis)
        near = Index(f"({local}{more})", f"({local}{more})")
        return Index(self._in_arrays(axis, more), f"({whole}{more})", near=near)

    def _in_arrays(self, axis: str, more: str = "") -> str:
        """The first of LANES indices in the arrays of the cell."""
        local, whole = self._first_row(axis)
        tiles = self.cell.tiles
        here = whole if tiles is not None and axis in tiles.extents else local
        return f"({here}{more})" if more or here != local else here

    def _added_together(self, body: list[str], env: dict[str, Index]) -> list[str]:
        """The body for LANES indices, and then the sums of all of them at once."""
        axis = self.together
        assert axis is not None
        local, whole = self._first_row(axis)
        size, lanes = self.cell.size(axis), self.printer.lanes
        whole_blocks = size.isdigit() and int(size) % (lanes * (self.cell.schedule.vectors if local == "e" else 1)) == 0
        rows = [f"vreal {self.names[v]}_rows[LANES]{'' if whole_blocks else ' = {}'};" for v in self.inner]
        begin = [line for v in self.inner for line in self._begun(v, 1)]
        ends = [f"{self.names[v]}_rows[s] = {self.names[v]};" for v in self.inner]
        tiled = self.cell.tiles is not None and axis in self.cell.tiles.extents
        within = axis == n.SOURCE
        bound = f"{local} + s < {self.cell.turns(axis)}" if tiled else f"{local if within else whole} + s < {size}"
        there = "" if whole_blocks else f" && {bound}"
        inside = enclosed(f"for (i64 s = 0; s < LANES{there}; s++) {{", [*begin, *body, *ends])
        first = self._in_arrays(axis)
        near = Index(local, local, True, "", f"{local} / LANES")
        left = f"{size} - {atom(local if within else whole)}"
        at = {**env, axis: Index(first, atom(whole), True, left, f"{first} / LANES", near)}
        stores = [self._keep(v, Code(f"hsums({self.names[v]}_rows)", 100, v.kind, True), at) for v in self.inner]
        return [*rows, *inside, *stores]

    def _begun(self, v: Value, count: int) -> list[str]:
        """An accumulator, or several."""
        name = self.names[v]
        kind = VECTOR[v.kind] if self.lane is not None else SCALAR[v.kind]
        start = identity(v.op, v.kind)
        start = f"splat({start})" if self.lane is not None else start
        if count == 1:
            return [f"{kind} {name} = {start};"]
        return [f"{kind} {name}[{count}];", f"for ({kind} &x : {name}) x = {start};"]

    def _at_shared(self, shared: str, env: dict[str, Index], clamp: str) -> str:
        """Rows beyond the last are the last again."""
        local = f"i_{shared[1:]}"
        base = {n.BATCH: "b", n.TIME: "t"}[shared]
        env[shared] = Index(local, f"({base} + {local})")
        return f"\nconst i64 {local} = {clamp};"

    def _unroll(self) -> str:
        if not self.over or self.over[0] == n.LAG:
            return ""
        size = self.cell.turns(self.over[0])
        if self.cell.in_tile and size.isdigit():
            return f"#pragma GCC unroll {size}"
        typed = any(v.place is not None for v in self.nest.values)
        if size.isdigit() and typed and int(size) * self.cell.schedule.vectors <= UNROLLED:
            return f"#pragma GCC unroll {size}"
        return "#pragma GCC unroll 4" if typed and not self.across else ""

    # -- what is computed ----------------------------------------------------------------------------------------

    def _body(self, env: Env, place: Callable[[Value], str]) -> list[str]:
        cell = self.cell
        out: list[str] = []
        late: list[str] = []
        known: dict[Value, str] = {}
        for v in self.nest.values:
            if not v.op:
                out += cell._computed(v, env, known, late)
                continue
            point = Point(cell, env, v, known)
            code = point.converted(point.code(v.value), v.kind)
            if v in self.terms:
                out.append(_told(self._keep(v, code, env), v))
                continue
            if not self._reduces(v):  # over the steps alone
                out.append(_told(cell.added(v, code, env, point.factors(v.value)), v))
                continue
            partly = v in self.across and not self._full()
            product = "" if partly else self._product(v, point, place(v))
            if product:
                out.append(_told(product, v))
                continue
            term = code.text if code.lanes or self.lane is None else f"splat({code.text})"
            if partly:
                assert self.lane is not None
                term = f"first({term}, {env[self.lane].left}, {identity(v.op, v.kind)})"
            out.append(_told(joined(v.op, place(v), term), v))
        return [*out, *late]

    def _full(self) -> bool:
        """Whether no vector of the lane reaches beyond its end."""
        assert self.lane is not None
        size, schedule = self.cell.size(self.lane), self.cell.schedule
        blocked = schedule.blocked and self.lane == schedule.lane
        width = self.printer.lanes * (schedule.vectors if blocked else 1)
        return size.isdigit() and int(size) % width == 0

    def _product(self, v: Value, point: Point, place: str) -> str:
        """A product of complex numbers, or its real part, added to a sum."""
        node, name = v.value, "fused"
        if isinstance(node, n.Map) and node.op == "real" and node not in v.stands:
            node, name = node.args[0], "fused_real"
        found = point.factors(node) if v.op == "sum" else None
        if found is None or (v.kind == "complex") == (name == "fused_real"):
            return ""
        parts = [c.text if c.lanes or self.lane is None else f"splat({c.text})" for c in found]
        return f"{place} = {name}({', '.join(parts)}, {place});"

    def _whole(self, v: Value) -> Code:
        return Code(f"h{v.op}({self.names[v]})", 100, v.kind, False)

    def _finish(
        self,
        env: dict[str, Index],
        place: Callable[[Value], str],
        block: int,
        chunked: bool,
        shared: str | None,
        clamp: str,
    ) -> list[str]:
        """The accumulators to where the values are kept."""
        cell, lane = self.cell, self.lane
        ends = [self._keep(v, self._whole(v), env) for v in self.outer if v in self.across]
        rest = [v for v in self.outer if v not in self.across]
        if not rest:
            return ends
        inner = dict(env)
        heads: list[str] = []
        if shared is not None:
            heads.append(f"for (i64 s = 0; s < {ROWS}; s++) {{" + self._at_shared(shared, inner, clamp))
        if lane is not None:
            at = {(True, True): "(q + r)", (True, False): "q", (False, True): "r", (False, False): "0"}
            inner[lane] = cell._lane_index(lane, at[chunked, block > 1])
            if block > 1:
                heads.append(f"for (i64 r = 0; r < {block}; r++) {{")
        lines = [self._keep(v, Code(place(v), 100, v.kind, lane is not None), inner) for v in rest]
        for head in reversed(heads):
            lines = enclosed(head, lines)
        return [*lines, *ends]

    def _keep(self, v: Value, code: Code, env: Env) -> str:
        cell = self.cell
        if v.total is not None or (n.TIME in v.over and cell.values.sequential):
            return cell.added(v, code, env)
        if cell.tiles is not None and v in cell.tiles.sums:
            return cell.gathered(v, code, env)
        return cell._assign(v, code, env)


def _told(line: str, v: Value) -> str:
    if v.span is None:
        return line
    where = "".join(c if c.isprintable() else "?" for c in v.span.where.rsplit("/", 1)[-1])
    return f"{line}  // {where}"
