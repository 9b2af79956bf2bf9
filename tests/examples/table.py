"""The table of the examples: `python -m tests.examples.table` prints, for each, how far every form is from the loops.

Columns: the class that `explain` gives; the greatest error, relative to the output's scale, of the oracle in float64,
of every legal form in float64 and float32, of the gradients of every legal form against the oracle's, of stepping
token by token, and of a packed call against separate ones.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ssmc.expr.arrays import TorchArrays
from ssmc.step.interp import run
from tests.examples import harness
from tests.examples.cases import BY_NAME, CASES, Arrays, Case

BATCH, LENGTH = 2, 37
CUTS = (0, 5, 5, 22, 37)

Tensors = dict[str, torch.Tensor]


def error(got: Mapping[str, Any], want: Mapping[str, Any]) -> float:
    """The greatest difference, each array's divided by its scale."""
    worst = 0.0
    for name, expected in want.items():
        a, b = (x.detach().numpy() if isinstance(x, torch.Tensor) else np.asarray(x) for x in (got[name], expected))
        if b.size:
            worst = max(worst, float(np.abs(a - b).max() / max(1.0, np.abs(b).max())))
    return worst


def oracle(case: Case, arrays: Mapping[str, Any], xp: Any) -> dict[str, Any]:
    graph = harness.load(case.name).graph
    inputs = {p.name: arrays[p.name] for p in graph.inputs}
    params = {p.name: arrays[p.name] for p in graph.params if p.name in arrays}
    outputs, _ = run(graph, inputs, params, None, LENGTH, **({"xp": xp} if xp is not None else {}))
    return {name: getattr(value, "data", value) if xp is None else value for name, value in outputs.items()}


def leaves(arrays: Arrays) -> Tensors:
    found = harness.tensors(arrays)
    for x in found.values():
        x.requires_grad_(x.is_floating_point() or x.is_complex())
    return found


def gradients(outputs: Mapping[str, torch.Tensor], tensors: Tensors) -> Tensors:
    """Of one fixed projection of the outputs."""
    total = torch.zeros((), dtype=torch.float64)
    for name, y in sorted(outputs.items()):
        if y.is_floating_point() or y.is_complex():
            weights = torch.from_numpy(np.random.default_rng(len(name)).normal(size=tuple(y.shape)))
            total = total + (y.real * weights).sum()
    wanted = {n: x for n, x in tensors.items() if x.requires_grad}
    found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return {n: torch.zeros_like(x) if g is None else g for (n, x), g in zip(wanted.items(), found, strict=True)}


def stepped(case: Case, tensors: Tensors) -> Tensors:
    spec, names = harness.load(case.name), {d.name for d in case.inputs}
    state, steps = None, []
    for t in range(LENGTH):
        y, state = spec.step(state, **{n: x[:, t] if n in names else x for n, x in tensors.items()})
        steps.append(harness.by_name(case, y))
    return {name: torch.stack([s[name] for s in steps], 1) for name in steps[0]}


def packed(case: Case, tensors: Tensors) -> float:
    spec, names = harness.load(case.name), {d.name for d in case.inputs}
    row = {n: x[0] if n in names else x for n, x in tensors.items()}
    whole = harness.by_name(case, spec(**row, cu_seqlens=torch.tensor(CUTS)))
    worst = 0.0
    for first, last in pairwise(CUTS):
        piece = harness.by_name(case, spec(**{n: x[first:last] if n in names else x for n, x in row.items()}))
        worst = max(worst, error({n: y[first:last] for n, y in whole.items()}, piece))
    return worst


def line(case: Case) -> tuple[str, ...]:
    rng = np.random.default_rng(5)
    arrays = case.make_inputs(rng, BATCH, LENGTH)
    want = {name: value for name, value in case.run(arrays).items() if not name.startswith("state.")}
    told = harness.explained(case.name)
    spec, tensors, single = harness.load(case.name), harness.tensors(arrays), harness.tensors(arrays, torch.float32)
    tracked = leaves(arrays)
    slopes = gradients(oracle(case, tracked, TorchArrays), tracked)
    cells = [case.name, told["class"], f"{error(oracle(case, arrays, None), want):.0e}"]
    doubles, floats, grads = [], [], []
    for form in harness.legal_forms(told):
        doubles.append(f"{form} {error(harness.by_name(case, spec(**tensors, form=form)), want):.0e}")
        floats.append(error(harness.by_name(case, spec(**single, form=form)), want))
        fresh = leaves(arrays)
        grads.append(error(gradients(harness.by_name(case, spec(**fresh, form=form)), fresh), slopes))
    cells += [", ".join(doubles), f"{max(floats):.0e}", f"{max(grads):.0e}"]
    cells.append(f"{error(stepped(case, tensors), want):.0e}" if case.causal else "looks ahead")
    cells.append(f"{packed(case, tensors):.0e}")
    return tuple(cells)


def main() -> None:
    chosen = [BY_NAME[name] for name in sys.argv[1:]] or CASES
    head = ("example", "class", "oracle", "each legal form, float64", "float32", "gradients", "step", "packed")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for case in chosen:
        print("| " + " | ".join(line(case)) + " |", flush=True)


if __name__ == "__main__":
    main()
