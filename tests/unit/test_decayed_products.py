"""Products with a decay between two steps: the helpers of generated code, and the chunked form that calls them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ssmc.backends.torch.support import _gather, _scores
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import ssmc

LENGTHS = (1, 2, 3, 7, 8, 9, 33)


def between(decay: Tensor, t: int, s: int, late: bool) -> Tensor:
    """The product of decay[..., step, :] over the steps after s up to t, or before t."""
    return decay[..., s + 1 : t if late else t + 1, :].prod(-2)


def scores_by_loops(q: Tensor, k: Tensor, decay: Tensor, late: bool) -> Tensor:
    steps = q.shape[-2]
    rows = []
    for t in range(steps):
        seen = t if late else t + 1
        row = [(q[..., t, :] * k[..., s, :] * between(decay, t, s, late)).sum(-1) for s in range(seen)]
        zero = (q[..., t, :] * k[..., t, :] * decay[..., t, :]).sum(-1) * 0
        rows.append(torch.stack([*row, *[zero] * (steps - seen)], -1))
    return torch.stack(rows, -2)


def values(*shape: int, seed: int = 0, **options: Any) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, **options)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("steps", LENGTHS)
def test_scores(steps: int, late: bool) -> None:
    q, k, decay = values(2, 3, steps, 4), values(3, steps, 4, seed=1), values(2, 1, steps, 4, seed=2)
    decay[..., steps // 2, 0] = 0.0  # forgets
    torch.testing.assert_close(_scores(q, k, decay, 1, late), scores_by_loops(q, k, decay, late))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("steps", LENGTHS)
def test_gather(steps: int, late: bool) -> None:
    scores, v, decay = values(2, 1, steps, steps), values(3, steps, 4, seed=1), values(2, 1, steps, 4, seed=2)
    decay[..., steps // 2, 0] = 0.0
    expected = torch.zeros(2, 3, steps, 4, dtype=torch.float64)
    for t in range(steps):
        for s in range(t if late else t + 1):
            expected[..., t, :] += scores[..., t, s, None] * v[..., s, :] * between(decay, t, s, late)
    torch.testing.assert_close(_gather(scores, v, decay, 1, late), expected)


def test_several_axes_are_one() -> None:
    q, k, decay = values(9, 2, 3), values(9, 2, 3, seed=1), values(9, 1, 3, seed=2)
    flat = [x.flatten(1) for x in (q, k, decay.expand(9, 2, 3))]
    whole = scores_by_loops(*flat, False)  # type: ignore[misc]
    torch.testing.assert_close(_scores(q, k, decay, 2, False), whole)
    gathered = _gather(whole, k, decay, 2, False)
    torch.testing.assert_close(gathered, _gather(whole, *flat[1:], 1, False).reshape(9, 2, 3))


@pytest.mark.parametrize("late", [False, True])
def test_gradients(late: bool) -> None:
    given = [values(1, 5, 3, seed=i, requires_grad=True) for i in range(3)]
    assert torch.autograd.gradcheck(lambda *x: _scores(*x, 1, late), given)
    whole = values(1, 5, 5, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *x: _gather(*x, 1, late), (whole, *given[1:]))


@pytest.mark.parametrize("factor", [1e-30, 1e-3, 1.0, -1.0])
def test_decays_of_any_size(factor: float) -> None:
    """In single precision, over more steps than a logarithm of one exponent's range could hold."""
    q, k = (values(70, 8, seed=i).float() for i in range(2))
    decay = torch.full((70, 8), factor)
    expected = scores_by_loops(q.double(), k.double(), decay.double(), False)
    torch.testing.assert_close(_scores(q, k, decay, 1, False).double(), expected, rtol=1e-5, atol=1e-5)


# -- the form --------------------------------------------------------------------------------------------------------

HEAD = "ssm m\naxis K, V\ninput q[K], u[V], k[K], v[V], f[K], g[V]\nstate S[K, V] = 0\n"


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("length", [1, 5, 64, 77])
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("decay", ["sigmoid(f)", "sigmoid(g)", "sigmoid(f) * sigmoid(g)"])
def test_every_side_read_before_and_after(decay: str, early: bool, length: int) -> None:
    reads = ["o = q · S", "p = u · S"]
    lines = [f"S = {decay} * S + k * v"]
    f: Any = ssmc.compile(HEAD + "\n".join([*reads, *lines] if early else [*lines, *reads]) + "\noutput o\noutput p\n")
    rng = np.random.default_rng(length)
    given = {x: rng.normal(size=(length, 4 if x in "qkf" else 3)) for x in "qukvfg"}
    state, o, p = rng.normal(size=(4, 3)), [], []
    start = {"S": torch.tensor(state)}
    for t in range(length):
        x = {name: array[t] for name, array in given.items()}
        new = np.outer(x["k"], x["v"])
        rows = sigmoid(x["f"])[:, None] if "f" in decay else 1.0
        columns = sigmoid(x["g"]) if "(g)" in decay else 1.0
        new = new + rows * columns * state
        read = state if early else new
        o.append(x["q"] @ read)
        p.append(read @ x["u"])
        state = new
    (found_o, found_p), after = f(
        **{name: torch.tensor(array) for name, array in given.items()}, form="chunked", state=start, return_state=True
    )
    np.testing.assert_allclose(found_o, np.array(o), atol=1e-12)
    np.testing.assert_allclose(found_p, np.array(p), atol=1e-12)
    np.testing.assert_allclose(after["S"], state, atol=1e-12)


class Watched(TorchDispatchMode):
    """The largest tensor that is made, and the greatest exponent."""

    def __init__(self) -> None:
        super().__init__()
        self.largest, self.exponent = 0, -torch.inf

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.exp.default:
            self.exponent = max(self.exponent, float(args[0].max()))
        for x in made if isinstance(made, tuple | list) else (made,):
            if isinstance(x, Tensor) and not x._is_view():
                self.largest = max(self.largest, x.numel())
        return made


@pytest.mark.parametrize("decay", ["exp(-f)", "exp(-g)", "exp(-f) * exp(-g)"])
def test_no_pair_of_steps_has_a_decay_for_each_position_and_no_exponent_is_positive(decay: str) -> None:
    f: Any = ssmc.compile(HEAD + f"S = {decay} * S + k * v\noutput o = q · S\n")
    given = {x: torch.rand(128, 48) for x in "qkfuvg"}
    with torch.no_grad(), Watched() as watched:
        f(**given, form="chunked")
    assert watched.exponent <= 0
    assert watched.largest <= 128 * 48, "more than a whole sequence"
