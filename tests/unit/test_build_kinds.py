"""Kinds: what operators give, what fits into states, outputs and params."""

from __future__ import annotations

import math

import pytest

from ssmc.expr import nodes as n
from tests.unit.specs import built, codes

HEAD = """
axis N
input x, b bool, i int, c complex
param w[N]
"""


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("i + 1", "int"), ("b + b", "int"), ("i/2", "real"), ("i*x", "real"), ("1j*i", "complex"), ("-b", "int"),
        ("i**2", "int"), ("i**-2", "real"), ("2**i", "real"), ("2**size[N]", "real"), ("2**(t - 1)", "real"),
        ("2**-1", "real"), ("(-2)**3", "int"), ("pow(i, i)", "real"), ("i**0.5", "real"), ("c**2", "complex"),
        ("mod(t - 1, 16) == 0", "bool"), ("mod(t, 2)", "int"), ("floor(x)", "real"), ("abs(c)", "real"),
        ("abs(i)", "int"),
        ("real(c)", "real"), ("angle(c)", "real"), ("conj(i)", "int"), ("exp(b)", "real"), ("exp(c)", "complex"),
        ("where(b, 1, 0)", "int"), ("where(b, i, c)", "complex"), ("min(i, b, 3)", "int"), ("max(i, x, 3)", "real"),
        ("clamp(i, 0, 1)", "int"), ("not b and x > 0 or i == 1", "bool"), ("sum[N](w > 0)", "int"),
        ("mean[N](w > 0)", "real"), ("norm[N](w*c)", "real"), ("logaddexp(x, i, 1)", "real"), ("true", "bool"),
        ("t", "int"), ("pi", "real"), ("inf", "real"), ("2", "int"), ("2.", "real"), ("2j", "complex"),
        ("9007199254740993", "real"), ("prev(b)", "bool"), ("prev(b, 1, 2)", "int"), ("prev(i, 1, 0.5)", "real"),
    ],
)  # fmt: skip
def test_kinds_of_expressions(expression: str, kind: str) -> None:
    graph = built(
        f"{HEAD}y = {expression}\noutput y complex" if kind != "bool" else f"{HEAD}y = {expression}\noutput y"
    )
    assert dict(graph.names)["y"].kind == kind


@pytest.mark.parametrize(
    ("kind", "expression", "legal"),
    [
        ("", "b", True), ("", "i", True), ("", "c", False), ("complex", "b", True), ("int", "b", True),
        ("int", "x", False),
        ("bool", "b", True), ("bool", "i", False), ("bool", "1", False), ("complex", "x", True),
    ],
)  # fmt: skip
def test_what_fits(kind: str, expression: str, legal: bool) -> None:
    head = HEAD.replace("param w[N]\n", "").replace("axis N\n", "")
    for text in (
        f"state s {kind}\ns = {expression}\noutput x",
        f"output y {kind} = {expression}",
        f"y = {expression}\noutput y {kind}",
    ):
        assert ("E403" not in codes(head + text)) == legal, text


def test_conversions_are_nodes() -> None:
    graph = built("""
    input b bool
    state s = 1
    s = b
    output s complex, y = b
    """)
    (state,) = graph.registers
    assert state.init.kind == state.source.kind == "real"
    assert [o.value.kind for o in graph.outputs] == ["complex", "real"]


def test_constants() -> None:
    graph = built("""
    output a = pi, b = -inf, c bool = true, d complex = 1 + 2j, e = 2**-1, f = 7/2, g int = t
    """)
    found = {o.name: o.value for o in graph.outputs}
    values = {k: v.value for k, v in found.items() if isinstance(v, n.Const)}
    assert values == {"a": math.pi, "b": -math.inf, "c": True, "d": 1 + 2j, "e": 0.5, "f": 3.5}
    assert isinstance(found["g"], n.Time)
