"""Diagnostics: what the compiler says of a user's mistake.

A level defines one frozen dataclass an error, derived from `Problem`: a stable code, templates for the title,
label, notes and remedies, and the data that fills them. Call sites pass meaning, never prose. `Problem.diagnostic()`
makes the `Diagnostic` that `ssmc.render` prints; `Report` collects many; `SpecError` carries them to the caller.
A bug of the compiler is never a `SpecError`: it is a `CompilerBug`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from ssmc.source import Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Label:
    """A span and what to say of it; an empty text underlines only."""

    span: Span
    text: str = ""


@dataclass(frozen=True)
class Diagnostic:
    """One message, ready to be rendered. `primary` is None where no text is at fault (a missing file, a call)."""

    code: str
    title: str
    primary: Label | None = None
    secondary: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    helps: tuple[str, ...] = ()
    severity: Severity = "error"


@dataclass(frozen=True)
class Problem:
    """Base of all errors. Subclasses set the templates; `{field}` in a template is a field of the dataclass.

    The first field is the span at fault, or None.
    """

    span: Span | None

    code: ClassVar[str]
    title: ClassVar[str]
    label: ClassVar[str] = ""
    notes: ClassVar[tuple[str, ...]] = ()
    helps: ClassVar[tuple[str, ...]] = ()
    severity: ClassVar[Severity] = "error"

    def secondary(self) -> tuple[Label, ...]:
        """The other places involved."""
        return ()

    def extra_notes(self) -> tuple[str, ...]:
        """Notes that depend on the data, after the templates'."""
        return ()

    def extra_helps(self) -> tuple[str, ...]:
        """Remedies that depend on the data (`did you mean`), before the templates'."""
        return ()

    def diagnostic(self) -> Diagnostic:
        data: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}

        def fill(template: str) -> str:
            return template.format(**data)

        return Diagnostic(
            code=self.code,
            title=fill(self.title),
            primary=Label(self.span, fill(self.label)) if self.span is not None else None,
            secondary=self.secondary(),
            notes=(*map(fill, self.notes), *self.extra_notes()),
            helps=(*self.extra_helps(), *map(fill, self.helps)),
            severity=self.severity,
        )


@dataclass(frozen=True)
class UnknownName(Problem):
    """Base of the errors for a name that is none of those known: it lists them, and says which one is near."""

    name: str
    known: tuple[str, ...]

    listing: ClassVar[str] = "there is"

    def extra_notes(self) -> tuple[str, ...]:
        return (f"{self.listing} {listed(self.known)}",)

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(self.name, self.known)


class SpecError(Exception):
    """The spec, the call or the data is at fault. `diagnostics` says how; `str()` renders them as plain text."""

    def __init__(self, diagnostics: Iterable[Diagnostic | Problem]) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(
            d.diagnostic() if isinstance(d, Problem) else d for d in diagnostics
        )
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        from ssmc.render import render_text

        return "\n" + "\n\n".join(render_text(d) for d in self.diagnostics)


class CompilerBug(Exception):
    """An invariant of the compiler does not hold: never the user's fault."""


class Report:
    """Collects problems so that one run reports them all, each once, in the order of the text."""

    def __init__(self) -> None:
        self._found: dict[Diagnostic, None] = {}

    def add(self, problem: Problem | Diagnostic) -> None:
        self._found[problem.diagnostic() if isinstance(problem, Problem) else problem] = None

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        def key(d: Diagnostic) -> tuple[int, int]:
            return (d.primary.span.start, d.primary.span.end) if d.primary else (-1, -1)

        return tuple(sorted(self._found, key=key))

    @property
    def has_errors(self) -> bool:
        return any(d.severity == "error" for d in self._found)

    def raise_errors(self) -> None:
        """Raise `SpecError` if an error was reported."""
        if self.has_errors:
            raise SpecError(self.diagnostics)


def listed(names: Iterable[str]) -> str:
    """`a`, `b` and `c`; or `nothing`."""
    quoted = [f"`{name}`" for name in names]
    if not quoted:
        return "nothing"
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def did_you_mean(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """A remedy line naming the nearest known word, or nothing."""
    words = sorted(set(known))
    near = [w for w in words if w.casefold() == name.casefold()] or difflib.get_close_matches(name, words, 1, 0.6)
    return (f"did you mean `{near[0]}`?",) if near else ()
