"""The parser of `.ssm` text: precedence, every construct, spans, and that printing is its inverse."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from ssmc.diagnostics import Report
from ssmc.source import Source
from ssmc.syntax import grammar, nodes
from ssmc.syntax.grammar import grammar_text, make_parser, tokens_of
from ssmc.syntax.layout import Token, split_statements
from ssmc.syntax.parser import parse
from ssmc.syntax.printer import print_file, print_spec
from ssmc.syntax.walk import expressions as expressions_of
from ssmc.syntax.walk import walk
from tests.unit.syntax_trees import specs

ROOT = Path(__file__).resolve().parents[2]


def statements(text: str) -> tuple[nodes.Statement, ...]:
    [spec] = parse(Source("x.ssm", f"ssm s\n{text}")).specs
    return spec.statements


def statement(text: str) -> nodes.Statement:
    [found] = statements(text)
    return found


def value(text: str) -> nodes.Expr:
    found = statement(f"v = {text}")
    assert isinstance(found, nodes.Assign)
    return found.value


def grouped(e: nodes.Expr) -> str:
    """The expression with all its groups in brackets: an independent view of precedence."""
    match e:
        case nodes.Binary(op, left, right):
            return f"<{grouped(left)} {op} {grouped(right)}>"
        case nodes.Unary(op, operand):
            return f"<{op} {grouped(operand)}>"
        case nodes.Paren(operand):
            return f"({grouped(operand)})"
        case nodes.Call(f, axes, args):
            inside = "" if axes is None else "[" + ", ".join(a.text for a in axes) + "]"
            return f"{f.text}{inside}({', '.join(map(grouped, args))})"
        case nodes.Pick(operand, axis, index):
            return f"{grouped(operand)}[{axis.text} = {index}]"
        case nodes.Renamed(operand, pairs):
            return f"{grouped(operand)}[{', '.join(f'{a.text} -> {b.text}' for a, b in pairs)}]"
        case nodes.AxisQuery(f, axis):
            return f"{f.text}[{axis.text}]"
        case nodes.Number(number):
            return repr(number)
        case nodes.Name(text):
            return text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", "<a + <b * c>>"),
        ("a - b - c", "<<a - b> - c>"),
        ("a / b * c ⊗ d", "<<<a / b> * c> ⊗ d>"),
        ("a * b · c", "<a * <b · c>>"),
        ("a · b @ c", "<<a · b> @ c>"),
        ("x / a · b", "<x / <a · b>>"),
        ("-a · b", "<<- a> · b>"),
        ("a · -b", "<a · <- b>>"),
        ("-x**2", "<- <x ** 2>>"),
        ("x**-2", "<x ** <- 2>>"),
        ("x**-y**2", "<x ** <- <y ** 2>>>"),
        ("a**b**c", "<a ** <b ** c>>"),
        ("--a", "<- <- a>>"),
        ("a - -b", "<a - <- b>>"),
        ("f(x)**2", "<f(x) ** 2>"),
        ("x[J = 0]**2", "<x[J = 0] ** 2>"),
        ("-x[J = -1]", "<- x[J = -1]>"),
        ("a + b < c * d", "<<a + b> < <c * d>>"),
        ("not a < b", "<not <a < b>>"),
        ("not not a", "<not <not a>>"),
        ("not a and b", "<<not a> and b>"),
        ("a or b and not c", "<a or <b and <not c>>>"),
        ("a and b or c and d", "<<a and b> or <c and d>>"),
        ("(a + b) * c", "<(<a + b>) * c>"),
        ("a <= b", "<a <= b>"),
        ("2j * a", "<2j * a>"),
    ],
)
def test_precedence(text: str, expected: str) -> None:
    assert grouped(value(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e[K -> V, V -> K]", "e[K -> V, V -> K]"),
        ("e[J = -1, K = 2]", "e[J = -1][K = 2]"),
        ("(a + b)[K -> J][J = 0]", "(<a + b>)[K -> J][J = 0]"),
        ("sum[K, V](e)[N = 0]", "sum[K, V](e)[N = 0]"),
        ("size[K] + index[N]", "<size[K] + index[N]>"),
        ("past[T](e)", "past[T](e)"),
        ("shift[N](e, 2)", "shift[N](e, 2)"),
        ("hippo.legs.B", "hippo.legs.B"),
        ("input(x) + using[K](x)", "<input(x) + using[K](x)>"),
        ("x[input -> and]", "x[input -> and]"),
        ("step * sum + complex", "<<step * sum> + complex>"),
        ("dot(a, b) + outer(a, b)", "<dot(a, b) + outer(a, b)>"),
        ("f()", "f()"),
    ],
)
def test_calls_and_brackets(text: str, expected: str) -> None:
    assert grouped(value(text)) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("1.", 1.0), (".5", 0.5), ("1e-3", 1e-3), ("1.5e+3", 1500.0), ("2j", 2j), (".5j", 0.5j), ("0", 0)],
)
def test_numbers(text: str, number: complex) -> None:
    found = value(text)
    assert found == nodes.Number(number, found.span)
    assert isinstance(found, nodes.Number)
    assert type(found.value) is type(number)


def test_declarations() -> None:
    found = statements(
        "axis D, N = 2*P, E = D\neach D, N\ninput u[D] bool, v int, w\n"
        "param A[N, N] complex = 1, b\nstate h[D] complex = 0 reverse, g reverse, k = x\noutput y[D] = h, z"
    )
    printed = [
        "axis   D",
        "axis   N = 2 * P",
        "axis   E = D",
        "each   D, N",
        "input  u[D] bool",
        "input  v int",
        "input  w",
        "param  A[N, N] complex = 1",
        "param  b",
        "state  h[D] complex = 0 reverse",
        "state  g reverse",
        "state  k = x",
        "output y[D] = h",
        "output z",
    ]
    [spec] = parse(Source("x", "ssm s\n" + "\n".join(printed))).specs
    assert spec.statements == found
    assert print_spec(spec).splitlines()[1:] == printed
    state = found[9]
    assert isinstance(state, nodes.Declaration)
    assert (state.role, state.reverse, state.kind and state.kind.text) == ("state", True, "complex")
    assert state.axes is not None
    assert [a.text for a in state.axes] == ["D"]


def test_equations_and_macros() -> None:
    found = statements("h' = a*h using zoh(step = dt, alpha = 1)\ng' = g using euler\nf(x, y) = x\nl2[K](x) = x")
    equation, plain, macro, over = found
    assert isinstance(equation, nodes.Equation)
    assert [(o.text, grouped(e)) for o, e in equation.options] == [("step", "dt"), ("alpha", "1")]
    assert isinstance(plain, nodes.Equation)
    assert (plain.state.text, plain.method.text, plain.options) == ("g", "euler", ())
    assert isinstance(macro, nodes.Macro)
    assert (macro.axes, [f.text for f in macro.formals]) == (None, ["x", "y"])
    assert isinstance(over, nodes.Macro)
    assert over.axes is not None
    assert [a.text for a in over.axes] == ["K"]


@pytest.mark.parametrize(
    "text",
    [
        "a = 1; b = 2",
        "a = 1\nb = 2",
        "a = 1\r\nb = 2\r\n",
        "a = 1 # c = 3; d\n# e\n\n;;b =\n  2;",
        "a =\n\n  # still a\n 1\n\tb\t=\f2",
        "\na = 1;;\n;b = 2 ;  # end",
        "a\u00a0= 1\nb =\u30002",
    ],
)
def test_layout(text: str) -> None:
    assert statements(text) == statements("a = 1\nb = 2")


@pytest.mark.parametrize(
    "text",
    [
        "a = b +\n c * (d\n - e)\n",
        "a = b + c * (d\n\n # comment\n - e)",
        "a = b\t+ c *\r\n (d - e)",
        "a = b + c * (\nd -\ne\n)",
    ],
)
def test_continued_lines(text: str) -> None:
    assert statement(text) == statement("a = b + c * (d - e)")


def test_spellings() -> None:
    assert value("a · b") == value("a ⋅ b") == value("a \u0387 b")
    assert value("µ + ℎ + ｈ + 𝛼 + h₀ + \u2126") == value("μ + h + h + α + h0 + Ω")


def test_byte_order_mark_and_spans() -> None:
    file = parse(Source("x", "\ufeffssm s\nx = µ + ﬁ·𝛼\n"))
    [assign] = file.specs[0].statements
    assert isinstance(assign, nodes.Assign)
    texts = {n.text: n.span.text for n, _ in walk(assign.value) if isinstance(n, nodes.Name)}
    assert texts == {"μ": "µ", "fi": "ﬁ", "α": "𝛼"}
    assert assign.span.text == "x = µ + ﬁ·𝛼"


def test_spans() -> None:
    text = "ssm s\noutput y[D] = -(a + b)*f[K](c)[K -> J] - x**2 # end\nh' = h using zoh(step = d)\n"
    file = parse(Source("x", text))
    output, equation = file.specs[0].statements
    assert output.span.text == "y[D] = -(a + b)*f[K](c)[K -> J] - x**2"
    assert equation.span.text == "h' = h using zoh(step = d)"
    [init] = expressions_of(output)
    found = [n.span.text for n, _ in walk(init)]
    assert found == [
        "-(a + b)*f[K](c)[K -> J] - x**2",
        "-(a + b)*f[K](c)[K -> J]",
        "-(a + b)",
        "(a + b)",
        "a + b",
        "a",
        "b",
        "f[K](c)[K -> J]",
        "f[K](c)",
        "c",
        "x**2",
        "x",
        "2",
    ]
    operators = [n.op_span.text for n, _ in walk(init) if isinstance(n, nodes.Binary)]
    assert operators == ["-", "*", "+", "**"]


def test_several_specs() -> None:
    file = parse(Source("x", "# head\nssm a; axis N\nssm b\ninput u\n\n"))
    assert [(s.name.text, len(s.statements)) for s in file.specs] == [("a", 1), ("b", 1)]


@pytest.mark.parametrize("start", ["statement", "file"])
def test_the_grammar_is_unambiguous(start: str) -> None:
    """Strict: no shift/reduce conflict, and no two tokens of one priority that match the same text."""
    make_parser(grammar_text(), start, strict=True)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ssm")), ids=lambda p: p.stem)
def test_the_file_rule_accepts_the_examples(path: Path) -> None:
    """`file` in the grammar is what the parser does a statement at a time."""
    source = Source(path.name, path.read_text(encoding="utf-8"))
    parser = make_parser(grammar_text(), "file").parse_interactive()
    report = Report()
    for line in split_statements(tokens_of(source), report):
        for token in line.tokens:
            parser.feed_token(token)  # type: ignore[arg-type]
        parser.feed_token(Token("NEWLINE", "\n", line.span))  # type: ignore[arg-type]
    parser.feed_token(Token("$END", "", line.span))  # type: ignore[arg-type]
    assert not report.diagnostics
    assert print_file(parse(Source("x", print_file(parse(source))))) == print_file(parse(source))


def test_the_tables_beside_the_grammar_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make tables` writes them; they hold no less than what lark makes of the grammar."""
    text = grammar_text()
    kept = grammar._shipped(grammar._key(text))
    assert kept is not None, "the grammar has changed: run `make tables`"
    made = make_parser(text)
    assert [(t.name, t.pattern.value, t.priority) for t in kept.terminals] == [
        (t.name, t.pattern.value, t.priority) for t in made.terminals
    ]
    assert {str(r) for r in kept.rules} == {str(r) for r in made.rules}
    for start in ("h = a", "input x[D]", "output y = sum[D]"):
        accepted = []
        for parser in (kept, made):
            at = parser.parse_interactive(start="statement")
            for token in tokens_of(Source("x", start)):
                at.feed_token(token)  # type: ignore[arg-type]
            accepted.append(at.accepts())  # type: ignore[no-untyped-call]
        assert accepted[0] == accepted[1]
    monkeypatch.setattr(grammar, "_beside", lambda name: "{" if name == "tables.json" else text)
    assert grammar._shipped(grammar._key(text)) is None


def test_tables_are_kept_where_none_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made once, read after; a damaged file and a place that cannot be written only cost time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fresh() -> Any:
        return grammar._cached(grammar_text(), "another version")

    fresh()
    [kept] = (tmp_path / "ssmc").iterdir()
    written = kept.read_bytes()
    assert [t.type for t in fresh().lex("a = 1")] == ["NAME", "EQUAL", "NUMBER"]
    kept.write_bytes(written[: len(written) // 2])
    assert [t.type for t in fresh().lex("a = 1")] == ["NAME", "EQUAL", "NUMBER"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [t.type for t in fresh().lex("a = 1")] == ["NAME", "EQUAL", "NUMBER"]


def without_parentheses(spec: nodes.Spec) -> str:
    out = io.StringIO()
    for s in spec.statements:
        rest = [grouped(e).replace("(", "").replace(")", "") for e in expressions_of(s)]
        print(type(s).__name__, rest, file=out)
    return out.getvalue()


@settings(max_examples=150, deadline=None)
@given(specs)
def test_printing_and_parsing(spec: nodes.Spec) -> None:
    file = parse(Source("x", print_spec(spec)))
    [found] = file.specs
    assert without_parentheses(found) == without_parentheses(spec)
    # With the parentheses that were needed, the tree comes back exactly.
    [again] = parse(Source("x", print_file(file))).specs
    assert again == found
