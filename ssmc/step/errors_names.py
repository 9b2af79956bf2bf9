"""What can be wrong with names: declarations, macros, reading and assigning (E201 to E239; warnings W201 to W204)."""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.diagnostics import Label, Problem, did_you_mean
from ssmc.source import Span


@dataclass(frozen=True)
class UndefinedName(Problem):
    name: str
    known: tuple[str, ...]
    is_also: str | None  # "an axis", "a function": another namespace that has the name
    code = "E201"
    title = "no value is called `{name}`"

    def extra_notes(self) -> tuple[str, ...]:
        match self.is_also:
            case "an axis":
                return (f"`{self.name}` is an axis: axes stand in brackets; its length is `size[{self.name}]`",)
            case "a function":
                return (f"`{self.name}` is a function: it needs its arguments, `{self.name}(…)`",)
            case _:
                return ()

    def extra_helps(self) -> tuple[str, ...]:
        if self.is_also:
            return ()
        if self.name.casefold() in ("infinity", "infty"):
            return ("did you mean `inf`?",)
        return did_you_mean(self.name, self.known) or (f"declare it (`input {self.name}`) or assign it above",)


@dataclass(frozen=True)
class UndefinedFunction(Problem):
    name: str
    known: tuple[str, ...]
    is_value: bool
    code = "E202"
    title = "no function is called `{name}`"

    def extra_notes(self) -> tuple[str, ...]:
        return (f"`{self.name}` is a value; write `*` for a product",) if self.is_value else ()

    def extra_helps(self) -> tuple[str, ...]:
        return () if self.is_value else did_you_mean(self.name, self.known)


@dataclass(frozen=True)
class NotAQuery(Problem):
    """`length[N]`: only two functions take an axis alone."""

    name: str
    is_function: bool
    is_value: bool
    code = "E229"
    title = "`{name}` is not asked of an axis alone"
    helps = ("`size[N]` is the length of an axis, `index[N]` counts along it",)

    def extra_helps(self) -> tuple[str, ...]:
        if self.is_value:
            return (f"a value stands without axes and without `[t]`: `{self.name}` is the whole of it at this step",)
        if self.is_function:
            return (f"give `{self.name}` what it works on: `{self.name}[N](e)`",)
        return did_you_mean(self.name, ("size", "index"))


@dataclass(frozen=True)
class UndefinedAxis(Problem):
    name: str
    known: tuple[str, ...]
    code = "E203"
    title = "no axis is called `{name}`"

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(self.name, self.known) or (f"declare it: `axis {self.name}`",)


@dataclass(frozen=True)
class NameTwice(Problem):
    name: str
    first: Span
    code = "E204"
    title = "`{name}` is defined twice"
    label = "again here"
    notes = ("each name has one definition: a step has no variables that change",)
    helps = ("give the second value a name of its own",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.first, "first here"),)


@dataclass(frozen=True)
class AxisTwiceDeclared(Problem):
    name: str
    first: Span
    code = "E205"
    title = "the axis `{name}` is declared twice"
    helps = ("leave one of them out",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.first, "first here"),)


@dataclass(frozen=True)
class AssignToGiven(Problem):
    name: str
    role: str
    declared: Span
    code = "E206"
    title = "`{name}` is {role}: the caller gives its value"
    label = "assigned here"
    helps = ("assign to another name",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.declared, f"declared {self.role} here"),)


@dataclass(frozen=True)
class StateTwice(Problem):
    name: str
    first: Span
    code = "E207"
    title = "the state `{name}` is assigned twice"
    label = "again here"
    notes = ("a state takes one new value a step",)
    helps = ("name the first value (`D = …`) and use that name in the one assignment of `{name}`",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.first, "first here"),)


@dataclass(frozen=True)
class StateNeverAssigned(Problem):
    name: str
    code = "E208"
    title = "the state `{name}` is never assigned"
    helps = ("write `{name} = …`; a value that never changes is a `param`",)


@dataclass(frozen=True)
class NoOutputs(Problem):
    name: str
    code = "E209"
    title = "the spec `{name}` has no output"
    helps = ("name a value to give back: `output y`",)


@dataclass(frozen=True)
class OutputUnknown(Problem):
    name: str
    known: tuple[str, ...]
    code = "E210"
    title = "the output `{name}` has no value"
    label = "no value of this name"

    def extra_helps(self) -> tuple[str, ...]:
        return (*did_you_mean(self.name, self.known), f"write `output {self.name} = …`, or assign `{self.name}`")


@dataclass(frozen=True)
class OutputTwice(Problem):
    name: str
    first: Span
    code = "E211"
    title = "`{name}` is an output twice"
    helps = ("leave one of them out",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.first, "first here"),)


@dataclass(frozen=True)
class MacroRecursion(Problem):
    name: str
    path: str
    code = "E212"
    title = "the function `{name}` calls itself"
    notes = ("{path}", "a function is written out where it is called, so it cannot be recursive")
    helps = ("recursion over time is a `state`, or `prev`",)


@dataclass(frozen=True)
class MacroTwice(Problem):
    name: str
    first: Span
    code = "E213"
    title = "the function `{name}` is defined twice"
    helps = ("give the second a name of its own",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.first, "first here"),)


@dataclass(frozen=True)
class MacroIsBuiltin(Problem):
    name: str
    code = "E214"
    title = "`{name}` is a function of the language"
    helps = ("give your function another name",)


@dataclass(frozen=True)
class FormalTwice(Problem):
    name: str
    first: Span
    code = "E215"
    title = "two formals are called `{name}`"

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.first),)


@dataclass(frozen=True)
class ArgumentCount(Problem):
    name: str
    wanted: str
    given: int
    usage: str
    declared: Span | None = None
    code = "E216"
    title = "`{name}` takes {wanted}, given {given}"
    helps = ("write `{usage}`",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.declared, "defined here"),) if self.declared else ()


@dataclass(frozen=True)
class BracketCount(Problem):
    """`f[N](x)` of a function that takes no axes, or another number of them."""

    name: str
    wanted: str
    given: str
    usage: str
    declared: Span | None = None
    code = "E217"
    title = "`{name}` takes {wanted} in brackets, given {given}"
    helps = ("write `{usage}`",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.declared, "defined here"),) if self.declared else ()


@dataclass(frozen=True)
class NotAState(Problem):
    name: str
    known: tuple[str, ...]
    code = "E218"
    title = "`{name}'` needs a state, and `{name}` is none"

    def extra_helps(self) -> tuple[str, ...]:
        return (*did_you_mean(self.name, self.known), f"declare it: `state {self.name}[…] = 0`")


@dataclass(frozen=True)
class ExpansionTooLarge(Problem):
    name: str
    code = "E219"
    title = "the spec grows without end when its functions are written out"
    label = "in this call of `{name}`"
    helps = ("name intermediate values: a name is computed once, a function once for each call",)


@dataclass(frozen=True)
class NotConstant(Problem):
    """An initial value, a default or the like that depends on a step."""

    what: str  # "the initial value of `h`"
    why: str  # "`u` is an input"
    code = "E220"
    title = "{what} depends on the step"
    label = "{why}"
    notes = ("it is made of params, values computed from params only, numbers and initialisers",)


@dataclass(frozen=True)
class DefaultCycle(Problem):
    name: str
    path: str
    code = "E221"
    title = "the default of `{name}` depends on itself"
    notes = ("{path}",)
    helps = ("leave one of these params without a default: the caller then passes it",)


@dataclass(frozen=True)
class UnknownTable(Problem):
    name: str
    known: tuple[str, ...]
    code = "E222"
    title = "no initialiser is called `{name}`"

    def extra_helps(self) -> tuple[str, ...]:
        if self.name.endswith((".T", ".mT", ".t")):
            return (f"the transpose is written `transpose({self.name.rpartition('.')[0]})`",)
        return did_you_mean(self.name, self.known) or ("there are " + ", ".join(f"`{k}`" for k in self.known),)


@dataclass(frozen=True)
class InitialiserMisplaced(Problem):
    name: str
    where: str
    code = "E223"
    title = "`{name}` only stands in {where}"
    helps = ("declare `param p[…] = {name}` and use `p` here",)


@dataclass(frozen=True)
class TableAxes(Problem):
    name: str
    wanted: str  # "a square param, `[…, N, N]`"
    param: str
    declared: Span
    code = "E224"
    title = "`{name}` fills {wanted}"

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.declared, f"`{self.param}` is declared here"),)


@dataclass(frozen=True)
class SizeForm(Problem):
    what: str
    code = "E225"
    title = "the size of an axis cannot hold {what}"
    helps = ("a size is made of whole numbers, other axes and `+ - * /`: `axis N = 2*P`",)


@dataclass(frozen=True)
class SizeCycle(Problem):
    path: str
    code = "E226"
    title = "the sizes of these axes depend on one another"
    notes = ("{path}",)
    helps = ("leave one of them without a size: the tensors of the call give it",)


@dataclass(frozen=True)
class SizeNotPositive(Problem):
    name: str
    value: str
    code = "E227"
    title = "the axis `{name}` has size {value}"
    helps = ("a size is a whole number, at least 1",)


@dataclass(frozen=True)
class OutputTakesName(Problem):
    """`output h = e` where h is an input, a param or a state."""

    name: str
    role: str
    declared: Span
    code = "E228"
    title = "`{name}` is {role} already"
    label = "defined again here"
    helps = ("assign the value first and write `output {name}`, or name the output otherwise",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.declared, f"{self.role} here"),)


@dataclass(frozen=True)
class Unused(Problem):
    what: str  # "the input `u`"
    code = "W201"
    title = "{what} is never used"
    severity = "warning"
