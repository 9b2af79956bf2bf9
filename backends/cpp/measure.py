"""Measures the constants of this machine: measure.cpp, built and kept as any other generated code.

A limit is what was reached once, undisturbed: the best of many runs, each so short that other processes leave some of
them alone.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import platform
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

from ssmc.backends.cpp.constants import UNDISTURBED, Constants, Rate, available_threads
from ssmc.backends.cpp.library import Library, load
from ssmc.backends.cpp.library_text import support_text
from ssmc.backends.cpp.toolchain import Toolchain, toolchain

from ssmc.plan.machines import Cache

RUNS, SECONDS = 5, 0.25  # of each: at least so many runs, and as many as fit
AIM = 0.001  # seconds that a run should take
FAR = 1 << 26  # bytes of an array that is beyond the caches, unless those are larger
STRIPE = 1 << 22  # bytes of it that a run copies, each time others
TRIES = 4
REGIONS = 100  # of threads, that a run begins and ends
NEAREST = (1 << 15, 1 << 20, 1 << 24)  # sizes of caches where the system does not say
SUPPORT = ("m_exp", "stream", "stream_end", "thread")


def measured(call: float, tell: Callable[[str], None] = lambda _: None) -> Constants:
    """This machine's constants; `call` are the seconds of a call of a spec, which are measured above. `tell` hears of
    what is being measured. Takes a few seconds. Raises SpecError where there is no compiler."""
    tools = toolchain()
    m = _Loops(tools)
    tell("arithmetic")
    threads = useful_threads() if tools.openmp else 1
    flops, exps = _rate(m.flops, threads), _rate(m.exps, threads)
    tell("memory")
    sizes = cache_sizes()
    far = max(FAR, -(-2 * sizes[-1] // STRIPE) * STRIPE)
    with _memory(2 * far) as place:
        copy = _rate(lambda n: m.copied(place, far, n, False), threads, shared=True)
        streamed = _rate(lambda n: m.copied(place, far, n, True), threads, shared=True)
        tell("caches")
        caches = tuple(Cache(size, m.updated(place, size // 2)) for size in sizes)
    tell("threads")
    return Constants(
        threads, copy, streamed, flops, exps, caches, m.region(threads), call,
        processor_name(), datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )  # fmt: skip


def _rate(measure: Callable[[int], float], threads: int, shared: bool = False) -> Rate:
    """Of one thread and of all of use, which are not slower than one; again where others seem to have been in the way:
    cores do not get slower by what others do, unless they share (`shared`) a way to memory."""
    one = most = measure(1)
    for _ in range(TRIES if threads > 1 else 0):
        most = max(most, measure(threads))
        if shared or most > UNDISTURBED * threads * one:
            break
    return Rate(one, most)


class _Loops:
    """The loops of measure.cpp."""

    def __init__(self, tools: Toolchain) -> None:
        self.lanes = tools.lanes("float")
        body = (resources.files("ssmc.backends.cpp") / "measure.cpp").read_text(encoding="utf-8")
        self.library: Library = load(support_text(SUPPORT, "float", self.lanes) + "\n" + body, "measure")
        self.results = (ctypes.c_float * (self.lanes * (available_threads() + 1)))()

    def _run(self, name: str, *words: int) -> Callable[[], object]:
        function = self.library.function(f"measure_{name}")
        assert function is not None
        call = (ctypes.c_int64 * len(words))(*words)
        return lambda: function(call)

    def _rounds(self, name: str) -> int:
        """How many make a run, of one thread: several may have to wait for others, and for each other."""
        count, where = 1 << 10, ctypes.addressof(self.results)
        while (taken := best(self._run(name, count, 1, where), 3, 0)) < AIM:
            count = max(2 * count, int(count * min(16.0, AIM / max(taken, 1e-9))))
        return count

    def _seconds(self, name: str, threads: int) -> float:
        """Of one round."""
        rounds = self._rounds(name)
        return best(self._run(name, rounds, threads, ctypes.addressof(self.results))) / rounds

    def flops(self, threads: int) -> float:
        return 2 * 8 * self.lanes * threads / self._seconds("fma", threads)

    def exps(self, threads: int) -> float:
        return 4 * self.lanes * threads / self._seconds("exp", threads)

    def copied(self, place: int, size: int, threads: int, stream: bool) -> float:
        """Bytes read and written a second, from and to arrays of `size` bytes each: stripe by stripe, so that what is
        copied was not touched for long."""
        starts = itertools.cycle(range(0, size, STRIPE))

        def run() -> None:
            at = next(starts)
            self._run("copy", STRIPE // 4, threads, place + at, place + size + at, int(stream))()

        return 2 * STRIPE / best(run)

    def updated(self, place: int, size: int) -> float:
        """Bytes read and written a second, again and again the same `size` bytes."""
        count = max(1, size // 4 // self.lanes) * self.lanes
        rounds = max(1, int(5e7) // (4 * count))
        return 8 * count * rounds / best(self._run("update", count, rounds, place))

    def region(self, threads: int) -> float:
        call = self._run("region", REGIONS, threads, ctypes.addressof(self.results))
        return best(call) / REGIONS


def best(run: Callable[[], object], runs: int = RUNS, seconds: float = SECONDS) -> float:
    """Seconds of the quickest run, of at least so many and at least so long."""
    taken: list[float] = []
    while len(taken) < runs or sum(taken) < seconds:
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


class _memory:
    """So many bytes that begin at a multiple of 4096 and have been touched; their address."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self) -> int:
        import mmap

        self.map = mmap.mmap(-1, self.size)
        self.view: Any = (ctypes.c_char * self.size).from_buffer(self.map)
        ctypes.memset(self.view, 0, self.size)
        return ctypes.addressof(self.view)

    def __exit__(self, *_: object) -> None:
        del self.view
        self.map.close()


# -- what the system says --------------------------------------------------------------------------------------------


def cache_sizes() -> tuple[int, ...]:
    """Bytes of the caches of data, from the nearest, each larger than the one before."""
    sizes: list[int] = []
    for size in _system_sizes():
        if size > (sizes[-1] if sizes else 0):
            sizes.append(size)
    return tuple(sizes) or NEAREST


def _system_sizes() -> Iterator[int]:
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    for index in sorted(folder.glob("index*")):
        try:
            kind, size = ((index / name).read_text().strip() for name in ("type", "size"))
        except OSError:
            continue
        if kind != "Instruction" and size[:-1].isdecimal() and size[-1] in "KM":
            yield int(size[:-1]) << (10 if size[-1] == "K" else 20)


def useful_threads() -> int:
    """The cores that this process may use: a second thread of one of them shares its units with the first."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in allowed:
        try:
            cores.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            return len(allowed)
    return len(cores)


def processor_name() -> str:
    """What the processor calls itself."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
