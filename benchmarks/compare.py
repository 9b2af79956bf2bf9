"""One workload after the other: sides are made ready, checked, timed in turn, and told about."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ssmc
from benchmarks import harness
from benchmarks.oracle import Expected, expected
from benchmarks.workloads.base import BACKWARD, FORWARD, Runs, Workload, installed, torch_runs
from benchmarks.workloads.table import WORKLOADS
from ssmc.api import BACKENDS
from ssmc.runtime.timing import Timing, interleaved, milliseconds

REPEAT = 0.002  # seconds that one timed run should take at least


@dataclass
class Side:
    """ssmc on a backend, or a peer, with what is known of it so far."""

    name: str
    prepare: Callable[[], Runs]
    ours: bool = False
    unranked: str = ""
    runs: Runs | None = None
    first: dict[str, float] = field(default_factory=dict)  # seconds of the first call, compilation included
    error: dict[str, float] = field(default_factory=dict)  # of the oracle, as a part of its largest magnitude
    wrong: dict[str, str] = field(default_factory=dict)

    def thunk(self, direction: str) -> Callable[[], Any] | None:
        assert self.runs is not None
        return self.runs.forward if direction == FORWARD else self.runs.backward


def run(options: argparse.Namespace) -> int:
    """The exit status: 1 where ssmc is wrong."""
    torch.set_num_threads(options.threads)
    unknown = [name for name in options.names if name not in WORKLOADS]
    if unknown:
        print(f"no workload is called {', '.join(unknown)}; there are {', '.join(WORKLOADS)}", file=sys.stderr)
        return 2
    chosen = [WORKLOADS[name] for name in options.names] or list(WORKLOADS.values())
    record: dict[str, Any] = {"machine": harness.machine(), "workloads": {}}
    print(record["machine"])
    right = True
    for workload in chosen:
        found, ok = measure(workload, options)
        record["workloads"][workload.name] = found
        right &= ok
        harness.write(record, options.json)
    return 0 if right else 1


def measure(workload: Workload, options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    print(f"\n{workload.name}: {workload.title}", flush=True)
    given = workload.arguments()
    compiled: Any = ssmc.load(str(harness.ROOT / "examples" / f"{workload.spec}.ssm"))
    truth, weight = _truth(workload, compiled, given)
    sides = _sides(workload, compiled, given, weight, options)
    record: dict[str, Any] = {"title": workload.title, "spec": workload.spec, "skipped": {}}
    ready = []
    for side in sides:
        try:
            side.runs = side.prepare()
        except Exception as error:
            _dropped(record, side, error)
            continue
        ready.append(side)
    for direction in _directions(workload, options):
        taking = []
        for side in ready:
            if side.thunk(direction) is None:
                continue
            try:
                _check(side, direction, truth, workload.tolerance[direction])
            except Exception as error:
                _dropped(record, side, error)
                continue
            taking.append(side)
        if taking:
            cases = [(s.name, s.thunk(direction)) for s in taking]
            timings = interleaved(cases, rounds=options.rounds, budget=options.budget, repeat=REPEAT)  # type: ignore[arg-type]
            record[direction] = _told(direction, taking, timings)
    return record, not any(s.ours and s.wrong for s in sides)


def _directions(workload: Workload, options: argparse.Namespace) -> list[str]:
    every = [FORWARD, BACKWARD] if workload.backward else [FORWARD]
    return [d for d in every if options.only is None or (d == FORWARD) == (options.only == "forward")]


def _truth(workload: Workload, compiled: Any, given: Mapping[str, Tensor]) -> tuple[Expected, Tensor]:
    around = workload.around or (lambda f: f)
    if not workload.backward:
        return expected(compiled.graph, around, given, None), torch.empty(0)
    shape = workload.output
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return expected(compiled.graph, around, given, weight), weight


def _sides(
    workload: Workload, compiled: Any, given: Mapping[str, Tensor], weight: Tensor, options: argparse.Namespace
) -> list[Side]:
    around = workload.around or (lambda f: f)
    sides = []
    for backend in options.backend or BACKENDS:
        keywords = {"backend": backend} | ({"form": options.form} if options.form else {})

        def ours(keywords: dict[str, str] = keywords) -> Runs:
            call = compiled.step if workload.step else compiled
            return torch_runs(around(lambda *a, **k: call(*a, **k, **keywords)), given, weight, workload.backward)

        sides.append(Side(f"ssmc {backend}", ours, ours=True))
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
            sides.append(Side(peer.name, lambda p=peer: p.prepare(given, weight), unranked=peer.unranked))  # type: ignore[misc]
    return sides


def _dropped(record: dict[str, Any], side: Side, error: Exception) -> None:
    why = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    record["skipped"][side.name] = why
    side.wrong["run"] = why
    print(f"  left out: {side.name} ({why[:150]})")


# -- right before fast ---------------------------------------------------------------------------------------------


def _check(side: Side, direction: str, truth: Expected, tolerance: float) -> None:
    start = time.perf_counter()
    found = side.thunk(direction)()  # type: ignore[misc]
    side.first[direction] = time.perf_counter() - start
    if direction == FORWARD:
        outputs = found if isinstance(found, tuple) else (found,)
        pairs = {f"output {n}": pair for n, pair in enumerate(zip(outputs, truth.outputs, strict=False))}
    else:
        pairs = {f"gradient of {k}": (x, truth.gradients[k]) for k, x in found.items()}
    errors = {what: _distance(a, b) for what, (a, b) in pairs.items()}
    worst = max(errors, key=lambda what: errors[what])
    side.error[direction] = errors[worst]
    if not errors[worst] <= tolerance:
        side.wrong[direction] = f"{worst} is off by {errors[worst]:.1e} of its scale"
        print(f"  WRONG: {side.name}, {direction}: {side.wrong[direction]}", flush=True)


def _distance(found: Any, truth: Tensor) -> float:
    """The largest difference as a part of the largest magnitude, as is the error of sums in single precision."""
    a = found.detach() if isinstance(found, Tensor) else torch.from_numpy(np.asarray(found).copy())
    if a.shape != truth.shape:
        return float("inf")
    off = (a - truth).abs().max().item() / (truth.abs().max().item() or 1.0)
    return off if off == off else float("inf")


# -- telling -------------------------------------------------------------------------------------------------------


def _told(direction: str, sides: list[Side], timings: list[Timing]) -> dict[str, Any]:
    ranked = [t for s, t in zip(sides, timings, strict=True) if not (s.ours or s.unranked or direction in s.wrong)]
    best = min(ranked, key=lambda t: t.median, default=None)
    record: dict[str, Any] = {"best peer": best.name if best else None, "sides": {}}
    rows = []
    for side, timing in zip(sides, timings, strict=True):
        ratio = best.median / timing.median if best else None
        wrong = side.wrong.get(direction, "")
        record["sides"][side.name] = timing.record() | {
            "first": side.first[direction], "error": side.error[direction], "wrong": wrong,
            "unranked": side.unranked, "faster than the best peer": ratio,
        }  # fmt: skip
        rows.append([
            side.name, milliseconds(timing.median), f"{timing.spread:.0%}", milliseconds(timing.best),
            f"{ratio:.2f} x" if ratio else "", f"{side.error[direction]:.0e}{' WRONG' if wrong else ''}",
            f"{side.first[direction]:.1f}",
        ])  # fmt: skip
    print("\n" + harness.table([direction, "median ms", "spread", "best ms", "vs best peer", "error", "first s"], rows))
    for side in sides:
        if side.unranked:
            print(f"  {side.name}: not ranked, {side.unranked}")
    sys.stdout.flush()
    return record
