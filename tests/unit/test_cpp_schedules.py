"""Schedules that are asked for: the results stay what they are, and what cannot be had is told."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ssmc.backends.cpp import constants, toolchain
from ssmc.backends.cpp.wishes import Legal, Part, Wish, Wishes, wishes_of
from torch import Tensor

import ssmc
from ssmc.diagnostics import SpecError
from ssmc.runtime.accounts import Told
from ssmc.step.sizes import solve_sizes

pytestmark = pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")

# a matrix state that is read along one axis, a vector state, a sum that ends; a state in each direction
MATRIX = """ssm matrix
axis   H, K, V
input  q[H, K], k[H, K], v[H, V], g[H, K]
param  scale[H, V]
state  S[H, K, V] = 0, z[H, K] = 0
S = exp(-abs(g))*S + k*v
z = 0.5*z + k
output y[H, V] = sum[K](q*S)*scale + sum[K](z)
"""
MIXED = """ssm mixed
axis   D, E
input  x[D], u[E]
param  w[D, E]
state  h[D] = 0, r[E] = 0
h = tanh(dot(w, r)) + 0.5*h + x
r = 0.9*r + u
output y[D] = h, e[E] = r * prev(u)
"""
REVERSE = """ssm back
axis   D, N
input  x[D], b[N]
state  h[D, N] = 0, s[D] = 0 reverse
h = 0.9*h + x*b
s = 0.5*s + x
output y[D] = sum[N](h*b) + s
"""
WIDE = """ssm wide
axis   H, K, V
input  q[H, K], k[H, K], v[H, V], g[H, K]
state  S[H, K, V] = 0
S = exp(-abs(g))*S + k*v
output y[H, V] = sum[K](q*S)
"""
SIZES = {
    "matrix": {"H": 3, "K": 7, "V": 33},
    "mixed": {"D": 17, "E": 5},
    "back": {"D": 18, "N": 3},
}
SPECS = {"matrix": MATRIX, "mixed": MIXED, "back": REVERSE}


def told(spec: ssmc.Compiled, sizes: Mapping[str, int]) -> Told:
    """What `explain` says of the schedules of a spec in C++."""
    from ssmc.plan.explain import Request

    plan = spec.plan(sizes, 2, 40, target="cpp")
    from ssmc.runtime.schedules import machine_here

    found = spec._schedules(plan, Request(dict(sizes), 2, 40), machine_here())
    assert found is not None
    return found


def given(spec: ssmc.Compiled, sizes: Mapping[str, int], length: int = 37) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    full = solve_sizes(spec.graph, {}, dict(sizes), partial=True)
    made = {p.name: torch.randn(2, length, *(full[a] for a in p.axes), generator=g) for p in spec.graph.inputs}
    return made | {p.name: torch.randn([full[a] for a in p.axes], generator=g) for p in spec.graph.params}


def results(spec: ssmc.Compiled, arguments: Mapping[str, Tensor], backend: str) -> list[Tensor]:
    """Outputs, and the gradients of all arguments."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in arguments.items()}
    outputs = spec(**leaves, backend=backend)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    weights = [torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape) for y in outputs]
    sum((y * w).sum() for y, w in zip(outputs, weights, strict=True)).backward()
    return [*outputs, *(x.grad for x in leaves.values() if x.grad is not None)]


def legal(spec: ssmc.Compiled, sizes: Mapping[str, int]) -> Iterator[tuple[str, Legal]]:
    for role, a in told(spec, sizes).passes:
        if a.legal is not None:
            yield f"{role}.{a.number}", a.legal


@pytest.mark.parametrize("name", SPECS)
def test_every_legal_schedule_computes_the_same(name: str) -> None:
    """Each axis as lanes, each shared alone and with all others, blocks of any width, chunks of any length."""
    spec, sizes = ssmc.compile(SPECS[name]), SIZES[name]
    arguments = given(spec, sizes)
    truth = results(spec, arguments, "torch")
    options: dict[str, list[Any]] = {"chunk": [5, 1, 100]}
    for where, can in legal(spec, sizes):
        grids = [[], list(can.shared), *([a] for a in can.shared)]
        pairs = itertools.product((*can.lanes, "none"), grids)
        options[where] = [{"lane": lane, "grid": grid, "vectors": 1 + i % 3} for i, (lane, grid) in enumerate(pairs)]
    assert len(options) > 2
    # of all passes at once: a compiler run for each would take minutes
    for i in range(max(map(len, options.values()))):
        together = {where: each[i % len(each)] for where, each in options.items()}
        for got, want in zip(results(spec.scheduled(together), arguments, "cpp"), truth, strict=True):
            torch.testing.assert_close(got, want, rtol=2e-4, atol=2e-4, msg=lambda m, t=together: f"{t}: {m}")


def test_what_is_asked_is_what_is_told() -> None:
    asked = {"lane": "K", "grid": ["H"], "chunk": 16, "backward": {"lane": "V", "grid": []}}
    found = told(ssmc.compile(MATRIX, schedule=asked), SIZES["matrix"])
    for role, a in found.passes:
        assert a.lane == ("K" if role == "forward" else "V")
        assert a.grid == (("H",) if role == "forward" else ())
        assert a.chunk == 16
    assert found.why == "asked for"
    assert {"lanes", "threads", "registers", "loops"} <= found.json()["passes"][0].keys()


def test_one_pass_is_asked_for_alone() -> None:
    plain, one = (told(ssmc.compile(REVERSE, schedule=s), SIZES["back"]) for s in (None, {"forward.1": {"lane": "N"}}))
    changed = [f"{role}.{a.number}" for (role, a), (_, b) in zip(one.passes, plain.passes, strict=True) if a != b]
    assert changed == ["forward.1"]


def test_tiles_follow_the_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with other caches has other tiles; the results are the same."""
    spec, sizes = ssmc.compile(WIDE), {"H": 2, "K": 40, "V": 70}
    arguments = given(spec, sizes)
    found = []
    for i, (first, second) in enumerate(((1 << 12, 1 << 14), (1 << 15, 1 << 20), (1 << 17, 1 << 22))):
        monkeypatch.setenv("SSMC_DATA_DIR", str(tmp_path / str(i)))
        caches = (constants.Cache(first, 1e11), constants.Cache(second, 1e11))
        measured = "2026-01-02T03:04:05+00:00"
        constants.keep(replace(constants.defaults(), caches=caches, processor="any", measured=measured))
        fresh = ssmc.compile(WIDE)
        found.append([math.prod(s for _, s in t) for _, a in told(fresh, sizes).passes for t in a.tiles])
        for got, want in zip(results(fresh, arguments, "cpp"), results(spec, arguments, "torch"), strict=True):
            torch.testing.assert_close(got, want, rtol=2e-4, atol=2e-4)
    small, usual, _ = found
    assert small
    assert sum(small) < sum(usual)


def test_the_rules_are_the_default() -> None:
    sizes = SIZES["matrix"]
    assert told(ssmc.compile(MATRIX, schedule="rules"), sizes).passes == told(ssmc.compile(MATRIX), sizes).passes


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        ({"lane": "Q"}, "E768", "the axis `Q` cannot be lanes: `matrix` has no such axis"),
        ({"grid": ["K"]}, "E768", "the axis `K` cannot be threads: a step needs what other indices of it have"),
        ({"forward": {"grid": ["H", "K"]}}, "E768", "`K` cannot be threads"),
        ({"forward.9": {"lane": "V"}}, "E767", "names the pass 9 of `matrix`; the passes with a recurrence are"),
        ({"backward.1": {"lane": "Q"}}, "E768", "cannot be lanes"),
    ],
)
def test_what_cannot_be_had_is_refused(asked: Any, code: str, says: str) -> None:
    with pytest.raises(SpecError) as wrong:
        told(ssmc.compile(MATRIX, schedule=asked), SIZES["matrix"])
    assert wrong.value.diagnostics[0].code == code
    assert says in str(wrong.value)


def test_a_call_refuses_what_explain_refuses() -> None:
    spec = ssmc.compile(MATRIX, schedule={"grid": ["K"]})
    with pytest.raises(SpecError, match="E768") as wrong:
        spec(**given(spec, SIZES["matrix"]), backend="cpp")
    assert "what can: `H` and `V`" in str(wrong.value)
    assert wrong.value.diagnostics[0].primary is not None


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("quick", "is a dictionary"),
        ([("lane", "N")], "is a dictionary"),
        ({"lanes": "N"}, "has no `lanes`"),
        ({"lane": 3}, "gives the lane 3"),
        ({"grid": 3}, "gives the grid 3"),
        ({"grid": [3]}, "gives the grid [3]"),
        ({"vectors": 0}, "gives `vectors` 0"),
        ({"vectors": True}, "gives `vectors` True"),
        ({"steps": 1000}, "gives `steps` 1000; it is an integer from 1 to 64"),
        ({"chunk": "8"}, "gives `chunk` '8'"),
        ({"backward": {"chunk": 8}}, "one `chunk` for the forward and its backward"),
        ({"backward": "N"}, "gives `backward` 'N'"),
        ({"forward.0": {}}, "has no `forward.0`"),
        ({3: 4}, "has no `3`"),
    ],
)
def test_what_is_no_schedule_is_told(asked: Any, says: str) -> None:
    with pytest.raises(SpecError, match="E767") as wrong:
        ssmc.compile(MATRIX, schedule=asked)
    assert says in str(wrong.value)


def test_wishes_are_read_and_told() -> None:
    asked = {"lane": "N", "chunk": 32, "backward": {"grid": ["D"]}, "forward.2": {"vectors": 3}}
    found = wishes_of(asked)
    assert found.told() == asked
    assert wishes_of(found.told()) == found
    assert found == Wishes(
        (Part(("forward", "backward"), 0, Wish("N")), Part(("backward",), 0, Wish(grid=("D",))),
         Part(("forward",), 2, Wish(vectors=3))), 32,
    )  # fmt: skip
    assert found.of("forward").for_pass(2) == Wish("N", vectors=3)
    assert found.of("backward").for_pass(2) == Wish("N", grid=("D",))
    assert found.of(None).for_pass(1) == Wish()
    assert not wishes_of({})
    assert wishes_of({"forward": {"chunk": 8}}).chunk == 8


def test_a_compiled_spec_keeps_its_schedule() -> None:
    spec = ssmc.compile(MATRIX, schedule={"lane": "K"})
    assert pickle.loads(pickle.dumps(spec)).schedule == spec.schedule
    assert spec.key != ssmc.compile(MATRIX).key
    assert spec.scheduled(None).key == ssmc.compile(MATRIX).key


def test_pytorch_runs_a_spec_whatever_its_schedule() -> None:
    spec = ssmc.compile(MATRIX, schedule={"lane": "K", "chunk": 3})
    arguments = given(spec, SIZES["matrix"])
    torch.testing.assert_close(spec(**arguments, backend="torch"), ssmc.compile(MATRIX)(**arguments, backend="torch"))
