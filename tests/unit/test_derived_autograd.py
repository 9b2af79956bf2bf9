"""The derived adjoint under PyTorch: derivatives of every order and direction, of outputs and states, mapped over.

With the PyTorch backend, which has no compiler to wait for; what is derived knows no backend.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import ssmc

# spec, then the shapes of inputs, params and states; a `c` before a shape: complex
SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "constants": (
        "axis D\ninput x[D], g[D]\nparam a[D], b\nstate h[D]\nh = sigmoid(g)*exp(-exp(a))*h + x\noutput y = h + b\n",
        {"x": (2, 3, 2), "g": (2, 3, 2), "a": (2,), "b": (), "state h": (2, 2)},
    ),
    "first value": (
        "axis D\ninput x[D]\nparam a[D]\nstate h[D] = tanh(a)\nh = 0.5*h + x\noutput y = h*t\n",
        {"x": (2, 3, 2), "a": (2,)},
    ),
    "complex": (
        "axis N\ninput u\nparam p[N] complex, c[N] complex\nstate z[N] complex\nz = exp(p)*z + c*u\n"
        "output s[N] complex = z, y = real(sum[N](z*z))\n",
        {"u": (2, 3), "p": "c2", "c": "c2", "state z": "c2 2"},
    ),
    "delays": (
        "axis D, W\ninput x[D]\nparam w[D, W]\nstate h[D]\nu = tanh(conv(x, w))\nh = 0.5*h + u + prev(x, 2)\n"
        "output y = h + next(x)\n",
        {"x": (1, 4, 2), "w": (2, 3), "state h": (1, 2), "state conv.x": (1, 3, 2), "state prev.x": (1, 2, 2)},
    ),
    "window": (
        "axis T = 3, D\ninput q[D], k[D]\noutput y = sum[T](softmax[T](q · past[T](k))*past[T](k))\n",
        {"q": (1, 4, 2), "k": (1, 4, 2), "state past.k": (1, 3, 2)},
    ),
    "matrix": (
        "axis D\ninput x[D]\nparam W[D, D]\nstate h[D] reverse\nh = tanh(W @ h + x)\noutput y = h\n",
        {"x": (2, 3, 2), "W": (2, 2), "state h": (2, 2)},
    ),
    "kinds": (
        "axis D\ninput x[D], reset bool, n int\nparam k int = 2\nstate h[D], count int\n"
        "h = where(reset, 0, h*n) + k*x\ncount = count + n\noutput y = h, total int = count\n",
        {"x": (2, 3, 2), "state h": (2, 2)},
    ),
}  # fmt: skip
FIXED: dict[str, dict[str, Tensor]] = {
    "kinds": {"reset": torch.tensor([False, True, False]), "n": torch.tensor([[1, 2, 1], [0, 1, 2]])}
}


@cache
def compiled(name: str) -> Any:
    return ssmc.compile(f"ssm s\n{SPECS[name][0]}")


def drawn(name: str, seed: int = 1) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    made = []
    for shape in SPECS[name][1].values():
        if isinstance(shape, str):
            x = torch.randn([int(n) for n in shape[1:].split()], generator=g, dtype=torch.complex128)
        else:
            x = torch.randn(shape, generator=g, dtype=torch.float64)
        made.append((x * 0.7).requires_grad_())
    return tuple(made)


def function(name: str, states: bool = True, **options: Any) -> Callable[..., tuple[Tensor, ...]]:
    """The outputs that have a gradient, and the last states, as a function of the tensors in their order."""
    names = list(SPECS[name][1])

    def call(*tensors: Tensor) -> tuple[Tensor, ...]:
        given: dict[str, Any] = dict(FIXED.get(name, {}))
        state: dict[str, Any] = {}
        for key, x in zip(names, tensors, strict=True):
            if key.startswith("state "):
                state[key[6:]] = x
            else:
                given[key] = x
        y, after = compiled(name)(**given, state=state or None, return_state=True, backend="torch", **options)
        every = [y] if isinstance(y, Tensor) else list(y)
        every += [x for x in after.values() if isinstance(x, Tensor)] if states else []
        return tuple(x for x in every if x.is_floating_point() or x.is_complex())

    return call


@pytest.mark.parametrize("name", SPECS)
def test_first_derivatives(name: str) -> None:
    """Backwards, forwards, and backwards for a batch of cotangents at once."""
    assert gradcheck(function(name), drawn(name), check_forward_ad=True, check_batched_grad=True)


@pytest.mark.parametrize("name", SPECS)
def test_second_derivatives(name: str) -> None:
    assert gradgradcheck(function(name), drawn(name), check_fwd_over_rev=True)


@pytest.mark.parametrize("name", ["constants", "delays", "matrix"])
def test_third_derivatives(name: str) -> None:
    leaves = drawn(name)

    def slope(*tensors: Tensor) -> tuple[Tensor, ...]:
        total = sum(x.square().sum() for x in function(name)(*tensors))
        found = torch.autograd.grad(total, tensors, create_graph=True)
        return tuple(x for x in found if x.requires_grad)

    assert gradgradcheck(slope, leaves, fast_mode=True)


@pytest.mark.parametrize("name", SPECS)
def test_jacobians(name: str) -> None:
    """torch.func: backwards and forwards, one inside the other, as plain autograd has them."""
    call, leaves = function(name), tuple(x.detach() for x in drawn(name))
    places = tuple(range(len(leaves)))
    if any(x.is_complex() for x in leaves):  # whose Jacobians have two conventions
        split, call_split = leaves, call
        leaves = tuple(torch.view_as_real(x).clone() if x.is_complex() else x for x in split)

        def call(*tensors: Tensor) -> tuple[Tensor, ...]:
            made = [torch.view_as_complex(x) if y.is_complex() else x for x, y in zip(tensors, split, strict=True)]
            return tuple(torch.view_as_real(x) if x.is_complex() else x for x in call_split(*made))

    wanted = torch.autograd.functional.jacobian(call, leaves)
    torch.testing.assert_close(torch.func.jacrev(call, places)(*leaves), wanted)
    torch.testing.assert_close(torch.func.jacfwd(call, places)(*leaves), wanted)

    def total(*tensors: Tensor) -> Tensor:
        return torch.stack([(x * x).sum() for x in call(*tensors)]).sum()

    second = torch.autograd.functional.hessian(total, leaves)
    torch.testing.assert_close(torch.func.hessian(total, places)(*leaves), second)
    torch.testing.assert_close(torch.func.jacrev(torch.func.jacfwd(total, places), places)(*leaves), second)


@pytest.mark.parametrize("name", SPECS)
def test_mapped(name: str) -> None:
    """One more dimension on each of the arguments in turn, on all of them, and two on one."""
    call, leaves = function(name), tuple(x.detach() for x in drawn(name))
    more = [tuple(x.detach() for x in drawn(name, seed)) for seed in (2, 3, 4)]
    for at in (*range(len(leaves)), None):
        dims = tuple(-1 if at is None or i == at else None for i in range(len(leaves)))
        many = [[m[i] if d is not None else leaves[i] for i, d in enumerate(dims)] for m in more]
        stacked = [torch.stack([m[i] for m in many], -1) if d is not None else leaves[i] for i, d in enumerate(dims)]
        wanted = [torch.stack(parts) for parts in zip(*(call(*m) for m in many), strict=True)]
        found = torch.func.vmap(call, dims)(*stacked)
        torch.testing.assert_close(found, tuple(wanted))
    rest = leaves[1:]
    twice = torch.stack([torch.stack([m[0], m[0] + 1]) for m in more])
    found = torch.func.vmap(torch.func.vmap(lambda x: call(x, *rest)))(twice)
    wanted = [torch.stack([call(x, *rest)[i] for x in twice.flatten(0, 1)]) for i in range(len(found))]
    torch.testing.assert_close(tuple(x.flatten(0, 1) for x in found), tuple(wanted))


def test_what_does_not_depend_has_no_gradient() -> None:
    """As autograd has it: None, and not zeros; and integers have none."""
    spec = ssmc.compile("ssm s\ninput x, u\nparam a, b\nstate h\nh = a*h + x\noutput y = h, z = b*u\n")
    x, u, a, b = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 4), (2, 4), (), ()))
    out, state = spec(x, u, a, b, return_state=True, backend="torch")
    for y, live in ((out.y, (x, a)), (out.z, (u, b)), (state["h"], (x, a))):
        found = torch.autograd.grad(y.sum(), (x, u, a, b), allow_unused=True, retain_graph=True)
        assert [g is not None for g in found] == [any(p is q for q in live) for p in (x, u, a, b)]
    kinds, leaves = function("kinds"), drawn("kinds")
    y, *_ = kinds(*leaves)
    assert all(g is not None for g in torch.autograd.grad(y.sum(), leaves))


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("batch", [0, 1])
def test_nothing_has_derivatives_too(length: int, batch: int) -> None:
    f = compiled("constants")
    x = torch.zeros(batch, length, 2, dtype=torch.float64, requires_grad=True)
    a, h = (torch.ones(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2,), (batch, 2)))
    y, state = f(x=x, g=x, a=a, b=1.0, state={"h": h}, return_state=True, backend="torch")
    first = torch.autograd.grad(y.sum() + state["h"].square().sum(), (x, a, h), create_graph=True, allow_unused=True)
    assert [None if g is None else g.shape for g in first][2] == h.shape
    if length == 0:
        assert torch.equal(first[2], 2 * h)
        assert not any(g.any() for g in first[:2] if g is not None)
    again = torch.autograd.grad(first[2].sum(), h)[0]
    assert again.shape == h.shape


def test_packed_sequences() -> None:
    call = function("delays")

    def packed(*tensors: Tensor) -> tuple[Tensor, ...]:
        x, w = tensors
        y, state = compiled("delays")(x=x, w=w, lengths=[1, 3], return_state=True, backend="torch")
        return y, state["h"], state["conv.x"]

    x, w, *_ = drawn("delays")
    assert call is not packed
    assert gradcheck(packed, (x, w), check_forward_ad=True)
    assert gradgradcheck(packed, (x, w), fast_mode=True)


def test_steps() -> None:
    """A step is differentiable too, and equal to one step of a sequence in its second derivatives."""
    f = compiled("constants")
    x, g, a, b, h = drawn("constants")

    def stepped(*tensors: Tensor) -> tuple[Tensor, ...]:
        x, g, a, b, h = tensors
        y, state = f.step({"h": h}, x[:, 0], g[:, 0], a, b, backend="torch")
        z, state = f.step(state, x[:, 1], g[:, 1], a, b, backend="torch")
        return y, z, state["h"]

    assert gradcheck(stepped, (x, g, a, b, h), check_forward_ad=True)
    assert gradgradcheck(stepped, (x, g, a, b, h), fast_mode=True)
