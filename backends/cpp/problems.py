"""What can be wrong around generated C++: the compiler, the cache, the library (codes E760 to E769)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ssmc.diagnostics import Problem, did_you_mean, listed

MESSAGE_LINES, LINE_LENGTH = 6, 300


@dataclass(frozen=True)
class NoCompiler(Problem):
    """No C++ compiler that works."""

    tried: tuple[str, ...]

    code: ClassVar[str] = "E760"
    title: ClassVar[str] = "there is no C++ compiler here that works"
    helps: ClassVar[tuple[str, ...]] = (
        "install one (Debian: `apt install g++`; macOS: `xcode-select --install`), or name one: `export CXX=…`",
        'the backend "torch" needs none',
    )

    def extra_notes(self) -> tuple[str, ...]:
        return self.tried


@dataclass(frozen=True)
class CompileFailed(Problem):
    """The compiler refused generated code. `message` is what it said."""

    name: str
    compiler: str
    kept: str
    message: str

    code: ClassVar[str] = "E761"
    title: ClassVar[str] = "the C++ compiler refuses the code generated for `{name}`"
    helps: ClassVar[tuple[str, ...]] = (
        "try another compiler (`export CXX=…`), and please report this with the file",
        'the backend "torch" needs no compiler',
    )

    def extra_notes(self) -> tuple[str, ...]:
        lines = [line.strip() for line in self.message.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line] or lines
        said = [line if len(line) <= LINE_LENGTH else f"{line[:LINE_LENGTH]} …" for line in errors[:MESSAGE_LINES]]
        more = len(errors) - len(said)
        if more:
            said.append(f"and {more} more, in the .log beside the code")
        return (*said, f"the code is kept: {self.kept}") if self.kept else tuple(said)


@dataclass(frozen=True)
class CompilerKilled(Problem):
    """The compiler was ended by a signal, as the system does where memory runs out."""

    name: str
    compiler: str
    signal: str

    code: ClassVar[str] = "E762"
    title: ClassVar[str] = "`{compiler}` was ended by {signal} while it compiled `{name}`"
    notes: ClassVar[tuple[str, ...]] = ("nothing of what it had begun was kept",)
    helps: ClassVar[tuple[str, ...]] = ("call again; where memory is short, free some first",)


@dataclass(frozen=True)
class CacheNotWritten(Problem):
    """The folder for compiled code takes nothing more."""

    path: str
    why: str

    code: ClassVar[str] = "E763"
    title: ClassVar[str] = "compiled code cannot be written to `{path}`: {why}"
    helps: ClassVar[tuple[str, ...]] = ("make room there, or give another place: `export SSMC_CACHE_DIR=…`",)


@dataclass(frozen=True)
class CannotLoad(Problem):
    """A library, just compiled, that the system does not load."""

    name: str
    path: str
    why: str

    code: ClassVar[str] = "E764"
    title: ClassVar[str] = "the compiled code of `{name}` cannot be loaded: {why}"
    notes: ClassVar[tuple[str, ...]] = ("it is {path}",)
    helps: ClassVar[tuple[str, ...]] = (
        "`ssmc doctor` says more; a folder that is mounted `noexec` is none to load from: `export SSMC_CACHE_DIR=…`",
    )


@dataclass(frozen=True)
class OutOfMemory(Problem):
    """A kernel that found no memory for its working arrays."""

    name: str

    code: ClassVar[str] = "E765"
    title: ClassVar[str] = "there is not enough memory to run `{name}`"
    helps: ClassVar[tuple[str, ...]] = ("shorten the sequence, or run it in parts, the state handed on",)


@dataclass(frozen=True)
class NotInCpp(Problem):
    """Something that only another backend has code for."""

    name: str
    why: str

    code: ClassVar[str] = "E766"
    title: ClassVar[str] = "`{name}` cannot be written as C++: {why}"
    helps: ClassVar[tuple[str, ...]] = (
        "`--backend torch` has code for everything",
        "the form `recurrent` is C++ for every spec but those whose `past` grows; give that axis a size",
    )


@dataclass(frozen=True)
class BadSchedule(Problem):
    """A schedule asked for that is none."""

    why: str

    code: ClassVar[str] = "E767"
    title: ClassVar[str] = "`schedule=` {why}"


@dataclass(frozen=True)
class CannotBeScheduled(Problem):
    """An axis that cannot be what a schedule asks it to be: lanes, or shared among threads."""

    axis: str
    what: str
    why: str
    possible: tuple[str, ...]

    code: ClassVar[str] = "E768"
    title: ClassVar[str] = "the axis `{axis}` cannot be {what}: {why}"
    label: ClassVar[str] = "declared here"

    def extra_helps(self) -> tuple[str, ...]:
        near = did_you_mean(self.axis, self.possible)
        if not self.possible:
            return (f"no axis of this spec can be {self.what}",)
        return (*near, f"what can: {listed(self.possible)}")
