"""The parser that lark makes of `grammar/ssm.lark`, and the tokens of a text.

Making it takes about 0.3 s, so the finished tables lie beside the grammar (`make tables` writes them). They fit one
version of lark; with another, tables are kept in the user's cache directory, and where none can be written, they are
made each time.
"""

from __future__ import annotations

import functools
import hashlib
import json
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
    """The text of `grammar/ssm.lark`."""
    return _beside("ssm.lark")


def _beside(name: str) -> str:
    """A file of `grammar/`, from the package or, in a bare checkout, from beside it."""
    try:
        return (resources.files("ssmc.grammar") / name).read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError):
        return (Path(__file__).parents[2] / "grammar" / name).read_text(encoding="utf-8")


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
    """The parser, from finished tables where there are any."""
    grammar = grammar_text()
    key = _key(grammar)
    return _shipped(key) or _cached(grammar, key)


def _key(grammar: str) -> str:
    """What tables must have been made from."""
    return hashlib.sha256(f"{lark.__version__} {_KeepAll.always_accept} {grammar}".encode()).hexdigest()[:16]


# -- tables beside the grammar -------------------------------------------------------------------------------------


def tables() -> str:
    """The contents of `grammar/tables.json`: what lark needs to set the parser up again, with the key of its origin."""
    grammar = grammar_text()
    data, memo = make_parser(grammar).memo_serialize([lark.lexer.TerminalDef, lark.grammar.Rule])
    data["options"] = {k: v for k, v in data["options"].items() if k not in ("transformer", "postlex")}
    lines = [f'"key":{json.dumps(_key(grammar))}', *(f'"{k}":{_line(v)}' for k, v in (("data", data), ("memo", memo)))]
    return "{" + ",\n".join(lines) + "}\n"


def _line(x: Any) -> str:
    return json.dumps(x, separators=(",", ":"))


def _shipped(key: str) -> lark.Lark | None:
    """The parser from the tables beside the grammar; None where they are of another grammar or lark."""
    try:
        kept = json.loads(_beside("tables.json"))
    except (OSError, ValueError):
        return None
    if kept.get("key") != key:
        return None
    # lark counts states, tokens and rules; JSON made text of the numbers that are keys
    table = kept["data"]["parser"]["parser"]
    table["tokens"] = _numbered(table["tokens"])
    table["states"] = {state: _numbered(row) for state, row in _numbered(table["states"]).items()}
    made: lark.Lark = lark.Lark._load_from_dict(  # type: ignore[no-untyped-call]
        kept["data"], _numbered(kept["memo"]), transformer=Builder(), postlex=_KeepAll()
    )
    return made


def _numbered(x: dict[str, Any]) -> dict[int, Any]:
    return {int(k): v for k, v in x.items()}


# -- tables in the user's cache ------------------------------------------------------------------------------------


def _cached(grammar: str, key: str) -> lark.Lark:
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        folder = _cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / f"grammar-{key}-{version}.pickle"
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
