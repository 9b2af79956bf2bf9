"""What a workload is, what a peer is, and how a function of torch, of jax or of a spec becomes one.

Every side of a workload computes the same function of the same named arguments. Arguments are converted before the
clock starts; what a run gives is compared with the oracle once, and then only timed.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

Arguments = Mapping[str, Tensor]
Function = Callable[..., Any]

FORWARD, BACKWARD = "forward", "forward + backward"


@dataclass(frozen=True)
class Runs:
    """A peer that is ready: thunks that compute the output, and the gradients of arguments by name.

    A gradient that is left out is not compared; `backward` computes the output too.
    """

    forward: Callable[[], Any] | None
    backward: Callable[[], Mapping[str, Any]] | None = None

    def by_direction(self) -> dict[str, Callable[[], Any]]:
        both = {FORWARD: self.forward, BACKWARD: self.backward}
        return {direction: run for direction, run in both.items() if run is not None}


@dataclass(frozen=True)
class Peer:
    """Another implementation of the same function.

    `needs` are modules without which it is left out. `unranked` says why its time is shown but no ratio is taken of it:
    it solves an easier problem, say. `slow` peers run only when they are asked for. `reuses` those that write into the
    memory of the run before: they are ranked against calls with `out=`.
    """

    name: str
    prepare: Callable[[Arguments, Tensor], Runs]
    needs: tuple[str, ...] = ()
    unranked: str = ""
    slow: bool = False
    reuses: bool = False


@dataclass(frozen=True)
class Work:
    """The least that any implementation must do, for the share of the machine's limit.

    Bytes to and from the memory (each argument and result once), floating-point operations, exponentials.
    """

    bytes: float = 0.0
    flops: float = 0.0
    exps: float = 0.0


@dataclass(frozen=True)
class Target:
    """How many times faster than a peer ssmc is to be; without a name, than the best one.

    With `reused`, of the rows whose outputs are in the memory of the run before; else of the others.
    """

    ratio: float
    peer: str = ""
    reused: bool = False


@dataclass(frozen=True)
class Workload:
    """A spec at fixed sizes, its peers, and what there is to know about how fast it can be.

    `output` is the shape of the output whose gradients are taken. `around` makes of the spec's call a function of the
    workload's arguments, where the two differ. `possible` are the milliseconds of a hand-tuned kernel on the machine
    of `limits.REFERENCE`. With `out`, the spec is also called with `out=`, and
    forward + backward where the C library keeps the memory that is given back.
    """

    name: str
    title: str
    spec: str
    arguments: Callable[[], dict[str, Tensor]]
    peers: tuple[Peer, ...]
    work: Mapping[str, Work]
    output: tuple[int, ...] = ()
    possible: Mapping[str, float] = field(default_factory=dict)
    targets: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    around: Callable[[Function], Function] | None = None
    step: bool = False
    out: bool = False
    backward: bool = True
    # of the oracle, as a part of the largest magnitude
    tolerance: Mapping[str, float] = field(default_factory=lambda: {FORWARD: 1e-4, BACKWARD: 1e-3})


def normal(generator: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=generator) * scale


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def time_major(x: Tensor) -> Tensor:
    """(batch, time, …) with the strides of (time, batch, …)."""
    return x.transpose(0, 1).contiguous().transpose(0, 1)


def channel_major(x: Tensor) -> Tensor:
    """(batch, time, channel) with the strides of (batch, channel, time)."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def keep_memory() -> None:
    """From now on this process keeps memory that is freed: a large tensor is in pages that were used before.

    Otherwise the system hands out fresh pages for every tensor of 32 MiB and more, and clears them first, which can
    take longer than a kernel that is bound by memory.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # of the GNU C library
        trim_threshold, mmap_max = -1, -4
        library.mallopt(mmap_max, 0)
        library.mallopt(trim_threshold, 2**31 - 1)


# -- torch ---------------------------------------------------------------------------------------------------------


def torch_runs(f: Function, given: Arguments, weight: Tensor, backward: bool = True) -> Runs:
    """`f` without a record for a backward, and with gradients of `given` under the weights of each output element."""

    def forward() -> Tensor:
        with torch.no_grad():
            return f(**given)  # type: ignore[no-any-return]

    leaves = {name: x.detach().requires_grad_() for name, x in given.items()}

    def both() -> dict[str, Tensor]:
        taken = torch.autograd.grad(f(**leaves), tuple(leaves.values()), weight)
        return dict(zip(leaves, taken, strict=True))

    return Runs(forward, both if backward else None)


def torch_peer(name: str, f: Function, *, compiled: bool = False, **more: Any) -> Peer:
    """A function of tensors; `compiled` by torch.compile, whole."""
    backward = more.pop("backward", True)

    def prepare(given: Arguments, weight: Tensor) -> Runs:
        ready = torch.compile(f, fullgraph=True, dynamic=False) if compiled else f
        return torch_runs(ready, given, weight, backward)

    return Peer(name, prepare, **more)


# -- jax -----------------------------------------------------------------------------------------------------------


def jax_peer(name: str, make: Callable[[], Function], *, backward: bool = True, **more: Any) -> Peer:
    """`make` imports jax and gives a function of arrays, by name; it is jitted here, forward and with its vjp."""

    def prepare(given: Arguments, weight: Tensor) -> Runs:
        import jax
        import jax.numpy as jnp

        f = make()
        arrays = {k: jnp.asarray(x.contiguous().numpy()) for k, x in given.items()}
        weights = jnp.asarray(weight.contiguous().numpy())
        once = jax.jit(lambda a: f(**a))

        @jax.jit
        def vjp(a: Any, w: Any) -> Any:
            y, back = jax.vjp(lambda b: f(**b), a)
            # torch's convention for complex leaves is the conjugate; the output is given too: a training step needs it
            return jax.tree.map(jnp.conj, back(w)[0]), y

        return Runs(
            lambda: jax.block_until_ready(once(arrays)),
            (lambda: jax.block_until_ready(vjp(arrays, weights))[0]) if backward else None,
        )

    return Peer(name, prepare, needs=("jax",), **more)


# -- packages ------------------------------------------------------------------------------------------------------


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def file_of_package(package: str, path: str) -> ModuleType:
    """One file of an installed package as a module, without the package around it: fla imports triton at once."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.submodule_search_locations is not None
    place = Path(next(iter(found.submodule_search_locations))) / path
    spec = importlib.util.spec_from_file_location(f"{package}_{place.stem}", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
