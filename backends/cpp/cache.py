"""Compiled code by the hash of what it was made from.

    <folder>/<key>/lib.so  source.cpp  entry.json

An entry is made under a temporary name in the same folder and renamed, whole, to its key: a compiler or a process that
is killed leaves nothing that could be taken for an entry. `entry.json` has the library's checksum, which is compared
before the library is loaded. The least recently used entries go when there are too many bytes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ssmc.backends.cpp.folders import folders
from ssmc.backends.cpp.problems import CacheNotWritten, CompileFailed, CompilerKilled
from ssmc.backends.cpp.toolchain import Toolchain, toolchain

from ssmc.diagnostics import SpecError

FORMAT = "1"  # of an entry
LIBRARY, SOURCE, ENTRY = "lib.so", "source.cpp", "entry.json"
TEMPORARY = ".tmp-"
MOST_BYTES = 1 << 29
MOST_FAILED = 20
STALE_SECONDS = 3600  # no compiler works longer at one file
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_WORDS = ("No space left on device", "Disk quota exceeded", "File too large", "File size limit exceeded")


@dataclass(frozen=True)
class Entry:
    """A library that is as the compiler left it."""

    key: str
    folder: Path

    @property
    def library(self) -> Path:
        return self.folder / LIBRARY

    @property
    def source(self) -> Path:
        return self.folder / SOURCE


def compiled(text: str, name: str, flags: tuple[str, ...] = ()) -> Entry:
    """The library of a text, from the cache or compiled now; `flags` come after the toolchain's. Raises SpecError."""
    tools = toolchain()
    key = key_of(text, tools, flags)
    found = lookup(key)
    if found is not None:
        return found
    store = folders().store
    with _lock(store, key):
        # another process may have made it meanwhile
        return lookup(key) or _make(text, name, tools, key, store, flags)


def key_of(text: str, tools: Toolchain, more: tuple[str, ...] = ()) -> str:
    """What an entry is named after: everything the library depends on."""
    parts = (FORMAT, tools.identity, *more, text)
    return hashlib.sha256("\0".join(parts).encode("utf-8")).hexdigest()[:40]


def lookup(key: str) -> Entry | None:
    """The entry of a key, where there is one and it is whole."""
    for folder in folders().read:
        entry = Entry(key, folder / key)
        if _is_whole(entry):
            with contextlib.suppress(OSError):  # for the least recently used to go first
                os.utime(entry.folder / ENTRY)
            return entry
    return None


def forget(entry: Entry) -> None:
    """Remove an entry, which did not load, so that it is made again."""
    _remove(entry.folder)


def _is_whole(entry: Entry) -> bool:
    try:
        data = json.loads((entry.folder / ENTRY).read_text(encoding="utf-8"))
        return bool(data["checksum"] == checksum(entry.library))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


# -- making an entry -----------------------------------------------------------------------------------------------


def _make(text: str, name: str, tools: Toolchain, key: str, store: Path, flags: tuple[str, ...]) -> Entry:
    entry = Entry(key, store / key)
    with _not_full(store):
        fresh = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{os.getpid()}-", dir=store))
        try:
            source = fresh / SOURCE
            source.write_text(text, encoding="utf-8")
            run_compiler(tools, source, fresh / LIBRARY, name, flags=flags)
            about = {"name": name, "checksum": checksum(fresh / LIBRARY), "compiler": tools.version}
            (fresh / ENTRY).write_text(json.dumps(about), encoding="utf-8")
            _publish(fresh, entry)
        finally:
            _remove(fresh)
    evict(store)
    return entry


def _publish(fresh: Path, entry: Entry) -> None:
    """Rename what was made to its key. What stands there is damaged, or another process was quicker."""
    for _ in range(3):
        try:
            os.rename(fresh, entry.folder)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        if _is_whole(entry):
            return
        _remove(entry.folder)
    os.rename(fresh, entry.folder)


def run_compiler(
    tools: Toolchain, source: Path, out: Path, name: str, *, flags: tuple[str, ...] = (), keep: bool = True
) -> None:
    """Compile `source` to `out`. Raises SpecError, after the source was put where it is kept (`keep`)."""
    command = [*tools.command, *tools.all_flags(), *flags, str(source), "-o", str(out)]
    # The compiler's own temporary files lie where they are removed with the rest. A library that this process was
    # started with, a sanitizer's for instance, is none of the compiler's.
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | {"TMPDIR": str(out.parent)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            env=environment, check=False,
        )  # fmt: skip
    except OSError as error:
        raise SpecError([CompileFailed(None, name, tools.command[0], "", str(error))]) from None
    if done.returncode == 0 and out.exists():
        return
    if any(words in done.stderr for words in FULL_WORDS):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    ended = _signal_of(done)
    if ended:
        raise SpecError([CompilerKilled(None, name, tools.command[0], ended)])
    kept = keep_failed(source, name, f"{' '.join(command)}\n\n{done.stderr}") if keep else str(source)
    raise SpecError([CompileFailed(None, name, tools.command[0], kept, done.stderr.replace(str(source), name))])


def _signal_of(done: subprocess.CompletedProcess[str]) -> str:
    """The signal that ended the compiler, or, as its driver reports it, one of its parts."""
    if done.returncode < 0:
        try:
            return signal.Signals(-done.returncode).name
        except ValueError:
            return f"signal {-done.returncode}"
    said = next((line for line in done.stderr.splitlines() if "Killed signal" in line or "out of memory" in line), "")
    return "SIGKILL" if said else ""


def keep_failed(source: Path, name: str, log: str) -> str:
    """Copy a source that the compiler refused to a place of its own, with what was said; its path, or nothing."""
    folder = folders().store / "failed"
    try:
        folder.mkdir(exist_ok=True)
        text = source.read_text(encoding="utf-8")
        kept = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}{source.suffix}"
        kept.write_text(text, encoding="utf-8")
        kept.with_suffix(".log").write_text(log, encoding="utf-8")
        old = sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)[2 * MOST_FAILED :]
        for path in old:
            path.unlink(missing_ok=True)
    except OSError:
        return ""
    return str(kept)


@contextlib.contextmanager
def _not_full(store: Path) -> Iterator[None]:
    """A folder that takes nothing more is the user's to hear of."""
    try:
        yield
    except OSError as error:
        why = "the disk is full" if error.errno in FULL else error.strerror or str(error)
        raise SpecError([CacheNotWritten(None, str(store), why)]) from error


@contextlib.contextmanager
def _lock(store: Path, key: str) -> Iterator[None]:
    """One process makes an entry, others wait for it. Where the system has no locks each makes its own, which is as
    good: the first that is done is kept.
    """
    try:
        import fcntl

        handle = os.open(store / f".lock-{key[:2]}", os.O_RDWR | os.O_CREAT, 0o600)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# -- what is there, and what goes ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """An entry as the eviction sees it."""

    folder: Path
    bytes: int
    used: float


def held(folder: Path) -> list[Held]:
    """The entries of a folder, the least recently used first."""
    found = []
    try:
        inside = list(os.scandir(folder))
    except OSError:
        return []
    for item in inside:
        if item.name.startswith(".") or item.name == "failed" or not item.is_dir():
            continue
        with contextlib.suppress(OSError):  # another process may be removing it
            sizes = [f.stat().st_size for f in os.scandir(item.path)]
            mark = os.path.join(item.path, ENTRY)
            used = os.stat(mark).st_mtime if os.path.exists(mark) else 0.0  # damaged: the first to go
            found.append(Held(Path(item.path), sum(sizes), used))
    return sorted(found, key=lambda h: h.used)


def most_bytes() -> int:
    """The bound of the cache's size: $SSMC_CACHE_MB, else half a gibibyte."""
    given = os.environ.get("SSMC_CACHE_MB", "")
    return int(given) << 20 if given.isdecimal() else MOST_BYTES


def evict(store: Path) -> None:
    """Remove the least recently used entries beyond the bound, and what processes that died have left.

    A library that another process has loaded stays in its memory when its file goes.
    """
    entries = held(store)
    total = sum(h.bytes for h in entries)
    # the last one is what was just made
    for h in entries[:-1]:
        if total <= most_bytes():
            break
        _remove(h.folder)
        total -= h.bytes
    with contextlib.suppress(OSError):
        for item in os.scandir(store):
            if item.name.startswith(TEMPORARY) and time.time() - item.stat().st_mtime > STALE_SECONDS:
                _remove(Path(item.path))


def _remove(path: Path) -> None:
    """Remove an entry in two moves: out of its place at once, then piece by piece."""
    if not path.exists() and not path.is_symlink():
        return
    doomed = path.with_name(f"{TEMPORARY}{os.getpid()}-{time.monotonic_ns()}")
    with contextlib.suppress(OSError):
        os.rename(path, doomed)
        path = doomed
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
