"""Time and memory as sequences get longer: forward, and forward + backward, at 10^4, 10^5 and 10^6 steps.

    python -m benchmarks.length [diagonal gla …] [--backend cpp] [--rounds 3] [--threads 2] [--json FILE]

Small sizes and one sequence, so that a million steps fit. Time is told for a step: a cost linear in the length is the
same number at every length. *Longest* is the cost of a step at a million over that at a hundred thousand; where it is
more than 1.5, the exit status is 1. A short sequence can be in the caches, where a long one is not. Memory is that of
`benchmarks.memory`, at a million steps.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

import ssmc
from benchmarks import harness
from benchmarks.memory import ALLOWED, both, measured, row
from ssmc.expr.nodes import base_axis
from ssmc.step.sizes import solve_sizes

LENGTHS = (10**4, 10**5, 10**6)
GROWTH = 1.5
SIZES: dict[str, dict[str, int]] = {
    "diagonal": {"D": 16},
    "selective_scan": {"D": 16, "N": 16},
    "ssd": {"H": 2, "P": 16, "N": 16},
    "gla": {"H": 1, "K": 16, "V": 16},
    "gated_deltanet": {"G": 1, "R": 1, "K": 16, "V": 16, "W": 4},
    "s4d": {"D": 8, "N": 8},
    "gru": {"D": 16},
}


def arguments(spec: Any, length: int) -> dict[str, Tensor]:
    """Params as a model begins with them; inputs of one sequence."""
    sizes = solve_sizes(spec.graph, {}, SIZES[spec.graph.name], partial=True)
    g = torch.Generator().manual_seed(0)
    inputs = {
        p.name: torch.randn(1, length, *(sizes[base_axis(a)] for a in p.axes), generator=g) * 0.3
        for p in spec.graph.inputs
    }
    return inputs | {k: x.detach() for k, x in spec.init_params(sizes=sizes, seed=1).items()}


def cases(spec: Any, backend: str, length: int) -> Mapping[str, Callable[[], object]]:
    given = arguments(spec, length)
    leaves = {k: x.clone().requires_grad_() for k, x in given.items()}

    def f(**named: Tensor) -> Tensor:
        return spec(**named, backend=backend)  # type: ignore[no-any-return]

    def forward() -> Tensor:
        with torch.no_grad():
            return f(**given)

    weight = torch.ones_like(forward())
    return {"forward": forward, "forward + backward": lambda: both(f, leaves, weight)}


def times(spec: Any, backend: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of a step, at each length."""
    found: dict[str, list[float]] = {}
    for length in LENGTHS:
        for timing in harness.interleaved(list(cases(spec, backend, length).items()), rounds=rounds, repeat=0.05):
            found.setdefault(timing.name, []).append(timing.median / length)
    return found


def memory(spec: Any, backend: str) -> dict[str, int]:
    def f(**named: Tensor) -> Tensor:
        return spec(**named, backend=backend)  # type: ignore[no-any-return]

    return measured(f, lambda: arguments(spec, LENGTHS[-1]), frozenset(p.name for p in spec.graph.inputs))


def load(name: str) -> Any:
    return ssmc.load(str(harness.ROOT / "examples" / f"{name}.ssm"))


def main() -> None:
    options = harness.parser("Time and memory as sequences get longer.", rounds=3)
    options.add_argument("names", nargs="*", metavar="SPEC", help=f"some of them (all): {' '.join(SIZES)}")
    options.add_argument("--backend", default="cpp", help="of ssmc (cpp)")
    options.add_argument("--threads", type=int, default=2, help="of each process (2)")
    options.add_argument("--of", choices=("times", "memory"), help=argparse.SUPPRESS)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    if given.of:
        spec = load(given.names[0])
        found = times(spec, given.backend, given.rounds) if given.of == "times" else memory(spec, given.backend)
        print(json.dumps(found))
        return
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    more = ("--backend", given.backend, "--threads", str(given.threads), "--rounds", str(given.rounds))
    record: dict[str, Any] = {"machine": harness.machine(), "lengths": LENGTHS, "specs": {}}
    timed, held, linear, small = [], [], True, True
    for name in given.names or SIZES:
        seconds = harness.in_fresh_process("benchmarks.length", name, "--of", "times", *more)
        bytes_ = harness.in_fresh_process("benchmarks.length", name, "--of", "memory", *more)
        record["specs"][name] = {"seconds a step": seconds, "memory": bytes_}
        for direction, of in seconds.items():
            timed.append([f"{name}: {direction}", *(f"{x * 1e9:.0f}" for x in of), f"{of[-1] / of[-2]:.2f} x"])
            linear &= of[-1] <= GROWTH * of[-2]
        cells, beyond = row(name, bytes_)
        held.append(cells)
        small &= beyond <= ALLOWED
    print(harness.table(["ns a step, of", *(f"{n:,}" for n in LENGTHS), "longest"], timed))
    print("\n" + harness.table([f"MB at {LENGTHS[-1]:,}", "needed", "states", "peak", "beyond"], held))
    harness.write(record, given.json)
    sys.exit(0 if linear and small else 1)


if __name__ == "__main__":
    main()
