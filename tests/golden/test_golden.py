"""A few generated modules, kept as files: one of each form. `--update-golden` writes them anew.

Each file is what `ssmc compile` writes today, and what it computes is what the oracle computes. A file that no case
makes is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ssmc.backends.torch import build

import ssmc
from ssmc.step.interp import run

FOLDER = Path(__file__).resolve().parent
SIZES = {"D": 2, "N": 3, "K": 2, "V": 3, "W": 3}


@dataclass(frozen=True)
class Golden:
    name: str
    form: str
    spec: str


CASES = [
    Golden(
        "recurrent",
        "recurrent",
        "axis D\ninput x[D], g[D]\nparam W[D, D]\nstate h[D] = 0\n"
        "update = sigmoid(g)\nh = (1 - update)*h + update*tanh(x + W @ h)\noutput y[D] = 2*h",
    ),
    Golden(
        "scan",
        "scan",
        "axis D\ninput x[D], g[D]\nparam rate[D]\nstate h[D] = 0\n"
        "a = exp(-softplus(g) * exp(rate))\nh = a*h + (1 - a)*x\noutput y[D] = h",
    ),
    Golden(
        "chunked_scalar_decay",
        "chunked",
        "axis K, V\ninput q[K], k[K], v[V], dt\nstate S[K, V] = 0\n"
        "S = exp(-softplus(dt))*S + dt*k*v\noutput o[V] = q · S",
    ),
    Golden(
        "chunked_channel_decay",
        "chunked",
        "axis K, V\ninput q[K], k[K], v[V], g[K]\nstate S[K, V] = 0\nS = sigmoid(g)*S + k*v\noutput o[V] = q · S",
    ),
    Golden(
        "conv",
        "conv",
        "axis D, N\ninput u[D]\nparam A_log[D, N], B[N], C[N], skip[D]\nstate h[D, N] = 0\n"
        "h = exp(-exp(A_log))*h + B*u\noutput y[D] = C · h + skip*u",
    ),
    Golden(
        "reverse_and_delays",
        "recurrent",
        "axis D, W\ninput x[D], g[D]\nparam w[D, W]\nstate ahead[D] reverse, behind[D] = 0\n"
        "u = silu(conv(x, w))\nahead = sigmoid(g)*ahead + u\nbehind = 0.5*behind + prev(u, 2)\n"
        "output y[D] = ahead + behind",
    ),
]


def _compiled(case: Golden) -> Any:
    return ssmc.compile(f"ssm {case.name}\n{case.spec}\n")


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_the_module_is_the_one_on_file(case: Golden, request: pytest.FixtureRequest) -> None:
    text = _compiled(case).source(form=case.form)
    file = FOLDER / f"{case.name}.py"
    if request.config.getoption("--update-golden"):
        file.write_text(text, encoding="utf-8")
    assert file.exists(), "run pytest tests/golden --update-golden"
    assert file.read_text(encoding="utf-8") == text, "if the change is meant: pytest tests/golden --update-golden"


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_the_file_computes_what_the_oracle_does(case: Golden) -> None:
    module = build.load((FOLDER / f"{case.name}.py").read_text(encoding="utf-8"), case.name)
    f = _compiled(case)
    rng = np.random.default_rng(0)
    for length in (0, 1, 70):
        inputs = {p.name: rng.normal(size=(2, length, *(SIZES[a] for a in p.axes))) for p in f.graph.inputs}
        params = {p.name: rng.normal(size=[SIZES[a.rstrip("'")] for a in p.axes]) for p in f.graph.params}
        wanted, wanted_state = run(f.graph, inputs, params)
        tensors = {name: torch.from_numpy(x) for name, x in (inputs | params).items()}
        found, state = module.apply(**tensors, return_state=True)
        (name,) = wanted
        np.testing.assert_allclose(found.numpy(), wanted[name], rtol=1e-9, atol=1e-9)
        assert state.pop("t") == wanted_state.pop("t")
        for entry, x in wanted_state.items():
            np.testing.assert_allclose(state[entry].numpy(), x, rtol=1e-9, atol=1e-9)


def test_every_file_has_a_case() -> None:
    assert {p.stem for p in FOLDER.glob("*.py")} - {"test_golden"} == {c.name for c in CASES}
