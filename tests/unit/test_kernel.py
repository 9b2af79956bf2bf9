"""Kernel IR: its interpreter, the oracle and the PyTorch module agree; its verifier finds every broken invariant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ssmc.backends.torch import build

import ssmc
from ssmc.diagnostics import CompilerBug
from ssmc.kernel import interp
from ssmc.kernel import nodes as k
from ssmc.kernel.lower import lower
from ssmc.kernel.printer import print_program
from ssmc.kernel.verify import INVARIANTS, verify
from ssmc.step import interp as oracle
from ssmc.step.sizes import solve_sizes

SIZES = {"D": 3, "K": 2, "V": 4, "W": 3, "N": 2}
SPECS = {
    "gated": "axis D; input x[D], g[D]; param bias[D]; state h[D] = 0.5; a = sigmoid(g + bias);"
    " h = a*h + (1 - a)*x; output y[D] = 2*h",
    "matrix": "axis K, V; input q[K], k[K], v[V], g; state S[K, V] = 0; S = sigmoid(g)*S + k*v; output o[V] = q · S",
    "channels": "axis K, V; input q[K], k[K], v[V], g[K]; state S[K, V] = 0;"
    " o0 = q · S; S = exp(-softplus(g))*S + k*v; output o[V] = q · S + o0",
    "invariant": "axis D, N; input u[D]; param A[N], B[N], C[N]; state h[D, N] = 0.1;"
    " h = exp(-softplus(A))*h + B*u; output y[D] = C · h",
    "coupled": "axis N; input u; param A[N, N], B[N]; state h[N] = 0; h = 0.3*tanh(A) @ h + B*u;"
    " output y = sum[N](h)",
    "running_max": "axis D; input x[D]; state m[D] = -inf; m = max(m, x); output y[D] = exp(x - m)",
    "tanh": "axis D, N; input x[D]; param W[D, D]; state h[D], c[D];"
    " c = sigmoid(x)*c + x; h = tanh(W @ h + c); output y[D] = h",
    "reverse": "axis D; input x[D], g[D]; state h[D] reverse, f[D] = 0; h = sigmoid(g)*h + x;"
    " f = 0.5*f + h; output y[D] = h + f, z[D] = prev(h)",
    "delays": "axis D, W; input x[D]; param w[D, W]; state h[D] = 0; u = silu(conv(x, w)) + prev(x, 2) + next(x);"
    " h = 0.9*h + u; output y[D] = h + prev(u)",
    "cascade": "axis D, W; input x[D], g[D]; param w[W]; state a[D] = 0, b[D] = 0; a = sigmoid(g)*a + x;"
    " c = conv(a, w); b = 0.5*b + c*prev(b); output y[D] = b, z[D] = c",
    "past": "axis T; input x, q; state h = 0; s = sum[T](softmax[T](q*past[T](x))*past[T](x)); h = 0.5*h + s;"
    " output y = h",
    "past_window": "axis T = 4; input x; state h = 0; h = 0.5*h + max[T](past[T](x)); output y = h",
    "feedback": "input x; transferred = x + 0.5*prev(transferred) - 0.2*prev(transferred, 2);"
    " output y = transferred",
    "clock": "input x, reset bool; state h = 0; h = where(reset, x, h + x/t); output y = h",
}  # fmt: skip


SEGMENTS = "segments"  # the form scan where its chunks do not wait for each other


def _compiled(name: str) -> Any:
    lines = [line.strip() for line in SPECS[name].split(";")]
    return ssmc.compile("\n".join([f"ssm {name}", *lines]) + "\n")


def _cases() -> list[tuple[str, str]]:
    found = []
    for name in SPECS:
        choices = _compiled(name).plan().choices
        forms = {form.name for choice in choices for form in choice.forms if form.legal} or {"recurrent"}
        found += [(name, form) for form in sorted(forms)]
        found += [(name, SEGMENTS)] if "scan" in forms else []
    return found


def _planned(f: Any, form: str) -> Any:
    plan = f.plan(form="scan", target="cpp") if form == SEGMENTS else f.plan(form=form)
    assert form != SEGMENTS or any(c.segments for c in plan.choices)
    return _small(plan)


CASES = _cases()


def _arguments(f: Any, length: int, batch: int = 2) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
    rng = np.random.default_rng([length, len(f.name)])
    sizes = {a.name: SIZES.get(a.name, 4) for a in f.graph.axes if a.name != "T" or a.size is not None}

    def draw(p: Any, lead: tuple[int, ...]) -> Any:
        x = rng.normal(size=(*lead, *(sizes[a.rstrip("'")] for a in p.axes)))
        return x > 0.8 if p.kind == "bool" else x

    inputs = {p.name: draw(p, (batch, length)) for p in f.graph.inputs}
    return inputs, {p.name: draw(p, ()) for p in f.graph.params}, sizes


def _small(plan: Any) -> Any:
    """The plan in chunks of 5, so that a short sequence has several and a last one that is shorter."""
    choices = tuple(replace(c, chunk=5) if c.chunk else c for c in plan.choices)
    return replace(plan, choices=choices)


def _same(found: dict[str, Any], wanted: dict[str, Any], what: str) -> None:
    assert set(found) == set(wanted), what
    for name, x in wanted.items():
        got = found[name].numpy() if torch.is_tensor(found[name]) else found[name]
        np.testing.assert_allclose(got, x, rtol=1e-9, atol=1e-9, err_msg=f"{what}: {name}")


@pytest.mark.parametrize(("name", "form"), CASES, ids=[f"{name}-{form}" for name, form in CASES])
def test_the_program_means_what_the_step_graph_means(name: str, form: str) -> None:
    f = _compiled(name)
    program = lower(_planned(f, form))
    module = build.load(build.source(program), name)
    renamed = getattr(module, "ARGUMENTS", {})
    for length in (0, 1, 5, 12):
        inputs, params, sizes = _arguments(f, length)
        wanted, wanted_state = oracle.run(f.graph, inputs, params, None, sizes=sizes)
        sizes = solve_sizes(program.graph, {}, sizes)
        state = interp.initial(program, params, sizes, batch=2)
        outputs, after = interp.sequence(program, inputs, params, state, sizes, 2, length)
        _same(outputs, wanted, f"interpreted, length {length}")
        _same(after, wanted_state, f"state interpreted, length {length}")
        tensors = {renamed.get(x, x): torch.as_tensor(v) for x, v in (inputs | params).items()}
        start = {x: torch.tensor(np.array(v)) if x != "t" else v for x, v in state.items()}
        ys, new = module.sequence(sizes=sizes, batch=2, length=length, state=start, **tensors)
        _same(dict(zip(wanted, ys, strict=True)), wanted, f"PyTorch, length {length}")
        _same(new, wanted_state, f"state by PyTorch, length {length}")
    if program.step:
        inputs, params, sizes = _arguments(f, 3)
        wanted, wanted_state = oracle.run(f.graph, inputs, params, None, sizes=sizes)
        sizes = solve_sizes(program.graph, {}, sizes)
        state = interp.initial(program, params, sizes, batch=2)
        for t in range(3):
            now = {x: v[:, t] for x, v in inputs.items()}
            outputs, state = interp.step(program, now, params, state, sizes, 2)
            _same(outputs, {x: v[:, t] for x, v in wanted.items()}, f"step {t}")
        _same(state, wanted_state, "state after steps")


def test_the_cases_have_every_form_and_several_passes() -> None:
    assert {form for _, form in CASES} == {"recurrent", "scan", SEGMENTS, "chunked", "conv"}
    assert len(lower(_compiled("reverse").plan()).passes) > 1


def test_a_readout_scaled_by_a_value_of_another_pass() -> None:
    """The pass of S follows that of z, which only the readout of S needs."""
    f = ssmc.compile(
        "ssm normalised\naxis K, V\ninput q[K], k[K], v[V]\nstate S[K, V] = 0, z[K] = 1\n"
        "S = 0.9*S + k*v\nz = 0.5*z + k*k\noutput o[V] = (q · S) / (1 + (q*q) · z)\n"
    )
    program = lower(_small(f.plan(form={"S": "chunked", "z": "conv"})))
    assert ["z" in p.title for p in program.passes] == [True, False]
    inputs, params, sizes = _arguments(f, 12)
    wanted, wanted_state = oracle.run(f.graph, inputs, params)
    state = interp.initial(program, params, sizes, batch=2)
    outputs, after = interp.sequence(program, inputs, params, state, sizes, 2, 12)
    _same(outputs, wanted, "outputs")
    _same(after, wanted_state, "state")


def test_the_text() -> None:
    text = print_program(lower(_small(_compiled("gated").plan(form="recurrent"))))
    for words in ("kernel gated", "input     x[batch, time, D] real", "for 5 steps, recomputed for the backward",
                  "carry h = state_h", "for each step", "set h_t = ", "store state_h = h", "initial\n  h = 0.5",
                  "step\n", "# <text>:6"):  # fmt: skip
        assert words in text, f"{words!r} is missing in\n{text}"
    assert "@" not in text


def test_explain_shows_it() -> None:
    assert _compiled("matrix").explain(after="lower").startswith("kernel matrix\n")


# -- the verifier --------------------------------------------------------------------------------------------------


def good_plan() -> Any:
    return _small(_compiled("gated").plan(form="recurrent"))


def _program() -> k.Program:
    return lower(good_plan())


def _in_loop(program: k.Program, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> k.Program:
    p = program.passes[0]
    return replace(program, passes=(replace(p, loop=replace(p.loop, body=change(p.loop.body))),))


def _without(kind: type, body: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(s for s in body if not isinstance(s, kind))


def _inner(body: tuple[Any, ...], change: Callable[[k.For], k.For]) -> tuple[Any, ...]:
    return tuple(change(s) if isinstance(s, k.For) else s for s in body)


def _broken() -> dict[str, k.Program]:
    """A program for each invariant that breaks it."""
    good = _program()
    ar = good.arena
    x = ar.load("x", ("@batch", "@time", "D"), "real")
    late = good.passes[0]
    return {
        "no-step-leaves": replace(good, step=(*good.step, k.Store("y", ar.input("x", ("D",), "real")))),
        "time-in-chunk-loops": replace(good, once=(k.Let(ar.local("seq", x.axes, "real"), x),)),
        "loads": _in_loop(good, lambda b: (*b, k.Let(ar.local("other", (), "real"), ar.load("nothing", (), "real")))),
        "bound-before-use": _in_loop(good, lambda b: _without(k.Let, b)),
        "bound-once": _in_loop(good, lambda b: (*b, next(s for s in b if isinstance(s, k.Let)))),
        "nesting": _in_loop(good, lambda b: _inner(b, lambda loop: replace(loop, block=2))),
        "sets": _in_loop(good, lambda b: _without(k.Set, b)),
        "stores-fit": _in_loop(
            good, lambda b: tuple(replace(s, buffer="g") if isinstance(s, k.Store) else s for s in b)
        ),
        "stored-once": replace(good, passes=(replace(late, final=()),)),
        "written-before-read": _in_loop(good, lambda b: (*_without(k.For, b), *(s for s in b if isinstance(s, k.For)))),
        "saved": replace(lower(good_plan(), saves=frozenset({"h"})), saving=4),
        "initial": replace(good, initial=()),
    }


@pytest.mark.parametrize("name", [c.name for c in INVARIANTS])
def test_the_verifier_names_the_invariant(name: str) -> None:
    verify(_program())
    program = _broken()[name]
    # what breaks one rule often breaks another, and the first is told
    first, *others = [c.name for c in INVARIANTS if list(c.rule(program))]
    assert name in (first, *others)
    with pytest.raises(CompilerBug, match=f"breaks `{first}`"):
        verify(program)
