"""Recorded choices: a program made of them can be made again from fewer and smaller ones, which is how it shrinks.

Choice 0 is always the simplest. A replay that runs out of recorded choices goes on with zeros.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Choices:
    """Makes choices from a seed, or replays those of `recorded`."""

    def __init__(self, seed: int | str | None = None, recorded: Sequence[int] | None = None) -> None:
        self._rng = random.Random(seed)
        self._recorded = recorded
        self.made: list[int] = []
        self.spans: list[tuple[int, int]] = []

    def below(self, count: int) -> int:
        """A number from 0 to count - 1."""
        if self._recorded is None:
            value = self._rng.randrange(count)
        else:
            at = len(self.made)
            value = min(self._recorded[at], count - 1) if at < len(self._recorded) else 0
        self.made.append(value)
        return value

    @contextmanager
    def span(self) -> Iterator[None]:
        """The choices made within belong together: shrinking leaves them out as one."""
        start = len(self.made)
        yield
        self.spans.append((start, len(self.made)))

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


class Made(Protocol):
    """Something made of choices; `spans` are the ranges of them that belong together."""

    @property
    def choices(self) -> tuple[int, ...]: ...

    @property
    def spans(self) -> tuple[tuple[int, int], ...]: ...


M = TypeVar("M", bound=Made)


def shrink(made: M, fails: Callable[[Sequence[int]], M | None], seconds: float) -> M:
    """The smallest thing found within the time that still fails: `fails` makes it of choices, None if it does not.

    Spans of choices are left out or set to zero, then any blocks, then single choices made smaller, while it helps.
    """
    best = made
    end = time.monotonic() + seconds
    tried: set[tuple[int, ...]] = set()

    def attempt(candidate: Sequence[int]) -> bool:
        nonlocal best
        key = _stripped(candidate)
        if time.monotonic() > end or key in tried or _size(key) >= _size(_stripped(best.choices)):
            return False
        tried.add(key)
        found = fails(key)
        if found is None or _size(_stripped(found.choices)) >= _size(_stripped(best.choices)):
            return False
        best = found
        return True

    def without(start: int, stop: int) -> bool:
        c = best.choices
        return attempt([*c[:start], *c[stop:]]) or attempt([*c[:start], *[0] * (stop - start), *c[stop:]])

    improved = True
    while improved and time.monotonic() < end:
        improved = False
        at = 0
        while at < len(best.spans):  # the longest first
            spans = sorted(best.spans, key=lambda s: s[0] - s[1])
            if without(*spans[at]):
                improved = True
            else:
                at += 1
        for width in (8, 4, 2, 1):
            at = 0
            while at < len(best.choices):
                if without(at, at + width):
                    improved = True
                else:
                    at += width
        for at in range(len(best.choices)):
            if at < len(best.choices) and best.choices[at] > 1:
                improved |= attempt([*best.choices[:at], best.choices[at] // 2, *best.choices[at + 1 :]])
    return best


def _stripped(choices: Sequence[int]) -> tuple[int, ...]:
    """Without the zeros at the end, which a replay supplies by itself."""
    last = max((i for i, c in enumerate(choices) if c), default=-1)
    return tuple(choices[: last + 1])


def _size(choices: Sequence[int]) -> tuple[int, int]:
    return len(choices), sum(choices)
