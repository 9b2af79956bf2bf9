"""Schedules that `ssmc bench --tune` found to be the quickest, kept in the user's folder for data.

    tuned/<name>-<key>.json     the key: what the spec says, its sizes, threads, the processor, the compiler

A file is for people to read too. One that is damaged is told by `ssmc doctor`, and not used; nor is one for another
compiler or another number of threads, for which something else may be quickest.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssmc.backends.cpp.folders import data_folder
from ssmc.backends.cpp.toolchain import toolchain
from ssmc.backends.cpp.wishes import Wishes, wishes_of

from ssmc.diagnostics import SpecError
from ssmc.files import write_texts

FORMAT = 1
FOLDER = "tuned"


@dataclass(frozen=True)
class Tuned:
    """What was found for a spec at some sizes. `seconds`: of the rules' schedule and of this, by what was timed."""

    spec: str
    sizes: tuple[tuple[str, int], ...]
    batch: int
    length: int
    threads: int
    wishes: Wishes
    seconds: tuple[tuple[str, float, float], ...]
    measured: str

    @property
    def name(self) -> str:
        return self.spec.partition("@")[0]

    @property
    def day(self) -> str:
        return self.measured[:10]

    def told(self) -> str:
        """What it is, in a line."""
        sizes = ", ".join(f"{a} = {s}" for a, s in self.sizes)
        gains = ", ".join(f"{what} {before / after:.2f} x" for what, before, after in self.seconds)
        at = f"batch {self.batch}, length {self.length}, {self.threads} thread{'s' if self.threads != 1 else ''}"
        return f"{self.name}{f' ({sizes})' if sizes else ''}, tuned on {self.day} at {at}: {gains}"


def tuned(spec: str, sizes: Mapping[str, int], threads: int) -> Wishes | None:
    """What was found for a spec at these sizes and so many threads, on this machine with this compiler."""
    file = file_of(spec, sizes, threads)
    try:
        stamp = file.stat().st_mtime_ns
    except OSError:
        return None
    found = _at(file, stamp)
    if not isinstance(found, Tuned):
        return None
    asked = (spec, dict(sizes), threads)
    return found.wishes if (found.spec, dict(found.sizes), found.threads) == asked else None


def keep(found: Tuned) -> Path:
    """Write it down, in the place of what was there for the same. Raises SpecError where the system refuses."""
    file = file_of(found.spec, dict(found.sizes), found.threads)
    data = {
        "format": FORMAT, "spec": found.spec, "sizes": dict(found.sizes), "batch": found.batch,
        "length": found.length, "threads": found.threads, "compiler": toolchain().version,
        "measured": found.measured, "schedule": found.wishes.told(),
        "seconds": {what: {"by rules": before, "tuned": after} for what, before, after in found.seconds},
    }  # fmt: skip
    write_texts({file: json.dumps(data, indent=2) + "\n"})
    return file


def forget(spec: str, sizes: Mapping[str, int] | None = None, threads: int | None = None) -> int:
    """Remove what was found for a spec: at these sizes or at any, for so many threads or any, and for any compiler. How
    many there were."""
    count = 0
    for file, found in everything():
        if not isinstance(found, Tuned) or found.spec != spec:
            continue
        if (sizes is None or dict(found.sizes) == dict(sizes)) and threads in (None, found.threads):
            file.unlink(missing_ok=True)
            count += 1
    return count


def everything() -> Iterator[tuple[Path, Tuned | str]]:
    """Every file, and what it says, or why it is not used."""
    folder = data_folder() / FOLDER
    try:
        files = sorted(folder.glob("*.json"))
    except OSError:
        return
    for file in files:
        try:
            yield file, _at(file, file.stat().st_mtime_ns)
        except OSError:
            continue


def file_of(spec: str, sizes: Mapping[str, int], threads: int) -> Path:
    tools = toolchain()
    parts = [spec, repr(sorted(sizes.items())), str(threads), tools.machine, tools.version]
    name = spec.partition("@")[0]
    return data_folder() / FOLDER / f"{name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:20]}.json"


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@functools.lru_cache(maxsize=64)
def _at(file: Path, stamp: int) -> Tuned | str:
    """The file as it was at a time; a text says why it is not used."""
    del stamp
    try:
        return _read(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SpecError):
        return f"`{file}` is damaged, and not used; `ssmc bench --tune` writes it anew"


def _read(data: Mapping[str, Any]) -> Tuned:
    if data["format"] != FORMAT:
        raise ValueError("format")
    measured = str(data["measured"])
    if datetime.fromisoformat(measured).tzinfo is None:
        raise ValueError("measured")
    numbers = {name: int(data[name]) for name in ("batch", "length", "threads")}
    seconds = tuple((str(w), float(x["by rules"]), float(x["tuned"])) for w, x in data["seconds"].items())
    if not all(x > 0 for x in (*numbers.values(), *(s for _, *pair in seconds for s in pair))):
        raise ValueError("seconds")
    made = Tuned(
        str(data["spec"]), tuple((str(a), int(s)) for a, s in data["sizes"].items()), **numbers,
        wishes=wishes_of(data["schedule"]), seconds=seconds, measured=measured,
    )  # fmt: skip
    # another form has other passes
    return replace(made, wishes=replace(made.wishes, soft=True, why=f"tuned on {made.day} (`ssmc bench --tune`)"))
