"""Nests that reduce: result axes outside, accumulators in registers, what is reduced inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ssmc.backends.cpp.nests import Nest
from ssmc.backends.cpp.point import SCALAR, VECTOR, Code, Env, Index, Point
from ssmc.backends.cpp.texts import enclosed
from ssmc.backends.cpp.value import NotPrintable, Value

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Kind

if TYPE_CHECKING:
    from ssmc.backends.cpp.cell import Cell

INDENT = "    "
ROWS = 4  # results of one vector that share what is read for them
UNROLLED = 32  # the most turns of a loop that keeps what it makes in registers


def identity(op: str, kind: Kind) -> str:
    match op, kind:
        case ("sum", "complex"):
            return "cx<real>{real(0), real(0)}"
        case ("prod", "complex"):
            return "cx<real>{real(1), real(0)}"
        case ("sum", _):
            return f"{SCALAR[kind]}(0)"
        case ("prod", _):
            return f"{SCALAR[kind]}(1)"
        case ("max", "int"):
            return "i64(-9223372036854775807 - 1)"
        case ("min", "int"):
            return "i64(9223372036854775807)"
        case ("max", _):
            return "-INFINITE"
        case ("min", _):
            return "INFINITE"
        case ("any", _):
            return "false"
        case ("all", _):
            return "true"
    raise NotPrintable(op)


def joined(op: str, acc: str, term: str) -> str:
    match op:
        case "sum":
            return f"{acc} += {term};"
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
    def __init__(self, cell: Cell, nest: Nest) -> None:
        self.cell, self.nest = cell, nest
        self.printer = cell.printer
        self.results = [a for a in nest.axes if a not in nest.over]
        self.over = [a for a in nest.axes if a in nest.over]
        self.lane = nest.lane
        self.across = nest.lane in nest.over  # the lanes themselves are reduced

    def lines(self) -> list[str]:
        cell, lane = self.cell, self.lane
        env = cell._env(self.nest.axes)
        heads: list[str] = []
        outer = [a for a in self.results if a != lane]
        shared = self._shared(outer)
        for a in outer:
            if a in env and not (a == n.BATCH and cell.schedule.batch != 1):
                continue
            if a == shared:
                continue
            heads.append(cell._head(a, env))
        block, tail = 1, ""
        if lane is not None and not self.across:
            block, count = self._block(lane)
            if block != count:
                heads.append(f"for (i64 q = 0; q < {count}; q += {block}) {{")
        if shared is not None:
            var = self.printer.variable(shared) if shared not in (n.BATCH, n.TIME) else f"i_{shared[1:]}"  # type: ignore[attr-defined]
            size = {n.BATCH: "rows", n.TIME: "steps"}.get(shared) or cell.size(shared)
            heads.append(f"for (i64 {var}_0 = 0; {var}_0 < {size}; {var}_0 += {ROWS}) {{")
            tail = f"{var}_0 + s < {size} ? {var}_0 + s : {size} - 1"
        body = self._inside(env, block, bool(heads) and "q += " in "".join(heads), shared, tail)
        for head in reversed(heads):
            body = enclosed(head, body)
        return body

    def _shared(self, outer: list[str]) -> str | None:
        """A result axis of which several indices are computed together, to read the rest once for all of them."""
        if any(not v.op for v in self.nest.values) or self.across or self.lane is None:
            return None
        wide = [a for a in outer if a in (n.TIME, n.BATCH) and not self.cell.narrowed(a)]
        return wide[0] if wide else None

    def _block(self, lane: str) -> tuple[int, int | str]:
        count = self.cell.vectors(lane)
        if not count.isdigit():
            return 1, count
        number = int(count)
        for block in (4, 3, 2, 1) if number > 4 else (number,):
            if number % block == 0:
                return max(block, 1), number
        return 1, number

    def _inside(self, env: dict[str, Index], block: int, chunked: bool, shared: str | None, clamp: str) -> list[str]:
        cell, lane = self.cell, self.lane
        sums = [v for v in self.nest.values if self._reduces(v)]
        rows = ROWS if shared is not None else 1
        lanes_inside = lane is not None
        out: list[str] = []
        names: dict[Value, str] = {}
        for v in sums:
            name = self.printer.identifier(f"{v.name} {v.op}")  # type: ignore[attr-defined]
            names[v] = name
            kind = VECTOR[v.kind] if lanes_inside else SCALAR[v.kind]
            count = block * rows if lanes_inside and not self.across else rows
            start = identity(v.op, v.kind)
            start = f"splat({start})" if lanes_inside else start
            if count == 1:
                out.append(f"{kind} {name} = {start};")
            else:
                out.append(f"{kind} {name}[{count}];")
                out.append(f"for ({kind} &x : {name}) x = {start};")
        single = (block * rows == 1) or (self.across and rows == 1)

        def place(v: Value) -> str:
            if single or not lanes_inside:
                return names[v]
            if block == 1:
                return f"{names[v]}[s]"
            return f"{names[v]}[s * {block} + r]" if shared is not None else f"{names[v]}[r]"

        inner = dict(env)
        heads: list[str] = []
        for a in self.over:
            if a != lane:
                heads.append(cell._head(a, inner))
        if shared is not None:
            heads.append(f"for (i64 s = 0; s < {rows}; s++) {{" + self._at_shared(shared, inner, clamp))
        if lanes_inside:
            assert lane is not None
            if self.across:
                heads.append(cell._lane_head(lane, inner))
            elif block > 1 or chunked:
                inner[lane] = cell._lane_index(lane, "(q + r)" if chunked else "r")
                if block > 1:
                    heads.append(f"for (i64 r = 0; r < {block}; r++) {{")
                else:
                    inner[lane] = cell._lane_index(lane, "q" if chunked else "0")
            else:
                inner[lane] = cell._lane_index(lane, "0")
        body = self._body(inner, place)
        unroll = self._unroll(heads)
        for i, head in enumerate(reversed(heads)):
            lead = [unroll] if unroll and i == len(heads) - 1 else []
            body = [*lead, *enclosed(head, body)]
        out += body
        out += self._finish(env, names, place, block, chunked, shared, clamp)
        return out

    def _reduces(self, v: Value) -> bool:
        return bool(v.op) and any(a in self.nest.over for a in v.over)

    def _at_shared(self, shared: str, env: dict[str, Index], clamp: str) -> str:
        """Rows beyond the last are the last again."""
        local = f"i_{shared[1:]}"
        base = {n.BATCH: "b", n.TIME: "t"}[shared]
        env[shared] = Index(local, f"({base} + {local})")
        return f"\nconst i64 {local} = {clamp};"

    def _unroll(self, heads: list[str]) -> str:
        if not self.over or self.across:
            return ""
        first = next((a for a in self.over if a != self.lane), None)
        if first is None:
            return ""
        size = self.cell.size(first) if first != n.LAG else ""
        typed = any(v.place is not None for v in self.nest.values)
        if size.isdigit() and typed and int(size) * self.cell.schedule.vectors <= UNROLLED:
            return f"#pragma GCC unroll {size}"
        return "#pragma GCC unroll 4" if typed else ""

    def _body(self, env: Env, place: Callable[[Value], str]) -> list[str]:
        cell = self.cell
        out: list[str] = []
        late: list[str] = []
        known: dict[Value, str] = {}
        for v in self.nest.values:
            if not v.op:
                out += cell._computed(v, env, known, late)
                continue
            if not self._reduces(v):  # over the steps alone
                point = Point(cell, env, v, known)
                out.append(_told(cell.added(v, point.converted(point.code(v.value), v.kind), env), v))
                continue
            point = Point(cell, env, v, known)
            code = point.converted(point.code(v.value), v.kind)
            term = code.text if code.lanes or self.lane is None else f"splat({code.text})"
            if self.across:
                assert self.lane is not None
                index = env[self.lane]
                size = cell.size(self.lane)
                width = self.printer.lanes * (cell.schedule.vectors if cell.schedule.blocked else 1)  # type: ignore[attr-defined]
                if not (size.isdigit() and int(size) % width == 0):
                    term = f"first({term}, {index.left}, {identity(v.op, v.kind)})"
            out.append(_told(joined(v.op, place(v), term), v))
        return [*out, *late]

    def _finish(
        self,
        env: dict[str, Index],
        names: dict[Value, str],
        place: Callable[[Value], str],
        block: int,
        chunked: bool,
        shared: str | None,
        clamp: str,
    ) -> list[str]:
        """The accumulators to where the values are kept."""
        cell, lane = self.cell, self.lane
        inner = dict(env)
        heads: list[str] = []
        if shared is not None:
            heads.append(f"for (i64 s = 0; s < {ROWS}; s++) {{" + self._at_shared(shared, inner, clamp))
        if lane is not None and not self.across:
            if block > 1:
                inner[lane] = cell._lane_index(lane, "(q + r)" if chunked else "r")
                heads.append(f"for (i64 r = 0; r < {block}; r++) {{")
            else:
                inner[lane] = cell._lane_index(lane, "q" if chunked else "0")
        out: list[str] = []
        for v in self.nest.values:
            if not self._reduces(v):
                continue
            lanes = lane is not None and not self.across
            text = place(v)
            if self.across:
                text = f"h{v.op}({names[v]})"
            code = Code(text, 100, v.kind, lanes)
            out.append(self._keep(v, code, inner))
        for head in reversed(heads):
            out = enclosed(head, out)
        return out

    def _keep(self, v: Value, code: Code, env: Env) -> str:
        cell = self.cell
        if v.total is not None or (n.TIME in v.over and cell.values.sequential):
            return cell.added(v, code, env)
        return cell._assign(v, code, env)


def _told(line: str, v: Value) -> str:
    if v.span is None:
        return line
    where = "".join(c if c.isprintable() else "?" for c in v.span.where.rsplit("/", 1)[-1])
    return f"{line}  // {where}"
