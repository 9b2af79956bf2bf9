"""How long the command line takes to start, as whole processes, and what it imports.

    python -m benchmarks.startup [--rounds 9] [--json FILE]

Medians of the wall clock and of the processor's seconds (which other users of the machine disturb less), beside the
limit of each. `first run` has an empty cache directory that cannot be written. Exits 1 where a limit is passed by the
processor's seconds, or where a heavy package is imported.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks import harness

MAMBA = str(harness.ROOT / "examples" / "mamba.ssm")
COMMAND = (sys.executable, "-m", "ssmc")
HEAVY = ("torch", "triton", "sympy", "numpy", "scipy", "networkx", "black")


@dataclass(frozen=True)
class Process:
    """A command line, the seconds it may take, and the heavy packages that it may import."""

    name: str
    words: tuple[str, ...]
    limit: float
    allowed: tuple[str, ...] = ()
    first: bool = False

    def environment(self) -> dict[str, str]:
        nowhere = {"XDG_CACHE_HOME": os.devnull} if self.first else {}
        return {**os.environ, "OMP_NUM_THREADS": "1", **nowhere}

    def run(self) -> float:
        """Seconds of the processor that one run takes."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(self.words, cwd=harness.ROOT, env=self.environment(), check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def imports(self) -> list[str]:
        """The heavy packages that it imports and should not."""
        words = (self.words[0], "-X", "importtime", *self.words[1:])
        done = subprocess.run(
            words, cwd=harness.ROOT, env=self.environment(), check=True, capture_output=True, text=True
        )
        names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
        return [x for x in HEAVY if x in names and x not in self.allowed]


PROCESSES = (
    Process("python -c pass", (sys.executable, "-c", "pass"), 0.3),
    Process("import ssmc", (sys.executable, "-c", "import ssmc"), 0.3),
    Process("ssmc check", (*COMMAND, "check", MAMBA), 0.6, ("networkx",)),
    Process("ssmc check, first run", (*COMMAND, "check", MAMBA), 0.6, ("networkx",), first=True),
    Process("ssmc explain", (*COMMAND, "explain", MAMBA), 1.5, ("networkx", "sympy")),
)


def main() -> None:
    options = harness.parser("Start-up times of whole processes.", rounds=9).parse_args()
    seconds: dict[str, list[float]] = {p.name: [] for p in PROCESSES}
    wall: dict[str, list[float]] = {p.name: [] for p in PROCESSES}
    for turn in range(options.rounds + 1):
        for p in PROCESSES:
            start = time.perf_counter()
            used = p.run()
            taken = time.perf_counter() - start
            if turn:  # the first writes byte code
                seconds[p.name].append(used)
                wall[p.name].append(taken)
    rows, record, wrong = [], {}, []
    for p in PROCESSES:
        clock, used = harness.Timing(p.name, tuple(wall[p.name])), harness.Timing(p.name, tuple(seconds[p.name]))
        heavy = p.imports()
        if used.median > p.limit:
            wrong.append(f"{p.name} takes {used.median:.2f} s of the processor, and may take {p.limit} s")
        if heavy:
            wrong.append(f"{p.name} imports {', '.join(heavy)}")
        rows.append([p.name, f"{clock.median:.2f}", f"{clock.best:.2f}", f"{used.median:.2f}", f"{p.limit:.1f}"])
        record[p.name] = {"wall": clock.runs, "processor": used.runs, "limit": p.limit, "imports": heavy}
    print(harness.table(["process", "median s", "best s", "processor s", "limit s"], rows))
    harness.write({"machine": harness.machine(), "processes": record}, options.json)
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
