"""Derived operators in exact rationals on generated elements, and generated updates against their definition."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.recurrence.analyse import analyse
from ssmc.recurrence.exact import Domain, Exponentials, Rationals, Table, evaluate_exact, indices
from ssmc.recurrence.nodes import Component, Monoid
from tests.unit.recurrence_cases import SIZES, Spec, check_component
from tests.unit.test_recurrence_algebras import CASES, Build, analysed, only

FRACTIONS = st.fractions(-4, 4, max_denominator=6)
POSITIVE = st.fractions(0, 4, max_denominator=6)
SMALL = {**SIZES, "D": 1, "H": 1, "N": 2, "V": 2, "K": 2}


def element(draw: st.DataObject, c: Component, monoid: Monoid) -> list[Table]:
    """Any element of the algebra: bounds in order, factors that must be non-negative so."""
    found = {}
    for slot in monoid.later:
        name = slot.name.removeprefix("later_")
        values: st.SearchStrategy[object] = FRACTIONS
        if slot.kind == "bool":
            values = st.booleans()
        elif c.algebra == "logsumexp" or (name == "s" and not signed(monoid)) or ("times" in c.algebra and name == "a"):
            values = POSITIVE
        found[name] = {i: draw.draw(values) for i in indices(slot.axes, SMALL)}
    if {"lo", "hi"} <= set(found):
        found["lo"] = {i: min(x, found["hi"][i]) for i, x in found["lo"].items()}
    return list(found.values())


def signed(monoid: Monoid) -> bool:
    names = [{x.name for x in n.postorder([e]) if isinstance(x, n.Local)} for e in monoid.combined]
    return any({"earlier_lo", "earlier_hi"} <= found for found in names)


def combine(monoid: Monoid, first: Sequence[Table], second: Sequence[Table], domain: Domain) -> list[Table]:
    values: dict[Node, Table] = dict(zip(monoid.earlier, first, strict=True))
    values |= dict(zip(monoid.later, second, strict=True))
    return evaluate_exact(monoid.combined, values.__getitem__, SMALL, domain)


def applied(monoid: Monoid, item: Sequence[Table], state: dict[str, Table], domain: Domain) -> list[Table]:
    values: dict[Node, Table] = dict(zip(monoid.later, item, strict=True))
    leaf = lambda x: state[x.register] if isinstance(x, n.Read) else values[x]  # noqa: E731
    return evaluate_exact([v for _, v in monoid.applied], leaf, SMALL, domain)


@pytest.mark.parametrize("build", [c[0] for c in CASES], ids=lambda x: x.__name__)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_associative_and_composes(build: Build, data: st.DataObject) -> None:
    analysis = analysed(build)
    c = only(analysis)
    monoid = c.monoid
    assert monoid is not None
    domain: Domain = Exponentials() if c.algebra == "logsumexp" else Rationals()
    f, g, h = (element(data, c, monoid) for _ in range(3))
    fg, gh = combine(monoid, f, g, domain), combine(monoid, g, h, domain)
    assert combine(monoid, fg, h, domain) == combine(monoid, f, gh, domain)
    registers = [analysis.graph.register[r] for r in c.registers]
    bools = registers[0].kind == "bool"
    values = st.booleans() if bools else POSITIVE if c.algebra == "logsumexp" else FRACTIONS
    state = {r.name: {i: data.draw(values) for i in indices(r.axes, SMALL)} for r in registers}
    try:
        middle = dict(zip(state, applied(monoid, f, state, domain), strict=True))
        twice = applied(
            monoid,
            g,
            {r.name: spread(middle[r.name], r.axes, v) for r, (_, v) in zip(registers, monoid.applied, strict=True)},
            domain,
        )
        once = applied(monoid, fg, state, domain)
    except ZeroDivisionError:
        return  # a pole of a linear-fractional map
    for x, y in zip(once, twice, strict=True):
        assert x == y


def spread(table: Table, axes: tuple[str, ...], node: Node) -> Table:
    """The table over all axes of the register."""
    at = [axes.index(a) for a in node.axes]
    return {i: table[tuple(i[k] for k in at)] for i in indices(axes, SMALL)}


def test_rationals_are_exact() -> None:
    third = Rationals().apply("div", [Fraction(1), 3])
    assert third == Fraction(1, 3)


# -- generated updates ---------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["add", "sub", "from", "mul", "gate", "max", "min", "relu", "neg", "reset", "softplus", "under"]
        ),
        st.sampled_from(["x", "y"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=80, deadline=None)
@given(STEPS, st.integers(0, 3))
def test_generated_updates(steps: list[tuple[str, str]], seed: int) -> None:
    """A chain of operators on the state: whatever algebra it is found to be in, its monoid computes it."""
    s = Spec()
    ar, h = s.arena, s.state("h", "D")
    inputs = {"x": s.input("x", "D"), "y": s.input("y")}
    c = s.input("c", "", "bool")
    e: Node = h
    for op, name in steps:
        v = inputs[name]
        match op:
            case "add" | "sub" | "mul" | "max" | "min":
                e = ar.map(op, e, v)
            case "from":
                e = ar.sub(v, e)
            case "gate":
                e = ar.mul(ar.map("sigmoid", v), e)
            case "relu" | "neg" | "softplus":
                e = ar.map(op, e)
            case "reset":
                e = ar.where(c, v, e)
            case "under":
                e = ar.div(v, e)
    s.set("h", e)
    analysis = analyse(s.graph())
    (component,) = analysis.components
    assert (component.algebra == "nonlinear") == (component.monoid is None)
    if component.algebra == "nonlinear":
        assert component.blockers
        assert component.kclass == "K10"
    elif component.algebra != "moebius":
        check_component(analysis.graph, component, steps=4, seed=seed)
    elif not any(op == "gate" for op, _ in steps):
        # near a pole floating point is no judge
        check_exactly(e, component)


def check_exactly(source: Node, component: Component) -> None:
    """The matrix of a linear-fractional update, applied to a rational state, is the update."""
    monoid = component.monoid
    assert monoid is not None
    given = {"x": Fraction(3, 7), "y": Fraction(-5, 3), "h": Fraction(2, 11), "c": False}

    def leaf(node: Node) -> Table:
        name = node.register if isinstance(node, n.Read) else node.name  # type: ignore[attr-defined]
        return dict.fromkeys(indices(node.axes, SMALL), given[name])

    sizes = SMALL
    (want,) = evaluate_exact([source], leaf, sizes, Rationals())
    item = evaluate_exact(monoid.element, leaf, sizes, Rationals())
    (got,) = applied(monoid, item, {"h": leaf_of_state(given["h"])}, Rationals())
    assert set(got.values()) == set(want.values())


def leaf_of_state(value: object) -> Table:
    return {(0,): value}
