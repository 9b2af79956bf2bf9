"""`.ssm` text to its tree, reporting as many independent mistakes as it can.

Errors in characters and lexemes, in brackets, and in single statements are each reported and left behind at the end
of the statement. What a tree from here guarantees is said in nodes.py, and beyond: no expression is deeper than
`limits.MAX_DEPTH`, reserved words name no value, outputs have names that Python can use.
"""

from __future__ import annotations

from lark.exceptions import UnexpectedToken

from ssmc.diagnostics import Report, SpecError
from ssmc.source import Source, Span
from ssmc.syntax import errors, limits, nodes
from ssmc.syntax.builder import Header, NotLegal
from ssmc.syntax.grammar import parser, tokens_of
from ssmc.syntax.layout import Line, Token, split_statements
from ssmc.syntax.lexical import report_lexemes
from ssmc.syntax.messages import explain_control_flow, explain_unexpected
from ssmc.syntax.wellformed import check_statement, first_wrong_expression


def parse(source: Source) -> nodes.File:
    """The tree of a file with at least one spec.

    Raises `SpecError` with all syntax errors found (at most `limits.MAX_REPORTED`).
    """
    if len(source.text) > limits.MAX_CHARACTERS:
        raise SpecError([errors.TextTooLong(None, len(source.text))])
    report = Report()
    statements: list[Header | nodes.Statement] = []
    lost = False
    for line in split_statements(tokens_of(source), report):
        parsed = _statements_of(line, report)
        statements.extend(parsed)
        lost = lost or not parsed
        if not parsed and len(report.diagnostics) >= limits.MAX_REPORTED:
            break
    specs = _group(source, statements, lost, report)
    if report.has_errors:
        raise SpecError(report.diagnostics[: limits.MAX_REPORTED])
    return nodes.File(source, specs)


def _statements_of(line: Line, report: Report) -> tuple[Header | nodes.Statement, ...]:
    """The nodes of one statement; none where it is wrong, except for the header of a spec."""
    control = explain_control_flow(line)
    if control is not None:
        report.add(control)
        return ()
    if report_lexemes(line.tokens, report) or not line.whole:
        return _header_of_damaged(line)
    return _parse_line(line, report)


def _parse_line(line: Line, report: Report) -> tuple[Header | nodes.Statement, ...]:
    interactive = parser().parse_interactive(start="statement")
    try:
        for token in line.tokens:
            interactive.feed_token(token)  # type: ignore[arg-type]
        end = Token("$END", "", Span(line.span.source, line.span.end, line.span.end))
        statements: tuple[Header | nodes.Statement, ...] = interactive.feed_token(end)  # type: ignore[arg-type]
    except NotLegal as wrong:
        report.add(wrong.problem)
        return _header_of_damaged(line)
    except UnexpectedToken as unexpected:
        wrong_token: Token = unexpected.token
        report.add(explain_unexpected(line, wrong_token, _accepted_before(line, wrong_token)))
        return _header_of_damaged(line)
    for statement in statements:
        if isinstance(statement, Header):
            continue
        problem = first_wrong_expression(statement)
        if problem is not None:
            report.add(problem)
            continue
        check_statement(statement, report)
    return statements


def _accepted_before(line: Line, wrong: Token) -> frozenset[str]:
    """The terminals that could have stood in place of a token. (The failed parser has already reduced too far.)"""
    again = parser().parse_interactive(start="statement")
    for token in line.tokens:
        if token is wrong:
            break
        again.feed_token(token)  # type: ignore[arg-type]
    return frozenset(again.accepts())  # type: ignore[no-untyped-call]


def _header_of_damaged(line: Line) -> tuple[Header, ...]:
    """The header that a wrong line was meant to be, so that what follows it is not reported as well."""
    first = line.tokens[0]
    if first.type != "SSM":
        return ()
    return (Header(nodes.Identifier("", first.span), first.span),)


def _group(
    source: Source, statements: list[Header | nodes.Statement], lost: bool, report: Report
) -> tuple[nodes.Spec, ...]:
    specs: list[nodes.Spec] = []
    seen: dict[str, Span] = {}
    header: Header | None = None
    body: list[nodes.Statement] = []

    def close() -> None:
        if header is not None:
            span = header.span.to(body[-1].span) if body else header.span
            specs.append(nodes.Spec(header.name, tuple(body), span))

    for statement in statements:
        if isinstance(statement, Header):
            close()
            header, body = statement, []
            name = statement.name.text
            if name and name in seen:
                report.add(errors.DuplicateSpec(statement.name.span, name, seen[name]))
            seen.setdefault(name, statement.name.span)
        else:
            if header is None and not specs and not body:
                report.add(errors.OutsideSpec(statement.span))
            body.append(statement)
    close()
    if not specs and not body and not lost and not report.has_errors:
        what = "the text has only comments" if "#" in source.text else "the text is empty"
        report.add(errors.NoSpec(None, what))
    return tuple(specs)
