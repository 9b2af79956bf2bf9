"""The recurrence with a backward of its own: derivatives of every order and direction, and who runs it."""

from __future__ import annotations

import pytest
import torch
from ssmc.backends.torch.adjoint import _affine_steps
from torch.autograd import gradcheck, gradgradcheck

import ssmc


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_derivatives(dtype: torch.dtype, steps: int) -> None:
    g = torch.Generator().manual_seed(steps)
    shapes = (2, steps, 3), (2, steps, 3), (2, 3)
    given = tuple(torch.randn(*s, dtype=dtype, generator=g).requires_grad_() for s in shapes)
    assert gradcheck(_affine_steps, given, check_forward_ad=True)
    assert gradgradcheck(_affine_steps, given)


def test_it_is_a_loop_for_torch_func() -> None:
    a, b, h = torch.rand(2, 4, 3), torch.rand(2, 4, 3), torch.rand(2, 3)
    plain = torch.autograd.functional.jacobian(lambda x: _affine_steps(x, b, h).sum(), a)
    assert torch.allclose(torch.func.grad(lambda x: _affine_steps(x, b, h).sum())(a), plain)


def test_the_state_between_chunks_keeps_no_tile() -> None:
    f = ssmc.compile("ssm s\naxis D\ninput a[D], b[D]\nstate h[D] = 0\nh = a*h + b\noutput y[D] = h\n")
    assert "_affine_steps" in f.source(form="recurrent")
    a, b = (torch.rand(1, 64, 8).requires_grad_() for _ in range(2))
    kept: list[int] = []

    def pack(x: torch.Tensor) -> torch.Tensor:
        if x.untyped_storage().data_ptr() not in (a.untyped_storage().data_ptr(), b.untyped_storage().data_ptr()):
            kept.append(x.untyped_storage().nbytes())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        f(a, b, form="recurrent:16")
    assert kept
    assert max(kept) <= 4 * 8 * 4  # a state; a tile has sixteen
