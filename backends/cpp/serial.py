"""Nests without lanes: running sums along an axis, linear systems, matrix exponentials."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from ssmc.backends.cpp.cell import Cell
from ssmc.backends.cpp.nests import Nest
from ssmc.backends.cpp.point import VECTOR, Code, Env, Index, Point
from ssmc.backends.cpp.reductions import joined
from ssmc.backends.cpp.texts import INDENT, SCALAR, identity, indented
from ssmc.backends.cpp.value import Value

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Node


class Serial:
    """What a printer prints element by element.

    It is a part of Printer, whose attributes it takes for granted.
    """

    def serial(self: Any, cell: Cell, nest: Nest) -> list[str]:
        (v,) = nest.values
        node = v.special
        match node:
            case n.Cumulative(op=op, arg=arg, axis=axis, reverse=reverse):
                return self._cumulative(cell, nest, v, op, arg, axis, reverse)
            case n.Geometric():
                return self.geometric(cell, nest, v, node)
            case n.Moment():
                return self.moment(cell, nest, v, node)
            case n.FftConv():
                return self.convolved(cell, nest, v, node)
            case n.Scores():
                return self.scores(cell, nest, v, node)
            case n.Gather():
                return self.gathered(cell, nest, v, node)
            case n.Solve() | n.Expm():
                return self._square(cell, nest, v, node)
        return cell._loops(nest, lambda env: self._serial_body(cell, v, env), {})

    def _serial_body(self: Any, cell: Cell, v: Value, env: Env) -> list[str]:
        point = Point(cell, env, v, {})
        code = point.converted(point.code(v.special if v.special is not None else v.value), v.kind)
        if v.store:
            return [cell.stored(v, code, env)]
        return [cell.kept(v, code, env)]

    def _cumulative(
        self: Any, cell: Cell, nest: Nest, v: Value, op: str, arg: Node, axis: str, reverse: bool
    ) -> list[str]:
        axes = tuple(a for a in nest.axes if a != axis)
        order = cell.array_of(v).order
        # the sums of a vector's elements run side by side
        lane = order[-1] if order and order[-1] in axes and cell.array_of(v).padded and v.place is None else None
        outer = Nest(axes, lane, nest.over, nest.values, nest.serial)
        i = self.variable(axis)

        def body(env: Env) -> list[str]:
            inside = {**env, axis: Index(i, f"(t + {i})" if axis == n.TIME else i)}
            point = Point(cell, inside, v, {})
            code = point.converted(point.code(arg), v.kind)
            term = code.text if code.lanes or lane is None else f"splat({code.text})"
            size = cell.size(axis)
            head = (
                f"for (i64 {i} = {size} - 1; {i} >= 0; {i}--) {{"
                if reverse
                else f"for (i64 {i} = 0; {i} < {size}; {i}++) {{"
            )
            running = Code("running", 100, v.kind, lane is not None)
            lines = [joined(op, "running", term), cell.kept(v, running, inside)]
            start, kind = identity(op, v.kind), SCALAR[v.kind] if lane is None else VECTOR[v.kind]
            start = start if lane is None else f"splat({start})"
            return [f"{kind} running = {start};", head, *indented(lines), "}"]

        return ["{", *indented(cell._loops(outer, body, {})), "}"]

    def _square(self: Any, cell: Cell, nest: Nest, v: Value, node: n.Solve | n.Expm) -> list[str]:
        row, col = node.row, node.col
        element = SCALAR[v.kind]
        size = self.size(row)
        i, j = self.variable(row), self.variable(col)
        outer = replace_axes(
            nest, tuple(a for a in nest.axes if a not in (row, *((col,) if isinstance(node, n.Expm) else ())))
        )

        def body(env: Env) -> list[str]:
            inside = {**env, row: Index(i, i), col: Index(j, j)}
            point = Point(cell, inside, v, {})
            entry = point.converted(point.code(node.matrix), v.kind).text
            lines = [
                f"{element} *const matrix = scratch.take<{element}>({size} * {size} * 2);",
                f"{element} *const answer = matrix + {size} * {size};",
            ]
            lines += [
                f"for (i64 {i} = 0; {i} < {size}; {i}++)",
                f"{INDENT}for (i64 {j} = 0; {j} < {size}; {j}++) matrix[{i} * {size} + {j}] = {entry};",
            ]
            if isinstance(node, n.Solve):
                rhs = point.converted(point.code(node.rhs), v.kind).text
                lines += [
                    f"for (i64 {i} = 0; {i} < {size}; {i}++) answer[{i}] = {rhs};",
                    f"solve(matrix, answer, {size});",
                ]
                out = cell.kept(v, point.converted_name(f"answer[{i}]", v.kind), inside)
                return [*lines, f"for (i64 {i} = 0; {i} < {size}; {i}++) {{ {out} }}"]
            lines.append(f"exponential<{node.order}>(matrix, answer, {size});")
            out = cell.kept(v, point.converted_name(f"answer[{i} * {size} + {j}]", v.kind), inside)
            return [
                *lines,
                f"for (i64 {i} = 0; {i} < {size}; {i}++)",
                f"{INDENT}for (i64 {j} = 0; {j} < {size}; {j}++) {{ {out} }}",
            ]

        cell.scratch_needs.append(f"room({size} * {size} * 2, sizeof({element}))")
        return cell._loops(
            outer,
            lambda env: [
                "{",
                *indented(["Scratch rest = scratch;", *(x.replace("scratch.take", "rest.take") for x in body(env))]),
                "}",
            ],
            {},
        )


def replace_axes(nest: Nest, axes: Axes) -> Nest:
    return Nest(axes, None, nest.over, nest.values, nest.serial)
