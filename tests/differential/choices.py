"""Recorded choices: a program made of them can be made again from fewer and smaller ones, which is how it shrinks.

Choice 0 is always the simplest. A replay that runs out of recorded choices goes on with zeros.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Makes choices from a seed, or replays those of `recorded`."""

    def __init__(self, seed: int | str | None = None, recorded: Sequence[int] | None = None) -> None:
        self._rng = random.Random(seed)
        self._recorded = recorded
        self.made: list[int] = []

    def below(self, count: int) -> int:
        """A number from 0 to count - 1."""
        if self._recorded is None:
            value = self._rng.randrange(count)
        else:
            at = len(self.made)
            value = min(self._recorded[at], count - 1) if at < len(self._recorded) else 0
        self.made.append(value)
        return value

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)

    def one_of(self, *options: T) -> T:
        """One of the options, of which the first is the simplest."""
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        return self.below(100) >= 100 - percent

    def some_of(self, options: Sequence[T], least: int = 0) -> list[T]:
        """A subset in the order given, of at least `least` (the first ones, where too few were chosen)."""
        kept = [self.chance(50) for _ in options]
        for i in range(len(options)):
            if sum(kept) >= least:
                break
            kept[i] = True
        return [o for o, k in zip(options, kept, strict=True) if k]


def shrink(
    made: Sequence[int], fails: Callable[[Sequence[int]], Sequence[int] | None], seconds: float
) -> Sequence[int]:
    """The smallest choices found within the time for which `fails` still gives the choices made (not None).

    Blocks of choices are left out, then set to zero, then made smaller, as long as anything helps.
    """
    best = list(made)
    end = time.monotonic() + seconds

    def attempt(candidate: list[int]) -> bool:
        nonlocal best
        if time.monotonic() > end or candidate == best:
            return False
        found = fails(candidate)
        if found is None:
            return False
        found = list(found)
        while found and found[-1] == 0:
            found.pop()
        if (len(found), sum(found)) >= (len(best), sum(best)):
            return False
        best = found
        return True

    improved = True
    while improved and time.monotonic() < end:
        improved = False
        for width in (32, 16, 8, 4, 2, 1):
            at = 0
            while at < len(best):
                block = best[at : at + width]
                zeroed = [*best[:at], *[0] * len(block), *best[at + width :]]
                if attempt([*best[:at], *best[at + width :]]) or (any(block) and attempt(zeroed)):
                    improved = True
                else:
                    at += width
        for at in range(len(best)):
            if at < len(best) and best[at] > 1:
                improved |= attempt([*best[:at], best[at] // 2, *best[at + 1 :]])
    return best
