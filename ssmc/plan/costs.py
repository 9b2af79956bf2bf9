"""What each form costs: operations, bytes and serial depth in closed form, and seconds on a machine.

Every formula is written once, over `Quantities`: numbers for a choice, symbols for a person. The counts are of the
torch backend, which starts one operation at a time; B batch, L length, c the chunk:

    recurrent   L steps, each the update; what is free of the state, and the readout, once a chunk of c steps;
                a running sum that nothing reads takes no steps: a chunk adds its sum
    scan        L/c chunks, in each a tree of log2(c) levels up and down that combines c elements, then one application
    chunked     L/c chunks, in each the products c x c (queries by keys, then by values) and two with the state
    conv        the kernel's generation, then Fourier transforms of twice the length
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ssmc.expr import nodes as n
from ssmc.expr.nodes import children, postorder
from ssmc.plan.machines import Machine
from ssmc.plan.machines import machine as find_machine
from ssmc.plan.native import Native, native
from ssmc.plan.nodes import Cost, FormName
from ssmc.plan.work import Parts, Quantities, Work, parts_of, state_elements, work_of
from ssmc.recurrence.drives import drives
from ssmc.recurrence.invariant import invariant_readings
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.separable import MatrixForm
from ssmc.recurrence.total import addend

# Steps a chunk, few, so that few programs serve all sizes. A recurrent chunk keeps its states for one batched readout:
# the longest is taken whose states fit the cache. Longer chunks of a scan start fewer operations and hold more: the
# cheapest is taken. A chunked one pays c for each step in products. 0: the whole sequence.
CHUNKS: dict[FormName, tuple[int, ...]] = {
    "recurrent": (8, 16, 32, 64, 128, 256),
    "scan": (32, 256, 2048),
    "chunked": (64,),
    "conv": (0,),
}
WORD = 4  # bytes of a float32
# Counted in the code that the torch backend prints, contractions as several: operations that a chunk of the chunked
# form starts, and a convolution; and what a separable decay takes besides, each time the blocks of a chunk double: at
# each step and position of its axis, and once.
CHUNKED_OPS = 200
CONV_OPS = 100
HALVES_FLOPS, HALVES_WORDS, HALVES_OPS = 2, 12, 20
# Words moved for each channel and step by a convolution: the padding, the transforms and their product are all written
# to memory that is new, which costs several times what memory in use does.
CONV_WORDS = 100
# The backward runs a chunk again, records it, and takes two products for each one: so many times the forward's work,
# and, an operation that is recorded and replayed costing far more to start, so many times the forward's starts.
BACKWARD_WORK, BACKWARD_STARTS = 3, 10
# Most that the tiles of a chunk hold, in caches. A recurrent chunk reads its tile of states back, and should find it in
# the cache; shorter chunks than that start more operations, which several threads must each time meet for.
TILE_LIMIT: dict[FormName, float] = {"recurrent": 1, "scan": 4, "chunked": 4, "conv": 4}
KERNEL_BLOCK = 4096  # steps of the kernel generated at a time


@dataclass(frozen=True)
class Estimate:
    """Counts of a form. `near` and `far` are bytes moved within a step and within a chunk; the tiles are bytes held."""

    flops: Any
    dots: Any
    near: Any
    far: Any
    depth: Any
    launches: Any
    step_tile: Any
    chunk_tile: Any
    native: Native | None = None

    def seconds(self, m: Machine, gradients: bool = False) -> float:
        """The forward; with `gradients` the backward too. What C++ has no code for, PyTorch runs."""
        if m.stepwise:
            if self.native is None:
                return self.seconds(find_machine("cpu"), gradients)
            return self.native.seconds(m) * (1 + BACKWARD_WORK if gradients else 1)

        def bandwidth(tile: float) -> float:
            return m.cache_bandwidth if tile <= m.cache else m.bandwidth

        moving = self.near / bandwidth(self.step_tile) + self.far / bandwidth(self.chunk_tile)
        computing = self.flops / m.flops + self.dots / m.dot_flops
        starting, working = self.launches * m.overhead, max(moving, computing)
        if gradients:
            return float((1 + BACKWARD_STARTS) * starting + (1 + BACKWARD_WORK) * working)
        return float(starting + working)


@dataclass(frozen=True)
class Subject:
    """A component with what its costs need; `matrix`: its form where it is written by outer products."""

    analysis: Analysis
    component: Component
    parts: Parts
    matrix: MatrixForm | None = None

    @staticmethod
    def of(analysis: Analysis, component: Component) -> Subject:
        return Subject(analysis, component, parts_of(analysis, component))

    def with_matrix(self, form: MatrixForm) -> Subject:
        return replace(self, matrix=form)


def estimate(form: FormName, subject: Subject, q: Quantities, chunk: int) -> Estimate:
    """The counts of a legal form at the given sizes; `chunk` 0 is the whole sequence."""
    if q.symbolic and chunk:
        import sympy

        return _ESTIMATES[form](subject, q, sympy.Symbol("c", positive=True, integer=True))
    found = _ESTIMATES[form](subject, q, chunk or (q.length if q.symbolic else max(1, q.length)))
    if q.symbolic:
        return found
    products = (float(found.flops), float(found.dots))
    return replace(found, native=native(form, subject.analysis, subject.component, q, products))


def _recurrent(s: Subject, q: Quantities, chunk: Any) -> Estimate:
    core, bulk, readout = (work_of(x, q) for x in (s.parts.core, s.parts.bulk, s.parts.readout))
    steps = q.batch * q.length
    if (added := addend(s.analysis.graph, s.component)) is not None:
        # as a product of tiles what it adds is never written
        moved: Any = 0
        for factor in n.factors(added):
            moved = moved + q.elements(factor.axes)
        chunks, held = q.ceil_div(q.length, chunk), state_elements(s.analysis, s.component, q)
        return Estimate(
            flops=0,
            dots=2 * steps * q.elements(added.axes),
            near=0,
            far=WORD * (steps * moved + 2 * q.batch * chunks * held),
            depth=chunks,
            launches=2 * chunks,
            step_tile=0,
            chunk_tile=WORD * q.batch * chunk * held,
        )
    # the states of a chunk are stacked for the readout
    batched = bulk + readout + Work(0, 0, 2 * state_elements(s.analysis, s.component, q), 1)
    state = WORD * q.batch * state_elements(s.analysis, s.component, q)
    return Estimate(
        flops=steps * (core.flops + batched.flops),
        dots=steps * (core.dots + batched.dots),
        near=WORD * steps * core.moved,
        far=WORD * steps * batched.moved,
        depth=q.length,
        # one more a step: the new state goes into the list that the readout takes
        launches=q.length * (max(core.ops, 1) + 1) + q.ceil_div(q.length, chunk) * batched.ops,
        step_tile=3 * state,
        chunk_tile=chunk * state,
    )


def _scan(s: Subject, q: Quantities, chunk: Any) -> Estimate:
    monoid = s.component.monoid
    assert monoid is not None
    states = [set(s.analysis.graph.register[name].axes) for name in s.component.registers]
    made = [x for x in postorder(list(monoid.element)) if children(x) and any(a <= set(x.axes) for a in states)]
    element, readout = work_of(made, q), work_of(s.parts.readout, q)
    combine = work_of(postorder(list(monoid.combined)), q)
    apply = work_of(postorder([x for _, x in monoid.applied]), q)
    levels = q.log2(chunk)
    # pairs first: each element is combined about twice, however long the chunk
    each = element + readout + apply + combine + combine
    steps, chunks = q.batch * q.length, q.ceil_div(q.length, chunk)
    shuffles = 20 * len(monoid.element)  # slices and interleaving, at each level
    slots: Any = 0
    for x in monoid.element:
        slots = slots + q.elements(x.axes)
    return Estimate(
        flops=steps * each.flops,
        dots=steps * each.dots,
        near=0,
        far=WORD * steps * (each.moved + 4 * slots),
        depth=chunks * (2 * levels + 1),
        # a level combines twice, slices and interleaves
        launches=chunks * (element.ops + readout.ops + apply.ops + levels * (2 * combine.ops + shuffles)),
        step_tile=0,
        chunk_tile=2 * WORD * q.batch * chunk * slots,
    )


def _chunked(s: Subject, q: Quantities, chunk: Any) -> Estimate:
    assert s.matrix is not None
    rows, columns = (q.elements(axes) for axes in (s.matrix.rows, s.matrix.cols))
    heads = q.elements(s.matrix.elementwise)
    steps, chunks = q.batch * q.length * heads, q.ceil_div(q.length, chunk)
    # a decay with an axis is multiplied up in blocks of 1, 2, 4, … steps
    sides = [side for decay, side in ((s.matrix.alpha, rows), (s.matrix.beta, columns)) if decay is not None]
    doublings = len(sides) * q.log2(chunk)
    decayed = sum(sides) * q.log2(chunk)
    return Estimate(
        flops=steps * (6 * chunk + 8 * (rows + columns) + HALVES_FLOPS * decayed),
        dots=steps * (2 * chunk * (rows + columns) + 4 * rows * columns),
        near=0,
        far=WORD
        * (
            steps * (4 * chunk + 8 * (rows + columns) + HALVES_WORDS * decayed)
            + 4 * q.batch * heads * chunks * rows * columns
        ),
        depth=chunks,
        launches=chunks * (CHUNKED_OPS + HALVES_OPS * doublings),
        step_tile=0,
        chunk_tile=WORD
        * q.batch
        * heads
        * (chunk * (chunk + 2 * rows + 2 * columns + 2 * sum(sides)) + rows * columns),
    )


def _conv(s: Subject, q: Quantities, chunk: Any) -> Estimate:
    graph = s.analysis.graph
    wide = 2 if any(graph.register[name].kind == "complex" for name in s.component.registers) else 1
    held = state_elements(s.analysis, s.component, q) // wide
    channels, dots = _transforms(s, q)
    # a kernel, an input and back, each of twice the length; half of that for real values, whose library is faster too
    transform = 3 * 5 * 2 * q.length * q.log2(2 * q.length) * (2 if wide == 2 else 0.5)
    blocks = q.ceil_div(q.length, KERNEL_BLOCK)
    return Estimate(
        flops=q.batch * channels * transform + 8 * wide * q.length * held + 4 * wide * q.batch * q.length * held,
        dots=4 * wide * q.length * held + 2 * wide * wide * q.batch * q.length * dots,
        near=0,
        far=WORD * wide * (CONV_WORDS * q.batch * channels * q.length + 4 * q.length * held),
        depth=q.log2(q.length),
        # the last state is a moment, by rows of the square root of the length
        launches=CONV_OPS + 6 * blocks + 4 * q.sqrt(q.length),
        step_tile=0,
        chunk_tile=WORD * wide * q.batch * channels * 2 * q.length,
    )


def _transforms(s: Subject, q: Quantities) -> tuple[Any, Any]:
    """What a convolution transforms for each sequence: channels; and a readout's products at each step beside them."""
    graph = s.analysis.graph
    taps = invariant_readings(s.analysis, s.component)
    assert isinstance(taps, tuple)
    channels: Any = 0
    dots: Any = 0
    state = set(graph.register[s.component.registers[0]].axes)
    signals = [set(d.signal.axes) for d in drives(graph, s.component)]
    for reading in (r for tap in taps for r in tap.readings):
        mixed = {n.base_axis(a) for a in reading.mixed}
        right = {n.base_axis(a) for a in reading.right.axes}
        for signal in signals:
            if mixed <= signal and right - state:
                # each state has an input of its own: the states are convolved, then read
                channels, dots = channels + q.elements(state), dots + q.elements(state | right)
            else:
                # axes that the kernel sums are gone before the transform
                channels = channels + q.elements((state | right) - (mixed - signal))
    return channels, dots


_ESTIMATES: dict[FormName, Callable[[Subject, Quantities, Any], Estimate]] = {
    "recurrent": _recurrent,
    "scan": _scan,
    "chunked": _chunked,
    "conv": _conv,
}


def cheapest(
    form: FormName, subject: Subject, q: Quantities, m: Machine, gradients: bool = False, chunk: int | None = None
) -> tuple[int, Estimate]:
    """The chunk to take for a form, and its counts; `chunk` is taken where it is given.

    The longest of a recurrence, else the one with the least estimate; but none longer than the shortest whose tiles are
    too much for the cache.
    """
    if chunk is not None:
        return chunk, estimate(form, subject, q, chunk)
    found = [(c, estimate(form, subject, q, c)) for c in CHUNKS[form]]
    small = [(c, at) for c, at in found if c == found[0][0] or at.chunk_tile <= TILE_LIMIT[form] * m.cache]
    return small[-1] if form == "recurrent" else min(small, key=lambda pair: pair[1].seconds(m, gradients))


def cost(
    form: FormName, subject: Subject, at: Estimate, m: Machine, formulas: Quantities | None, gradients: bool = False
) -> Cost:
    """The record of a form's cost: the counts `at` the sizes of a request, and text where symbols are given.

    Operations, bytes and depth are the forward's; with `gradients` the seconds are of both directions.
    """
    text = ("", "", "")
    if formulas is not None:
        symbolic = estimate(form, subject, formulas, CHUNKS[form][0])
        text = tuple(  # type: ignore[assignment]
            formula(x) for x in (symbolic.flops + symbolic.dots, symbolic.near + symbolic.far, symbolic.depth)
        )
    return Cost(
        *text,
        flops_at=float(at.flops + at.dots),
        bytes_at=float(at.near + at.far),
        depth_at=float(at.depth),
        seconds_at=at.seconds(m, gradients),
    )


def formula(x: Any) -> str:
    """A formula with common factors taken out, as text."""
    import sympy

    return str(sympy.factor_terms(sympy.expand(x))).replace("ceiling", "ceil")
