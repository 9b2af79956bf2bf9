"""What a call costs beside its arithmetic: one step, and a call over one step, of a state of 16 numbers.

    python -m benchmarks.calls [--rounds 30] [--json FILE]

`generated` calls the generated function with arguments that are ready; what the public call takes beyond that is what
the runtime costs: names, kinds, shapes, sizes, batches, the choice of a program. One thread, no gradients.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

import ssmc
from benchmarks import harness

TIMES = 50  # calls that one timing takes together
LIMITS = {"step": 150e-6, "call of one step": 300e-6}  # of `f.step`, and of the runtime's part in a call


def many(run: Callable[[], object]) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(TIMES):
            run()

    return repeated


def cases() -> list[tuple[str, Callable[[], None]]]:
    f: Any = ssmc.load(str(harness.ROOT / "examples" / "diagonal.ssm"))
    a, b = torch.rand(1, 16), torch.rand(1, 16)
    a1, b1 = a[:, None], b[:, None]
    _, state = f.step(None, a, b)
    program = f._program({"D": 16}, 1, 1, None, "cpu", False)
    sizes = {"D": 16}
    return [
        ("step", many(lambda: f.step(state, a, b))),
        ("step, generated", many(lambda: program.step(sizes, 1, {"a": a, "b": b}, {}, state))),
        ("call of one step", many(lambda: f(a1, b1))),
        ("call of one step, generated", many(lambda: program.sequence(sizes, 1, 1, {"a": a1, "b": b1}, {}, state))),
    ]


def main() -> None:
    options = harness.parser("The runtime's part in a call.", rounds=30)
    options.add_argument("--cpu-time", action="store_true", help="processor seconds, not those of the clock")
    given = options.parse_args()
    torch.set_num_threads(1)
    clock = time.process_time if given.cpu_time else time.perf_counter
    with torch.no_grad():
        timings = harness.interleaved(cases(), rounds=given.rounds, clock=clock)
    micro = {t.name: t.median / TIMES * 1e6 for t in timings}
    rows = []
    for t in timings:
        own = micro[t.name] - micro.get(f"{t.name}, generated", micro[t.name])
        limit = f"{LIMITS[t.name] * 1e6:.0f}" if t.name in LIMITS else ""
        best = f"{t.best / TIMES * 1e6:.0f}"
        rows.append([t.name, f"{micro[t.name]:.0f}", f"{t.spread:.0%}", best, f"{own:.0f}" if own else "", limit])
    print(harness.table(["case", "median µs", "spread", "best µs", "runtime's", "limit"], rows))
    harness.write({"machine": harness.machine(), "times": TIMES, "cases": harness.record_of(timings)}, given.json)


if __name__ == "__main__":
    main()
