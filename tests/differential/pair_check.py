"""Forward and backward as a pair of programs: what the second computes from what the first saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ssmc.backends.torch import build
from torch import Tensor

from ssmc.adjoint.parts import written_out
from ssmc.kernel import interp
from ssmc.kernel import nodes as k
from ssmc.kernel.pair import Pair, lower_pair
from ssmc.plan.choose import choose
from ssmc.plan.nodes import Plan
from ssmc.recurrence.analyse import analyse
from ssmc.step.nodes import StepGraph
from tests.differential.adjoint_check import Call

Gradients = tuple[Mapping[str, Tensor], Mapping[str, Any]]


def planned(graph: StepGraph, form: str = "auto") -> Plan:
    """A plan in which every component that can be is of a form, and no chunk is the whole sequence."""
    analysis = analyse(graph)
    found = choose(analysis)
    choices = []
    for choice in found.choices:
        legal = [f for f in choice.forms if f.legal and f.name == form]
        choices.append(replace(choice, form=legal[0].name, chunk=legal[0].chunk) if legal else choice)
    return replace(found, choices=tuple(choices))


class ByPair:
    """Runs the backward of a call as the second program of a pair, after the first; it checks what the first gives."""

    def __init__(
        self, chunk: int, forms: tuple[str, str] = ("auto", "auto"), module: bool = False, resumes: bool = False
    ) -> None:
        """With `resumes` the backward is planned as one, for a long sequence."""
        self.chunk, self.forms, self.module, self.resumes = chunk, forms, module, resumes
        self.pair: Pair | None = None

    def __call__(self, call: Call) -> Gradients:
        if self.pair is None:
            first = planned(call.graph, self.forms[0])
            if self.resumes:
                graph = written_out(call.derived.graph, call.derived.constants, call.graph)
                second = choose(analyse(graph), length=4096, resumes=self.chunk)
            else:
                second = planned(call.derived.graph, self.forms[1])
            self.plans = first, second
            self.pair = lower_pair(first, second, self.chunk, call.derived.lines)
        pair = self.pair
        run = self._by_modules if self.module else self._by_interpreter
        outputs, last, d_outputs, d_last = run(call, pair)
        for found, wanted in ((outputs, call.outputs), (last, call.last)):
            for name, x in wanted.items():
                torch.testing.assert_close(
                    _tensor(found[name]), x, rtol=1e-8, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}"
                )
        return d_outputs, d_last

    def _by_interpreter(self, call: Call, pair: Pair) -> Any:
        def start(p: k.Program, given: Any, params: Any, sizes: Any) -> Any:
            own = interp.initial(p, params, sizes, call.batch)
            return own | {name: x for name, x in given.items() if name in own}

        ins, pars, state = map(_arrays, (call.inputs, call.params, call.state))
        sizes = _made(pair.forward, call.sizes)
        outputs, last, saved = interp.sequence_saving(
            pair.forward, ins, pars, start(pair.forward, state, pars, sizes), sizes, call.batch, call.length
        )
        chunks = -(-call.length // self.chunk)
        assert all(x.shape[:2] == (call.batch, chunks) for x in saved.values())
        assert set(saved) == set(pair.saved)
        ins, pars, state = map(_arrays, (call.d_inputs, _params_of(pair.backward, call), call.d_state))
        sizes = _made(pair.backward, call.d_sizes)
        found, final = interp.sequence(
            pair.backward, ins, pars, start(pair.backward, state, pars, sizes), sizes, call.batch, call.length, saved
        )
        return outputs, last, _tensors(found), _tensors(final)

    def _by_modules(self, call: Call, pair: Pair) -> Any:
        forward, backward = (build.load(build.source(p), p.name) for p in (pair.forward, pair.backward))

        def arguments(module: Any, p: k.Program, inputs: Any, params: Any, state: Any, sizes: Any) -> dict[str, Any]:
            renamed = getattr(module, "ARGUMENTS", {})
            named = {renamed.get(name, name): x for name, x in params.items()}
            own = module.initial_state(
                sizes=sizes, batch=call.batch, like=torch.zeros((), dtype=torch.float64), **named
            )
            own |= {name: x for name, x in state.items() if name in own}
            named |= {renamed.get(name, name): x for name, x in inputs.items()}
            return {"sizes": sizes, "batch": call.batch, "length": call.length, "state": own, **named}

        given = arguments(forward, pair.forward, call.inputs, call.params, call.state, _made(pair.forward, call.sizes))
        if pair.saved:
            ys, last, saved = forward.sequence_saving(**given)
        else:
            (ys, last), saved = forward.sequence(**given), {}
        assert set(saved) == set(pair.saved)
        given = arguments(
            backward,
            pair.backward,
            call.d_inputs,
            _params_of(pair.backward, call),
            call.d_state,
            _made(pair.backward, call.d_sizes),
        )
        ds, final = backward.sequence(**given, **({"saved": saved} if pair.saved else {}))
        names = [b.entry for b in pair.backward.buffers if b.role == "output"]
        return dict(zip(call.outputs, ys, strict=True)), last, dict(zip(names, ds, strict=True)), final


def _params_of(p: k.Program, call: Call) -> dict[str, Tensor]:
    """Also where values of params alone are written out again."""
    every = {**call.params, **call.d_params}
    return {x.name: every[x.name] for x in p.graph.params}


def _made(p: k.Program, sizes: Mapping[str, int]) -> dict[str, int]:
    from ssmc.step.sizes import solve_sizes

    return solve_sizes(p.graph, {}, {a.name: sizes[a.name] for a in p.graph.axes if a.name in sizes})


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: x.numpy() for name, x in tensors.items()}


def _tensors(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tensor(x) for name, x in arrays.items()}


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else torch.as_tensor(np.array(x))
