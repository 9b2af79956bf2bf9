"""Timings that can be compared: the cases of a group take turns, a run each, in an order that turns by one each round.

Two things on a shared machine can be compared only where both meet the same disturbance; what is quoted is a ratio of
medians from one interleaved run, with the spread beside it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Case = tuple[str, Callable[[], object]]
Measure = Callable[[int], float]  # seconds of one run, the mean of so many

# a case that is too slow for its share of the time takes part in some rounds only, but in this many
FEWEST = 3


@dataclass(frozen=True)
class Timing:
    """Seconds of one case, a run each; the runs of all cases of a group were taken in turn."""

    name: str
    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def best(self) -> float:
        return min(self.runs)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a part of the median."""
        if len(self.runs) < 4:
            return (max(self.runs) - min(self.runs)) / 2 / self.median
        low, _, high = statistics.quantiles(self.runs, n=4)
        return (high - low) / 2 / self.median

    def record(self) -> dict[str, Any]:
        """For a file of JSON."""
        return {"median": self.median, "best": self.best, "spread": self.spread, "runs": list(self.runs)}


def interleaved(
    cases: Sequence[Case],
    *,
    rounds: int,
    warmups: int = 1,
    budget: float | None = None,
    repeat: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Run every case once a round, in an order that turns by one each round; `warmups` rounds are not counted.

    `budget` and `repeat` as in `take_turns`.
    """

    def timed(run: Callable[[], object]) -> Measure:
        return lambda count: seconds_of(run, count, clock)

    measures = [(name, timed(run)) for name, run in cases]
    return take_turns(measures, rounds=rounds, warmups=warmups, budget=budget, repeat=repeat)


def seconds_of(run: Callable[[], object], count: int = 1, clock: Callable[[], float] = time.perf_counter) -> float:
    """The mean time of `count` runs, one after the other."""
    gc.collect()
    start = clock()
    for _ in range(count):
        run()
    return (clock() - start) / count


def take_turns(
    cases: Sequence[tuple[str, Measure]],
    *,
    rounds: int,
    warmups: int = 1,
    budget: float | None = None,
    repeat: float = 0.0,
) -> list[Timing]:
    """Cases that time themselves, wherever they run.

    `budget` is the seconds that all runs together should take: what is slower than its share takes part in every
    second, third … round, and at least `FEWEST` times. A run shorter than `repeat` seconds is done many times over,
    and the mean of those is one run.
    """
    times = {name: 1 for name, _ in cases}
    every = {name: 1 for name, _ in cases}
    for turn in range(warmups):
        for name, measure in _turned(cases, turn):
            taken = measure(times[name])
            if taken < repeat:
                times[name] = max(1, round(repeat / max(taken, 1e-9)))
            if budget is not None:
                share = int(budget / len(cases) / max(taken * times[name], 1e-9))
                every[name] = max(1, rounds // max(FEWEST, share))
    runs: dict[str, list[float]] = {name: [] for name, _ in cases}
    for turn in range(rounds):
        for name, measure in _turned(cases, turn):
            if turn % every[name] == 0:
                runs[name].append(measure(times[name]))
    return [Timing(name, tuple(taken)) for name, taken in runs.items()]


def _turned(cases: Sequence[Any], turn: int) -> tuple[Any, ...]:
    first = turn % len(cases)
    return (*cases[first:], *cases[:first])


def faster(timings: Sequence[Timing], name: str, than: str) -> float:
    """How many times faster `name` is than `than`: the ratio of their medians."""
    by_name = {t.name: t for t in timings}
    return by_name[than].median / by_name[name].median


def paired(timings: Sequence[Timing], name: str, than: str) -> float:
    """The same from the ratios of each round, of which the median is taken; both took part in every round."""
    by_name = {t.name: t for t in timings}
    return statistics.median(b / a for a, b in zip(by_name[name].runs, by_name[than].runs, strict=True))


def milliseconds(seconds: float) -> str:
    """Three digits or so: `0.0068`, `7.95`, `112`."""
    value = seconds * 1e3
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.4f}"
