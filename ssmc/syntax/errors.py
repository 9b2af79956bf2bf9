"""What can be wrong with the text of a spec (E010 to E049). Reading files has its own, in reader.py."""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.diagnostics import Label, Problem, did_you_mean
from ssmc.source import Span
from ssmc.syntax import limits

# -- characters and lexemes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnexpectedCharacter(Problem):
    character: str
    described: str
    code = "E010"
    title = "the language has no character `{character}`"
    label = "{described}"


@dataclass(frozen=True)
class InvisibleCharacter(Problem):
    described: str
    code = "E016"
    title = "an invisible character that the language does not have"
    label = "{described}"
    helps = ("delete it; it probably came with a copied text",)


@dataclass(frozen=True)
class LookAlike(Problem):
    character: str
    code_point: str
    described: str
    right: str
    code = "E011"
    title = "`{character}` ({code_point}) is not in the language; write `{right}`"
    label = "{described}"


@dataclass(frozen=True)
class ForeignOperator(Problem):
    """An operator of other languages. `remedy` says what stands for it here."""

    text: str
    remedy: str
    code = "E012"
    title = "`{text}` is not an operator of the language"
    helps = ("{remedy}",)


@dataclass(frozen=True)
class StringInSpec(Problem):
    code = "E013"
    title = "the language has no strings"
    label = "names are written without quotes"


@dataclass(frozen=True)
class MalformedNumber(Problem):
    text: str
    remedy: str
    code = "E014"
    title = "`{text}` is not a number"
    helps = ("{remedy}",)
    notes = ("numbers are written `1`, `1.`, `.5`, `1e-3` or `2j`",)


@dataclass(frozen=True)
class NumberOutOfRange(Problem):
    text: str
    why: str
    remedy: str
    code = "E015"
    title = "the number is {why}"
    helps = ("{remedy}",)


# -- statements and brackets -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unexpected(Problem):
    """The parser met `found` where only `expected` (in words) can stand."""

    found: str
    expected: str
    hints: tuple[str, ...] = ()
    related: tuple[Label, ...] = ()
    code = "E020"
    title = "unexpected {found}"
    label = "expected {expected}"

    def secondary(self) -> tuple[Label, ...]:
        return self.related

    def extra_helps(self) -> tuple[str, ...]:
        return self.hints


@dataclass(frozen=True)
class UnclosedBracket(Problem):
    opening: str
    closing: str
    code = "E021"
    title = "this `{opening}` is never closed"
    label = "its `{closing}` is missing"


@dataclass(frozen=True)
class NothingToClose(Problem):
    closing: str
    code = "E022"
    title = "`{closing}` closes nothing"
    label = "no bracket is open here"


@dataclass(frozen=True)
class MismatchedBracket(Problem):
    closing: str
    opening_span: Span
    opening: str
    code = "E023"
    title = "`{closing}` does not close `{opening}`"
    label = "closes another kind of bracket"

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.opening_span, "opened here"),)


@dataclass(frozen=True)
class SemicolonInBracket(Problem):
    opening_span: Span
    opening: str
    code = "E024"
    title = "`;` inside a bracket"
    label = "ends the statement while `{opening}` is open"
    helps = ("separate arguments with `,`, or close the bracket first",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.opening_span, "opened here"),)


@dataclass(frozen=True)
class LineBeginsWithOperator(Problem):
    operator: str
    code = "E025"
    title = "a statement cannot begin with `{operator}`"
    label = "the line before was already complete"
    helps = ("move `{operator}` to the end of the line before, or put the expression in parentheses",)


@dataclass(frozen=True)
class UnknownStatement(Problem):
    """`inptu x`: a word, then another."""

    word: str
    known: tuple[str, ...]
    code = "E026"
    title = "`{word}` does not begin a statement"
    notes = ("statements begin with `axis`, `each`, `input`, `param`, `state`, `output`, or are `name = expression`",)

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(self.word.lower(), self.known)


@dataclass(frozen=True)
class EqualsInExpression(Problem):
    code = "E027"
    title = "`=` inside an expression"
    label = "expected an operator or the end of the statement"
    helps = ("`==` compares; an assignment is a statement of its own",)


@dataclass(frozen=True)
class MisplacedPrime(Problem):
    code = "E028"
    title = "`'` only stands after a state on the left of `=`"
    label = "a derivative is written `h' = … using zoh(step = dt)`"


@dataclass(frozen=True)
class ControlFlow(Problem):
    word: str
    remedy: str
    code = "E029"
    title = "the language has no `{word}`"
    helps = ("{remedy}",)


@dataclass(frozen=True)
class MissingMethod(Problem):
    state: str
    code = "E043"
    title = "the equation for `{state}'` names no method"
    label = "expected `using` at the end"
    helps = ("end it with `using zoh(step = …)`, `bilinear`, `backward_euler`, `euler` or `gbt(alpha = …)`",)


@dataclass(frozen=True)
class MethodWithoutPrime(Problem):
    name: str
    code = "E044"
    title = "`using` belongs to an equation"
    label = "`{name}` is assigned, not differentiated"
    helps = ("write `{name}' = … using …` for a continuous-time equation, or leave `using …` out",)


# -- names -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReservedName(Problem):
    name: str
    why: str
    code = "E030"
    title = "`{name}` cannot name a value"
    label = "{why}"
    helps = ("choose another name, such as `{name}_`",)


@dataclass(frozen=True)
class KeywordAsValue(Problem):
    name: str
    code = "E047"
    title = "`{name}` is a word of the language, not a value"


@dataclass(frozen=True)
class OutputName(Problem):
    name: str
    why: str
    code = "E031"
    title = "`{name}` cannot name an output"
    label = "{why}"
    notes = ("outputs are fields of the named tuple that a call returns",)


# -- what the grammar lets through and the language does not -----------------------------------------------------


@dataclass(frozen=True)
class ChainedComparison(Problem):
    left: str
    first: str
    middle: str
    second: str
    right: str
    code = "E032"
    title = "comparisons are not chained"
    label = "a second comparison"
    helps = ("write `{left} {first} {middle} and {middle} {second} {right}`",)


@dataclass(frozen=True)
class LeftSide(Problem):
    what: str
    remedy: str
    code = "E033"
    title = "{what} cannot stand left of `=`"
    label = "expected a name, `f(x)`, `f[K](x)` or `h'`"
    helps = ("{remedy}",)


@dataclass(frozen=True)
class NotAFunction(Problem):
    dotted: str = ""  # `torch.sigmoid`, `x.mean`
    code = "E034"
    title = "only a function's name can be called"
    label = "this is an expression"

    def extra_helps(self) -> tuple[str, ...]:
        if self.dotted:
            function = self.dotted.rpartition(".")[2]
            return (f"functions are written by name: `{function}(x)`; there are no modules and no methods",)
        return ("write `*` to multiply",)


@dataclass(frozen=True)
class BracketContents(Problem):
    what: str
    remedy: str
    code = "E035"
    title = "{what}"
    helps = ("{remedy}",)


@dataclass(frozen=True)
class PickIndex(Problem):
    text: str
    code = "E036"
    title = "`{text}` cannot pick an element"
    label = "expected an integer, such as `0` or `-1`"


@dataclass(frozen=True)
class UnknownKind(Problem):
    word: str
    known: tuple[str, ...]
    code = "E037"
    title = "`{word}` is not a kind of value"
    label = "expected {expected}"
    expected: str = "`complex`, `bool`, `int`, `=`, or `reverse` for a state"

    def extra_helps(self) -> tuple[str, ...]:
        if self.word in ("real", "float", "double", "float32", "float64"):
            return ("leave it out: values are real unless they say otherwise",)
        return did_you_mean(self.word.lower(), self.known) or (f"separate two names with `,`: `…, {self.word}`",)


@dataclass(frozen=True)
class MisplacedPart(Problem):
    """A part of a declarator that its role does not have, or has elsewhere, or twice."""

    what: str
    remedy: str
    code = "E038"
    title = "{what}"
    helps = ("{remedy}",)


@dataclass(frozen=True)
class Formals(Problem):
    what: str
    remedy: str
    code = "E039"
    title = "{what}"
    helps = ("{remedy}",)


@dataclass(frozen=True)
class TooDeep(Problem):
    code = "E040"
    title = f"the expression is nested more than {limits.MAX_DEPTH} deep"
    label = "this deep"
    notes = ("a sum or product of n terms counts n",)
    helps = ("name a part of it: `part = …`",)


@dataclass(frozen=True)
class OutsideSpec(Problem):
    code = "E041"
    title = "a statement before the first `ssm NAME`"
    label = "belongs to no spec"
    helps = ("begin the file with a line `ssm NAME`",)


@dataclass(frozen=True)
class DuplicateSpec(Problem):
    name: str
    first: Span
    code = "E042"
    title = "two specs of this file are called `{name}`"

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.first, "the first"),)


@dataclass(frozen=True)
class NoSpec(Problem):
    what: str
    code = "E045"
    title = "{what}"
    helps = ("a spec begins with a line `ssm NAME`",)


@dataclass(frozen=True)
class TextTooLong(Problem):
    length: int
    code = "E046"
    title = f"the text has {{length}} characters; a spec file has at most {limits.MAX_CHARACTERS}"
