"""Names and declarations: namespaces, defaults, initialisers, macros; many messages at once; warnings."""

from __future__ import annotations

import pytest

from ssmc.diagnostics import SpecError
from ssmc.expr import nodes as n
from ssmc.expr.nodes import postorder
from ssmc.source import Source
from ssmc.step.build import build
from ssmc.syntax import nodes as syn
from ssmc.syntax.parser import parse
from tests.unit.specs import built, checked, codes, outputs


def test_four_namespaces() -> None:
    graph, warnings = checked("""
    axis x, exp, step, N
    input x[x], exp[exp], zoh[N], sum
    f(sum) = sum + 1
    state h[N]
    h' = -h + zoh using zoh(step = sum)
    output y[x] = f(x) + sum[exp](exp) + size[step]*size[N]*h[N = 0]
    """)
    assert warnings == ()
    assert [p.name for p in graph.inputs] == ["x", "exp", "zoh", "sum"]


def test_formals_shadow_and_every_other_name_is_the_specs() -> None:
    text = """
    input x, y
    inner(y) = y*scale + x
    around(x) = inner(x + 1) + y
    scale = 10
    output z = around(100)
    """
    assert outputs(text, x=[1.0], y=[2.0])["z"] == [101 * 10 + 1 + 2]


def test_a_state_in_a_macro_is_as_at_the_call() -> None:
    text = """
    input x
    state h = 1
    twice(v) = v*h
    a = twice(1)
    h = h + x
    output a, b = twice(1)
    """
    got = outputs(text, x=[2.0, 3.0])
    assert list(got["a"]) == [1, 3]
    assert list(got["b"]) == [3, 6]


def test_defaults_and_initial_values_may_use_what_comes_below() -> None:
    graph = built("""
    axis N
    input u
    state h[N] = start
    param a[N] = decay/size[N], log_a[N] = normal(1), z[N] complex = normal(1) + 1j*normal(1)
    decay = exp(log_a)
    start = 2*a
    h = a*h + u*real(z)
    output h
    """)
    a, _, z = (p.default for p in graph.params)
    (h,) = graph.registers
    ar = graph.arena
    log_a = ar.param("log_a", ("N",), "real")
    assert a is ar.div(ar.exp(log_a), ar.size("N"))
    assert h.init is ar.mul(ar.const(2), ar.param("a", ("N",), "real"))
    assert z is not None
    assert len([x for x in postorder([z]) if isinstance(x, n.Draw)]) == 2  # the parts are independent


def test_initialisers_fill_the_last_axes() -> None:
    graph = built("""
    axis H, N
    input u
    param A[H, N, N] = hippo.legs - 1, b[N] = hippo.legs.B, lam[H, N] complex = s4d.lin, re[N] = -exp(s4d.real)
    param k[H, N] = uniform(0, index[N])
    state h[H, N] = hippo.legt.B
    h = A @ h + b*u + real(lam)*re*k
    output h
    """)
    tables = {x.name: (x.axes, x.kind) for p in graph.params if p.default for x in postorder([p.default])
              if isinstance(x, n.Table)}  # fmt: skip
    assert tables == {
        "hippo.legs": (("N", "N'"), "real"),
        "hippo.legs.B": (("N",), "real"),
        "s4d.lin": (("N",), "complex"),
        "s4d.real": (("N",), "real"),
    }
    (draw,) = [x for p in graph.params if p.default for x in postorder([p.default]) if isinstance(x, n.Draw)]
    assert draw.axes == ("H", "N")
    assert isinstance(graph.registers[0].init, n.Table)


def test_everything_wrong_is_told_at_once() -> None:
    text = """
    axis D, N
    input x[D], B[N], C[M]
    state h[D, N], g[D]
    h = mising*h + B*x
    y = x · B
    z = sigmoid(1j*x)
    output y, w
    """
    assert codes(text) == ["E203", "E208", "E201", "E301", "E401", "E210"]


def test_a_mistake_is_told_once() -> None:
    text = """
    axis D
    input x[D]
    f(v) = v*nothing + sum[E](v)
    a = f(x) + f(2*x)
    b = prev(a) + f(a)
    c = sum[D](b)
    output c
    """
    assert codes(text) == ["E201", "E203"]


def test_a_mistake_inside_a_circle_is_told() -> None:
    assert codes("""
    axis D, N
    input x[D], C[N]
    y = C · (x + prev(z))
    z = 2*y
    output z
    """) == ["E301"]


def test_unused_things_are_warned_of() -> None:
    assert codes("axis D, N\ninput x[D], z\nparam a\nf(v) = v\ny = 2\noutput x") == ["W201"] * 5
    assert (
        codes("axis D\ninput x[D], z\ny = prev(z)\nf(v) = v*y\noutput x[D] = 1".replace("x[D] = 1", "w[D] = f(x)"))
        == []
    )


def test_spans_and_labels() -> None:
    source = Source("a.ssm", "ssm s\ninput x\nparam a\nscale = exp(a)*2\noutput y = scale*(x + 1)\n")
    graph = build(parse(source).specs[0], source)
    (y,) = graph.outputs
    text = {graph.arena.labels.get(v): s.text for v, s in graph.arena.spans.items()}
    assert text["y"] == "scale*(x + 1)"
    assert text["scale"] == "exp(a)*2"
    assert [s.text for v, s in graph.arena.spans.items() if isinstance(v, n.Input)] == ["x"]
    assert y.span is not None
    assert y.span.text == "y"
    assert [name for name, _ in graph.names] == ["scale", "y"]


def test_functions_of_functions_are_written_out_once() -> None:
    chain = "\n".join(f"f{i}(v) = f{i - 1}(v) + f{i - 1}(f{i - 1}(v))" for i in range(1, 40))
    doubled = "\n".join(f"f{i}(v) = f{i - 1}(v) + 2*f{i - 1}(v)" for i in range(1, 40))
    assert codes(f"input x\nf0(v) = 0.5*v\n{doubled}\noutput y = f39(x)") == []
    # where the values differ at every call there is an end to it
    assert codes(f"input x\nf0(v) = 0.5*v\n{chain}\noutput y = f39(x)")[0] == "E219"


def test_deep_calls_do_not_exhaust_the_stack() -> None:
    chain = "\n".join(f"f{i}(v) = {'(' * 90}f{i - 1}(v){')' * 90} + 1" for i in range(1, 40))
    assert codes(f"input x\nf0(v) = v\n{chain}\noutput y = f39(x)")[0] == "E219"


def test_python_reads_products_the_other_way() -> None:
    """`d*B@u` in Python is (d*B)@u; here `@` binds tighter, so the tree is regrouped or the product is ambiguous."""
    source = Source("p.py", "d*B@u")
    span = parse(Source("q", "ssm s\ninput x\noutput x")).specs[0].span

    def spec(axes: tuple[str, ...]) -> syn.Spec:
        ids = lambda names: tuple(syn.Identifier(a, span) for a in names)  # noqa: E731
        product = syn.Binary("*", syn.Name("d", span), syn.Name("B", span), span, span)
        whole = syn.Binary("@", product, syn.Name("u", span), span, span)
        return syn.Spec(syn.Identifier("s", span), (
            *(syn.AxisDecl(syn.Identifier(a, span), None, span) for a in ("M", "N")),
            *(syn.Declaration("input", syn.Identifier(name, span), ids(ax), None, None, False, span)
              for name, ax in (("d", axes), ("B", ("M", "N")), ("u", ("N",)))),
            syn.Declaration("output", syn.Identifier("y", span), None, None, whole, False, span),
        ), span)  # fmt: skip

    graph = build(spec(("M",)), source)
    (y,) = graph.outputs
    assert isinstance(y.value, n.Map)
    assert isinstance(y.value.args[1], n.Reduce)
    with pytest.raises(SpecError) as raised:
        build(spec(("N",)), source)
    assert [d.code for d in raised.value.diagnostics] == ["E310"]
