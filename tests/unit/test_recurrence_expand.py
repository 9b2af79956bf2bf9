"""Delay lines in cycles as states: the expanded graph computes what the original does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ssmc.recurrence.analyse import analyse
from ssmc.recurrence.expand import expand_delays
from ssmc.recurrence.graph import components_of, is_recurrent
from ssmc.step.interp import run
from ssmc.step.nodes import Depth, StepGraph
from tests.unit.recurrence_cases import SIZES, Spec, check_component

Build = Callable[[Spec], None]


def second_order(s: Spec) -> None:
    """y = a prev(y) + b prev(y, 3) + x, a filter with a gap"""
    ar = s.arena
    a, b, x = s.param("a", "D"), s.input("b", "D"), s.input("x", "D")
    s.state("prev.y", "D", depth=Depth(3), origin="prev", init=0.5)
    near, far = ar.read("prev.y", ("D",), "real", 1), ar.read("prev.y", ("D",), "real", 3)
    y = ar.add(ar.add(ar.mul(a, near), ar.mul(b, far)), x)
    s.set("prev.y", y)
    s.output("y", ar.add(y, far))


def rational(s: Spec) -> None:
    """transfer(b, a, u)"""
    ar = s.arena
    a, b, u = s.param("a", "D W"), s.param("b", "D W"), s.input("u", "D")
    s.state("transfer.y", "D", depth=Depth(0, "W"), origin="transfer")
    earlier = ar.window("transfer.y", "W", ("D",), "real", None)
    source = ar.sub(u, ar.contract(a, earlier, ("W",)))
    s.set("transfer.y", source)
    s.output("y", ar.contract(b, ar.window("transfer.y", "W", ("D",), "real", source), ("W",)))


def convolved_feedback(s: Spec) -> None:
    """A convolution, current step included, of a state that reads what it convolved; nonlinear."""
    ar = s.arena
    w, x, h = s.param("w", "D W"), s.input("x", "D"), s.state("h", "D")
    window = ar.window("conv.h", "W", ("D",), "real", h)
    s.state("conv.h", "D", depth=Depth(0, "W"), origin="conv")
    s.set("conv.h", h)
    s.set("h", ar.map("tanh", ar.add(ar.contract(w, window, ("W",)), x)))
    s.output("h", s.registers["h"].source)


def outside(s: Spec) -> None:
    """A convolution of an input: no cycle, it stays a delay line."""
    ar = s.arena
    w, x, h = s.param("w", "D W"), s.input("x", "D"), s.state("h", "D")
    s.state("conv.x", "D", depth=Depth(0, "W"), origin="conv")
    s.set("conv.x", x)
    u = ar.contract(w, ar.window("conv.x", "W", ("D",), "real", x), ("W",))
    s.set("h", ar.add(ar.mul(ar.map("sigmoid", u), h), x))
    s.output("h", s.registers["h"].source)


def built(build: Build) -> StepGraph:
    s = Spec()
    build(s)
    return s.graph()


@pytest.mark.parametrize("build", [second_order, rational, convolved_feedback], ids=lambda b: b.__name__)
def test_same_values(build: Build) -> None:
    graph = built(build)
    expanded = expand_delays(graph)
    assert any(r.line for r in expanded.registers)
    rng = np.random.default_rng(0)
    draw = lambda axes, lead: rng.normal(size=[*lead, *(SIZES[a] for a in axes)]) * 0.5  # noqa: E731
    inputs = {p.name: draw(p.axes, [2, 7]) for p in graph.inputs}
    params = {p.name: draw(p.axes, []) for p in graph.params}
    # the original's entries are (depth, axes…), oldest first: reversed they are the expanded states
    before, after = {}, {}
    for old, new in zip(graph.registers, expanded.registers, strict=True):
        depth = old.depth.steps + (SIZES[old.depth.axis] if old.depth.axis else 0)
        line = draw(old.axes, [2, depth])
        before[old.name] = line[:, 0] if old.origin == "state" else line
        after[old.name] = line[:, ::-1] if new.line else before[old.name]
    want, state = run(graph, inputs, params, before, sizes=SIZES)
    got, new_state = run(_as_states(expanded), inputs, params, after, sizes=SIZES)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12, atol=1e-12)
    for r in expanded.registers:
        value = new_state[r.name][:, ::-1] if r.line else new_state[r.name]
        np.testing.assert_allclose(value, state[r.name], rtol=1e-12, atol=1e-12)


def _as_states(graph: StepGraph) -> StepGraph:
    """The expanded lines as the plain states that they are."""
    from dataclasses import replace

    changed = tuple(replace(r, depth=Depth(1), origin="state") if r.line else r for r in graph.registers)
    return replace(graph, registers=changed)


@pytest.mark.parametrize(
    ("build", "algebra", "structure", "kclass"),
    [
        (second_order, "affine", "companion", "K8"),
        (rational, "affine", "companion", "K1"),
        (convolved_feedback, "nonlinear", "dense", "K11"),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_class(build: Build, algebra: str, structure: str, kclass: str) -> None:
    analysis = analyse(built(build))
    (c,) = analysis.components
    assert (c.algebra, c.structure, c.kclass) == (algebra, structure, kclass)
    if c.monoid is not None:
        check_component(analysis.graph, c, sizes={**SIZES, "prev1": 3})


def test_only_cycles_are_expanded() -> None:
    graph = built(outside)
    assert expand_delays(graph) is graph
    analysis = analyse(graph)
    delay, recurrent = analysis.components
    assert (delay.registers, delay.algebra, delay.recurrent, delay.kclass) == (("conv.x",), "delay", False, "K8")
    assert (recurrent.registers, recurrent.algebra) == (("h",), "affine")


def test_one_step_back_only() -> None:
    """Within a recurrent component of the analysis every own read is one step back."""
    for build in (second_order, rational, convolved_feedback):
        graph = expand_delays(built(build))
        from ssmc.expr import nodes as n

        for names in components_of(graph):
            if is_recurrent(graph, names):
                for x in n.postorder([graph.register[r].source for r in names]):
                    assert not isinstance(x, (n.Window, n.History))
                    assert not isinstance(x, n.Read) or x.steps == 1
