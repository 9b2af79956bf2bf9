"""What a spec means for given arguments, output and gradients, in double precision and in bounded memory.

The oracle runs a piece of the sequence from the state that the piece before left: running in pieces is running at once,
by its definition. Gradients go back through the pieces one at a time, each run again with autograd; so a sequence of
any length can be checked whole, and not a cut of it.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import ROOT
from ssmc.expr.arrays import TorchArrays
from ssmc.step.interp import run
from ssmc.step.nodes import StepGraph
from ssmc.step.printer import print_graph

PIECE = 64
Function = Callable[..., Any]


@dataclass(frozen=True)
class Expected:
    """Outputs, and the gradients of arguments by name: computed in double precision, kept in single."""

    outputs: tuple[Tensor, ...]
    gradients: dict[str, Tensor]


def expected(
    graph: StepGraph, around: Callable[[Function], Function], given: Mapping[str, Tensor], weight: Tensor | None
) -> Expected:
    """Of `sum(weight * output)`; no gradients without a weight. `around` makes of the spec a function of `given`.

    Kept in a file of the temporary folder: the oracle takes its time. It runs in a process of its own, for this one
    must not start threads before it is forked.
    """
    place = _place(graph, given, weight)
    if not place.exists():
        run = multiprocessing.get_context("fork").Process(target=_compute, args=(place, graph, around, given, weight))
        run.start()
        run.join()
    return Expected(**torch.load(place))


def _compute(
    place: Path,
    graph: StepGraph,
    around: Callable[[Function], Function],
    given: Mapping[str, Tensor],
    weight: Tensor | None,
) -> None:
    leaves = {k: _double(x).requires_grad_(weight is not None) for k, x in given.items()}
    # double precision also for what `around` makes itself
    torch.set_default_dtype(torch.float64)
    spec = one_step(graph) if _is_step(graph, given) else sequence(graph)
    found = around(spec)(**leaves)
    outputs = found if isinstance(found, tuple) else (found,)
    slopes: dict[str, Tensor] = {}
    if weight is not None:
        taken = torch.autograd.grad(outputs[0], tuple(leaves.values()), _double(weight))
        slopes = {k: _single(x) for k, x in zip(leaves, taken, strict=True)}
    place.parent.mkdir(parents=True, exist_ok=True)
    half = place.with_suffix(f".{os.getpid()}")
    torch.save({"outputs": tuple(_single(y.detach()) for y in outputs), "gradients": slopes}, half)
    half.replace(place)


def sequence(graph: StepGraph) -> Function:
    """The first output as a function of inputs and params by name, differentiable."""

    def call(**given: Tensor) -> Tensor:
        names = tuple(given)
        return _Pieces.apply(graph, names, *given.values())  # type: ignore[no-any-return, no-untyped-call]

    return call


def one_step(graph: StepGraph) -> Function:
    """As `Compiled.step`: a state and the inputs of one step give the first output and the state after it."""

    def call(state: Mapping[str, Any], **given: Tensor) -> tuple[Tensor, Mapping[str, Any]]:
        inputs = {p.name: given[p.name][:, None] for p in graph.inputs}
        params = {p.name: given[p.name] for p in graph.params if p.name in given}
        outputs, after = run(graph, inputs, params, state, 1, TorchArrays)
        return outputs[graph.outputs[0].name][:, 0], after

    return call


def _is_step(graph: StepGraph, given: Mapping[str, Tensor]) -> bool:
    """A step is given the entries of the state."""
    return any(r.name in given for r in graph.registers)


class _Pieces(torch.autograd.Function):
    """The oracle over a sequence; the states at the pieces' boundaries are what it keeps for its backward."""

    @staticmethod
    def forward(ctx: Any, graph: StepGraph, names: tuple[str, ...], *tensors: Tensor) -> Tensor:
        given = dict(zip(names, tensors, strict=True))
        inputs = {p.name: given[p.name] for p in graph.inputs}
        params = {p.name: given[p.name] for p in graph.params if p.name in given}
        name, length = graph.outputs[0].name, next(iter(inputs.values())).shape[1]
        ctx.cuts = [(at, min(at + PIECE, length)) for at in range(0, length, PIECE)]
        ctx.states = [{}]
        ys = []
        for a, b in ctx.cuts:
            piece = {k: x[:, a:b] for k, x in inputs.items()}
            y, after = run(graph, piece, params, ctx.states[-1], b - a, TorchArrays)
            ys.append(y[name])
            ctx.states.append(after)
        ctx.graph, ctx.inputs, ctx.params, ctx.names = graph, inputs, params, names
        return torch.cat(ys, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        name = ctx.graph.outputs[0].name
        slopes = {k: torch.zeros_like(x) for k, x in (ctx.inputs | ctx.params).items()}
        carried: dict[str, Tensor] = {}
        for (a, b), before in zip(reversed(ctx.cuts), reversed(ctx.states[:-1]), strict=True):
            with torch.enable_grad():
                piece = {k: _leaf(x[:, a:b]) for k, x in ctx.inputs.items()}
                params = {k: _leaf(x) for k, x in ctx.params.items()}
                held = {k: _leaf(x) if isinstance(x, Tensor) else x for k, x in before.items()}
                y, after = run(ctx.graph, piece, params, held, b - a, TorchArrays)
            pairs = [(y[name], gradients[0][:, a:b]), *((after[k], slope) for k, slope in carried.items())]
            roots, weights = zip(*(p for p in pairs if p[0].requires_grad), strict=True)
            leaves = {("input", k): x for k, x in piece.items()} | {("param", k): x for k, x in params.items()}
            leaves |= {("state", k): x for k, x in held.items() if isinstance(x, Tensor) and x.requires_grad}
            taken = torch.autograd.grad(roots, tuple(leaves.values()), weights, allow_unused=True)
            carried = {}
            for (what, k), slope in zip(leaves, taken, strict=True):
                if slope is None:
                    continue
                match what:
                    case "input":
                        slopes[k][:, a:b] = slope
                    case "param":
                        slopes[k] += slope
                    case _:
                        carried[k] = slope
        return None, None, *(slopes[k] for k in ctx.names)


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_(x.is_floating_point() or x.is_complex())


def _double(x: Tensor) -> Tensor:
    return x.to(torch.complex128 if x.is_complex() else torch.float64)


def _single(x: Tensor) -> Tensor:
    return x.to(torch.complex64 if x.is_complex() else torch.float32)


def _place(graph: StepGraph, given: Mapping[str, Tensor], weight: Tensor | None) -> Path:
    """A file for exactly this question: spec, arguments, and the oracle's sources."""
    key = hashlib.sha256(print_graph(graph).encode())
    for folder in ("ssmc/step", "ssmc/expr"):
        for source in sorted((ROOT / folder).glob("*.py")):
            key.update(source.read_bytes())
    key.update(Path(__file__).read_bytes())
    for name, x in (*given.items(), ("weight", weight)):
        if x is not None:
            key.update(f"{name} {tuple(x.shape)}".encode())
            key.update(x.contiguous().numpy().tobytes())
    return Path(tempfile.gettempdir()) / "ssmc-bench-oracle" / f"{key.hexdigest()[:32]}.pt"
