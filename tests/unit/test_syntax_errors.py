"""Syntax errors: the code, the exact place, and what the user is told to write instead."""

from __future__ import annotations

import time

import pytest

from ssmc.diagnostics import Diagnostic, SpecError
from ssmc.source import Source
from ssmc.syntax.limits import MAX_CHARACTERS, MAX_DEPTH, MAX_REPORTED
from ssmc.syntax.parser import parse
from ssmc.syntax.walk import expressions, walk


def errors(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as caught:
        parse(Source("x.ssm", text))
    return caught.value.diagnostics


def one(text: str) -> tuple[str, str, str]:
    """Code, text at fault, and everything said, of the only error of a statement."""
    [found] = errors(f"ssm s\n{text}")
    assert found.primary is not None
    return found.code, found.primary.span.text, said(found)


def said(d: Diagnostic) -> str:
    label = d.primary.text if d.primary else ""
    return "\n".join((d.title, label, *d.notes, *d.helps))


@pytest.mark.parametrize(
    ("text", "code", "at", "tells"),
    [
        ("inptu x", "E026", "inptu", "`input`"),
        ("Param A[N]", "E026", "Param", "`param`"),
        ("a = b +", "E020", "", "an expression"),
        ("a = 2 b", "E020", "b", "`*`"),
        ("a = f(b c)", "E020", "c", "`,`"),
        ("a = +3", "E020", "+", "leave it out"),
        ("a = ()", "E020", ")", "an expression"),
        ("a = f(b,)", "E020", ")", "an expression"),
        ("a + b = 3", "E020", "+", "`=`"),
        ("axis N M", "E020", "M", "`,`"),
        ("axis D input u", "E020", "input", "line of its own"),
        ("a = x[0]", "E020", "0", "x[J = 0]"),
        ("a = x[K ->]", "E020", "]", "a name"),
        ("each", "E020", "", "a name"),
        ("ssm gated-delta", "E020", "-", "one word"),
        ("h' = a using zoh(0.1)", "E020", "0.1", "step ="),
        ("a = (b + c", "E021", "(", "`)`"),
        ("a = x[K -> J", "E021", "[", "`]`"),
        ("a = b)", "E022", ")", "closes nothing"),
        ("a = (b]", "E023", "]", "does not close `(`"),
        ("a = (b; c)", "E024", ";", "`,`"),
        ("a = b\n + c", "E025", "+", "end of the line before"),
        ("a = b\n - c", "E025", "-", "end of the line before"),
        ("a = b\n · c", "E025", "·", "end of the line before"),
        ("a = b = c", "E027", "=", "`==`"),
        ("a = f(b = c)", "E027", "=", "`==`"),
        ("a = b'", "E028", "'", "h'"),
        ("h' = a", "E043", "", "using"),
        ("h = a using zoh", "E044", "using", "h'"),
        ("if a > b", "E029", "if", "where("),
        ("a = if b then c", "E029", "if", "where("),
        ("for i in a", "E029", "for", "sum["),
        ("return y", "E029", "return", "output"),
        ("t = 3", "E030", "t", "step number"),
        ("input backend", "E030", "backend", "`backend=`"),
        ("f(pi) = 2", "E030", "pi", "constant"),
        ("state input", "E030", "input", "word of the language"),
        ("a = input", "E047", "input", "word of the language"),
        ("output class", "E031", "class", "Python"),
        ("output _y = 2", "E031", "_y", "`_`"),
        ("a = b < c < d", "E032", "<", "b < c and c < d"),
        ("a = b == c != d", "E032", "!=", "b == c and c != d"),
        ("y[D] = 3", "E033", "y[D]", "y ="),
        ("y[D, N] = 3", "E033", "y[D, N]", "y ="),
        ("x[J = 0] = 3", "E033", "x[J = 0]", "whole"),
        ("3 = x", "E033", "3", "names"),
        ("a.b = 3", "E033", "a.b", "dot"),
        ("(a)' = 3 using euler", "E033", "(a)", "h'"),
        ("a = (b)(c)", "E034", "(b)", "`*`"),
        ("a = x[J, K -> L]", "E035", "[J, K -> L]", "renam"),
        ("a = x[]", "E035", "[]", "empty"),
        ("a = sum[K, V]", "E035", "sum[K, V]", "argument"),
        ("a = b * sum[K, V] + 1", "E035", "sum[K, V]", "argument"),
        ("a = f(x)[K]", "E035", "[K]", "[K = 0]"),
        ("input u[D -> E]", "E035", "[D -> E]", "x[D, N]"),
        ("a = x[J = 1.5]", "E036", "1.5", "integer"),
        ("input a cmplx", "E037", "cmplx", "`complex`"),
        ("state h = 0 revers", "E037", "revers", "`reverse`"),
        ("input a b", "E037", "b", "`,`"),
        ("state h reverse = 0", "E038", "reverse", "NAME[axes] KIND = init reverse"),
        ("input a = 3", "E038", "3", "param"),
        ("param a reverse", "E038", "a reverse", "state"),
        ("param a int bool", "E038", "bool", "leave"),
        ("f() = 2", "E039", "f()", "f = "),
        ("f(2) = 2", "E039", "2", "plain name"),
        ("f(a, a) = 2", "E039", "a", "two formals"),
        ("a = b ^ c", "E012", "^", "`**`"),
        ("a := 2", "E012", ":=", "`=`"),
        ("a += 2", "E012", "+=", "name = name + …"),
        ("a = b && c", "E012", "&&", "`and`"),
        ("a = b || c", "E012", "||", "`or`"),
        ("a = !b", "E012", "!", "`not`"),
        ("a = b % c", "E012", "%", "mod(a, b)"),
        ("a = b // c", "E012", "//", "floor"),
        ("a = {b", "E012", "{", "( )"),
        ('a = "b"', "E013", '"b"', "without quotes"),
        ("a = 0x10", "E014", "0x10", "decimal"),
        ("a = 1_000", "E014", "1_000", "without `_`"),
        ("a = 1..2", "E014", "1..2", "one decimal point"),
        ("a = 3u", "E014", "3u", "3*u"),
        ("a = 1e", "E014", "1e", "exponent"),
        ("a = 2J", "E014", "2J", "`j`"),
        ("a = 2i", "E014", "2i", "2j"),
        ("a = 007", "E014", "007", "`7`"),
        ("a = 1e999", "E015", "1e999", "`inf`"),
        ("a = 1e-999", "E015", "1e-999", "`0`"),
        ("a = 99999999999999999999", "E015", "99999999999999999999", "real number"),
        ("a = €", "E010", "€", "U+20AC"),
        ("a = b\u200b", "E016", "\u200b", "ZERO WIDTH SPACE"),
        ("a = b − c", "E011", "−", "write `-`"),
        ("a = b × c", "E011", "×", "write `*`"),
        ("a = b ⊙ c", "E011", "⊙", "write `*`"),
        ("h′ = b using euler", "E011", "′", "write `'`"),
        ("h’ = b using euler", "E011", "’", "write `'`"),
        ("a = b\u037e", "E011", "\u037e", "write `;`"),
        ("a = b； c = d", "E011", "；", "write `;`"),
        ("a = （b", "E011", "（", "write `(`"),
        ("a = b ≤ c", "E011", "≤", "write `<=`"),
        ("a = b → c", "E011", "→", "write `->`"),
        ("a = x²", "E011", "²", "write `**2`"),
        ("a = Aᵀ", "E011", "ᵀ", "transpose"),
        ("a = é", "E011", "é", "write `e`"),
        ("a = а", "E011", "а", "write `a`"),
        ("a = ∑(x)", "E011", "∑", "sum["),
    ],
)
def test_one_error(text: str, code: str, at: str, tells: str) -> None:
    found = one(text)
    assert found[:2] == (code, at)
    assert tells in found[2]


def test_unexpected_points_at_the_operator_too() -> None:
    [d] = errors("ssm s\na = b *\n")
    assert [label.span.text for label in d.secondary] == ["*"]


@pytest.mark.parametrize(
    ("text", "what"),
    [("", "empty"), ("  \n\n", "empty"), ("# only\n", "comments"), ("\ufeff", "empty")],
)
def test_no_spec(text: str, what: str) -> None:
    [d] = errors(text)
    assert d.code == "E045"
    assert what in d.title


def test_statements_before_the_first_spec_are_reported_once() -> None:
    [d] = errors("axis N\ninput u\nx = u\nssm s\n")
    assert (d.code, d.primary and d.primary.span.text) == ("E041", "N")


def test_two_specs_of_one_name() -> None:
    [d] = errors("ssm a\nssm b\nssm a\n")
    assert d.code == "E042"
    assert [label.span.line for label in d.secondary] == [1]


def test_independent_errors_are_all_reported_in_order() -> None:
    text = """ssm s
inptu x
a = (b + c
input u
d = 2 e; f = g ^ h
axis N =
state k = 0 revers
l = m +
n = 3
"""
    found = errors(text)
    assert [(d.code, d.primary and d.primary.span.line) for d in found] == [
        ("E026", 2),
        ("E021", 3),
        ("E020", 5),
        ("E012", 5),
        ("E020", 6),
        ("E037", 7),
        ("E020", 8),
    ]


def test_a_wrong_header_hides_nothing_and_reports_no_more() -> None:
    assert [d.code for d in errors("ssm\na = 1\nb = = 2\n")] == ["E020", "E027"]


def test_so_many_errors_are_cut() -> None:
    assert len(errors("ssm s\n" + "x\n" * 10_000)) == MAX_REPORTED
    assert len(errors("ssm s\n" + "x = €×\n" * 5_000)) == MAX_REPORTED


HEAD = "ssm s\nx = "


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "(" * 10_000 + "a" + ")" * 10_000,
        HEAD + "(" * 10_000,
        HEAD + "f(" * 10_000 + "a",
        HEAD + ")" * 10_000,
        HEAD + "-" * 10_000 + "a",
        HEAD + "not " * 10_000 + "a",
        HEAD + "+".join(["a"] * 30_000),
        HEAD + "a**" * 10_000 + "a",
        HEAD + "a" + "[J = 0]" * 8_000,
        HEAD + "a + " * 100_000 + "a",
        "a+" * 5_000_000,
        "\x00\x01\x02" * 10_000,
        "ssm s\n" + "(\n" * 20_000,
        HEAD + "".join(map(chr, range(0xA1, 0x3000))),
        HEAD + "\ud800",
        HEAD + "9" * 60_000,
        "ssm s\ninput " + "a," * 30_000,
    ],
    ids=lambda text: repr(text[6:20]),
)
def test_hard_texts_are_answered_at_once(text: str) -> None:
    started = time.perf_counter()
    found = errors(text)
    str(SpecError(found))
    assert time.perf_counter() - started < 5  # on a busy machine; below 1 s on an idle one
    assert found


def test_depth_is_limited_where_it_is_promised() -> None:
    deep = "+".join(["a"] * MAX_DEPTH)
    file = parse(Source("x", HEAD + deep))
    [e] = expressions(file.specs[0].statements[0])
    assert max(depth for _, depth in walk(e)) == MAX_DEPTH
    assert one("x = " + deep + "+a")[0] == "E040"


def test_the_length_limit() -> None:
    assert [d.code for d in errors("#" * (MAX_CHARACTERS + 1))] == ["E046"]
    parse(Source("x", "ssm s\n" + "#" * (MAX_CHARACTERS - 6)))
