"""Places in a Python file: from `ast`'s lines and byte columns to spans, and which expressions stand in parentheses."""

from __future__ import annotations

import ast
import io
import itertools
import keyword
import tokenize
from bisect import bisect_left
from dataclasses import dataclass

from ssmc.source import Source, Span

_SILENT = {tokenize.NEWLINE, tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass(frozen=True)
class PythonToken:
    text: str
    start: int
    end: int


class PythonText:
    """The text of one definition, `first_line` to `last_line` of a file."""

    def __init__(self, source: Source, first_line: int, last_line: int) -> None:
        self.source = source
        self.tokens = _tokens(source, first_line, last_line)
        self._starting = {token.start: i for i, token in enumerate(self.tokens)}
        self._ending = {token.end: i for i, token in enumerate(self.tokens)}
        self._closing = _grouping(self.tokens)

    def offset(self, line: int, byte_column: int) -> int:
        """The place of a line (from 1) and a column in UTF-8 bytes."""
        text = self.source.line(line)
        column = byte_column if text.isascii() else len(text.encode()[:byte_column].decode(errors="ignore"))
        return self.source.line_starts[line - 1] + column

    def span(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword) -> Span:
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
        start = self.offset(node.lineno, node.col_offset)
        return Span(self.source, start, self.offset(end_line, end_column))

    def parentheses(self, span: Span) -> list[Span]:
        """The pairs of parentheses directly around an expression, innermost first; not those of a call."""
        pairs: list[Span] = []
        first, last = self._starting.get(span.start), self._ending.get(span.end)
        while first is not None and last is not None and self._closing.get(first - 1) == last + 1:
            first, last = first - 1, last + 1
            pairs.append(Span(self.source, self.tokens[first].start, self.tokens[last].end))
        return pairs

    def operator(self, after: int, text: str) -> Span:
        """The first token with that text at or after a place."""
        first = bisect_left(self.tokens, after, key=lambda token: token.start)
        for token in itertools.islice(self.tokens, first, None):
            if token.text == text:
                return Span(self.source, token.start, token.end)
        return Span(self.source, after, after)

    def words_of_string(self, node: ast.Constant, words: list[tuple[int, int]]) -> list[Span]:
        """Spans of parts of a string literal, given as ranges of its value; the whole literal if it has escapes."""
        whole = self.span(node)
        for quote in ('"""', "'''", '"', "'"):
            if whole.text.startswith(quote):
                if whole.text[len(quote) : -len(quote)] == node.value:
                    start = whole.start + len(quote)
                    return [Span(self.source, start + a, start + b) for a, b in words]
                break
        return [whole for _ in words]


def _tokens(source: Source, first_line: int, last_line: int) -> list[PythonToken]:
    start = source.line_starts[first_line - 1]
    end = source.line_starts[last_line] if last_line < len(source.line_starts) else len(source.text)
    found: list[PythonToken] = []
    reader = io.StringIO(source.text[start:end]).readline
    try:
        for token in tokenize.generate_tokens(reader):
            if token.type not in _SILENT:
                begin = source.line_starts[token.start[0] + first_line - 2] + token.start[1]
                stop = source.line_starts[token.end[0] + first_line - 2] + token.end[1]
                found.append(PythonToken(token.string, begin, stop))
    except (tokenize.TokenError, IndentationError):
        pass  # an unusual indentation after the definition; its own tokens were read
    return found


def _grouping(tokens: list[PythonToken]) -> dict[int, int]:
    """Index of `(` → index of its `)`, for parentheses that group and do not call."""
    pairs: dict[int, int] = {}
    open_brackets: list[tuple[int, bool]] = []
    for i, token in enumerate(tokens):
        if token.text in ("(", "[", "{"):
            before = tokens[i - 1].text if i else ""
            names = before.isidentifier() and (not keyword.iskeyword(before) or before in ("True", "False", "None"))
            calls = names or before in (")", "]", "}") or before[-1:] in ("'", '"')
            open_brackets.append((i, token.text == "(" and not calls))
        elif token.text in (")", "]", "}") and open_brackets:
            opening, groups = open_brackets.pop()
            if groups:
                pairs[opening] = i
    return pairs
