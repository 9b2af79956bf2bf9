"""Examples through the C++ backend against the oracle: a program of its own, to be run sanitized.

    python -m tests.differential.cpp_examples [NAME…] [--dtype float32] [--lengths 1 2 33] [--gradients]

Sequences and steps; with `--gradients`, the gradient of every input, param and entry of the state, in double precision.

A line an example. Memory of new tensors is full of NaN, so that an element that is not written, or read before it is,
shows in the comparison.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from ssmc.backends.cpp.library import extension

import ssmc
from ssmc.expr.arrays import TorchArrays
from ssmc.runtime.selftest import _Trial, awkward_sizes
from ssmc.step.interp import run
from ssmc.step.sizes import growing_axes

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TOLERANCE = {"float32": 2e-4, "float64": 1e-9}
AMPLIFIED = 8.0  # times the error of the same step in PyTorch, where that is above the tolerance


def error(found: Any, wanted: Any) -> float:
    """The largest difference over the largest magnitude, at least 1."""
    if not wanted.numel():
        return 0.0
    wide = torch.promote_types(wanted.dtype, torch.float64)
    x, y = found.detach().to(wide), wanted.detach().to(wide)
    same = (x == y) | (x.isnan() & y.isnan())
    gap = torch.where(same, 0.0, (x - y).abs())
    return float(
        torch.nan_to_num(gap, nan=torch.inf).max() / max(1.0, float(torch.nan_to_num(y.abs(), posinf=0.0).max()))
    )


def check(name: str, dtype: str, lengths: list[int], backend: str = "cpp") -> float:
    """The largest error of an example over the lengths, of sequences and of steps."""
    spec = ssmc.load(EXAMPLES / f"{name}.ssm")
    sizes = awkward_sizes(spec.graph, None)
    trial = _Trial(spec, sizes)
    real = getattr(torch, dtype)
    worst = 0.0
    for length in lengths:
        q = trial.question(length)

        def cast(group: dict[str, Any]) -> dict[str, Any]:
            wide = real.to_complex()
            kinds = {torch.float64: real, torch.complex128: wide}
            return {k: x.detach().to(kinds.get(x.dtype, x.dtype)) for k, x in group.items()}

        inputs, params, state = cast(q.inputs), cast(q.params), cast(q.state)
        wanted, last = run(spec.graph, _wide(inputs), _wide(params), _wide(state), length, TorchArrays, sizes)
        given = {"sizes": {a: s for a, s in sizes.items() if a in spec.graph.axis}, "backend": backend}
        more = {} if inputs else {"length": length}
        with torch.no_grad():
            ys, after = spec(**inputs, **params, state=state, return_state=True, form="recurrent", **given, **more)
        outputs = (ys,) if isinstance(ys, torch.Tensor) else tuple(ys)
        worst = max([worst, *(error(y, wanted[o.name]) for o, y in zip(spec.graph.outputs, outputs, strict=True))])
        worst = max([worst, *(error(after[k], x) for k, x in last.items() if k != "t")])
        if any(r.reverse for r in spec.graph.registers) or growing_axes(spec.graph):
            continue
        now: Any = state
        for t in range(min(length, 5)):
            with torch.no_grad():
                ys, now = spec.step(now or None, **{k: x[:, t] for k, x in inputs.items()}, **params, **given)
            outputs = (ys,) if isinstance(ys, torch.Tensor) else tuple(ys)
            for o, y in zip(spec.graph.outputs, outputs, strict=True):
                worst = max(worst, error(y, wanted[o.name][:, t]))
    return worst


def check_gradients(name: str, lengths: list[int]) -> float:
    """The largest error of a gradient; the loss is of every output and every last state."""
    spec = ssmc.load(EXAMPLES / f"{name}.ssm")
    sizes = awkward_sizes(spec.graph, None)
    trial = _Trial(spec, sizes)
    worst = 0.0
    for length in lengths:
        q = trial.question(length)
        if not q.leaves:
            continue
        wanted, last = run(spec.graph, q.inputs, q.params, q.state, length, TorchArrays, sizes)
        given = {"sizes": {a: s for a, s in sizes.items() if a in spec.graph.axis}, "backend": "cpp"}
        more = {} if q.inputs else {"length": length}
        ys, after = spec(**q.inputs, **q.params, state=q.state, return_state=True, form="recurrent", **given, **more)
        outputs = (ys,) if isinstance(ys, torch.Tensor) else tuple(ys)
        losses = (
            _loss([*outputs, *(after[r.name] for r in spec.graph.registers)]),
            _loss([*(wanted[o.name] for o in spec.graph.outputs), *(last[r.name] for r in spec.graph.registers)]),
        )
        found, right = (torch.autograd.grad(x, q.leaves, allow_unused=True) for x in losses)
        for leaf, f, r in zip(q.leaves, found, right, strict=True):
            blank = torch.zeros_like(leaf)
            worst = max(worst, error(blank if f is None else f, blank if r is None else r))
    return worst


def _loss(values: list[Any]) -> Any:
    total = torch.zeros((), dtype=torch.float64)
    for x in values:
        weights = torch.cos(torch.arange(x.numel(), dtype=torch.float64)).reshape(x.shape)
        if x.is_complex():
            total = total + (x.real * weights).sum() + (x.imag * weights.flip(0) if x.ndim else x.imag).sum()
        elif x.is_floating_point():
            total = total + (x * weights).sum()
    return total


def _wide(group: dict[str, Any]) -> dict[str, Any]:
    kinds = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    return {k: x.to(kinds.get(x.dtype, x.dtype)) for k, x in group.items()}


def main() -> None:
    options = argparse.ArgumentParser(description="The examples through the C++ backend.")
    options.add_argument("names", nargs="*")
    options.add_argument("--dtype", default="float32", choices=TOLERANCE)
    options.add_argument("--lengths", type=int, nargs="*", default=[1, 2, 33])
    options.add_argument("--gradients", action="store_true")
    asked = options.parse_args()
    tolerance = 1e-6 if asked.gradients else TOLERANCE[asked.dtype]
    caller = extension()
    if caller is not None:
        caller.poison(True)
    missed = []
    for name in asked.names or sorted(p.stem for p in EXAMPLES.glob("*.ssm")):
        try:
            worst = check_gradients(name, asked.lengths) if asked.gradients else check(name, asked.dtype, asked.lengths)
        except Exception as wrong:
            print(f"{name:30} {type(wrong).__name__}: {str(wrong).strip().splitlines()[0][:200]}", flush=True)
            missed.append(name)
            continue
        limit = tolerance
        if not worst < limit and not asked.gradients:
            # a recurrence that amplifies rounding: as close as another computation in this precision comes
            limit = AMPLIFIED * check(name, asked.dtype, asked.lengths, "torch")
        print(f"{name:30} {worst:.1e}{'' if worst < limit else f'  MISS {limit:.1e}'}", flush=True)
        if not worst < limit:
            missed.append(name)
    sys.exit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
