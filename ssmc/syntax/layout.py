"""From the lexer's tokens to statements: newlines that end one, brackets that stay open, comments.

Guarantees to the parser: every statement is a run of tokens with matching brackets and no newlines, or was reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ssmc.diagnostics import Problem, Report
from ssmc.source import Span
from ssmc.syntax import errors

OPENING = {"LPAR": "RPAR", "LSQB": "RSQB"}
CLOSING = {"RPAR", "RSQB"}
STATEMENT_WORDS = {"SSM", "AXIS", "EACH", "INPUT", "PARAM", "STATE", "OUTPUT"}
CONTINUES = {
    *("PLUS", "MINUS", "STAR", "SLASH", "OUTER", "AT", "DOT", "POWER", "COMPARE", "AND", "OR", "NOT"),
    *("EQUAL", "COMMA", "ARROW"),
}
"""A newline after one of these does not end the statement."""
BINARY = CONTINUES - {"NOT", "EQUAL", "COMMA", "ARROW"}


_NAMES_FOLLOW = STATEMENT_WORDS | {"USING", "COMMA"}


@dataclass(frozen=True)
class Token:
    """A lexeme. `text` is folded (NFKC), `span` covers what the user wrote. lark reads `type` only."""

    type: str
    text: str
    span: Span = field(repr=False)


@dataclass(frozen=True)
class Line:
    """A statement as tokens. `end` is the `;` or newline that ends it, None at the end of the text.

    `whole` is False where an error in it was already reported: it is then not parsed.
    """

    tokens: tuple[Token, ...]
    end: Token | None
    whole: bool = True

    @property
    def span(self) -> Span:
        return self.tokens[0].span.to(self.tokens[-1].span)


def goes_on(statement: list[Token], depth: int) -> bool:
    """Whether a newline after these tokens, `depth` brackets being open, does not end the statement."""
    if depth > 0 or not statement:
        return depth > 0
    last = statement[-1]
    if last.type in ("AND", "OR", "NOT") and len(statement) > 1 and statement[-2].type in _NAMES_FOLLOW:
        return False  # the name of an axis: `axis and`
    return last.type in CONTINUES


def split_statements(tokens: list[Token], report: Report) -> Iterator[Line]:
    """The statements of a text, reporting brackets that do not match and lines that begin with an operator."""
    splitter = _Splitter(report)
    tokens = [t for t in tokens if t.type != "COMMENT"]
    for i, token in enumerate(tokens):
        if token.type == "NEWLINE":
            if not goes_on(splitter.line, len(splitter.open)) or _begins_statement(splitter.line[-1], tokens, i + 1):
                yield from splitter.end(token)
                splitter.spoiled = False
        elif token.type == "SEMICOLON":
            yield from splitter.end(token)
        else:
            splitter.add(token)
    yield from splitter.end(None)


class _Splitter:
    """The statement being read: its tokens, its open brackets, and whether an error in it was reported."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.spoiled = False  # by a `;` in a bracket: what follows on the same line is no statement
        self._begin()

    def _begin(self) -> None:
        self.line: list[Token] = []
        self.open: list[Token] = []
        self.whole = not self.spoiled

    def end(self, token: Token | None) -> Iterator[Line]:
        """The statement that a newline, a `;` or the end of the text ends."""
        if self.open:
            opening = self.open[-1]
            if token is not None and token.type == "SEMICOLON":
                problem: Problem = errors.SemicolonInBracket(token.span, opening.span, opening.text)
                self.spoiled = True
            else:
                closing = ")" if opening.type == "LPAR" else "]"
                problem = errors.UnclosedBracket(opening.span, opening.text, closing)
            self._wrong(problem)
        if self.line:
            yield Line(tuple(self.line), token, self.whole)
        self._begin()

    def add(self, token: Token) -> None:
        if not self.line and token.type in BINARY:
            self._wrong(errors.LineBeginsWithOperator(token.span, token.text))
        self.line.append(token)
        if token.type in OPENING:
            self.open.append(token)
        elif token.type in CLOSING:
            if not self.open:
                self._wrong(errors.NothingToClose(token.span, token.text))
                return
            opening = self.open.pop()
            if OPENING[opening.type] != token.type:
                self._wrong(errors.MismatchedBracket(token.span, token.text, opening.span, opening.text))

    def _wrong(self, problem: Problem) -> None:
        """Report the first error of a statement; more would only follow from it."""
        if self.whole:
            self.report.add(problem)
        self.whole = False


def _begins_statement(before: Token, tokens: list[Token], start: int) -> bool:
    """Whether a line that could continue the one before can only be a new statement.

    `input x` always is; `h = …` is, except after a `,` or a bracket, where it may be an option or a declarator.
    """
    following = [t for t in tokens[start : start + 3] if t.type != "NEWLINE"]
    if len(following) < 2:
        return False
    first, second = following[:2]
    if first.type in STATEMENT_WORDS and second.type in STATEMENT_WORDS | {"NAME"}:
        return True
    return (
        before.type not in OPENING
        and before.type != "COMMA"
        and first.type == "NAME"
        and second.type in ("EQUAL", "PRIME")
    )
