"""A state fed by a state, each in every form of its own: what one form offers is what the other needs."""

from __future__ import annotations

from itertools import product

import pytest
import torch

import ssmc

SPECS = {
    "conv feeds conv": "x[D], p[D]|m[D], w[D]|m = 0.5*m + x; w = w - 0.1*m; output w, m",
    "a factor taken out": "x[D]|m[D], w[D]|m = 0.5*m + x; w = 0.9*(w + (m + x)/2); output w",
    "a readout that is an output": "x[D], k[K], q[K]|S[K, D], w[D]|S = 0.9*S + k*x; w = sigmoid(x)*w + (q · S); "
    "output w, y = (q · S)",
    "a readout under a maximum": "x[D], k[K], q[K]|S[K, D], w[D]|S = 0.9*S + k*x; w = max(0.9*w, (q · S) + x); "
    "output w, y = (q · S) + x",
    "a readout with factors": "x[D], k[K], q[K]|S[K, D], w[D]|S = 0.9*S + k*x; w = 0.5*w - x*(q · S)*3; "
    "output y = w + (q · S)",
}
FORMS = ("recurrent", "scan", "chunked", "conv")


@pytest.mark.parametrize("name", SPECS)
def test_every_pair_of_forms(name: str) -> None:
    inputs, states, body = SPECS[name].split("|")
    compiled = ssmc.compile(f"ssm pair\naxis K, D\neach D\ninput {inputs}\nstate {states}\n{body}\n")
    first, second = (r.name for r in compiled.graph.registers)
    torch.manual_seed(0)
    sizes = {"K": 2, "D": 3}
    arguments = {
        p.name: torch.randn(2, 9, *(sizes[a] for a in p.axes), dtype=torch.float64) for p in compiled.graph.inputs
    }
    wanted = compiled(**arguments, form="recurrent")
    ran = 0
    for one, other, chunk in product(FORMS, FORMS, ("", ":4")):
        try:
            got = compiled(**arguments, form={first: one + chunk, second: other + chunk})
        except ssmc.SpecError:
            continue
        torch.testing.assert_close(got, wanted)
        ran += 1
    assert ran >= 8
