"""Gradients through the state: each way in and each way out, alone; steps, pieces and packed rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.numerics.harness import (
    Case,
    Tensors,
    arguments,
    compiled,
    gradients,
    leaves,
    legal_forms,
    loss,
    named,
    oracle,
    same,
)

SIZES = {"D": 3}
MATRIX_SIZES = {"H": 2, "K": 3, "V": 2}
SPECS = {
    "diagonal": ("axis D\ninput x[D], g[D]\nparam p[D]\nstate h[D]\nh = sigmoid(g)*h + x\noutput y = h*p\n", SIZES),
    "fixed": ("axis D\ninput x[D]\nparam a[D]\nstate h[D]\nh = sigmoid(a)*h + x\noutput y = h\n", SIZES),
    "matrix": (
        "axis H, K, V\neach H\ninput q[H, K], k[H, K], v[H, V], g[H, K]\nstate S[H, K, V]\n"
        "S = sigmoid(g)*S + k*v\noutput y = q · S\n",
        MATRIX_SIZES,
    ),
    "two": ("axis D\ninput x[D], g[D]\nstate h[D], c[D]\nh = sigmoid(g)*h + x\nc = 0.5*c + h\noutput y = c\n", SIZES),
    "normalised": (
        "axis H, K, V\neach H\ninput q[H, K], k[H, K], v[H, V], f[H]\nstate S[H, K, V], n[H, K]\n"
        "S = sigmoid(f)*S + exp(k)*v\nn = sigmoid(f)*n + exp(k)\noutput y = (q · S)/(abs(q · n) + 1)\n",
        MATRIX_SIZES,
    ),
    "maximum": ("axis D\ninput x[D], g[D]\nstate m[D]\nm = max(m - softplus(g), x)\noutput y = m\n", SIZES),
    "nonlinear": ("axis D\ninput x[D]\nparam W[D, D]\nstate h[D]\nh = tanh(W @ h + x)\noutput y = h\n", SIZES),
    "convolved": (
        "axis D, W\ninput x[D], g[D]\nparam w[D, W]\nstate h[D]\nu = silu(conv(x, w))\nh = sigmoid(g)*h + u\n"
        "output y = h + prev(u, 2)\n",
        {"D": 3, "W": 4},
    ),
    "recursive": ("axis D\ninput x[D]\nparam b\nstate h[D]\nh = 0.9*h + x\ny = h + b*prev(y, 2) + prev(x)\n"
                  "output y\n", SIZES),
}  # fmt: skip
PAIRS = [(name, form) for name, (spec, _) in SPECS.items() for form in legal_forms(spec)]
KINDS = {
    "only the outputs": lambda outputs, state: outputs,
    "only the final state": lambda outputs, state: state,
    "both": lambda outputs, state: {**outputs, **{f"state {k}": v for k, v in state.items()}},
}


def case_of(name: str, **options: Any) -> Case:
    spec, sizes = SPECS[name]
    graph = compiled(spec).graph
    states = tuple(r.name for r in graph.registers if r.origin == "state" and r.depth.steps == 1)
    return Case(name, spec, legal_forms(spec), sizes=sizes, state=states, **options)


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_each_way_in_and_out(name: str, form: str) -> None:
    """The loss on the final state, the outputs or both; gradients to everything, or to the initial state alone."""
    case = case_of(name)
    groups = arguments(case, 21)
    f = compiled(case.spec)
    for kind, pick in KINDS.items():
        for frozen in (False, True):

            def ours(frozen: bool = frozen) -> list[Tensors]:
                made = [leaves(g, torch.float64) for g in groups]
                for g in made[:2]:
                    for x in g.values():
                        x.requires_grad_(not frozen and x.requires_grad)
                return made

            expected = ours()
            wanted = gradients(loss(pick(*oracle(case, *expected))), expected)
            actual = ours()
            result, state = f(**actual[0], **actual[1], state=actual[2], form=f"{form}:8", return_state=True)
            found = gradients(loss(pick(named(f.graph, result), state)), actual)
            assert set(found) == set(wanted)
            same(found, wanted, 1e-8, f"{name}, {form}, {kind}, inputs frozen: {frozen}")


@pytest.mark.parametrize("form", ["recurrent", "scan", "chunked"])
def test_a_param_that_only_the_final_state_needs(form: str) -> None:
    spec = (
        "axis K, V\ninput q[K], k[K], v[V]\nparam p[V]\nstate S[K, V], n[V]\nS = 0.9*S + k*v\nn = 0.9*n + p*v\n"
        "output y = q · S\n"
    )
    case = Case("last", spec, legal_forms(spec), sizes={"K": 3, "V": 2})
    inputs, params, _ = arguments(case, 20)
    p = params["p"].requires_grad_()
    _, state = compiled(spec)(**inputs, p=p, form=form, return_state=True)
    (grad,) = torch.autograd.grad(state["n"].sum(), p)
    decay = 0.9 ** torch.arange(19, -1, -1, dtype=torch.float64)
    torch.testing.assert_close(grad, torch.einsum("t,btv->v", decay, inputs["v"]))


@pytest.mark.parametrize("name", SPECS)
def test_steps_are_the_sequence(name: str) -> None:
    """In float32, to 1e-5 of the scale, outputs and every entry of the state; then on from where a call stopped."""
    case = case_of(name)
    inputs, params, states = [{k: v.float() for k, v in g.items()} for g in arguments(case, 24)]
    f = compiled(case.spec)
    for form in case.forms:
        whole, whole_state = f(**inputs, **params, state=states, form=form, return_state=True)
        head = {k: x[:, :11] for k, x in inputs.items()}
        first, state = f(**head, **params, state=states, form=form, return_state=True)
        stepped = [named(f.graph, first)]
        for t in range(11, 24):
            result, state = f.step(state, **{k: x[:, t] for k, x in inputs.items()}, **params)
            stepped.append({k: y.unsqueeze(1) for k, y in named(f.graph, result).items()})
        joined = {k: torch.cat([s[k] for s in stepped], 1) for k in stepped[0]}
        same(joined, named(f.graph, whole), 1e-5, f"{name}, {form}")
        same(state, whole_state, 1e-5, f"{name}, state, {form}")


@pytest.mark.parametrize("name", SPECS)
def test_gradients_through_steps(name: str) -> None:
    """Backpropagation through a chain of steps is that through the sequence."""
    case = case_of(name)
    groups = arguments(case, 7)
    f = compiled(case.spec)
    ours = [leaves(g, torch.float64) for g in groups]
    result, state = f(**ours[0], **ours[1], state=ours[2], return_state=True)
    wanted = gradients(loss({**named(f.graph, result), **state}), ours)
    ours = [leaves(g, torch.float64) for g in groups]
    state, found = ours[2], []
    for t in range(7):
        result, state = f.step(state, **{k: x[:, t] for k, x in ours[0].items()}, **ours[1])
        found.append(named(f.graph, result))
    outputs = {k: torch.stack([s[k] for s in found], 1) for k in found[0]}
    same(gradients(loss({**outputs, **state}), ours), wanted, 1e-8, name)


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_packed_rows_do_not_leak(name: str, form: str) -> None:
    """Sequences of lengths that do not divide a chunk, end to end: values as apart, and no gradient over a boundary."""
    case = case_of(name)
    lengths = (5, 0, 1, 17, 9)
    ends = [0, 5, 5, 6, 23, 32]
    inputs, params, _ = arguments(case, 32)
    f = compiled(case.spec)
    row = leaves({k: x[:1] for k, x in inputs.items()}, torch.float64)
    result, state = f(**row, **params, cu_seqlens=torch.tensor(ends), form=f"{form}:8", return_state=True)
    outputs = named(f.graph, result)
    for i, (a, b) in enumerate(pairwise(ends)):
        apart = leaves({k: x[:1, a:b] for k, x in inputs.items()}, torch.float64)
        alone, after = f(**apart, **params, form=f"{form}:8", return_state=True)
        one = named(f.graph, alone)
        same({k: y[:, a:b] for k, y in outputs.items()}, one, 1e-11, f"sequence {i}")
        mine = {k: v[i : i + 1] for k, v in state.items() if k != "t"}
        same(mine, {k: v for k, v in after.items() if k != "t"}, 1e-11, f"state {i}")
        total = loss({**{k: y[:, a:b] for k, y in outputs.items()}, **mine})
        if not total.requires_grad:
            continue
        found = torch.autograd.grad(total, list(row.values()), retain_graph=True, allow_unused=True)
        wanted = gradients(loss({**one, **{k: after[k] for k in mine}}), [apart])
        for (key, x), g in zip(row.items(), found, strict=True):
            whole = torch.zeros_like(x)
            whole[:, a:b] = wanted[key]
            torch.testing.assert_close(torch.zeros_like(x) if g is None else g, whole, rtol=1e-9, atol=1e-9)
    same(named(f.graph, f(**row, **params, lengths=lengths, form=f"{form}:8")), outputs, 0.0, "lengths")


def test_padded_rows_see_only_their_own() -> None:
    spec, _ = SPECS["matrix"]
    case = case_of("matrix", batch=3)
    inputs, _, _ = arguments(case, 19)
    f = compiled(spec)
    lengths = [19, 0, 7]
    for form in case.forms:
        ours = leaves(inputs, torch.float64)
        spoiled = {k: _spoil(x, lengths) for k, x in ours.items()}
        y, state = f(**spoiled, lengths=lengths, form=form, return_state=True)
        found = gradients(loss({"y": y, "S": state["S"]}), [ours])
        for i, n in enumerate(lengths):
            apart, after = f(**{k: x[i : i + 1, :n] for k, x in inputs.items()}, form=form, return_state=True)
            same({"y": y[i : i + 1, :n], "S": state["S"][i : i + 1]}, {"y": apart, "S": after["S"]}, 1e-11, form)
            assert not y[i, n:].any()
            assert all(not g[i, n:].any() and bool(torch.isfinite(g).all()) for g in found.values())


def _spoil(x: Tensor, lengths: list[int]) -> Tensor:
    """NaN after the end of each sequence."""
    late = torch.arange(x.shape[1]) >= torch.tensor(lengths)[:, None]
    return torch.where(late.reshape(*late.shape, *(1,) * (x.ndim - 2)), torch.nan, x)
