"""The step graph's text reads back, its verifier finds every broken invariant, and passes are verified in between."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.lines import TextError
from ssmc.source import Source, Span
from ssmc.step.nodes import Axis, Depth, Output, Port, Register, StepGraph
from ssmc.step.passes import Pass, run_passes
from ssmc.step.printer import print_graph, roots_of
from ssmc.step.reader import read_graph, same_graph
from ssmc.step.verify import INVARIANTS, Check, verify

SOURCE = Source("toy.ssm", "ssm toy\naxis D, N\n" + "#" * 80)


def _graph() -> StepGraph:
    """A graph with every node a step graph may hold."""
    ar = Arena(("D", "N", "T"))
    ar.span = Span(SOURCE, 8, 12)
    u, reset = ar.input("u", ("D",), "real"), ar.input("reset", (), "bool")
    A, w = ar.param("A", ("N", "N'"), "real"), ar.param("w", ("N",), "complex")
    h = ar.read("h", ("D", "N"), "complex")
    mixed = ar.contract(A, ar.rename(h, {"N": "N'"}), ("N'",))
    shifted = ar.shift(ar.broadcast(ar.cumulative("sum", w, "N", True), ("D", "N")), "N", -1)
    table = ar.table("hippo.legs", ("N", "N'"), "real")
    solved = ar.solve(ar.add(ar.eye("N", "N'"), ar.expm(table, "N", "N'")), mixed, "N", "N'")
    new = ar.where(reset, ar.const(-0.0), ar.add(ar.mul(solved, ar.const(1 - 0.5j)), ar.mul(shifted, u)))
    kept = ar.sub(u, ar.read("prev.u", ("D",), "real", 2))
    line = ar.history("past.u", "T", kept, ("D",), "real")
    window = ar.window("conv.u", "T", ("D",), "real", None)
    y = ar.add(ar.reduce("logsumexp", ar.mul(line, window), ("T",)), ar.map("real", ar.pick(new, "N", -1)))
    timed = ar.mul(y, ar.map("cast_real", ar.map("mod", ar.time(), ar.size("N"))))
    drawn = ar.draw("uniform", (ar.const(0.0), ar.const(1e-3)), ("N", "N'"))
    ports = Port("u", ("D",), "real"), Port("reset", (), "bool")
    params = Port("A", ("N", "N'"), "real", drawn), Port("w", ("N",), "complex", ar.cast(ar.index("N"), "complex"))
    zero = ar.const(0.0)
    registers = (
        Register("h", ("D", "N"), "complex", ar.mul(w, ar.const(2j)), new, False, Depth(1), "state", ar.span),
        Register("prev.u", ("D",), "real", zero, u, False, Depth(2), "prev"),
        Register("past.u", ("D",), "real", zero, kept, False, Depth(0, unbounded=True), "past"),
        Register("conv.u", ("D",), "real", zero, kept, True, Depth(-1 + 1, "T"), "conv", line="T"),
    )
    axes = Axis("D", None, True), Axis("N", ar.map("mul", ar.size("D"), ar.const(2)), False), Axis("T", None, False)
    outputs = Output("y", ("D",), "real", timed), Output("h", ("N", "D"), "complex", new)
    names = (("new", new), ("y", timed), ("alias", new), ("λ", u))
    return StepGraph("toy", SOURCE, axes, ports, params, registers, outputs, (("D", "T"),), ar, names)


def test_the_text_reads_back_to_an_equal_graph() -> None:
    graph = _graph()
    verify(graph)
    text = print_graph(graph)
    again = read_graph(text)
    assert same_graph(graph, again)
    verify(again)
    stripped = "\n".join(line.split("  #")[0].rstrip() for line in text.splitlines()) + "\n"
    assert print_graph(again) == stripped
    assert "toy.ssm:2" in text


def test_graphs_that_differ_are_not_the_same() -> None:
    graph = _graph()
    for other in (
        replace(graph, name="other"),
        replace(graph, outputs=graph.outputs[:1]),
        replace(graph, equations=()),
        replace(graph, names=graph.names[:1]),
        replace(graph, axes=tuple(replace(a, each=not a.each) for a in graph.axes)),
        replace(graph, registers=(*graph.registers[:-1], replace(graph.registers[-1], reverse=False))),
        replace(graph, params=(replace(graph.params[0], default=None), *graph.params[1:])),
    ):
        assert not same_graph(graph, other)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("axis D", "no `step` line"),
        ("step a\nfoo bar", "line 2: a line cannot begin with `foo`"),
        ("step a\n%1 = neg %2 : real", "line 2: %2 is not defined"),
        ("step a\n%1 = const 1 : int\n%1 = const 1 : int", "line 3: %1 is defined twice"),
        ("step a\n%1 = const 1 : int\n%2 = exp %1 : int", "line 3: `exp %1 : int` says int, it is real"),
        ("step a\n%1 = frob 1 : int", "`frob` is no operation"),
        ("step a\n%1 = const 1 : float", "`float` is no kind"),
        ("step a\n%1 = const x : int", "line 2: cannot read"),
        ("step a\n%1 = const 1 : int int", "`int` is too much"),
        ("step a\n%1 = read h : real", "is no leaf"),
        ("step a\nregister h real state sideways depth 1", "`forward` is missing"),
    ],
)
def test_other_texts_are_refused(text: str, told: str) -> None:
    with pytest.raises(TextError, match=re.escape(told)):
        read_graph(text)


# -- each invariant, broken ----------------------------------------------------------------------------------------


def _with_output(graph: StepGraph, value: n.Node, axes: tuple[str, ...] | None = None) -> StepGraph:
    return replace(graph, outputs=(Output("y", value.axes if axes is None else axes, value.kind, value),))


def _with_register(graph: StepGraph, index: int, **changes: object) -> StepGraph:
    registers = list(graph.registers)
    registers[index] = replace(registers[index], **changes)  # type: ignore[arg-type]
    return replace(graph, registers=tuple(registers))


def _ill_typed(g: StepGraph) -> StepGraph:
    return _with_output(g, n.Map(("D",), "int", "exp", (g.arena.input("u", ("D",), "real"),)))


def _twice(g: StepGraph) -> StepGraph:
    return _with_output(g, g.arena.add(g.arena.input("u", ("D",), "real"), n.Input(("D",), "real", "u")))


def _square_input(g: StepGraph) -> StepGraph:
    return replace(g, inputs=(*g.inputs, Port("m", ("N'", "N"), "real")))


def _bad_span(g: StepGraph) -> StepGraph:
    return replace(g, inputs=(replace(g.inputs[0], span=Span(Source("other", "x" * 99), 0, 1)), *g.inputs[1:]))


def _circular_sizes(g: StepGraph) -> StepGraph:
    return replace(g, axes=(replace(g.axes[0], size=g.arena.size("N")), *g.axes[1:]))


BREAKS: dict[str, Callable[[StepGraph], StepGraph]] = {
    "step-nodes": lambda g: _with_output(g, g.arena.local("x", (), "real")),
    "interned": _twice,
    "distinct-axes": lambda g: _with_output(g, n.Input(("D", "D"), "real", "u")),
    "declared-axes": lambda g: _with_output(g, g.arena.index("Q")),
    "operated-axes": lambda g: _with_output(g, n.Pick(("D",), "real", g.arena.input("u", ("D",), "real"), "N", 0)),
    "typed": _ill_typed,
    "spans": _bad_span,
    "unique-names": lambda g: replace(g, inputs=(*g.inputs, g.inputs[0])),
    "ports": lambda g: _with_output(g, g.arena.input("v", ("D",), "real")),
    "primed-axes": _square_input,
    "outputs": lambda g: replace(g, outputs=(replace(g.outputs[0], axes=()),)),
    "constant-init": lambda g: _with_register(g, 1, init=g.arena.input("u", ("D",), "real")),
    "constant-defaults": lambda g: replace(g, params=(replace(g.params[0], default=g.arena.time()),)),
    "draws": lambda g: _with_output(g, g.arena.draw("normal", (g.arena.const(1.0),), ("D",))),
    "sizes": _circular_sizes,
    "known-registers": lambda g: _with_output(g, g.arena.read("q", ("D",), "real")),
    "read-types": lambda g: _with_output(g, g.arena.read("prev.u", ("N",), "real")),
    "read-depths": lambda g: _with_output(g, g.arena.read("prev.u", ("D",), "real", 3)),
    "depths": lambda g: _with_register(g, 0, depth=Depth(0)),
    "currents": lambda g: _with_register(g, 2, source=g.arena.input("u", ("D",), "real")),
    "sources": lambda g: _with_register(g, 1, source=g.arena.input("u", ("D",), "real"), kind="bool"),
}


def test_there_is_a_break_for_every_invariant() -> None:
    assert list(BREAKS) == [c.name for c in INVARIANTS]


@pytest.mark.parametrize("check", INVARIANTS, ids=lambda c: c.name)
def test_a_broken_invariant_is_found(check: Check) -> None:
    graph = BREAKS[check.name](_graph())
    assert list(check.rule(graph, n.postorder(roots_of(graph))))
    # some of them break an earlier invariant as well
    with pytest.raises(CompilerBug, match="after `test`, the step graph of `toy` breaks"):
        verify(graph, "test")


# -- passes --------------------------------------------------------------------------------------------------------


def test_passes_are_verified_and_named() -> None:
    seen: list[str] = []
    fine = Pass("nothing", lambda g: g)
    broken = Pass("break-it", BREAKS["ports"])
    assert same_graph(run_passes(_graph(), [fine], seen=lambda name, g: seen.append(name)), _graph())
    assert seen == ["build", "nothing"]
    with pytest.raises(CompilerBug, match=r"after `break-it`.*`ports`"):
        run_passes(_graph(), [fine, broken])
    assert same_graph(run_passes(_graph(), [fine, broken], after="nothing"), _graph())
    with pytest.raises(CompilerBug, match="no pass `else`"):
        run_passes(_graph(), [fine], after="else")


def test_what_a_pass_establishes_stays_verified() -> None:
    one_output = Check("one-output", "at most one output", lambda g, nodes: ["two"] if len(g.outputs) > 1 else [])
    drop = Pass("drop-outputs", lambda g: replace(g, outputs=g.outputs[:1]), establishes=(one_output,))
    double = Pass("double", lambda g: replace(g, outputs=(*g.outputs, replace(g.outputs[0], name="z"))))
    needs = Pass("needs", lambda g: g, requires=(one_output,))
    run_passes(_graph(), [drop, needs])
    with pytest.raises(CompilerBug, match=r"after `double`.*`one-output`"):
        run_passes(_graph(), [drop, double])
    with pytest.raises(CompilerBug, match="`needs` needs `one-output`"):
        run_passes(_graph(), [needs])
