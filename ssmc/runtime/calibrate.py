"""Measures the constants of this machine (`ssmc doctor --calibrate`): those of its processor, and what a call costs."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ssmc.backends.cpp import constants, measure

# no step does anything: what a call of it takes, every call takes
NOTHING = """ssm nothing
input  x
output y = x
"""
CALLS = 200


def calibrate(tell: Callable[[str], None] = lambda _: None) -> constants.Found:
    """Measure and keep; what was found. Raises SpecError where there is no compiler, or the file cannot be written."""
    from ssmc.api import compile as compiled

    tell("calls")
    f, x = compiled(NOTHING), torch.zeros(1)

    def calls() -> None:
        with torch.no_grad():
            for _ in range(CALLS):
                f(x, backend="cpp")

    constants.keep(measure.measured(measure.best(calls) / CALLS, tell))
    return constants.found()
