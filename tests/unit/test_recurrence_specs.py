"""From the text of a spec to its components: what is found, and what is said of that which is not."""

from __future__ import annotations

import pytest

from ssmc.recurrence.analyse import analyse
from ssmc.recurrence.families import spec_class
from ssmc.recurrence.jacobian import jacobian_of
from ssmc.recurrence.nodes import Analysis
from ssmc.source import Source
from ssmc.step.build import build
from ssmc.step.verify import verify
from ssmc.syntax.parser import parse


def analysed(text: str) -> Analysis:
    source = Source("<test>", f"ssm test\n{text}\n")
    return analyse(build(parse(source).specs[0], source))


def told(text: str) -> list[str]:
    return [
        f"{' '.join(c.registers)}: {c.algebra} {c.time} {c.structure} {c.kclass}" for c in analysed(text).components
    ]


FOUND = {
    "a delay in a cycle": (
        "input x\ny = x + 0.5*prev(y) - 0.2*prev(y, 2)\noutput y",
        ["prev.y: affine invariant companion K1"],
        "K1",
    ),
    "a state and its own delay": (
        "input x\nstate h\nh = x + 0.5*h - 0.2*prev(h, 2)\noutput h",
        ["h prev.h: affine invariant block K1"],
        "K1",
    ),
    "a convolution of the state": (
        "axis W = 3\ninput x\nparam w[W]\nstate h\nh = x + conv(h, w)\noutput h",
        ["h conv.h: affine invariant block K1"],
        "K1",
    ),
    "frozen within blocks": (
        "axis D\ninput x[D]\nstate f[D], m[D]\nf = where(mod(t - 1, 16) == 0, m, f)\nm = m + tanh(f)*x\noutput m",
        ["f m: nonlinear data block K9"],
        "K9",
    ),
    "attention": (
        "axis K, V, T\ninput q[K], k[K], v[V]\noutput y[V] = sum[T](softmax[T](q · past[T](k)) * past[T](v))",
        ["past.k: delay invariant growing K12", "past.v: delay invariant growing K12"],
        "K12",
    ),
    "the past in a cycle": (
        "axis T\ninput x\ny = x + 0.1*tanh(prev(z))\nz = sum[T](past[T](y))\noutput y",
        ["prev.z past.y: nonlinear data growing K12"],
        "K12",
    ),
    "only a convolution": (
        "axis D, W\ninput x[D]\nparam w[D, W]\noutput y[D] = conv(x, w)",
        ["conv.x: delay invariant delay K8"],
        "K0",
    ),
    "a reverse state": (
        "axis D\ninput x[D]\nstate h[D] reverse\nh = 0.5*h + x\noutput h",
        ["h: affine invariant scalar K1"],
        "K1",
    ),
    "a filter whose gain has a recurrence of its own": (
        "input y, q, r\nstate p = 1, m = 0\nprior = p + q\ngain = prior/(prior + r)\np = (1 - gain)*prior\n"
        "m = m + gain*(y - m)\noutput m",
        ["p: moebius data diagonal K7", "m: affine data scalar K3"],
        "K3 + K7",
    ),
    "a matrix from the data": (
        "axis H, N\neach H\ninput x[H], A[H, N, N]\nstate h[H, N]\nh = A @ h + x\noutput h",
        ["h: affine data dense K6"],
        "K6",
    ),
    "nothing carried": ("input x\noutput y = 2*x", [], "none"),
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str) -> None:
    text, components, summary = FOUND[name]
    assert told(text) == components
    assert spec_class(analysed(text)) == summary


@pytest.mark.parametrize("name", FOUND)
def test_the_graph_stays_well_formed(name: str) -> None:
    verify(analysed(FOUND[name][0]).graph, "expand_delays")


def test_a_component_comes_after_those_it_reads() -> None:
    analysis = analysed(
        "axis D\ninput x[D]\nstate c[D], b[D], a[D]\n"
        "a = 0.5*a + x\nb = 0.5*b + prev(a)\nc = 0.5*c + b*prev(b)\noutput c"
    )
    assert [c.registers for c in analysis.components] == [("a",), ("b",), ("c",)]
    assert [c.index for c in analysis.components] == [0, 1, 2]


BLOCKED = {
    "h = tanh(h + x)": ("tanh(h + x)", "elementwise", "K10"),
    "h = h*h + x": ("h*h", "elementwise", "K10"),
    "h = h + x*norm[D](h)": ("norm[D](h)", "dense", "K11"),
    "h = softmax[D](h + x)": ("softmax[D](h + x)", "dense", "K11"),
    "h = cumsum[D](sin(h)) + x": ("sin(h)", "dense", "K11"),
    "h = where(h > 0, x, h)": ("h > 0", "elementwise", "K10"),
}


@pytest.mark.parametrize("update", BLOCKED)
def test_what_blocks_is_named(update: str) -> None:
    text, structure, kclass = BLOCKED[update]
    analysis = analysed(f"axis D\ninput x[D]\nstate h[D]\n{update}\noutput h")
    (c,) = analysis.components
    assert (c.algebra, c.structure, c.kclass, c.monoid) == ("nonlinear", structure, kclass, None)
    assert c.blockers
    spans = [analysis.graph.span_of(b.node) for b in c.blockers]
    assert [s.text for s in spans if s is not None] == [text]


def test_conjugate_is_not_complex_linear() -> None:
    (c,) = analysed("axis D\ninput x[D]\nstate h[D] complex\nh = 0.5j*conj(h) + x\noutput y[D] = real(h)").components
    assert c.algebra == "nonlinear"
    assert "conjugate" in c.blockers[0].reason


@pytest.mark.parametrize(
    ("text", "structure", "mixed"),
    [
        ("state h[D]\nh = tanh(h + x)\noutput h", "elementwise", ()),
        ("state c[D], h[D]\nc = sigmoid(h)*c + x\nh = tanh(c)*h\noutput h", "block", ()),
        ("param U[D, D]\nstate h[D]\nh = tanh(U @ h + x)\noutput h", "dense", ("D",)),
        ("state h[D, N]\nh = tanh(h + x*sum[N](h))\noutput h", "dense", ("N",)),
        ("state h[D, N]\nh = tanh(shift[N](h) + x)\noutput h", "dense", ("N",)),
        ("state c[D, N], h[D]\nh = tanh(sum[N](c) + h)\nc = tanh(c)*prev(h)\noutput h", "dense", ("N",)),
    ],
)
def test_jacobian(text: str, structure: str, mixed: tuple[str, ...]) -> None:
    analysis = analysed(f"axis D, N\ninput x[D]\n{text}")
    (c,) = analysis.components
    found = jacobian_of(analysis.graph, c.registers)
    assert (found.structure, found.mixed) == (structure, mixed)
    assert c.structure == structure
