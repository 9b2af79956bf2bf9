"""Calls of a compiled spec: what a caller may write, and what comes back."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ssmc

LEAKY = """
ssm leaky
axis   D
input  x[D], g[D]
param  gain[D] = 1, bias
state  h[D] = 2*gain
h = sigmoid(g)*h + x
output y[D] = gain*h + bias
"""
TWO = """
ssm two
axis D, N
input x[D, N], reset bool
param lam[N] complex, steps int = 3
state s[D, N] complex, count int
s = where(reset, 0, lam*s) + x
count = count + steps
output total[D] = sum[N](real(s)), z[D, N] complex = s, count int
"""
CLOCK = """
ssm clock
axis N = 3
state h[N] = 1
h = 0.5*h + index[N]
output y = h
"""
BACK = """
ssm back
axis D
input x[D]
state h[D] reverse
h = 0.5*h + x
output y = h
"""
SHIFTED = """
ssm shifted
axis W, T
input x
param w[W]
m = mean[T](past[T](x))
y = conv(x, w) + prev(x, 2) + m
output y
"""


@pytest.fixture(scope="module")
def leaky() -> Any:
    return ssmc.compile(LEAKY)


@pytest.fixture(scope="module")
def two() -> Any:
    return ssmc.compile(TWO)


@pytest.fixture(scope="module")
def shifted() -> Any:
    return ssmc.compile(SHIFTED)


def loop(x: Tensor, g: Tensor, gain: Tensor, bias: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The equations of `leaky` over (batch…, L, D)."""
    h = (2 * gain).expand(x.shape[:-2] + x.shape[-1:]) if h is None else h
    ys = []
    for t in range(x.shape[-2]):
        h = torch.sigmoid(g[..., t, :]) * h + x[..., t, :]
        ys.append(gain * h + bias)
    return (torch.stack(ys, -2) if ys else x * 0), h


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))


# -- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (0,), (2, 0)])
@pytest.mark.parametrize("length", [0, 1, 5, 70])
def test_any_batch_and_length(leaky: Any, batch: tuple[int, ...], length: int) -> None:
    x, g, gain, bias = drawn(*batch, length, 4), drawn(*batch, length, 4), drawn(4), drawn()
    y, state = leaky(x, g, gain, bias, return_state=True)
    expected, h = loop(x, g, gain, bias)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(state["h"], h)
    assert (y.shape, state["h"].shape, state["t"]) == ((*batch, length, 4), (*batch, 4), length)


def test_by_position_and_by_name_are_the_same(leaky: Any) -> None:
    x, g, gain, bias = drawn(2, 5, 4), drawn(2, 5, 4), drawn(4), drawn()
    y = leaky(x, g, gain, bias)
    for other in (leaky(x=x, g=g, gain=gain, bias=bias), leaky(x, g, bias=bias, gain=gain)):
        assert torch.equal(other, y)


def test_batches_are_broadcast(leaky: Any) -> None:
    x, g, gain, bias = drawn(2, 1, 5, 4), drawn(3, 5, 4), drawn(4), drawn()
    y = leaky(x, g, gain, bias)
    assert y.shape == (2, 3, 5, 4)
    torch.testing.assert_close(y, loop(x.expand(2, 3, 5, 4), g.expand(2, 3, 5, 4), gain, bias)[0])
    alone = leaky(x, g[0], gain, bias, state={"h": drawn(3, 4)})
    assert alone.shape == (2, 3, 5, 4)


def test_a_default_may_be_left_out(leaky: Any) -> None:
    x, g, bias = drawn(5, 4), drawn(5, 4), drawn()
    torch.testing.assert_close(leaky(x, g, bias=bias), loop(x, g, torch.ones(4, dtype=torch.float64), bias)[0])


def test_arrays_numbers_and_lists(leaky: Any) -> None:
    x, g, gain = drawn(5, 4), drawn(5, 4), drawn(4)
    expected = leaky(x, g, gain, torch.tensor(0.1, dtype=torch.float64))
    frozen = x.numpy().copy()
    frozen.setflags(write=False)
    for given in (x.numpy(), frozen, x.numpy().astype(">f8"), np.asfortranarray(x.numpy()), x.numpy()[::-1][::-1]):
        y = leaky(given, g.numpy(), gain.tolist(), 0.1)
        assert torch.equal(y, expected)


def test_strides_change_nothing(leaky: Any) -> None:
    x, g, gain, bias = drawn(4, 6, 3), drawn(6, 4), drawn(4), drawn()
    across = x.permute(2, 1, 0)  # (3, 6, 4)
    wide = g.expand(3, 6, 4)
    assert wide.stride(0) == 0
    torch.testing.assert_close(leaky(across, wide, gain, bias), leaky(across.contiguous(), wide.clone(), gain, bias))
    every_other = drawn(3, 12, 4)[:, ::2]
    torch.testing.assert_close(leaky(every_other, wide, gain, bias), leaky(every_other.clone(), wide, gain, bias))


# -- precision -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        (torch.float64, torch.float64, torch.float64),
        (torch.float32, torch.float32, torch.float32),
        (torch.float32, torch.float64, torch.float64),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float16, torch.float16),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.bfloat16, torch.float16, torch.float32),
        (torch.int64, torch.float64, torch.float64),
        (torch.int64, torch.int32, torch.float32),
    ],
)
def test_the_dtype_rule(leaky: Any, first: torch.dtype, second: torch.dtype, result: torch.dtype) -> None:
    x, g = (3 * drawn(5, 4)).to(first), (3 * drawn(5, 4)).to(second)
    y, state = leaky(x, g, bias=0.5, return_state=True)
    assert y.dtype == result
    assert state["h"].dtype == (torch.float64 if result == torch.float64 else torch.float32)
    ones = torch.ones(4, dtype=torch.float64)
    expected = loop(x.double(), g.double(), ones, torch.tensor(0.5))[0]
    torch.testing.assert_close(y.double(), expected, rtol=2e-2 if result.itemsize == 2 else 1e-5, atol=1e-2)


def test_numbers_do_not_decide_the_dtype(leaky: Any) -> None:
    x = drawn(5, 4, dtype=torch.float32)
    assert leaky(x, x, bias=torch.tensor(0.5, dtype=torch.float64)).dtype == torch.float32
    assert leaky(x, x, bias=np.float64(0.5)).dtype == torch.float32


def test_half_precision_goes_on_from_the_state_it_gave(leaky: Any) -> None:
    x = drawn(9, 4, dtype=torch.bfloat16)
    whole = leaky(x, x, bias=0.0)
    first, state = leaky(x[:4], x[:4], bias=0.0, return_state=True)
    assert torch.equal(torch.cat([first, leaky(x[4:], x[4:], bias=0.0, state=state)]), whole)


def test_kinds(two: Any) -> None:
    x, reset = drawn(7, 3, 2, dtype=torch.float32), torch.tensor([0, 0, 1, 0, 0, 0, 1]).bool()
    lam = torch.tensor([0.5 + 0.2j, -0.1j])
    out, state = two(x, reset, lam, return_state=True)
    assert [y.dtype for y in out] == [torch.float32, torch.complex64, torch.int64]
    assert out._fields == ("total", "z", "count")
    assert out.count.tolist() == [3, 6, 9, 12, 15, 18, 21]
    torch.testing.assert_close(out.total, out.z.real.sum(-1))
    torch.testing.assert_close(out.z[2], x[2].to(torch.complex64))
    assert state["count"].tolist() == 21
    assert two(x.half(), reset, lam).z.dtype == torch.complex64


# -- sizes and lengths -----------------------------------------------------------------------------------------------


def test_a_spec_without_inputs_takes_a_length() -> None:
    clock = ssmc.compile(CLOCK)
    y, state = clock(length=3, return_state=True)
    assert y.tolist() == [[0.5, 1.5, 2.5], [0.25, 1.75, 3.25], [0.125, 1.875, 3.625]]
    assert torch.equal(torch.cat([y, clock(length=2, state=state)]), clock(length=5))
    assert clock(length=2, state={"h": torch.zeros(4, 2, 3)}).shape == (4, 2, 2, 3)


# -- states ----------------------------------------------------------------------------------------------------------


def test_two_pieces_are_one(leaky: Any, shifted: Any) -> None:
    x, g, bias = drawn(2, 9, 4), drawn(2, 9, 4), drawn()
    whole, last = leaky(x, g, bias=bias, return_state=True)
    a, state = leaky(x[:, :4], g[:, :4], bias=bias, return_state=True)
    b, end = leaky(x[:, 4:], g[:, 4:], bias=bias, state=state, return_state=True)
    torch.testing.assert_close(torch.cat([a, b], 1), whole)
    assert (end["t"], last["t"]) == (9, 9)
    x, w = drawn(2, 3, 9), drawn(3)
    whole = shifted(x, w)
    a, state = shifted(x[..., :4], w, return_state=True)
    torch.testing.assert_close(torch.cat([a, shifted(x[..., 4:], w, state=state)], 2), whole)


def test_part_of_a_state(leaky: Any) -> None:
    x, g, bias, h = drawn(2, 9, 4), drawn(2, 9, 4), drawn(), drawn(2, 4)
    torch.testing.assert_close(
        leaky(x, g, bias=bias, state={"h": h}), loop(x, g, torch.ones(4, dtype=torch.float64), bias, h)[0]
    )
    assert torch.equal(leaky(x, g, bias=bias, state={"t": 5}), leaky(x, g, bias=bias))
    assert torch.equal(leaky(x, g, bias=bias, state={"h": None}), leaky(x, g, bias=bias, state={}))


def test_gradients_flow_into_and_out_of_the_state(leaky: Any) -> None:
    x, g, gain, bias, h = (t.requires_grad_() for t in (drawn(2, 5, 4), drawn(2, 5, 4), drawn(4), drawn(), drawn(2, 4)))
    y, state = leaky(x, g, gain, bias, state={"h": h}, return_state=True)
    expected = loop(x, g, gain, bias, h)
    for found, wanted in (((state["h"],), (expected[1],)), ((y,), (expected[0],)), ((y, state["h"]), expected)):
        leaves = [x, g, gain, bias, h]
        a = torch.autograd.grad([v.square().sum() for v in found], leaves, allow_unused=True, retain_graph=True)
        b = torch.autograd.grad([v.square().sum() for v in wanted], leaves, allow_unused=True, retain_graph=True)
        for p, q in zip(a, b, strict=True):
            torch.testing.assert_close(torch.zeros(()) if p is None else p, torch.zeros(()) if q is None else q)


def test_a_default_state_carries_the_gradient_of_its_param(leaky: Any) -> None:
    gain = drawn(4).requires_grad_()
    _, state = leaky(drawn(0, 4), drawn(0, 4), gain, 0.0, return_state=True)
    state["h"].sum().backward()
    assert gain.grad is not None
    assert gain.grad.tolist() == [2.0] * 4


def test_init_state(leaky: Any, shifted: Any) -> None:
    state = leaky.init_state((2, 3), gain=drawn(4))
    torch.testing.assert_close(state["h"], (2 * drawn(4)).expand(2, 3, 4))
    assert state["t"] == 0
    assert leaky.init_state(2, sizes={"D": 5})["h"].shape == (2, 5)
    assert leaky.init_state(sizes={"D": 5}, dtype=torch.float64)["h"].dtype == torch.float64
    x, w = drawn(2, 4), drawn(3)
    state = shifted.init_state(2, sizes={"W": 3}, dtype=torch.float64)
    assert all(v.shape[0] == 2 for k, v in state.items() if k != "t")
    torch.testing.assert_close(shifted(x, w, state=state), shifted(x, w))


def test_steps(leaky: Any, shifted: Any) -> None:
    x, g, bias = drawn(2, 3, 6, 4), drawn(2, 3, 6, 4), drawn()
    whole, last = leaky(x, g, bias=bias, return_state=True)
    state: Any = None
    for t in range(6):
        y, state = leaky.step(state, x[:, :, t], g=g[:, :, t], bias=bias)
        torch.testing.assert_close(y, whole[:, :, t])
    torch.testing.assert_close(state["h"], last["h"])
    assert state["t"] == 6
    x, w = drawn(7), drawn(3)
    state = shifted.init_state(sizes={"W": 3}, dtype=torch.float64)
    ys = []
    for t in range(7):
        y, state = shifted.step(state, x[t], w)
        ys.append(y)
    torch.testing.assert_close(torch.stack(ys), shifted(x, w))


# -- packed and padded -----------------------------------------------------------------------------------------------

COUNTS = [3, 0, 5, 3, 1]
ENDS = [0, 3, 3, 8, 11, 12]


@pytest.mark.parametrize("how", ["cu_seqlens", "lengths"])
@pytest.mark.parametrize("rows", [(), (1,)])
def test_packed_is_separate(leaky: Any, how: str, rows: tuple[int, ...]) -> None:
    x, g, bias, h = drawn(*rows, 12, 4).requires_grad_(), drawn(*rows, 12, 4), drawn(), drawn(5, 4).requires_grad_()
    given = torch.tensor(ENDS if how == "cu_seqlens" else COUNTS)
    y, state = leaky(x, g, bias=bias, state={"h": h}, return_state=True, **{how: given})
    assert y.shape == x.shape
    assert state["t"].tolist() == COUNTS
    for i, (a, b) in enumerate(pairwise(ENDS)):
        alone, end = leaky(x[..., a:b, :], g[..., a:b, :], bias=bias, state={"h": h[i]}, return_state=True)
        torch.testing.assert_close(y[..., a:b, :], alone)
        torch.testing.assert_close(state["h"][i], end["h"].reshape(4))
    for part in (y[..., 3:8, :], state["h"][2]):
        grads = torch.autograd.grad(part.sum(), [x, h], retain_graph=True)
        assert not grads[0][..., :3, :].any()
        assert not grads[0][..., 8:, :].any()
        assert grads[0][..., 3:8, :].all()
        assert [bool(r.any()) for r in grads[1]] == [False, False, True, False, False]


def test_packed_sequences_go_on(leaky: Any, shifted: Any) -> None:
    """States of packed sequences with different pasts, histories included, are states for further calls."""
    x, w = drawn(12), drawn(3)
    _, state = shifted(x, w, cu_seqlens=ENDS, return_state=True)
    more = drawn(5, 4)
    y, end = shifted(more, w, state=state, return_state=True)
    stepped, after = shifted.step(state, more[:, 0], w)
    assert end["t"].tolist() == [n + 4 for n in COUNTS]
    assert after["t"].tolist() == [n + 1 for n in COUNTS]
    for i, (a, b) in enumerate(pairwise(ENDS)):
        alone = shifted(torch.cat([x[a:b], more[i]]), w)
        torch.testing.assert_close(y[i], alone[b - a :])
        torch.testing.assert_close(stepped[i], alone[b - a])
    repacked = shifted(more.flatten(), w, lengths=[4] * 5, state=state)
    torch.testing.assert_close(repacked, y.flatten())


def test_padded(leaky: Any) -> None:
    x, g, bias = drawn(5, 6, 4), drawn(5, 6, 4), drawn()
    y, state = leaky(x, g, bias=bias, lengths=COUNTS, return_state=True)
    for i, n in enumerate(COUNTS):
        alone, end = leaky(x[i, :n], g[i, :n], bias=bias, return_state=True)
        torch.testing.assert_close(y[i, :n], alone)
        assert not y[i, n:].any()
        torch.testing.assert_close(state["h"][i], end["h"])
    assert state["t"].tolist() == COUNTS


def test_no_sequences_at_all(leaky: Any) -> None:
    y, state = leaky(drawn(0, 4), drawn(0, 4), bias=0.0, cu_seqlens=[0], return_state=True)
    assert (y.shape, state["h"].shape, state["t"].shape) == ((0, 4), (0, 4), (0,))


# -- out, modules, copies --------------------------------------------------------------------------------------------


def test_out(leaky: Any, two: Any) -> None:
    x, g, bias = drawn(5, 4), drawn(5, 4), drawn()
    out = torch.full((5, 4), torch.nan, dtype=torch.float64)
    assert leaky(x, g, bias=bias, out=out) is out
    assert torch.equal(out, leaky(x, g, bias=bias))
    arguments = (drawn(7, 3, 2), torch.zeros(7).bool(), torch.ones(2))
    plain = two(*arguments)
    outs = tuple(torch.empty_like(y) for y in plain)
    given = two(*arguments, out=list(outs))
    assert given._fields == plain._fields
    assert all(a is b and torch.equal(b, c) for a, b, c in zip(given, outs, plain, strict=True))


def test_a_state_has_one_order() -> None:
    """The entries as the spec declares them, whether a program made them or `init_state`."""
    spec = ssmc.compile(
        "ssm order\ninput x\nstate b\nstate a = -inf\nb = 0.5*b + x\na = max(a, x)\noutput y = a + b + prev(x)\n"
    )
    x = drawn(2, 7)
    wanted = ["b", "a", "prev.x", "t"]
    assert list(spec.init_state(2)) == wanted
    for form in ("recurrent", "scan"):
        for steps in (0, 1, 7):
            assert list(spec(x=x[:, :steps], form=form, return_state=True)[1]) == wanted
    assert list(spec.step(None, x=x[:, 0])[1]) == wanted
    assert list(spec(x=x, lengths=[3, 7], return_state=True)[1]) == wanted


def test_floats_of_eight_bits_meet_others(leaky: Any) -> None:
    """torch promotes no two of them; the call does, to what holds both."""
    narrow, other = torch.float8_e4m3fn, torch.float8_e5m2
    x, g, bias = drawn(5, 4), drawn(5, 4), drawn()
    for a, b, storage in (
        (narrow, narrow, narrow),
        (narrow, other, torch.float32),
        (narrow, torch.float16, torch.float32),
        (torch.float64, narrow, torch.float64),
    ):
        y = leaky(x.to(a), g.to(b), bias=bias)
        assert y.dtype == storage
        wanted = loop(x.to(a).double(), g.to(b).double(), torch.ones(4).double(), bias)[0]
        torch.testing.assert_close(y.double(), wanted.to(storage).double(), rtol=1e-4, atol=1e-4)


def test_copies_and_pickles(leaky: Any) -> None:
    x, g, bias = drawn(5, 4), drawn(5, 4), drawn()
    for other in (copy.copy(leaky), copy.deepcopy(leaky), pickle.loads(pickle.dumps(leaky))):
        assert torch.equal(other(x, g, bias=bias), leaky(x, g, bias=bias))
        assert repr(other) == repr(leaky) == "<ssmc leaky(x, g, /, gain, bias) -> y>"
    module = leaky.module({"D": 4})
    assert torch.equal(pickle.loads(pickle.dumps(module))(x, g), module(x, g))


def test_outputs_are_pickled_as_a_tuple(two: Any) -> None:
    out = two(drawn(7, 3, 2), torch.zeros(7).bool(), torch.ones(2))
    assert len(pickle.loads(pickle.dumps(out))) == 3


def test_module(leaky: Any) -> None:
    module = leaky.module({"D": 4}, seed=1, dtype=torch.float64)
    assert {n: tuple(p.shape) for n, p in module.named_parameters()} == {"gain": (4,), "bias": ()}
    assert module.gain.tolist() == [1.0] * 4
    x, g = drawn(2, 5, 4), drawn(2, 5, 4)
    y = module(x, g)
    torch.testing.assert_close(y, loop(x, g, module.gain, module.bias)[0])
    y.sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    stepped, _ = module.step(module.init_state(2), x[:, 0], g[:, 0])
    torch.testing.assert_close(stepped, y[:, 0])
    assert "leaky" in repr(module)


def test_params_that_share_a_name_with_the_module() -> None:
    spec = ssmc.compile(
        "ssm odd\ninput x\nparam forward, step int = 2\nstate h\nh = forward*h + step*x\noutput y = h\n"
    )
    module = spec.module()
    assert {n for n, _ in module.named_parameters()} == {"forward_"}
    assert module(torch.ones(3)).shape == (3,)


def test_init_params() -> None:
    spec = ssmc.compile(
        "ssm drawn\naxis N\ninput x[N]\n"
        "param a[N] = log(loguniform(1e-3, 1e-1)), b[N] = uniform(2, 3), c[N] = normal(10)\n"
        "param d[N] = -a, e[N] complex, f[N]\n"
        "state h[N]\nh = exp(a)*h + x + b + c + d + real(e) + f\noutput y = h\n"
    )
    p = spec.init_params({"N": 2000}, seed=3, dtype=torch.float64)
    assert list(p) == ["a", "b", "c", "d", "e", "f"]
    assert np.log(1e-3) <= p["a"].min() < -6.8
    assert -2.4 < p["a"].max() <= np.log(1e-1)
    assert 2 <= p["b"].min() < p["b"].max() <= 3
    assert 9 < p["c"].std() < 11
    assert torch.equal(p["d"], -p["a"])
    assert p["e"].dtype == torch.complex128
    assert 0.015 < p["f"].std() < 0.025
    assert all(torch.equal(p[k], v) for k, v in spec.init_params({"N": 2000}, seed=3, dtype=torch.float64).items())
    assert not torch.equal(p["a"], spec.init_params({"N": 2000}, seed=4, dtype=torch.float64)["a"])


# -- forms and caches ------------------------------------------------------------------------------------------------


def test_forms_agree(leaky: Any) -> None:
    x, g, bias = drawn(2, 70, 4), drawn(2, 70, 4), drawn()
    y = leaky(x, g, bias=bias, form="recurrent")
    for form in ("scan", "scan:8", "recurrent:0", {"h": "scan"}, {"h": "auto"}, None, "auto"):
        torch.testing.assert_close(leaky(x, g, bias=bias, form=form), y)


def test_the_number_of_programs_does_not_grow_with_lengths() -> None:
    f = ssmc.compile(LEAKY)
    for length in range(1, 300, 7):
        f(drawn(length, 4), drawn(length, 4), bias=0.0)
    assert len(f._programs.made) <= 3
    assert len(f._programs.plans) <= 10
    for length in (5, 6, 7, 100, 101):
        f(drawn(length, 4), drawn(length, 4), bias=0.0, form="scan")
    assert len(f._programs.made) <= 5


def test_autocast_does_not_lower_the_precision(leaky: Any) -> None:
    x, g, bias = (drawn(*s, dtype=torch.float32) for s in ((5, 4), (5, 4), ()))
    expected = leaky(x, g, bias=bias)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(leaky(x, g, bias=bias), expected)


# -- loading ---------------------------------------------------------------------------------------------------------


def test_load_and_choose(tmp_path: Any) -> None:
    file = tmp_path / "both.ssm"
    file.write_text(LEAKY + TWO)
    assert ssmc.load(f"{file}:two").name == "two"
    assert ssmc.load(file, "leaky").name == "leaky"
    assert ssmc.compile(LEAKY + TWO, name="two").name == "two"
    with pytest.raises(ssmc.SpecError, match="E009"):
        ssmc.load(file)
    with pytest.raises(ssmc.SpecError, match="leaky"):
        ssmc.load(file, "leakyy")


def test_save_and_source(leaky: Any, tmp_path: Any) -> None:
    (path,) = leaky.save(tmp_path / "new", form="scan")
    assert path.name == "leaky.py"
    assert path.read_text() == leaky.source(form="scan")
    assert "import ssmc" not in path.read_text()
    namespace: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), namespace)  # noqa: S102
    x, g, gain, bias = drawn(2, 5, 4), drawn(2, 5, 4), drawn(4), drawn()
    state = namespace["initial_state"](sizes={"D": 4}, batch=2, like=x, gain=gain, bias=bias)
    (y,), _ = namespace["sequence"](sizes={"D": 4}, batch=2, length=5, x=x, g=g, gain=gain, bias=bias, state=state)
    torch.testing.assert_close(y, leaky(x, g, gain, bias))


def test_self_test(leaky: Any) -> None:
    rows = leaky.self_test()
    assert all(row.ok for row in rows), [row for row in rows if not row.ok]
    assert {row.form for row in rows} == {"recurrent", "recurrent:4", "scan", "scan:4", "step"}
    assert {row.dtype for row in rows} == {"float64", "float32"}


def test_self_test_finds_a_wrong_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssmc.runtime.program import Program

    right = Program.sequence_saving

    def wrong(self: Program, *given: Any) -> Any:
        ys, *rest = right(self, *given)
        return tuple(y * (1 + 1e-6) for y in ys), *rest

    monkeypatch.setattr(Program, "sequence_saving", wrong)
    rows = ssmc.compile(LEAKY).self_test()
    assert not all(row.ok for row in rows)
