"""What a call costs beside its arithmetic: one step, and a call over one step, of a state of 16 numbers.

    python -m benchmarks.calls [--rounds 30] [--json FILE]

`generated` calls the generated function with arguments that are ready; what the public call takes beyond that is what
the runtime costs: names, kinds, shapes, sizes, batches, the choice of a program. In C++ a call like an earlier one goes
straight to its library, and is quicker than that. One thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from ssmc.backends.cpp.toolchain import available

import ssmc
from benchmarks import harness
from ssmc.api import BACKENDS
from ssmc.runtime.generate import Route

TIMES = 50  # calls that one timing takes together
# of `f.step`, and of the runtime's part in a call; in C++, where the kernel takes next to nothing, of all of it
LIMITS = {
    "torch: step": 150e-6,
    "torch: call of one step": 300e-6,
    "cpp: step": 3e-6,
    "cpp: call of one step": 10e-6,
    "cpp: call that autograd records": 15e-6,
}


def many(run: Callable[[], object]) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(TIMES):
            run()

    return repeated


def cases(backend: str) -> list[tuple[str, Callable[[], None]]]:
    f: Any = ssmc.load(str(harness.ROOT / "examples" / "diagonal.ssm"))
    a, b = torch.rand(1, 16), torch.rand(1, 16)
    a1, b1 = a[:, None], b[:, None]
    _, state = f.step(None, a, b, backend=backend)
    sizes, route = {"D": 16}, Route(None, backend)
    program = f._programs.get(sizes, 1, 1, "cpu", route)
    out = torch.empty(1, 1, 16)

    def stepped() -> object:
        return program.module.step(sizes=sizes, batch=1, state=state, a=a, b=b)

    def called() -> object:
        return program.module.sequence(sizes=sizes, batch=1, length=1, state=state, a=a1, b=b1)

    found = [
        (f"{backend}: step", many(lambda: f.step(state, a, b, backend=backend))),
        (f"{backend}: step, generated", many(stepped)),
        (f"{backend}: call of one step", many(lambda: f(a1, b1, backend=backend))),
        (f"{backend}: call of one step, generated", many(called)),
    ]
    if backend == "cpp":
        leaf = a1.clone().requires_grad_()

        def recorded() -> None:
            with torch.enable_grad():
                f(leaf, b1, backend=backend)

        found.append((f"{backend}: call into out=", many(lambda: f(a1, b1, backend=backend, out=out))))
        found.append((f"{backend}: call that autograd records", many(recorded)))
    return found


def main() -> None:
    options = harness.parser("The runtime's part in a call.", rounds=30)
    options.add_argument("--cpu-time", action="store_true", help="processor seconds, not those of the clock")
    given = options.parse_args()
    torch.set_num_threads(1)
    clock = time.process_time if given.cpu_time else time.perf_counter
    with torch.no_grad():
        backends = [name for name in BACKENDS if name != "cpp" or available()]
        every = [case for backend in backends for case in cases(backend)]
        timings = harness.interleaved(every, rounds=given.rounds, clock=clock)
    micro = {t.name: t.median / TIMES * 1e6 for t in timings}
    rows = []
    for t in timings:
        own = micro[t.name] - micro.get(f"{t.name}, generated", micro[t.name])
        limit = f"{LIMITS[t.name] * 1e6:.0f}" if t.name in LIMITS else ""
        best = f"{t.best / TIMES * 1e6:.1f}"
        rows.append([t.name, f"{micro[t.name]:.1f}", f"{t.spread:.0%}", best, f"{own:.1f}" if own else "", limit])
    print(harness.table(["case", "median µs", "spread", "best µs", "runtime's", "limit"], rows))
    harness.write({"machine": harness.machine(), "times": TIMES, "cases": harness.record_of(timings)}, given.json)


if __name__ == "__main__":
    main()
