"""The forms of C++ that are no loop from the first step to the last, on small specs at sizes that are not round.

Outputs, the state after and every gradient are the oracle's, and the same bits for any number of threads.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ssmc.backends.cpp import toolchain
from ssmc.backends.cpp.module import CppModule

import ssmc
from ssmc.expr.arrays import TorchArrays
from ssmc.step.interp import run

pytestmark = pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")

BATCH = 2
FORWARD = {torch.float64: 1e-10, torch.float32: 2e-4}
GRADIENT = {torch.float64: 1e-8, torch.float32: 5e-3}

SPECS = {
    "decayed sums": """
        axis D, N
        input x[D], g[D]
        param A[D, N], c[N]
        state h[D, N] = 0.3
        h = exp(-softplus(g)*sigmoid(A))*h + x*c
        output y[D] = sum[N](h*c)
    """,
    "from the last step": """
        axis D
        input x[D], g[D]
        param p
        state h[D] = p reverse
        state f[D]
        h = sigmoid(g)*h + x
        f = 0.5*f + h*prev(h)
        output y[D] = h + f
    """,
    "the largest so far": """
        axis D
        input x[D], g[D]
        state m[D] = -inf
        m = max(m - softplus(g), x)
        output y[D] = exp(x - m)
    """,
    "in logarithms": """
        axis D
        input x[D], g[D]
        state l[D] = -inf
        l = logaddexp(l + logsigmoid(g), x)
        output y[D] = l
    """,
    "clamped": """
        axis D
        input x[D], g[D]
        state h[D]
        h = min(max(h + x, -1), 0.5)
        output y[D] = h*g
    """,
    "a gain": """
        axis D
        input x[D], g[D]
        state p[D] = 1
        p = (p + sigmoid(x)) / (p + 1 + sigmoid(g))
        output y[D] = p
    """,
    "reset": """
        axis D
        input x[D], g[D], go bool
        state h[D], n int
        n = where(go, 0, n + 1)
        h = where(go, x, sigmoid(g)*h + x)
        output y[D] = h + n
    """,
    "two that mix": """
        axis D, N
        input x[D], g[N]
        param A[N, N], b[N]
        state h[D, N], k[D, N]
        h = 0.3*tanh(A) @ h + 0.2*k + b*x
        k = 0.5*sigmoid(g)*k + 0.1*h
        output y[D] = sum[N](k*b)
    """,
    "complex": """
        axis D, N
        input x[D], o[N]
        param p[N], c[D, N] complex
        state h[D, N] complex
        h = exp(-softplus(p))*exp(1j*o)*h + x
        output y[D] = 2*real(sum[N](c*h))
    """,
    # gradients of params are sums over the steps of what the chunked form has the other way round
    "projections around": """
        axis K, V, D
        input x[D], v[V], q[K]
        param W[K, D], O[D, V], g
        state S[K, V]
        S = sigmoid(g)*S + (W @ x)*v
        output y[D] = O @ (q @ S)
    """,
    "one after the other": """
        axis D
        axis W = 3
        input x[D], g[D]
        param w[W], p[D]
        state a[D], h[D]
        a = sigmoid(g + p)*a + x
        h = 0.5*h + conv(a, w)*prev(g)
        output y[D] = h, z[D] = a
    """,
    "one of them no scan": """
        axis D
        input x[D], g[D]
        param p[D]
        state a[D], h[D]
        a = tanh(p*a + x)
        h = sigmoid(g)*h + a
        output y[D] = h*a
    """,
    "a matrix": """
        axis K, V
        input q[K], k[K], v[V], g
        state S[K, V]
        S = sigmoid(g)*S + k*v
        output y[V] = q · S
    """,
    # read before and after the update, by rows and by columns
    "decays of rows": """
        axis K, V
        input q[K], k[K], v[V], g[K], r[V]
        param p
        state S[K, V]
        before = q · S
        S = exp(-softplus(g))*S + k*v + p*q*r
        output y[V] = before + q · S
        output z[K] = S · r
    """,
    "decays of both": """
        axis H, K, V
        input q[K], k[H, K], v[H, V], g[K], f[V], a[H]
        state S[H, K, V] = 0.1
        S = exp(-softplus(g))*exp(-softplus(f))*sigmoid(a)*S + k*v
        output y[H, V] = sum[K](q*S)
    """,
    "lines beside matrices": """
        axis K, V
        axis W = 3
        input q[K], k[K], v[V], g, r[K]
        param w[W]
        state S[K, V] reverse
        state T[K, V]
        S = sigmoid(g)*S + conv(k, w)*v
        T = exp(-softplus(r))*T + k*next(v, 2)
        output y[V] = q · S + prev(q) · T
        output z[K] = sum[V](v*prev(T))
    """,
    "the same at every step": """
        axis D, N
        input u[D], r[N]
        param A[N], B[N], C[N], s
        state h[D, N] = 0.1
        state f[D] = s reverse
        h = exp(-softplus(A))*h + B*u + 0.2*r*tanh(u)
        f = sigmoid(s)*f + u
        output y[D] = C · h + f
        output z[D] = sum[N](C*prev(h)) * u
    """,
    "what is read has axes of its own": """
        axis D, N, K
        input u[D, N]
        param A[D, N], W[N, K], signal[K], part_key
        state h[D, N]
        h = sigmoid(A)*h + u
        output y[D, K] = sum[N](W*h) + signal*part_key
    """,
    "a matrix and its norm": """
        axis K, V
        input q[K], k[K], v[V], g
        state S[K, V]
        state n[K]
        S = sigmoid(g)*S + k*v
        n = sigmoid(g)*n + abs(k)
        output y[V] = (q · S) / (1 + abs(q · n))
    """,
}

SIZES = [{"D": 1, "N": 3, "K": 5, "V": 2}, {"D": 17, "N": 2, "K": 3, "V": 17}]
# a form with the length of its chunks, and lengths around that: less than one, one, several and a part
FORMS = {"scan:4": (1, 4, 11), "chunked:4": (1, 4, 11), "conv": (1, 11, 70)}


@pytest.fixture(autouse=True)
def _nothing_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: CppModule, other: Any) -> None:
        raise AssertionError("no C++ for this")

    monkeypatch.setattr(CppModule, "_leave_to", refused)


def _values(spec: Any, sizes: dict[str, int], dtype: torch.dtype, length: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(length)
    values = {}
    inputs = {p.name for p in spec.graph.inputs}
    for port in (*spec.graph.inputs, *spec.graph.params):
        shape = (*((BATCH, length) if port.name in inputs else ()), *(sizes[a.rstrip("'")] for a in port.axes))
        x = torch.as_tensor(rng.normal(size=shape))
        if port.kind == "complex":
            x = torch.complex(x, torch.as_tensor(rng.normal(size=shape)))
        values[port.name] = x > 1 if port.kind == "bool" else x.to(dtype.to_complex() if x.is_complex() else dtype)
    return values


def _leaves(values: dict[str, torch.Tensor], wide: bool) -> dict[str, torch.Tensor]:
    kinds = {torch.float32: torch.float64, torch.complex64: torch.complex128} if wide else {}
    made = {k: x.detach().clone().to(kinds.get(x.dtype, x.dtype)) for k, x in values.items()}
    return {k: x.requires_grad_(x.dtype != torch.bool) for k, x in made.items()}


def _number(values: dict[str, Any]) -> torch.Tensor:
    rng = np.random.default_rng(8)
    total = torch.zeros((), dtype=torch.float64)
    for k, x in values.items():
        if k != "t" and (x.is_floating_point() or x.is_complex()):
            weights = torch.as_tensor(rng.normal(size=x.shape))
            total = total + ((x.real + 0.3 * x.imag if x.is_complex() else x).double() * weights).sum()
    return total


def _gap(found: torch.Tensor, wanted: torch.Tensor) -> float:
    assert found.shape == wanted.shape
    a, b = (x.detach().to(torch.complex128) for x in (found, wanted))
    same = torch.isinf(b.real) & (a == b)
    return float(torch.where(same, 0, a - b).abs().max() / max(1.0, float(torch.where(same, 0, b).abs().max())))


def _run(spec: Any, given: dict[str, Any], form: str | None, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    result, state = spec(**given, backend="cpp", form=form, return_state=True, **options)
    names = [o.name for o in spec.graph.outputs]
    return dict(zip(names, [result] if len(names) == 1 else result, strict=True)), state


def _spec(name: str) -> Any:
    return ssmc.compile("ssm tried\n" + SPECS[name])


def _legal(name: str, form: str) -> bool:
    choices = _spec(name).plan(target="cpp").choices
    return any(f.legal for c in choices for f in c.forms if f.name == form.partition(":")[0])


CASES = [(name, form, sizes, dtype) for name in SPECS for form in FORMS if _legal(name, form)
         for sizes, dtype in zip(SIZES, (torch.float32, torch.float64), strict=True)]  # fmt: skip


def _id(value: Any) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value).removeprefix("torch.")


@pytest.mark.parametrize(("name", "form", "sizes", "dtype"), CASES, ids=_id)
def test_as_the_oracle(name: str, form: str, sizes: dict[str, int], dtype: torch.dtype) -> None:
    spec = _spec(name)
    every = {a.name: sizes.get(a.name, 3) for a in spec.graph.axes}
    given = {a: s for a, s in sizes.items() if a in every}
    inputs = {p.name for p in spec.graph.inputs}
    assert any(c.form == form.partition(":")[0] for c in spec.plan(given, form=form, target="cpp").choices)
    for length in FORMS[form]:
        values = _values(spec, every, dtype, length)
        ours, exact = _leaves(values, False), _leaves(values, True)
        found, state = _run(spec, ours, form, sizes=given)
        wanted, last = run(
            spec.graph, {k: x for k, x in exact.items() if k in inputs},
            {k: x for k, x in exact.items() if k not in inputs}, None, length, TorchArrays(), sizes=given,
        )  # fmt: skip
        for k, x in [*wanted.items(), *((k, x) for k, x in last.items() if k != "t")]:
            assert _gap(found[k] if k in wanted else state[k], x) < FORWARD[dtype], k
        _number({**state, **found}).backward()
        _number({**last, **wanted}).backward()
        for k, x in exact.items():
            if x.grad is not None:
                grad = ours[k].grad
                assert grad is not None, k
                assert _gap(grad, x.grad) < GRADIENT[dtype], f"gradient of {k}"


@pytest.mark.parametrize("name", ["decayed sums", "from the last step", "a gain", "one after the other"])
def test_in_pieces_and_packed(name: str) -> None:
    spec = _spec(name)
    sizes = {a.name: 3 for a in spec.graph.axes}
    values = _values(spec, sizes, torch.float64, 13)
    inputs = {p.name for p in spec.graph.inputs}
    if not any(r.reverse for r in spec.graph.registers):
        whole, last = _run(spec, values, "scan:4")
        first, state = _run(spec, {k: x[:, :6] if k in inputs else x for k, x in values.items()}, "scan:4")
        rest = {k: x[:, 6:] if k in inputs else x for k, x in values.items()}
        second, after = _run(spec, rest, "scan:4", state=state)
        for k, x in whole.items():
            torch.testing.assert_close(torch.cat([first[k], second[k]], 1), x)
        for k, x in last.items():
            torch.testing.assert_close(after[k], x)
    bounds = [0, 5, 5, 6, 13]
    row = {k: x[0] if k in inputs else x for k, x in values.items()}
    packed, _ = _run(spec, row, "scan:4", cu_seqlens=torch.tensor(bounds))
    for begin, end in itertools.pairwise(bounds):
        if begin < end:
            alone, _ = _run(spec, {k: x[begin:end] if k in inputs else x for k, x in row.items()}, "scan:4")
            for k, x in alone.items():
                torch.testing.assert_close(packed[k][begin:end], x)


@pytest.mark.parametrize("name", ["decayed sums", "from the last step", "complex"])
def test_the_number_of_threads_changes_no_bit(name: str) -> None:
    spec = _spec(name)
    values = _values(spec, {a.name: 5 for a in spec.graph.axes}, torch.float32, 203)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            ours = _leaves(values, False)
            found, _ = _run(spec, ours, "scan:16")
            _number(found).backward()
            results.append([*found.values(), *(x.grad for x in ours.values())])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


def test_chunks_are_shared_among_threads() -> None:
    from ssmc.backends.cpp.printer import print_program

    from ssmc.kernel.lower import lower

    plan = _spec("decayed sums").plan(form="scan", target="cpp")
    text = print_program(lower(plan), real="float", lanes=16).text
    # what a chunk does, and its steps; from chunk to chunk there is an order
    assert text.count("threads over batch, chunks") == 2
    assert text.count("for (i64 chunk = 0; chunk * 256 < length; chunk++)") == 1


@pytest.mark.parametrize(("batch", "cores", "segments"), [(1, 16, True), (1, 2, False), (64, 16, False)])
def test_segments_where_cores_are_idle(batch: int, cores: int, segments: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from ssmc.backends.cpp import constants

    found = replace(constants.defaults(), threads=cores)
    monkeypatch.setattr(constants, "constants", lambda: found)
    spec = _spec("decayed sums")
    plan = spec.plan({"D": 3, "N": 2}, batch, 1500, target="cpp")
    assert [c.segments for c in plan.choices] == [segments]
    if not segments:
        return
    assert "cores busy" in plan.choices[0].why
    values = _values(spec, {"D": 3, "N": 2}, torch.float64, 1500)
    made = []
    for form in (None, "recurrent"):
        ours = _leaves({k: x[:1] if x.ndim == 3 else x for k, x in values.items()}, False)
        found_, state = _run(spec, ours, form)
        _number({**found_, **state}).backward()
        made.append([*found_.values(), *(x.grad for x in ours.values())])
    assert any(not torch.equal(x, y) for x, y in zip(*made, strict=True))  # they are not the same program
    for x, y in zip(*made, strict=True):
        torch.testing.assert_close(x, y)


def test_who_asks_for_cpp_is_told_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    spec = ssmc.compile("ssm all\naxis T\ninput x\noutput y = sum[T](past[T](x))\n")
    with pytest.warns(UserWarning, match=r"E766.*cannot be written as C\+\+"):
        y = spec(x=torch.ones(1, 3), backend="cpp")
    assert y.tolist() == [[1, 2, 3]]
