"""What a generated module is to the runtime, over libraries: `initial_state`, `sequence`, `step` (../README.md).

A program becomes a library for each precision, each set of half-precision tensors and, where asked for, each set of
sizes: a `Variant`. The functions of the variant used last stand as attributes, objects of the extension that take
a call as it is; what they refuse comes to `_dispatch`, which finds the variant for it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal

import torch
from ssmc.backends.cpp.call import DTYPES, Caller, Result, dtype_name
from ssmc.backends.cpp.library import Library, extension, load
from ssmc.backends.cpp.problems import CompileFailed, NotInCpp
from ssmc.backends.cpp.signature import Printed, Slot
from ssmc.backends.cpp.value import NotPrintable
from torch import Tensor

from ssmc.diagnostics import CompilerBug, SpecError

Real = Literal["float", "double"]
HALVES = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
SEQUENCE, STEP = "ssmc_sequence", "ssmc_step"
# Keywords of a generated module's functions, which an input or a param may be called as well.
KEYWORDS = ("sizes", "batch", "length", "state", "saved", "like", "out")
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

    `ports` are what a call gives, as slots: inputs, params, states, and states that a forward saved. `initial` makes
    the module that computes initial states. `sequence` (of a program that saves states: `sequence_saving`) and, where
    `steps`, `step` are called with keywords only. `otherwise` makes the module that runs what `text` has no code for.
    """

    takes_halves = True  # of inputs and params, as they are stored

    def __init__(
        self,
        name: str,
        text: Print,
        ports: Sequence[Slot],
        initial: Callable[[], Any],
        *,
        arguments: Mapping[str, str] | None = None,
        steps: bool = True,
        saves: bool = False,
        constant_start: bool = False,
        specialise: bool = True,
        otherwise: Callable[[], Any] | None = None,
        asked: bool = True,
    ) -> None:
        self.name = name
        self.ARGUMENTS = dict(arguments or {})
        self._text = text
        self._ports = tuple(ports)
        self._initial = initial
        self._starts: dict[Any, dict[str, Tensor]] | None = {} if constant_start else None
        self._specialise = specialise
        self._otherwise = otherwise
        self._asked = asked
        self._variants: dict[Variant, Loaded] = {}
        self._lock = threading.RLock()
        self._whole = "sequence_saving" if saves else "sequence"
        setattr(self, self._whole, self._dispatching(self._whole))
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
            try:
                return self._dispatch(function, dict(call))
            except NotPrintable as missing:
                if self._otherwise is None:
                    raise
                if self._asked:
                    warnings.warn(told_missing(self.name, str(missing)), stacklevel=2)
            except SpecError as wrong:
                refused = any(d.code == CompileFailed.code for d in wrong.diagnostics)
                if self._asked or self._otherwise is None or not refused:
                    raise
                warnings.warn(f"`{self.name}` runs with PyTorch: {wrong}", stacklevel=2)
            self._leave_to(self._otherwise())
            return getattr(self, function)(**call)  # type: ignore[no-any-return]

        return dispatched

    def _leave_to(self, other: Any) -> None:
        """Run everything by another generated module from now on."""
        spec = {name: entry for entry, name in self.ARGUMENTS.items()}
        names = getattr(other, "ARGUMENTS", {})

        def through(function: Callable[..., Result]) -> Callable[..., Result]:
            def called(*, out: tuple[Tensor, ...] | None = None, **call: Any) -> Result:
                own = {name: call.pop(name) for name in KEYWORDS if name in call}
                ports = {names.get(spec.get(k, k), spec.get(k, k)): _wide(x) for k, x in call.items()}
                outputs, *rest = function(**own, **ports)
                for target, y in zip(out or (), outputs, strict=out is not None):
                    target.copy_(y)
                return (out or outputs, *rest)

            return called

        for function in (self._whole, "step"):
            if hasattr(self, function):
                setattr(self, function, through(getattr(other, function)))

    def _dispatch(self, function: str, call: dict[str, Any]) -> Result:
        """Any call: find or make the variant, convert what must be, and run it through ctypes."""
        sizes, batch, state = call.pop("sizes"), call.pop("batch"), call.pop("state")
        length, saved, out = call.pop("length", 1), call.pop("saved", {}), call.pop("out", None)
        given = self._given(call, state, saved)
        loaded = self.variant(self._wanted(given, sizes))
        fast = loaded.fast.get(function)
        if fast is not None:
            setattr(self, function, fast)  # the next call is likely to be of the same kind
        caller = loaded.callers[function]
        if length == 0:
            return caller.nothing(sizes, batch, state, out)
        if out is not None and _overlap(out, given.values()):
            result = caller(sizes, batch, length, state, call, saved)
            for target, y in zip(out, result[0], strict=True):
                target.copy_(y)
            return (out, *result[1:])
        return caller(sizes, batch, length, state, call, saved, out)

    def _given(
        self, tensors: Mapping[str, Tensor], state: Mapping[str, Any], saved: Mapping[str, Tensor]
    ) -> dict[Slot, Tensor]:
        """What is given for each port. TypeError where something lacks, or is none of them."""
        wanted = {self.ARGUMENTS.get(p.entry, p.entry) for p in self._ports if p.role in ("input", "param")}
        if tensors.keys() != wanted:
            raise TypeError(f"`{self.name}` takes {sorted(wanted)}, not {sorted(tensors)}")
        found: dict[Slot, Tensor] = {}
        for role, source in (("state", state), ("given", saved)):
            entries = {p.entry: p for p in self._ports if p.role == role}
            missing = entries.keys() - source.keys()
            if missing:
                raise TypeError(f"what `{self.name}` is given as {role} lacks {sorted(missing)}")
            found |= {p: source[entry] for entry, p in entries.items()}
        if "t" not in state:
            raise TypeError(f"what `{self.name}` is given as state lacks `t`")
        ports = [p for p in self._ports if p.role in ("input", "param")]
        return found | {p: tensors[self.ARGUMENTS.get(p.entry, p.entry)] for p in ports}

    def _wanted(self, given: Mapping[Slot, Tensor], sizes: Mapping[str, int]) -> Variant:
        """The variant for these tensors: their precision, which of them are stored as halves, and the sizes."""
        floats = {p: x for p, x in given.items() if p.kind in ("real", "complex")}
        dtypes = {x.dtype for x in floats.values()} or {torch.get_default_dtype()}
        if dtypes & {torch.float64, torch.complex128}:
            real: Real = "double"
            storage: dict[str, str] = {}
        else:
            real = "float"
            storage = {p.entry: HALVES[x.dtype] for p, x in floats.items() if _may_be_half(p) and x.dtype in HALVES}
            # outputs are stored as the inputs and the params are, where those agree
            asked = [x.dtype for p, x in floats.items() if p.role in ("input", "param") and x.is_floating_point()]
            common = reduce(torch.promote_types, asked) if asked else torch.float32
            if common in HALVES:
                storage["@output"] = HALVES[common]
        key = tuple(sorted(storage.items()))
        fixed = tuple((a, sizes[a]) for a in sorted(sizes)) if self._specialise else None
        if 0 in sizes.values():  # what takes any size has cells along axes: they have elements
            fixed = tuple((a, sizes[a]) for a in sorted(sizes))
        elif fixed is not None and Variant(real, key, fixed) not in self._variants:
            alike = sum(v.real == real and v.storage == key and v.sizes is not None for v in self._variants)
            fixed = fixed if alike < MOST_SIZES else None
        return Variant(real, key, fixed)

    # -- the call of a user ----------------------------------------------------------------------------------------

    def public(
        self, function: str, slow: Callable[..., Any], sizes: Mapping[str, int], order: Sequence[str],
        batches: tuple[int, int], lengths: tuple[int, int], options: Sequence[tuple[str, Any]], result_type: Any,
        recorded: Callable[..., Any] | None = None,
    ) -> Any:  # fmt: skip
        """An object that takes a user's calls of `function` as the last one was: see `extension/public.hpp`.

        `order` are the ports by place; `options` keywords with the values that they may have; `recorded` does what
        autograd records, and takes nothing else. None where there is no extension, or the last call was of other sizes.
        """
        kernel, module = self.__dict__.get(function), extension()
        if module is None or not isinstance(kernel, module.Kernel) or self.ARGUMENTS:
            return None
        found = next((v for v in self._variants.items() if v[1].fast.get(function) is kernel), None)
        if found is None:
            return None
        variant, loaded = found
        starts = self._start_bytes(loaded.callers[function], variant) if function != "step" else None
        try:
            return module.Public(
                kernel, slow, result_type, recorded, starts, torch.is_grad_enabled,
                torch._C._len_torch_dispatch_stack, torch.autograd.forward_ad, tuple(order), dict(sizes),
                tuple(options), batches, lengths,
            )  # fmt: skip
        except ValueError:  # a port that the program does not read, or other sizes
            return None

    def _start_bytes(self, caller: Caller, variant: Variant) -> tuple[bytes, ...] | None:
        """The number that each state is full of at the start, in memory; None where one is not."""
        numbers = getattr(self._initial(), "numbers", None)
        states = caller.signature.of_role("state")
        if numbers is None:
            return None
        dtypes = [DTYPES[dtype_name(slot, variant.real)] for slot in states]
        cells = [torch.tensor(numbers[s.entry], dtype=d).view(1) for s, d in zip(states, dtypes, strict=True)]
        return tuple(bytes(x.view(torch.uint8).tolist()) for x in cells)

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
        for function, symbol, timed in ((self._whole, SEQUENCE, True), ("step", STEP, False)):
            entry = library.function(symbol)
            if entry is None:
                if timed:
                    raise CompilerBug(f"the library of {self.name} has no {symbol}")
                continue
            signature = printed.signature if timed else printed.signature.for_step()
            caller = Caller(self.name, entry, signature, wanted.real, timed, self.ARGUMENTS)
            loaded.callers[function] = caller
            fast = caller.fast(library, library.address(symbol), fixed, self._dispatching(function))
            if fast is not None:
                loaded.fast[function] = fast
        return loaded

    def text(self, variant: Variant | None = None) -> str:
        """The generated code of a variant, or as it is for any sizes in single precision."""
        return self._text(variant or Variant("float")).text


def told_missing(name: str, why: str) -> str:
    """What somebody who asked for C++ is told, where PyTorch runs a program instead."""
    return f"{SpecError([NotInCpp(None, name, why)])}\nPyTorch runs it instead"


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in HALVES else x


def _may_be_half(port: Slot) -> bool:
    # states are kept in the precision of the computation
    return port.role in ("input", "param") and port.kind == "real"


def _overlap(out: Sequence[Tensor], read: Iterable[Tensor]) -> bool:
    """Whether an output's memory may be read, or written twice, in the call: it is then written afterwards."""
    spans = [_span(x) for x in read]
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
