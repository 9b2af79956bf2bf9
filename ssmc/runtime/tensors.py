"""Values of a call: to torch tensors of one floating dtype on one device.

The dtype rule. The storage dtype is the floating dtype of the tensors and numpy arrays given for inputs and params,
promoted as torch does; 0-d tensors take part only if nothing else does, Python numbers and lists never, and torch's
default dtype stands in where no float is given at all. Half precisions (16 bits and fewer) are computed in float32: the
state is kept in it, outputs come back in the storage dtype. Complex values have the complex dtype of the computation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssmc.diagnostics import Problem, SpecError
from ssmc.expr.nodes import Kind
from ssmc.runtime import problems
from ssmc.source import Span

COMPLEX_OF = {torch.float32: torch.complex64, torch.float64: torch.complex128}
HALVES = (torch.float16, torch.bfloat16)
REAL_OF = {torch.complex32: torch.float16, torch.complex64: torch.float32, torch.complex128: torch.float64}


@dataclass(frozen=True)
class Precision:
    """`storage` is what outputs have, `compute` what the program works in, on `device`."""

    storage: torch.dtype
    compute: torch.dtype
    device: torch.device

    def of(self, kind: Kind) -> torch.dtype:
        """The dtype the program takes for an element kind."""
        match kind:
            case "real":
                return self.compute
            case "complex":
                return COMPLEX_OF[self.compute]
            case "int":
                return torch.int64
            case "bool":
                return torch.bool

    @property
    def like(self) -> Tensor:
        """An empty tensor that tells the program the dtype and the device."""
        return torch.empty(0, dtype=self.compute, device=self.device)


@dataclass(frozen=True)
class Value:
    """An argument as a tensor, before its dtype is settled.

    `strength` says how much it has to say
    in that: 2 for tensors and arrays, 1 for 0-d tensors, 0 for numbers and lists.
    """

    name: str
    tensor: Tensor
    strength: int
    kind: Kind
    span: Span | None = None


def value_of(name: str, given: Any, kind: Kind, span: Span | None = None) -> Value:
    """A tensor of what the caller gave, in place where torch can. Raises SpecError."""
    if isinstance(given, Tensor):
        if given.layout != torch.strided:
            layout = str(given.layout).removeprefix("torch.")
            raise SpecError([problems.NotAnArray(span, name, f"its layout is {layout}; pass `{name}.to_dense()`")])
        return Value(name, given, 2 if given.ndim else 1, kind, span)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(given, (numpy.ndarray, numpy.generic)):
        return Value(name, _from_numpy(name, given, span), 2 if given.ndim else 0, kind, span)
    return Value(name, _from_python(name, given, span), 0, kind, span)


def _from_numpy(name: str, array: Any, span: Span | None) -> Tensor:
    hidden = getattr(array, "mask", None)  # of a masked array; torch would read what it hides
    if hidden is not None and hidden.any():
        raise SpecError([problems.NotAnArray(span, name, f"some of it is masked; pass `{name}.filled(…)`")])
    kinds = "biufc"
    if array.dtype.kind not in kinds:
        raise SpecError([problems.NotAnArray(span, name, f"its elements are of numpy's {array.dtype}")])
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype("f8")
    if array.dtype.kind == "c" and array.dtype.itemsize > 16:
        array = array.astype("c16")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype("i8")
    # torch refuses negative strides, and warns of memory that it may not write to
    if array.ndim == 0 or not array.flags.writeable or any(s < 0 for s in array.strides):
        array = array.copy()
    return torch.as_tensor(array)


def _from_python(name: str, given: Any, span: Span | None) -> Tensor:
    if isinstance(given, (list, tuple)) and _holds_tensor(given):
        raise SpecError([problems.NotAnArray(span, name, "it is a list of tensors; `torch.stack` makes one of them")])
    try:
        tensor = torch.as_tensor(given)
        if tensor.is_floating_point():
            return torch.as_tensor(given, dtype=torch.float64)
        if tensor.is_complex():
            return torch.as_tensor(given, dtype=torch.complex128)
        return tensor
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        if isinstance(given, (list, tuple)):
            why = str(error).strip().splitlines()[0].rstrip(".")
        else:
            why = f"it is of type {type(given).__name__}"
        raise SpecError([problems.NotAnArray(span, name, why)]) from None


def _holds_tensor(given: Sequence[Any]) -> bool:
    return any(isinstance(x, Tensor) or (isinstance(x, (list, tuple)) and _holds_tensor(x)) for x in given)


def precision_of(deciding: Sequence[Value], others: Sequence[Value] = ()) -> Precision:
    """The dtype and the device of a call. `others` (states) decide only where `deciding` has nothing to say."""
    storage = torch.get_default_dtype()
    for group, strength in ((deciding, 2), (deciding, 1), (others, 2), (others, 1)):
        floats = [d for v in group if v.strength == strength and (d := _floating(v.tensor.dtype)) is not None]
        if floats:
            storage = floats[0]
            for other in floats[1:]:
                storage = _promoted(storage, other)
            break
    compute = storage if storage in COMPLEX_OF else torch.float32
    return Precision(storage, compute, _device([*deciding, *others]))


def _promoted(a: torch.dtype, b: torch.dtype) -> torch.dtype:
    """As torch promotes; two of which one has 8 bits are its exception, and meet in float32 or float64."""
    narrow = [d for d in (a, b) if d.itemsize == 1]
    if a == b or not narrow:
        return torch.promote_types(a, b)
    return torch.promote_types(torch.float32, torch.float32 if len(narrow) == 2 else b if narrow[0] == a else a)


def _floating(dtype: torch.dtype) -> torch.dtype | None:
    return dtype if dtype.is_floating_point else REAL_OF.get(dtype)


def _device(values: Iterable[Value]) -> torch.device:
    """The one device of all tensors; numbers, lists and 0-d tensors in the host's memory go where the others are."""
    first: Value | None = None
    for v in values:
        if v.strength == 0 or (v.strength == 1 and v.tensor.device.type == "cpu"):
            continue
        if first is None:
            first = v
        elif v.tensor.device != first.tensor.device:
            devices = str(v.tensor.device), first.name, str(first.tensor.device)
            raise SpecError([problems.DifferentDevices(v.span, v.name, *devices)])
    return torch.get_default_device() if first is None else first.tensor.device


def check_kinds(values: Iterable[Value]) -> None:
    """Raise SpecError where a value is of no kind that its declaration takes."""
    found: list[Problem] = []
    for v in values:
        remedy = _kind_remedy(v.kind, v.tensor.dtype)
        if remedy:
            dtype = str(v.tensor.dtype).removeprefix("torch.")
            found.append(problems.WrongKind(v.span, v.name, v.kind, dtype, remedy.format(name=v.name)))
    if found:
        raise SpecError(found)


def _kind_remedy(kind: Kind, dtype: torch.dtype) -> str:
    match kind:
        case "real" if dtype.is_complex:
            return "pass `{name}.real`, or declare it `complex`"
        case "int" if dtype.is_complex or dtype.is_floating_point:
            return "pass `{name}.long()`, or declare it without `int`"
        case "bool" if dtype != torch.bool:
            return "pass `{name}.bool()`, or declare it without `bool`"
        case _:
            return ""


def convert(values: Iterable[Value], precision: Precision, halves: bool = False) -> dict[str, Tensor]:
    """Each value in the program's dtype and on its device; the tensor itself where it is so already.

    With `halves`, real values of 16 bits stay as they are stored where the program works in 32: see `widened`.
    """
    kept = HALVES if halves and precision.compute == torch.float32 else ()

    def dtype(v: Value) -> torch.dtype:
        return v.tensor.dtype if v.kind == "real" and v.tensor.dtype in kept else precision.of(v.kind)

    return {v.name: v.tensor.to(device=precision.device, dtype=dtype(v)) for v in values}


def widened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with those of 16 bits in the precision they are computed in."""
    return {name: x.float() if x.dtype in HALVES else x for name, x in tensors.items()}


def store(outputs: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """Outputs in the storage dtype."""
    if precision.storage == precision.compute:
        return dict(outputs)
    return {k: y.to(precision.storage) if y.is_floating_point() else y for k, y in outputs.items()}
