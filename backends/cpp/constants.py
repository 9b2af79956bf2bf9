"""What is known of this machine: bandwidths, caches, arithmetic, what it costs to begin.

Measured where somebody asks for it (measure.py, `ssmc doctor --calibrate`), and kept in the user's folder for data, a
file for each kind of processor; else, and where a file is damaged, the defaults of this module.

    machine-<processor>.json   {"format": 1, "processor": …, "measured": …, "constants": {…}}
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssmc.backends.cpp.folders import data_folder
from ssmc.backends.cpp.toolchain import machine

from ssmc.files import write_texts
from ssmc.plan.machines import Cache, Machine

FORMAT = 1  # of the file; one of another format is not read
UNDISTURBED = 0.6  # of so many times what one thread does, threads that nobody disturbs do together


@dataclass(frozen=True)
class Rate:
    """So much a second: of one thread, and of as many as are of use, together."""

    one: float
    all: float

    def of(self, threads: int) -> float:
        """Of some number of threads: they add up until no more is to be had."""
        return min(self.one * threads, max(self.one, self.all))


@dataclass(frozen=True)
class Constants:
    """`copy` and `streamed`: bytes read and written, by stores that fetch the line first and by stores that do not.
    `flops` of fused products and sums, `exps` of the generated code's own exponential, both in float32. `caches` from
    the nearest, with what one thread reads and writes in each. `region`: seconds to start and end threads; `call`: of
    a call of a spec beside its kernel. `measured`: when; nothing for defaults.
    """

    threads: int
    copy: Rate
    streamed: Rate
    flops: Rate
    exps: Rate
    caches: tuple[Cache, ...]
    region: float
    call: float
    processor: str = ""
    measured: str = ""

    @property
    def nearest(self) -> tuple[int, int]:
        """Bytes of the two caches that are a core's own."""
        sizes = [x.bytes for x in self.caches]
        return sizes[0], sizes[1 if len(sizes) > 1 else 0]

    @property
    def disturbed(self) -> bool:
        """Whether other processes seem to have kept the processor busy while it was measured."""
        return any(r.all < UNDISTURBED * self.threads * r.one for r in (self.flops, self.exps))

    def machine(self, threads: int | None = None) -> Machine:
        """The machine that plans for generated C++ are made for, `threads` of it."""
        count = max(1, min(threads or self.threads, self.threads))
        near = self.caches[1 if len(self.caches) > 1 else 0]
        return Machine(
            "cpp", flops=self.flops.of(count), dot_flops=self.flops.of(count), bandwidth=self.copy.of(count),
            cache=near.bytes, cache_bandwidth=near.bandwidth * count, overhead=0.0, cores=count, stepwise=True,
            exps=self.exps.of(count), caches=self.caches, starting=self.call + (self.region if count > 1 else 0.0),
        )  # fmt: skip


def available_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def defaults() -> Constants:
    """A core of a current server, as many of them as there are here."""
    threads = available_threads()
    more = 1.5 if threads > 1 else 1.0
    return Constants(
        threads=threads,
        copy=Rate(1.6e10, 1.6e10 * more),
        streamed=Rate(2.4e10, 2.4e10 * more),
        flops=Rate(1.0e11, 1.0e11 * threads),
        exps=Rate(3.5e9, 3.5e9 * threads),
        caches=(Cache(1 << 15, 2.0e11), Cache(1 << 20, 1.0e11), Cache(1 << 24, 4.0e10)),
        region=1e-6,
        call=6e-6,
    )


@dataclass(frozen=True)
class Found:
    """The constants in use. `note` says why they are not those of the file, where there is one."""

    constants: Constants
    file: Path
    note: str = ""

    @property
    def age_days(self) -> int | None:
        """Since they were measured; None for defaults."""
        if not self.constants.measured:
            return None
        then = datetime.fromisoformat(self.constants.measured)
        return max(0, (datetime.now(timezone.utc) - then).days)


def constants() -> Constants:
    """What plans and schedules are made from. Nothing is measured here."""
    return found().constants


def found() -> Found:
    file = constants_file()
    try:
        stamp = file.stat().st_mtime_ns
    except OSError:
        return Found(defaults(), file)
    return _found(file, stamp)


@functools.lru_cache(maxsize=4)
def _found(file: Path, stamp: int) -> Found:
    """The file as it was at a time."""
    del stamp
    try:
        return Found(_read(json.loads(file.read_text(encoding="utf-8"))), file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = str(error) if isinstance(error, Unusable) else "it is damaged"
        return Found(defaults(), file, f"`{file}` is not used: {why}; `ssmc doctor --calibrate` measures anew")


def constants_file() -> Path:
    return data_folder() / f"machine-{machine().replace(' ', '-')}.json"


def keep(measured: Constants) -> Path:
    """Write the file. Raises SpecError where the system refuses."""
    file = constants_file()
    write_texts({file: as_text(measured)})
    return file


# -- the file --------------------------------------------------------------------------------------------------------


class Unusable(ValueError):
    """A file that is whole, and not for us."""


def as_text(c: Constants) -> str:
    """The file, as a person can read it."""

    def rate(r: Rate) -> dict[str, float]:
        return {"one thread": _short(r.one), "all threads": _short(r.all)}

    told = {
        "useful threads": c.threads,
        "copy, bytes a second": rate(c.copy),
        "streamed copy, bytes a second": rate(c.streamed),
        "fused products and sums, operations a second": rate(c.flops),
        "exponentials a second": rate(c.exps),
        "caches, from the nearest": [
            {"bytes": x.bytes, "read and written by one thread, bytes a second": _short(x.bandwidth)} for x in c.caches
        ],
        "a region of threads, seconds": _short(c.region),
        "a call, seconds": _short(c.call),
    }
    about = {"format": FORMAT, "machine": machine(), "processor": c.processor, "measured": c.measured}
    return json.dumps(about | {"constants": told}, indent=2) + "\n"


def _short(x: float) -> float:
    return float(f"{x:.4g}")


def _read(data: Mapping[str, Any]) -> Constants:
    """What a file says. Raises ValueError, KeyError or TypeError where it is not whole."""
    if data["format"] != FORMAT:
        raise Unusable(f"it has format {data['format']}, and this version writes {FORMAT}")
    if data["machine"] != machine():
        raise Unusable("it is of another processor")
    told = data["constants"]

    def rate(name: str) -> Rate:
        return Rate(_positive(told[name]["one thread"]), _positive(told[name]["all threads"]))

    caches = tuple(
        Cache(int(_positive(x["bytes"])), _positive(x["read and written by one thread, bytes a second"]))
        for x in told["caches, from the nearest"]
    )
    if not caches or [x.bytes for x in caches] != sorted({x.bytes for x in caches}):
        raise ValueError("caches")
    measured = str(data["measured"])
    if datetime.fromisoformat(measured).tzinfo is None:
        raise ValueError("measured")
    return Constants(
        threads=int(_positive(told["useful threads"])),
        copy=rate("copy, bytes a second"),
        streamed=rate("streamed copy, bytes a second"),
        flops=rate("fused products and sums, operations a second"),
        exps=rate("exponentials a second"),
        caches=caches,
        region=_positive(told["a region of threads, seconds"]),
        call=_positive(told["a call, seconds"]),
        processor=str(data["processor"]),
        measured=measured,
    )


def _positive(x: Any) -> float:
    if isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x) or x <= 0:
        raise ValueError(f"{x!r}")
    return float(x)
