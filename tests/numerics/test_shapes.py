"""Lengths around the edges of chunks, batches and sizes of every kind, and tensors laid out in every way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.numerics.harness import Case, Tensors, arguments, compiled, gradients, leaves, legal_forms, loss, named, same

SPECS = {
    "diagonal": "axis D\ninput x[D], g[D]\nstate h[D]\nh = sigmoid(g)*h + x\noutput y = h\n",
    "fixed": "axis D\ninput x[D]\nparam a[D]\nstate h[D]\nh = sigmoid(a)*h + x\noutput y = h\n",
    "heads": "axis H, K, V\neach H\ninput q[H, K], k[H, K], v[H, V], g[H]\nstate S[H, K, V]\n"
             "S = sigmoid(g)*S + k*v\noutput y = q · S\n",
    "rows": "axis H, K, V\neach H\ninput q[H, K], k[H, K], v[H, V], g[H, K]\nstate S[H, K, V]\n"
            "S = sigmoid(g)*S + k*v\noutput y = q · S\n",
    "columns": "axis K, V\ninput q[K], k[K], v[V], g[V]\nstate S[K, V]\ny = q · S\nS = sigmoid(g)*S + k*v\n"
               "output y\n",
    "selective": "axis D, N\ninput u[D], dt[D], B[N], C[N]\nparam A[D, N]\nstate h[D, N]\n"
                 "h = exp(-softplus(dt)*exp(A))*h + softplus(dt)*B*u\noutput y = C · h\n",
}  # fmt: skip
SIZES = {"D": 3, "H": 2, "K": 3, "V": 2, "N": 4}
PAIRS = [(name, form) for name, spec in SPECS.items() for form in legal_forms(spec) if form != "recurrent"]
LENGTHS = (0, 1, 2, 15, 16, 17, 63, 64, 65, 97, 129)


def case_of(name: str, sizes: dict[str, int] | None = None, batch: int = 2) -> Case:
    spec = SPECS[name]
    axes = {a.name for a in compiled(spec).graph.axes}
    states = tuple(r.name for r in compiled(spec).graph.registers)
    every = {**SIZES, **(sizes or {})}
    return Case(name, spec, (), sizes={a: every[a] for a in sorted(axes)}, state=states, batch=batch)


def run(case: Case, length: int, form: str, dtype: torch.dtype = torch.float64) -> tuple[Tensors, Tensors]:
    """Outputs and final states, then all gradients."""
    groups = [leaves(g, dtype) for g in arguments(case, length)]
    f = compiled(case.spec)
    result, state = f(**groups[0], **groups[1], state=groups[2], form=form, sizes=case.sizes, return_state=True)
    values = {**named(f.graph, result), **{k: v for k, v in state.items() if k != "t"}}
    assert state["t"] == length
    return values, gradients(loss(values), groups)


def agree(case: Case, length: int, form: str) -> None:
    wanted = run(case, length, "recurrent:0")
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 1e-4)):
        for part, (got, right) in enumerate(zip(run(case, length, form, dtype), wanted, strict=True)):
            same(got, right, tolerance, f"{case.name}, {form}, length {length}, {dtype}, part {part}")


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_lengths(name: str, form: str) -> None:
    """At chunks of 16, where every one of them is an edge, and at the form's own."""
    for length in LENGTHS:
        agree(case_of(name), length, f"{form}:16")
    for length in (0, 1, 65):
        agree(case_of(name), length, form)


@pytest.mark.parametrize("name", SPECS)
def test_recurrent_in_chunks(name: str) -> None:
    for length in (0, 1, 15, 16, 17, 65):
        agree(case_of(name), length, "recurrent:16")


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_nothing_in_the_batch(name: str, form: str) -> None:
    for length in (0, 1, 20):
        agree(case_of(name, batch=0), length, f"{form}:8")


WIDE = [
    *(("diagonal", {"D": d}) for d in (1, 7, 100, 257)),
    *(("fixed", {"D": d}) for d in (1, 100, 257)),
    *(("selective", {"D": d, "N": n}) for d, n in ((1, 1), (7, 3), (3, 16), (2, 100), (257, 1))),
    *((name, {"K": k, "V": v}) for name in ("heads", "rows") for k, v in ((1, 1), (1, 7), (16, 3), (100, 7), (3, 100))),
    ("heads", {"H": 1}),
    ("rows", {"H": 7, "K": 257}),
    ("diagonal", {"D": 0}),
    ("heads", {"K": 0}),
    ("rows", {"V": 0}),
]


@pytest.mark.parametrize(("name", "sizes"), WIDE)
def test_sizes(name: str, sizes: dict[str, int]) -> None:
    for form in legal_forms(SPECS[name]):
        agree(case_of(name, sizes), 19, f"{form}:16")


# -- layouts -------------------------------------------------------------------------------------------------------


def transposed(x: Tensor) -> Tensor:
    """Time and the last dimension swapped in memory."""
    return x.transpose(1, -1).contiguous().transpose(1, -1)


def sliced(x: Tensor) -> Tensor:
    """Every other element of a larger tensor, not from its start."""
    large = torch.full((*x.shape[:-1], 2 * x.shape[-1] + 3), torch.nan, dtype=x.dtype)
    large[..., 3::2] = x
    return large[..., 3::2]


def batch_last(x: Tensor) -> Tensor:
    return x.movedim(0, -1).contiguous().movedim(-1, 0)


def channels_last(x: Tensor) -> Tensor:
    """As a convolution leaves it, where there are four dimensions."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else transposed(x)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": transposed, "sliced": sliced, "batch last": batch_last, "channels last": channels_last,
}  # fmt: skip


@pytest.mark.parametrize(("name", "form"), [(n, f) for n in SPECS for f in legal_forms(SPECS[n])])
def test_layouts(name: str, form: str) -> None:
    """Inputs, initial states and the gradients that arrive: where their elements lie in memory changes nothing."""
    case, f = case_of(name), compiled(SPECS[name])
    groups = arguments(case, 19)

    def run(put: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensors:
        ours = [leaves(g, torch.float64) for g in groups]
        inputs, state = ({k: put(x) for k, x in g.items()} for g in (ours[0], ours[2]))
        y, after = f(**inputs, **ours[1], state=state, form=f"{form}:8", return_state=True)
        ends = [y, *(x for k, x in after.items() if k != "t")]
        weights = [back(torch.cos(torch.arange(x.numel(), dtype=x.dtype)).reshape(x.shape)) for x in ends]
        every = {k: x for g in ours for k, x in g.items()}
        found = torch.autograd.grad(ends, list(every.values()), weights)
        return {"y": y, **{f"d {k}": g for k, g in zip(every, found, strict=True)}}

    wanted = run(lambda x: x, lambda x: x)
    for what, put in LAYOUTS.items():
        same(run(put, lambda x: x), wanted, 1e-12, f"{name}, {form}, {what}")
        same(run(lambda x: x, put), wanted, 1e-12, f"{name}, {form}, gradients {what}")


@pytest.mark.parametrize(("name", "form"), [(n, f) for n in SPECS for f in legal_forms(SPECS[n])])
def test_expanded(name: str, form: str) -> None:
    """Stride 0 over the batch, over time, in the gradient of a plain sum; what is shared gets the sum of gradients."""
    case, f = case_of(name), compiled(SPECS[name])
    inputs, params, _ = arguments(case, 19)
    for dim in (0, 1):
        small = leaves({k: x.narrow(dim, 0, 1) for k, x in inputs.items()}, torch.float64)
        large = leaves({k: x.expand(inputs[k].shape) for k, x in small.items()}, torch.float64)
        y = f(**{k: x.expand(inputs[k].shape) for k, x in small.items()}, **params, form=f"{form}:8")
        z = f(**large, **params, form=f"{form}:8")
        same({"y": y}, {"y": z}, 1e-12, f"{name}, {form}")
        shared, apart = gradients(y.sum(), [small]), gradients(z.sum(), [large])
        same(shared, {k: g.sum(dim, keepdim=True) for k, g in apart.items()}, 1e-11, f"{name}, {form}")


def test_arguments_are_not_written_to() -> None:
    for name, spec in SPECS.items():
        for form in legal_forms(spec):
            inputs, params, states = arguments(case_of(name), 19)
            groups = (inputs, params, states)
            before = [{k: x.clone() for k, x in g.items()} for g in groups]
            compiled(spec)(**inputs, **params, state=states, form=form)
            assert all(torch.equal(x, b[k]) for g, b in zip(groups, before, strict=True) for k, x in g.items())


LONG = {
    "rows": "axis K, V\ninput q[K], k[K], v[V], g[K]\nstate S[K, V]\nS = exp(-0.001*softplus(g))*S + k*v\n"
    "output y = q · S\n",
    "fixed": "axis K\ninput k[K]\nparam a[K]\nstate S[K]\nS = a*S + k\noutput y = S\n",
}


@pytest.mark.parametrize("name", LONG)
def test_long_memories_in_single_precision(name: str) -> None:
    """A thousand steps remembered over two thousand: sums of logarithms and powers keep their digits."""
    spec, params = LONG[name], {"a": [0.999, 0.9997, -0.999]} if name == "fixed" else {}
    case = Case(name, spec, (), lambda *_: params, {"K": 3, "V": 2} if name == "rows" else {"K": 3}, state=("S",))
    wanted = run(case, 2048, "scan:128")
    for form in legal_forms(spec):
        for got, right in zip(run(case, 2048, form, torch.float32), wanted, strict=True):
            same(got, right, 2e-5, f"{name}, {form}")
