"""The parser that lark makes of `grammar/ssm.lark`, and the tokens of a text.

Making it takes about 0.15 s, so the finished tables are kept in the user's cache directory; without one that can be
written, they are made each time.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import lark

from ssmc.source import Source, Span
from ssmc.syntax.builder import Builder
from ssmc.syntax.characters import fold
from ssmc.syntax.layout import Token


class _KeepAll:
    """Tells lark to lex also what no statement has: its ends, comments, and what is not of the language."""

    always_accept = ("NEWLINE", "SEMICOLON", "COMMENT", "STRING", "FOREIGN", "OTHER")

    def process(self, stream: Iterator[lark.Token]) -> Iterator[lark.Token]:
        return stream


def grammar_text() -> str:
    """The text of `grammar/ssm.lark`, from the package or, in a bare checkout, from beside it."""
    try:
        return (resources.files("ssmc.grammar") / "ssm.lark").read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError):
        return (Path(__file__).parents[2] / "grammar" / "ssm.lark").read_text(encoding="utf-8")


def make_parser(grammar: str, start: str = "statement", **options: Any) -> lark.Lark:
    """A fresh parser for one rule; `options` go to lark."""
    return lark.Lark(
        grammar,
        parser="lalr",
        lexer="basic",
        start=start,
        transformer=Builder(),
        postlex=_KeepAll(),
        **options,
    )


@functools.cache
def parser() -> lark.Lark:
    """The parser, from the cache where possible."""
    grammar = grammar_text()
    key = hashlib.sha256(
        f"{lark.__version__} {sys.version_info} {_KeepAll.always_accept} {grammar}".encode()
    ).hexdigest()[:16]
    try:
        folder = _cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / f"grammar-{key}.pickle"
        if kept.exists():
            return make_parser(grammar, cache=str(kept))
        # Written beside its place and renamed, so that no other process reads half a file.
        handle, fresh = tempfile.mkstemp(dir=folder)
        os.close(handle)
    except (OSError, RuntimeError):
        return make_parser(grammar)
    made = make_parser(grammar, cache=fresh)
    try:
        os.replace(fresh, kept)
    except OSError:
        Path(fresh).unlink(missing_ok=True)
    return made


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "ssmc"


def tokens_of(source: Source) -> list[Token]:
    """All tokens of a text, comments and newlines among them. Spaces and a byte order mark at the start are left out.

    Every character of the text belongs to a token or is a space, so this never fails.
    """
    text = source.text
    folded = fold(text)
    skip = 1 if text.startswith("\ufeff") else 0
    out: list[Token] = []
    for token in parser().lex(folded.text[skip:]):
        start = (token.start_pos or 0) + skip
        end = start + len(token)
        out.append(Token(token.type, str(token), Span(source, folded.offset(start), folded.offset(end))))
    return out
