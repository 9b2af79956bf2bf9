"""Proofs of the derived operators, and that a wrong operator is not proved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ssmc.recurrence.proof import ASSOCIATIVE, COMPOSES, NEUTRAL, prove
from tests.unit.test_recurrence_algebras import CASES, Build, analysed, only


@pytest.mark.parametrize("build", [c[0] for c in CASES], ids=lambda x: x.__name__)
def test_every_operator_is_proved(build: Build) -> None:
    analysis = analysed(build)
    proofs = prove(analysis, only(analysis))
    assert [p.statement for p in proofs] == [ASSOCIATIVE, NEUTRAL, COMPOSES]
    assert all(p.holds for p in proofs), proofs


@pytest.mark.parametrize("build", [c[0] for c in CASES], ids=lambda x: x.__name__)
def test_a_wrong_operator_is_not(build: Build) -> None:
    """The operands exchanged: application no longer composes, unless the maps commute."""
    analysis = analysed(build)
    c = only(analysis)
    monoid = c.monoid
    assert monoid is not None
    swap = dict(zip((*monoid.later, *monoid.earlier), (*monoid.earlier, *monoid.later), strict=True))
    combined = analysis.graph.arena.substitute(monoid.combined, lambda x: swap.get(x))  # type: ignore[call-overload]
    swapped = replace(c, monoid=replace(monoid, combined=tuple(combined)))
    proofs = {p.statement: p.holds for p in prove(analysis, swapped)}
    assert proofs[COMPOSES] == (build.__name__ in ("cumulative_sum", "running_product"))
