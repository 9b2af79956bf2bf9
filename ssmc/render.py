"""Diagnostics as text, as coloured text and as JSON: the one renderer of the project.

`layout` turns a `Diagnostic` into lines of styled pieces; the two text forms differ only in how they print a piece.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ssmc.diagnostics import Diagnostic, Label
from ssmc.source import Span

WIDTH = 120
"""Source lines are cut to this many columns around the place in question."""

Style = Literal["plain", "severity", "title", "place", "gutter", "primary", "secondary", "note", "help"]


@dataclass(frozen=True)
class Piece:
    text: str
    style: Style = "plain"


def render_text(d: Diagnostic) -> str:
    """A diagnostic as plain text, without a newline at the end."""
    return "\n".join("".join(piece.text for piece in line).rstrip() for line in layout(d))


def render_ansi(d: Diagnostic) -> str:
    """A diagnostic with terminal colours, without a newline at the end."""
    from rich.color import ColorSystem
    from rich.style import Style as RichStyle

    red = "red" if d.severity == "error" else "yellow"
    styles = {
        "severity": f"bold {red}",
        "title": "bold",
        "place": "cyan",
        "gutter": "cyan",
        "primary": f"bold {red}",
        "secondary": "blue",
        "note": "bold",
        "help": "bold green",
    }
    parsed = {name: RichStyle.parse(style) for name, style in styles.items()}

    def paint(piece: Piece) -> str:
        style = parsed.get(piece.style)
        return style.render(piece.text, color_system=ColorSystem.STANDARD) if style and piece.text else piece.text

    return "\n".join("".join(paint(piece) for piece in line) for line in layout(d))


def to_json(d: Diagnostic) -> dict[str, Any]:
    """A diagnostic as data: lines and columns from 1, `end` exclusive; places are null where no text is at fault."""
    place = _place(d.primary.span) if d.primary else {"file": None, "line": None, "column": None, "end": None}
    return {
        "code": d.code,
        "severity": d.severity,
        "title": d.title,
        **place,
        "label": d.primary.text if d.primary else None,
        "labels": [{**_place(label.span), "text": label.text} for label in d.secondary],
        "notes": list(d.notes),
        "helps": list(d.helps),
    }


def _place(span: Span) -> dict[str, Any]:
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    end = {"line": end_line, "column": end_column}
    return {"file": span.source.name, "line": line, "column": column, "end": end}


# -- lines of pieces ---------------------------------------------------------------------------------------------


def layout(d: Diagnostic) -> Iterator[tuple[Piece, ...]]:
    """The lines of a message: head, place, excerpts with underlines, notes and remedies."""
    yield (Piece(f"{d.severity}[{d.code}]", "severity"), Piece(" "), Piece(_printable(d.title), "title"))
    if d.primary is not None:
        yield (Piece("  "), Piece(_printable(d.primary.span.where), "place"))
    labels = [label for label in (d.primary, *d.secondary) if label is not None]
    gutter = max((len(str(_lines(label.span)[1])) for label in labels), default=0)
    shown: int | None = None
    for i, label in enumerate(labels):
        style: Style = "primary" if i == 0 and d.primary is not None else "secondary"
        mark = "^" if style == "primary" else "-"
        if d.primary is not None and label.span.source.name != d.primary.span.source.name:
            yield (Piece("  "), Piece(_printable(label.span.where), "place"))
            shown = None
        first, last = _lines(label.span)
        if last == first:
            yield from _excerpt(label, first, gutter, mark, style, show=shown != first)
            shown = first
        else:
            yield from _block(label, first, last, gutter, mark, style)
            shown = None
    for note in d.notes:
        yield (Piece("  "), Piece("note:", "note"), Piece(" " + _printable(note)))
    for remedy in d.helps:
        yield (Piece("  "), Piece("help:", "help"), Piece(" " + _printable(remedy)))


def _lines(span: Span) -> tuple[int, int]:
    """First and last line of a span; a newline at its end belongs to the line it ends."""
    first = span.source.position(span.start)[0]
    last = span.source.position(max(span.start, span.end - 1))[0]
    return first, last


def _excerpt(
    label: Label, number: int, gutter: int, mark: str, style: Style, *, show: bool
) -> Iterator[tuple[Piece, ...]]:
    """A line and its underline; the line itself only where it was not shown just above."""
    source = label.span.source
    start = label.span.start - source.line_starts[number - 1]
    line = source.line(number)
    start = min(start, len(line))
    end = min(max(label.span.end - source.line_starts[number - 1], start), len(line))
    text, start, end = _clip(line, start, end)
    before = _columns(text[:start])
    width = max(1, _columns(text[:end]) - before)
    if show:
        yield (Piece(f"  {number:>{gutter}} | ", "gutter"), Piece(_expand(text)))
    said = f" {_printable(label.text)}" if label.text else ""
    yield (Piece(f"  {'':>{gutter}} | ", "gutter"), Piece(" " * before), Piece(mark * width + said, style))


def _block(label: Label, first: int, last: int, gutter: int, mark: str, style: Style) -> Iterator[tuple[Piece, ...]]:
    """A span over several lines: its first and last line, each underlined as far as it is in the span."""
    source = label.span.source
    head = Label(Span(source, label.span.start, source.line_starts[first] - 1))
    yield from _excerpt(head, first, gutter, mark, style, show=True)
    if last > first + 1:
        yield (Piece(f"  {'':>{gutter}} ⋮", "gutter"),)
    line = source.line(last)
    indent = len(line) - len(line.lstrip())
    tail = Label(Span(source, source.line_starts[last - 1] + indent, label.span.end), label.text)
    yield from _excerpt(tail, last, gutter, mark, style, show=True)


def _clip(line: str, start: int, end: int) -> tuple[str, int, int]:
    """A long line cut around [start, end), with `…` where something is left out."""
    if len(line) <= WIDTH:
        return line, start, end
    end = min(end, start + WIDTH - 40)
    left = max(0, min(start - 20, len(line) - (WIDTH - 2)))
    right = min(len(line), left + WIDTH - 2)
    head, tail = "…" if left else "", "…" if right < len(line) else ""
    shift = len(head) - left
    return head + line[left:right] + tail, start + shift, min(end, right) + shift


def _columns(text: str) -> int:
    return sum(map(_width, _expand(text)))


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _expand(text: str) -> str:
    """The text as it is printed: tabs to multiples of four columns, what cannot be printed as a placeholder."""
    if "\t" in text:
        out: list[str] = []
        column = 0
        for character in text:
            piece = " " * (4 - column % 4) if character == "\t" else character
            out.append(piece)
            column += sum(map(_width, piece))
        text = "".join(out)
    return _printable(text)


def _printable(text: str) -> str:
    """Nothing that moves the cursor, changes colours or cannot be encoded: one visible character for each such."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
