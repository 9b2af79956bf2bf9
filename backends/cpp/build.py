"""A kernel program to what the runtime calls: the module of its libraries.

What this backend has no code for is run by the PyTorch module: states that grow, and what the printer refuses.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Protocol

import torch
from ssmc.backends.cpp.module import KEYWORDS, CppModule, Variant, told_missing
from ssmc.backends.cpp.signature import Printed, Slot
from ssmc.backends.cpp.toolchain import toolchain
from ssmc.backends.cpp.wishes import PassWishes
from torch import Tensor

from ssmc.expr import nodes as n
from ssmc.kernel import nodes as k


class Printer(Protocol):
    """`print_program` of the printer. `storage` are the half-precision slots by entry, and `@output`."""

    def __call__(
        self,
        program: k.Program,
        *,
        real: str,
        lanes: int,
        sizes: Mapping[str, int] | None,
        storage: Mapping[str, str],
        wishes: PassWishes | None = None,
        cache: int = 0,
    ) -> Printed: ...


# What is asked of the schedules at some sizes; None are any.
WishesAt = Callable[["Mapping[str, int] | None"], PassWishes]


def program_module(
    program: k.Program,
    printer: Printer,
    *,
    specialise: bool = True,
    asked: bool = True,
    wishes: WishesAt | None = None,
) -> Any:
    """A module of the contract of ../README.md. With `specialise`, sizes that come often have a library of their own.
    Where nobody `asked` for C++, PyTorch runs what the compiler refuses, with a warning.

    Nothing is compiled before the first call. Raises SpecError where there is no compiler.
    """
    if grows(program):
        if asked:
            warnings.warn(told_missing(program.name, "a state holds the whole past, and grows"), stacklevel=2)
        return torch_module(program)
    toolchain()
    arguments = arguments_of(program)
    return CppModule(
        program.name, functools.partial(text_of, program, printer, wishes=wishes), ports(program),
        Start(program, arguments), arguments=arguments, steps=bool(program.step), saves=saves(program),
        constant_start=constant_start(program), specialise=specialise, otherwise=lambda: torch_module(program),
        asked=asked,
    )  # fmt: skip


def text_of(program: k.Program, printer: Printer, variant: Variant, *, wishes: WishesAt | None = None) -> Printed:
    """The code of a variant for this machine."""
    sizes = dict(variant.sizes) if variant.sizes is not None else None
    return printer(
        program,
        real=variant.real,
        lanes=toolchain().lanes(variant.real),
        sizes=sizes,
        storage=dict(variant.storage),
        cache=last_cache(),
        **({"wishes": wishes(sizes)} if wishes is not None else {}),
    )


@functools.cache
def last_cache() -> int:
    """The bytes of the cache before the memory."""
    from ssmc.backends.cpp.measure import cache_sizes

    return cache_sizes()[-1]


def grows(program: k.Program) -> bool:
    """Whether a state holds the whole past: it gets longer with every step, and no slot can be of its size."""
    return any(r.depth.unbounded for r in program.graph.registers)


def saves(program: k.Program) -> bool:
    """Whether states are saved for a backward; else the program may be one that goes on from such."""
    stores = {s.buffer for p in program.passes for s in p.loop.body if isinstance(s, k.Store)}
    return any(b.role == "saved" and b.name in stores for b in program.buffers)


def torch_module(program: k.Program) -> ModuleType:
    from ssmc.backends.torch.build import load, source

    return load(source(program), program.name)


def ports(program: k.Program) -> tuple[Slot, ...]:
    """What a call gives: the inputs, the params, the states, and those that a forward saved."""
    roles: dict[str, Any] = {"input": "input", "param": "param", "state": "state"}
    if not saves(program):
        roles["saved"] = "given"
    return tuple(
        Slot(b.name, b.entry, roles[b.role], b.axes, b.kind, b.depth) for b in program.buffers if b.role in roles
    )


def arguments_of(program: k.Program) -> dict[str, str]:
    """The keywords of ports whose names are the functions' own."""
    taken = {b.entry for b in program.buffers if b.role in ("input", "param")}
    renamed = {}
    for entry in sorted(taken & set(KEYWORDS)):
        name = f"{entry}_"
        while name in taken:
            name += "_"
        taken.add(name)
        renamed[entry] = name
    return renamed


def constant_start(program: k.Program) -> bool:
    """Whether the initial state depends on no param: it is then made once for each size."""
    reads = (n.Load, n.Local)
    return not any(isinstance(x, reads) for x in n.postorder([value for _, value in program.initial]))


class Start:
    """Computes initial states, with PyTorch; a number that fills an entry needs no generated module."""

    def __init__(self, program: k.Program, arguments: Mapping[str, str]) -> None:
        self.program = program
        self.spec_names = {name: entry for entry, name in arguments.items()}

    def __call__(self) -> Start:
        return self

    @functools.cached_property
    def _filled(self) -> dict[str, tuple[k.Buffer, Any]] | None:
        """Each entry and the number it is full of; None where one is not."""
        state = {b.entry: b for b in self.program.buffers if b.role == "state"}
        found = {e: (state[e], v.value) for e, v in self.program.initial if isinstance(v, n.Const) and not v.axes}
        return found if len(found) == len(self.program.initial) else None

    @property
    def numbers(self) -> dict[str, Any] | None:
        """The number that each entry is full of; None where one is not."""
        return None if self._filled is None else {entry: number for entry, (_, number) in self._filled.items()}

    @functools.cached_property
    def _module(self) -> ModuleType:
        return torch_module(self.program)

    def initial_state(
        self, /, *, sizes: Mapping[str, int], batch: int, like: Tensor, **params: Tensor
    ) -> dict[str, Any]:
        if self._filled is None:
            renamed = getattr(self._module, "ARGUMENTS", {})
            named = {self.spec_names.get(name, name): x for name, x in params.items()}
            given = {renamed.get(name, name): x for name, x in named.items()}
            return dict(self._module.initial_state(sizes=sizes, batch=batch, like=like, **given))
        real = like.real.dtype if like.is_complex() else like.dtype
        real = real if real.is_floating_point else torch.get_default_dtype()
        dtypes = {"bool": torch.bool, "int": torch.int64, "real": real, "complex": _complex_of(real)}
        return {"t": 0} | {
            entry: torch.full(
                [_dimension(b, a, sizes, batch) for a in b.axes], value, dtype=dtypes[b.kind], device=like.device
            )
            for entry, (b, value) in self._filled.items()
        }


def _complex_of(real: torch.dtype) -> torch.dtype:
    return torch.complex128 if real == torch.float64 else torch.complex64


def _dimension(b: k.Buffer, axis: str, sizes: Mapping[str, int], batch: int) -> int:
    if axis == n.BATCH:
        return batch
    if axis == n.LAG and b.depth is not None:
        return b.depth.steps + (sizes[b.depth.axis] if b.depth.axis else 0)
    return sizes[n.base_axis(axis)]
