"""What can be wrong with kinds: complex, bool, int and real where another is needed (E401 to E419)."""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.diagnostics import Label, Problem
from ssmc.source import Span


@dataclass(frozen=True)
class ComplexOperand(Problem):
    operation: str
    code = "E401"
    title = "{operation} does not take complex numbers"
    label = "is complex"
    helps = ("take `real(…)`, `imag(…)` or `abs(…)` of it",)


@dataclass(frozen=True)
class NotBool(Problem):
    operation: str
    kind: str
    code = "E402"
    title = "{operation} needs true or false"
    label = "is {kind}"
    helps = ("compare it: `… != 0`, `… > 0`",)


@dataclass(frozen=True)
class Narrowing(Problem):
    """A complex value into a real state, a real one into an int output, and so on."""

    what: str  # "the state `h`"
    wanted: str
    kind: str
    declared: Span
    declaration: str  # "state h"
    code = "E403"
    title = "{what} is {wanted} and cannot hold a {kind} value"
    label = "is {kind}"

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.declared, f"is {self.wanted}"),)

    def extra_helps(self) -> tuple[str, ...]:
        if self.kind == "complex":
            return (f"declare it `{self.declaration} complex`, or take `real(…)`",)
        if self.wanted == "bool":
            return ("compare the value: `… != 0`", f"or leave `bool` out of `{self.declaration} bool`")
        return (f"leave `{self.wanted}` out of `{self.declaration} {self.wanted}`: it is then real",)


@dataclass(frozen=True)
class OutputNarrowing(Narrowing):
    """The same for an output that names a value: the fault is at the output."""

    label = "is {wanted}"

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.declared, f"is {self.kind}"),)


@dataclass(frozen=True)
class IntegerLiteral(Problem):
    what: str  # "the number of steps of `prev`"
    wanted: str  # "a whole number, at least 1"
    code = "E404"
    title = "{what} is {wanted}, written out"
    helps = ("write it as a literal, such as `2`",)
