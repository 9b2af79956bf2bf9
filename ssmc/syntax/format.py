"""`ssmc fmt`: the tokens of a file with the spaces that belong between them.

Comments, the user's parentheses and line breaks stay. What changes is the white space, the spelling of `·` and of
compatible letters, empty statements, and the place of trailing comments, which stand in one column where the lines
that have them follow one another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ssmc.diagnostics import CompilerBug
from ssmc.source import Source
from ssmc.syntax.grammar import tokens_of
from ssmc.syntax.layout import CLOSING, CONTINUES, OPENING, STATEMENT_WORDS, Token, goes_on
from ssmc.syntax.parser import parse
from ssmc.syntax.printer import KEYWORD_WIDTH

COMMENT_COLUMN_LIMIT = 80
"""Code that is wider does not push the comments of its neighbours to the right."""
_INDENT = 4


def format_source(source: Source) -> str:
    """The text of a spec file written the one way; formatting it again changes nothing.

    Raises `SpecError` where the text has syntax errors.
    """
    file = parse(source)
    text = _join(_physical_lines(tokens_of(source)))
    if parse(Source(source.name, text)).specs != file.specs:
        raise CompilerBug(f"formatting {source.name} would change its meaning")
    return text


@dataclass
class _Line:
    """A line of the file: its code, formatted, and its comment."""

    code: str = ""
    comment: str = ""
    is_header: bool = False

    @property
    def is_blank(self) -> bool:
        return not self.code and not self.comment

    @property
    def is_comment(self) -> bool:
        return not self.code and bool(self.comment)


@dataclass
class _Writer:
    """The line being written, and what of the statement before the present token decides the space between them."""

    lines: list[_Line] = field(default_factory=list)
    line: _Line = field(default_factory=_Line)
    statement: list[Token] = field(default_factory=list)
    unary: bool = False
    depth: int = 0
    wants_semicolon: bool = False
    first_on_line: bool = True

    def goes_on(self) -> bool:
        return goes_on(self.statement, self.depth)

    def end_line(self) -> None:
        inside = self.goes_on()
        if not (inside and self.line.is_blank):
            self.lines.append(self.line)
        self.line = _Line()
        self.wants_semicolon = False
        self.first_on_line = True
        if not inside:
            self.statement = []

    def end_statement(self) -> None:
        self.wants_semicolon = self.wants_semicolon or bool(self.statement)
        self.statement = []

    def add_comment(self, token: Token) -> None:
        if not self.line.code and self.goes_on():
            self.line.code = " " * (_INDENT * max(1, self.depth))
        self.line.comment = token.text.rstrip()

    def add(self, token: Token) -> None:
        if not self.line.code:
            closes = token.type in CLOSING
            depth = self.depth - 1 if closes else max(1, self.depth)
            self.line.code = " " * (_INDENT * depth if self.goes_on() else 0)
            self.line.is_header = token.type == "SSM" and not self.statement
        elif self.wants_semicolon and not self.statement:
            self.line.code += "; "
            self.first_on_line = False
        elif self.line.code.strip():
            self.line.code += self._space_before(token)
        previous = self.statement[-1] if self.statement else None
        self.unary = token.type == "MINUS" and previous is not None and previous.type in CONTINUES | OPENING.keys()
        self.line.code += "·" if token.type == "DOT" else token.text
        self.depth += (token.type in OPENING) - (token.type in CLOSING)
        self.statement.append(token)

    def _space_before(self, token: Token) -> str:
        if not self.statement:
            return ""
        previous = self.statement[-1]
        if len(self.statement) == 1 and previous.type in STATEMENT_WORDS - {"SSM"} and token.type not in OPENING:
            # Undone by `_without_padding` where another statement follows on the line.
            return " " * (KEYWORD_WIDTH - len(previous.text)) if self.first_on_line else " "
        if previous.type in OPENING or self.unary or "POWER" in (previous.type, token.type):
            return ""
        if token.type in CLOSING or token.type in ("COMMA", "PRIME", "LSQB"):
            return ""
        if token.type == "LPAR" and previous.type not in CONTINUES:
            return ""
        return " "


def _physical_lines(tokens: list[Token]) -> list[_Line]:
    writer = _Writer()
    for i, token in enumerate(tokens):
        if token.type == "NEWLINE":
            writer.end_line()
        elif token.type == "SEMICOLON":
            writer.end_statement()
            if _another_follows(tokens, i + 1):
                writer.line.code = _without_padding(writer.line.code)
        elif token.type == "COMMENT":
            writer.add_comment(token)
        else:
            writer.add(token)
    writer.end_line()
    return writer.lines


def _another_follows(tokens: list[Token], start: int) -> bool:
    """Whether another statement begins on the line of a `;`."""
    for token in tokens[start:]:
        if token.type in ("NEWLINE", "COMMENT"):
            return False
        if token.type != "SEMICOLON":
            return True
    return False


def _without_padding(code: str) -> str:
    word, _, rest = code.partition(" ")
    return f"{word} {rest.lstrip(' ')}" if word.upper() in STATEMENT_WORDS and rest else code


def _join(lines: list[_Line]) -> str:
    kept: list[_Line] = []
    seen_code = False
    for line in lines:
        if line.is_blank and (not kept or kept[-1].is_blank):
            continue
        if line.is_header and seen_code:
            _blank_before_header(kept)
        seen_code = seen_code or bool(line.code.strip())
        kept.append(line)
    while kept and kept[-1].is_blank:
        kept.pop()
    _align_comments(kept)
    return "".join(f"{line.code}{line.comment}".rstrip() + "\n" for line in kept)


def _blank_before_header(kept: list[_Line]) -> None:
    """A blank line before a spec and the comments that stand directly above it."""
    place = len(kept)
    while place and kept[place - 1].is_comment:
        place -= 1
    if place and not kept[place - 1].is_blank:
        kept.insert(place, _Line())


def _align_comments(lines: list[_Line]) -> None:
    run: list[_Line] = []
    for line in [*lines, _Line()]:
        if line.code.strip() and line.comment:
            run.append(line)
            continue
        widths = [len(r.code) for r in run if len(r.code) <= COMMENT_COLUMN_LIMIT]
        column = max(widths, default=0) + 2
        for r in run:
            r.code = r.code.ljust(column) if len(r.code) + 2 <= column else r.code + "  "
        run = []
