"""Why a spec has no derived backward to be shown (codes E831 to E839)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ssmc.diagnostics import Problem


@dataclass(frozen=True)
class NoAdjoint(Problem):
    """`span` is what keeps all steps."""

    spec: str
    reason: str

    code: ClassVar[str] = "E831"
    title: ClassVar[str] = "the backward of `{spec}` is no recurrence of fixed size"
    label: ClassVar[str] = "{reason}"
    helps: ClassVar[tuple[str, ...]] = (
        "give the axis a size, `axis T = 64`, for a window of the past; gradients of the call itself are not affected",
    )


@dataclass(frozen=True)
class NoAdjointText(Problem):
    spec: str
    operation: str

    code: ClassVar[str] = "E832"
    title: ClassVar[str] = "the backward of `{spec}` has {operation} at every step, for which the language has no word"
    helps: ClassVar[tuple[str, ...]] = ("`ssmc explain --after adjoint` prints it as a step graph",)
