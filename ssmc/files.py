"""Writing that leaves nothing half done.

A file is written beside its destination under a temporary name and then renamed, so that a reader sees the old one or
the new one; several are all written before the first of them is renamed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ssmc.diagnostics import Problem, SpecError


@dataclass(frozen=True)
class CannotWrite(Problem):
    """An output that the system does not take; nothing was written."""

    path: str
    why: str

    code: ClassVar[str] = "E902"
    title: ClassVar[str] = "cannot write `{path}`: {why}"
    helps: ClassVar[tuple[str, ...]] = ("nothing was written; give another place",)


@contextlib.contextmanager
def _says_what_failed(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # the system says "File exists" of a file in the place of a directory, and does not say which
        inside = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
        why = f"`{inside}` is not a directory" if inside is not None else error.strerror or str(error)
        raise SpecError([CannotWrite(None, str(path), why)]) from error


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[tuple[Path, Path]]:
    """A temporary path in the directory of the destination, with its name, and the destination.

    A link stays one: the destination is what it points to.
    """
    place = Path(os.path.realpath(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists() and not place.is_file():
        # a rename would put a file in the place of a device
        raise SpecError([CannotWrite(None, str(path), "it is there, and no file")])
    with tempfile.TemporaryDirectory(prefix=".ssmc-", dir=place.parent) as scratch:
        yield Path(scratch) / path.name, place


def _rename(temporary: Path, place: Path) -> None:
    if place.exists():
        shutil.copymode(place, temporary)
    os.replace(temporary, place)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path in the same directory, then rename it to `path`.

    The temporary name is that of `path`, because array writers choose by its suffix. Raises SpecError where the system
    refuses; then, and where `write` raises, `path` is what it was.
    """
    with _says_what_failed(path), _beside(path) as (temporary, place):
        write(temporary)
        _rename(temporary, place)


def write_texts(files: Mapping[Path, str]) -> None:
    """Write UTF-8 texts: all of them, or none where the system refuses one. Raises SpecError."""
    write_files({path: text.encode("utf-8") for path, text in files.items()})


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write files: all of them, or none where the system refuses one. Raises SpecError."""
    with contextlib.ExitStack() as stack:
        ready = []
        for path, content in files.items():
            with _says_what_failed(path):
                temporary, place = stack.enter_context(_beside(path))
                temporary.write_bytes(content)
                ready.append((path, temporary, place))
        for path, temporary, place in ready:
            with _says_what_failed(path):
                _rename(temporary, place)
