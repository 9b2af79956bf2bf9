"""Language reference, "Time": a case a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ssmc
from tests.language.support import Case, agrees, cases, compiled, refused, run, sigmoid
from tests.language.time_loops import (
    delayed,
    delta_rule,
    ema,
    rwkv,
)

REDUCED = """
p = past[T](x)
output a = sum[T](p), b = mean[T](p), c = max[T](p), d = min[T](p), e = prod[T](p), f = logsumexp[T](p), g = norm[T](p),
  h = sum[T](softmax[T](p)*p), i bool = any[T](p > 0), j bool = all[T](p > 0)
"""


MATRIX = "axis N\ninput b[N]\nparam A[N, N]\nstate h[N]\nh' = A @ h + b using {}\noutput y = h"
DIAGONAL = "axis N\ninput u, dt\nparam lam[N]\nstate h[N]\nh' = lam*h + u using {}\noutput y = h"
SHAPES = {"inputs": {"b": (3,)}, "params": {"A": (3, 3)}, "state": {"h": (3,)}}
SINGULAR = {"inputs": {"b": (3,)}, "params": {"A": np.diag([1.0, 1.0], 1)}, "state": {"h": (3,)}}
LAM = {"inputs": {"u": (), "dt": ()}, "params": {"lam": np.array([-1.0, 0.5, -2.0])}}
LAM_ZERO = {"inputs": {"u": (), "dt": ()}, "params": {"lam": np.array([0.0, -0.5, 0.0])}}

TABLE = {
    # -- states
    "before_and_after": Case(
        "A state read before its assignment is the previous step's value; after it, the new one",
        "input x\nstate h = 1\na = h\nh = 0.5*h + x\noutput y = a + 10*h",
        lambda a: (lambda h: delayed(h, 1, 1.0) + 10 * h)(ema(a, 0.5, 1.0)),
        {"x": ()},
    ),
    "rwkv_order": Case(
        "`y = r · (S + b*k*v); S = w*S + k*v` is RWKV's order",
        "axis K, V\ninput r[K], k[K], v[V]\nparam w[K], b[K]\nstate S[K, V]\n"
        "y = r · (S + b*k*v); S = w*S + k*v\noutput y",
        rwkv,
        {"r": (3,), "k": (3,), "v": (2,)},
        {"w": np.array([0.9, -0.5, 0.2]), "b": (3,)},
    ),
    "value_lacks_axes": Case(
        "its value may lack axes of the state (it is broadcast)",
        "axis D, N\ninput x[D]\nparam c[N]\nstate h[D, N]\ny = sum[N](c*h)\nh = x\noutput y",
        lambda a: delayed(a.x * a.c.sum()),
        {"x": (2,)},
        {"c": (3,)},
    ),
    "decay_first": Case(
        "To apply a decay first, name it: `D = exp(g)*S`, then `S = D - b*k*(k · D) + b*k*v`",
        "axis K, V\ninput q[K], k[K], v[V], g, b\nstate S[K, V]\nD = exp(g)*S\nS = D - b*k*(k · D) + b*k*v\n"
        "output y = q · S",
        delta_rule,
        {"q": (3,), "k": (3,), "v": (2,), "g": (), "b": ()},
    ),
    "two_states_exchange": Case(
        "Statements run top to bottom",
        "input x\nstate p, q = 1\np = 0.5*q + x\nq = 0.3*p - q\noutput y = p + 10*q",
        lambda a: run(
            a.L,
            lambda t, s: ((p := 0.5 * s[1] + a.x[t], q := 0.3 * p - s[1]), p + 10 * q),
            (0.0, 1.0),
        ),
        {"x": ()},
    ),
    "reset": Case(
        "`where` resets a state",
        "axis D\ninput x[D], m bool\nstate h[D] = 2\nh = where(m, x, 0.9*h + x)\noutput y = h",
        lambda a: run(a.L, lambda t, h: ((n := a.x[t] if a.m[t] else 0.9 * h + a.x[t]), n), np.full(2, 2.0)),
        {"x": (2,), "m": ()},
    ),
    "int_and_bool_states": Case(
        "KIND is `bool` or `int`",
        "input m bool, i int\nstate n int = 5, seen bool, top int = -100\nn = n + where(m, i, 1)\nseen = seen or m\n"
        "top = max(top, i)\noutput a int = n, b bool = seen, c int = top, d = n/4",
        lambda a: (
            (n := 5 + np.cumsum(np.where(a.m, a.i, 1))),
            np.logical_or.accumulate(a.m),
            np.maximum.accumulate(a.i),
            n / 4,
        ),
        {"m": (), "i": ()},
        tolerance=1e-6,
    ),
    "state_of_max": Case(
        "a state of any function",
        "axis D\ninput x[D], u[D]\nstate m[D] = -inf, s[D]\nm = max(0.9*m, x)\ns = logaddexp(s - 0.5, u)\n"
        "output a = m, b = s",
        lambda a: (
            run(a.L, lambda t, m: ((n := np.maximum(0.9 * m, a.x[t])), n), np.full(2, -np.inf)),
            run(a.L, lambda t, s: ((n := np.logaddexp(s - 0.5, a.u[t])), n), np.zeros(2)),
        ),
        {"x": (2,), "u": (2,)},
    ),
    "nonlinear": Case(
        "a state of any function",
        "axis D\ninput x[D]\nparam W[D, D]\nstate h[D]\nh = tanh(W @ h + x)\noutput y = h",
        lambda a: run(a.L, lambda t, h: ((n := np.tanh(a.W @ h + a.x[t])), n), np.zeros(3)),
        {"x": (3,)},
        {"W": (3, 3)},
    ),
    "complex_state": Case(
        "real with complex gives complex",
        "axis N\ninput u\nparam r[N], w[N], C[N] complex\nstate h[N] complex = 1j\nh = exp(-exp(r) + 1j*w)*h + u\n"
        "output y = 2*real(C · h), z complex = h",
        lambda a: (
            h := run(
                a.L,
                lambda t, h: ((n := np.exp(-np.exp(a.r) + 1j * a.w) * h + a.u[t]), n),
                np.full(3, 1j),
            ),
            2 * (h @ a.C).real,
        )[::-1],
        {"u": ()},
        {"r": (3,), "w": (3,), "C": (3,)},
    ),
    "initial_param": Case(
        "initial value `e`: a param",
        "axis D\ninput x[D]\nparam s[D], a[D]\nstate h[D] = s\nh = sigmoid(a)*h + x\noutput y = h",
        lambda a: run(a.L, lambda t, h: ((n := sigmoid(a.a) * h + a.x[t]), n), a.s),
        {"x": (2,)},
        {"s": (2,), "a": (2,)},
    ),
    "given_state": Case(
        "initial value `e` (default 0), or the caller's",
        "axis D\ninput x[D]\nstate h[D] = 7\nh = 0.5*h + x\noutput y = h",
        lambda a: ema(a, 0.5, a.h),
        {"x": (2,)},
        state={"h": (2,)},
    ),
    "unused_previous": Case(
        "a state whose update does not read it",
        "input x\nstate h = 3\nb = h\nh = x\noutput y = b",
        lambda a: delayed(a.x, 1, 3.0),
        {"x": ()},
    ),
    # -- prev and next
}


@cases(TABLE)
def test_agrees(case):
    agrees(case)


REFUSED = {
    "assigned_twice": ("input x\nstate h\nh = h + x\nh = 2*h\noutput y = h", "`h`"),
    "never_assigned": ("input x\nstate h\noutput y = h + x", "`h`"),
    "more_axes": ("axis D, N\ninput x[D, N]\nstate h[D]\nh = h + x\noutput y = h", "N"),
    "prev_of_no_steps": ("input x\noutput y = prev(x, 0)", "1"),
    "prev_of_a_name": ("input x\nparam k\noutput y = prev(x, k)", "literal"),
    "prev_of_half": ("input x\noutput y = prev(x, 1.5)", "1.5"),
    "next_cycle": ("input x\ny = x + 0.5*next(y) + prev(y)\noutput y", "y"),
    "directions": ("input x\nstate f, g reverse\nf = 0.5*f + g + x\ng = 0.5*g + f\noutput y = g", "`f`", "`g`"),
    "conv_weights_of_input": ("axis W\ninput x, w[W]\noutput y = conv(x, w)", "w"),
    "transfer_of_input": ("axis W\ninput x, a[W]\nparam b[W]\noutput y = transfer(b, a, x)", "a"),
    "not_affine": ("input x\nstate h\nh' = -h*h + x using zoh\noutput y = h", "h*h"),
    "held_name": ("input x\nstate h\na = -h\nh' = a + x using zoh\noutput y = h", "`a(x) = …`"),
    "step_mixed": (
        "axis N\ninput b[N]\nparam A[N, N], d[N]\nstate h[N]\nh' = A @ h + b using zoh(step = d)\noutput y = h",
        "N",
    ),
    "unknown_method": ("input x\nstate h\nh' = -h + x using rk4\noutput y = h", "rk4"),
    "unknown_option": ("input x\nstate h\nh' = -h + x using zoh(alpha = 1)\noutput y = h", "alpha"),
    "past_of_a_present_axis": ("axis T, D\ninput x[T]\noutput y = sum[T](past[T](x))", "T"),
    "cycle": ("input x\na = b + x\nb = a\noutput y = b", "`b`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    spec, *words = REFUSED[name]
    refused(spec, *words)


def test_final_state_of_a_reverse():
    """`state … reverse` ends with the first step."""
    f = compiled("input x\nstate h = 0 reverse\nh = 0.5*h + x\noutput y = h")
    x = torch.tensor([1.0, 2.0, 4.0])
    y, state = f(x, return_state=True)
    assert y.tolist() == [3, 4, 4]
    assert state["h"].item() == 3
    y, _ = f(x, state={"h": torch.tensor(8.0)}, return_state=True)
    assert y.tolist() == [4, 6, 8]


def test_step_of_a_reverse():
    """A spec with a reverse state or `next` has no `step`."""
    for text in ("state h reverse\nh = 0.5*h + x\noutput y = h", "output y = next(x)"):
        with pytest.raises(ssmc.SpecError, match="step"):
            compiled("input x\n" + text).step(None, torch.tensor(1.0))
