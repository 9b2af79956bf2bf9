"""Calls again: the same bits each time, a bounded number of programs, nothing read from memory that nobody wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import ssmc
from tests.numerics.harness import Case, arguments, compiled, gradients, leaves, legal_forms, loss, named
from tests.numerics.test_shapes import SPECS as SHAPES
from tests.numerics.test_states import SPECS as STATES

SPECS = {
    **{name: (spec, {"D": 16, "H": 2, "K": 8, "V": 8, "N": 8}) for name, spec in SHAPES.items()},
    **{f"{name} state": (spec, {**sizes, "D": 16}) for name, (spec, sizes) in STATES.items()},
}
PAIRS = [(name, form) for name, (spec, _) in SPECS.items() for form in legal_forms(spec)]


def run(name: str, form: str, length: int = 70) -> list[torch.Tensor]:
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
    generate = ssmc.api.Compiled._generate

    def counted(self: Any, plan: Any) -> Any:
        made.append(1)
        return generate(self, plan)

    monkeypatch.setattr(ssmc.api.Compiled, "_generate", counted)
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
    generate = ssmc.api.Compiled._generate
    monkeypatch.setattr(ssmc.api.Compiled, "_generate", lambda self, plan: (made.append(1), generate(self, plan))[1])
    f = ssmc.compile("ssm s\naxis D\ninput x[D]\nstate h[D]\nh = 0.5*h + prev(x, 3)\noutput y = h\n")
    state = None
    for _ in range(50):
        _, state = f.step(state, x=torch.ones(2, 3))
    assert len(made) == 1
