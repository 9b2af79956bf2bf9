"""Language reference, "In Python": a case a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ssmc
from ssmc import Input, Param, State
from tests.language.support import Case, agrees, cases, run, softmax, softplus
from tests.language.time_loops import gbt1, zoh1

# mypy and ruff need not know the names of the language: the bodies are read, never run
# ruff: noqa: B007, F722, F821, F841, RET504, UP037


@ssmc.jit(axes="D N")
def mamba(
    u: Input["D"],
    dt: Input["D"],
    B: Input["N"],
    C: Input["N"],
    A_log: Param["D N"],
    skip: Param["D"],
    h: State["D N"] = 0,
):
    delta = softplus(dt)
    h = exp(-delta * exp(A_log)) * h + delta * B * u
    y = dot(C, h) + skip * u
    return y


@ssmc.jit(axes="D, N", each="D")
def kinds(
    x: Input["D"],
    m: Input["D", bool],
    n: Input["", int],
    w: Param["D N", complex] = 1j,
    h: State["D N", complex] = 0,
    g: State["D", "reverse"] = 2,
    k: State["D", int, "reverse"] = 0,
):
    h = 0.5 * h + w * x
    g = 0.5 * g + where(m, x, 0)
    k = k + n
    a = real(h)["N = 0"]
    return a, g, k


@ssmc.jit(axes=["D", "E"])
def covariance(x: Input["D"], a: Input, S: State["D E"]):
    S = a * S + x * x["D -> E"]
    return S


@ssmc.jit(axes="N")
def equation(u: Input, dt: Input, lam: Param["N"], h: State["N"]):
    der[h, zoh(step=dt * dt)] = lam * h + u
    return h


@ssmc.jit(axes="N")
def plain_method(u: Input, lam: Param["N"], h: State["N"]):
    """A docstring is no statement."""
    der[h, euler] = lam * h + u  # comments too
    return h


@ssmc.jit(axes="D")
def initial(x: Input["D"], omega: Param["D"], a: Param, v: State["D"]):
    init[v] = omega / (1 + exp(a))
    v = 0.5 * v + x
    return v


@ssmc.jit(axes="T K V")
def attention(q: Input["K"], k: Input["K"], v: Input["V"]):
    y = sum["T"](softmax["T"](dot(q, past["T"](k))) * past["T"](v))
    return y


@ssmc.jit(axes="N M", sizes={"N": 3})
def matrices(x: Input["N"], A: Param["N N"], W: Param["M N"]):
    y = A @ x + transpose(A) @ x
    z = W @ (2 * x)
    n = size["N"] * index["N"] + norm["N"](x)
    return y, z, n


@ssmc.jit(axes="D W")
def delays(x: Input["D"], w: Param["D W"]):
    b = prev(c, 2, 1.5) + next(x)
    c = conv(x, w)
    y = -(x**2) + (b * 2)
    return y


@ssmc.jit(axes="D W")
def filters(u: Input["D"], b: Param["D W"], a: Param["D W"]):
    def f(v):
        return v * t

    y = f(transfer(b, a, u))
    return y


@ssmc.jit(axes="N")
def methods(u: Input, h: State["N"] = 1, g: State = 0):
    der[h, gbt(alpha=0.3, step=0.1)] = -h * (index["N"] + 1) + u
    g = max(0.9 * g, u)
    return h, g


def second(x, k, init=0.0):
    return np.concatenate([np.full((k, *x.shape[1:]), init), x])[: len(x)]


def three_kinds(a):
    h = run(a.L, lambda t, h: ((n := 0.5 * h + 1j * a.x[t][:, None] * np.ones(4)), n[:, 0].real), np.zeros((3, 4)))
    g = run(a.L, lambda t, g: ((n := 0.5 * g + np.where(a.m[-1 - t], a.x[-1 - t], 0)), n), np.full(3, 2.0))[::-1]
    k = np.cumsum(a.n[::-1])[::-1]
    return h, g, np.repeat(k[:, None], 3, 1).astype(float)


def mamba_loop(a):
    def step(t, h):
        delta = softplus(a.dt[t])
        h = np.exp(-delta[:, None] * np.exp(a.A_log)) * h + np.outer(delta * a.u[t], a.B[t])
        return h, h @ a.C[t] + a.skip * a.u[t]

    return run(a.L, step, np.zeros((3, 2)))


def attend(a):
    return np.stack([softmax(a.k[: t + 1] @ a.q[t], 0) @ a.v[: t + 1] for t in range(a.L)])


def delayed(a):
    c = sum(a.w[:, j] * second(a.x, j) for j in range(2))
    after = np.concatenate([a.x[1:], np.zeros((1, 3))])[: a.L]
    return -(a.x**2) + 2 * (second(c, 2, 1.5) + after)


def filtered(a):
    y = np.zeros((a.L, 3))
    s = np.zeros((a.L + 2, 3))
    for t in range(a.L):
        s[t + 2] = a.u[t] - a.a[:, 0] * s[t + 1] - a.a[:, 1] * s[t]
        y[t] = (a.b[:, 0] * s[t + 2] + a.b[:, 1] * s[t + 1]) * (t + 1)
    return y


TABLE = {
    "mamba": (
        mamba,
        Case(
            "the example",
            "",
            mamba_loop,
            {"u": (3,), "dt": (3,), "B": (2,), "C": (2,)},
            {"A_log": (3, 2), "skip": (3,)},
        ),
    ),
    "kinds": (
        kinds,
        Case(
            'Kinds and directions: `State["D N", complex, "reverse"]`, `Input["D", bool]`',
            "",
            three_kinds,
            {"x": (3,), "m": (3,), "n": ()},
            sizes={"N": 4},
        ),
    ),
    "covariance": (
        covariance,
        Case(
            '`x["D -> E"]`',
            "",
            lambda a: run(a.L, lambda t, S: ((n := a.a[t] * S + np.outer(a.x[t], a.x[t])), n), np.zeros((3, 3))),
            {"x": (3,), "a": ()},
        ),
    ),
    "equation": (
        equation,
        Case(
            "`der[h, zoh(step=dt)] = …` for `h' = …`",
            "",
            lambda a: run(a.L, lambda t, h: ((n := zoh1(h, a.u[t], a.lam, a.dt[t] ** 2)), n), np.zeros(3)),
            {"u": (), "dt": ()},
            {"lam": np.array([-1.0, 0.5, -2.0])},
        ),
    ),
    "plain_method": (
        plain_method,
        Case(
            "`der[h, …] = …`: `step` defaults to 1",
            "",
            lambda a: run(a.L, lambda t, h: ((n := h + a.lam * h + a.u[t]), n), np.zeros(3)),
            {"u": ()},
            {"lam": np.array([-1.0, 0.5, -0.2])},
        ),
    ),
    "methods": (
        methods,
        Case(
            "`der[h, …] = …`",
            "",
            lambda a: (
                run(a.L, lambda t, h: ((n := gbt1(h, a.u[t], -np.arange(1.0, 4), 0.1, 0.3)), n), np.ones(3)),
                run(a.L, lambda t, g: ((n := max(0.9 * g, a.u[t])), n), 0.0),
            ),
            {"u": ()},
            sizes={"N": 3},
        ),
    ),
    "initial": (
        initial,
        Case(
            "`init[v] = …` in the body for an initial value that is an expression",
            "",
            lambda a: run(a.L, lambda t, v: ((n := 0.5 * v + a.x[t]), n), a.omega / (1 + np.exp(a.a))),
            {"x": (3,)},
            {"omega": (3,), "a": ()},
        ),
    ),
    "attention": (
        attention,
        Case('`sum["N"](e)`', "", attend, {"q": (3,), "k": (3,), "v": (2,)}),
    ),
    "matrices": (
        matrices,
        Case(
            "options of `jit`: `axes=`, `each=`, `sizes=`",
            "",
            lambda a: (
                a.x @ a.A.T + a.x @ a.A,
                2 * a.x @ a.W.T,
                3 * np.arange(3) + np.sqrt((a.x**2).sum(-1, keepdims=True)),
            ),
            {"x": (3,)},
            {"A": (3, 3), "W": (2, 3)},
        ),
    ),
    "delays": (delays, Case("the same language in Python's own syntax", "", delayed, {"x": (3,)}, {"w": (3, 2)})),
    "filters": (
        filters,
        Case(
            "the same language in Python's own syntax: a macro",
            "",
            filtered,
            {"u": (3,)},
            {"b": (3, 2), "a": np.array([[0.5, -0.2], [-0.3, 0.1], [0.0, 0.4]])},
        ),
    ),
}


@cases(TABLE)
def test_agrees(case):
    f, table = case
    agrees(table, f)


def test_wrapped():
    """`@ssmc.jit` gives a compiled spec that knows its function."""
    assert mamba.__name__ == "mamba"
    assert callable(mamba.__wrapped__)


def refused(define, *words):
    with pytest.raises(ssmc.SpecError) as caught:
        define()
    text = str(caught.value)
    assert "test_python.py" in text
    missing = [w for w in words if w not in text]
    assert not missing, f"{missing} not in:\n{text}"


def test_statement_outside():
    """The body is read, never run; anything outside the language is an error at that line of the user's file."""

    def define():
        @ssmc.jit(axes="D")
        def f(x: Input["D"]):
            for i in range(3):
                y = x
            return y

    refused(define, "for i in range(3):")


def test_if_outside():
    """Anything outside the language is an error at that line."""

    def define():
        @ssmc.jit(axes="D")
        def f(x: Input["D"]):
            if x > 0:
                y = x
            return y

    refused(define, "if x > 0:", "where")


def test_dot_identifier():
    """`C·h` is one identifier in Python: diagnosed."""

    def define():
        @ssmc.jit(axes="D N")
        def f(C: Input["N"], h: Input["N"]):
            y = C·h
            return y

    refused(define, "dot(C, h)")


def test_not_ambiguous():
    """`d*B@u` where both readings are one."""

    @ssmc.jit(axes="D M N")
    def f(d: Input["M"], B: Param["N D"], u: Input["D M"]):
        y = 2 / d * B @ u
        return y

    rng = np.random.default_rng(0)
    d, B, u = rng.normal(size=(4, 5)), rng.normal(size=(3, 2)), rng.normal(size=(4, 2, 5))
    np.testing.assert_allclose(f(d, u, B), np.einsum("tm,nd,tdm->tmn", 2 / d, B, u), atol=1e-12)


def test_ambiguous():
    """Python gives `@` and `*` equal precedence; `d*B@u` is one of the ambiguous forms, and an error in both."""

    def define():
        @ssmc.jit(axes="D N")
        def f(d: Input["D"], B: Param["N D"], u: Input["D"]):
            y = d * B @ u
            return y

    refused(define, "two readings")


def test_comparison_chained():
    """Comparisons are not chained in Python either."""

    def define():
        @ssmc.jit(axes="")
        def f(x: Input):
            y = where(0 < x < 1, x, 0)
            return y

    refused(define, "0 < x < 1")


def test_wrapped_output_names():
    """The outputs are the names returned."""

    @ssmc.jit(axes="")
    def f(x: Input):
        a = x
        b = 2 * x
        return b, a

    y = f(torch.ones(1))
    assert y._fields == ("b", "a")
    assert (y.b.item(), y.a.item()) == (2, 1)
