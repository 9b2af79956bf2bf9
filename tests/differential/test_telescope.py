"""Gradients of decays as running sums of readouts: those of autograd, and close to them in single precision too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from ssmc.adjoint.parts import written_out
from ssmc.expr.arrays import TorchArrays
from ssmc.recurrence.telescope import telescoped
from ssmc.step.interp import run
from tests.differential.adjoint_check import Backward, Call, check_adjoint
from tests.differential.pair_check import ByPair
from tests.examples import harness
from tests.examples.cases import BY_NAME

# scalar decays a head, decays a key, reads before the update, writes that decay, two registers that share a decay
DECAYS = ("ssd", "gla", "hgrn2", "rwkv6", "mamba2", "mamba3", "mlstm", "rwkv5", "lightning_attention")


def by_telescope(call: Call) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """The interpreter, over the graph with running sums, which begin with the product of the last states."""
    derived = call.derived
    graph = written_out(derived.graph, derived.constants, call.graph)
    found = telescoped(graph)
    assert found is not None
    entries = dict(call.d_state)
    for t in found[1]:
        axes = graph.register[t.copy_of].axes
        last = call.last[t.copy_of] * entries[t.cotangent]
        entries[t.sum] = last.sum([1 + axes.index(a) for a in t.over])
        entries[t.state] = call.state[t.copy_of]
    entries = {name: x for name, x in entries.items() if name in found[0].register}
    given = {p.name: call.params[p.name] for p in found[0].params}
    return run(found[0], call.d_inputs, given, entries, call.length, xp=TorchArrays, sizes=call.d_sizes)


def _check(name: str, length: int, backward: Backward, lines: bool = False) -> None:
    case = BY_NAME[name]
    arrays = harness.tensors(case.make_inputs(np.random.default_rng(5), 2, length))
    inputs = {d.name for d in case.inputs}
    check_adjoint(
        harness.load(name).graph,
        {k: v for k, v in arrays.items() if k in inputs},
        {k: v for k, v in arrays.items() if k not in inputs},
        {**case.sizes, **case.extra_sizes},
        backward,
        lines,
    )


@pytest.mark.parametrize("length", [1, 9])
@pytest.mark.parametrize("name", DECAYS)
def test_the_sums_are_the_gradients(name: str, length: int) -> None:
    _check(name, length, by_telescope)


@pytest.mark.parametrize("module", [False, True], ids=["interpreted", "module"])
@pytest.mark.parametrize("name", DECAYS)
def test_in_chunks(name: str, module: bool) -> None:
    """The sums begin anew in every chunk, from the states at its end, and no state of a step is held."""
    backward = ByPair(3, ("chunked", ""), module, resumes=True)
    for length in (0, 1, 2, 3, 4, 7):
        _check(name, length, backward)
    assert backward.plans[1].telescopes
    assert backward.pair is not None
    matrix = {t.cotangent for t in backward.plans[1].telescopes}
    rank = max(len(b.axes) for b in backward.pair.backward.buffers if b.entry in matrix)
    scratch = [b for b in backward.pair.backward.buffers if b.role in ("scratch", "workspace")]
    assert all(len(b.axes) <= rank for b in scratch), "a state of each step"
