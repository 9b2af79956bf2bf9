"""What `explain` says, for a person and for a program."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import ssmc
from ssmc.step.reader import read_graph

CASCADE = """
ssm cascade
axis   H, K, V, W = 4
each   H
input  q[H, K], k[H, K], v[H, V], g[H], u[K]
param  w[W]
state  S[H, K, V] = 0, m[H] = -inf, back[K] reverse
a = sigmoid(g)
m = max(m, g)
S = a*S + k*v
c = conv(u, w) + prev(u, 2)
back = 0.5*back + c
output o[H, V] = q · S + m, b = back
"""
TANH = "ssm rnn\naxis D\ninput x[D]\nparam W[D, D]\nstate h[D]\nh = tanh(W @ h + x)\noutput y = h\n"


@pytest.fixture(scope="module")
def cascade() -> Any:
    return ssmc.compile(CASCADE)


def test_text(cascade: Any) -> None:
    text = cascade.explain({"K": 64, "V": 128}, batch=4, length=1000)
    for words in (
        "cascade   class ",
        "K = 64, V = 128, W = 4",
        "batch B = 4, length L = 1000",
        "taken as 64 for the estimates: H",
        "component S[H, K, V]",
        "component back[K], from the last step to the first",
        "S = a * S + k * v",
        "linear over (max, +)",
        "proved     combine(combine(f, g), h) = combine(f, combine(g, h))",
        "* chunked",
        "not legal: ",
        "delay conv.u[K]",
        "the last 2 steps of u",
        "S          (batch…, H, K, V)",
        "conv.u     (batch…, W, K)",
        "prev.u     (batch…, 2, K)",
        "t          steps done",
        "where chunks of ",
    ):
        assert words in text, f"{words!r} is missing in\n{text}"
    assert max(map(len, text.splitlines())) <= 120


def test_what_blocks_is_told_with_its_place() -> None:
    spec = ssmc.compile(TANH)
    text = spec.explain()
    assert "<text>:6" in text
    assert "tanh" in text
    told = spec.explain(json=True)
    assert told["components"][0]["blockers"]
    assert [f["name"] for f in told["components"][0]["forms"] if f["legal"]] == ["recurrent"]


def test_json(cascade: Any) -> None:
    told = cascade.explain({"K": 64, "V": 128}, batch=4, length=1000, json=True)
    assert json.loads(json.dumps(told)) == told
    assert (told["spec"], told["batch"], told["length"], told["machine"]) == ("cascade", 4, 1000, "cpu")
    assert told["sizes"] == {"K": 64, "V": 128, "W": 4}
    assert told["assumed"] == {"H": 64}
    by_state = {c["states"][0]: c for c in told["components"]}
    matrix = by_state["S"]
    assert (matrix["algebra"], matrix["time"], matrix["class"], matrix["chosen"]) == ("affine", "data", "K4", "chunked")
    assert (by_state["m"]["algebra"], by_state["m"]["class"]) == ("maxplus", "K7")
    assert by_state["back"]["reverse"]
    assert by_state["conv.u"]["forms"] == []
    assert all(p["holds"] for c in told["components"] for p in c["proofs"])
    for form in matrix["forms"]:
        assert {"name", "legal", "reason", "flops", "bytes", "depth"} <= form.keys()
        assert (form["flops"] is None) is not form["legal"]
    assert {s["name"] for s in told["state"]} == {"S", "m", "back", "conv.u", "prev.u"}


def test_forms_asked_for(cascade: Any) -> None:
    assert "asked for" in cascade.explain(form="scan")
    chosen = {c["states"][0]: c["chosen"] for c in cascade.explain(form={"S": "recurrent"}, json=True)["components"]}
    assert chosen["S"] == "recurrent"


def test_the_machine_matters(cascade: Any) -> None:
    cpu, gpu = (cascade.explain(target=t, json=True) for t in ("cpu", "cuda:90"))
    assert (cpu["machine"], gpu["machine"]) == ("cpu", "cuda:90")
    seconds = [next(f["seconds"] for c in told["components"] for f in c["forms"]) for told in (cpu, gpu)]
    assert seconds[0] != seconds[1]


def test_after_a_pass() -> None:
    spec = ssmc.compile("ssm filter\ninput x\ny = x + 0.5*prev(y, 2)\noutput y\n")
    built, expanded = (spec.explain(after=name) for name in ("build", "expand"))
    assert read_graph(built).registers[0].axes == ()
    assert len(read_graph(expanded).registers[0].axes) == 1


@pytest.mark.parametrize("heavy", ["torch"])
def test_explain_does_not_import(heavy: str) -> None:
    code = f"import sys, ssmc; ssmc.compile({TANH!r}).explain(); print({heavy!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
