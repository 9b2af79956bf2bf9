"""What can be wrong with the files and options a command is given (codes E901 to E929)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import ClassVar

from ssmc.diagnostics import Problem, UnknownName, did_you_mean, listed


@dataclass(frozen=True)
class CannotRead(Problem):
    """A file of data that the system does not give."""

    path: str
    why: str

    code: ClassVar[str] = "E901"
    title: ClassVar[str] = "cannot read `{path}`: {why}"
    near: tuple[str, ...] = ()

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(PurePath(self.path).name, self.near)


@dataclass(frozen=True)
class DamagedData(Problem):
    """A file whose content is not what its name says."""

    path: str
    kind: str
    why: str

    code: ClassVar[str] = "E903"
    title: ClassVar[str] = "`{path}` is not a readable {kind} file: {why}"
    remedy: str = ""

    def extra_helps(self) -> tuple[str, ...]:
        return (self.remedy,) if self.remedy else ()


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
class UnknownArray(UnknownName):
    """An array in the data whose name the spec does not declare; `origin` is a file and its verb, or an option."""

    origin: str

    code: ClassVar[str] = "E906"
    title: ClassVar[str] = "{origin} `{name}`, which is no input, param or state of the spec"
    listing: ClassVar[str] = "the spec takes"


@dataclass(frozen=True)
class UnknownKey(UnknownName):
    """`--input x=FILE:KEY` where the file has no such key."""

    path: str

    code: ClassVar[str] = "E907"
    title: ClassVar[str] = "`{path}` holds no `{name}`"
    listing: ClassVar[str] = "it holds"


@dataclass(frozen=True)
class TwoArrays(Problem):
    """The same name from two files."""

    name: str
    first: str
    second: str

    code: ClassVar[str] = "E908"
    title: ClassVar[str] = "`{name}` is given twice: by `{first}` and by `{second}`"
    helps: ClassVar[tuple[str, ...]] = ("leave one out, or take single arrays: --input NAME=FILE:KEY",)


@dataclass(frozen=True)
class BadCell(Problem):
    """A cell of a table that is not a number; `text` is how a person names its content."""

    path: str
    row: int
    column: str
    text: str

    code: ClassVar[str] = "E909"
    title: ClassVar[str] = "`{path}`, line {row}, column `{column}`: {text} is not a number"

    def extra_helps(self) -> tuple[str, ...]:
        if re.fullmatch(r"`[+-]?\d+,\d+`", self.text):
            return (f"write a decimal point: {self.text.replace(',', '.')}",)
        return ("a cell is a number, `nan` or `inf`",)


@dataclass(frozen=True)
class RaggedTable(Problem):
    """A row with more or fewer cells than the header."""

    path: str
    row: int
    found: int
    expected: int

    code: ClassVar[str] = "E910"
    title: ClassVar[str] = "`{path}`, line {row}: {found} cells, and {expected} are expected"
    helps: ClassVar[tuple[str, ...]] = ("every line has a cell for each column; one that is unknown is `nan`",)


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
class WouldOverwrite(Problem):
    """A copy that would replace a file of the user's."""

    path: str

    code: ClassVar[str] = "E914"
    title: ClassVar[str] = "`{path}` exists and differs; nothing was written"
    helps: ClassVar[tuple[str, ...]] = ("give another directory, or --force to replace it",)


@dataclass(frozen=True)
class NoSuchExample(UnknownName):
    """A name that none of the examples has."""

    code: ClassVar[str] = "E915"
    title: ClassVar[str] = "there is no example `{name}`"
    helps: ClassVar[tuple[str, ...]] = ("`ssmc examples` lists them",)

    def extra_notes(self) -> tuple[str, ...]:
        return ()  # they are too many


@dataclass(frozen=True)
class ManyColumns(Problem):
    """A table, or a sound, of several columns for an input that is one number a step."""

    path: str
    name: str
    keys: tuple[str, ...]

    code: ClassVar[str] = "E916"
    title: ClassVar[str] = "`{path}` has more than one column, and `{name}` is one number a step"
    helps: ClassVar[tuple[str, ...]] = ("choose a column: --input {name}={path}:KEY",)

    def extra_notes(self) -> tuple[str, ...]:
        return (f"its columns are {listed(self.keys)}",)


@dataclass(frozen=True)
class TooFewAxes(Problem):
    """A table, or a sound, without column names for an input of several axes."""

    path: str
    name: str
    rank: int

    code: ClassVar[str] = "E917"
    title: ClassVar[str] = "`{path}` has one column after the other, and `{name}` has {rank} axes"
    helps: ClassVar[tuple[str, ...]] = ("name the columns by their places (`{name}_0_0`, …), or give an .npz",)


@dataclass(frozen=True)
class TwoColumns(Problem):
    """Two columns with one name, and it is asked for."""

    path: str
    name: str

    code: ClassVar[str] = "E918"
    title: ClassVar[str] = "`{path}` has the column `{name}` twice"
    helps: ClassVar[tuple[str, ...]] = ("rename one of them",)
