"""Gradients of decays as running sums of readouts: those of autograd, and close to them in single precision too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ssmc.backends.torch import build
from torch import Tensor

import ssmc
from ssmc.adjoint.graph import adjoint
from ssmc.adjoint.parts import written_out
from ssmc.expr.arrays import TorchArrays
from ssmc.kernel.pair import Pair, lower_pair, lower_resuming, saved_by
from ssmc.plan.choose import choose
from ssmc.recurrence.analyse import analyse
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


GATED = "ssm s\naxis K, V\ninput q[K], k[K], v[V], g[K]\nstate S[K, V]\nS = {} * S + k * v\noutput y = q · S\n"
LENGTH, SIZES = 150, {"K": 8, "V": 8}


def _gradients(pair: Pair, given: Mapping[str, np.ndarray], real: type) -> dict[str, np.ndarray]:
    """Of a pair's modules, from a state of zeros."""
    forward, backward = (build.load(build.source(p), p.name) for p in (pair.forward, pair.backward))
    tensors = {name: torch.as_tensor(x.astype(real)) for name, x in given.items()}
    state = tensors["q"].new_zeros(1, SIZES["K"], SIZES["V"])
    call = {"sizes": SIZES, "batch": 1, "length": LENGTH}
    inputs = {name: x for name, x in tensors.items() if name != "d_y"}
    _, _, saved = forward.sequence_saving(**call, state={"t": 0, "S": state}, **inputs)
    read = {b.name for b in pair.backward.buffers if b.role == "input"}
    own = {name: x for name, x in tensors.items() if name in read}
    found, _ = backward.sequence(**call, state={"t": 0, "d_S": state}, saved=saved, **own)
    outputs = [b.entry for b in pair.backward.buffers if b.role == "output"]
    return {name: x.double().numpy() for name, x in zip(outputs, found, strict=True)}


@pytest.mark.parametrize("mean", [-4, 0, 4, 20, 60, "mixed"])
@pytest.mark.parametrize("decay", ["exp(-softplus(g))", "sigmoid(-g)", "exp(-softplus(g[K = 0]))"])
def test_as_close_as_step_by_step(decay: str, mean: int | str) -> None:
    """In single precision too, whether the state is kept for long or forgotten at once, or now this, now that."""
    graph = ssmc.compile(GATED.format(decay))
    derived = analyse(adjoint(graph.graph).graph)
    plans = choose(derived, length=4096, resumes=64), choose(derived, form="recurrent:64")
    assert plans[0].telescopes
    sums, steps = (lower_pair(choose(graph.analysis, form="chunked:64"), plan, 64) for plan in plans)
    rng = np.random.default_rng(0)
    given = {name: rng.normal(size=(1, LENGTH, 8)) for name in ("q", "k", "v", "g", "d_y")}
    given["g"] = given["g"] * 30 if mean == "mixed" else given["g"] + mean
    exact = _gradients(steps, given, np.float64)
    for real, close in ((np.float64, 1e-14), (np.float32, 5e-6)):
        for name, x in _gradients(sums, given, real).items():
            assert np.abs(x - exact[name]).max() <= close * np.abs(exact[name]).max(), (name, real)


def test_what_is_not_known_in_one_pass_is_not_summed() -> None:
    """Neither is what the forward did not save."""
    graph = ssmc.compile(GATED.format("sigmoid(g)"))
    plan = choose(analyse(adjoint(graph.graph).graph), length=4096, resumes=64)
    (telescope,) = plan.telescopes
    apart = replace(plan, telescopes=(replace(telescope, cotangent="elsewhere"),))
    for wrong, saved in ((apart, ("S",)), (plan, ())):
        program = lower_resuming(wrong, graph.analysis.graph, 64, saved)
        assert not any(": sum" in p.title for p in program.passes)
        assert saved_by(program) == saved
    assert any(": sum" in p.title for p in lower_resuming(plan, graph.analysis.graph, 64, ("S",)).passes)
