"""The form `chunked`: a matrix state written by outer products, as matrix products inside a chunk.

    S_t = a_t S_{t-1} + sum over writes of k_t v_t^T          a = scalar * alpha[rows] * beta[columns]
    y_t = sum over rows of q_t S_t                            (or over columns: the sides change roles)

    inside    A[t, s] = sum_rows q_t k_s (alpha from s to t) * scalar from s to t      s <= t
              y_t    += sum_s A[t, s] v_s (beta from s to t)
    before    y_t    += scalar_t sum_rows q_t alpha_t S_0 beta_t
    carry     S_C     = a_C S_0 + sum_s (k_s (alpha from s to C)) (v_s (beta from s to C)) scalar from s to C

A reading of the state before the update is the same with the products ending one step earlier, so s < t. No sum of
logarithms is ever subtracted from another and no decay divided, and no exponent exceeds what the decays themselves
make: the scalar part uses segment sums, masked before the exponential; a decay with an axis is multiplied up inside
`Scores` and `Gather`, which leave to the printer how, and never to hold one for each pair of steps and each position.
"""

from __future__ import annotations

import math

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import SOURCE, TIME, Node
from ssmc.kernel.lower import InOrder, Tiles
from ssmc.recurrence.chunkable import chunked_readings
from ssmc.recurrence.nodes import Component
from ssmc.recurrence.readout import Reading
from ssmc.recurrence.separable import Decay, Write, matrix_form


def lower_chunked(in_time: Tiles, component: Component, chunk: int) -> None:
    tiles = InOrder(in_time, component)
    form = matrix_form(tiles.analysis, component)
    if isinstance(form, str):
        raise CompilerBug(f"chunked was chosen for {component.registers}: {form}")
    taps = chunked_readings(tiles.analysis, component, form)
    if not isinstance(taps, tuple):
        raise CompilerBug(f"chunked was chosen for {form.register}, whose state is read whole")
    ar, register = tiles.arena, tiles.graph.register[form.register]
    carry = tiles.carries[form.register]
    scalar = Scalar(tiles, form.scalar)
    rows, cols = (None if d is None else Sided(tiles, d) for d in (form.alpha, form.beta))
    writes = [_write(tiles, w) for w in form.writes]
    for tap in taps:
        terms = [tiles.tile(tap.constant)] if tap.constant is not None else []
        for reading in tap.readings:
            by_rows = set(reading.mixed) <= set(form.rows)
            sides = (rows, cols) if by_rows else (cols, rows)
            pairs = writes if by_rows else [(v, kk, s) for kk, v, s in writes]
            terms.append(_read(tiles, reading, carry, scalar, sides, pairs))
        tiles.give(tap.node, ar.labels.get(tap.node, f"{form.register}_read"), ar.total(terms))
    tiles.carry_on(register, _carry(ar, carry, scalar, rows, cols, writes))


def _write(tiles: InOrder, write: Write) -> tuple[Node, Node, n.Axes]:
    """The tiles of a write; its summed axes get names of their own, which a readout may have too."""
    own = {a: f"{a}~~" for a in write.summed}
    k_tile, v_tile = (tiles.arena.rename(tiles.timed(tiles.tile(x)), own) for x in (write.k, write.v))
    return k_tile, v_tile, tuple(own.values())


class Scalar:
    """The part of the decay without row or column axes: its products over segments of the chunk.

    From logarithms by masked running sums, or, where the factor has no logarithm (it may be zero, negative, complex),
    by masked running products: both exact for every segment, neither divides or subtracts.
    """

    def __init__(self, tiles: InOrder, decay: Decay | None) -> None:
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


class Sided:
    """The part of the decay with row or column axes, which has a logarithm."""

    def __init__(self, tiles: InOrder, decay: Decay) -> None:
        if decay.log is None:
            raise CompilerBug("chunked was chosen for a decay without a logarithm")
        self.ar = tiles.arena
        self.log = tiles.timed(tiles.tile(decay.log))
        self.step = self.ar.exp(self.log)

    def from_start(self, late: bool) -> Node:
        """[time]: the product of all steps so far (`late`: of those before)."""
        total = self.ar.cumulative("sum", self.log, TIME)
        return self.ar.exp(self.ar.shift(total, TIME, 1) if late else total)

    def to_end(self) -> Node:
        """[time]: the product of the steps after this one."""
        return self.ar.exp(self.ar.shift(self.ar.cumulative("sum", self.log, TIME, reverse=True), TIME, -1))


def _exp_where(ar: Arena, mask: Node, exponent: Node) -> Node:
    """exp(exponent) where mask, else 0: masked before the exponential, which could overflow where it is not."""
    return ar.exp(ar.where(mask, exponent, ar.const(-math.inf)))


def _read(
    tiles: InOrder,
    reading: Reading,
    carry: Node,
    scalar: Scalar,
    sides: tuple[Sided | None, Sided | None],
    writes: list[tuple[Node, Node, n.Axes]],
) -> Node:
    """One linear term of a tap. On the state's side its summed axes are `a~`, as in `reading.right`."""
    ar = tiles.arena
    side = {a: f"{a}~" for a in reading.mixed}
    mixed = tuple(side.values())
    late = reading.when == "old"
    summed, kept = sides
    q = tiles.timed(tiles.tile(reading.right))
    terms: list[Node] = []
    for key, value, over in writes:
        key, value = ar.rename(key, side), ar.rename(value, side)
        if summed is not None:
            scores: Node = ar.scores(q, key, ar.rename(summed.step, side), mixed, late)
        else:
            # an axis of the state that neither factor has is summed all the same
            scores = ar.contract(
                ar.broadcast(q, tuple(a for a in mixed if a not in {*q.axes, *key.axes})),
                ar.rename(key, {TIME: SOURCE}),
                mixed,
            )
        if scalar.decay is not None or (summed is None and kept is None):
            scores = ar.mul(scores, scalar.segments(late))
        if kept is None:
            terms.append(ar.contract(scores, ar.rename(value, {TIME: SOURCE}), (SOURCE, *over)))
        else:
            gathered = ar.gather(scores, value, ar.rename(kept.step, side), late)
            terms.append(ar.reduce("sum", gathered, over) if over else gathered)
    before = q if summed is None else ar.mul(q, ar.rename(summed.from_start(late), side))
    term = ar.contract(before, ar.rename(carry, side), mixed)
    for factor in (None if kept is None else ar.rename(kept.from_start(late), side), scalar.from_start(late)):
        term = term if factor is None else ar.mul(term, factor)
    return ar.mul(tiles.tile(reading.left), ar.total([*terms, term]))


def _carry(
    ar: Arena,
    carry: Node,
    scalar: Scalar,
    rows: Sided | None,
    cols: Sided | None,
    writes: list[tuple[Node, Node, n.Axes]],
) -> Node:
    """The state after the chunk."""
    kept: Node = carry
    for part in (scalar, rows, cols):
        factor = None if part is None else part.from_start(False)
        kept = kept if factor is None else ar.mul(kept, ar.pick(factor, TIME, -1))
    to_end = scalar.to_end()
    terms = [kept]
    for key, value, over in writes:
        for factor in (None if rows is None else rows.to_end(), to_end):
            key = key if factor is None else ar.mul(key, factor)
        value = value if cols is None else ar.mul(value, cols.to_end())
        terms.append(ar.contract(key, value, (TIME, *over)))
    return ar.total(terms)
