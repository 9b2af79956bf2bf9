"""Every example is found to be in the class that it is published as."""

from __future__ import annotations

import pytest

from ssmc.recurrence.analyse import analyse
from ssmc.recurrence.nodes import Analysis
from ssmc.recurrence.proof import prove
from ssmc.source import Source
from ssmc.step.build import build
from ssmc.step.sizes import solve_sizes
from ssmc.syntax.parser import parse
from tests.examples.cases import CASES, Case
from tests.unit.recurrence_cases import check_component


def analysis_of(case: Case) -> Analysis:
    source = Source(case.file.name, case.file.read_text(encoding="utf-8"))
    spec = next(s for s in parse(source).specs)
    return analyse(build(spec, source))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_class(case: Case) -> None:
    analysis = analysis_of(case)
    for expect in case.expect:
        holders = [c for c in analysis.components if expect.state in ("*", *c.registers)]
        found = [(c.algebra, c.time, c.structure, c.kclass) for c in holders]
        allowed = [w.split("|") for w in (expect.algebra, expect.time, expect.structure, expect.kclass)]
        assert any(all(x in words for x, words in zip(f, allowed, strict=True)) for f in found), (expect, found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_operators_are_proved(case: Case) -> None:
    analysis = analysis_of(case)
    for component in analysis.components:
        proofs = prove(analysis, component)
        assert all(p.holds for p in proofs)
        assert bool(proofs) == (component.monoid is not None)
        assert (component.monoid is None) == (component.algebra in ("nonlinear", "delay"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_monoids_compute_the_sources(case: Case) -> None:
    analysis = analysis_of(case)
    for component in analysis.components:
        if component.monoid is not None:
            check_component(analysis.graph, component, steps=3, sizes=solve_sizes(analysis.graph, {}, case.sizes))
