"""What a decorated function's mistakes are answered with: Python's syntax, and what surrounds the function."""

# ruff: noqa: F722, F821, RET504, UP037
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import ssmc
from ssmc import Input, State

alpha = 0.5


def closure() -> Any:
    gain = 2.0

    @ssmc.jit(axes="D")
    def leaky(x: Input["D"], h: State["D"]):
        h = alpha * h + gain * x
        return h

    return leaky


def several_strings() -> Any:
    @ssmc.jit(axes="H K")
    def total(x: Input["H", "K"], h: State["H K"]):
        h = h + x
        return h

    return total


def no_axis() -> Any:
    @ssmc.jit
    def total(x: Input["D"], h: State["D"]):
        h = h + x
        return h

    return total


def shared() -> Any:
    @ssmc.jit(axes="H K")
    def product(a: Input["H K"], b: Input["H K"]):
        y = dot(a, b)
        return y

    return product


def square() -> Any:
    @ssmc.jit(axes="N")
    def product(a: Input["N N"], b: Input["N"]):
        y = a * b
        return y

    return product


def wide() -> Any:
    @ssmc.jit(axes="H K")
    def total(x: Input["H K"], h: State["H"]):
        h = h + x
        return h, z

    return total


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (closure, ("variables of the code around it are not seen", "`alpha: Input`", "`gain: Input`")),
        (several_strings, ('write them in one: `"H K"`',)),
        (no_axis, ('`axes="… D"`',)),
        (shared, ('`each="H"`', '`sum["H K"](a*b)`')),
        (square, ('`axes="N M", sizes={"M": "N"}`',)),
        (wide, ('`h: State["H K"]`', "`z = …`")),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_remedies(make: Callable[[], Any], said: tuple[str, ...]) -> None:
    with pytest.raises(ssmc.SpecError) as caught:
        make()
    for words in said:
        assert words in str(caught.value)
