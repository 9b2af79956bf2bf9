"""Calls again: the same bits each time, a bounded number of programs, nothing read from memory that nobody wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import ssmc
from ssmc.runtime import generate
from tests.numerics.harness import Case, arguments, compiled, gradients, leaves, legal_forms, loss, named
from tests.numerics.test_shapes import SPECS as SHAPES
from tests.numerics.test_states import SPECS as STATES

SPECS = {
    **{name: (spec, {"D": 16, "H": 2, "K": 8, "V": 8, "N": 8}) for name, spec in SHAPES.items()},
    **{f"{name} state": (spec, {**sizes, "D": 16}) for name, (spec, sizes) in STATES.items()},
}
PAIRS = [(name, form) for name, (spec, _) in SPECS.items() for form in legal_forms(spec)]


def run(name: str, form: str, length: int = 40) -> list[torch.Tensor]:
    """Outputs, states and gradients in float32."""
    spec, sizes = SPECS[name]
    f = compiled(spec)
    axes = {a.name for a in f.graph.axes}
    case = Case(name, spec, (), sizes={a: s for a, s in sizes.items() if a in axes})
    groups = [leaves(g, torch.float32) for g in arguments(case, length)]
    result, state = f(**groups[0], **groups[1], form=form, return_state=True)
    values = {**named(f.graph, result), **{k: x for k, x in state.items() if k != "t"}}
    return [*values.values(), *gradients(loss(values), groups).values()]


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_the_same_bits(name: str, form: str) -> None:
    """Twice, and with one thread or two."""
    first = run(name, form)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 1):
            torch.set_num_threads(count)
            assert all(torch.equal(a, b) for a, b in zip(first, run(name, form), strict=True)), f"{count} threads"
    finally:
        torch.set_num_threads(threads)


@contextmanager
def spoiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory that torch does not promise to fill holds NaN, or the largest integer."""

    def filling(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def made(*args: Any, **options: Any) -> torch.Tensor:
            x = make(*args, **options)
            with torch.no_grad():
                if x.is_floating_point() or x.is_complex():
                    x.fill_(torch.nan)
                elif x.dtype != torch.bool:
                    x.fill_(torch.iinfo(x.dtype).max)
            return x

        return made

    with monkeypatch.context() as patch:
        for where, attribute in (
            (torch, "empty"), (torch, "empty_like"), (torch, "empty_strided"),
            (torch.Tensor, "new_empty"), (torch.Tensor, "new_empty_strided"),
        ):  # fmt: skip
            patch.setattr(where, attribute, filling(getattr(where, attribute)))
        # this one fills in C++ what the functions above are not asked for
        deterministic = torch.are_deterministic_algorithms_enabled()
        patch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_fresh_memory_is_not_zero(name: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [run(name, f"{form}:16", length) for length in (0, 1, 21)]
    with spoiled(monkeypatch):
        assert bool(torch.isnan(torch.empty(3)).all())
        for length, right in zip((0, 1, 21), wanted, strict=True):
            found = run(name, f"{form}:16", length)
            assert all(torch.equal(a, b) for a, b in zip(found, right, strict=True)), f"length {length}"


@pytest.mark.parametrize("name", ["diagonal", "fixed", "rows", "selective"])
def test_varying_lengths_compile_a_bounded_number_of_programs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the lengths grow, new programs stop coming: a request is rounded before it is planned for."""
    made: list[int] = []
    right = generate.generate

    def counted(plan: Any, name: str, *how: Any) -> Any:
        made.append(1)
        return right(plan, name, *how)

    monkeypatch.setattr(generate, "generate", counted)
    spec, sizes = SPECS[name]
    f = ssmc.compile("ssm s\n" + spec)
    axes = {a.name for a in f.graph.axes}
    case = Case(name, spec, (), sizes={a: 2 for a in sizes if a in axes}, batch=1)
    inputs, params, _ = arguments(case, 300)
    with torch.no_grad():
        for length in (*range(1, 40), *range(40, 300, 13)):
            for batch in (1, 3):
                f(**{k: x[:, :length].expand(batch, *x[:, :length].shape[1:]) for k, x in inputs.items()}, **params)
    # a form and a chunk for some powers of two up to 512: never one a length
    assert 1 <= len(made) <= 10
    before = len(made)
    for length in (7, 33, 300):
        f(**{k: x[:, :length] for k, x in inputs.items()}, **params)
    assert len(made) == before
    ssmc.compile("ssm s\n" + spec)(**inputs, **params, form="recurrent:16")
    once = len(made) - before
    for length in range(1, 300, 7):
        f(**{k: x[:, :length] for k, x in inputs.items()}, **params, form="recurrent:16")
    assert len(made) - before - once <= 1


def test_steps_compile_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    right = generate.generate
    monkeypatch.setattr(generate, "generate", lambda plan, *rest: (made.append(1), right(plan, *rest))[1])
    f = ssmc.compile("ssm s\naxis D\ninput x[D]\nstate h[D]\nh = 0.5*h + prev(x, 3)\noutput y = h\n")
    state = None
    for _ in range(50):
        _, state = f.step(state, x=torch.ones(2, 3))
    assert len(made) == 1


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_states_own_their_memory(name: str, form: str) -> None:
    """No state keeps a trajectory or an input alive, at the end of a call or between the chunks of a backward."""
    spec, sizes = SPECS[name]
    f = compiled(spec)
    axes = {a.name for a in f.graph.axes}
    case = Case(name, spec, (), sizes={a: s for a, s in sizes.items() if a in axes})
    inputs, params, _ = arguments(case, 40)
    _, state = f(**inputs, **params, form=f"{form}:8", return_state=True)
    _, after = f.step(state, **{k: x[:, 7] for k, x in inputs.items()}, **params)
    theirs = {x.untyped_storage().data_ptr() for x in inputs.values()}
    for entries in (state, after):
        for entry, x in entries.items():
            if torch.is_tensor(x):
                assert x.untyped_storage().nbytes() <= 2 * x.numel() * x.element_size(), entry
                assert x.untyped_storage().data_ptr() not in theirs, entry


@pytest.mark.parametrize("form", ["recurrent", "scan"])
def test_only_the_arguments_are_kept(form: str) -> None:
    """What lies between forward and backward: the arguments and the first state, and nothing of any step."""
    spec = "axis D, N\ninput x[D], g[D], B[N]\nstate h[D, N]\nh = sigmoid(g)*h + B*x\noutput y = sum[N](h)\n"
    f = compiled(spec)
    length, chunk, d, n = 256, 32, 8, 64
    given = [torch.randn(1, length, k, requires_grad=True) for k in (d, d, n)]
    kept: dict[int, int] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = f(*given, form=f"{form}:{chunk}")
    state = 4 * d * n
    assert given[0].untyped_storage().data_ptr() in kept
    assert sum(kept.values()) <= sum(x.untyped_storage().nbytes() for x in given) + state * (1 + length // chunk)
    y.sum().backward()


def test_a_buffer_that_is_used_again_does_not_change_the_state() -> None:
    """A server writes each token into the same memory."""
    f = compiled("axis D\ninput x[D]\nstate h[D], c[D]\ny = h + c\nh = x\nc = 0.5*c + prev(x, 2)\noutput y\n")
    tokens = torch.randn(6, 1, 3)
    buffer = torch.empty(1, 3)
    found, wanted = [], f(x=tokens.movedim(0, 1))
    state = None
    for token in tokens:
        buffer.copy_(token)
        y, state = f.step(state, x=buffer)
        found.append(y.clone())
    torch.testing.assert_close(torch.stack(found, 1), wanted)


DEFAULTS = "axis D\ninput x[D]\nparam a[D] = 1/(2 + index[D])\nstate h[D]\nh = a*h + x\noutput y = h\n"


def _exported(f: Any, x: torch.Tensor) -> Any:
    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return f(x=x)

    return torch.export.export(Model(), (x,), strict=False)


AROUND: dict[str, Callable[[Any, torch.Tensor], Any]] = {
    "inference": lambda f, x: torch.inference_mode()(f)(x=x),
    "export": _exported,
    "vmap": lambda f, x: torch.func.vmap(lambda x: f(x=x))(x.unsqueeze(0)),
    "grad": lambda f, x: torch.func.grad(lambda x: f(x=x).sum())(x),
    "jvp": lambda f, x: torch.func.jvp(lambda x: f(x=x), (x,), (x,)),
}


@pytest.mark.parametrize("around", AROUND)
def test_what_a_call_keeps_is_good_for_every_other(around: str) -> None:
    """Defaults are made once; made inside a transform, or in inference mode, they must not stay what they are there."""
    x = torch.randn(1, 5, 3)
    f, fresh = (ssmc.compile("ssm s\n" + DEFAULTS) for _ in range(2))
    AROUND[around](f, x)
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    ys = [g(x=leaf, form="recurrent") for g, leaf in zip((f, fresh), leaves, strict=True)]
    assert torch.equal(*ys)
    assert torch.equal(*(torch.autograd.grad(y.sum(), leaf)[0] for y, leaf in zip(ys, leaves, strict=True)))


def test_inference_mode() -> None:
    spec, _ = STATES["convolved"]
    f = compiled(spec)
    case = Case("convolved", spec, (), sizes={"D": 3, "W": 4})
    inputs, params, _ = arguments(case, 9)
    wanted = f(**inputs, **params)
    with torch.inference_mode():
        y, state = f(**{k: x[:, :8] for k, x in inputs.items()}, **params, return_state=True)
        last, _ = f.step(state, **{k: x[:, 8] for k, x in inputs.items()}, **params)
    torch.testing.assert_close(torch.cat([y, last.unsqueeze(1)], 1), wanted)


def test_threads_share_a_spec() -> None:
    """Calls of different lengths and forms at the same time, on a spec that has generated nothing yet."""
    f = ssmc.compile("ssm s\n" + SPECS["rows"][0])
    case = Case("rows", SPECS["rows"][0], (), sizes={"H": 2, "K": 3, "V": 2})
    inputs, _, _ = arguments(case, 64)
    forms = legal_forms(case.spec)
    work = [(length, form) for length in (1, 5, 17, 40, 64) for form in forms] * 4

    def call(item: tuple[int, str]) -> torch.Tensor:
        length, form = item
        result: torch.Tensor = f(**{k: x[:, :length] for k, x in inputs.items()}, form=form)
        return result

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(call, work))
    for item, y in zip(work, found, strict=True):
        assert torch.equal(y, call(item))
