"""What can be wrong with the files and options a command is given (codes E901 to E929)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ssmc.diagnostics import Problem, did_you_mean


def listed(names: Iterable[str]) -> str:
    """`a`, `b` and `c`; or `nothing`."""
    quoted = [f"`{name}`" for name in names]
    if not quoted:
        return "nothing"
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


@dataclass(frozen=True)
class CannotRead(Problem):
    """A file of data that the system does not give."""

    path: str
    why: str

    code: ClassVar[str] = "E901"
    title: ClassVar[str] = "cannot read `{path}`: {why}"


@dataclass(frozen=True)
class CannotWrite(Problem):
    """An output that the system does not take; nothing was written."""

    path: str
    why: str

    code: ClassVar[str] = "E902"
    title: ClassVar[str] = "cannot write `{path}`: {why}"


@dataclass(frozen=True)
class DamagedData(Problem):
    """A file whose content is not what its name says."""

    path: str
    kind: str
    why: str

    code: ClassVar[str] = "E903"
    title: ClassVar[str] = "`{path}` is not a readable {kind} file: {why}"


@dataclass(frozen=True)
class UnknownFormat(Problem):
    """A suffix that is not in the table of formats."""

    path: str
    formats: str

    code: ClassVar[str] = "E904"
    title: ClassVar[str] = "`{path}`: the format is told by the suffix, and this one is not known"
    helps: ClassVar[tuple[str, ...]] = ("the formats are {formats}",)


@dataclass(frozen=True)
class NeedsName(Problem):
    """One array, and several names it could have."""

    path: str
    names: tuple[str, ...]

    code: ClassVar[str] = "E905"
    title: ClassVar[str] = "`{path}` holds one array, and the spec has several it could be"
    helps: ClassVar[tuple[str, ...]] = ("say which: --input NAME={path}",)

    def extra_notes(self) -> tuple[str, ...]:
        return (f"the spec has {listed(self.names)}",)


@dataclass(frozen=True)
class UnknownArray(Problem):
    """An array in the data whose name the spec does not declare."""

    name: str
    path: str
    names: tuple[str, ...]

    code: ClassVar[str] = "E906"
    title: ClassVar[str] = "`{path}` holds `{name}`, which the spec does not declare"

    def extra_notes(self) -> tuple[str, ...]:
        return (f"the spec takes {listed(self.names)}",)

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(self.name, self.names)


@dataclass(frozen=True)
class UnknownKey(Problem):
    """`--input x=FILE:KEY` where the file has no such key."""

    key: str
    path: str
    names: tuple[str, ...]

    code: ClassVar[str] = "E907"
    title: ClassVar[str] = "`{path}` holds no `{key}`"

    def extra_notes(self) -> tuple[str, ...]:
        return (f"it holds {listed(self.names)}",)

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(self.key, self.names)


@dataclass(frozen=True)
class TwoArrays(Problem):
    """The same name from two files."""

    name: str
    first: str
    second: str

    code: ClassVar[str] = "E908"
    title: ClassVar[str] = "`{name}` is given twice: by `{first}` and by `{second}`"


@dataclass(frozen=True)
class BadCell(Problem):
    """A cell of a table that is not a number."""

    path: str
    row: int
    column: str
    text: str

    code: ClassVar[str] = "E909"
    title: ClassVar[str] = "`{path}`, line {row}, column `{column}`: {text} is not a number"


@dataclass(frozen=True)
class RaggedTable(Problem):
    """A row with more or fewer cells than the header."""

    path: str
    row: int
    found: int
    expected: int

    code: ClassVar[str] = "E910"
    title: ClassVar[str] = "`{path}`, line {row}: {found} cells, and {expected} are expected"


@dataclass(frozen=True)
class ColumnGap(Problem):
    """`x_0` and `x_2` without `x_1`."""

    path: str
    name: str
    missing: str

    code: ClassVar[str] = "E911"
    title: ClassVar[str] = "`{path}`: the columns of `{name}` leave out `{missing}`"
    notes: ClassVar[tuple[str, ...]] = ("the columns of an array count from 0 along each axis",)


@dataclass(frozen=True)
class NotStorable(Problem):
    """A kind of number that the chosen format has no room for."""

    path: str
    name: str
    dtype: str
    other: str

    code: ClassVar[str] = "E912"
    title: ClassVar[str] = "`{path}` cannot hold `{name}`: the format has no {dtype}"
    helps: ClassVar[tuple[str, ...]] = ("write {other}",)


@dataclass(frozen=True)
class NoSuchBackend(Problem):
    """A backend that is not in this installation."""

    name: str
    available: tuple[str, ...]

    code: ClassVar[str] = "E913"
    title: ClassVar[str] = "there is no backend `{name}` in this installation of ssmc"

    def extra_notes(self) -> tuple[str, ...]:
        return (f"there is {listed(self.available)}",)


@dataclass(frozen=True)
class WouldOverwrite(Problem):
    """A copy that would replace a file of the user's."""

    path: str

    code: ClassVar[str] = "E914"
    title: ClassVar[str] = "`{path}` exists and differs; nothing was written"
    helps: ClassVar[tuple[str, ...]] = ("give another directory, or --force to replace it",)


@dataclass(frozen=True)
class NoSuchExample(Problem):
    """A name that none of the examples has."""

    name: str
    names: tuple[str, ...]

    code: ClassVar[str] = "E915"
    title: ClassVar[str] = "there is no example `{name}`"
    helps: ClassVar[tuple[str, ...]] = ("`ssmc examples` lists them",)

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(self.name, self.names)
