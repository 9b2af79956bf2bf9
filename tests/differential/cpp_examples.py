"""Examples through the C++ backend against the oracle: a program of its own, to be run sanitized.

    python -m tests.differential.cpp_examples [NAME…] [--dtype float32] [--lengths 1 2 33] [--sizes wide] [--gradients]

Sequences and steps; with `--gradients`, the gradient of every input, param and entry of the state. Sizes are awkward:
small and odd; or, `wide`, such that an axis takes more than a vector and does not fill the last one.

A line an example. Memory of new tensors is full of NaN, so that an element that is not written, or read before it is,
shows in the comparison.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from ssmc.backends.cpp.library import extension

import ssmc
from ssmc.diagnostics import SpecError
from ssmc.expr.arrays import TorchArrays
from ssmc.runtime.selftest import _Trial, awkward_sizes
from ssmc.step.interp import run
from ssmc.step.nodes import StepGraph
from ssmc.step.sizes import growing_axes, solve_sizes

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = tuple(sorted(p.stem for p in EXAMPLES.glob("*.ssm")))
TOLERANCE = {"float32": 2e-4, "float64": 1e-9}
GRADIENT_TOLERANCE = {"float32": 1e-3, "float64": 1e-6}
AMPLIFIED = 8.0  # times the error of the same in PyTorch, where that is above the tolerance
STEPS = 5  # one after the other, at most
# the first takes more than a vector in either precision, and does not fill the last
WIDE = (19, 3, 5)

Sizes = dict[str, int]
Direction = Literal["forward", "backward", "step"]


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


def wide_sizes(graph: StepGraph) -> Sizes:
    """Sizes that take more than a vector, where the spec leaves them open; else awkward ones."""
    given: Sizes = {}
    for axis in graph.axes:
        try:
            known = solve_sizes(graph, {}, given, partial=True)
            if axis.name in known or axis.name in growing_axes(graph):
                continue
            chosen = given | {axis.name: WIDE[len(given) % len(WIDE)]}
            solve_sizes(graph, {}, chosen, partial=True)
        except SpecError:  # an axis that is a part of another
            continue
        given = chosen
    return awkward_sizes(graph, given)


SIZES: dict[str, Callable[[StepGraph], Sizes]] = {"awkward": lambda g: awkward_sizes(g, None), "wide": wide_sizes}


@functools.cache
def _loaded(name: str) -> Any:
    return ssmc.load(EXAMPLES / f"{name}.ssm")


@dataclass(frozen=True)
class Asked:
    """A sequence of an example in a precision, what the oracle says of it in double precision, and how it is called."""

    spec: Any
    sizes: Sizes
    length: int
    inputs: dict[str, Any]
    params: dict[str, Any]
    state: dict[str, Any]

    @classmethod
    def of(cls, name: str, dtype: str, length: int, sizes: str = "awkward") -> Asked:
        spec = _loaded(name)
        chosen = SIZES[sizes](spec.graph)
        q = _Trial(spec, chosen).question(length)
        real = getattr(torch, dtype)
        kinds = {torch.float64: real, torch.complex128: real.to_complex()}

        def cast(group: dict[str, Any]) -> dict[str, Any]:
            made = {k: x.detach().to(kinds.get(x.dtype, x.dtype)) for k, x in group.items()}
            return {k: x.requires_grad_(group[k].requires_grad) for k, x in made.items()}

        return cls(spec, chosen, length, cast(q.inputs), cast(q.params), cast(q.state))

    @property
    def leaves(self) -> list[Any]:
        every = [*self.inputs.values(), *self.params.values(), *self.state.values()]
        return [x for x in every if x.requires_grad]

    def oracle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        groups = (_wide(self.inputs), _wide(self.params), _wide(self.state))
        return run(self.spec.graph, *groups, self.length, TorchArrays, self.sizes)

    def call(self, backend: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        more = {} if self.inputs else {"length": self.length}
        ys, after = self.spec(
            **self.inputs, **self.params, state=self.state, return_state=True, form="recurrent",
            sizes=self._own, backend=backend, **more,
        )  # fmt: skip
        return _outputs(ys), after

    def step(self, backend: str, t: int, state: Any) -> tuple[tuple[Any, ...], Any]:
        now = {k: x[:, t] for k, x in self.inputs.items()}
        ys, after = self.spec.step(state or None, **now, **self.params, sizes=self._own, backend=backend)
        return _outputs(ys), after

    @property
    def _own(self) -> Sizes:
        return {a: s for a, s in self.sizes.items() if a in self.spec.graph.axis}


def forward_error(asked: Asked, backend: str = "cpp") -> float:
    """Of outputs and last states."""
    with torch.no_grad():
        wanted, last = asked.oracle()
        ys, after = asked.call(backend)
    graph = asked.spec.graph
    errors = [error(y, wanted[o.name]) for o, y in zip(graph.outputs, ys, strict=True)]
    return max([0.0, *errors, *(error(after[k], x) for k, x in last.items() if k != "t")])


def step_error(asked: Asked, backend: str = "cpp") -> float | None:
    """Of the first steps, one after the other; None where there is no step."""
    graph = asked.spec.graph
    if any(r.reverse for r in graph.registers) or growing_axes(graph):
        return None
    worst = 0.0
    now: Any = asked.state
    with torch.no_grad():
        wanted, _ = asked.oracle()
        for t in range(min(asked.length, STEPS)):
            ys, now = asked.step(backend, t, now)
            for o, y in zip(graph.outputs, ys, strict=True):
                worst = max(worst, error(y, wanted[o.name][:, t]))
    return worst


def gradient_error(asked: Asked, backend: str = "cpp") -> float | None:
    """Of the gradients of every leaf; the loss is of every output and every last state. None without leaves."""
    leaves = asked.leaves
    if not leaves:
        return None
    graph = asked.spec.graph
    ys, after = asked.call(backend)
    wanted, last = asked.oracle()
    losses = (
        _loss([*ys, *(after[r.name] for r in graph.registers)]),
        _loss([*(wanted[o.name] for o in graph.outputs), *(last[r.name] for r in graph.registers)]),
    )
    if not losses[1].requires_grad:
        return None
    found, right = (torch.autograd.grad(x, leaves, allow_unused=True) for x in losses)
    worst = 0.0
    for leaf, f, r in zip(leaves, found, right, strict=True):
        blank = torch.zeros_like(leaf)
        worst = max(worst, error(blank if f is None else f, blank if r is None else r))
    return worst


ERRORS: dict[Direction, Callable[[Asked, str], float | None]] = {
    "forward": forward_error,
    "backward": gradient_error,
    "step": step_error,
}


def _loss(values: list[Any]) -> Any:
    total = torch.zeros((), dtype=torch.float64)
    for x in values:
        weights = torch.cos(torch.arange(x.numel(), dtype=torch.float64)).reshape(x.shape)
        if x.is_complex():
            total = total + (x.real * weights).sum() + (x.imag * weights.flip(0) if x.ndim else x.imag).sum()
        elif x.is_floating_point():
            total = total + (x * weights).sum()
    return total


def _outputs(ys: Any) -> tuple[Any, ...]:
    return (ys,) if isinstance(ys, torch.Tensor) else tuple(ys)


def _wide(group: dict[str, Any]) -> dict[str, Any]:
    # a gradient through `to` comes back in the precision of the leaf: its rounding is below what is compared
    kinds = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    return {k: x.to(kinds.get(x.dtype, x.dtype)) for k, x in group.items()}


def largest(
    name: str, directions: tuple[Direction, ...], dtype: str, lengths: list[int], sizes: str, backend: str = "cpp"
) -> float:
    """The largest error of an example over the lengths."""
    every = [Asked.of(name, dtype, length, sizes) for length in lengths]
    return max([0.0, *(ERRORS[d](asked, backend) or 0.0 for asked in every for d in directions)])


def main() -> None:
    options = argparse.ArgumentParser(description="The examples through the C++ backend.")
    options.add_argument("names", nargs="*")
    options.add_argument("--dtype", default="float32", choices=TOLERANCE)
    options.add_argument("--lengths", type=int, nargs="*", default=[1, 2, 33])
    options.add_argument("--sizes", default="awkward", choices=SIZES)
    options.add_argument("--gradients", action="store_true")
    asked = options.parse_args()
    directions: tuple[Direction, ...] = ("backward",) if asked.gradients else ("forward", "step")
    caller = extension()
    if caller is not None:
        caller.poison(True)
    missed = []
    for name in asked.names or NAMES:
        try:
            worst = largest(name, directions, asked.dtype, asked.lengths, asked.sizes)
            limit = (GRADIENT_TOLERANCE if asked.gradients else TOLERANCE)[asked.dtype]
            if not worst < limit:
                # a recurrence that amplifies rounding: as close as another computation in this precision comes
                limit = AMPLIFIED * largest(name, directions, asked.dtype, asked.lengths, asked.sizes, "torch")
        except Exception as wrong:
            print(f"{name:30} {type(wrong).__name__}: {str(wrong).strip().splitlines()[0][:200]}", flush=True)
            missed.append(name)
            continue
        print(f"{name:30} {worst:.1e}{'' if worst < limit else f'  MISS {limit:.1e}'}", flush=True)
        if not worst < limit:
            missed.append(name)
    sys.exit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
