"""Convolutions over a tile: kernels by recurrence, products of Fourier transforms, and the state afterwards.

    k[l] = sum over N of c * a^l      p = c;  for each l:  k[l] += p;  p *= a
    y = k conv x                      transforms of twice the length, at least; summed axes are added up between them
    m = a^L m + sum of a^.. f x       for each t:  m = a*m + f*x[t]

Channels are lanes: each lane has a transform of its own.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ssmc.backends.cpp.cell import Cell
from ssmc.backends.cpp.nests import Nest
from ssmc.backends.cpp.point import VECTOR, Code, Env, Index, Point
from ssmc.backends.cpp.texts import INDENT, SCALAR, enclosed, identity, indented
from ssmc.backends.cpp.value import Value

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Kind, Node

STEPS = "for (i64 i_time = 0; i_time < steps; i_time++) {"
AT = Index("i_time", "(t + i_time)")


class Transforms:
    """What a printer prints of convolutions.

    It is a part of Printer, whose attributes it takes for granted.
    """

    def geometric(self: Any, cell: Cell, nest: Nest, v: Value, node: n.Geometric) -> list[str]:
        lane = _lane(cell, v)
        kind = _type(v.kind, lane)

        def body(env: Env) -> list[str]:
            at = {**env, n.TIME: AT}
            heads, at = self._over(cell, node.over, at)
            base = _lifted(cell, node.base, v, at, lane)
            power = [
                f"const {kind} part_base = {base};",
                f"{kind} part_power = {_lifted(cell, node.coefficient, v, at, lane)};",
            ]
            power += ["part_power = part_power * part_base;"] * node.first
            before = cell.array(v, Point(cell, at, None, {}))
            added = cell.kept(v, Code(f"{before.text} + part_power", 75, v.kind, lane is not None), at)
            turns = [*power, *enclosed(STEPS, [added, "part_power = part_power * part_base;"])]
            for head in reversed(heads):
                turns = enclosed(head, turns)
            zero = Code(_zero(v.kind, lane), 100, v.kind, lane is not None)
            return [*enclosed(STEPS, [cell.kept(v, zero, at)]), *(turns if heads else ["{", *indented(turns), "}"])]

        return _looped(cell, nest, lane, body)

    def moment(self: Any, cell: Cell, nest: Nest, v: Value, node: n.Moment) -> list[str]:
        lane = _lane(cell, v)

        def body(env: Env) -> list[str]:
            at = {**env, n.TIME: AT}
            base, factor, arg = (_lifted(cell, x, v, at, lane) for x in (node.base, node.factor, node.arg))
            return [
                f"{_type(v.kind, lane)} part_moment = {_lifted(cell, node.carry, v, env, lane)};",
                *enclosed(STEPS, [f"part_moment = {_group(base)} * part_moment + {_group(factor)} * {_group(arg)};"]),
                cell.kept(v, Code("part_moment", 100, v.kind, lane is not None), env),
            ]

        return _looped(cell, nest, lane, body)

    def convolved(self: Any, cell: Cell, nest: Nest, v: Value, node: n.FftConv) -> list[str]:
        lane = _lane(cell, v)
        kind = _type("complex", lane)
        size = f"padded_to({cell.chunk()})"
        cell.scratch_needs.append(f"room({size}, 3 * sizeof({kind})) + room({size}, sizeof(cx<real>)) + 192")

        def body(env: Env) -> list[str]:
            heads, at = self._over(cell, node.over, {**env, n.TIME: AT})
            arg, kernel = (_lifted(cell, x, v, at, lane, "complex") for x in (node.arg, node.kernel))
            zero = _zero("complex", lane)
            turn = [
                *enclosed(STEPS, [f"part_signal[i_time] = {arg};", f"part_kernel[i_time] = {kernel};"]),
                f"for (i64 i = steps; i < part_padded; i++) part_signal[i] = part_kernel[i] = {zero};",
                "transformed(part_signal, part_turn, part_padded);",
                "transformed(part_kernel, part_turn, part_padded);",
                "for (i64 i = 0; i < part_padded; i++)",
                f"{INDENT}part_total[i] = part_total[i] + part_signal[i] * part_kernel[i];",
            ]
            for head in reversed(heads):
                turn = enclosed(head, turn)
            made = "part_total[i_time]" if v.kind == "complex" else "part_total[i_time].re"
            code = Code(f"{made} * (real(1) / real(part_padded))", 80, v.kind, lane is not None)
            return [
                f"for (i64 i = 0; i < part_padded; i++) part_total[i] = {zero};",
                *turn,
                "untransformed(part_total, part_turn, part_padded);",
                *enclosed(STEPS, [cell.kept(v, code, {**env, n.TIME: AT})]),
            ]

        lines = [
            "Scratch rest = scratch;",
            "const i64 part_padded = padded_to(steps);",
            *(f"{kind} *const part_{name} = rest.take<{kind}>(part_padded);" for name in ("signal", "kernel", "total")),
            "cx<real> *const part_turn = rest.take<cx<real>>(part_padded);",
            "unit_roots(part_turn, part_padded);",
        ]
        return ["{", *indented([*lines, *_looped(cell, nest, lane, body)]), "}"]

    def _over(self: Any, cell: Cell, over: Iterable[str], env: dict[str, Index]) -> tuple[list[str], dict[str, Index]]:
        """Loops over axes that are summed."""
        heads = []
        for a in over:
            i = self.variable(a)
            env = {**env, a: Index(i, i)}
            heads.append(f"for (i64 {i} = 0; {i} < {cell.size(a)}; {i}++) {{")
        return heads, env


def _lane(cell: Cell, v: Value) -> str | None:
    """The axis whose elements are computed side by side: the last of the value's array."""
    array = cell.array_of(v)
    return array.order[-1] if array.order and array.padded else None


def _looped(cell: Cell, nest: Nest, lane: str | None, body: object) -> list[str]:
    axes = tuple(a for a in nest.axes if a != n.TIME)
    return ["{", *indented(cell._loops(Nest(axes, lane, nest.over, nest.values, True), body, {})), "}"]


def _lifted(cell: Cell, node: Node, v: Value, env: Env, lane: str | None, kind: Kind | None = None) -> str:
    """An expression as the value's kind, in lanes where there are any."""
    point = Point(cell, env, v, {})
    code = point.converted(point.code(node), kind or v.kind)
    return code.text if code.lanes or lane is None else f"splat({code.text})"


def _type(kind: Kind, lane: str | None) -> str:
    return SCALAR[kind] if lane is None else VECTOR[kind]


def _zero(kind: Kind, lane: str | None) -> str:
    zero = identity("sum", kind)
    return zero if lane is None else f"splat({zero})"


def _group(text: str) -> str:
    return text if text.isidentifier() else f"({text})"
