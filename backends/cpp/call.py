"""The call of a library's function: tensors in, tensors out.

Two ways that do the same: an object of the extension `call.cpp`, in a microsecond, and `Caller`, in Python, through
ctypes. The extension takes what is exactly as the library wants it; the rest comes to `Caller` by way of the module.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from ssmc.backends.cpp.library import Library, extension
from ssmc.backends.cpp.problems import OutOfMemory
from ssmc.backends.cpp.signature import WRITTEN, Signature, Slot
from torch import Tensor

from ssmc.diagnostics import CompilerBug, SpecError
from ssmc.expr.nodes import BATCH, LAG, TIME, base_axis

Result = tuple[Any, ...]

DTYPES = {
    "bool": torch.bool,
    "int64": torch.int64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
}
# DLPack's code and bits of each
CODES = {
    "bool": (6, 8),
    "int64": (0, 64),
    "float16": (2, 16),
    "bfloat16": (4, 16),
    "float32": (2, 32),
    "float64": (2, 64),
    "complex64": (5, 64),
    "complex128": (5, 128),
}
ROLES = {"input": 0, "param": 0, "state": 1, "given": 2, "output": 3, "new_state": 4, "saved": 5}


def dtype_name(slot: Slot, real: str) -> str:
    """The element type of a slot in a program of a precision, `float` or `double`."""
    if slot.dtype:
        return slot.dtype
    kinds = {"bool": "bool", "int": "int64", "real": "float32", "complex": "complex64"}
    if real == "double":
        kinds |= {"real": "float64", "complex": "complex128"}
    return kinds[slot.kind]


@dataclass(frozen=True)
class Caller:
    """A function of a library, called through ctypes. `arguments` are the keywords of the ports by their entries."""

    name: str
    function: Callable[[Any], int]
    signature: Signature
    real: str
    timed: bool
    arguments: Mapping[str, str]

    def argument(self, slot: Slot) -> str:
        """Its keyword, or its name in the dictionary that it stands in."""
        return self.arguments.get(slot.entry, slot.entry) if slot.role in ("input", "param") else slot.entry

    def __call__(
        self,
        sizes: Mapping[str, int],
        batch: int,
        length: int,
        state: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        saved: Mapping[str, Tensor] | None = None,
        out: tuple[Tensor, ...] | None = None,
    ) -> Result:
        """(outputs, new state), and what is saved where it is. Tensors are converted where they must be."""
        given: dict[str, Mapping[str, Any]] = {"state": state, "given": saved or {}}
        length = length if self.timed else 1
        words: list[int] = []
        made: dict[Slot, Tensor] = {}
        held: list[Tensor] = []  # what was converted lives until the call is over
        targets = iter(out or ())
        for slot in self.signature.slots:
            shape = tuple(self.dimension(slot, a, sizes, batch, length) for a in slot.axes)
            dtype = DTYPES[dtype_name(slot, self.real)]
            if slot.role in WRITTEN:
                x = next(targets, None) if slot.role == "output" else None
                x = made[slot] = torch.empty(shape, dtype=dtype) if x is None else _target(slot, x, shape, dtype)
            else:
                source, name = given.get(slot.role, tensors), self.argument(slot)
                x = plain(slot.entry, source[name], dtype)
                if slot.role == "given" and LAG in slot.axes and x.ndim == len(shape):
                    # a backward may need less of a delay line than its forward has: the newest
                    at = slot.axes.index(LAG)
                    x = x.narrow(at, max(0, x.shape[at] - shape[at]), min(shape[at], x.shape[at]))
                _check_shape(slot, tuple(x.shape), shape)
            held.append(x)
            words += [x.data_ptr(), *x.stride()]
        words += [*(sizes.get(a, 1) for a in self.signature.axes), batch, length, state["t"], torch.get_num_threads()]
        if self.function((ctypes.c_int64 * len(words))(*words)):
            raise out_of_memory(self.name)
        return self._result(made, state["t"] + length)

    def _result(self, made: Mapping[Slot, Tensor], t: int) -> Result:
        outputs = tuple(x for s, x in made.items() if s.role == "output")
        state = {"t": t} | {s.entry: x for s, x in made.items() if s.role == "new_state"}
        saved = {s.entry: x for s, x in made.items() if s.role == "saved"}
        return (outputs, state, saved) if saved else (outputs, state)

    def nothing(
        self, sizes: Mapping[str, int], batch: int, state: Mapping[str, Any], out: tuple[Tensor, ...] | None = None
    ) -> Result:
        """The result over no steps: outputs without elements, the state as it is."""
        made: dict[Slot, Tensor] = {}
        targets = iter(out or ())
        for slot in self.signature.of_role(*WRITTEN):
            dtype = DTYPES[dtype_name(slot, self.real)]
            if slot.role == "new_state":
                made[slot] = plain(slot.entry, state[slot.entry], dtype).clone()
            else:
                shape = tuple(self.dimension(slot, a, sizes, batch, 0) for a in slot.axes)
                x = next(targets, None) if slot.role == "output" else None
                made[slot] = torch.empty(shape, dtype=dtype) if x is None else _target(slot, x, shape, dtype)
        return self._result(made, state["t"])

    def dimension(self, slot: Slot, axis: str, sizes: Mapping[str, int], batch: int, length: int) -> int:
        """The size of a dimension of a slot."""
        if axis == BATCH:
            return batch
        if axis == TIME:
            return math.ceil(length / slot.chunk) if slot.chunk else length
        if axis == LAG:
            if slot.depth is None or slot.depth.unbounded:
                raise CompilerBug(f"{slot.name} has a lag of no fixed depth")
            return slot.depth.steps + (sizes[slot.depth.axis] if slot.depth.axis else 0)
        return sizes[base_axis(axis)]

    def fast(self, library: Library, address: int, fixed: Mapping[str, int], slow: Callable[..., Any]) -> Any:
        """The same call as an object of the extension, which calls `slow` for what it refuses; None without one."""
        module = extension()
        if module is None:
            return None
        axes = {name: i for i, name in enumerate(self.signature.axes)}
        slots = tuple(self._described(slot, axes) for slot in self.signature.slots)
        return module.Kernel(
            address, self.timed, slots, tuple((a, fixed.get(a, -1)) for a in axes),
            torch.Tensor.__dlpack_c_exchange_api__,
            torch.Tensor, torch.nn.Parameter, slow, _Raises(self.name), library,
        )  # fmt: skip

    def _described(self, slot: Slot, axes: dict[str, int]) -> tuple[Any, ...]:
        """A slot for the extension; a dimension is (value + add) / per, the values being the axes, batch, length, 0."""
        special = {BATCH: len(axes), TIME: len(axes) + 1}
        dims = []
        for axis in slot.axes:
            if axis == LAG and slot.depth is not None:
                of_axis = axes[slot.depth.axis] if slot.depth.axis else len(axes) + 2
                dims.append((of_axis, slot.depth.steps, 1))
            else:
                index = special[axis] if axis in special else axes[base_axis(axis)]
                dims.append((index, 0, slot.chunk if axis == TIME and slot.chunk else 1))
        return self.argument(slot), ROLES[slot.role], *CODES[dtype_name(slot, self.real)], tuple(dims)


@dataclass(frozen=True)
class _Raises:
    """What the extension calls where a library found no memory."""

    name: str

    def __call__(self) -> None:
        raise out_of_memory(self.name)


def out_of_memory(name: str) -> SpecError:
    return SpecError([OutOfMemory(None, name)])


def plain(name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor's own values in memory, in a dtype: no view that conjugates or negates, and no history."""
    if x.device.type != "cpu":
        raise ValueError(f"`{name}` is on {x.device}; generated C++ runs on the CPU")
    return x.detach().resolve_conj().resolve_neg().to(dtype)


def _check_shape(slot: Slot, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        raise ValueError(f"`{slot.entry}` is {found}, and {wanted} is expected")


def _target(slot: Slot, x: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    _check_shape(slot, tuple(x.shape), shape)
    if x.dtype != dtype or x.device.type != "cpu" or x.is_neg() or x.is_conj():
        raise ValueError(f"`out` for `{slot.entry}` is {x.dtype} on {x.device}, and {dtype} on the CPU is expected")
    return x
