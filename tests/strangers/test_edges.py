"""At the edge of what a call may ask: chunks of one step, axes of any name, values that are not finite."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ssmc
from ssmc.step.interp import run

FORMS = ("auto", "recurrent", "scan", "chunked", "conv")


def _agrees(f: Any, inputs: dict[str, torch.Tensor], params: dict[str, torch.Tensor], **options: Any) -> None:
    arrays = [{k: x.numpy().copy() for k, x in given.items()} for given in (inputs, params)]
    wanted, _ = run(f.graph, *arrays)
    got = f(**inputs, **params, **options)
    named = got._asdict() if isinstance(got, tuple) else {f.graph.outputs[0].name: got}
    for name, y in named.items():
        torch.testing.assert_close(y, torch.as_tensor(wanted[name]), equal_nan=True)


def _draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("form", FORMS[1:])
def test_a_chunk_of_one_step(form: str) -> None:
    f = ssmc.compile(
        "ssm s\naxis K, V\ninput k[K], v[V]\nparam M[V, K]\nstate S[K, V] = 0, c[V] = 0, r[V] = 0 reverse\n"
        "S = 0.9*S + k*v\nc = 0.5*c + v\nr = 0.8*r + M @ k\noutput y = k · S, z = c + prev(v, 2), w[K] = r @ M\n"
    )
    inputs, params = {"k": _draw(2, 7, 3), "v": _draw(2, 7, 2)}, {"M": _draw(2, 3)}
    _agrees(f, inputs, params, form=f"{form}:1")
    leaf = inputs["k"].clone().requires_grad_()
    found = [
        torch.autograd.grad(sum(y.square().sum() for y in f(leaf, inputs["v"], params["M"], form=x)), leaf)[0]
        for x in ("recurrent", f"{form}:1")
    ]
    torch.testing.assert_close(*found)


AXES = ("lambda", "None", "range", "min", "zip", "enumerate", "_prefix", "_recomputed", "size_h", "torch", "a")


@pytest.mark.parametrize("axis", AXES)
def test_an_axis_of_any_name(axis: str) -> None:
    f = ssmc.compile(
        f"ssm s\naxis {axis}, K\ninput u[K], x[{axis}]\nparam M[{axis}, K]\nstate h[{axis}] = 0, r[{axis}, K] reverse\n"
        f"a = exp(x)\nr = 0.5*r + u*index[{axis}]/size[{axis}]\n"
        f"h = sigmoid(a)*h + a*size[{axis}] + M @ u + sum[K](r) + prev(M @ u)\noutput y = h, q[K] = h @ M\n"
    )
    for form in ("auto", "recurrent:3", "scan:3"):
        _agrees(f, {"u": _draw(1, 7, 3), "x": _draw(1, 7, 2)}, {"M": _draw(2, 3)}, form=form)


def test_an_axis_with_the_name_of_a_value_in_the_step() -> None:
    f = ssmc.compile(
        "ssm s\naxis a, T_now\naxis T\ninput x[a], size_range[T_now]\nparam M[T_now, a]\nstate h[a] = 0\n"
        "a = exp(x)\nT_now = sum[T](past[T](a))\nsize_a = a*a\nh = h*sigmoid(a) + a*size[a] + index[a]*size_a\n"
        "output y = h + a*size[T_now] + T_now*size[T], z = M @ h + size_range\n"
    )
    inputs, params = {"x": _draw(1, 5, 2), "size_range": _draw(1, 5, 3)}, {"M": _draw(3, 2)}
    _agrees(f, inputs, params)
    whole = f(**inputs, **params)
    state = None
    for n in range(5):
        step, state = f.step(state, **{k: x[:, n] for k, x in inputs.items()}, **params)
        torch.testing.assert_close(step.y, whole.y[:, n])
        torch.testing.assert_close(step.z, whole.z[:, n])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_what_is_not_finite_spoils_no_earlier_step(kind: str, value: float) -> None:
    """Whatever the form; a transform over the whole sequence would carry it everywhere."""
    word, unit = ("complex", "exp(0.3j)") if kind == "complex" else ("", "1")
    f = ssmc.compile(
        f"ssm s\naxis D, N\ninput u[D], v\nparam a[N], C[D, N]\nstate h[D, N] {word} = 0, g {word} = 0 reverse\n"
        f"h = sigmoid(a)*{unit}*h + u*C\ng = 0.9*{unit}*g + v\noutput y[D] = real(sum[N](h)), z = real(g)\n"
    )
    u, v, a, c = _draw(2, 9, 3), _draw(2, 9), _draw(2), _draw(3, 2)
    whole = f(u, v, a, c)
    slopes = [
        torch.autograd.grad(sum(y.sum() for y in f(u, v, a.requires_grad_(), c, form=x)), a)[0]
        for x in ("scan", "conv")
    ]
    torch.testing.assert_close(*slopes)
    a = a.detach()
    u[0, 5, 1] = v[0, 3] = value
    for form in ("auto", "recurrent", "scan", "conv", "conv:4"):
        got = f(u, v, a, c, form=form)
        changed = torch.zeros(2, 9, 3, dtype=torch.bool)
        changed[0, 5:, 1] = True
        assert torch.equal(~torch.isfinite(got.y), changed)
        torch.testing.assert_close(got.y[~changed], whole.y[~changed])
        assert torch.equal(~torch.isfinite(got.z[0]), torch.arange(9) <= 3)
        torch.testing.assert_close(got.z[1], whole.z[1])
        torch.testing.assert_close(got.z[0, 4:], whole.z[0, 4:])
