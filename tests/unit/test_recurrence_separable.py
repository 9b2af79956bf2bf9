"""Matrix forms: the parts put together again are the update, and the class is the published one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ssmc.expr import nodes as n
from ssmc.expr.bounds import Interval
from ssmc.expr.evaluate import evaluate
from ssmc.expr.nodes import Node
from ssmc.expr.ranges import Ranges
from ssmc.recurrence.analyse import analyse
from ssmc.recurrence.families import spec_class
from ssmc.recurrence.logs import LOG_ZERO, log_of
from ssmc.recurrence.nodes import Analysis
from ssmc.recurrence.separable import Decay, DeltaForm, MatrixForm, Write, delta_form, matrix_form
from tests.unit.recurrence_cases import SIZES, XP, Spec, draw, full, key_of, leaf_of, leaves

Build = Callable[[Spec], None]


def retention(s: Spec) -> None:
    ar = s.arena
    gamma, k, v, h = s.param("gamma", "H"), s.input("k", "H K"), s.input("v", "H V"), s.state("S", "H K V")
    s.set("S", ar.add(ar.mul(gamma, h), ar.mul(ar.mul(k, ar.const(0.5)), v)))


def linear_attention(s: Spec) -> None:
    ar = s.arena
    k, v, h = s.input("k", "K"), s.input("v", "V"), s.state("S", "K V")
    s.set("S", ar.add(h, ar.mul(ar.map("elu", k), v)))


def gated(s: Spec) -> None:
    """Gated linear attention: a decay a key dimension."""
    ar = s.arena
    g, k, v, h = s.input("g", "H K"), s.input("k", "H K"), s.input("v", "H V"), s.state("S", "H K V")
    s.set("S", ar.add(ar.mul(ar.map("sigmoid", g), h), ar.mul(k, v)))


def both_sides(s: Spec) -> None:
    """A decay that is a row part times a column part only inside the exponential."""
    ar = s.arena
    g, d, k, v, h = s.input("g", "K"), s.input("d", "V"), s.input("k", "K"), s.input("v", "V"), s.state("S", "K V")
    s.set("S", ar.add(ar.mul(ar.exp(ar.neg(ar.add(ar.mul(g, g), d))), h), ar.mul(k, v)))


def read_columns(s: Spec) -> None:
    """Mamba-2's layout: the readout sums over the last axis, which is therefore the row side."""
    ar = s.arena
    dt, x, b, c = s.input("dt", "H"), s.input("x", "H V"), s.input("B", "N"), s.input("C", "N")
    h = s.state("S", "H V N")
    a = s.param("A", "H")
    new = ar.add(ar.mul(ar.exp(ar.mul(ar.neg(dt), ar.exp(a))), h), ar.mul(ar.mul(dt, x), b))
    s.set("S", new)
    s.output("y", ar.contract(new, c, ("N",)))


def selective(s: Spec) -> None:
    """Mamba-1: the log-decay is a product over the two axes, not a sum."""
    ar = s.arena
    dt, x, b, a, h = s.input("dt", "D"), s.input("x", "D"), s.input("B", "N"), s.param("A", "D N"), s.state("h", "D N")
    s.set("h", ar.add(ar.mul(ar.exp(ar.mul(ar.neg(dt), a)), h), ar.mul(ar.mul(dt, x), b)))


def several_writes(s: Spec) -> None:
    """Two writes, one of them a sum over a rank axis, and a delayed factor."""
    ar = s.arena
    v, k, g, h = s.input("v", "R V"), s.input("k", "R K"), s.input("g"), s.state("S", "K V")
    s.state("prev.k", "R K", origin="prev")
    s.set("prev.k", k)
    old = s.arena.read("prev.k", ("R", "K"), "real")
    write = ar.add(ar.reduce("sum", ar.mul(v, k), ("R",)), ar.mul(g, ar.reduce("sum", ar.mul(v, old), ("R",))))
    s.set("S", ar.sub(ar.mul(ar.map("sigmoid", g), h), write))


def with_reset(s: Spec) -> None:
    ar = s.arena
    c, g, k, v, h = (
        s.input("c", "", "bool"),
        s.input("g", "K"),
        s.input("k", "K"),
        s.input("v", "V"),
        s.state("S", "K V"),
    )
    decay = ar.where(c, ar.const(0), ar.exp(ar.mul(ar.const(-1), ar.mul(g, g))))
    s.set("S", ar.add(ar.mul(decay, h), ar.mul(k, v)))


def slots(s: Spec) -> None:
    """Gated slot attention: two matrix states that share a decay, on the columns of one and the rows of the other."""
    ar = s.arena
    k, v, f = s.input("k", "H K"), s.input("v", "H V"), s.input("f", "H M")
    keys, values = s.state("keys", "H K M"), s.state("values", "H M V")
    g = ar.div(ar.map("logsigmoid", f), ar.const(8))
    s.set("keys", ar.sub(ar.mul(ar.exp(g), keys), ar.mul(ar.map("expm1", g), k)))
    s.set("values", ar.sub(ar.mul(ar.exp(g), values), ar.mul(ar.map("expm1", g), v)))


def stabilised(s: Spec) -> None:
    """mLSTM."""
    ar = s.arena
    k, v, i, f = s.input("k", "H K"), s.input("v", "H V"), s.input("i", "H"), s.input("f", "H")
    m, c, norm = s.state("m", "H"), s.state("C", "H K V"), s.state("n", "H K")
    log_f = ar.map("logsigmoid", f)
    new = s.set("m", ar.map("max", ar.add(log_f, m), i))
    keep, write = ar.exp(ar.sub(ar.add(log_f, m), new)), ar.exp(ar.sub(i, new))
    s.set("C", ar.add(ar.mul(keep, c), ar.mul(ar.mul(write, k), v)))
    s.set("n", ar.add(ar.mul(keep, norm), ar.mul(write, k)))


def delta(s: Spec) -> None:
    """A vector decay, then the erase of what the decayed state answers to k (KDA)."""
    ar = s.arena
    g, b = s.input("g", "H K"), s.input("b", "H")
    k, v, h = s.input("k", "H K"), s.input("v", "H V"), s.state("S", "H K V")
    decayed = ar.mul(ar.exp(g), h)
    s.set("S", ar.add(decayed, ar.mul(ar.mul(b, k), ar.sub(v, ar.contract(k, decayed, ("K",))))))


def householders(s: Spec) -> None:
    """Erases of several keys at once, a sum over an axis R."""
    ar = s.arena
    k, v, h = s.input("k", "R K"), s.input("v", "V"), s.state("S", "K V")
    answers = ar.contract(k, h, ("K",))
    s.set("S", ar.add(ar.sub(h, ar.contract(k, answers, ("R",))), ar.mul(ar.pick(k, "R", 0), v)))


MATRICES: list[tuple[Build, str, tuple[str, ...], str, str]] = [
    # build, register, rows, class of the form, class of the spec
    (retention, "S", ("K",), "K4", "K4"),
    (linear_attention, "S", ("K",), "K4", "K4"),
    (gated, "S", ("K",), "K5", "K5"),
    (both_sides, "S", ("K",), "K5", "K5"),
    (read_columns, "S", ("N",), "K4", "K4"),
    (several_writes, "S", ("K",), "K4", "K4 + K8"),
    (with_reset, "S", ("K",), "K5", "K5"),
    (slots, "keys", ("K",), "K5", "2 x K5"),
    (slots, "values", ("M",), "K5", "2 x K5"),
    (stabilised, "C", ("K",), "K4", "K4 + K7"),
]


def analysed(build: Build) -> Analysis:
    s = Spec(each="H")
    build(s)
    return analyse(s.graph())


def form_of(analysis: Analysis, register: str) -> MatrixForm | str:
    return matrix_form(analysis, next(c for c in analysis.components if register in c.registers))


@pytest.mark.parametrize(("build", "register", "rows", "kclass", "spec"), MATRICES)
def test_class(build: Build, register: str, rows: tuple[str, ...], kclass: str, spec: str) -> None:
    analysis = analysed(build)
    form = form_of(analysis, register)
    assert isinstance(form, MatrixForm)
    assert (form.rows, form.kclass) == (rows, kclass)
    assert spec_class(analysis) == spec


@pytest.mark.parametrize(("build", "register"), [(b, r) for b, r, *_ in MATRICES])
def test_parts_make_the_update(build: Build, register: str) -> None:
    analysis = analysed(build)
    form = form_of(analysis, register)
    assert isinstance(form, MatrixForm)
    graph = analysis.graph
    ar, state = graph.arena, graph.register[register]
    parts = [d for d in (form.scalar, form.alpha, form.beta) if d is not None]
    decay = ar.product([d.value for d in parts])
    read = ar.read(register, state.axes, state.kind)
    again = ar.total([ar.mul(decay, read), *(written(ar, w) for w in form.writes)])
    plain = ar.product([d.value for d in (form.plain, form.alpha, form.beta) if d is not None])
    masked = plain if form.reset is None else ar.where(form.reset, ar.const(0.0), plain)
    logs = [ar.exp(d.log) for d in parts if d.log is not None]
    values = [d.value for d in parts if d.log is not None]
    same(graph, [(state.source, again), (decay, masked), *zip(values, logs, strict=True)], state.axes)
    for side, other in ((form.rows, form.cols), (form.cols, form.rows)):
        part = form.alpha if side is form.rows else form.beta
        assert part is None or (set(part.value.axes) & set(side) and not set(part.value.axes) & set(other))


def written(ar: object, w: Write) -> Node:
    return ar.reduce("sum", ar.mul(w.k, w.v), w.summed)  # type: ignore[attr-defined, no-any-return]


def same(graph: object, pairs: list[tuple[Node, Node]], axes: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    roots = [x for pair in pairs for x in pair]
    values = {key_of(x): draw(rng, x) for x in leaves(roots)}
    found = evaluate(roots, leaf_of(values), XP, SIZES)
    for x, y in zip(found[::2], found[1::2], strict=True):
        np.testing.assert_allclose(full(y, axes, SIZES), full(x, axes, SIZES), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("build", [delta, householders])
def test_delta_form(build: Build) -> None:
    analysis = analysed(build)
    (c,) = analysis.components
    assert (c.structure, c.kclass) == ("low_rank", "K6")
    form = delta_form(analysis, c)
    assert isinstance(form, DeltaForm)
    assert (form.rows, form.cols) == (("K",), ("V",))
    graph = analysis.graph
    ar, state = graph.arena, graph.register["S"]
    read = ar.read("S", state.axes, state.kind)
    terms = [] if form.transition.diagonal is None else [ar.mul(form.transition.diagonal, read)]
    for p in form.transition.products:
        inner = ar.reduce("sum", ar.mul(p.row, ar.rename(read, {"K": "K~"})), ("K~",))
        terms.append(ar.reduce("sum", ar.mul(p.column, inner), p.rank))
    terms += [written(ar, w) for w in form.writes]
    same(graph, [(state.source, ar.total(terms))], state.axes)
    if build is delta:
        assert form.log_diagonal is not None


def test_logs_are_found_where_provable() -> None:
    assert [d is not None and d.log is not None for d in decays(gated)] == [True]
    assert [d is not None and d.log is not None for d in decays(both_sides)] == [True, True]
    assert [d is not None and d.log is not None for d in decays(retention)] == [False]  # a param of any sign


def decays(build: Build) -> list[Decay | None]:
    form = form_of(analysed(build), "S")
    assert isinstance(form, MatrixForm)
    return [d for d in (form.scalar, form.alpha, form.beta) if d is not None]


def test_selective_scan_has_no_matrix_form() -> None:
    analysis = analysed(selective)
    assert form_of(analysis, "h") == "the decay does not separate into a factor of the rows and one of the columns"
    assert analysis.components[0].kclass == "K3"
    assert spec_class(analysis) == "K3 (K5x)"


def test_stabiliser_is_named() -> None:
    analysis = analysed(stabilised)
    m, norm, c = analysis.components  # states of fewer axes come first
    assert (m.algebra, m.kclass) == ("maxplus", "K7")
    assert (c.algebra, c.kclass, c.structure) == ("stabilised", "K4", "scalar")
    assert (norm.algebra, norm.kclass) == ("stabilised", "K7")
    assert "`m`" in c.notes[0]
    assert c.affine
    assert c.monoid is not None


def test_log_rules() -> None:
    s = Spec()
    ar, x, y = s.arena, s.input("x", "D"), s.input("y", "D")
    c = s.input("c", "", "bool")
    one, gate = ar.const(1), ar.map("sigmoid", x)
    known = Ranges(lambda node: Interval(0.5, 2.0) if node is y else None)
    for e in (
        ar.exp(x), gate, ar.sub(one, gate), ar.mul(ar.exp(x), gate), ar.div(gate, ar.exp(x)),
        ar.map("pow", gate, ar.const(0.25)), ar.map("rsqrt", ar.exp(x)), ar.where(c, y, gate),
        ar.add(ar.exp(x), gate), ar.map("max", gate, ar.const(0.1)), ar.rename(gate, {"D": "N"}),
        ar.reduce("prod", gate, ("D",)), ar.const(0.25), y, ar.map("sqrt", ar.add(ar.mul(x, x), one)),
    ):  # fmt: skip
        log = log_of(ar, e, known)
        assert log is not None
        rng = np.random.default_rng(1)
        values = {"x": rng.normal(size=3), "y": rng.uniform(0.5, 2, 3), "c": np.asarray(False)}
        want, got = evaluate([ar.map("log", e), log], leaf_of(values), XP, SIZES)
        np.testing.assert_allclose(full(got, e.axes, SIZES), full(want, e.axes, SIZES), rtol=1e-12)
    for e in (x, ar.map("softplus", x), ar.sub(one, x), ar.const(-1.0), ar.neg(gate), ar.add(gate, x),
              ar.div(one, ar.where(c, gate, ar.const(0)))):  # fmt: skip
        assert log_of(ar, e, Ranges()) is None
    masked = log_of(ar, ar.where(c, ar.const(0), gate), known)
    assert masked is not None
    (value,) = evaluate([masked], leaf_of({"x": np.zeros(3), "c": np.asarray(True)}), XP, SIZES)
    assert set(np.asarray(value.data).ravel()) == {LOG_ZERO}
    assert isinstance(masked, n.Map)
