"""Array files: what `ssmc run` reads and writes.

| suffix | read | written |
|---|---|---|
| `.npz`, `.safetensors` | every array under its name; `state.h` is the state `h` | yes |
| `.npy` | one array | no |
| `.csv` | a table: a line a time step (`csvfile`) | no |
| `.wav` | a sound: one channel is `(L,)`, more are `(L, channels)` (`wav`) | no |

Nothing is unpickled. An array has the shape that a call takes: `(batch…, L, axes…)` for an input, the axes alone for a
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
    NeedsName,
    NotStorable,
    TwoArrays,
    UnknownArray,
    UnknownFormat,
    UnknownKey,
)
from ssmc.diagnostics import SpecError

if TYPE_CHECKING:
    import torch

READ_FORMATS = (".npz", ".npy", ".safetensors", ".csv", ".wav")
WRITE_FORMATS = (".npz", ".safetensors")
STATE_PREFIX = "state."


@dataclass(frozen=True)
class Names:
    """What a spec takes: the number of axes of each input and parameter, and the names of the state's entries."""

    inputs: Mapping[str, int]
    params: Mapping[str, int]
    states: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.inputs, *self.params, *(STATE_PREFIX + name for name in self.states))


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
            raise SpecError([UnknownArray(None, name, path, names.all)])
        if name in self.origin:
            raise SpecError([TwoArrays(None, name, self.origin[name], path)])
        self.origin[name] = path
        tensor = _tensor(name, array, path)
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
            found.put(name, _one(rest), rest, names)
        else:
            _read_all(text, names, found)
    return found


def _read_all(path: str, names: Names, found: Arrays) -> None:
    suffix = _suffix(path)
    if suffix == ".csv":
        from ssmc.cli.csvfile import arrays_of, read_table

        table = read_table(path, _bytes(path))
        if table.names is None:
            found.put(_only_name(path, names), table.everything(), path, names)
            return
        arrays, unused = arrays_of(table, names.inputs)
        for name, array in arrays.items():
            found.put(name, array, path, names)
        if not arrays and len(table.names) == 1 and len(names.inputs) == 1:
            found.put(next(iter(names.inputs)), table.everything(), path, names)
        elif unused:
            columns = ", ".join(f"`{name}`" for name in unused)
            found.notes.append(f"note: `{path}`: no input has the name of {columns}: left unread")
    elif suffix in (".npz", ".safetensors"):
        for name, array in _archive(path).items():
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
        if not key:
            return table.everything()
        columns = table.names or tuple(str(n) for n in range(len(table.rows[0])))
        if key not in columns:
            raise SpecError([UnknownKey(None, key, path, columns)])
        return table.column(columns.index(key))
    if suffix in (".npz", ".safetensors"):
        archive = _archive(path)
        if not key and len(archive) == 1:
            return next(iter(archive.values()))
        if key not in archive:
            raise SpecError([UnknownKey(None, key or "single array", path, tuple(archive))])
        return archive[key]
    if key:
        raise SpecError([UnknownKey(None, key, path, ())])
    return _single(path)


def _single(path: str) -> Any:
    """The array of a file that holds one."""
    if _suffix(path) == ".wav":
        from ssmc.cli.wav import WavError, read_wav

        try:
            return read_wav(_bytes(path))[0]
        except WavError as error:
            raise SpecError([DamagedData(None, path, "wav", str(error))]) from error
    import numpy as np

    _bytes(path, limit=1)
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise SpecError([DamagedData(None, path, "npy", _first_line(error))]) from error
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
            raise SpecError([DamagedData(None, path, "safetensors", _first_line(error))]) from error
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            if isinstance(archive, np.ndarray):
                raise SpecError([DamagedData(None, path, "npz", "it is a single array: name it .npy")])
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError, AttributeError) as error:
        raise SpecError([DamagedData(None, path, "npz", _first_line(error))]) from error


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    # numpy takes what it does not know for a pickle, and says how to load one: nothing to do with a file of numbers
    return "it does not hold plain arrays of numbers" if "pickle" in line else line


def _suffix(path: str) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in READ_FORMATS:
        raise SpecError([UnknownFormat(None, path, ", ".join(READ_FORMATS))])
    return suffix


def _bytes(path: str, limit: int = -1) -> bytes:
    """The bytes of a file (the first `limit`). Raises SpecError where the system does not give them."""
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError as error:
        raise SpecError([CannotRead(None, path, error.strerror or str(error))]) from error


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

    from ssmc.cli.files import write_atomically

    check_writable(path)
    plain = {name: array.detach().cpu().contiguous() for name, array in arrays.items()}
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import save_file

        for name, array in plain.items():
            if array.dtype == torch.complex128:
                raise SpecError(
                    [NotStorable(None, str(path), name, "complex128", "an .npz, or run with --dtype float32")]
                )
        # Two names for one memory (an output that is the state) are an error of the format: each gets its own.
        apart = {name: array.clone() for name, array in plain.items()}
        write_atomically(path, lambda temporary: save_file(apart, temporary))
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
