"""What a generated module is to the runtime, over libraries: `initial_state`, `sequence`, `step` (../README.md).

A program becomes a library for each precision, each set of half-precision tensors and, where asked for, each set of
sizes: a `Variant`. The functions of the variant used last stand as attributes, objects of the extension that take
a call as it is; what they refuse comes to `_dispatch`, which finds the variant for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal

import torch
from ssmc.backends.cpp.call import Caller, Result
from ssmc.backends.cpp.library import Library, load
from ssmc.backends.cpp.signature import Printed, Slot
from torch import Tensor

from ssmc.diagnostics import CompilerBug

Real = Literal["float", "double"]
HALVES = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
SEQUENCE, STEP = "ssmc_sequence", "ssmc_step"
# Libraries for sizes of their own, of one program; more sizes share one that takes any.
MOST_SIZES = 8


@dataclass(frozen=True)
class Variant:
    """What a library is printed for.

    `storage` has the half-precision ports by entry, and `@output` for all real outputs. `sizes` are fixed; None: any.
    """

    real: Real
    storage: tuple[tuple[str, str], ...] = ()
    sizes: tuple[tuple[str, int], ...] | None = None


Print = Callable[[Variant], Printed]


@dataclass
class Loaded:
    """A variant's functions: through ctypes, and through the extension where there is one."""

    printed: Printed
    library: Library
    callers: dict[str, Caller] = field(default_factory=dict)
    fast: dict[str, Any] = field(default_factory=dict)


class CppModule:
    """A program whose libraries are printed by `text`, compiled and loaded when a call first needs them.

    `ports` are its inputs, params and states as slots, in any order; `initial` makes the module that computes initial
    states. `sequence`, `step` (where `steps`) and `sequence_saved` are called with keywords only.
    """

    def __init__(
        self,
        name: str,
        text: Print,
        ports: Sequence[Slot],
        initial: Callable[[], Any],
        *,
        arguments: Mapping[str, str] | None = None,
        steps: bool = True,
        constant_start: bool = False,
        specialise: bool = True,
    ) -> None:
        self.name = name
        self.ARGUMENTS = dict(arguments or {})
        self._text = text
        self._ports = tuple(ports)
        self._initial = initial
        self._starts: dict[Any, dict[str, Tensor]] | None = {} if constant_start else None
        self._specialise = specialise
        self._variants: dict[Variant, Loaded] = {}
        self._lock = threading.RLock()
        self.sequence = self._dispatching("sequence")
        self.sequence_saved = self._dispatching("sequence_saved")
        if steps:
            self.step = self._dispatching("step")

    # -- the start -------------------------------------------------------------------------------------------------

    def initial_state(
        self, /, *, sizes: Mapping[str, int], batch: int, like: Tensor, **params: Tensor
    ) -> dict[str, Any]:
        """Every entry of the state before the first step; nobody writes to what it gives."""
        if self._starts is None:
            return dict(self._initial().initial_state(sizes=sizes, batch=batch, like=like, **params))
        key = (tuple(sizes.items()), batch, like.dtype, like.device)
        found = self._starts.get(key)
        if found is None:
            found = self._initial().initial_state(sizes=sizes, batch=batch, like=like, **params)
            if len(self._starts) > MOST_SIZES:
                self._starts.clear()
            self._starts[key] = found
        return dict(found)

    # -- a call ----------------------------------------------------------------------------------------------------

    def _dispatching(self, function: str) -> Callable[..., Any]:
        def dispatched(**call: Any) -> Result:
            return self._dispatch(function, call)

        return dispatched

    def _dispatch(self, function: str, call: dict[str, Any]) -> Result:
        """Any call: find or make the variant, convert what must be, and run it through ctypes."""
        sizes, batch, state = call.pop("sizes"), call.pop("batch"), call.pop("state")
        length, out = call.pop("length", 1), call.pop("out", None)
        self._check_names(call, state)
        loaded = self.variant(self._wanted(call, state, sizes))
        fast = loaded.fast.get(function)
        if fast is not None:
            setattr(self, function, fast)  # the next call is likely to be of the same kind
        caller = loaded.callers[function]
        if length == 0:
            return caller.nothing(sizes, batch, state, out)
        if out is not None and _overlap(out, [*call.values(), *state.values()]):
            result = caller(sizes, batch, length, state, call)
            for target, y in zip(out, result[0], strict=True):
                target.copy_(y)
            return (out, *result[1:])
        return caller(sizes, batch, length, state, call, out)

    def _check_names(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        wanted = {self.ARGUMENTS.get(p.entry, p.entry) for p in self._ports if p.role != "state"}
        if tensors.keys() != wanted:
            raise TypeError(f"`{self.name}` takes {sorted(wanted)}, not {sorted(tensors)}")
        missing = {"t", *(p.entry for p in self._ports if p.role == "state")} - state.keys()
        if missing:
            raise TypeError(f"the state of `{self.name}` lacks {sorted(missing)}")

    def _wanted(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any], sizes: Mapping[str, int]) -> Variant:
        """The variant for these tensors: their precision, which of them are stored as halves, and the sizes."""
        given = [
            (p, state[p.entry] if p.role == "state" else tensors[self.ARGUMENTS.get(p.entry, p.entry)])
            for p in self._ports
            if p.kind in ("real", "complex")
        ]
        dtypes = {x.dtype for _, x in given} or {torch.get_default_dtype()}
        if dtypes & {torch.float64, torch.complex128}:
            real: Real = "double"
            storage: dict[str, str] = {}
        else:
            real = "float"
            storage = {p.entry: HALVES[x.dtype] for p, x in given if _may_be_half(p) and x.dtype in HALVES}
            # outputs are stored as the inputs and the params are, where those agree
            floats = [x.dtype for p, x in given if p.role != "state" and x.is_floating_point()]
            common = reduce(torch.promote_types, floats) if floats else torch.float32
            if common in HALVES:
                storage["@output"] = HALVES[common]
        key = tuple(sorted(storage.items()))
        fixed = tuple((a, sizes[a]) for a in sorted(sizes)) if self._specialise else None
        if fixed is not None and Variant(real, key, fixed) not in self._variants:
            alike = sum(v.real == real and v.storage == key and v.sizes is not None for v in self._variants)
            fixed = fixed if alike < MOST_SIZES else None
        return Variant(real, key, fixed)

    # -- libraries -------------------------------------------------------------------------------------------------

    def variant(self, wanted: Variant) -> Loaded:
        """The functions of a variant, printed, compiled and loaded where that was not done yet. Raises SpecError."""
        found = self._variants.get(wanted)
        if found is None:
            with self._lock:
                found = self._variants.get(wanted) or self._load(wanted)
                self._variants[wanted] = found
        return found

    def _load(self, wanted: Variant) -> Loaded:
        printed = self._text(wanted)
        library = load(printed.text, self.name)
        loaded = Loaded(printed, library)
        fixed = dict(wanted.sizes or ())
        for function, symbol in (("sequence", SEQUENCE), ("sequence_saved", SEQUENCE), ("step", STEP)):
            timed = function != "step"
            entry = library.function(symbol)
            if entry is None:
                if timed:
                    raise CompilerBug(f"the library of {self.name} has no {symbol}")
                continue
            signature = printed.signature if timed else printed.signature.for_step()
            saves = function == "sequence_saved"
            caller = Caller(self.name, entry, signature, wanted.real, timed, saves, self.ARGUMENTS)
            loaded.callers[function] = caller
            fast = caller.fast(library, library.address(symbol), fixed, self._dispatching(function))
            if fast is not None:
                loaded.fast[function] = fast
        return loaded

    def text(self, variant: Variant | None = None) -> str:
        """The generated code of a variant, or as it is for any sizes in single precision."""
        return self._text(variant or Variant("float")).text


def _may_be_half(port: Slot) -> bool:
    # states are kept in the precision of the computation
    return port.role != "state" and port.kind == "real"


def _overlap(out: Sequence[Tensor], read: Sequence[Any]) -> bool:
    """Whether an output's memory may be read, or written twice, in the call: it is then written afterwards."""
    spans = [_span(x) for x in read if isinstance(x, Tensor)]
    for i, target in enumerate(out):
        first, last = _span(target)
        if last - first < target.numel() * target.element_size():
            return True
        if any(first < b and a < last for a, b in [*spans, *(_span(x) for x in out[:i])]):
            return True
    return False


def _span(x: Tensor) -> tuple[int, int]:
    if not x.numel() or x.device.type != "cpu":
        return 0, 0
    reach = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.data_ptr(), x.data_ptr() + (reach + 1) * x.element_size()
