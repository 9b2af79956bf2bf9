"""Descriptions of machines, as the plan's estimates need them: a handful of published or measured figures each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ssmc.diagnostics import SpecError
from ssmc.plan.problems import NoSuchTarget


@dataclass(frozen=True)
class Cache:
    """So many bytes, of which one thread reads and writes `bandwidth` a second."""

    bytes: int
    bandwidth: float


@dataclass(frozen=True)
class Machine:
    """`flops` and `dot_flops`: a second, elementwise and in matrix products, in float32. `bandwidth` to memory and
    `cache_bandwidth` to `cache` bytes of cache, in bytes a second. `overhead`: seconds to start an operation.
    `stepwise` machines have registers and loops of their own: one step after the other is what they run fastest. Of
    those are known exponentials a second, the caches of one core, and the seconds that it takes for a call to begin.
    """

    name: str
    flops: float
    dot_flops: float
    bandwidth: float
    cache: float
    cache_bandwidth: float
    overhead: float
    cores: int
    stepwise: bool = False
    exps: float = 1e9
    caches: tuple[Cache, ...] = ()
    starting: float = 0.0


# "cpu" is a core of a current server under PyTorch, "cpp" one under generated C++; GPUs have the figures of their data
# sheets, products in TF32.
MACHINES: dict[str, Machine] = {
    m.name: m
    for m in (
        Machine("cpu", 1e10, 6e10, 1.0e10, 5e6, 4e10, 1.2e-6, 2),
        Machine("cpp", 5e10, 7e10, 1.4e10, 1e6, 1.0e11, 0.0, 2, stepwise=True),
        Machine("cuda:80", 1.95e13, 1.56e14, 1.9e12, 4e7, 5e12, 6e-6, 108),
        Machine("cuda:90", 6.7e13, 4.9e14, 3.3e12, 5e7, 8e12, 5e-6, 132),
        Machine("cuda:100", 7.5e13, 1.1e15, 8.0e12, 1.2e8, 1.5e13, 5e-6, 148),
        Machine("hip:gfx90a", 4.8e13, 9.5e13, 3.2e12, 1.6e7, 6e12, 8e-6, 208),
        Machine("hip:gfx942", 1.6e14, 6.5e14, 5.3e12, 2.5e8, 1.7e13, 8e-6, 304),
    )
}


def machine(target: str | Machine) -> Machine:
    """The description of a target; a CUDA capability without one of its own gets that of the nearest below it.

    Raises SpecError for a target that is none.
    """
    if isinstance(target, Machine):
        return target
    target = str(target)
    if target in MACHINES:
        return MACHINES[target]
    if found := re.fullmatch(r"cuda:(\d{2,3})", target):
        known = sorted(int(name[5:]) for name in MACHINES if name.startswith("cuda:"))
        capability = int(found[1])
        nearest = max((k for k in known if k <= capability), default=known[0])
        return MACHINES[f"cuda:{nearest}"]
    raise SpecError([NoSuchTarget(None, target, tuple(MACHINES))])
