"""Is the form that the plan chooses the fastest? Every legal form, timed beside the estimate that it was chosen by.

    python -m benchmarks.forms [EXAMPLE …] [--gradients] [--rounds 3] [--cpu-time] [--json FILE]

Small and large states, a short and a long sequence, batch 1, one thread (the plan's `cpu` is one core). `--cpu-time`
counts processor seconds, for a machine that others use too. The last column is what the choice costs over the best.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

import ssmc
from benchmarks import harness

SIZES: dict[str, tuple[dict[str, int], ...]] = {
    "selective_scan": ({"D": 16, "N": 8}, {"D": 1024, "N": 16}),
    "ssd": ({"H": 2, "P": 16, "N": 16}, {"H": 8, "P": 64, "N": 64}),
    "gla": ({"H": 2, "K": 16, "V": 16}, {"H": 4, "K": 64, "V": 128}),
    "rwkv6": ({"H": 2, "K": 32, "V": 32}, {"H": 4, "K": 64, "V": 64}),
    "retnet": ({"H": 2, "K": 16, "V": 16}, {"H": 8, "K": 64, "V": 64}),
    "s4d": ({"D": 4, "N": 8}, {"D": 128, "N": 32}),
    "lru": ({"D": 16, "N": 16}, {"D": 256, "N": 1024}),
    "gru": ({"D": 16}, {"D": 256}),
    "diagonal": ({"D": 16}, {"D": 4096}),
}
LENGTHS = (64, 2048)
FORMS = ("recurrent", "scan", "chunked", "conv")


def arguments(f: Any, sizes: dict[str, int], length: int) -> dict[str, Tensor]:
    """Inputs between 0.1 and 0.9: decays decay, steps are positive."""
    g = torch.Generator().manual_seed(0)
    params = f.init_params(sizes, generator=g)
    inputs = {p.name: (1, length, *(f_size(f, sizes, a) for a in p.axes)) for p in f.graph.inputs}
    return {name: torch.rand(shape, generator=g) * 0.8 + 0.1 for name, shape in inputs.items()} | params


def f_size(f: Any, sizes: dict[str, int], axis: str) -> int:
    from ssmc.step.sizes import solve_sizes

    return solve_sizes(f.graph, {}, sizes)[axis]


def run(f: Any, form: str, given: dict[str, Tensor], gradients: bool) -> None:
    if not gradients:
        with torch.no_grad():
            f(**given, form=form)
        return
    leaves = {k: x.detach().requires_grad_(x.is_floating_point() or x.is_complex()) for k, x in given.items()}
    f(**leaves, form=form).sum().backward()


def measure(name: str, sizes: dict[str, int], length: int, options: Any) -> dict[str, Any]:
    f = ssmc.load(str(harness.ROOT / "examples" / f"{name}.ssm"))
    # as a call does: for the next power of two
    plan = f.plan(sizes, length=length, gradients=options.gradients)
    choice = next(c for c, part in zip(plan.choices, plan.analysis.components, strict=True) if part.recurrent)
    legal = [x for x in choice.forms if x.legal]
    given = arguments(f, sizes, length)
    timings = harness.interleaved(
        [(x.name, lambda x=x: run(f, x.name, given, options.gradients)) for x in legal],
        rounds=options.rounds,
        clock=time.process_time if options.cpu_time else time.perf_counter,
    )
    best = min(t.median for t in timings)
    return {
        "example": name,
        "sizes": sizes,
        "length": length,
        "choice": choice.form,
        "over the best": next(t.median for t in timings if t.name == choice.form) / best,
        "forms": {
            x.name: {"chunk": x.chunk, "seconds": t.median, "spread": t.spread, "estimate": x.cost.seconds_at}
            for x, t in zip(legal, timings, strict=True)
            if x.cost is not None
        },
    }


def main() -> None:
    options = harness.parser("The plan's choice of a form beside all others.", rounds=3)
    options.add_argument("examples", nargs="*", metavar="EXAMPLE", help=f"of {', '.join(SIZES)}")
    options.add_argument("--gradients", action="store_true", help="forward and backward")
    options.add_argument("--cpu-time", action="store_true", help="processor seconds, not those of the clock")
    options.add_argument("--size", choices=("small", "large", "both"), default="both")
    options.add_argument("--length", type=int, action="append", help=f"of the sequence {LENGTHS}")
    given = options.parse_args()
    torch.set_num_threads(1)
    rows, records = [], []
    for name in given.examples or SIZES:
        for i, sizes in enumerate(SIZES[name]):
            if given.size != "both" and i != ("small", "large").index(given.size):
                continue
            for length in given.length or LENGTHS:
                r = measure(name, sizes, length, given)
                records.append(r)
                cells = []
                for form in FORMS:
                    x = r["forms"].get(form)
                    mark = "*" if form == r["choice"] else ""
                    cells.append(f"{mark}{x['seconds'] * 1e3:.2f} ({x['estimate'] * 1e3:.2f})" if x else "")
                at = " ".join(f"{k}={v}" for k, v in sizes.items())
                rows.append([f"{name} {at} L={length}", *cells, f"{r['over the best']:.2f} x"])
                print(harness.table(["ms (estimate)", *FORMS, "over"], rows[-1:]).splitlines()[-1], flush=True)
    print()
    print(harness.table(["ms (estimate); * chosen", *FORMS, "over the best"], rows))
    harness.write({"machine": harness.machine(), "gradients": given.gradients, "cases": records}, given.json)


if __name__ == "__main__":
    main()
