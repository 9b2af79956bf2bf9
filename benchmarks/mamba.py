"""Mamba beside a torch loop: the scan alone and the whole block, forward and forward with backward, and memory.

    python -m benchmarks.mamba [--rounds 7] [--threads 2] [--json FILE]

B = 1, D = 1536, N = 16, L = 2048, float32. Both sides are called as a user would: the spec through `f(...)`, without
naming a form; the loop as in loops.py. Before anything is timed, both results and both gradients are compared, and the
spec's output with the float64 oracle on a piece of the sequence.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import Tensor

import ssmc
from benchmarks import harness, loops

D, N, RANK, WIDTH, LENGTH = 1536, 16, 96, 4, 2048
SPECS = ("selective_scan", "mamba")
LOOPS = {"selective_scan": loops.selective_scan, "mamba": loops.mamba}
SIDES = ("ssmc", "loop")


def arguments(spec: str, length: int = LENGTH) -> dict[str, Tensor]:
    """Inputs and params at the scale that a trained model has them."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=g) * scale

    shared = {
        "z": normal(1, length, D),
        "A_log": torch.log(torch.arange(1.0, N + 1)).repeat(D, 1),
        "skip": torch.ones(D),
        "dt_bias": normal(D) - 4,
        "u": normal(1, length, D),
    }
    if spec == "selective_scan":
        return shared | {"dt": normal(1, length, D), "B": normal(1, length, N), "C": normal(1, length, N)}
    return shared | {
        "conv_weight": normal(D, WIDTH, scale=0.5),
        "conv_bias": normal(D, scale=0.1),
        "W_r": normal(RANK, D, scale=D**-0.5),
        "W_dt": normal(D, RANK, scale=RANK**-0.5),
        "W_B": normal(N, D, scale=D**-0.5),
        "W_C": normal(N, D, scale=D**-0.5),
    }


def operator(spec: str, side: str) -> Any:
    if side == "loop":
        return LOOPS[spec]
    return ssmc.load(str(harness.ROOT / "examples" / f"{spec}.ssm"))


def forward(f: Any, given: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return f(**given)  # type: ignore[no-any-return]


def backward(f: Any, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Forward and backward; the gradient of every argument."""
    leaves = {name: x.detach().requires_grad_() for name, x in given.items()}
    y = f(**leaves)
    # a weight per element: with a plain sum a wrong order of steps would not show
    (y * given["z"]).sum().backward()
    return {name: x.grad for name, x in leaves.items() if x.grad is not None}


DIRECTIONS = {"forward": forward, "backward": backward}
TITLES = {"forward": "forward", "backward": "forward + backward"}


# -- before the clock starts ---------------------------------------------------------------------------------------


def check(spec: str) -> None:
    """Exit where the two sides, or the spec and its oracle, differ."""
    given, (ours, theirs) = arguments(spec), (operator(spec, side) for side in SIDES)
    _near(f"{spec}: output", forward(ours, given), forward(theirs, given), 1e-4)
    one, other = backward(ours, given), backward(theirs, given)
    if one.keys() != other.keys():
        sys.exit(f"{spec}: gradients of {sorted(one)} against {sorted(other)}")
    for name in one:
        _near(f"{spec}: gradient of {name}", one[name], other[name], 1e-3)
    _near(
        f"{spec}: output, beside the oracle",
        forward(ours, arguments(spec, 24)),
        oracle(ours, arguments(spec, 24)),
        1e-4,
    )


def oracle(f: Any, given: dict[str, Tensor]) -> Tensor:
    """The sequential float64 interpreter's output."""
    from ssmc.step.interp import run

    graph = f.graph
    inputs = {p.name: given[p.name].double().numpy() for p in graph.inputs}
    params = {p.name: given[p.name].double().numpy() for p in graph.params}
    outputs, _ = run(graph, inputs, params)
    return torch.tensor(outputs[graph.outputs[0].name]).float()


def _near(what: str, a: Tensor, b: Tensor, tolerance: float) -> None:
    """Compared at the scale of the whole, as float32 sums are."""
    scale = b.abs().max().item() or 1.0
    off = (a - b).abs().max().item() / scale
    if not off <= tolerance:
        sys.exit(f"{what} is off by {off:.2g} of its scale")


# -- memory, in a process of its own --------------------------------------------------------------------------------


def memory(spec: str, side: str, direction: str) -> dict[str, int]:
    """Peak bytes of one run beyond the arguments; for a backward also what the forward keeps for it."""
    f = operator(spec, side)
    run = DIRECTIONS[direction]
    run(f, arguments(spec, 130))  # code is loaded, threads are started
    given = arguments(spec)
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return x

    own = {x.untyped_storage().data_ptr() for x in given.values()}
    peak = harness.peak_above(lambda: run(f, given))
    if direction == "backward":
        leaves = {name: x.detach().requires_grad_() for name, x in given.items()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            alive = f(**leaves)
        kept = {at: size for at, size in kept.items() if at not in own}
        del alive
    return {"peak": peak, "kept": sum(kept.values()), "largest": max(kept.values(), default=0)}


# -- all of it -----------------------------------------------------------------------------------------------------


def timings(spec: str, rounds: int) -> dict[str, Any]:
    check(spec)
    given = arguments(spec)
    sides = [(side, operator(spec, side)) for side in SIDES]
    record: dict[str, Any] = {}
    for direction, run in DIRECTIONS.items():
        measured = harness.interleaved([(side, lambda f=f, run=run: run(f, given)) for side, f in sides], rounds=rounds)
        record[direction] = harness.record_of(measured) | {
            "ratio": harness.faster(measured, "ssmc", "loop"),
            "ratio of rounds": harness.paired(measured, "ssmc", "loop"),
        }
    return record


def memories(spec: str) -> dict[str, Any]:
    return {
        direction: {
            side: harness.in_fresh_process("benchmarks.mamba", "--memory", spec, side, direction) for side in SIDES
        }
        for direction in DIRECTIONS
    }


def main() -> None:
    options = harness.parser("Mamba through the public call, beside a torch loop.", rounds=7)
    options.add_argument("--threads", type=int, default=2, help="of torch (2)")
    options.add_argument("--spec", choices=SPECS, action="append", help="one of them (both)")
    options.add_argument("--only", choices=("time", "memory"), help="measure one of the two")
    options.add_argument("--memory", nargs=3, metavar=("SPEC", "SIDE", "DIRECTION"), help="print one case's memory")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    if given.memory:
        print(json.dumps(memory(*given.memory)))
        return
    record: dict[str, Any] = {"sizes": {"B": 1, "D": D, "N": N, "L": LENGTH, "R": RANK}, "machine": harness.machine()}
    print(f"{record['sizes']}, float32; a tensor of L x D x N is {harness.megabytes(4 * LENGTH * D * N)} MB")
    print(record["machine"])
    for spec in given.spec or SPECS:
        record[spec] = {}
        if given.only != "memory":
            record[spec]["time"] = timings(spec, given.rounds)
            rows = [
                [f"{spec}: {TITLES[d]}, {side}", harness.milliseconds(r[side]["median"]), f"{r[side]['spread']:.0%}",
                 harness.milliseconds(r[side]["best"]),
                 *([f"{r['ratio']:.2f} x", f"{r['ratio of rounds']:.2f} x"] if side == "ssmc" else ["", ""])]
                for d, r in record[spec]["time"].items() for side in SIDES
            ]  # fmt: skip
            print(
                "\n" + harness.table(["time", "median ms", "spread", "best ms", "faster", "by rounds"], rows),
                flush=True,
            )
        if given.only != "time":
            record[spec]["memory"] = memories(spec)
            rows = [
                [f"{spec}: {TITLES[d]}, {side}", *(harness.megabytes(r[side][x]) for x in ("peak", "kept", "largest"))]
                for d, r in record[spec]["memory"].items() for side in SIDES
            ]  # fmt: skip
            print("\n" + harness.table(["memory", "peak MB", "kept MB", "largest kept"], rows), flush=True)
    harness.write(record, given.json)


if __name__ == "__main__":
    main()
