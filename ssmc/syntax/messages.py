"""Why a statement stops making sense at a token: the parser's state in words, and the mistakes people make there."""

from __future__ import annotations

from collections.abc import Iterator

from ssmc.diagnostics import Label, Problem
from ssmc.syntax import errors
from ssmc.syntax.layout import BINARY, Line, Token
from ssmc.syntax.names import STATEMENTS

_SHOWN = {"RPAR": "`)`", "RSQB": "`]`", "EQUAL": "`=`", "USING": "`using`", "COMMA": "`,`"}
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
    "const": "write `name = …`",
    "import": "a file holds whole specs; there is nothing to import",
    "from": "a file holds whole specs; there is nothing to import",
    "end": "a spec ends where the next begins",
}
_OPERANDS = {"NAME", "NUMBER", "DOTTED"}
_AFTER_A_NAME = {"EQUAL", "PRIME", "LSQB", "LPAR"}
_PORTS = {"INPUT", "PARAM", "STATE", "OUTPUT"}
_OPTIONS_OF_SUMS = {"axis", "axes", "dim", "dims", "keepdim", "keepdims"}
_OTHER_TIMES = "time has no bracket: a state above its assignment is the step before's, `prev(x, k)` is x, k steps ago"


def explain_control_flow(line: Line) -> Problem | None:
    """The problem of a line that begins as a statement of another language does: `if x:`, `for i in y`."""
    first, *rest = line.tokens
    if first.type == "NAME" and first.text in _CONTROL and (not rest or rest[0].type not in _AFTER_A_NAME):
        return errors.ControlFlow(first.span, first.text, _CONTROL[first.text])
    return None


def explain_unexpected(line: Line, token: Token, accepted: frozenset[str]) -> Problem:
    """The problem of a statement whose parse stopped at `token`, where only `accepted` terminals can stand."""
    tokens = line.tokens
    place = next((i for i, t in enumerate(tokens) if t is token), len(tokens))
    before = tokens[place - 1] if place else None
    if (problem := _known_mistake(tokens, place, token, before)) is not None:
        return problem
    related: tuple[Label, ...] = ()
    if _is_operand(accepted) and before is not None and before.type in BINARY:
        related = (Label(before.span, "needs an operand on its right"),)
    hints = tuple(_hints(tokens[:place], token, accepted))
    return errors.Unexpected(token.span, _found(token), _expected(accepted), hints, related)


def _hints(done: tuple[Token, ...], token: Token, accepted: frozenset[str]) -> Iterator[str]:
    """What the user may have meant, after the tokens that were understood."""
    before = done[-1] if done else None
    bracketed = before is not None and before.type == "LSQB"
    timed = len(done) > 2 and done[-2].type == "LSQB" and before is not None and before.type == "NAME"
    in_options = any(t.type == "USING" for t in done) and any(t.type == "LPAR" for t in done)
    if token.text in STATEMENTS and token.type != "NAME" and before is not None:
        yield f"`{token.text}` begins a statement: put it on a line of its own, or `;` before it"
    elif token.type in ("PLUS", "MINUS") and (bracketed or timed) and "RSQB" in accepted:
        yield _OTHER_TIMES
        if bracketed:
            yield "an element is picked by the axis's name: `x[J = -1]`"
    elif token.type == "LSQB" and _is_operand(accepted):
        yield "there are no lists: what has several elements is an input or a param"
    elif token.type == "LPAR" and done and done[0].type in _PORTS and before is not None and before.type == "NAME":
        yield "an output has a name: `output y = …`" if done[0].type == "OUTPUT" else "axes stand in `[ ]`: `x[N]`"
    elif (
        token.type in (*BINARY, "NUMBER")
        and done
        and done[0].type == "OUTPUT"
        and "EQUAL" not in {t.type for t in done}
    ):
        yield "an output has a name: `output y = …`"
    elif token.type == "SLASH" and len(done) == 1 and before is not None and before.text.startswith("d"):
        yield "a derivative is written `h' = … using zoh(step = dt)`"
    elif token.type == "EQUAL" and before is not None and before.text in _OPTIONS_OF_SUMS:
        yield "axes stand in brackets after the function: `sum[N](x)`"
    elif token.type == "PLUS" and _is_operand(accepted):
        yield "there is no sign `+`: leave it out"
    elif bracketed and token.type == "NUMBER" and done[0].type in _PORTS and "EQUAL" not in {t.type for t in done}:
        yield "axes have names: `axis N = 16`, and `[N]`"
    elif "LSQB" in {t.type for t in done} and not _is_operand(accepted) and token.type in ("NUMBER", "COMMA", "RSQB"):
        yield "an element is picked by the axis's name: `x[J = 0]`; an axis is renamed by `x[K -> J]`"
    elif in_options and "STAR" not in accepted and token.type in (*_OPERANDS, "RPAR"):
        yield "options are named: `zoh(step = …)`, `gbt(alpha = …, step = …)`"
    elif done and done[0].type == "SSM":
        yield "the name of a spec is one word: `ssm gated_delta`"
    elif token.type in (*_OPERANDS, "LPAR") and "STAR" in accepted:
        yield "a product is written with `*`, a list with `,`"
    elif token.type == "EQUAL" and "STAR" in accepted:
        yield "`==` compares"
    elif token.type in (*_OPERANDS, "LSQB") and "COMMA" in accepted:
        yield "a list is written with `,`"


def _known_mistake(tokens: tuple[Token, ...], place: int, token: Token, before: Token | None) -> Problem | None:
    first = tokens[0]
    for word in tokens[: place + 1]:
        if word.type == "NAME" and word.text in _CONTROL and (word is first or word is token or word is before):
            return errors.ControlFlow(word.span, word.text, _CONTROL[word.text])
    word_follows = token.type in _OPERANDS or (token.text in STATEMENTS and token.type != "NAME")
    if place == 1 and first.type == "NAME" and word_follows:
        return errors.UnknownStatement(first.span, first.text, STATEMENTS)
    if token.type == "PRIME":
        quoted = before is not None and before.type in ("LSQB", "COMMA", "LPAR", "EQUAL")
        return errors.StringInSpec(token.span) if quoted else errors.MisplacedPrime(token.span)
    primed = any(t.type == "PRIME" for t in tokens[:place])
    if token.type == "USING" and not primed and len(tokens) > 1 and tokens[1].type == "EQUAL":
        return errors.MethodWithoutPrime(token.span, first.text)
    if token.type == "$END" and primed and before is not None and before.type not in BINARY | {"EQUAL", "USING"}:
        return errors.MissingMethod(token.span, first.text)
    seen = {t.type for t in tokens[:place]}
    option = before is not None and before.text in _OPTIONS_OF_SUMS
    if (
        token.type == "EQUAL"
        and "EQUAL" in seen
        and "USING" not in seen
        and first.text not in STATEMENTS
        and not option
    ):
        return errors.EqualsInExpression(token.span)
    return None


def _found(token: Token) -> str:
    if token.type == "$END":
        return "end of the statement"
    if token.type == "NUMBER":
        return f"number `{token.text}`"
    return f"`{token.text}`"


def _is_operand(accepted: frozenset[str]) -> bool:
    """Whether an expression can begin here."""
    return accepted >= {"NAME", "NUMBER", "LPAR"}


def _expected(accepted: frozenset[str]) -> str:
    """The terminals that can stand at a place, as a person would say it."""
    words: list[str] = []
    # Where any word may stand, the parser accepts every keyword by itself: none of them is worth naming.
    shown = ["EQUAL", "USING", "COMMA", "RPAR", "RSQB"] if "SSM" not in accepted else ["COMMA", "RPAR", "RSQB"]
    if _is_operand(accepted):
        words.append("an expression")
    elif "NUMBER" in accepted:
        words.append("an integer")
    elif "SSM" in accepted:
        words.append("a name")
    elif "NAME" in accepted:
        words.append("`reverse`" if "STAR" in accepted else "a kind")
    if "STAR" in accepted:
        words.append("an operator")
    if "ARROW" in accepted:
        words.append("`->`")
    words.extend(_SHOWN[name] for name in shown if name in accepted)
    if "$END" in accepted:
        words.append("the end of the statement")
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1] if words else "something else"
