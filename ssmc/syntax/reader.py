"""Files to sources: what stands in the way of reading one is a diagnostic (E001 to E008), never a traceback."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from ssmc.diagnostics import Problem, SpecError, UnknownName, did_you_mean
from ssmc.source import Source, Span
from ssmc.syntax import limits, nodes

_MAX_BYTES = 4 * limits.MAX_CHARACTERS


@dataclass(frozen=True)
class FileMissing(Problem):
    path: str
    near: tuple[str, ...]
    code = "E001"
    title = "there is no file `{path}`"

    def extra_helps(self) -> tuple[str, ...]:
        name = Path(self.path).name
        if name in self.near:
            return ("it is a link to a file that is not there",)
        return did_you_mean(name, self.near)


@dataclass(frozen=True)
class NotAFile(Problem):
    path: str
    code = "E002"
    title = "`{path}` is a directory"
    helps = ("name one file in it",)


@dataclass(frozen=True)
class Unreadable(Problem):
    path: str
    reason: str
    code = "E003"
    title = "`{path}` cannot be read: {reason}"


@dataclass(frozen=True)
class NotText(Problem):
    path: str
    why: str
    code = "E004"
    title = "`{path}` is not a text file"
    notes = ("{why}",)
    helps = ("specs are plain text in UTF-8",)


@dataclass(frozen=True)
class NotUtf8(Problem):
    """`span` covers the first byte that is not UTF-8, shown as a replacement character."""

    path: str
    byte: str
    code = "E005"
    title = "`{path}` is not in UTF-8"
    label = "byte {byte}"
    helps = ("save the file as UTF-8",)


@dataclass(frozen=True)
class FileTooLarge(Problem):
    path: str
    size: str
    code = "E007"
    title = "`{path}` is too large for a spec: {size}"
    notes = (f"a spec file has at most {_MAX_BYTES} bytes",)


@dataclass(frozen=True)
class SpecMissing(UnknownName):
    path: str
    code = "E008"
    title = "`{path}` has no spec `{name}`"
    listing = "it has"


@dataclass(frozen=True)
class SpecNotChosen(Problem):
    """`choices` is what to write for each of the specs."""

    path: str
    count: int
    choices: tuple[str, ...]
    code = "E009"
    title = "`{path}` has {count} specs"

    def extra_helps(self) -> tuple[str, ...]:
        return ("choose one: " + ", ".join(f"`{choice}`" for choice in self.choices),)


def read(path: str | Path) -> Source:
    """The source in a file, named by the path as given. Raises `SpecError` with one diagnostic."""
    path = Path(path)
    shown = str(path)
    try:
        if path.is_dir():
            raise SpecError([NotAFile(None, shown)])
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            size = path.stat().st_size
            raise SpecError([FileTooLarge(None, shown, f"{size} bytes" if size else "it does not end")])
    except FileNotFoundError:
        raise SpecError([FileMissing(None, shown, _neighbours(path))]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError([Unreadable(None, shown, reason)]) from None
    return decode(shown, data)


def decode(name: str, data: bytes) -> Source:
    """The source with these bytes. Raises `SpecError` where they are not UTF-8 text."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SpecError([NotText(None, name, "it looks like UTF-16")])
    if b"\0" in data:
        raise SpecError([NotText(None, name, f"byte {data.index(0)} is NUL")])
    try:
        return Source(name, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        source = Source(name, data.decode("utf-8", "replace"))
        at = len(data[: error.start].decode("utf-8"))
        span = Span(source, at, at + 1)
        raise SpecError([NotUtf8(span, name, f"0x{data[error.start]:02X}")]) from None


def _neighbours(path: Path) -> tuple[str, ...]:
    try:
        return tuple(p.name for p in path.parent.glob("*.ssm"))
    except OSError:
        return ()


def read_spec_argument(text: str) -> tuple[str, str | None]:
    """`file.ssm:name` as path and name; the name is None without one. A path that exists is a path, colons and all."""
    match = re.fullmatch(r"(.+):(\w+)", text, re.DOTALL)
    if match is None:
        return text, None
    try:
        exists = Path(text).exists()
    except (OSError, ValueError):
        exists = False
    return (text, None) if exists else (match[1], match[2])


def choose_spec(file: nodes.File, name: str | None, choice: str = "{file}:{name}") -> nodes.Spec:
    """The spec of that name, or the only one. Raises `SpecError`.

    `choice` is what a caller writes to choose a spec, for the remedy where none is named.
    """
    where = file.source.name
    known = tuple(spec.name.text for spec in file.specs)
    if name is None:
        if len(file.specs) == 1:
            return file.specs[0]
        choices = tuple(choice.replace("{name}", spec).replace("{file}", where) for spec in known)
        raise SpecError([SpecNotChosen(None, where, len(known), choices)])
    for spec in file.specs:
        if spec.name.text == name:
            return spec
    raise SpecError([SpecMissing(None, name, known, where)])
