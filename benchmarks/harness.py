"""What the benchmarks share: interleaved timings (`ssmc.runtime.timing`), peak memory, a table, a record in JSON.

Peak memory is measured in a process of its own for each case, because neither torch nor the C library gives back all
that it once held.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ssmc.runtime.timing import Timing as Timing
from ssmc.runtime.timing import faster as faster
from ssmc.runtime.timing import interleaved as interleaved
from ssmc.runtime.timing import paired as paired

ROOT = Path(__file__).resolve().parent.parent


# -- memory --------------------------------------------------------------------------------------------------------


def resident() -> int:
    """Bytes this process holds now."""
    status = _status("VmRSS")
    return status if status is not None else _most_ever()


def peak_above(run: Callable[[], object]) -> int:
    """Bytes by which a run raises the most that this process ever held, over what it held before the run.

    The kernel's high-water mark is set back first, where it can be.
    """
    gc.collect()
    # where it cannot, the mark includes what came before: an upper bound
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    run()
    return max(0, (_status("VmHWM") or _most_ever()) - before)


def trim() -> None:
    """Have the C library give back what it keeps of freed memory, so that what is taken next is seen to be."""
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):  # of the GNU C library
        library.malloc_trim(0)


def _status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{field}:")), None)


def _most_ever() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_fresh_process(module: str, *arguments: str) -> Any:
    """What `python -m module arguments` prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


# -- reporting -----------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), line(["-" * w for w in widths]), *(line(row) for row in rows)])


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


def megabytes(count: float) -> str:
    return f"{count / 2**20:.0f}"


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    if "torch" in sys.modules:
        found |= {"torch": sys.modules["torch"].__version__, "threads": sys.modules["torch"].get_num_threads()}
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), platform.machine())


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--rounds", type=int, default=rounds, help=f"runs of each case ({rounds})")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the record there too")
    return made


def write(record: dict[str, Any], where: Path | None) -> None:
    if where is not None:
        where.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def record_of(timings: Sequence[Timing]) -> dict[str, Any]:
    return {t.name: t.record() for t in timings}
