"""Lexemes that the language does not have: each is reported with what stands for it."""

from __future__ import annotations

import unicodedata

from ssmc.diagnostics import Problem, Report
from ssmc.syntax import errors
from ssmc.syntax.characters import LOOK_ALIKE, name_of
from ssmc.syntax.layout import STATEMENT_WORDS, Token

_FOREIGN = {
    "^": "a power is written `**`",
    "^=": "a power is written `**`, and each name is assigned once",
    "**=": "each name is assigned once: write `name = …`",
    ":=": "assignment is written `=`",
    "&&": "write `and`",
    "||": "write `or`",
    "&": "write `and`",
    "|": "write `or`; absolute values are written `abs(x)`",
    "!": "write `not`",
    "~": "write `not`",
    "%": "write `mod(a, b)`",
    "//": "write `floor(a / b)`; comments begin with `#`",
    "=>": "write `>=` to compare; `->` renames an axis",
    "=<": "write `<=`",
    "<>": "write `!=`",
    ":": "a choice is written `where(c, a, b)`",
    "?": "a choice is written `where(c, a, b)`",
    "{": "the language has no braces: brackets are `( )` and `[ ]`",
    "}": "the language has no braces: brackets are `( )` and `[ ]`",
    "\\": "a line goes on after an operator, `=` or `,`, and inside brackets",
    "$": "names are letters, digits and `_`",
    "`": "a derivative is written `h'`",
    ".": "a sum over a shared axis is `a · b` or `dot(a, b)`; a dot stands in numbers and in tables (`hippo.legs`)",
}


def report_lexemes(tokens: tuple[Token, ...], report: Report) -> bool:
    """Report each wrong lexeme of a statement once; whether there was one."""
    before: Token | None = None
    damaged: Token | None = None
    for token in tokens:
        left = before if before is not None and before.span.end == token.span.start else None
        before = token
        if token.type in ("STRING", "FOREIGN", "OTHER"):
            # A run of the same wrong character, such as a line of dashes, is one mistake.
            if left is None or left.text[-1:] != token.text[:1]:
                report.add(_problem(token, tokens))
            damaged = token
        elif left is not None and _makes_bad_number(left, token):
            if left is not damaged:
                whole = left.span.to(token.span)
                report.add(errors.MalformedNumber(whole, _short(whole.text), _number_remedy(left.text, token.text)))
            damaged = token
    return damaged is not None


def _makes_bad_number(left: Token, right: Token) -> bool:
    words = ("NUMBER", "NAME", "DOTTED")
    if left.type == "NUMBER":
        return right.type in words or right.text[0].isalpha()
    return left.type in words and right.type == "NUMBER"


def _number_remedy(left: str, right: str) -> str:
    if left == "0" and right[0] in "xXbBoO":
        return "numbers are decimal"
    if right[0] == "_":
        return "write the digits without `_`"
    if right == "J":
        return "the imaginary unit is a small `j`"
    if right in ("i", "I"):
        return f"the imaginary unit is `j`: `{left}j`"
    if right[0] == "." or left[-1] == ".":
        return "a number has one decimal point"
    if right[0] in "eE" and right[1:].strip("0123456789") == "":
        return f"an exponent has digits: `{left}e0`"
    return f"write `{left}*{right}` for a product; a name begins with a letter"


def _colon(tokens: tuple[Token, ...], token: Token) -> str | None:
    """What stands for a colon at this place of a statement, where that says more than the colon itself."""
    place = next(i for i, t in enumerate(tokens) if t is token)
    depth = sum((t.type == "LSQB") - (t.type == "RSQB") for t in tokens[:place])
    if depth > 0:
        return "there are no slices: `x[J = 0]` is one element, `shift[J](x)` moves all"
    if tokens[0].type == "SSM":
        return "leave it out: the spec goes on to the next line `ssm NAME`"
    if tokens[0].type in STATEMENT_WORDS:
        return "axes and kind follow the name: `x[N] bool`"
    return None


def _problem(token: Token, tokens: tuple[Token, ...]) -> Problem:
    text = token.text
    if token.type == "STRING":
        return errors.StringInSpec(token.span)
    character = text[0]
    if text == ":" and (instead := _colon(tokens, token)) is not None:
        return errors.ForeignOperator(token.span, text, instead)
    if text == "\\" and any(t.type == "NAME" and t.span.start == token.span.end for t in tokens):
        return errors.ForeignOperator(token.span, text, "Greek letters are written as letters: `α`, or `alpha`")
    if text in _FOREIGN:
        return errors.ForeignOperator(token.span, text, _FOREIGN[text])
    if token.type == "FOREIGN":
        return errors.ForeignOperator(
            token.span, text, f"each name is assigned once: write `name = name {text[:-1]} …`"
        )
    if character in LOOK_ALIKE:
        return errors.LookAlike(token.span, character, *_names(character), LOOK_ALIKE[character])
    if character in "“”″„‟＂":
        return errors.StringInSpec(token.span)
    if not character.isprintable() and character != " ":
        return errors.InvisibleCharacter(token.span, name_of(character))
    folded = unicodedata.normalize("NFKC", character)
    if unicodedata.decomposition(character).startswith("<super>"):
        right = f"**{folded}" if folded.isdigit() else folded
        return errors.LookAlike(token.span, character, *_names(character), right)
    bare = unicodedata.normalize("NFD", character)[0]
    if bare != character and (bare.isascii() or "α" <= bare.lower() <= "ω"):
        return errors.LookAlike(token.span, character, *_names(character), bare)
    if folded != character and folded.isascii() and folded.isprintable():
        return errors.LookAlike(token.span, character, *_names(character), folded)
    return errors.UnexpectedCharacter(token.span, character, name_of(character))


def _names(character: str) -> tuple[str, str]:
    return f"U+{ord(character):04X}", name_of(character)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "…"
