"""From the lexer's tokens to statements: newlines that end one, brackets that stay open, comments.

Guarantees to the parser: every statement is a run of tokens with matching brackets and no newlines, or was reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ssmc.diagnostics import Report
from ssmc.source import Source, Span
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


def split_statements(source: Source, tokens: list[Token], report: Report) -> Iterator[Line]:
    """The statements of a text, reporting brackets that do not match and lines that begin with an operator."""
    line: list[Token] = []
    open_brackets: list[Token] = []
    whole = True
    tokens = [t for t in tokens if t.type != "COMMENT"]

    def unclosed(end: Token | None) -> Line:
        closing = ")" if open_brackets[-1].type == "LPAR" else "]"
        report.add(errors.UnclosedBracket(open_brackets[-1].span, open_brackets[-1].text, closing))
        return Line(tuple(line), end, whole=False)

    for i, token in enumerate(tokens):
        if token.type == "NEWLINE":
            if not line or (not open_brackets and line[-1].type in CONTINUES):
                continue
            if open_brackets:
                if not _begins_statement(line[-1], tokens, i + 1):
                    continue
                yield unclosed(token)
            else:
                yield Line(tuple(line), token, whole)
        elif token.type == "SEMICOLON":
            if open_brackets:
                report.add(errors.SemicolonInBracket(token.span, open_brackets[-1].span, open_brackets[-1].text))
                yield Line(tuple(line), token, whole=False)
            elif line:
                yield Line(tuple(line), token, whole)
        else:
            if not line and token.type in BINARY:
                report.add(errors.LineBeginsWithOperator(token.span, token.text))
                whole = False
            line.append(token)
            if token.type in OPENING:
                open_brackets.append(token)
            elif token.type in CLOSING:
                if not open_brackets:
                    if whole:
                        report.add(errors.NothingToClose(token.span, token.text))
                    whole = False
                elif OPENING[open_brackets[-1].type] != token.type:
                    opening = open_brackets.pop()
                    if whole:
                        report.add(errors.MismatchedBracket(token.span, token.text, opening.span, opening.text))
                    whole = False
                else:
                    open_brackets.pop()
            continue
        line, open_brackets, whole = [], [], True
    if line:
        yield unclosed(None) if open_brackets else Line(tuple(line), None, whole)


def _begins_statement(before: Token, tokens: list[Token], start: int) -> bool:
    """Whether a line inside an open bracket can only be a new statement: `input x`, or `h = …` after an operand."""
    following = [t for t in tokens[start : start + 3] if t.type != "NEWLINE"]
    if len(following) < 2:
        return False
    first, second = following[:2]
    if first.type in STATEMENT_WORDS and second.type in STATEMENT_WORDS | {"NAME"}:
        return True
    ends_operand = before.type not in CONTINUES and before.type not in OPENING
    return ends_operand and first.type == "NAME" and second.type in ("EQUAL", "PRIME")
