"""Bounds of absolute values, and what the plan makes of them."""

from __future__ import annotations

import pytest

from ssmc.api import compile as compile_spec
from ssmc.recurrence.invariant import provably_stable

SPECS = {
    "exp(-exp(a))": True,
    "sigmoid(a)": True,
    "a": False,
    "exp(-exp(a) + 1j*b)": True,
    "exp(a + 1j*b)": False,
    "exp(exp(b)*(-exp(a) + 1j*b))": True,
    "exp(1j*b)": True,
    "0.5*exp(1j*b)": True,
    "1.5*exp(1j*b)": False,
    "(1 + (1j*b - exp(a)))/(1 - (1j*b - exp(a)))": True,
    "(1 + (1j*b + exp(a)))/(1 - (1j*b + exp(a)))": False,
    "where(b > 0, exp(-abs(a)), 0.25)": True,
}


@pytest.mark.parametrize("decay", SPECS)
def test_stable(decay: str) -> None:
    spec = compile_spec(
        f"ssm s; axis D; input u[D]; param a[D], b[D]; state h[D] complex; h = {decay}*h + u; output y = real(h)"
    )
    analysis = spec.analysis
    (component,) = (c for c in analysis.components if c.recurrent)
    assert provably_stable(analysis.graph, component) is SPECS[decay]
    (choice,) = (c for c in spec.plan(sizes={"D": 4}, length=4096).choices if c.component == component.index)
    assert SPECS[decay] or choice.form != "conv"
    assert next(f for f in choice.forms if f.name == "conv").legal
