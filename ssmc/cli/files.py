"""Targets (`FILE[:NAME]`), and writing that leaves nothing half done.

A file is written beside its destination under a temporary name and then renamed, so that a reader sees the old one or
the new one; the files of a directory are all written before the first of them is renamed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ssmc.cli.problems import CannotRead, CannotWrite
from ssmc.diagnostics import SpecError
from ssmc.source import Source


@dataclass(frozen=True)
class Target:
    """`FILE` or `FILE:NAME` of a command line. `path` is `-` for the standard input."""

    path: str
    name: str | None = None

    @property
    def is_stdin(self) -> bool:
        return self.path == "-"


def target(text: str) -> Target:
    """The target that a word of the command line says."""
    from ssmc.syntax.reader import read_spec_argument

    return Target(*read_spec_argument(text))


def read_target(where: Target) -> Source:
    """The text of a target. Raises SpecError."""
    from ssmc.syntax.reader import decode, read

    if where.is_stdin:
        if sys.stdin is None:  # closed by the caller
            raise SpecError([CannotRead(None, "<stdin>", "it is closed")])
        return decode("<stdin>", sys.stdin.buffer.read())
    return read(where.path)


@contextlib.contextmanager
def _says_what_failed(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = CannotWrite(None, str(path), error.strerror or str(error))
        raise SpecError([problem]) from error


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path in the same directory, then rename it to `path`.

    The temporary name has the suffix of `path`, because array writers choose by it. Raises SpecError where the system
    refuses; then, and where `write` raises, `path` is what it was.
    """
    with _says_what_failed(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ssmc-", dir=path.parent) as scratch:
            temporary = Path(scratch) / path.name
            write(temporary)
            if path.exists():
                shutil.copymode(path, temporary)
            os.replace(temporary, path)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically. Raises SpecError where the system refuses."""
    content = text.encode("utf-8")

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, write)


def write_directory(directory: Path, write: Callable[[Path], object]) -> tuple[Path, ...]:
    """Call `write` with an empty scratch directory, then move what it holds into `directory`; the moved files.

    Files of `directory` that `write` does not produce stay. Where `write` raises, `directory` is what it was.
    """
    with _says_what_failed(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ssmc-", dir=directory.parent) as holder:
            scratch = Path(holder) / "out"
            scratch.mkdir()
            write(scratch)
            made = sorted(p.relative_to(scratch) for p in scratch.rglob("*") if p.is_file())
            for inside in made:
                (directory / inside).parent.mkdir(parents=True, exist_ok=True)
                os.replace(scratch / inside, directory / inside)
    return tuple(directory / inside for inside in made)
