"""What can be wrong with time: order of statements, delays, directions, equations, the past (E501 to E539)."""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.diagnostics import Label, Problem, did_you_mean
from ssmc.source import Span
from ssmc.step.errors_axes import quoted


@dataclass(frozen=True)
class ReadBeforeAssigned(Problem):
    name: str
    assigned: Span
    code = "E501"
    title = "`{name}` is read above its assignment"
    helps = ("move the assignment up; for the value of the step before write `prev({name})`",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.assigned, "assigned here"),)


@dataclass(frozen=True)
class InstantCycle(Problem):
    """`name` is being defined and reads `read`, whose definition comes back to it."""

    name: str
    read: str
    path: str
    assigned: Span
    code = "E502"
    title = "`{name}` depends on itself within one step"
    notes = ("{path}",)
    helps = ("break the circle with the value of the step before, `prev({read})`, or make `{read}` a state",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.assigned, "assigned here"),) if self.read != self.name else ()


@dataclass(frozen=True)
class CoefficientsVary(Problem):
    """`conv` weights or `transfer` coefficients that depend on the step."""

    what: str  # "the weights of `conv`"
    why: str  # "`u` is an input"
    code = "E504"
    title = "{what} must be the same at every step"
    label = "{why}"
    notes = ("it is a param, or computed from params",)


@dataclass(frozen=True)
class DirectionCycle(Problem):
    names: tuple[str, ...]
    other: Span | None
    code = "E505"
    title = "values that run forwards and backwards depend on each other"
    label = "needs the steps before"
    helps = ("let one direction finish first: it must not use the other's result",)

    def extra_notes(self) -> tuple[str, ...]:
        return (f"the circle is {quoted(self.names)}",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.other, "needs the steps after"),) if self.other else ()


@dataclass(frozen=True)
class UnknownMethod(Problem):
    name: str
    known: tuple[str, ...]
    code = "E506"
    title = "no method is called `{name}`"

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(self.name, self.known) or (f"there are {quoted(self.known)}",)


@dataclass(frozen=True)
class UnknownOption(Problem):
    name: str
    method: str
    known: tuple[str, ...]
    code = "E507"
    title = "`{method}` has no option `{name}`"

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(self.name, self.known) or (f"it has {quoted(self.known)}",)


@dataclass(frozen=True)
class OptionTwice(Problem):
    name: str
    first: Span
    code = "E508"
    title = "the option `{name}` is given twice"

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.first, "first here"),)


@dataclass(frozen=True)
class MissingOption(Problem):
    method: str
    option: str
    code = "E509"
    title = "`{method}` needs the option `{option}`"
    helps = ("write `{method}({option} = …)`",)


@dataclass(frozen=True)
class EquationNotAffine(Problem):
    state: str
    method: str
    reason: str
    code = "E510"
    title = "`{method}` needs an equation affine in `{state}`"
    label = "{reason}"
    helps = ("`euler` takes any equation; or write the discrete update yourself, `{state} = …`",)


@dataclass(frozen=True)
class HeldUnknown(Problem):
    """`y = -h`, then `h' = y using …`: y is held, and the equation has lost its unknown."""

    state: str
    name: str
    assigned: Span
    code = "E511"
    title = "the equation for `{state}` does not contain `{state}`"
    label = "holds the `{state}` of the step before"
    notes = ("names assigned above are held constant over the step",)
    helps = ("make it a function, which is written out where it is used: `{name}(x) = …`",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.assigned, f"`{self.name}` is computed from `{self.state}` here"),)


@dataclass(frozen=True)
class OnlyDelayed(Problem):
    """`h' = -prev(h) + x`."""

    state: str
    code = "E518"
    title = "the equation for `{state}` does not contain `{state}`"
    label = "contains only the `{state}` of the step before"
    helps = ("write `{state}` itself: that is the unknown",)


@dataclass(frozen=True)
class StepMixed(Problem):
    state: str
    axis: str
    code = "E512"
    title = "the step of `{state}` varies along `{axis}`, which the equation mixes"
    label = "has the axis `{axis}`"
    notes = ("elements that are coupled take steps of one length",)


@dataclass(frozen=True)
class StepComplex(Problem):
    option: str
    code = "E513"
    title = "the option `{option}` is a real number"
    label = "is complex"
    helps = ("take `real(…)` or `abs(…)` of it",)


@dataclass(frozen=True)
class GrowingDelay(Problem):
    axis: str
    what: str
    code = "E514"
    title = "{what} would grow with the number of steps"
    label = "has the axis `{axis}`, which holds all steps so far"

    def extra_helps(self) -> tuple[str, ...]:
        return (f"give the axis a size (`axis {self.axis} = 16`: the last 16 steps), or sum over it first",)


@dataclass(frozen=True)
class GrowingRenamed(Problem):
    axis: str
    other: str
    code = "E515"
    title = "`{axis}` holds all steps so far, and `{other}` has a size of its own"
    helps = ("give `{axis}` a size (`axis {axis} = 16`: the last 16 steps)",)


@dataclass(frozen=True)
class PastHasAxis(Problem):
    axis: str
    code = "E516"
    title = "`past[{axis}]` of a value that has the axis `{axis}`"
    label = "has `{axis}` already"
    helps = ("declare an axis for the steps: `axis T`, and write `past[T](…)`",)


@dataclass(frozen=True)
class Undetermined(Problem):
    function: str
    code = "E517"
    title = "the axes of this `{function}` cannot be found: each turn round the circle adds some"
    helps = ("give the delayed expression the axes of what it is a part of: sum over the others",)
