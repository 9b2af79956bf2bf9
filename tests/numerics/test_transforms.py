"""What torch offers around a call: second derivatives, forward mode, maps over batches, tracing, other precisions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.numerics.harness import compiled, legal_forms

SPECS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "diagonal": (
        "axis D\ninput x[D], g[D]\nstate h[D]\nh = sigmoid(g)*h + x\noutput y = h\n",
        {"x": (1, 5, 2), "g": (1, 5, 2)},
    ),
    "fixed": (
        "axis D\ninput x[D]\nparam a[D]\nstate h[D]\nh = sigmoid(a)*h + x\noutput y = h\n",
        {"x": (1, 5, 2), "a": (2,)},
    ),
    "matrix, heads": (
        "axis H, K, V\neach H\ninput q[H, K], k[H, K], v[H, V], g[H]\nstate S[H, K, V]\nS = sigmoid(g)*S + k*v\n"
        "output y = q · S\n",
        {"q": (1, 5, 1, 2), "k": (1, 5, 1, 2), "v": (1, 5, 1, 2), "g": (1, 5, 1)},
    ),
    "matrix, rows": (
        "axis K, V\ninput q[K], k[K], v[V], g[K]\nstate S[K, V]\nS = exp(-softplus(g))*S + k*v\noutput y = q · S\n",
        {"q": (1, 5, 2), "k": (1, 5, 2), "v": (1, 5, 2), "g": (1, 5, 2)},
    ),
    "raw decay": (
        "axis K, V\ninput q[K], k[K], v[V], g\nstate S[K, V]\nS = g*S + k*v\noutput y = q · S\n",
        {"q": (1, 5, 2), "k": (1, 5, 2), "v": (1, 5, 2), "g": (1, 5)},
    ),
    "log space": (
        "axis D\ninput g[D], x[D]\nstate m[D] = -inf\nm = logaddexp(m + logsigmoid(g), x)\noutput y = m\n",
        {"g": (1, 5, 2), "x": (1, 5, 2)},
    ),
    "normalised": (
        "axis T = 3, D\ninput q[D], k[D], v[D]\noutput y = sum[T](softmax[T](q · past[T](k))*past[T](v))\n",
        {"q": (1, 4, 2), "k": (1, 4, 2), "v": (1, 4, 2)},
    ),
    "delta": (
        "axis K, V\ninput q[K], k[K], v[V], b\nstate S[K, V]\nn = k*rsqrt(sum[K](k*k) + 1e-6)\n"
        "S = S - sigmoid(b)*n*(n · S) + sigmoid(b)*n*v\noutput y = q · S\n",
        {"q": (1, 4, 2), "k": (1, 4, 2), "v": (1, 4, 2), "b": (1, 4)},
    ),
    "nonlinear": (
        "axis D\ninput x[D]\nparam W[D, D]\nstate h[D]\nh = tanh(W @ h + x)\noutput y = h\n",
        {"x": (1, 4, 2), "W": (2, 2)},
    ),
    "held": (
        "axis D\ninput u[D]\nparam A[D], s[D]\nstate h[D]\nh' = A*h + u using zoh(step = softplus(s))\n"
        "output y = h\n",
        {"u": (1, 4, 2), "A": (2,), "s": (2,)},
    ),
}  # fmt: skip
PAIRS = [(name, form) for name, (spec, _) in SPECS.items() for form in legal_forms(spec)]


def tensors(name: str, *lead: int, dtype: torch.dtype = torch.float64, seed: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.randn(*lead, *s, generator=generator, dtype=dtype) for k, s in SPECS[name][1].items()}


def function(name: str, form: str) -> tuple[Callable[..., Tensor], list[str]]:
    f, names = compiled(SPECS[name][0]), list(SPECS[name][1])

    def call(*args: Tensor) -> Tensor:
        result: Tensor = f(**dict(zip(names, args, strict=True)), form=f"{form}:2")
        return result

    return call, names


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_double_backward(name: str, form: str) -> None:
    call, _ = function(name, form)
    args = tuple(x.requires_grad_() for x in tensors(name).values())
    assert torch.autograd.gradcheck(call, args, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, args, fast_mode=True)


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_forward_mode(name: str, form: str) -> None:
    """The directional derivative, against the one that the gradient gives."""
    call, _ = function(name, form)
    args, along = tuple(tensors(name).values()), tuple(tensors(name, seed=4).values())
    value, tangent = torch.func.jvp(call, args, along)
    torch.testing.assert_close(value, call(*args))
    leaves = tuple(x.clone().requires_grad_() for x in args)
    y = call(*leaves)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(5), dtype=y.dtype)
    found = torch.autograd.grad(y, leaves, weights)
    torch.testing.assert_close((tangent * weights).sum(), sum((g * d).sum() for g, d in zip(found, along, strict=True)))


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_vmap(name: str, form: str) -> None:
    """A new batch dimension for every argument, params too; and gradients for each of the batch."""
    call, _ = function(name, form)
    many = tuple(tensors(name, 3).values())
    wanted = torch.stack([call(*(x[i] for x in many)) for i in range(3)])
    torch.testing.assert_close(torch.func.vmap(call)(*many), wanted)
    last = tuple(x.movedim(0, -1) for x in many)
    torch.testing.assert_close(torch.func.vmap(call, in_dims=-1)(*last), wanted)

    def total(*args: Tensor) -> Tensor:
        return call(*args).square().sum()

    found = torch.func.vmap(torch.func.grad(total))(*many)
    apart = torch.stack([torch.func.grad(total)(*(x[i] for x in many)) for i in range(3)])
    torch.testing.assert_close(found, apart)


SOME = [("diagonal", "scan"), ("fixed", "conv"), ("matrix, rows", "chunked"), ("nonlinear", "recurrent")]


@pytest.mark.parametrize(("name", "form"), SOME)
def test_inside_torch_compile(name: str, form: str) -> None:
    """The call is a node of one whole graph, for every length; values and gradients are those without it."""
    call, _ = function(name, form)

    def model(*args: Tensor) -> Tensor:
        return torch.tanh(call(*args) * 2)

    args = tuple(x.requires_grad_() for x in tensors(name).values())
    wanted = model(*args)
    traced = torch.compile(model, backend="aot_eager", dynamic=True, fullgraph=True)
    for length in (1, 2, 3):
        cut = tuple(x[:, :length] if x.ndim > 2 else x for x in args)
        torch.testing.assert_close(traced(*cut), model(*cut))
    found = traced(*args)
    torch.testing.assert_close(found, wanted)
    for a, b in zip(*(torch.autograd.grad(y.sum(), args) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b)
    torch._dynamo.reset()


@pytest.mark.parametrize(("name", "form"), SOME)
def test_export(name: str, form: str) -> None:
    """A program of torch's own operations, for the length it was exported at."""
    call, _ = function(name, form)

    class Model(torch.nn.Module):
        def forward(self, *args: Tensor) -> Tensor:
            return call(*args)

    args = tuple(tensors(name).values())
    exported = torch.export.export(Model(), args, strict=False)
    other = tuple(tensors(name, seed=8).values())
    torch.testing.assert_close(exported.module()(*other), call(*other))


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_autocast_changes_nothing(name: str, form: str) -> None:
    call, _ = function(name, form)
    args = tuple(x.requires_grad_() for x in tensors(name, dtype=torch.float32).values())
    wanted = call(*args)
    expected = torch.autograd.grad(wanted.sum(), args)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = call(*args)
    assert torch.equal(y, wanted)
    # the backward, which may run the forward again, does so as it ran; torch runs it outside of autocast
    for a, b in zip(torch.autograd.grad(y.sum(), args), expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_half_precision_is_storage(name: str, form: str, dtype: torch.dtype) -> None:
    """Computed in float32; outputs and gradients come back in what the arguments were stored in, the state does not."""
    call, names = function(name, form)
    args = tuple(x.to(dtype).requires_grad_() for x in tensors(name).values())
    single = tuple(x.detach().float().requires_grad_() for x in args)
    y, wanted = call(*args), call(*single)
    assert y.dtype == dtype
    assert torch.equal(y, wanted.to(dtype))
    found, expected = (torch.autograd.grad(out.float().sum(), leaves) for out, leaves in ((y, args), (wanted, single)))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        assert torch.equal(a, b.to(dtype))
    _, state = compiled(SPECS[name][0])(**dict(zip(names, args, strict=True)), return_state=True)
    assert all(s.dtype == torch.float32 for s in state.values() if isinstance(s, Tensor))
