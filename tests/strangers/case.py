"""Recurrences as a newcomer would write them, none of them an example, each with the numpy loop that it stands for.

A loop takes one sequence: inputs (length, axes…), params (axes…); it yields the outputs of each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any
Steps = Iterator[dict[str, Array]]


@dataclass(frozen=True)
class Case:
    """A spec, the sizes to draw arguments for, and its loop."""

    text: str
    sizes: dict[str, int]
    loop: Callable[..., Steps]


CASES: dict[str, Case] = {}


def case(text: str, **sizes: int) -> Callable[[Callable[..., Steps]], Callable[..., Steps]]:
    def add(loop: Callable[..., Steps]) -> Callable[..., Steps]:
        CASES[loop.__name__] = Case(text, sizes, loop)
        return loop

    return add


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softplus(x: Array) -> Array:
    return np.logaddexp(0, x)
