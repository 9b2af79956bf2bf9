"""Why a statement stops making sense at a token: the parser's state in words, and the mistakes people make there."""

from __future__ import annotations

from ssmc.diagnostics import Label, Problem
from ssmc.syntax import errors
from ssmc.syntax.layout import BINARY, Line, Token
from ssmc.syntax.names import STATEMENTS

_SHOWN = {"RPAR": "`)`", "RSQB": "`]`", "LPAR": "`(`", "LSQB": "`[`", "EQUAL": "`=`", "USING": "`using`", "COMMA": "`,`"}
_CONTROL = {
    "if": "a choice is written `where(condition, a, b)`",
    "else": "a choice is written `where(condition, a, b)`",
    "elif": "a choice is written `where(condition, a, b)`",
    "for": "every statement holds for all steps and all places of the axes; sum over an axis with `sum[N](…)`",
    "while": "the loop over time is implied; a state carries a value from step to step",
    "return": "write `output y` or `output y = …`",
    "def": "a macro is written `f(x, y) = …`",
    "lambda": "a macro is written `f(x, y) = …`",
    "let": "write `name = …`",
    "var": "write `name = …`",
    "import": "a file holds whole specs; there is nothing to import",
    "from": "a file holds whole specs; there is nothing to import",
    "end": "a spec ends where the next begins",
}
_OPERANDS = {"NAME", "NUMBER", "DOTTED"}


def explain_unexpected(line: Line, token: Token, accepted: frozenset[str]) -> Problem:
    """The problem of a statement whose parse stopped at `token`, where only `accepted` terminals can stand."""
    tokens = line.tokens
    place = next((i for i, t in enumerate(tokens) if t is token), len(tokens))
    before = tokens[place - 1] if place else None
    if (problem := _known_mistake(tokens, place, token, before)) is not None:
        return problem
    hints: list[str] = []
    related: tuple[Label, ...] = ()
    wants_operand = accepted >= {"NAME", "NUMBER", "LPAR"}
    if token.text in STATEMENTS and token.type != "NAME" and before is not None:
        hints.append(f"`{token.text}` begins a statement: put it on a line of its own, or `;` before it")
    elif wants_operand and before is not None and before.type in BINARY:
        related = (Label(before.span, "needs an operand on its right"),)
    if token.type == "PLUS" and wants_operand:
        hints.append("there is no sign `+`: leave it out")
    if before is not None and before.type in _OPERANDS and token.type in (*_OPERANDS, "LPAR") and not wants_operand:
        hints.append("a product is written with `*`, a list with `,`")
    if "RSQB" in accepted and token.type in ("NUMBER", "COMMA"):
        hints.append("an element is picked by the axis's name: `x[J = 0]`")
    if token.type == "NUMBER" and "NAME" in accepted and "LPAR" not in accepted:
        hints.append("an element is picked by the axis's name: `x[J = 0]`")
    return errors.Unexpected(token.span, _found(token), _expected(accepted), tuple(dict.fromkeys(hints)), related)


def _known_mistake(tokens: tuple[Token, ...], place: int, token: Token, before: Token | None) -> Problem | None:
    first = tokens[0]
    for word in tokens[: place + 1]:
        if word.type == "NAME" and word.text in _CONTROL and (word is first or word is token or word is before):
            return errors.ControlFlow(word.span, word.text, _CONTROL[word.text])
    if place == 1 and first.type == "NAME" and token.type not in ("$END", "PRIME"):
        if token.type in _OPERANDS or (token.text in STATEMENTS and token.type != "NAME"):
            return errors.UnknownStatement(first.span, first.text, STATEMENTS)
    if token.type == "PRIME":
        return errors.MisplacedPrime(token.span)
    primed = any(t.type == "PRIME" for t in tokens[:place])
    if token.type == "USING" and not primed and len(tokens) > 1 and tokens[1].type == "EQUAL":
        return errors.MethodWithoutPrime(token.span, first.text)
    if token.type == "$END" and primed and before is not None and before.type not in BINARY | {"EQUAL", "USING"}:
        return errors.MissingMethod(token.span, first.text)
    if token.type == "EQUAL" and before is not None and any(t.type == "EQUAL" for t in tokens[:place]):
        if first.text not in STATEMENTS and not any(t.type == "USING" for t in tokens[:place]):
            return errors.EqualsInExpression(token.span)
    return None


def _found(token: Token) -> str:
    if token.type == "$END":
        return "end of the statement"
    if token.type == "NUMBER":
        return f"number `{token.text}`"
    return f"`{token.text}`"


def _expected(accepted: frozenset[str]) -> str:
    """The terminals that can stand at a place, as a person would say it."""
    words: list[str] = []
    if accepted >= {"NAME", "NUMBER", "LPAR"}:
        words.append("an expression" if "INPUT" in accepted or "DOTTED" in accepted else "a name")
    elif "AND" in accepted and "NAME" in accepted and "STAR" not in accepted:
        words.append("a name")
    elif "NAME" in accepted and "STAR" not in accepted and accepted & {"$END", "EQUAL", "COMMA"}:
        words.append("a kind")
    elif "NAME" in accepted and "STAR" not in accepted:
        words.append("a name")
    elif "NUMBER" in accepted and "STAR" not in accepted:
        words.append("an integer")
    if accepted & {"STAR", "PLUS"} and not accepted >= {"NAME", "NUMBER", "LPAR"}:
        words.append("an operator")
    if "ARROW" in accepted:
        words.append("`->`")
    shown = ("EQUAL", "USING", "COMMA", "RPAR", "RSQB")
    words.extend(_SHOWN[name] for name in shown if name in accepted)
    if not words or words == ["an operator"]:
        words.extend(_SHOWN[name] for name in ("LPAR", "LSQB") if name in accepted)
    if "$END" in accepted:
        words.append("the end of the statement")
    if not words:
        return "something else"
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]
