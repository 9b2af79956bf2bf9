"""What can be wrong with a call of a compiled spec (codes E701 to E759).

`span`, where there is one, is the declaration that the argument belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ssmc.diagnostics import Problem, UnknownName, did_you_mean, listed


def shape_text(shape: Iterable[object]) -> str:
    parts = [str(s) for s in shape]
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


# -- names -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnknownArgument(UnknownName):
    """A keyword that is neither an input, a param, nor one of the call's own, the `options`."""

    spec: str
    options: tuple[str, ...]

    code: ClassVar[str] = "E701"
    title: ClassVar[str] = "`{spec}` has no input or param `{name}`"
    listing: ClassVar[str] = "it takes"

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(self.name, (*self.known, *self.options))


@dataclass(frozen=True)
class MissingArguments(Problem):
    """Inputs, or params without a default, that the call left out."""

    names: tuple[str, ...]
    role: str
    spec: str
    packed: bool = False  # the first positional argument is a dictionary

    code: ClassVar[str] = "E702"
    title: ClassVar[str] = "the call of `{spec}` leaves out {role}"

    def extra_notes(self) -> tuple[str, ...]:
        return (f"missing: {listed(self.names)}",)

    def extra_helps(self) -> tuple[str, ...]:
        if self.packed:
            return ("a dictionary of arguments is passed as `**arguments`",)
        return (f"pass `{self.names[0]}=…`; `ssmc run` takes it from a file, `--input {self.names[0]}=FILE`",)


@dataclass(frozen=True)
class RandomDefault(Problem):
    """A param whose default is drawn: a call that drew it anew each time would not be a function."""

    name: str
    spec: str

    code: ClassVar[str] = "E703"
    title: ClassVar[str] = "the param `{name}` has a random default, and the call leaves it out"
    label: ClassVar[str] = "drawn at random"
    helps: ClassVar[tuple[str, ...]] = (
        "draw it once and pass it: `params = {spec}.init_params(sizes=…)`, then `{spec}(…, **params)`",
    )


@dataclass(frozen=True)
class TooManyArguments(Problem):
    given: int
    spec: str
    ports: tuple[str, ...]

    code: ClassVar[str] = "E704"
    title: ClassVar[str] = "the call of `{spec}` gives {given} positional arguments"

    def extra_notes(self) -> tuple[str, ...]:
        return (f"it takes {len(self.ports)}: {listed(self.ports)}",)


@dataclass(frozen=True)
class GivenTwice(Problem):
    name: str
    position: int

    code: ClassVar[str] = "E705"
    title: ClassVar[str] = "`{name}` is given twice: as positional argument {position} and by name"


# -- values ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NotAnArray(Problem):
    name: str
    why: str

    code: ClassVar[str] = "E706"
    title: ClassVar[str] = "`{name}` is not an array of numbers: {why}"
    helps: ClassVar[tuple[str, ...]] = ("pass a torch tensor, a numpy array, a number or a list of numbers",)


@dataclass(frozen=True)
class WrongRank(Problem):
    """A tensor with fewer (or, for a param, other) dimensions than the declaration says."""

    name: str
    expected: str
    given: str

    code: ClassVar[str] = "E707"
    title: ClassVar[str] = "`{name}` has the shape {given}; expected {expected}"
    label: ClassVar[str] = "declared here"


@dataclass(frozen=True)
class WrongKind(Problem):
    name: str
    kind: str
    dtype: str
    remedy: str

    code: ClassVar[str] = "E708"
    title: ClassVar[str] = "`{name}` is {kind} in the spec, and {dtype} in the call"
    label: ClassVar[str] = "declared here"
    helps: ClassVar[tuple[str, ...]] = ("{remedy}",)


@dataclass(frozen=True)
class DifferentDevices(Problem):
    name: str
    device: str
    other: str
    other_device: str

    code: ClassVar[str] = "E709"
    title: ClassVar[str] = "`{name}` is on {device}, and `{other}` on {other_device}"
    helps: ClassVar[tuple[str, ...]] = ("move one of them: `{name}.to({other}.device)`",)


@dataclass(frozen=True)
class DifferentLengths(Problem):
    name: str
    length: int
    other: str
    other_length: int

    code: ClassVar[str] = "E710"
    title: ClassVar[str] = "`{name}` has {length} time steps, and `{other}` has {other_length}"
    notes: ClassVar[tuple[str, ...]] = (
        "time is the dimension after the batch and before the axes: (batch…, L, axes…)",
    )


@dataclass(frozen=True)
class DifferentBatches(Problem):
    name: str
    batch: str
    other: str
    other_batch: str

    code: ClassVar[str] = "E711"
    title: ClassVar[str] = "the batch of `{name}` is {batch}, and that of `{other}` is {other_batch}"
    notes: ClassVar[tuple[str, ...]] = (
        "batch dimensions agree where they are equal, 1, or left out from the left, as in broadcasting",
    )


@dataclass(frozen=True)
class NeedsLength(Problem):
    spec: str

    code: ClassVar[str] = "E712"
    title: ClassVar[str] = "`{spec}` has no inputs, so the call must say how many steps to run"
    helps: ClassVar[tuple[str, ...]] = ("add `length=`",)


@dataclass(frozen=True)
class BadOption(Problem):
    """A keyword of the call with a value it cannot have."""

    option: str
    why: str

    code: ClassVar[str] = "E713"
    title: ClassVar[str] = "`{option}=` {why}"


# -- states ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnknownState(UnknownName):
    spec: str

    code: ClassVar[str] = "E714"
    title: ClassVar[str] = "`{spec}` has no state `{name}`"
    listing: ClassVar[str] = "its state has the entries"


@dataclass(frozen=True)
class BadTime(Problem):
    why: str

    code: ClassVar[str] = "E715"
    title: ClassVar[str] = "the entry `t` of the state {why}"
    notes: ClassVar[tuple[str, ...]] = ("`t` is the number of steps done: an int, or one a sequence",)


@dataclass(frozen=True)
class NoStep(Problem):
    """`span` is the reverse state or the `next`."""

    spec: str
    what: str

    code: ClassVar[str] = "E716"
    title: ClassVar[str] = "`{spec}` has no `step`: {what} runs from the last step to the first"
    label: ClassVar[str] = "needs the steps that come after"
    helps: ClassVar[tuple[str, ...]] = ("call it on the whole sequence",)


# -- packed and padded sequences ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class BadSegments(Problem):
    option: str
    why: str

    code: ClassVar[str] = "E720"
    title: ClassVar[str] = "`{option}=` {why}"
    notes: ClassVar[tuple[str, ...]] = (
        "packed: `cu_seqlens=[0, end of the first, …, L]` or `lengths=` that add up to L, for inputs (L, axes…) or "
        "(1, L, axes…)",
        "padded: `lengths=` with one entry a sequence, each at most L, for inputs (batch…, L, axes…)",
    )


# -- forms and backends ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoSuchBackend(UnknownName):
    code: ClassVar[str] = "E730"
    title: ClassVar[str] = "there is no backend `{name}` here"
    listing: ClassVar[str] = "this installation has"


# -- loading -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NotText(Problem):
    """What `compile` was given in place of the text of a spec."""

    what: str

    code: ClassVar[str] = "E742"
    title: ClassVar[str] = "`compile` takes the text of a spec, not {what}"
    helps: ClassVar[tuple[str, ...]] = ("`ssmc.load(path)` reads a file",)


@dataclass(frozen=True)
class NotAPath(Problem):
    """What `load` was given in place of the path of a file."""

    what: str

    code: ClassVar[str] = "E743"
    title: ClassVar[str] = "`load` takes the path of a file, not {what}"
    helps: ClassVar[tuple[str, ...]] = ("`ssmc.compile(text)` takes the text of a spec",)
