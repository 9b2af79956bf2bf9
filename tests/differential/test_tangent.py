"""Forward mode, derived: beside the product of the interpreter's Jacobian with a direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssmc.adjoint.tangent import tangent
from ssmc.expr import nodes as n
from ssmc.expr.arrays import TorchArrays
from ssmc.expr.evaluate import Named, evaluate
from ssmc.expr.nodes import Node
from ssmc.step.initial import table
from ssmc.step.interp import run
from ssmc.step.sizes import solve_sizes
from tests.examples import harness
from tests.examples.cases import CASES, Case

LENGTH, BATCH = 5, 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_examples(case: Case) -> None:
    graph = harness.load(case.name).graph
    arrays = harness.tensors(case.make_inputs(np.random.default_rng(5), BATCH, LENGTH))
    sizes = solve_sizes(graph, {}, {**case.sizes, **case.extra_sizes})
    g = torch.Generator().manual_seed(1)

    def drawn(shape: Any, kind: str) -> Tensor:
        x = torch.randn(tuple(shape), generator=g, dtype=torch.float64)
        return torch.complex(x, torch.randn(tuple(shape), generator=g, dtype=torch.float64)) if kind == "complex" else x

    derived = tangent(graph)
    states = [graph.register[r] for r in derived.states if graph.register[r].origin == "state"]
    ports = {p.name: p for p in (*graph.inputs, *graph.params)}
    point = {name: x for name, x in arrays.items() if ports[name].kind in ("real", "complex")}
    fixed = {name: x for name, x in arrays.items() if name not in point}
    for r in states:
        point[f"state.{r.name}"] = 0.3 * drawn((BATCH, *(sizes[n.base_axis(a)] for a in r.axes)), r.kind)
    direction = {name: drawn(x.shape, "complex" if x.is_complex() else "real") for name, x in point.items()}
    inputs = {p.name for p in graph.inputs}
    smooth = [o.name for o in graph.outputs if o.kind in ("real", "complex")]

    def forward(*values: Tensor) -> tuple[Tensor, ...]:
        given = {**dict(zip(point, values, strict=True)), **fixed}
        outputs, _ = run(
            graph,
            {k: v for k, v in given.items() if k in inputs},
            {k: v for k, v in given.items() if k in ports and k not in inputs},
            {k[6:]: v for k, v in given.items() if k.startswith("state.")},
            xp=TorchArrays,
            sizes=sizes,
        )
        return tuple(outputs[name] for name in smooth)

    _, wanted = torch.autograd.functional.jvp(forward, tuple(point.values()), tuple(direction.values()))

    made: dict[str, Tensor] = {}

    def constants(*params: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip([p.name for p in graph.params if p.name in point], params, strict=True)) | fixed

        def leaf(node: Node) -> Named:
            if isinstance(node, n.Param):
                return Named(node.axes, made[node.name] if node.name in made else given[node.name])
            assert isinstance(node, n.Table)
            shape = [sizes[n.base_axis(a)] for a in node.axes]
            return Named(node.axes, TorchArrays().asarray(table(node.name, shape), node.kind))

        made.clear()
        for name, value in derived.constants:
            (got,) = evaluate([value], leaf, TorchArrays(), sizes)
            made[name] = got.data.permute([got.axes.index(a) for a in graph.arena.sorted_axes(value.axes)])
        return tuple(x for x in made.values() if x.dtype != torch.bool)

    flags = {name for name, value in derived.constants if value.kind == "bool"}
    names = [name for name, _ in derived.constants if name not in flags]
    params = [p.name for p in graph.params if p.name in point]
    at = dict(zip(names, constants(*(point[p] for p in params)), strict=True)) | {name: made[name] for name in flags}
    moved: dict[str, Tensor] = {}
    if names and params:
        _, moves = torch.autograd.functional.jvp(
            constants, tuple(point[p] for p in params), tuple(direction[p] for p in params)
        )
        moved = dict(zip(names, moves, strict=True))
    values = {**arrays, **at}
    along = {**direction, **moved}
    values |= {new: along[old] for old, new in (*derived.inputs.items(), *derived.params.items()) if old in along}
    of = derived.graph
    start = {derived.states[r.name]: direction[f"state.{r.name}"] for r in states}
    start |= {r.name: point[f"state.{r.name}"] for r in states if r.name in of.register}
    found, _ = run(
        of,
        {p.name: values[p.name] for p in of.inputs},
        {p.name: values[p.name] for p in of.params if p.name in values},
        start,
        LENGTH,
        xp=TorchArrays,
        sizes=solve_sizes(of, {}, sizes),
    )
    for name, want in zip(smooth, wanted, strict=True):
        got = found[derived.outputs[name]]
        torch.testing.assert_close(
            got, want.expand_as(got), rtol=1e-7, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}"
        )
