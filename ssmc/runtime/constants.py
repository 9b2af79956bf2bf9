"""Values of params alone, and initial states, by operations that PyTorch records, so that gradients reach the params.

In double precision on the host, as the defaults of params are: it is done once a call, and on few numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arrays import TorchArrays
from ssmc.expr.evaluate import Evaluator, Named
from ssmc.expr.nodes import Axes, Node
from ssmc.runtime.initial import held
from ssmc.runtime.shapes import axes_of
from ssmc.runtime.tensors import COMPLEX_OF, REAL_OF, Precision
from ssmc.step.initial import table
from ssmc.step.nodes import Register, StepGraph


def starts(
    graph: StepGraph, sizes: Mapping[str, int], batch: int, params: Mapping[str, Tensor], precision: Precision
) -> dict[str, Tensor]:
    """Every entry of the state but `t` before the first step, differentiable in the params."""
    found: dict[str, Tensor] = {}
    rest: list[Register] = []
    for r in graph.registers:
        if isinstance(r.init, n.Const):
            shape = (batch, *held(r, sizes), *axes_of(r.axes, sizes))
            found[r.name] = torch.full(shape, r.init.value, dtype=precision.of(r.kind), device=precision.device)
        else:
            rest.append(r)
    if rest:
        values = evaluated([(r.name, r.init) for r in rest], params, sizes, [r.axes for r in rest])
        for r, value in zip(rest, values, strict=True):
            shape = (batch, *held(r, sizes), *axes_of(r.axes, sizes))
            found[r.name] = value.to(device=precision.device, dtype=precision.of(r.kind)).expand(shape)
    return {r.name: found[r.name] for r in graph.registers}


def evaluated(
    values: Sequence[tuple[str, Node]], params: Mapping[str, Tensor], sizes: Mapping[str, int], layouts: Sequence[Axes]
) -> list[Tensor]:
    """Each value with a dimension for each axis of its layout, of size 1 for one that it lacks."""
    xp = TorchArrays()
    like = next((x for x in params.values() if x.is_floating_point() or x.is_complex()), None)
    real = torch.float64 if like is None else REAL_OF.get(like.dtype, like.dtype)
    roots = [node for _, node in values]
    evaluator = Evaluator(roots, xp)

    def leaf(node: Node) -> Named:
        match node:
            case n.Param(name=name, axes=axes, kind=kind):
                return Named(axes, xp.asarray(params[name].cpu(), kind))
            case n.Table(name=name, axes=axes, kind=kind):
                return Named(axes, xp.asarray(table(name, list(axes_of(axes, sizes))), kind))
            case _:
                raise CompilerBug(f"{type(node).__name__} in a value of params alone")

    made = []
    for found, layout, root in zip(evaluator(leaf, dict(sizes)), layouts, roots, strict=True):
        data = evaluator.align(found, layout)
        dtype = real if root.kind == "real" else COMPLEX_OF[real] if root.kind == "complex" else data.dtype
        made.append(data.to(device=None if like is None else like.device, dtype=dtype))
    return made
