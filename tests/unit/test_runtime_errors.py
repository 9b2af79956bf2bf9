"""Mistakes in a call: each is a diagnostic with its code and the names involved, never an exception from inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch

import ssmc

SPEC = """
ssm leaky
axis   D
input  signal[D], gate[D]
param  gain[D] = 1, bias, drawn[D] = normal(1)
state  h[D] = 0
past1 = prev(signal, 2)
h = sigmoid(gate)*h + signal + drawn + past1
output y[D] = gain*h + bias
"""
KINDS = """
ssm kinds
input  x, r bool, k int, c complex
param  a complex
state  s complex
s = where(r, 0, a*s) + c*x + k
output y = real(s)
"""
BACK = "ssm back\naxis D\ninput x[D]\nstate h[D] reverse\nh = 0.5*h + x\noutput y = h\n"
AHEAD = "ssm ahead\ninput x\noutput y = next(x)\n"
CLOCK = "ssm clock\naxis N\nstate h[N] = 1\nh = 0.5*h\noutput y = h\n"

X = torch.zeros(2, 5, 3)
OK: dict[str, Any] = {"signal": X, "gate": X, "bias": 0.0, "drawn": torch.zeros(3)}
BOOLS = torch.zeros(5, dtype=torch.bool)

leaky = ssmc.compile(SPEC)
kinds = ssmc.compile(KINDS)
back = ssmc.compile(BACK)
ahead = ssmc.compile(AHEAD)
clock = ssmc.compile(CLOCK)


def given(**changed: Any) -> dict[str, Any]:
    """The arguments of a right call, some changed; `...` leaves one out."""
    return {k: v for k, v in (OK | changed).items() if v is not ...}


def kind(**changed: Any) -> dict[str, Any]:
    x = torch.zeros(5)
    return {"x": x, "r": BOOLS, "k": BOOLS.long(), "c": x, "a": 1j} | changed


CASES: list[tuple[str, list[str], Callable[[], Any]]] = [
    ("E701", ["signl", "did you mean `signal`?"], lambda: leaky(**given(signal=..., signl=X, gate=X))),
    ("E701", ["retrun_state", "did you mean `return_state`?"], lambda: leaky(**given(), retrun_state=True)),
    ("E702", ["`**arguments`"], lambda: leaky(given())),
    ("E706", ["sparse", "to_dense"], lambda: leaky(**given(signal=X.to_sparse()))),
    ("E742", ["the name of a file", "ssmc.load"], lambda: ssmc.compile("specs/leaky.ssm")),
    ("E742", ["a PurePosixPath"], lambda: ssmc.compile(PurePosixPath("leaky.ssm"))),  # type: ignore[arg-type]
    ("E742", ["a bytes"], lambda: ssmc.compile(SPEC.encode())),  # type: ignore[arg-type]
    ("E701", ["lengths"], lambda: leaky.step(None, **given(signal=X[:, 0], gate=X[:, 0]), lengths=[1])),
    ("E702", ["`gate`", "an input", "pass `gate=…`"], lambda: leaky(**given(gate=...))),
    ("E702", ["`signal` and `gate`", "inputs"], lambda: leaky(bias=0)),
    ("E702", ["`bias`", "param without a default"], lambda: leaky(**given(bias=...))),
    ("E703", ["`drawn`", "init_params"], lambda: leaky(**given(drawn=...))),
    ("E704", ["6 positional", "it takes 5"], lambda: leaky(X, X, 1, 2, 3, 4)),
    ("E705", ["`signal`", "argument 1"], lambda: leaky(X, **given())),
    ("E706", ["`signal`", "str"], lambda: leaky(**given(signal="loud"))),
    ("E706", ["`bias`", "dict"], lambda: leaky(**given(bias={}))),
    ("E706", ["`signal`", "object"], lambda: leaky(**given(signal=np.array([None, 1])))),
    ("E706", ["`signal`", "filled"], lambda: leaky(**given(signal=np.ma.masked_equal(X.numpy(), 0.0)))),
    ("E706", ["`drawn`", "torch.stack"], lambda: leaky(**given(drawn=[torch.zeros(()), 1.0, 2.0]))),
    ("E706", ["`drawn`"], lambda: leaky(**given(drawn=[[1.0], [2.0, 3.0]]))),
    ("E707", ["`signal`", "(3,)", "(batch…, L, D)"], lambda: leaky(**given(signal=torch.zeros(3)))),
    ("E707", ["`gain`", "(1, 3)", "(D,)"], lambda: leaky(**given(gain=torch.ones(1, 3)))),
    ("E707", ["`bias`", "a single number"], lambda: leaky(**given(bias=torch.ones(3)))),
    ("E707", ["state['h']", "D=3"], lambda: leaky(**given(), state={"h": torch.zeros(())})),
    ("E707", ["state['prev.signal']", "(batch…, 2, D=3)"], lambda: leaky(**given(), state={"prev.signal": X[0, :1]})),
    ("E708", ["`signal`", "complex", "`signal.real`"], lambda: leaky(**given(signal=X * 1j))),
    ("E708", ["`r`", "bool", "`r.bool()`"], lambda: kinds(**kind(r=torch.zeros(5)))),
    ("E708", ["`k`", "int", "`k.long()`"], lambda: kinds(**kind(k=torch.zeros(5)))),
    ("E709", ["`gate`", "meta", "cpu"], lambda: leaky(**given(gate=X.to("meta")))),
    ("E710", ["`gate`", "4", "5"], lambda: leaky(**given(gate=X[:, 1:]))),
    ("E711", ["`gate`", "(3,)", "(2,)"], lambda: leaky(**given(gate=torch.zeros(3, 5, 3)))),
    ("E711", ["state['h']", "(7,)"], lambda: leaky(**given(), state={"h": torch.zeros(7, 3)})),
    ("E712", ["`clock`", "length="], lambda: clock(sizes={"N": 2})),
    ("E713", ["length", "5"], lambda: leaky(**given(), length=4)),
    ("E713", ["length", "-1"], lambda: clock(sizes={"N": 2}, length=-1)),
    ("E713", ["length", "2.0"], lambda: clock(sizes={"N": 2}, length=2.0)),
    ("E713", ["sizes"], lambda: clock(sizes=3, length=2)),
    ("E713", ["sizes", "`N`"], lambda: clock(sizes={"N": -2}, length=2)),
    ("E713", ["state", "dictionary"], lambda: leaky(**given(), state=X)),
    ("E713", ["out"], lambda: leaky(**given(), out=torch.zeros(1))),
    ("E713", ["out", "gradients"], lambda: leaky(**given(bias=torch.zeros((), requires_grad=True)), out=X.clone())),
    ("E713", ["batch"], lambda: leaky.init_state(-1, sizes={"D": 2})),
    ("E714", ["`H`", "`h`", "`prev.signal`", "`t`"], lambda: leaky(**given(), state={"H": X})),
    ("E715", ["float32"], lambda: leaky(**given(), state={"t": torch.tensor(1.0)})),
    ("E715", ["negative"], lambda: leaky(**given(), state={"t": -1})),
    ("E715", ["str"], lambda: leaky(**given(), state={"t": "noon"})),
    ("E715", ["(3,)", "(2,)"], lambda: leaky(**given(), state={"t": [1, 2, 3]})),
    ("E716", ["`h`", "last step to the first"], lambda: back.step(None, X[:, 0])),
    ("E716", ["`next`"], lambda: ahead.step(None, 1.0)),
    ("E720", ["cu_seqlens", "one row"], lambda: leaky(**given(), cu_seqlens=[0, 5])),
    ("E720", ["0 to 5"], lambda: leaky(**given(signal=X[0], gate=X[0]), cu_seqlens=[0, 4])),
    ("E720", ["0 to 5"], lambda: leaky(**given(signal=X[0], gate=X[0]), cu_seqlens=[1, 5])),
    ("E720", ["grow"], lambda: leaky(**given(signal=X[0], gate=X[0]), cu_seqlens=[0, 3, 2, 5])),
    ("E720", ["integers"], lambda: leaky(**given(signal=X[0], gate=X[0]), cu_seqlens=torch.tensor([0.0, 5.0]))),
    ("E720", ["together"], lambda: leaky(**given(signal=X[0], gate=X[0]), cu_seqlens=[0, 5], lengths=[5])),
    ("E720", ["adds up to 4"], lambda: leaky(**given(signal=X[0], gate=X[0]), lengths=[4])),
    ("E720", ["(3,)", "(2,)"], lambda: leaky(**given(), lengths=[1, 2, 3])),
    ("E720", ["6", "5 steps"], lambda: leaky(**given(), lengths=[1, 6])),
    ("E720", ["negative"], lambda: leaky(**given(), lengths=[1, -1])),
    ("E730", ["`cuda`", "`torch`"], lambda: leaky(**given(), backend="cuda")),
    ("E801", ["`scna`", "did you mean `scan`?"], lambda: leaky(**given(), form="scna")),
    ("E802", ["`conv`", "`leaky`", "`h`"], lambda: leaky(**given(), form="conv")),
    ("E802", ["`conv`"], lambda: leaky(**given(), form={"h": "conv"})),
    ("E803", ["`g`", "h"], lambda: leaky(**given(), form={"g": "scan"})),
    ("E601", ["`D`", "`drawn`"], lambda: leaky(**given(drawn=torch.zeros(4)))),
    ("E603", ["`N`"], lambda: clock(length=2)),
    ("E603", ["`D`"], lambda: leaky.init_params()),
    ("E603", ["`D`"], lambda: leaky.init_state(2)),
    ("E605", ["`M`"], lambda: leaky(**given(), sizes={"M": 3})),
    ("E702", ["`x`"], lambda: back()),
    ("E009", ["2 specs", '`name="b"`'], lambda: ssmc.compile("ssm a\noutput y = t\nssm b\noutput y = t\n")),
    ("E008", ["`c`", "`a`"], lambda: ssmc.compile("ssm a\noutput y = t\n", name="c")),
    ("E713", ["`name=`", "int"], lambda: ssmc.compile("ssm a\noutput y = t\n", name=3)),  # type: ignore[arg-type]
    ("E743", ["a NoneType", "ssmc.compile"], lambda: ssmc.load(None)),  # type: ignore[arg-type]
    ("E743", ["the text of a spec"], lambda: ssmc.load(SPEC)),
    ("E713", ["`sizes=`", "3"], lambda: leaky(**given(), sizes={3: 3})),
    ("E713", ["`sizes=`", "True"], lambda: leaky(**given(), sizes={"D": True})),
    ("E713", ["`state=`", "Tensor"], lambda: leaky.step(X[:, 0], X[:, 0])),
    ("E713", ["`batch=`", "0"], lambda: leaky.explain(batch=0)),
    ("E713", ["`length=`", "'a'"], lambda: leaky.explain(length="a")),  # type: ignore[arg-type]
    ("E713", ["`length=`", "-1"], lambda: leaky.plan(length=-1)),
    ("E713", ["`dtype=`", "int64"], lambda: leaky.init_state(sizes={"D": 3}, dtype=torch.int64)),
    ("E713", ["`dtype=`", "'float'"], lambda: leaky.init_params({"D": 3}, dtype="float")),  # type: ignore[arg-type]
    ("E713", ["`device=`", "'moon'"], lambda: leaky.init_state(sizes={"D": 3}, device="moon")),
    ("E713", ["`device=`", "'moon'"], lambda: leaky.init_params({"D": 3}, device="moon")),
    ("E713", ["`seed=`", "'a'"], lambda: leaky.init_params({"D": 3}, seed="a")),  # type: ignore[arg-type]
    ("E801", ["['scan']"], lambda: leaky(**given(), form=["scan"])),
    ("E805", ["`3`"], lambda: leaky.explain(target=3)),  # type: ignore[arg-type]
    ("E902", ["`/dev/null` is not a directory"], lambda: leaky.save("/dev/null/far/off")),
    ("E902", ["/proc"], lambda: leaky.save("/proc")),
    ("E805", ["`cuda:x`"], lambda: leaky.plan(target="cuda:x")),
    ("E806", ["`fold`", "`build`, `expand`"], lambda: leaky.explain(after="fold")),
]


@pytest.mark.parametrize(("code", "words", "call"), CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)])
def test_a_mistake_is_told(code: str, words: list[str], call: Callable[[], Any]) -> None:
    with pytest.raises(ssmc.SpecError) as caught:
        call()
    text = str(caught.value)
    assert code in {d.code for d in caught.value.diagnostics}, text
    for word in words:
        assert word in text, text


def test_the_right_calls_are_right() -> None:
    assert leaky(**given()).shape == (2, 5, 3)
    assert kinds(**kind()).shape == (5,)
    assert clock(length=2, sizes={"N": 4}).shape == (2, 4)
    # an integer of an array library is one
    assert clock(length=np.int64(2), sizes={"N": np.int32(4)}).shape == (2, 4)
    assert leaky.init_state(batch=np.int64(2), sizes={"D": 3})["h"].shape == (2, 3)
    assert leaky.init_state((2, 1), sizes={"D": 3})["h"].shape == (2, 1, 3)


def test_several_mistakes_at_once() -> None:
    with pytest.raises(ssmc.SpecError) as caught:
        leaky(signl=X, gate=X, gaim=1)
    assert [d.code for d in caught.value.diagnostics] == ["E701", "E701", "E702"]
    with pytest.raises(ssmc.SpecError) as caught:
        leaky(**given(signal=torch.zeros(3), gain=torch.zeros(1, 3)))
    assert [d.code for d in caught.value.diagnostics] == ["E707", "E707"]


def test_a_shape_is_told_with_its_declaration() -> None:
    with pytest.raises(ssmc.SpecError) as caught:
        leaky(**given(gain=torch.ones(1, 3)))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.line == 5
