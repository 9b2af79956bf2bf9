"""Functions that a saved module carries along: to load its library, or compile it again, and to call it.

They are copied as they stand, with `_machine` of `toolchain.py`, and need torch and the standard library only.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ssmc.backends.cpp.toolchain import _machine
from torch import Tensor


def _library(name: str, machine: str, digests: dict[str, str], flags: Sequence[str]) -> ctypes.CDLL:
    """The library beside this file. Compiled anew where it is for another machine, or its source was changed.

    `digests` are the checksums of the files: to load a library that is cut short may end the process.
    """
    folder = Path(__file__).resolve().parent
    source, shipped = folder / f"{name}.cpp", folder / f"lib{name}.so"
    text, code = (path.read_bytes() if path.is_file() else b"" for path in (source, shipped))
    here = _machine()
    if not code:
        why = f"there is no {shipped.name}"
    elif here != machine:
        why = f"{shipped.name} was compiled for another machine"
    elif text and hashlib.sha256(text).hexdigest() != digests[source.name]:
        why = f"{source.name} was changed"
    elif hashlib.sha256(code).hexdigest() != digests[shipped.name]:
        why = f"{shipped.name} is damaged"
    else:
        return ctypes.CDLL(str(shipped))
    if not text:
        raise ImportError(f"{why}, and there is no {source.name} beside it to compile")
    key = hashlib.sha256(repr([here, *flags]).encode() + text).hexdigest()[:12]
    for known in folder.glob(f"lib{name}-{key}-*.so"):
        # its name ends in its checksum
        if known.stem.endswith(hashlib.sha256(known.read_bytes()).hexdigest()[:12]):
            return ctypes.CDLL(str(known))
    sys.stderr.write(f"{why}: compiling {source}\n")
    place = folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=place) as scratch:
        made = Path(scratch) / shipped.name
        _compile(source, made, flags)
        library = ctypes.CDLL(str(made))
        if place == folder:
            end = hashlib.sha256(made.read_bytes()).hexdigest()[:12]
            os.replace(made, folder / f"lib{name}-{key}-{end}.so")
    return library


def _compile(source: Path, made: Path, flags: Sequence[str]) -> None:
    """Compile with the first compiler there is, and as many of the flags as it takes."""
    named = shlex.split(os.environ.get("CXX", ""))
    commands = [named] if named else [["c++"], ["g++"], ["clang++"]]
    said = "none was found"
    for command in commands:
        if shutil.which(command[0]) is None:
            continue
        for without in ((), ("-fopenmp",), ("-march=native",), ("-fopenmp", "-march=native")):
            taken = [flag for flag in flags if flag not in without]
            words = [*command, *taken, str(source), "-o", str(made)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
            said = done.stderr.strip() or f"{command[0]} fails"
    raise ImportError(f"{source} was not compiled, for want of a C++ compiler that takes it: {said}")


def _given(name: str, x: Tensor, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """A tensor as the library reads it: its dtype, its shape, and no history."""
    if torch.is_grad_enabled() and x.requires_grad:
        raise RuntimeError(f"`{name}` requires a gradient, and this module has none: call it under torch.no_grad()")
    if x.device.type != "cpu":
        raise ValueError(f"`{name}` is on {x.device}; this module runs on the CPU")
    if x.dtype in (torch.float64, torch.complex128) and dtype in (torch.float32, torch.complex64):
        raise TypeError(f"`{name}` is {x.dtype}, and this module was compiled for {dtype}: convert it")
    if tuple(x.shape) != tuple(shape):
        raise ValueError(f"`{name}` is {tuple(x.shape)}, and {tuple(shape)} is expected")
    return x.detach().resolve_conj().resolve_neg().to(dtype)


def _run(function: Any, tensors: Sequence[Tensor], words: Sequence[int]) -> None:
    """Call the library: the address and the strides of every tensor, then the sizes, batch, length, steps before."""
    call = [word for x in tensors for word in (x.data_ptr(), *x.stride())]
    call += [*words, torch.get_num_threads()]
    if function((ctypes.c_int64 * len(call))(*call)):
        raise MemoryError("there is no memory for the working arrays")


def _fixed(sizes: dict[str, int], fixed: dict[str, int]) -> None:
    """The sizes that the library was compiled for are those of the call."""
    for axis, size in fixed.items():
        if sizes[axis] != size:
            raise ValueError(f"this module was compiled for {axis} = {size}, not {sizes[axis]}")
