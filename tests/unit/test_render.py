"""The renderer alone: where the carets stand, whatever the text."""

from __future__ import annotations

import json
import re

from ssmc.diagnostics import Diagnostic, Label
from ssmc.render import WIDTH, render_ansi, render_text, to_json
from ssmc.source import Source, Span


def at(text: str, part: str, name: str = "x.ssm") -> Span:
    start = text.index(part)
    return Span(Source(name, text), start, start + len(part))


def message(span: Span | None, label: str = "", **rest: object) -> str:
    primary = Label(span, label) if span is not None else None
    return render_text(Diagnostic("E301", "wrong", primary, **rest))  # type: ignore[arg-type]


GRU = "ssm gru\naxis N\n\n\nstate h[N]\n\n  h = tanh(a * h) + b\n"


def test_the_look() -> None:
    source = Source("gru.ssm", GRU)
    start = GRU.index("tanh")
    d = Diagnostic(
        "E301",
        "this update has no associative form",
        Label(Span(source, start, start + 11), "tanh of the carried state `h`"),
        (Label(Span(source, GRU.index("h[N]"), GRU.index("h[N]") + 1), "`h` is carried from here"),),
        ("`a * h + b` alone is affine in `h`",),
        ("forms still open: recurrent, newton",),
    )
    assert (
        render_text(d)
        == """error[E301] this update has no associative form
  gru.ssm:7
  7 |   h = tanh(a * h) + b
    |       ^^^^^^^^^^^ tanh of the carried state `h`
  5 | state h[N]
    |       - `h` is carried from here
  note: `a * h + b` alone is affine in `h`
  help: forms still open: recurrent, newton"""
    )


def test_labels_of_one_line_share_it() -> None:
    text = "a = (b]"
    d = Diagnostic("E1", "t", Label(at(text, "]"), "here"), (Label(at(text, "("), "there"),))
    assert render_text(d).splitlines()[2:] == ["  1 | a = (b]", "    |       ^ here", "    |     - there"]


def test_no_place() -> None:
    assert message(None) == "error[E301] wrong"
    assert render_text(Diagnostic("W1", "odd", severity="warning")) == "warning[W1] odd"


def test_tabs_and_wide_characters() -> None:
    text = "\ta\t= 你 + b"
    assert message(at(text, "b")).splitlines()[2:] == ["  1 |     a   = 你 + b", "    |" + " " * 16 + "^"]
    assert message(at(text, "你")).splitlines()[-1] == "    |" + " " * 11 + "^^"


def test_ends() -> None:
    source = Source("x", "ab\ncd")
    assert message(Span(source, 5, 5)).splitlines()[1:] == ["  x:2", "  2 | cd", "    |   ^"]
    assert message(Span(source, 2, 2)).splitlines()[1:] == ["  x:1", "  1 | ab", "    |   ^"]
    assert message(Span(source, 2, 3)).splitlines()[-1] == "    |   ^"
    assert message(Span(Source("x", ""), 0, 0)).splitlines()[1:] == ["  x:1", "  1 |", "    | ^"]


def test_several_lines() -> None:
    text = "x = (a +\n  b +\n  c)\r\ny = 2"
    assert message(at(text, "(a +\n  b +\n  c)"), "all").splitlines()[2:] == [
        "  1 | x = (a +",
        "    |     ^^^^",
        "    ⋮",
        "  3 |   c)",
        "    |   ^^ all",
    ]


def test_long_lines_are_cut_around_the_place() -> None:
    text = "x" * 5000 + "HERE" + "y" * 5000
    line, mark = message(at(text, "HERE"), "!").splitlines()[2:]
    assert len(line) < WIDTH + 10
    assert mark.index("^") == line.index("HERE")
    assert mark.count("^") == 4
    assert line.count("…") == 2
    wide = message(Span(Source("x", text), 10, 9000)).splitlines()[-1]
    assert len(wide) < WIDTH + 10


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = "a = \x1b[31m b"
    shown = message(at(text, "b"), "\x1b]0;title\x07", helps=("\u202e",))
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", shown)
    assert shown.splitlines()[2].index("b") == shown.splitlines()[3].index("^")


def test_another_file() -> None:
    d = Diagnostic("E1", "t", Label(at("a", "a")), (Label(at("b", "b", "other.py"), "there"),))
    assert render_text(d).splitlines()[1:] == [
        "  x.ssm:1",
        "  1 | a",
        "    | ^",
        "  other.py:1",
        "  1 | b",
        "    | - there",
    ]


def test_colours_only_add_colour() -> None:
    d = Diagnostic("E301", "wrong", Label(at(GRU, "tanh"), "x"), (), ("n",), ("h",))
    coloured = render_ansi(d)
    assert "\x1b[" in coloured
    plain = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in plain.splitlines()] == render_text(d).splitlines()


def test_json() -> None:
    text = "a\nbc = d"
    d = Diagnostic("E1", "t", Label(at(text, "c = d"), "l"), (Label(at(text, "a"), "s"),), ("n",), ("h",))
    assert json.loads(json.dumps(to_json(d))) == {
        "code": "E1",
        "severity": "error",
        "title": "t",
        "file": "x.ssm",
        "line": 2,
        "column": 2,
        "end": {"line": 2, "column": 7},
        "label": "l",
        "labels": [{"file": "x.ssm", "line": 1, "column": 1, "end": {"line": 1, "column": 2}, "text": "s"}],
        "notes": ["n"],
        "helps": ["h"],
    }
    assert to_json(Diagnostic("E2", "t"))["line"] is None
