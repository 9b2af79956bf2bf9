"""A graph's derived adjoint, run by the interpreter or otherwise, beside autograd of the interpreter's forward run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssmc.adjoint.graph import Adjoint, adjoint
from ssmc.expr import nodes as n
from ssmc.expr.arrays import TorchArrays
from ssmc.expr.evaluate import Named, evaluate
from ssmc.expr.nodes import Node
from ssmc.step.interp import run
from ssmc.step.nodes import StepGraph
from ssmc.step.sizes import solve_sizes


@dataclass(frozen=True)
class Call:
    """A forward with what it gave, and the arguments of its derived backward."""

    graph: StepGraph
    inputs: dict[str, Tensor]
    params: dict[str, Tensor]
    state: dict[str, Tensor]
    outputs: dict[str, Tensor]
    last: dict[str, Tensor]
    sizes: dict[str, int]
    batch: int
    length: int
    derived: Adjoint
    d_inputs: dict[str, Tensor]
    d_params: dict[str, Tensor]
    d_state: dict[str, Tensor]
    d_sizes: dict[str, int]


# what runs the backward of a call: its outputs, and the new state
Backward = Callable[[Call], tuple[Mapping[str, Tensor], Mapping[str, Any]]]


def by_interpreter(call: Call) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    return run(
        call.derived.graph, call.d_inputs, call.d_params, call.d_state, call.length, xp=TorchArrays, sizes=call.d_sizes
    )


def check_adjoint(
    graph: StepGraph,
    inputs: Mapping[str, Tensor],
    params: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    backward: Backward = by_interpreter,
    lines: bool = True,
) -> Adjoint:
    """Gradients of every input, param and initial state from every output and final state, as autograd has them.

    Without `lines` delay lines begin as they do by themselves, and get no gradient.
    """
    g = torch.Generator().manual_seed(1)
    xp = TorchArrays()
    shapes = {name: tuple(x.shape) for name, x in {**inputs, **params}.items()}
    sizes = solve_sizes(graph, shapes, sizes)
    batch = next((x.shape[0] for x in inputs.values()), 1)

    def leaf(x: Tensor) -> Tensor:
        return x.detach().clone().requires_grad_() if x.dtype.is_floating_point or x.is_complex() else x

    def like(x: Tensor) -> Tensor:
        re = torch.randn(x.shape, generator=g, dtype=torch.float64)
        return torch.complex(re, torch.randn(x.shape, generator=g, dtype=torch.float64)) if x.is_complex() else re

    ins, pars = ({k: leaf(v) for k, v in given.items()} for given in (inputs, params))
    derived = adjoint(graph, lines=lines)
    kinds = {r.name: torch.complex128 if r.kind == "complex" else torch.float64 for r in graph.registers}
    start: dict[str, Tensor] = {}
    _, zero = run(graph, ins, pars, None, 0 if not ins else None, xp=TorchArrays, sizes=sizes)
    for name in derived.states:
        entry = torch.zeros((batch, *zero[name].shape[1:]), dtype=kinds[name])
        start[name] = leaf(like(entry) * 0.3)
    outputs, state = run(graph, ins, pars, start, xp=TorchArrays, sizes=sizes)
    given = {name: like(outputs[name]) for name in derived.cotangents}
    last = {name: like(state[name]) for name in derived.states}
    roots = [outputs[x] for x in given] + [state[x] for x in last]
    weights = [*given.values(), *last.values()]
    leaves = {**ins, **pars, **{f"state {k}": v for k, v in start.items()}}
    smooth = {k: v for k, v in leaves.items() if v.requires_grad}
    live = [(r, w) for r, w in zip(roots, weights, strict=True) if r.requires_grad]
    if not live:
        wanted = tuple(map(torch.zeros_like, smooth.values()))
    else:
        wanted = torch.autograd.grad(
            [r for r, _ in live], list(smooth.values()), [w for _, w in live], allow_unused=True, materialize_grads=True
        )

    def turned(name: str, x: Tensor) -> Tensor:
        """An entry (batch, depth, axes), oldest first, as one (batch, 1, line, axes), of a line newest first."""
        x = x.flip(1) if name in derived.lines else x
        return x.unsqueeze(1) if name in {**derived.lines, **derived.pasts} else x

    def constant(node: Node) -> Named:
        if isinstance(node, n.Param):
            return Named(node.axes, pars[node.name])
        from ssmc.step.initial import table

        assert isinstance(node, n.Table)
        return Named(node.axes, xp.asarray(table(node.name, [sizes[n.base_axis(a)] for a in node.axes]), node.kind))

    made: dict[str, Tensor] = {}
    for port in (p for p in derived.source.params if p.name in dict(derived.constants)):
        (got,) = evaluate([dict(derived.constants)[port.name]], constant, xp, sizes)
        made[port.name] = got.data.permute([got.axes.index(a) for a in port.axes])
    g_in = {
        p.name: ins[p.name] if p.name in ins else given[_key(derived.cotangents, p.name)] for p in derived.graph.inputs
    }
    g_par = {p.name: made.get(p.name, pars.get(p.name)) for p in derived.graph.params}
    entries: dict[str, Any] = {derived.states[name]: turned(name, x) for name, x in last.items()}
    entries |= {name: turned(name, x) for name, x in start.items() if name in derived.graph.register}
    length = next(iter(outputs.values())).shape[1] if outputs else next(iter(ins.values())).shape[1]
    with torch.no_grad():
        found, final = backward(
            Call(
                graph, _detached(ins), _detached(pars), _detached(start), _detached(outputs), _detached(state),
                sizes, batch, length, derived, _detached(g_in),
                _detached({name: x for name, x in g_par.items() if x is not None}), _detached(entries),
                solve_sizes(derived.graph, {}, sizes),
            )
        )  # fmt: skip
    got_params = {name: final[register].sum(0) for name, register in derived.params.items()}
    of_params = {name: got_params[name].clone() for name in got_params if name in pars}
    chained = [(made[name], got_params[name]) for name in made if name in got_params and made[name].requires_grad]
    if chained:
        extra = torch.autograd.grad(
            [m for m, _ in chained],
            [p for p in pars.values() if p.requires_grad],
            [c.reshape(m.shape) for m, c in chained],
            allow_unused=True,
        )
        for name, x in zip([k for k, p in pars.items() if p.requires_grad], extra, strict=True):
            if x is not None:
                of_params[name] = of_params[name] + x if name in of_params else x
    for name, want in zip(smooth, wanted, strict=True):
        if name.startswith("state "):
            got = final[derived.states[name[6:]]]
            got = got.squeeze(1) if name[6:] in {**derived.lines, **derived.pasts} else got
            got = got.flip(1) if name[6:] in derived.lines else got
        elif name in ins:
            got = found[derived.inputs[name]]
        else:
            got = of_params.get(name, torch.zeros_like(want))
        torch.testing.assert_close(
            got.reshape(want.shape), want, rtol=1e-7, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}"
        )
    return derived


def _detached(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: x.detach() for name, x in tensors.items() if isinstance(x, Tensor)}


def _key(names: Mapping[str, str], value: str) -> str:
    return next(k for k, v in names.items() if v == value)
