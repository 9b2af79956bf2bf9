"""What can be wrong with a request for a plan (codes E801 to E829)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ssmc.diagnostics import Problem, UnknownName


@dataclass(frozen=True)
class NoSuchForm(UnknownName):
    code: ClassVar[str] = "E801"
    title: ClassVar[str] = "there is no form `{name}`"
    listing: ClassVar[str] = "the forms are"


@dataclass(frozen=True)
class FormNotLegal(Problem):
    """`span` is the state's declaration, where one component is at fault; `reasons` has a line a component."""

    form: str
    spec: str
    reasons: tuple[str, ...]

    code: ClassVar[str] = "E802"
    title: ClassVar[str] = "`{spec}` cannot run in the form `{form}`"
    label: ClassVar[str] = "this state does not allow it"
    helps: ClassVar[tuple[str, ...]] = ('`form="auto"` chooses among the legal ones; `ssmc explain` lists them',)

    def extra_notes(self) -> tuple[str, ...]:
        return self.reasons


@dataclass(frozen=True)
class NoStateForForm(UnknownName):
    code: ClassVar[str] = "E803"
    title: ClassVar[str] = "`form=` names `{name}`, which is no state"
    listing: ClassVar[str] = "the states are"


@dataclass(frozen=True)
class TwoForms(Problem):
    first: str
    second: str

    code: ClassVar[str] = "E804"
    title: ClassVar[str] = "`form=` gives `{first}` and `{second}` different forms, and they run as one"
    notes: ClassVar[tuple[str, ...]] = ("states that need each other's previous value are one component",)


@dataclass(frozen=True)
class NoSuchTarget(UnknownName):
    code: ClassVar[str] = "E805"
    title: ClassVar[str] = "there is no description of the machine `{name}`"
    listing: ClassVar[str] = "described are"
    notes: ClassVar[tuple[str, ...]] = ("any other cuda:CC is taken for the nearest below it",)


@dataclass(frozen=True)
class NoSuchPass(UnknownName):
    code: ClassVar[str] = "E806"
    title: ClassVar[str] = "there is no pass `{name}`"
    listing: ClassVar[str] = "the passes are"
