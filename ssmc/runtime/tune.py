"""A search for the quickest schedule of generated C++ (`ssmc bench --tune`).

One choice after the other, each kept where it is clearly quicker than what was best before: for every pass of the
forward the axis of the lanes, the axes that threads share, the vectors of a cell; the length of the chunks; then the
passes of the backward. What the forward's passes change is timed on the forward, the rest on forward and backward
together. A schedule counts only where it gives the results that the first gave. One thread is timed by the processor's
clock, which others on the machine disturb less.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ssmc.backends.cpp import tuned
from ssmc.backends.cpp.wishes import BY_RULES, wishes_of
from ssmc.diagnostics import SpecError
from ssmc.runtime.bench import BACKWARD, FORWARD, TOLERANCE, _Question
from ssmc.runtime.selftest import error
from ssmc.runtime.timing import interleaved, seconds_of

if TYPE_CHECKING:
    from ssmc.api import Compiled
    from ssmc.backends.cpp.account import Account

VECTORS = (1, 2, 3, 4, 6, 8)
CHUNKS = (8, 16, 32, 64, 128)
CLEARLY = 0.97  # of the best so far: what is not quicker than this may be so by chance
HOPELESS = 1.5  # times the best so far, in a first run
ROUNDS, REPEAT = 5, 0.005

Asked = dict[str, Any]  # a schedule as a user writes it
Results = list[Tensor]


@dataclass(frozen=True)
class Trial:
    """A schedule that was tried: seconds of `what`, those of the best before in the same run, and what came of it."""

    what: str
    schedule: str
    seconds: float
    best: float
    verdict: str


@dataclass(frozen=True)
class Outcome:
    """`found` is what was kept, None where the rules' schedule is the quickest. `left` counts what time was too short
    for."""

    found: tuned.Tuned | None
    kept: str
    trials: tuple[Trial, ...]
    sizes: dict[str, int]
    left: int


def tune(
    compiled: Compiled,
    *,
    sizes: Mapping[str, int] | None = None,
    batch: int = 1,
    length: int = 1024,
    threads: int = 1,
    seconds: float = 60.0,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Search for about so many `seconds`, and keep what is quickest for these sizes. Raises SpecError."""
    clock = time.process_time if threads == 1 else time.perf_counter
    search = _Search(compiled, dict(sizes or {}), batch, length, seconds, tell, clock)
    search.run()
    return search.kept(threads)


@dataclass
class _Search:
    compiled: Compiled
    given: dict[str, int]
    batch: int
    length: int
    seconds: float
    tell: Callable[[str], None]
    clock: Callable[[], float]
    trials: list[Trial] = field(default_factory=list)
    left: int = 0

    def __post_init__(self) -> None:
        self.end = time.perf_counter() + self.seconds
        self.question = _Question(self.compiled, self.given, self.batch, self.length)
        self.sizes = self.question.own
        self.asked: Asked = {}
        self.accounts: dict[str, tuple[tuple[str, Account], ...]] = {}
        self.best = self.compiled.scheduled(BY_RULES)
        self.first = self.best
        self.runs: dict[str, Callable[[], Any]] = {}
        self.expected: dict[str, Results] = {}
        for what in (FORWARD, BACKWARD):
            run = self._run(self.best, what)
            if run is not None:
                self.expected[what] = _flat(run())

    # -- the search ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        passes = self._passes(self.best)
        for role, a in passes:
            if role == "forward":
                self._one_pass(role, a, FORWARD)
        if any(a.sequential for _, a in passes) and BACKWARD in self.expected:
            self._try_all(({"chunk": c} for c in CHUNKS), BACKWARD)
            for role, a in passes:
                if role == "backward":
                    self._one_pass(role, a, BACKWARD)

    def _one_pass(self, role: str, a: Account, what: str) -> None:
        where = f"{role}.{a.number}"
        if a.legal is None:
            return
        shared = a.legal.shared
        grids = [list(shared), [], *([x for x in shared if x != left] for left in shared), *([x] for x in shared)]
        self._try_all(({where: {"lane": lane}} for lane in a.legal.lanes), what)
        self._try_all(({where: {"grid": grid}} for grid in grids), what)
        self._try_all(({where: {"vectors": v}} for v in VECTORS), what)

    def _try_all(self, options: Iterator[Asked], what: str) -> None:
        for more in options:
            if time.perf_counter() > self.end:
                self.left += 1
                continue
            asked = _joined(self.asked, more)
            verdict = self._try(asked, what)
            if verdict == "quicker":
                self.asked = asked

    def _try(self, asked: Asked, what: str) -> str:
        """What comes of a schedule; it is the best from now on where it is quicker."""
        candidate = self.compiled.scheduled(asked)
        try:
            passes = self._passes(candidate)
        except SpecError:
            return "refused"
        if passes in self.accounts.values():
            return "as another"
        self.accounts[as_options(asked)] = passes
        self.tell(f"{as_options(asked)}, {self.end - time.perf_counter():.0f} s left")
        run, before = self._run(candidate, what), self._run(self.best, what)
        if run is None or before is None:
            return "refused"
        found = _flat(run())
        off = max((error(a, b) for a, b in zip(found, self.expected[what], strict=True)), default=0.0)
        if not off <= TOLERANCE[what]:
            return self._told(what, asked, 0.0, 0.0, f"differs by {off:.0e}")
        slow, quick = seconds_of(run, clock=self.clock), seconds_of(before, clock=self.clock)
        if slow > HOPELESS * quick and seconds_of(run, clock=self.clock) > HOPELESS * quick:
            return self._told(what, asked, slow, quick, "slower")
        share = max(0.2, min(3.0, self.end - time.perf_counter()))
        new, old = interleaved(
            [("new", run), ("old", before)], rounds=ROUNDS, budget=share, repeat=REPEAT, clock=self.clock
        )
        quicker = new.median < CLEARLY * old.median and new.best < CLEARLY * old.best
        if quicker:
            self.best = candidate
        return self._told(what, asked, new.median, old.median, "quicker" if quicker else "no quicker")

    def _told(self, what: str, asked: Asked, seconds: float, best: float, verdict: str) -> str:
        self.trials.append(Trial(what, as_options(asked), seconds, best, verdict))
        return verdict

    # -- what is run -----------------------------------------------------------------------------------------------

    def _passes(self, compiled: Compiled) -> tuple[tuple[str, Account], ...]:
        """The schedules of all passes. Raises SpecError for wishes that cannot be had."""
        from ssmc.runtime.accounts import accounts
        from ssmc.runtime.schedules import machine_here

        plan = compiled.plan(self.sizes, self.batch, self.length, target="cpp")
        full = {**self.question.sizes}
        told = accounts(plan, full, self.batch, self.length, machine_here(), compiled.scheduling)
        if compiled is self.best and not self.accounts:
            self.accounts[""] = told.passes
        return told.passes

    def _run(self, compiled: Compiled, what: str) -> Callable[[], Any] | None:
        question = copy.copy(self.question)
        question.compiled = compiled
        options: dict[str, Any] = {"form": None, "backend": "cpp", **self.question.untold}
        if not question.graph.inputs:
            options["length"] = self.length
        return question._forward(options) if what == FORWARD else question._both(options)

    # -- what is kept ----------------------------------------------------------------------------------------------

    def kept(self, threads: int) -> Outcome:
        """Compare the best with the first once more, and write it down where it is clearly quicker."""
        spec = self.compiled.scheduling.key
        gains: list[tuple[str, float, float]] = []
        if self.asked:
            self.tell("the best, once more")
            for what in self.expected:
                new, old = self._run(self.best, what), self._run(self.first, what)
                if new is not None and old is not None:
                    pair = interleaved(
                        [("new", new), ("old", old)], rounds=2 * ROUNDS, budget=4.0, repeat=REPEAT, clock=self.clock
                    )
                    gains.append((what, pair[1].median, pair[0].median))
        better = sum(after / before for _, before, after in gains) < CLEARLY * len(gains)
        key = {a: s for a, s in self.question.sizes.items() if a in self.compiled.scheduling.axes}
        found = None
        where = ""
        if gains and better:
            found = tuned.Tuned(
                spec, tuple(sorted(key.items())), self.batch, self.length, threads, wishes_of(self.asked),
                tuple(gains), tuned.now(),
            )  # fmt: skip
            where = str(tuned.keep(found))
        else:
            tuned.forget(spec, key, threads)
        return Outcome(found, where, tuple(self.trials), dict(self.question.sizes), self.left)


def _flat(result: tuple[list[Tensor], list[Tensor | None]]) -> Results:
    outputs, slopes = result
    return [x.detach().clone() for x in (*outputs, *(s for s in slopes if s is not None))]


def _joined(asked: Asked, more: Asked) -> Asked:
    """A schedule, and what is changed in it."""
    made = {k: dict(v) if isinstance(v, Mapping) else v for k, v in asked.items()}
    for key, value in more.items():
        made[key] = {**made.get(key, {}), **value} if isinstance(value, Mapping) else value
    return made


def as_options(asked: Asked) -> str:
    """A schedule as the command line takes it."""
    parts = []
    for key, value in asked.items():
        if isinstance(value, Mapping):
            inside = ",".join(f"{k}={_word(v)}" for k, v in value.items())
            parts.append(f"{key}:{inside}")
        else:
            parts.append(f"{key}={_word(value)}")
    return " ".join(parts)


def _word(value: Any) -> str:
    return "+".join(value) or "none" if isinstance(value, list | tuple) else str(value)
