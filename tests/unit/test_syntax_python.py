"""The Python front end: the same tree as the text of a `.ssm` file, and spans and hints in the user's file."""

from __future__ import annotations

import builtins
import importlib.util
import itertools
import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssmc.diagnostics import Diagnostic, SpecError
from ssmc.source import Source
from ssmc.syntax import nodes
from ssmc.syntax.parser import parse
from ssmc.syntax.python_frontend import from_function, function_source, parse_function
from ssmc.syntax.walk import expressions, walk

_count = itertools.count()
HEAD = "from ssmc.syntax.markers import Input, Param, State\nimport ssmc\n"


def function(tmp_path: Path, text: str, name: str = "f", head: str = HEAD) -> Callable[..., Any]:
    """A function in a file of its own."""
    path = tmp_path / f"user_{next(_count)}.py"
    path.write_text(head + text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., Any] = getattr(module, name)
    return found


def ssm(text: str) -> tuple[nodes.Statement, ...]:
    return parse(Source("x", f"ssm f\n{text}")).specs[0].statements


def same(tmp_path: Path, python: str, text: str, **options: Any) -> nodes.Spec:
    spec, _ = from_function(function(tmp_path, python), **options)
    assert spec.statements == ssm(text)
    return spec


def test_mamba(tmp_path: Path) -> None:
    spec = same(
        tmp_path,
        '''
def f(u: Input["D"], dt: Input["D"], B: Input["N"], C: Input["N"],
      A_log: Param["D N"], skip: Param["D"], h: State["D N"] = 0):
    """One step."""
    delta = softplus(dt)
    h = exp(-delta * exp(A_log)) * h + delta * B * u
    y = dot(C, h) + skip * u
    return y
''',
        """axis D, N
input u[D], dt[D], B[N], C[N]
param A_log[D, N], skip[D]
state h[D, N] = 0
delta = softplus(dt)
h = exp(-delta * exp(A_log)) * h + delta * B * u
y = dot(C, h) + skip * u
output y""",
        axes="D N",
    )
    assert spec.name.text == spec.name.span.text == "f"


def test_every_construct(tmp_path: Path) -> None:
    same(
        tmp_path,
        """
inf = float("inf")
def f(u: Input["D", bool], v: ssmc.Input, k: Param["D, N", int], /, a: Param = 2,
      *, h: State["D N", complex, "reverse"] = 0, g: State = -1.5, w: State["D"] = inf):
    def twice(x):
        return 2*x
    half = lambda x, y: x/2
    b = x["D -> E"] + x["J = 0"] + x["J = -1, K = 2"] + x["K -> V, V -> K"]
    c = sum["N"](u) + sum["D, N"](u) + past["T"](u) + size["K"]*index["N"]
    d = not u < 3 and (v or u) and True
    e = 2j + 1e-3 + hippo.legs.B
    der[g, zoh(step=a, alpha=1)] = a*g
    der[w, euler] = w
    h = h
    return h, b
""",
        """axis D, N = 16, E = 2*N
each D, E
input u[D] bool, v
param k[D, N] int, a = 2
state h[D, N] complex = 0 reverse, g = -1.5, w[D] = inf
twice(x) = 2*x
half(x, y) = x/2
b = x[D -> E] + x[J = 0] + x[J = -1, K = 2] + x[K -> V, V -> K]
c = sum[N](u) + sum[D, N](u) + past[T](u) + size[K]*index[N]
d = not u < 3 and (v or u) and true
e = 2j + 1e-3 + hippo.legs.B
g' = a*g using zoh(step = a, alpha = 1)
w' = w using euler
h = h
output h, b""",
        axes=["D", "N", "E"],
        each="D, E",
        sizes={"N": 16, "E": "2*N"},
    )


@pytest.mark.parametrize(
    "text",
    [
        "a + b - c * d / e",
        "-x**2 + x**-2 + a**b**c",
        "(a + b) * ((c))",
        "d*B@u",
        "d*B@u@v/w",
        "d/B@u*c@e",
        "(d*B)@u",
        "d*(B@u)",
        "-a@b",
        "a@b*c - a*b@c",
        "f((a), (b + c))",
        "f(g(a))",
        "not (a) and not b or c",
        "a - (b - c)",
        "a + (b*c)*d",
        "(a + b)*(c - (d))",
        "where(a < b, c, (d))",
    ],
)
def test_operators_mean_what_they_mean_in_a_spec(text: str, tmp_path: Path) -> None:
    """Python groups `@` with `*`; the language does not."""
    spec, _ = from_function(function(tmp_path, f"def f(u: Input):\n    y = {text}\n    return y\n"))
    assert spec.statements[1] == ssm(f"y = {text}")[0]


def test_outputs(tmp_path: Path) -> None:
    same(tmp_path, "def f(u: Input):\n    return 2*u\n", "input u\noutput y = 2*u")
    same(tmp_path, "def f(u: Input, h: State):\n    h = u\n    return h\n", "input u\nstate h\nh = u\noutput h")
    same(tmp_path, "def f(u: Input):\n    a = u\n    b = u\n    return (a, b)", "input u\na = u\nb = u\noutput a, b")


def test_initial_values(tmp_path: Path) -> None:
    same(
        tmp_path,
        """
def f(u: Input, a: Param, A: Param["N N"], v: State, w: State):
    init[A] = hippo.legs
    omega = exp(a)
    init[v] = omega/(1 - a)
    v = a*v
    w = v
    return w
""",
        """axis N
input u
param a, A[N, N] = hippo.legs
state w
omega = exp(a)
state v = omega/(1 - a)
v = a*v
w = v
output w""",
        axes="N",
    )


@pytest.mark.parametrize(
    "head",
    [
        HEAD,
        "from __future__ import annotations\n" + HEAD,
        "from __future__ import annotations\nimport typing\nif typing.TYPE_CHECKING:\n    "
        + HEAD.replace("\n", "\n    ").rstrip()
        + "\n",
        "import ssmc.syntax.markers as m\nInput, Param, State = m.Input, m.Param, m.State\n",
    ],
    ids=["plain", "future", "type-checking", "alias"],
)
def test_markers_are_found_by_what_they_are(head: str, tmp_path: Path) -> None:
    f = function(tmp_path, 'def f(u: Input["D"], h: State["D", complex] = 0):\n    return u\n', head=head)
    spec, _ = from_function(f, axes="D")
    assert spec.statements == ssm("axis D\ninput u[D]\nstate h[D] complex = 0\noutput u")


def test_another_class_of_that_name_is_no_marker(tmp_path: Path) -> None:
    head = "class Input:\n    def __class_getitem__(cls, x): return cls\n"
    f = function(tmp_path, 'def f(u: Input["D"]):\n    return u\n', head=head)
    assert [d.code for d in errors(f)] == ["E105"]


def test_other_names_for_the_markers(tmp_path: Path) -> None:
    f = function(tmp_path, 'def f(u: In["D"]):\n    return u\n', head="from ssmc.syntax.markers import Input as In\n")
    assert from_function(f, axes="D")[0].statements == ssm("axis D\ninput u[D]\noutput u")


def test_functions_inside_functions(tmp_path: Path) -> None:
    text = """
def make():
    from ssmc.syntax.markers import Input as In

    def other(u: In):
        return u

    def f(u: In):
        y = (u
             + 1)
        return y
    return f
f = make()
"""
    assert from_function(function(tmp_path, text))[0].statements == ssm("input u\ny = (u + 1)\noutput y")


def test_spans_are_in_the_users_file(tmp_path: Path) -> None:
    text = 'λ = "é"\ndef f(u: Input["D"], w: Param["D N"], δ: State = (0)):\n'
    text += '    "é"; y = "é" and (δ + u)["D -> E"]*2\n    return y\n'
    f = function(tmp_path, text.replace('"é" and ', "é and "))
    info = function_source(f, axes="D")
    with pytest.raises(SpecError):
        parse_function(info)
    f = function(tmp_path, text.replace('"é" and ', ""))
    spec, source = from_function(f, axes="D")
    assert source.text == HEAD + text.replace('"é" and ', "")
    _, u, w, delta, y, output = spec.statements
    assert (u.span.text, w.span.text) == ('u: Input["D"]', 'w: Param["D N"]')
    assert isinstance(w, nodes.Declaration)
    assert w.axes is not None
    assert [a.span.text for a in w.axes] == ["D", "N"]
    assert delta.span.text == "δ: State = (0)"
    assert y.span.text == 'y = (δ + u)["D -> E"]*2'
    [e] = expressions(y)
    assert [n.span.text for n, _ in walk(e)] == [
        '(δ + u)["D -> E"]*2',
        '(δ + u)["D -> E"]',
        "(δ + u)",
        "δ + u",
        "δ",
        "u",
        "2",
    ]
    assert isinstance(e, nodes.Binary)
    assert e.op_span.text == "*"
    assert output.span.text == "y"


def errors(f: Callable[..., Any], **options: Any) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as caught:
        from_function(f, **options)
    return caught.value.diagnostics


@pytest.mark.parametrize(
    ("line", "code", "at", "tells"),
    [
        ("a = C·h", "E104", "C·h", "dot(C, h)"),
        ("a = été", "E104", "été", "another name"),
        ("if u > 3:\n        a = 1", "E103", "if u > 3:", "where("),
        ("for i in u: pass", "E103", "for i in u: pass", "time step"),
        ("while u: pass", "E103", "while u: pass", "time step"),
        ("import os", "E103", "import os", "leave it out"),
        ("from os import path", "E103", "from os import path", "leave it out"),
        ("with u: pass", "E103", "with u: pass", "never run"),
        ("assert u", "E103", "assert u", "never run"),
        ("raise u", "E103", "raise u", "never run"),
        ("pass", "E103", "pass", "leave it out"),
        ("del u", "E103", "del u", "leave it out"),
        ("print(u)", "E103", "print(u)", "name ="),
        ("class A: pass", "E103", "class A: pass", "def f(x)"),
        ("a += 1", "E103", "a += 1", "once"),
        ("a: int = 1", "E103", "a: int = 1", "signature"),
        ("a = b = u", "E103", "b", "each name"),
        ("a, b = u", "E103", "a, b", "each name"),
        ("a = u if u else u", "E103", "u if u else u", "where("),
        ("a = [i for i in u]", "E103", "[i for i in u]", 'sum["N"]'),
        ("a = [u]", "E103", "[u]", "axes"),
        ("a = {1: u}", "E103", "{1: u}", "statement"),
        ("a = f'{u}'", "E103", "f'{u}'", "quotes"),
        ("a = 'u'", "E103", "'u'", "quotes"),
        ("a = None", "E103", "None", "leave"),
        ("a = (b := u)", "E103", "b := u", "statement"),
        ("a = u + (lambda x: x)", "E103", "lambda x: x", "name"),
        ("a = u // 2", "E103", "u // 2", "floor"),
        ("a = u % 2", "E103", "u % 2", "mod(a, b)"),
        ("a = u ^ 2", "E103", "u ^ 2", "`**`"),
        ("a = u & u", "E103", "u & u", "`and`"),
        ("a = u | u", "E103", "u | u", "`or`"),
        ("a = ~u", "E103", "~u", "`not`"),
        ("a = +u", "E103", "+u", "leave it out"),
        ("a = u in u", "E103", "u in u", "`==`"),
        ("a = u is u", "E103", "u is u", "`==`"),
        ("a = u.T", "E103", "u.T", "transpose"),
        ("a = u.sum()", "E103", "u.sum", 'sum["N"]'),
        ("a = torch.exp(u)", "E103", "torch.exp", "exp("),
        ("a = f(u, k=1)", "E103", "k=1", "order"),
        ("a = f(*u)", "E103", "*u", "one by one"),
        ("a = u < u < u", "E032", "<", "u < u and u < u"),
        ("a = u[0]", "E108", "u[0]", "J = 0"),
        ("a = sum[D](u)", "E108", "sum[D]", 'sum["N"]'),
        ("a = u['D => E']", "E108", "u['D => E']", "D -> E"),
        ("a = u['J = 0.5']", "E108", "u['J = 0.5']", "J = 0"),
        ("a = u['J = n']", "E036", "u['J = n']", "integer"),
        ("a = u['J = 0, K']", "E035", "u['J = 0, K']", "renamings"),
        ("a = sum['K, V']", "E035", "sum['K, V']", "argument"),
        ("a = 1e999", "E015", "1e999", "inf"),
        ("a = 10**1 + 1000000000000000000", "E015", "1000000000000000000", "1e20"),
        ("a = " + "+".join(["u"] * 300), "E040", None, "name a part"),
        ("t = u", "E030", "t", "step"),
        ("a = input", "E047", "input", "word"),
        ("u['D'] = 1", "E033", "u['D']", "whole"),
        ("u.x = 1", "E109", "u.x", "name ="),
        ("der[h] = u", "E109", "der[h]", "zoh(step=dt)"),
        ("der[h, zoh(u)] = u", "E109", "der[h, zoh(u)]", "zoh(step=…)"),
        ("init[hh] = 1", "E109", "init[hh]", "`h`"),
        ("init[h] = 1", "E109", "init[h]", "leave one out"),
        ("def g(): return u", "E039", "g", "formal"),
        ("def g(x, y=1): return u", "E039", "g", "f(x, y)"),
        ("def g(x):\n        z = x\n        return z", "E103", "def g(x):", "one expression"),
        ("return u", "E107", "return u", "at the end"),
    ],
)
def test_what_the_language_has_not(line: str, code: str, at: str | None, tells: str, tmp_path: Path) -> None:
    f = function(tmp_path, f"def f(u: Input, h: State = 0):\n    {line}\n    return u\n")
    [found] = errors(f)
    assert found.primary is not None
    assert found.code == code
    assert at is None or found.primary.span.text == at
    assert found.primary.span.line >= 4
    assert tells in "\n".join((found.title, found.primary.text, *found.helps))
    assert found.primary.span.source.name.endswith(".py")


@pytest.mark.parametrize(
    ("signature", "code", "at", "tells"),
    [
        ("u", "E110", "u", 'u: Input["D"]'),
        ("u: int", "E105", "int", "`Input`"),
        ("u: 'Input'", "E105", "'Input'", "outer quotes"),
        ("u: Input['D', float]", "E105", "float", "complex"),
        ("u: State['D', 'revers']", "E105", "'revers'", "did you mean `reverse`?"),
        ("u: Input[bool, int]", "E105", "int", "leave one out"),
        ("u: Input['D-E']", "E108", "'D-E'", "string"),
        ("*u: Input", "E103", "u: Input", "one by one"),
        ("u: Input = 3", "E038", "3", "param"),
        ("u: Param['D', 'reverse']", "E038", None, "state"),
        ("t: Input", "E030", "t", "step"),
    ],
)
def test_signatures(signature: str, code: str, at: str | None, tells: str, tmp_path: Path) -> None:
    f = function(tmp_path, f"def f({signature}):\n    y = 1\n    return y\n")
    [found] = errors(f, axes="D")
    assert found.primary is not None
    assert found.code == code
    assert at is None or found.primary.span.text == at
    assert tells in "\n".join((found.title, found.primary.text, *found.helps))


@pytest.mark.parametrize(
    ("end", "tells"),
    [("y = 1", "return y"), ("return", "return y"), ("return u, 2*u", "name"), ("y = 1\n    return 2*y", "in use")],
)
def test_returns(end: str, tells: str, tmp_path: Path) -> None:
    [found] = errors(function(tmp_path, f"def f(u: Input):\n    {end}\n"))
    assert found.code == "E107"
    assert tells in "\n".join((found.title, *found.helps))


def test_options(tmp_path: Path) -> None:
    text = """
def jit(**options): return lambda f: f
@jit(axes="D Δ", each='Δ', sizes={"Q": 3, "D": 1.5})
def f(u: Input["D"]):
    return u
"""
    found = errors(function(tmp_path, text), axes="D Δ", each="Δ", sizes={"Q": 3, "D": 1.5})
    assert [(d.code, d.primary and d.primary.span.text) for d in found] == [("E106", "Q"), ("E106", "D")]
    spec, _ = from_function(function(tmp_path, text), axes="D Δ", each="Δ", sizes={"D": 8})
    axis, delta, each = spec.statements[:3]
    assert [s.span.text for s in (axis, delta, each)] == ["D", "Δ", "Δ"]
    assert axis.span.line == delta.span.line == each.span.line == 5


@pytest.mark.parametrize(
    "options", [{"axes": 3}, {"axes": None}, {"axes": "D", "each": 4}, {"axes": "D", "sizes": "D"}]
)
def test_options_of_the_wrong_type(options: dict[str, Any], tmp_path: Path) -> None:
    [found] = errors(function(tmp_path, "def f(u: Input): return u\n"), **options)
    assert found.code == "E106"
    assert found.helps


def test_what_is_no_function(tmp_path: Path) -> None:
    assert errors(int)[0].code == "E102"
    assert errors(len)[0].code == "E102"
    assert errors(function(tmp_path, "f = lambda u: u\n"))[0].code == "E102"
    assert errors(function(tmp_path, "async def f(u: Input):\n    return u\n"))[0].code == "E102"


def test_no_source(tmp_path: Path) -> None:
    f = function(tmp_path, "made = {}\nexec('def f(u): return u', made)\nf = made['f']\n")
    assert errors(f)[0].code == "E101"
    g = function(tmp_path, "def f(u: Input):\n    return u\n")
    path = Path(g.__code__.co_filename)
    path.write_text("\n\n\n", encoding="utf-8")
    assert errors(g)[0].code == "E101"
    path.write_text("def (", encoding="utf-8")
    assert errors(g)[0].code == "E101"


def test_a_cell_of_a_notebook() -> None:
    """Interactive shells keep the text of what was typed in `linecache`."""
    text = HEAD + "def f(u: Input):\n    return (u + 1)\n"
    linecache.cache["<cell 7>"] = (len(text), None, text.splitlines(keepends=True), "<cell 7>")
    made: dict[str, Any] = {}
    exec(builtins.compile(text, "<cell 7>", "exec"), made)  # noqa: S102
    spec, source = from_function(made["f"])
    assert spec.statements == ssm("input u\noutput y = (u + 1)")
    assert source.name == "<cell 7>"


def test_all_mistakes_are_told_in_order(tmp_path: Path) -> None:
    f = function(tmp_path, "def f(u, h: State):\n    a = C·h\n    b = u // 2\n    c = u[0]\n")
    assert [d.code for d in errors(f)] == ["E107", "E110", "E104", "E103", "E108"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is Python 3.12's")
def test_macros_over_an_axis(tmp_path: Path) -> None:
    same(
        tmp_path,
        'def f(u: Input["K"]):\n    def l2[K](x): return sum["K"](x)\n    return l2["K"](u)\n',
        "axis K\ninput u[K]\nl2[K](x) = sum[K](x)\noutput y = l2[K](u)",
        axes="K",
    )
