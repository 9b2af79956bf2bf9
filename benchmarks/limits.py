"""What this machine can do at most, measured in the same run as the workloads: memory, arithmetic, exponentials.

The share of the limit that a kernel reaches says more than its milliseconds, which belong to one machine.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.workloads.base import Work

SOURCE = Path(__file__).with_suffix(".cpp")
RUNS = 5


@dataclass(frozen=True)
class Limits:
    """A second of the machine: bytes copied (read and written) by either kind of store, operations, exponentials."""

    copy: float
    streamed: float
    flops: float
    exps: float

    def seconds(self, work: Work) -> tuple[float, str]:
        """The least that the work can take, and what bounds it."""
        bounds = {
            "memory": work.bytes / max(self.copy, self.streamed),
            "arithmetic": work.flops / self.flops,
            "exp": work.exps / self.exps,
        }
        # exponentials are arithmetic too: they use the same units one after the other
        bounds["arithmetic and exp"] = bounds["arithmetic"] + bounds["exp"]
        name = max(bounds, key=lambda k: bounds[k])
        return bounds[name], name

    def record(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"copy {self.copy / 1e9:.0f} GB/s, streamed {self.streamed / 1e9:.0f}; "
            f"{self.flops / 1e9:.0f} GFLOP/s; {self.exps / 1e9:.1f} x 10^9 exp/s"
        )


# The machine that `Workload.possible` was measured on, 2 threads.
REFERENCE = Limits(copy=28e9, streamed=41e9, flops=224e9, exps=11e9)


def measured(threads: int) -> Limits | None:
    """None where there is no compiler to build the loops with. In a process of its own: the loops start threads."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(_measured(threads)))
    process.start()
    theirs.close()
    try:
        found: Limits | None = ours.recv()
    except EOFError:
        found = None
    process.join()
    return found


def _measured(threads: int) -> Limits | None:
    library = _library()
    if library is None:
        return None
    lanes = 16 if _has("avx512f") else 8 if _has("avx2") else 4
    rounds = 1 << 23
    flops = 2 * 8 * lanes * rounds * threads / _best(lambda: library.fma_rate(ctypes.c_long(rounds), threads))
    exps = 8 * lanes * rounds / 4 * threads / _best(lambda: library.exp_rate(ctypes.c_long(rounds // 4), threads))
    count = 1 << 24
    arrays = [torch.zeros(count + 16) for _ in range(2)]
    places = [(x.data_ptr() + 63) // 64 * 64 for x in arrays]

    def copy(streamed: int) -> Callable[[], Any]:
        return lambda: library.copy(
            ctypes.c_void_p(places[0]), ctypes.c_void_p(places[1]), ctypes.c_long(count), streamed, threads
        )

    return Limits(8 * count / _best(copy(0)), 8 * count / _best(copy(1)), flops, exps)


def _best(run: Callable[[], Any]) -> float:
    """A limit is what was reached once, undisturbed."""
    run()
    taken = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _library() -> Any:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None
    lanes = 16 if _has("avx512f") else 8 if _has("avx2") else 4
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "limits.so"
        command = [compiler, "-O3", "-march=native", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC",
                   f"-DLANES={lanes}", str(SOURCE), "-o", str(made)]  # fmt: skip
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return None
        library = ctypes.CDLL(str(made))
    library.fma_rate.restype = library.exp_rate.restype = ctypes.c_float
    return library


def _has(flag: str) -> bool:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    return any(flag in x.split() for x in lines if x.startswith("flags"))


if __name__ == "__main__":
    for count in (1, 2):
        print(count, measured(count))
