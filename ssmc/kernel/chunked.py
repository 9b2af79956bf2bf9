"""The form `chunked`: a matrix state written by outer products, as matrix products inside a chunk.

    S_t = a_t S_{t-1} + sum over writes of k_t v_t^T          a = scalar * alpha[rows] * beta[columns]
    y_t = sum over rows of q_t S_t                            (or over columns: the sides change roles)

    inside    A[t, s] = sum_rows q_t k_s e^(alpha from s to t) * scalar from s to t      s <= t
              y_t    += sum_s A[t, s] v_s e^(beta from s to t)
    before    y_t    += scalar_t sum_rows q_t e^(alpha_t) S_0 e^(beta_t)
    carry     S_C     = a_C S_0 + sum_s (k_s e^(alpha from s to C)) (v_s e^(beta from s to C)) scalar from s to C

A reading of the state before the update is the same with the products ending one step earlier, so s < t. No sum of
logarithms is ever subtracted from another, and no exponent exceeds what the decays themselves make: the scalar part
uses segment sums; a decay with an axis cuts the chunk into pieces of PIECE steps. Inside a piece every pair has its own
segment sum; between pieces the exponent is (from the start of the row's piece) + (whole pieces) + (to the end of the
column's piece). The mask stands before the exponential.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import BLOCK, COLUMN, ROW, SOURCE, TIME, Node
from ssmc.kernel.lower import Tiles
from ssmc.recurrence.chunkable import chunked_readings
from ssmc.recurrence.nodes import Component
from ssmc.recurrence.readout import Reading
from ssmc.recurrence.separable import Decay, MatrixForm, Write, matrix_form

PIECE = 16
BLOCK2 = f"{BLOCK}'"


def lower_chunked(tiles: Tiles, component: Component, chunk: int) -> None:
    form = matrix_form(tiles.analysis, component)
    if isinstance(form, str):
        raise CompilerBug(f"chunked was chosen for {component.registers}: {form}")
    taps = chunked_readings(tiles.analysis, component, form)
    if not isinstance(taps, tuple):
        raise CompilerBug(f"chunked was chosen for {form.register}, whose state is read whole")
    ar, register = tiles.arena, tiles.graph.register[form.register]
    carry = tiles.carries[form.register]
    scalar = Scalar(tiles, form.scalar)
    logs = {side: _log(tiles, d) for side, d in (("rows", form.alpha), ("cols", form.beta))}
    writes = [_write(tiles, w) for w in form.writes]
    for tap in taps:
        terms = [tiles.tile(tap.constant)] if tap.constant is not None else []
        for reading in tap.readings:
            by_rows = set(reading.mixed) <= set(form.rows)
            sides = (logs["rows"], logs["cols"]) if by_rows else (logs["cols"], logs["rows"])
            pairs = writes if by_rows else [(v, kk, s) for kk, v, s in writes]
            terms.append(_read(tiles, reading, carry, scalar, sides, pairs))
        tiles.values[tap.node] = tiles.let(ar.labels.get(tap.node, f"{form.register}_read"), ar.total(terms), tap.node)
    tiles.carry_on(register, _carry(tiles, form, carry, scalar, logs, writes))


def _write(tiles: Tiles, write: Write) -> tuple[Node, Node, n.Axes]:
    """The tiles of a write; its summed axes get names of their own, which a readout may have too."""
    own = {a: f"{a}~~" for a in write.summed}
    k_tile, v_tile = (tiles.arena.rename(tiles.timed(tiles.tile(x)), own) for x in (write.k, write.v))
    return k_tile, v_tile, tuple(own.values())


class Scalar:
    """The part of the decay without row or column axes: its products over segments of the chunk.

    From logarithms by masked running sums, or, where the factor has no logarithm (it may be zero, negative, complex),
    by masked running products: both exact for every segment, neither divides or subtracts.
    """

    def __init__(self, tiles: Tiles, decay: Decay | None) -> None:
        self.ar = tiles.arena
        self.decay = decay
        if decay is not None:
            self.logs = decay.log is not None
            self.step = tiles.timed(tiles.tile(decay.log if decay.log is not None else decay.value))

    def segments(self, late: bool) -> Node:
        """[time, source]: the product of the steps after source up to time (`late`: before it); 0 for later ones."""
        ar = self.ar
        i, j = ar.index(TIME), ar.index(SOURCE)
        seen, after = ar.map("ge", i, j), ar.map("gt", i, j)
        if self.decay is None:
            value = ar.where(seen, ar.const(1.0), ar.const(0.0))
        elif self.logs:
            value = _exp_where(ar, seen, ar.cumulative("sum", ar.where(after, self.step, ar.const(0.0)), TIME))
        else:
            value = ar.cumulative("prod", ar.where(after, self.step, ar.const(1.0)), TIME)
            value = ar.where(seen, value, ar.const(0.0))
        return ar.shift(value, TIME, 1) if late else value

    def from_start(self, late: bool) -> Node | None:
        """[time]: the product of all steps so far."""
        if self.decay is None:
            return None
        ar = self.ar
        if self.logs:
            total = ar.cumulative("sum", self.step, TIME)
            return ar.exp(ar.shift(total, TIME, 1) if late else total)
        total = ar.cumulative("prod", self.step, TIME)
        first = ar.map("eq", ar.index(TIME), ar.const(0))
        return ar.where(first, ar.const(1.0), ar.shift(total, TIME, 1)) if late else total

    def to_end(self) -> Node | None:
        """[time]: the product of the steps after this one."""
        if self.decay is None:
            return None
        return self.ar.rename(self.ar.pick(self.segments(False), TIME, -1), {SOURCE: TIME})


def _log(tiles: Tiles, decay: Decay | None) -> Node | None:
    if decay is None:
        return None
    if decay.log is None:
        raise CompilerBug("chunked was chosen for a decay without a logarithm")
    return tiles.timed(tiles.tile(decay.log))


def _exp_where(ar: Arena, mask: Node, exponent: Node) -> Node:
    """exp(exponent) where mask, else 0: masked before the exponential, which could overflow where it is not."""
    return ar.exp(ar.where(mask, exponent, ar.const(-math.inf)))


@dataclass(frozen=True)
class Pieces:
    """A decay with an axis, over the pieces of a chunk; each an expression, exponents never above the decay's own.

    start: [block, row] from the start of the row's piece; end: [block', column] to the end of the column's piece;
    between: [block, block'] the whole pieces between, 0 unless the row's piece is later; pair: [block, row, column].
    """

    start: Node
    end: Node
    between: Node
    pair: Node


def pieces(ar: Arena, log: Node, late: bool) -> Pieces:
    rows = ar.split(log, TIME, BLOCK, ROW, PIECE)
    inside = ar.cumulative("sum", rows, ROW)
    whole = ar.pick(inside, ROW, -1)
    columns = ar.split(log, TIME, BLOCK2, COLUMN, PIECE)
    end = ar.shift(ar.cumulative("sum", columns, COLUMN, reverse=True), COLUMN, -1)
    later = ar.map("gt", ar.index(BLOCK), ar.index(BLOCK2))
    between = ar.shift(ar.cumulative("sum", ar.where(later, whole, ar.const(0.0)), BLOCK), BLOCK, 1)
    i, j = ar.index(ROW), ar.index(COLUMN)
    pair = ar.cumulative("sum", ar.where(ar.map("gt", i, j), rows, ar.const(0.0)), ROW)
    pair = _exp_where(ar, ar.map("ge", i, j), pair)
    return Pieces(
        start=ar.exp(ar.shift(inside, ROW, 1) if late else inside),
        end=ar.exp(end),
        between=_exp_where(ar, later, between),
        pair=ar.shift(pair, ROW, 1) if late else pair,
    )


def _read(
    tiles: Tiles,
    reading: Reading,
    carry: Node,
    scalar: Scalar,
    sides: tuple[Node | None, Node | None],
    writes: list[tuple[Node, Node, n.Axes]],
) -> Node:
    """One linear term of a tap. On the state's side its summed axes are `a~`, as in `reading.right`."""
    ar = tiles.arena
    side = {a: f"{a}~" for a in reading.mixed}
    mixed = tuple(side.values())
    late = reading.when == "old"
    summed_log, kept_log = (ar.rename(x, side) if x is not None else None for x in sides)
    q = tiles.timed(tiles.tile(reading.right))
    segments = scalar.segments(late)
    terms: list[Node] = []
    for key, value, over in writes:
        key, value = ar.rename(key, side), ar.rename(value, side)
        if summed_log is None:
            # an axis of the state that neither factor has is summed all the same
            scores = ar.contract(
                ar.broadcast(q, tuple(a for a in mixed if a not in {*q.axes, *key.axes})),
                ar.rename(key, {TIME: SOURCE}),
                mixed,
            )
        else:
            scores = _scores(ar, q, key, pieces(ar, summed_log, late), mixed)
        scores = ar.mul(scores, segments)
        if kept_log is None:
            terms.append(ar.contract(scores, ar.rename(value, {TIME: SOURCE}), (SOURCE, *over)))
        else:
            terms.append(_weighted(ar, scores, value, pieces(ar, kept_log, late), over))
    before = q
    if summed_log is not None:
        before = ar.mul(before, ar.exp(_from_start(ar, summed_log, late)))
    value = ar.contract(before, ar.rename(carry, side), mixed)
    if kept_log is not None:
        value = ar.mul(value, ar.exp(_from_start(ar, kept_log, late)))
    start = scalar.from_start(late)
    terms.append(value if start is None else ar.mul(value, start))
    return ar.mul(tiles.tile(reading.left), ar.total(terms))


def _scores(ar: Arena, q: Node, key: Node, p: Pieces, mixed: n.Axes) -> Node:
    """[time, source]: q . k with the decay between the two steps."""
    rows = ar.split(q, TIME, BLOCK, ROW, PIECE)
    columns = ar.split(key, TIME, BLOCK2, COLUMN, PIECE)
    near = ar.reduce("sum", ar.mul(ar.mul(rows, ar.rename(columns, {BLOCK2: BLOCK})), p.pair), mixed)
    far = ar.reduce("sum", ar.mul(ar.mul(ar.mul(rows, p.start), p.between), ar.mul(columns, p.end)), mixed)
    same = ar.map("eq", ar.index(BLOCK), ar.index(BLOCK2))
    whole = ar.where(same, near, far)
    return ar.join(ar.join(whole, TIME, BLOCK, ROW), SOURCE, BLOCK2, COLUMN)


def _weighted(ar: Arena, scores: Node, value: Node, p: Pieces, over: n.Axes) -> Node:
    """[time]: the sum over source of scores * v with the decay of the kept side between the two steps."""
    cut = ar.split(ar.split(scores, TIME, BLOCK, ROW, PIECE), SOURCE, BLOCK2, COLUMN, PIECE)
    same = ar.map("eq", ar.index(BLOCK), ar.index(BLOCK2))
    diagonal = ar.reduce("sum", ar.where(same, cut, ar.const(0.0)), (BLOCK2,))
    columns = ar.split(value, TIME, BLOCK2, COLUMN, PIECE)
    near = ar.reduce("sum", ar.mul(ar.mul(diagonal, p.pair), ar.rename(columns, {BLOCK2: BLOCK})), (COLUMN, *over))
    each = ar.reduce("sum", ar.mul(cut, ar.mul(columns, p.end)), (COLUMN, *over))
    far = ar.mul(p.start, ar.reduce("sum", ar.mul(each, p.between), (BLOCK2,)))
    return ar.join(ar.add(near, far), TIME, BLOCK, ROW)


def _from_start(ar: Arena, log: Node, late: bool) -> Node:
    total = ar.cumulative("sum", log, TIME)
    return ar.shift(total, TIME, 1) if late else total


def _carry(
    tiles: Tiles,
    form: MatrixForm,
    carry: Node,
    scalar: Scalar,
    logs: dict[str, Node | None],
    writes: list[tuple[Node, Node, n.Axes]],
) -> Node:
    """The state after the chunk."""
    ar = tiles.arena
    kept: Node = carry
    start = scalar.from_start(False)
    for factor in (start, *(ar.exp(_from_start(ar, x, False)) for x in logs.values() if x is not None)):
        if factor is not None:
            kept = ar.mul(kept, ar.pick(factor, TIME, -1))
    ends = {
        side: None if x is None else ar.exp(ar.shift(ar.cumulative("sum", x, TIME, reverse=True), TIME, -1))
        for side, x in logs.items()
    }
    to_end = scalar.to_end()
    terms = [kept]
    for key, value, over in writes:
        for factor in (ends["rows"], to_end):
            key = key if factor is None else ar.mul(key, factor)
        value = value if ends["cols"] is None else ar.mul(value, ends["cols"])
        terms.append(ar.contract(key, value, (TIME, *over)))
    return ar.total(terms)
