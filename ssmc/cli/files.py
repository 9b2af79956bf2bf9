"""Targets: `FILE`, `FILE:NAME`, or `-` for the standard input."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from ssmc.cli.problems import CannotRead
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

    @property
    def choice(self) -> str:
        """How a command line names one of several specs."""
        return "-- -:{name}" if self.is_stdin else "{file}:{name}"


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
