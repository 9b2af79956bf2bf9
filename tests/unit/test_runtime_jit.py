"""Decorated functions are compiled specs."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch

import ssmc
from ssmc import Input, Param, State

# What the bodies name is the language's; the functions are read, never run.
# ruff: noqa: F722, F821, RET504, UP037


@ssmc.jit(axes="D N", sizes={"N": 2})
def leaky(u: Input["D"], g: Input["N"], decay: Param["D N"] = 1, h: State["D N"] = 0):
    """A leaky average a channel."""
    h = exp(-decay) * h + g * u
    y = sum["N"](h)
    return y


@ssmc.jit(axes="D")
def running(x: Input["D"], h: State["D"]):
    h = max(h, x)
    return h


def loop(u: torch.Tensor, g: torch.Tensor, decay: torch.Tensor) -> torch.Tensor:
    h = torch.zeros(u.shape[-1], g.shape[-1], dtype=u.dtype)
    ys = []
    for a, b in zip(u, g, strict=True):
        h = torch.exp(-decay) * h + a[:, None] * b
        ys.append(h.sum(-1))
    return torch.stack(ys)


def test_a_decorated_function_runs() -> None:
    u, g, decay = torch.randn(5, 3), torch.randn(5, 2), torch.rand(3, 2)
    torch.testing.assert_close(leaky(u, g, decay), loop(u, g, decay))
    torch.testing.assert_close(leaky(u, g), loop(u, g, torch.ones(3, 2)))
    assert running(torch.tensor([[1.0], [3.0], [2.0]])).flatten().tolist() == [1.0, 3.0, 3.0]


def test_it_looks_like_the_function() -> None:
    assert leaky.__name__ == leaky.name == "leaky"
    assert leaky.__doc__ == "A leaky average a channel."
    assert leaky.__module__ == __name__
    assert list(inspect.signature(leaky).parameters) == ["u", "g", "decay", "h"]
    assert leaky.__wrapped__.__code__.co_name == "leaky"


def test_copies_and_pickles() -> None:
    u, g = torch.randn(5, 3), torch.randn(5, 2)
    for other in (copy.deepcopy(leaky), pickle.loads(pickle.dumps(leaky))):
        assert torch.equal(other(u, g), leaky(u, g))


def test_mistakes_point_into_this_file() -> None:
    with pytest.raises(ssmc.SpecError) as caught:

        @ssmc.jit(axes="D")
        def wrong(x: Input["D"], h: State["D"]):
            h = missing * h + x
            return h

    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == "missing"
    assert diagnostic.primary.span.source.name == __file__
