"""`ssmc fmt`: the one way to write a spec; the meaning, the comments and the user's line breaks stay."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.diagnostics import SpecError
from ssmc.source import Source
from ssmc.syntax.format import format_source
from ssmc.syntax.grammar import tokens_of
from ssmc.syntax.parser import parse
from ssmc.syntax.printer import print_spec
from tests.unit.syntax_trees import specs

ROOT = Path(__file__).resolve().parents[2]


def fmt(text: str) -> str:
    return format_source(Source("x.ssm", text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b*c+d/e-f", "a = b * c + d / e - f"),
        ("a = b ** - 2 + - c*-d", "a = b**-2 + -c * -d"),
        ("a=b⋅c@d⊗e", "a = b · c @ d ⊗ e"),
        ("a=not b<c and(d or e)", "a = not b < c and (d or e)"),
        ("a=f ( b,c )[ K->J ][J=-1,K=2]", "a = f(b, c)[K -> J][J = -1, K = 2]"),
        ("a=sum [ K,V ] ( b )+size[ K ]", "a = sum[K, V](b) + size[K]"),
        ("h '=a*h using zoh(step=dt)", "h' = a * h using zoh(step = dt)"),
        ("f ( x,y )=( x )", "f(x, y) = (x)"),
        ("input(x)=x", "input(x) = x"),
        ("a = 1.50 + 1E3 + .5", "a = 1.50 + 1E3 + .5"),
        ("a=1;;b=2;", "a = 1; b = 2"),
        ("a = µ  # x  ", "a = μ  # x"),
        ("axis N,D=2*N", "axis   N, D = 2 * N"),
        ("input u[ D ],v bool", "input  u[D], v bool"),
        ("state h[D]complex=0 reverse", "state  h[D] complex = 0 reverse"),
        ("output y", "output y"),
        ("axis  N;each   N;input u", "axis N; each N; input u"),
        ("axis and\neach and", "axis   and\neach   and"),
    ],
)
def test_spaces(text: str, expected: str) -> None:
    assert fmt(f"ssm s\n{text}") == f"ssm s\n{expected}\n"


def test_lines_and_comments() -> None:
    text = """\ufeff#!first


# about
ssm   a   # the spec
axis D   # one
input  u[D],v[D]# two
param  a_rather_long_name[D], another_rather_long_name[D], and_one_more_of_these[D, D] # far out
x = u


y=(u+  # terms

    # own line
  v
 )*
    2
# of b
ssm b
output  z=1


"""
    found = fmt(text)
    assert (
        found
        == """#!first

# about
ssm a              # the spec
axis   D           # one
input  u[D], v[D]  # two
param  a_rather_long_name[D], another_rather_long_name[D], and_one_more_of_these[D, D]  # far out
x = u

y = (u +  # terms
    # own line
    v
) *
    2

# of b
ssm b
output z = 1
"""
    )
    assert fmt(found) == found


def test_line_ends() -> None:
    assert fmt("ssm s\r\na = 1\r\n\r\n\r\nb = 2") == "ssm s\na = 1\n\nb = 2\n"


def test_errors_are_told_and_nothing_is_formatted() -> None:
    with pytest.raises(SpecError):
        fmt("ssm s\na = (\n")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ssm")), ids=lambda p: p.stem)
def test_the_examples_are_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    once = fmt(text)
    assert fmt(once) == once
    assert parse(Source("x", once)).specs == parse(Source("x", text)).specs
    assert once.count("#") == text.count("#")


WORDS = ("NAME", "NUMBER", "DOTTED", "SSM", "AXIS", "EACH", "INPUT", "PARAM", "STATE", "OUTPUT", "USING")


def scrambled(text: str, rng: random.Random) -> str:
    """The same tokens with other white space and with comments."""
    out = []
    before = None
    for token in tokens_of(Source("x", text)):
        words = (*WORDS, "AND", "OR", "NOT")
        glued = before is not None and not (before.type in words and token.type in words)
        glued = glued and not (
            before is not None and {before.type, token.type} <= {"STAR", "POWER", "MINUS", "COMPARE"}
        )
        if token.type == "NEWLINE":
            out.append(rng.choice(("\n", " ;\n", "  # c\n", "\n\n\n", "\n # own\n", "\r\n")))
        else:
            out.append(rng.choice(("", " ", "\t", "   ")) if glued else rng.choice((" ", "\t ")))
            out.append(token.text)
        before = token
    return "".join(out)


@settings(max_examples=150, deadline=None)
@given(specs, st.integers(0, 2**32))
def test_formatting_keeps_the_tree_and_the_comments(spec: object, seed: int) -> None:
    text = print_spec(spec)  # type: ignore[arg-type]
    messy = scrambled(text, random.Random(seed))
    once = fmt(messy)
    assert fmt(once) == once
    assert parse(Source("x", once)).specs == parse(Source("x", text)).specs
    assert once.count("# c") == messy.count("# c")
    assert once.count("# own") == messy.count("# own")
    bare = "\n".join(line.split("#")[0].rstrip() for line in once.splitlines() if line.split("#")[0].strip())
    assert bare == fmt(text).strip()
