"""Compiled code in this process: a library's functions, and the extension module that calls them."""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ssmc.backends.cpp import cache
from ssmc.backends.cpp.problems import CannotLoad

from ssmc.diagnostics import SpecError

EXTENSION = "_ssmc_call"


@dataclass(frozen=True)
class Library:
    """A library that is loaded, for as long as the process lives."""

    path: Path
    handle: ctypes.CDLL

    def function(self, name: str) -> Callable[[Any], int] | None:
        """A function of the call's words, which other Python threads run beside; None where the library has none."""
        try:
            found = self.handle[name]
        except AttributeError:
            return None
        found.argtypes = [ctypes.c_void_p]
        found.restype = ctypes.c_int64
        return found

    def address(self, name: str) -> int:
        found = self.function(name)
        return ctypes.cast(found, ctypes.c_void_p).value or 0 if found is not None else 0  # type: ignore[arg-type]


def load(text: str, name: str, flags: tuple[str, ...] = ()) -> Library:
    """The library of a text, compiled where the cache has none. Raises SpecError."""
    entry, handle = _loaded(text, name, flags, lambda path: ctypes.CDLL(str(path)))
    return Library(entry.library, handle)


def _loaded(text: str, name: str, flags: tuple[str, ...], opened: Callable[[Path], Any]) -> tuple[cache.Entry, Any]:
    """An entry and what `opened` makes of its library: where it does not load, it is compiled once more."""
    entry = cache.compiled(text, name, flags)
    try:
        return entry, opened(entry.library)
    except (OSError, ImportError):
        cache.forget(entry)
    entry = cache.compiled(text, name, flags)
    try:
        return entry, opened(entry.library)
    except (OSError, ImportError) as error:
        raise SpecError([CannotLoad(None, name, str(entry.library), str(error))]) from error


# -- the extension -------------------------------------------------------------------------------------------------


def extension() -> ModuleType | None:
    """The module that calls libraries, compiled once for this Python; None where it cannot be (`why_no_extension`)."""
    return _extension()[0]


def why_no_extension() -> str:
    """Why calls go through ctypes, ten times as slow; empty where they do not."""
    return _extension()[1]


@functools.cache
def _extension() -> tuple[ModuleType | None, str]:
    import torch

    if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
        return None, f"torch {torch.__version__} has no DLPack exchange table (2.10 and later have)"
    include = sysconfig.get_path("include")
    if not (Path(include) / "Python.h").is_file():
        return None, f"Python's headers are not installed: no {include}/Python.h"
    text = _extension_text()
    # another Python, another extension: its name is part of the key
    flags = [f"-I{include}", f'-DSSMC_PYTHON="{sysconfig.get_config_var("SOABI") or sys.version}"']
    flags += ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    try:
        return _loaded(text, EXTENSION, tuple(flags), _imported)[1], ""
    except SpecError as wrong:
        return None, wrong.diagnostics[0].title


def _extension_text() -> str:
    """The extension as one file, which is what the cache knows."""
    folder = Path(__file__).parent / "extension"
    text = (folder / "module.cpp").read_text(encoding="utf-8")
    return re.sub(r'#include "(\w+\.hpp)"', lambda m: (folder / m[1]).read_text(encoding="utf-8"), text)


def _imported(path: Path) -> ModuleType:
    loader = importlib.machinery.ExtensionFileLoader(EXTENSION, str(path))
    spec = importlib.util.spec_from_loader(EXTENSION, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
