"""Where compiled code is kept: a folder that only the user can write, since what lies there is loaded and run; and
where what was measured is kept, which nobody would want to lose with a cache.

$SSMC_CACHE_DIR, else the system's place for caches. Where that takes nothing (a read-only home), what is already there
is used all the same, and new code goes to a temporary folder.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ssmc.backends.cpp.problems import CacheNotWritten

from ssmc.diagnostics import SpecError

VARIABLE = "SSMC_CACHE_DIR"
DATA_VARIABLE = "SSMC_DATA_DIR"


@dataclass(frozen=True)
class Folders:
    """`store` takes new code; `read` are all that are looked into. `note` says why `store` is not the usual place."""

    store: Path
    read: tuple[Path, ...]
    note: str = ""


def folders() -> Folders:
    """The folders of this process. Raises SpecError where none can be written to."""
    return _folders(os.environ.get(VARIABLE, ""), os.environ.get("HOME", ""), os.environ.get("XDG_CACHE_HOME", ""))


def data_folder() -> Path:
    """Where what was measured is kept: $SSMC_DATA_DIR, else the system's place for data. It may not be there yet."""
    return _data_folder(os.environ.get(DATA_VARIABLE, ""), os.environ.get("HOME", ""))


@functools.lru_cache(maxsize=8)
def _data_folder(named: str, home: str) -> Path:
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("ssmc", appauthor=False))


@functools.lru_cache(maxsize=8)
def _folders(named: str, home: str, xdg: str) -> Folders:
    """As `folders`; the arguments are what the answer depends on, within a process."""
    usual = _usual(named)
    why = _refused(usual)
    if why is None:
        return Folders(usual, (usual,))
    read = (usual,) if _trusted(usual) is None else ()
    lent, lent_why = _temporary()
    if lent is None:
        raise SpecError([CacheNotWritten(None, str(usual), f"{why}; nor to a temporary folder: {lent_why}")])
    return Folders(lent, (*read, lent), f"`{usual}` {why}: compiled code is in a temporary folder and may be lost")


def _usual(named: str) -> Path:
    if named:
        return Path(named).expanduser().absolute() / "cpp"
    import platformdirs

    return Path(platformdirs.user_cache_dir("ssmc", appauthor=False)) / "cpp"


def _refused(folder: Path) -> str | None:
    """Why new code cannot be kept in a folder, which is made where there is none; None where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        untrusted = _trusted(folder)
        if untrusted is not None:
            return untrusted
        # asking for permissions says nothing of a file system that is read-only, or of the super-user
        handle, trial = tempfile.mkstemp(prefix=".tmp-", dir=folder)
        os.close(handle)
        os.unlink(trial)
    except OSError as error:
        return f"cannot be written to ({error.strerror or error})"
    return None


def _trusted(folder: Path) -> str | None:
    """Why what lies in a folder should not be run; None where only this user and the super-user can write to it."""
    try:
        status = os.stat(folder)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if not stat.S_ISDIR(status.st_mode):
        return "is not a folder"
    if hasattr(os, "getuid") and status.st_uid not in (os.getuid(), 0):
        return "belongs to another user"
    if status.st_mode & stat.S_IWOTH:
        return "can be written to by every user"
    return None


def _temporary() -> tuple[Path | None, str]:
    """A folder of this user's among the temporary ones, the same for all processes; else one for this process alone."""
    try:
        base = Path(tempfile.gettempdir())
        shared = base / f"ssmc-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        # a name that can be foreseen may be taken by another user, or be a link
        if not shared.is_symlink() and _refused(shared) is None and shared.stat().st_uid == os.getuid():
            return shared, ""
        own = Path(tempfile.mkdtemp(prefix="ssmc-"))
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return own, ""
    except OSError as error:
        return None, error.strerror or str(error)
