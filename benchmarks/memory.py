"""Peak memory of forward + backward through the public call, beside what every implementation needs.

    python -m benchmarks.memory [W2 W5 …] [--backend cpp] [--threads 2] [--json FILE]

Each workload in a process of its own. *Needed* are the arguments, the output and the gradients of both. *States* is
what the forward keeps for the backward besides arguments and output. *Peak* is the most that the process held while it
ran, beyond what it held before there were arguments. *Beyond* is by how much of what is needed the peak is above
needed and states together. Where it is more than a tenth, the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

import ssmc
from benchmarks import harness
from benchmarks.workloads.base import Workload
from benchmarks.workloads.table import WORKLOADS

ALLOWED = 0.10
SHORT = 130  # steps of the runs that load code, at the beginning
# W7 is a step, and has no backward
NAMES = [name for name, w in WORKLOADS.items() if w.backward and not w.step]

Arguments = Mapping[str, Tensor]
Spec = Callable[..., Any]


class _Taken(Exception):
    """Carries the arguments of a call out of the function that makes it."""


def arguments(workload: Workload) -> dict[str, Tensor]:
    """What the spec itself is called with, each in memory of its own, where there is torch code around the call."""
    given = workload.arguments()
    if workload.around is None:
        return given

    def take(**named: Tensor) -> Tensor:
        raise _Taken({name: x.detach().clone() for name, x in named.items()})

    try:
        workload.around(take)(**given)
    except _Taken as found:
        return found.args[0]  # type: ignore[no-any-return]
    raise AssertionError(f"{workload.name} does not call its spec")


def both(f: Spec, leaves: Arguments, weight: Tensor) -> int:
    """Forward and backward. The bytes of the output and of the gradients of the arguments."""
    y = f(**leaves)
    found = torch.autograd.grad(y, tuple(leaves.values()), weight)
    return sum(x.nbytes for x in (y, *found))


def kept(f: Spec, leaves: Arguments) -> int:
    """The bytes that a forward keeps for its backward, besides its arguments and what it returns."""
    found: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        y = f(**leaves)
    own = {x.untyped_storage().data_ptr() for x in (y, *leaves.values())}
    return sum(size for at, size in found.items() if at not in own)


def measured(f: Spec, make: Callable[[], Arguments], inputs: frozenset[str]) -> dict[str, int]:
    """Bytes of one forward + backward of `f`; time is the second dimension of `inputs`."""
    short = {k: _leaf(x[:, :SHORT].clone() if k in inputs else x) for k, x in make().items()}
    y = f(**short)
    for _ in range(2):
        both(f, short, torch.ones_like(y))
    kept(f, short)
    leaves = {k: _leaf(x) for k, x in make().items()}
    shape = list(y.shape)
    shape[1] = next(x.shape[1] for k, x in leaves.items() if k in inputs)
    weight = torch.ones(shape, dtype=y.dtype)
    del short, y
    harness.trim()
    given = sum(x.nbytes for x in (weight, *leaves.values()))
    made: list[int] = []
    rise = harness.peak_above(lambda: made.append(both(f, leaves, weight)))
    return {"needed": given + made[0], "states": kept(f, leaves), "peak": given + rise}


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def one(name: str, backend: str) -> dict[str, int]:
    workload = WORKLOADS[name]
    spec: Any = ssmc.load(str(harness.ROOT / "examples" / f"{workload.spec}.ssm"))

    def f(**given: Tensor) -> Tensor:
        return spec(**given, backend=backend)  # type: ignore[no-any-return]

    return measured(f, lambda: arguments(workload), frozenset(p.name for p in spec.graph.inputs))


def row(name: str, found: Mapping[str, int]) -> tuple[list[str], float]:
    beyond = (found["peak"] - found["states"] - found["needed"]) / found["needed"]
    return [name, *(harness.megabytes(found[x]) for x in ("needed", "states", "peak")), f"{beyond:.1%}"], beyond


def main() -> None:
    options = harness.parser("Peak memory of forward + backward.", rounds=1)
    options.add_argument("names", nargs="*", metavar="WORKLOAD", help=f"some of them (all): {' '.join(NAMES)}")
    options.add_argument("--backend", default="cpp", help="of ssmc (cpp)")
    options.add_argument("--threads", type=int, default=2, help="of each process (2)")
    options.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    if given.in_this_process:
        print(json.dumps(one(given.names[0], given.backend)))
        return
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    record: dict[str, Any] = {"machine": harness.machine(), "workloads": {}}
    rows, worst = [], 0.0
    for name in given.names or NAMES:
        more = ("--in-this-process", "--backend", given.backend, "--threads", str(given.threads))
        # once for the compiler, whose libraries are then kept
        for _ in range(2):
            found = harness.in_fresh_process("benchmarks.memory", name, *more)
        cells, beyond = row(name, found)
        record["workloads"][name] = found | {"beyond": beyond}
        rows.append(cells)
        worst = max(worst, beyond)
    print(harness.table(["forward + backward, MB", "needed", "states", "peak", "beyond"], rows))
    harness.write(record, given.json)
    sys.exit(0 if worst <= ALLOWED else 1)


if __name__ == "__main__":
    main()
