"""What the commands print and where: results on stdout, diagnostics and progress on stderr.

Colour and progress are for terminals: a pipe gets plain text and no progress.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ssmc.diagnostics import Diagnostic


@dataclass
class Settings:
    """What the options that every command has say. `color` is None where the terminal decides."""

    color: bool | None = None
    debug: bool = False

    @property
    def stderr_color(self) -> bool:
        if self.color is not None:
            return self.color
        return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def settings() -> Settings:
    """The settings of the command that runs."""
    context = click.get_current_context(silent=True)
    found = context.find_root().obj if context is not None else None
    return found if isinstance(found, Settings) else Settings()


def show(diagnostics: Iterable[Diagnostic], config: Settings | None = None) -> None:
    """Print diagnostics on stderr, a blank line between two."""
    from ssmc.render import render_ansi, render_text

    render = render_ansi if (config or settings()).stderr_color else render_text
    for n, diagnostic in enumerate(diagnostics):
        click.echo(("\n" if n else "") + render(diagnostic), err=True, color=True)


def note(text: str) -> None:
    """A remark on stderr: it is no result, and a pipe does not get it."""
    click.echo(text, err=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout. JSON has no NaN and no infinity: they are the texts "nan", "inf" and "-inf"."""
    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False, default=str))


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value


def table(rows: Sequence[Sequence[str]], header: Sequence[str], right: Iterable[int] = ()) -> str:
    """Columns aligned with spaces; `right` are the indices of those aligned to the right."""
    every = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[n]) for row in every) for n in range(len(header))]
    flush = set(right)

    def line(row: Sequence[str]) -> str:
        cells = (c.rjust(w) if n in flush else c.ljust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), "  ".join("-" * w for w in widths), *map(line, every[1:])])


def plural(count: int, noun: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@contextlib.contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """A line on the terminal while something long runs; what it gives takes what is done just now. Silent in a pipe."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(text) as status:
        yield lambda now: status.update(f"{text}: {escape(now)}")
