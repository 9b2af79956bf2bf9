"""`solve`: linear systems at every step, beside numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ssmc
from ssmc.adjoint.graph import adjoint
from tests.differential.adjoint_check import check_adjoint

G = np.random.default_rng(0)


def _matrix(*shape: int) -> torch.Tensor:
    return torch.as_tensor(G.normal(size=shape) + 3 * np.eye(shape[-1]))


def test_of_a_square() -> None:
    f = ssmc.compile("ssm s\naxis N\ninput A[N, N], b[N]\noutput x[N] = solve[N](A, b)\n")
    A, b = _matrix(2, 5, 3, 3), torch.as_tensor(G.normal(size=(2, 5, 3)))
    torch.testing.assert_close(f(A=A, b=b), torch.linalg.solve(A, b))


def test_with_an_axis_for_the_columns_and_several_right_sides() -> None:
    f = ssmc.compile("ssm s\naxis N, M, K\ninput A[N, M], b[K, N]\noutput x[K, N] = solve[N, M](A, b)\n")
    A, b = _matrix(2, 5, 3, 3), torch.as_tensor(G.normal(size=(2, 5, 4, 3)))
    torch.testing.assert_close(torch.einsum("blnm,blkm->blkn", A, f(A=A, b=b)), b)


def test_inside_a_recurrence() -> None:
    """Backward Euler of h' = -A h + u, written out, beside the language's own."""
    shared = "input u[N]\nstate h[N] = 0.5\n"
    mine = ssmc.compile(
        f"ssm s\naxis N, M\n{shared}param B[N, M]\none = where(index[N] == index[M], 1, 0)\n"
        "h = solve[N, M](one + 0.1*B, h + 0.1*u)\noutput y[N] = h\n"
    )
    theirs = ssmc.compile(
        f"ssm s\naxis N\n{shared}param A[N, N]\nh' = -(A @ h) + u using backward_euler(step = 0.1)\noutput y[N] = h\n"
    )
    u, A = torch.as_tensor(G.normal(size=(2, 7, 3))), torch.as_tensor(G.normal(size=(3, 3)))
    torch.testing.assert_close(mine(u=u, B=A), theirs(u=u, A=A))


@pytest.mark.parametrize("kind", ["", " complex"])
def test_its_gradient(kind: str) -> None:
    f = ssmc.compile(
        f"ssm s\naxis N\ninput b[N]{kind}\nparam A[N, N]{kind}\nstate h[N]{kind}\n"
        f"h = solve[N](A, 0.3*h + b)\noutput y[N]{kind} = h\n"
    )
    A, b = _matrix(3, 3), torch.as_tensor(G.normal(size=(2, 5, 3)))
    if kind:
        A, b = torch.complex(A, A.T.clone()), torch.complex(b, b.flip(0))
    check_adjoint(f.graph, {"b": b}, {"A": A}, {})
    assert adjoint(f.graph).params


def test_a_spec_may_have_its_own() -> None:
    f = ssmc.compile("ssm s\naxis N\ninput x[N]\nsolve[N](x) = x*x\noutput y[N] = solve[N](x)\n")
    x = torch.arange(6.0).reshape(1, 2, 3)
    torch.testing.assert_close(f(x=x), x * x)
