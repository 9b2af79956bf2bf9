"""What leaves a recurrence's pass for one over the whole sequence at once, and what crosses between the passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ssmc
from ssmc.expr import nodes as n
from ssmc.kernel.lower import lower
from ssmc.step.interp import run

SIZES = {"D": 3, "E": 4, "N": 2, "W": 3, "K": 2}
# name -> the spec; the chunk of every pass, 0 for the whole sequence at once; what crosses
SPECS: dict[str, tuple[str, list[int], set[str]]] = {
    "before": (
        "input u[D]; param w[D, W], M[N, D], A[D, N]; state h[D, N] = 0; x = silu(conv(u, w)); B = M @ x; "
        "h = exp(-softplus(x)*exp(A))*h + B*x; output y[D] = sum[N](h) + 2*x",
        [0, 5],
        {"x", "B"},
    ),
    "after": (
        "input u[D]; param M[E, D]; state h[D] = 0; h = 0.9*h + u; output y[E] = tanh(M @ (h + u))",
        [5, 0],
        {"h_2"},
    ),
    "between": (
        "input u[D]; param P[D, D], Q[D, D]; state f[D] = 0, g[D] = 0; f = 0.9*f + P @ u; "
        "a = sigmoid(Q @ f); g = a*g + (1 - a)*u; output y[D] = g",
        [0, 5, 0, 5],
        {"P_dot_u", "f_2", "a"},
    ),
    "in the feedback": (
        "input u[D]; param P[D, D], Q[D, D]; state h[D] = 0; h = tanh(P @ u + Q @ h); output y[D] = h",
        [0, 5],
        {"P_dot_u"},
    ),
    "backwards": (
        "input u[D]; param w[D, W], M[D, D]; state h[D] reverse; x = next(u); v = M @ x; h = 0.5*h + v*u; "
        "output y[D] = h + prev(v)",
        [0, 5, 0],
        {"v", "h_2"},
    ),
    "of the past": (
        "input u[D]; param M[D, D]; state h[D] = 0; h = 0.8*h + u; output y[D] = M @ prev(h*u, 2)",
        [5, 0],
        {"h_2"},
    ),
    "too wide to be held": (
        "input u[D]; param v[K], M[N, K]; state h[D, N] = 0; h = 0.5*h + M @ (u*v); output y[D] = sum[N](h)",
        [5],
        set(),
    ),
    "a window too wide": (
        "axis T = 3; input u[D]; param M[E, D]; state h[E] = 0; x = max[T](past[T](u)*index[T]); "
        "h = 0.5*h + M @ x; output y[E] = h",
        [5],
        set(),
    ),
    "of a readout": (
        "input q[K], k[K], v[D]; param M[E, D]; state S[K, D] = 0; S = 0.9*S + k*v; output y[E] = M @ (q · S)",
        [5, 0],
        {"S_read_2"},
    ),
}


def _compiled(text: str) -> Any:
    return ssmc.compile("ssm s\naxis " + ", ".join(SIZES) + "\n" + "\n".join(x.strip() for x in text.split(";")) + "\n")


@pytest.mark.parametrize("name", SPECS)
def test_the_passes(name: str) -> None:
    text, chunks, crossing = SPECS[name]
    f = _compiled(text)
    program = lower(f.plan(form="chunked:5" if "S[K, D]" in text else "recurrent:5"))
    assert [p.loop.block for p in program.passes] == chunks, [p.title for p in program.passes]
    workspaces = [b for b in program.buffers if b.role == "workspace"]
    rank = max(len(p.axes) for p in f.graph.inputs)
    assert all(len([a for a in b.axes if a not in (n.BATCH, n.TIME)]) <= rank for b in workspaces)
    assert {b.name for b in workspaces} == crossing


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("length", [0, 1, 5, 13])
def test_they_compute_what_the_spec_says(name: str, length: int) -> None:
    text = SPECS[name][0]
    f = _compiled(text)
    g = torch.Generator().manual_seed(length)

    def draw(lead: tuple[int, ...], axes: tuple[str, ...]) -> torch.Tensor:
        return torch.randn(*lead, *(SIZES[a.rstrip("'")] for a in axes), generator=g, dtype=torch.float64)

    inputs = {p.name: draw((2, length), p.axes) for p in f.graph.inputs}
    params = {p.name: draw((), p.axes) for p in f.graph.params}
    arrays = [{name: x.numpy() for name, x in given.items()} for given in (inputs, params)]
    wanted, _ = run(f.graph, *arrays)
    for form in ("recurrent:5", "recurrent", "auto"):
        got = f(**inputs, **params, form=form)
        torch.testing.assert_close(got, torch.as_tensor(wanted["y"]))
