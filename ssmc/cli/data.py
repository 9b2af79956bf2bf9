"""Array files: what `ssmc run` reads and writes.

| suffix | read | written |
|---|---|---|
| `.npz`, `.safetensors` | every array under its name; `state.h` is the state `h` | yes |
| `.npy` | one array | no |
| `.csv` | a table: a line a time step (`csvfile`) | no |
| `.wav` | a sound: a column a channel, counted from 0 (`wav`) | no |

Nothing is unpickled. The columns of a table or a sound are an input's axis; an input without axes takes one column. Any
other array has the shape that a call takes: `(batch…, L, axes…)` for an input, the axes alone for a
parameter, `(batch…, axes…)` for a state.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmc.cli.problems import (
    CannotRead,
    DamagedData,
    ManyColumns,
    NeedsName,
    NotStorable,
    TooFewAxes,
    TwoArrays,
    UnknownArray,
    UnknownFormat,
    UnknownKey,
)
from ssmc.diagnostics import SpecError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ssmc.cli.csvfile import Table

READ_FORMATS = (".npz", ".npy", ".safetensors", ".csv", ".wav")
WRITE_FORMATS = (".npz", ".safetensors")
STATE_PREFIX = "state."


@dataclass(frozen=True)
class Names:
    """What a spec takes: the number of axes of each input and parameter, and the names of the state's entries.

    `outputs` are what it gives: they stand beside the final states in a file that a run has written.
    """

    inputs: Mapping[str, int]
    params: Mapping[str, int]
    states: tuple[str, ...]
    outputs: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.inputs, *self.params, *(STATE_PREFIX + name for name in self.states))


@dataclass(frozen=True)
class Columns:
    """What a table or a sound holds: `(L, columns)`, and what each column is asked for by."""

    values: NDArray[Any]
    keys: tuple[str, ...]

    def pick(self, key: str, path: str) -> Columns:
        if key not in self.keys:
            raise SpecError([UnknownKey(None, key, self.keys, path)])
        at = self.keys.index(key)
        return Columns(self.values[:, at : at + 1], (key,))

    def shaped(self, name: str, path: str, names: Names) -> NDArray[Any]:
        """As the spec's `name` takes it. Raises SpecError where an input has no room for the columns."""
        rank = names.inputs.get(name)
        if rank == 1:
            return self.values
        if rank == 0 and len(self.keys) != 1:
            raise SpecError([ManyColumns(None, path, name, self.keys)])
        if rank:
            raise SpecError([TooFewAxes(None, path, name, rank)])
        return self.values[:, 0] if len(self.keys) == 1 else self.values


@dataclass
class Arrays:
    """What the files held: arguments by name, state entries by name, and remarks for the user."""

    arguments: dict[str, torch.Tensor] = field(default_factory=dict)
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, array: Any, path: str, names: Names) -> None:
        """Add an array under a name of the spec. Raises SpecError where there is no such name, or it is taken."""
        if name not in names.all:
            raise SpecError([UnknownArray(None, name, names.all, f"`{path}` holds")])
        if name in self.origin:
            raise SpecError([TwoArrays(None, name, self.origin[name], path)])
        self.origin[name] = path
        tensor = _tensor(name, array.shaped(name, path, names) if isinstance(array, Columns) else array, path)
        if name in names.inputs or name in names.params:
            self.arguments[name] = tensor
        else:
            self.state[name.removeprefix(STATE_PREFIX)] = tensor


def read_inputs(given: tuple[str, ...], names: Names) -> Arrays:
    """Read every `--input`: `FILE`, `NAME=FILE`, or `NAME=FILE:KEY` (one array or column of a file of several)."""
    found = Arrays()
    for text in given:
        name, equals, rest = text.partition("=")
        if equals and (name in names.all or not Path(text).exists()):
            if name not in names.all:
                raise SpecError([UnknownArray(None, name, names.all, "`--input` names")])
            if not rest:
                raise SpecError([CannotRead(None, text, "no file is named")])
            found.put(name, _one(rest), rest, names)
        else:
            _read_all(text, names, found)
    return found


def _read_all(path: str, names: Names, found: Arrays) -> None:
    suffix = _suffix(path)
    if suffix == ".csv":
        from ssmc.cli.csvfile import arrays_of, read_table

        table = read_table(path, _bytes(path))
        arrays, unused = arrays_of(table, names.inputs)
        for name, array in arrays.items():
            found.put(name, array, path, names)
        alone = len(table.keys) == 1 and len(names.inputs) == 1
        if table.names is None or (alone and not arrays):
            found.put(_only_name(path, names), _columns(table), path, names)
        elif unused:
            columns = ", ".join(f"`{name}`" for name in unused)
            how = f"--input NAME={path}:COLUMN takes one by its name here"
            found.notes.append(f"note: `{path}`: no input has the name of {columns}: left unread; {how}")
    elif suffix in (".npz", ".safetensors"):
        for name, array in _archive(path).items():
            if name not in names.outputs:  # the next run goes on from a file of this one
                found.put(name, array, path, names)
    else:
        found.put(_only_name(path, names), _single(path), path, names)


def _only_name(path: str, names: Names) -> str:
    """The name that an array without one gets: the file's own, else that of the only input."""
    stem = Path(path).stem
    if stem in names.all:
        return stem
    if len(names.inputs) == 1:
        return next(iter(names.inputs))
    raise SpecError([NeedsName(None, path, names.all)])


def _one(text: str) -> Any:
    """The array that `FILE` or `FILE:KEY` says."""
    path, colon, key = text.rpartition(":")
    if not colon or Path(text).exists():
        path, key = text, ""
    suffix = _suffix(path)
    if suffix == ".csv":
        from ssmc.cli.csvfile import read_table

        table = read_table(path, _bytes(path))
        if key in table.keys:
            return Columns(table.column(table.index(key))[:, None], (key,))
        return _columns(table).pick(key, path) if key else _columns(table)
    if suffix in (".npz", ".safetensors"):
        archive = _archive(path)
        if not key and len(archive) == 1:
            return next(iter(archive.values()))
        if key not in archive:
            raise SpecError([UnknownKey(None, key or "single array", tuple(archive), path)])
        return archive[key]
    single = _single(path)
    if not key:
        return single
    if isinstance(single, Columns):
        return single.pick(key, path)
    raise SpecError([UnknownKey(None, key, (), path)])


def _columns(table: Table) -> Columns:
    return Columns(table.everything(), table.keys)


def _single(path: str) -> Any:
    """The array of a file that holds one."""
    if _suffix(path) == ".wav":
        from ssmc.cli.wav import WavError, read_wav

        try:
            samples, _ = read_wav(_bytes(path))
            return Columns(samples, tuple(str(n) for n in range(samples.shape[1])))
        except WavError as error:
            raise SpecError([DamagedData(None, path, "wav", str(error))]) from error
    import numpy as np

    _bytes(path, limit=1)
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise SpecError([DamagedData(None, path, "npy", *_said(error))]) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise SpecError([DamagedData(None, path, "npy", "it is an archive: name it .npz")])
    return array


def _archive(path: str) -> dict[str, Any]:
    """The arrays of an `.npz` or a `.safetensors` file by name."""
    _bytes(path, limit=1)
    if _suffix(path) == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise SpecError([DamagedData(None, path, "safetensors", *_said(error))]) from error
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            if isinstance(archive, np.ndarray):
                raise SpecError([DamagedData(None, path, "npz", "it is a single array: name it .npy")])
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError, AttributeError) as error:
        raise SpecError([DamagedData(None, path, "npz", *_said(error))]) from error


def _said(error: Exception) -> tuple[str, str]:
    """Why a file could not be read, and what to do."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    # numpy takes what it does not know for a pickle, and says how to load one: a pickle may run anything, and never is
    if "pickle" in line:
        return "it does not hold plain arrays of numbers", "save arrays whose dtype is a number, not `object`"
    return line, ""


def _suffix(path: str) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in READ_FORMATS:
        _bytes(path, limit=1)  # a file that is not there has no format
        raise SpecError([UnknownFormat(None, path, ", ".join(READ_FORMATS))])
    return suffix


def _bytes(path: str, limit: int = -1) -> bytes:
    """The bytes of a file (the first `limit`). Raises SpecError where the system does not give them."""
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        near = _neighbours(Path(path)) if isinstance(error, FileNotFoundError) else ()
        raise SpecError([CannotRead(None, path, why, near)]) from error


def _neighbours(path: Path) -> tuple[str, ...]:
    try:
        return tuple(p.name for p in path.parent.iterdir() if p.suffix.lower() in READ_FORMATS)
    except OSError:
        return ()


def _tensor(name: str, array: Any, path: str) -> torch.Tensor:
    import torch

    if isinstance(array, torch.Tensor):
        return array
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(array).contiguous() if array.ndim else torch.as_tensor(array)
    except TypeError as error:
        why = f"`{name}` is of {array.dtype}, which is no kind of number that torch has"
        raise SpecError([DamagedData(None, path, Path(path).suffix[1:], why)]) from error


# -- writing -----------------------------------------------------------------------------------------------------


def check_writable(path: Path) -> None:
    """Raise SpecError where the suffix is of no format that is written; before the long work, not after it."""
    if path.suffix.lower() not in WRITE_FORMATS:
        raise SpecError([UnknownFormat(None, str(path), ", ".join(WRITE_FORMATS))])


def write_arrays(path: Path, arrays: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Write the arrays to `path`, atomically; remarks for the user. Raises SpecError."""
    import torch

    from ssmc.files import write_atomically

    check_writable(path)
    plain = {name: array.detach().cpu().contiguous() for name, array in arrays.items()}
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import save

        for name, array in plain.items():
            if array.dtype == torch.complex128:
                raise SpecError(
                    [NotStorable(None, str(path), name, "complex128", "an .npz, or run with --dtype float32")]
                )
        # Two names for one memory (an output that is the state) are an error of the format: each gets its own.
        apart = {name: array.clone() for name, array in plain.items()}
        # not `save_file`: what the system refuses would be an error of its own kind
        write_atomically(path, lambda temporary: temporary.write_bytes(save(apart)))
        return ()
    import numpy as np

    narrow = [name for name, array in plain.items() if array.dtype == torch.bfloat16]
    stored: dict[str, Any] = {
        name: (array.float() if name in narrow else array).resolve_conj().resolve_neg().numpy()
        for name, array in plain.items()
    }

    def write(temporary: Path) -> None:
        # Not `np.savez(path, **stored)`: an output may be called `file`.
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, array in stored.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)

    write_atomically(path, write)
    return (f"note: numpy has no bfloat16: {', '.join(narrow)} written as float32",) if narrow else ()
