"""One workload after the other: sides are made ready, checked, timed in turn, and told about."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import ssmc
from benchmarks import harness, limits, picture
from benchmarks.oracle import Expected, expected
from benchmarks.worker import Lost, Worker
from benchmarks.workloads.base import (
    BACKWARD,
    FORWARD,
    Function,
    Runs,
    Target,
    Workload,
    installed,
    keep_memory,
    torch_runs,
)
from benchmarks.workloads.table import WORKLOADS
from ssmc.api import BACKENDS
from ssmc.runtime.timing import Timing, milliseconds, take_turns

REPEAT = 0.005  # seconds that one timed run should take at least


@dataclass
class Side:
    """ssmc on a backend, or a peer, with what is known of it so far."""

    name: str
    prepare: Callable[[], Runs]
    ours: bool = False
    unranked: str = ""
    reuses: bool = False
    worker: Worker | None = None
    first: dict[str, float] = field(default_factory=dict)  # seconds of the first call, compilation included
    error: dict[str, float] = field(default_factory=dict)  # of the oracle, as a part of its largest magnitude
    wrong: dict[str, str] = field(default_factory=dict)

    def measure(self, direction: str) -> Callable[[int], float]:
        assert self.worker is not None
        worker = self.worker
        return lambda count: worker.seconds(direction, count)


def run(options: argparse.Namespace) -> int:
    """The exit status: 1 where ssmc is wrong."""
    # sides are forks of this process, which must not have started threads
    torch.set_num_threads(1)
    unknown = [name for name in options.names if name not in WORKLOADS]
    if unknown:
        print(f"no workload is called {', '.join(unknown)}; there are {', '.join(WORKLOADS)}", file=sys.stderr)
        return 2
    chosen = [WORKLOADS[name] for name in options.names] or list(WORKLOADS.values())
    record: dict[str, Any] = {"machine": harness.machine() | {"threads": options.threads}, "workloads": {}}
    print(record["machine"])
    limit = limits.measured(options.threads)
    if limit is not None:
        record["limits"] = limit.record()
        print(f"limits of the machine, measured now: {limit}")
    right = True
    for workload in chosen:
        try:
            found, ok = measure(workload, options, limit)
        except Lost as why:
            print(f"  given up: {why}")
            continue
        record["workloads"][workload.name] = found
        right &= ok
        harness.write(record, options.json)
    if options.picture is not None:
        try:
            picture.draw(record, options.picture)
        except ImportError:
            print("no picture: matplotlib is not installed")
    return 0 if right else 1


def measure(
    workload: Workload, options: argparse.Namespace, limit: limits.Limits | None
) -> tuple[dict[str, Any], bool]:
    print(f"\n{workload.name}: {workload.title}", flush=True)
    given = workload.arguments()
    compiled: Any = ssmc.load(str(harness.ROOT / "examples" / f"{workload.spec}.ssm"))
    truth, weight = _truth(workload, compiled, given)
    sides = _sides(workload, compiled, given, weight, options)
    record: dict[str, Any] = {"title": workload.title, "spec": workload.spec, "left out": {}}
    try:
        for side in sides:
            _start(side, truth, workload, options, record)
        for direction in _directions(workload, options):
            taking = [s for s in sides if direction in s.error]
            if taking:
                cases = [(s.name, s.measure(direction)) for s in taking]
                timings = take_turns(cases, rounds=options.rounds, budget=options.budget, repeat=REPEAT)
                record[direction] = _told(direction, taking, timings, workload, limit)
    finally:
        for side in sides:
            if side.worker is not None:
                side.worker.close()
    return record, not any(s.ours and s.wrong for s in sides)


def _directions(workload: Workload, options: argparse.Namespace) -> list[str]:
    every = [FORWARD, BACKWARD] if workload.backward else [FORWARD]
    return [d for d in every if options.only is None or (d == FORWARD) == (options.only == "forward")]


def _truth(workload: Workload, compiled: Any, given: Mapping[str, Tensor]) -> tuple[Expected, Tensor]:
    around = workload.around or (lambda f: f)
    if not workload.backward:
        return expected(compiled.graph, around, given, None), torch.empty(0)
    weight = torch.randn(*workload.output, generator=torch.Generator().manual_seed(1))
    return expected(compiled.graph, around, given, weight), weight


def _sides(
    workload: Workload, compiled: Any, given: Mapping[str, Tensor], weight: Tensor, options: argparse.Namespace
) -> list[Side]:
    sides = []
    for backend in [] if options.no_ssmc else options.backend or BACKENDS:
        keywords = {"backend": backend} | ({"form": options.form} if options.form else {})
        sides += _ours(workload, compiled, given, weight, keywords)
    for peer in workload.peers:
        wanted = any(text in peer.name for text in options.peer or ()) or (not options.peer and not options.no_peers)
        absent = [m for m in peer.needs if not installed(m)]
        if not wanted:
            continue
        if peer.slow and not options.slow and not options.peer:
            print(f"  left out: {peer.name} (slow; --slow)")
        elif absent:
            print(f"  left out: {peer.name} ({', '.join(absent)} not installed)")
        else:
            prepare = lambda p=peer: p.prepare(given, weight)  # noqa: E731
            sides.append(Side(peer.name, prepare, unranked=peer.unranked, reuses=peer.reuses))
    return sides


def _ours(
    workload: Workload, compiled: Any, given: Mapping[str, Tensor], weight: Tensor, keywords: dict[str, Any]
) -> list[Side]:
    around = workload.around or (lambda f: f)
    call = compiled.step if workload.step else compiled

    def fresh() -> Runs:
        return torch_runs(around(_with(call, keywords)), given, weight, workload.backward)

    def reusing() -> Runs:
        with torch.no_grad():
            place = torch.empty_like(around(_with(call, keywords))(**given))
        runs = torch_runs(around(_with(call, keywords | {"out": place})), given, weight, False)
        return Runs(runs.forward)

    def kept() -> Runs:
        keep_memory()
        return fresh()

    name = " ".join(["ssmc", *(str(x) for x in keywords.values())])
    made = [Side(name, fresh, ours=True)]
    if workload.out:
        made.append(Side(f"{name}, out=", reusing, ours=True, reuses=True))
        made.append(Side(f"{name}, memory kept", kept, ours=True, reuses=True))
    return made


def _with(call: Function, keywords: Mapping[str, Any]) -> Function:
    return lambda *inputs, **named: call(*inputs, **named, **keywords)


# -- right before fast ---------------------------------------------------------------------------------------------


def _start(
    side: Side, truth: Expected, workload: Workload, options: argparse.Namespace, record: dict[str, Any]
) -> None:
    directions = _directions(workload, options)

    def lost(why: Lost, direction: str) -> None:
        side.wrong[direction] = str(why)
        record["left out"][f"{side.name}, {direction}"] = str(why)
        print(f"  left out: {side.name}, {direction} ({str(why)[:200]})", flush=True)

    try:
        side.worker = Worker(side.prepare, truth, options.threads, options.limit)
    except Lost as why:
        return lost(why, "all")
    for direction in directions:
        if direction not in side.worker.directions:
            continue
        try:
            side.first[direction], what, off = side.worker.check(direction)
        except Lost as why:
            lost(why, direction)
            if side.worker.alive:
                continue
            side.error.clear()
            return None
        if not (off <= workload.tolerance[direction] or side.unranked):
            side.wrong[direction] = f"{what} is off by {off:.1e} of its scale"
            print(f"  WRONG: {side.name}, {direction}: {side.wrong[direction]}", flush=True)
        side.error[direction] = off
    return None


# -- telling -------------------------------------------------------------------------------------------------------


def _told(
    direction: str, sides: list[Side], timings: list[Timing], workload: Workload, limit: limits.Limits | None
) -> dict[str, Any]:
    by_name = {t.name: t for t in timings}
    record: dict[str, Any] = {"sides": {}}
    least, bound = limit.seconds(workload.work[direction]) if limit is not None else (None, "")
    if least is not None:
        record |= {"least": least, "bound": bound}
    rows = []
    for side, timing in zip(sides, timings, strict=True):
        ranked = [s for s in sides if not (s.ours or s.unranked or direction in s.wrong)]
        rivals = [s for s in ranked if side.reuses or not s.reuses]
        best = min((by_name[s.name] for s in rivals), key=lambda t: t.median, default=None)
        ratio = best.median / timing.median if best else None
        share = least / timing.median if least is not None else None
        wrong = side.wrong.get(direction, "")
        record["sides"][side.name] = timing.record() | {
            "first": side.first[direction], "error": side.error[direction], "wrong": wrong, "ours": side.ours,
            "unranked": side.unranked, "best peer": best.name if best else None, "faster than it": ratio,
            "share of the limit": share,
        }  # fmt: skip
        rows.append([
            side.name, milliseconds(timing.median), f"{timing.spread:.0%}", milliseconds(timing.best),
            f"{ratio:.2f} x" if ratio else "", f"{share:.0%}" if share else "",
            f"{side.error[direction]:.0e}{' WRONG' if wrong else ''}", f"{side.first[direction]:.1f}",
        ])  # fmt: skip
    head = [direction, "median ms", "spread", "best ms", "vs best peer", "of limit", "error", "first s"]
    print("\n" + harness.table(head, rows))
    if least is not None:
        text = f"  the least this machine can take: {milliseconds(least)} ms ({bound})"
        if direction in workload.possible:
            reference = limits.REFERENCE.seconds(workload.work[direction])[0]
            record["possible share"] = reference * 1e3 / workload.possible[direction]
            text += f"; hand-tuned code reached {record['possible share']:.0%} of its machine's"
        print(text)
    record["targets"] = _targets(workload.targets.get(direction, ()), record["sides"], {s.name: s for s in sides})
    for side in sides:
        if side.unranked:
            print(f"  {side.name}: not ranked, {side.unranked}")
    sys.stdout.flush()
    return record


def _targets(targets: Sequence[Target], told: Mapping[str, Any], sides: Mapping[str, Side]) -> list[dict[str, Any]]:
    """What is to be reached, and what each row of ours that it is meant for reached."""
    made = []
    for target in targets:
        for name, found in told.items():
            if not sides[name].ours or sides[name].reuses != target.reused:
                continue
            peer = target.peer or found["best peer"]
            if peer not in told:
                continue
            ratio = told[peer]["median"] / found["median"]
            met = ratio >= target.ratio and not found["wrong"]
            made.append({"side": name, "peer": peer, "target": target.ratio, "ratio": ratio, "met": met})
            print(f"  target {target.ratio:g} x {peer}: {name} {ratio:.2f} x, {'met' if met else 'missed'}")
    return made
