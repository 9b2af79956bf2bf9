"""Passes whose chunks are computed at once: time is an axis of every value, like any other, and so are sources.

    for each chunk     A[t, s] = sum[K] q[t, K] k[s, K]        a nest over time, sources and K
                       y[t, V] = sum over s of A[t, s] v[s, V]  a nest over time, sources and V
                       S = a*S + sum over t of k[t, K] v[t, V]  when all of the chunk is done

A sum reads what it shares for several steps at once (reductions.py). Decayed products of pairs of steps multiply the
decays up, one step after the other, as they are defined: nothing is divided, and no power is taken.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from ssmc.backends.cpp.cell import Cell
from ssmc.backends.cpp.nests import Nest
from ssmc.backends.cpp.point import Env, Index, Point
from ssmc.backends.cpp.texts import SCALAR, enclosed, identity, indented
from ssmc.backends.cpp.value import Value

from ssmc.expr import nodes as n


class AtOnce:
    """What a printer prints along the steps of a chunk, element by element.

    It is a part of Printer, whose attributes it takes for granted.
    """

    def at_once(self: Any, cell: Cell) -> list[str]:
        """Chunk after chunk, each with its steps as an axis of the nests."""
        v, block = cell.values, cell.block
        inner = [*cell._plain(v.starts), *cell._parallel(), *cell._copies(v.after)]
        if not block:
            return ["{", *indented(["const i64 t = 0, steps = length, start = 0, stop = length;", *inner]), "}"]
        bounds = [
            f"const i64 start = chunk * {block}, stop = start + {block} < length ? start + {block} : length;",
            "const i64 t = start, steps = stop - start;",
        ]
        if cell.schedule.chunks:
            return [*bounds, *inner]
        head = f"for (i64 chunk = 0; chunk * {block} < length; chunk++) {{"
        if v.reverse:
            head = f"for (i64 chunk = (length - 1) / {block}; chunk >= 0 && length > 0; chunk--) {{"
        return [head, *indented([*bounds, *inner]), "}"]

    def scores(self: Any, cell: Cell, nest: Nest, v: Value, node: n.Scores) -> list[str]:
        """A[t, s]: a key, decayed once more at every step, times the query of each."""
        outer = [a for a in nest.axes if a not in (n.TIME, n.SOURCE)]
        element, count = SCALAR[v.kind], " * ".join(cell.size(a) for a in node.over) or "1"
        cell.scratch_needs.append(f"room({count}, sizeof({element}))")

        def body(env: Env) -> list[str]:
            at = dict(env)
            at[n.SOURCE] = Index("i_source", "(t + i_source)")
            at[n.TIME] = Index("i_time", "(t + i_time)")
            place, heads = "0", []
            for a in node.over:
                i = self.variable(a)
                at[a] = Index(i, i)
                heads.append(f"for (i64 {i} = 0; {i} < {cell.size(a)}; {i}++) {{")
                place = f"({place}) * {cell.size(a)} + {i}" if place != "0" else i
            point = Point(cell, at, v, {})
            key = point.moved({**at, n.TIME: at[n.SOURCE]}).converted(
                point.moved({**at, n.TIME: at[n.SOURCE]}).code(node.key), v.kind
            )
            query, decay = (point.converted(point.code(x), v.kind).text for x in (node.query, node.decay))

            def over(lines: list[str]) -> list[str]:
                for head in reversed(heads):
                    lines = enclosed(head, lines)
                return lines

            def kept(value: str) -> str:
                return cell.kept(v, point.converted_name(value, v.kind), at)

            asked = [f"part_total = part_total + {query} * part_key[{place}];"]
            decayed = f"part_key[{place}] = part_key[{place}] * {decay};"
            once = [f"{element} part_total = {identity('sum', v.kind)};"]
            steps = (
                [*once, *over(asked), kept("part_total"), *over([decayed])]
                if node.late
                else [*once, *over([f"if (i_time > i_source) {decayed}", *asked]), kept("part_total")]
            )
            first = "i_source + 1" if node.late else "i_source"
            lines = [
                *over([f"part_key[{place}] = {key.text};"]),
                *enclosed(f"for (i64 i_time = 0; i_time < {first}; i_time++) {{", [kept(identity("sum", v.kind))]),
                *enclosed(f"for (i64 i_time = {first}; i_time < steps; i_time++) {{", steps),
            ]
            return [
                "Scratch rest = scratch;",
                f"{element} *const part_key = rest.take<{element}>({count});",
                *enclosed("for (i64 i_source = 0; i_source < steps; i_source++) {", lines),
            ]

        return ["{", *indented(cell._loops(Nest(tuple(outer), None, nest.over, nest.values, True), body, {})), "}"]

    def gathered(self: Any, cell: Cell, nest: Nest, v: Value, node: n.Gather) -> list[str]:
        """y[t]: the values so far, each with its score, decayed once more at every step: by Horner's rule."""
        outer = [a for a in nest.axes if a != n.TIME]

        def body(env: Env) -> list[str]:
            at = dict(env)
            at[n.TIME] = Index("i_time", "(t + i_time)")
            source = Index("i_source", "(t + i_source)")
            point = Point(cell, {**at, n.SOURCE: source}, v, {})
            there = point.moved({**at, n.TIME: source})
            score = point.converted(point.code(node.scores), v.kind).text
            value, decay = (there.converted(there.code(x), v.kind).text for x in (node.value, node.decay))
            last = "i_time" if node.late else "i_time + 1"
            turn = f"part_total = part_total * {decay} + {score} * {value};"
            lines = [
                f"{SCALAR[v.kind]} part_total = {identity('sum', v.kind)};",
                f"for (i64 i_source = 0; i_source < {last}; i_source++) {turn}",
                cell.kept(v, point.converted_name("part_total", v.kind), at),
            ]
            return enclosed("for (i64 i_time = 0; i_time < steps; i_time++) {", lines)

        return cell._loops(Nest(tuple(outer), None, nest.over, nest.values, True), body, {})
