"""Language reference, "Time": prev, next, conv, transfer, past and equations; a case a sentence."""

from __future__ import annotations

import numpy as np
from scipy import signal

from tests.language.support import Case, agrees, cases, run, sigmoid
from tests.language.time_loops import (
    ahead,
    attention,
    delayed,
    delayed_by_init,
    delayed_state,
    diagonal,
    ema,
    filtered,
    forward_of_reverse,
    gbt,
    gbt1,
    heads,
    legs,
    matrix_method,
    own_past,
    recursive,
    recursive_forward,
    reverse_of_forward,
    whole,
    windowed,
    zoh,
    zoh1,
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
    "prev": Case(
        "`prev(e)`, `prev(e, k)`, `prev(e, k, init)`; for anything else it is `init`, default 0",
        "axis D\ninput x[D], u\noutput a = prev(x), b = prev(x*u, 2), c = prev(x + u, 3, -1.5), d = prev(u, 9)",
        lambda a: (
            delayed(a.x),
            delayed(a.x * a.u[:, None], 2),
            delayed(a.x + a.u[:, None], 3, -1.5),
            0 * a.u,
        ),
        {"x": (2,), "u": ()},
    ),
    "prev_init_of_params": Case(
        "`init` is an expression of params",
        "axis D\ninput x[D]\nparam p[D]\noutput a = prev(x, 2, exp(p)), b = prev(sum[D](x), 1, sum[D](p))",
        lambda a: (delayed(a.x, 2, np.exp(a.p)), delayed(a.x.sum(-1), 1, a.p.sum())),
        {"x": (2,)},
        {"p": (2,)},
    ),
    "prev_of_a_state": Case(
        "so `prev(h)` of a state is the value the step began with, and its initial value before the start",
        "input x\nstate h\nh = 0.5*h + x\noutput y = prev(h) + 10*prev(h, 2) + 100*prev(h, 3)",
        delayed_state,
        {"x": ()},
        state={"h": ()},
    ),
    "prev_of_a_state_with_init": Case(
        "its initial value before the start",
        "input x\nparam p\nstate h = 2*p\ny = prev(h) + 10*prev(h, 2)\nh = 0.5*h + x\noutput y",
        delayed_by_init,
        {"x": ()},
        {"p": ()},
    ),
    "prev_wherever": Case(
        "inside it every name stands for its final value at that earlier step, wherever `prev` is written",
        "input x\nstate h\na = prev(h*x)\nh = 0.5*h + x\nb = prev(h*x)\noutput y = a + 10*b",
        lambda a: 11 * delayed(ema(a) * a.x),
        {"x": ()},
    ),
    "prev_of_prev": Case(
        "prev(prev(x)) is prev(x, 2)",
        "input x\noutput y = prev(prev(x)) + prev(x + prev(x, 2, 5), 1, 7)",
        lambda a: delayed(a.x, 2) + delayed(a.x + delayed(a.x, 2, 5), 1, 7),
        {"x": ()},
    ),
    "recursive_filter": Case(
        "`prev(y)` of a name assigned further down is legal: a recursive filter",
        "input x\ny = x + 0.5*prev(y) - 0.25*prev(y, 2)\noutput y",
        recursive,
        {"x": ()},
    ),
    "recursive_through_a_later_name": Case(
        "`prev(y)` of a name assigned further down is legal",
        "input x\nb = x + 0.5*prev(c, 1, 1.5)\nc = 2*tanh(b)\noutput y = b + c",
        recursive_forward,
        {"x": ()},
    ),
    "prev_of_an_output": Case(
        "`prev(y)` of a name assigned further down",
        "input x\noutput y = x - prev(y)*0.5",
        lambda a: run(a.L, lambda t, y: ((n := a.x[t] - 0.5 * y), n), 0.0),
        {"x": ()},
    ),
    "prev_of_bool_and_int": Case(
        "default 0, before the start",
        "input m bool, i int\noutput a bool = prev(m), b int = prev(i, 2), c bool = prev(m, 1, true)",
        lambda a: (delayed(a.m, 1, False), delayed(a.i, 2, 0), delayed(a.m, 1, True)),
        {"m": (), "i": ()},
    ),
    "prev_of_complex": Case(
        "prev of a complex value",
        "input z complex\noutput y complex = prev(z, 2, 1j)",
        lambda a: delayed(a.z, 2, 1j),
        {"z": ()},
    ),
    "prev_in_a_macro": Case(
        "prev in a macro, of a state and of a formal",
        "input x\nf(v) = v + prev(v)\nstate h\nh = 0.5*h + x\noutput y = f(h) + f(x)",
        lambda a: (lambda h: h + delayed(h) + a.x + delayed(a.x))(ema(a)),
        {"x": ()},
    ),
    "token_shift": Case(
        "prev of an input inside a recurrence",
        "axis D\ninput x[D]\nparam mu[D]\nstate h[D]\nv = mu*x + (1 - mu)*prev(x)\nh = sigmoid(v)*h + v\noutput y = h",
        lambda a: (lambda v: run(a.L, lambda t, h: ((n := sigmoid(v[t]) * h + v[t]), n), np.zeros(2)))(
            a.mu * a.x + (1 - a.mu) * delayed(a.x)
        ),
        {"x": (2,)},
        {"mu": (2,)},
    ),
    "next": Case(
        "`next(e, k, init)` is its mirror, legal where no cycle results",
        "axis D\ninput x[D]\noutput a = next(x), b = next(2*x, 2), c = next(x, 3, 1.5)",
        lambda a: (ahead(a.x), ahead(2 * a.x, 2), ahead(a.x, 3, 1.5)),
        {"x": (2,)},
    ),
    "next_of_a_state": Case(
        "`next` of a forward state looks ahead",
        "input x\nstate h\nh = 0.5*h + x\noutput y = h + next(2*h)",
        lambda a: (lambda h: h + ahead(2 * h))(ema(a)),
        {"x": ()},
    ),
    "next_of_a_later_name": Case(
        "next of a name assigned further down",
        "input x\ny = x + 0.5*next(y)\noutput y",
        lambda a: run(a.L, lambda t, y: ((n := a.x[a.L - 1 - t] + 0.5 * y), n), 0.0)[::-1],
        {"x": ()},
    ),
    "prev_of_a_reverse_state": Case(
        '`state … reverse` runs from the last step to the first: "previous" is then t + 1',
        "input x\nstate h = 4 reverse\nb = prev(h)\nh = 0.5*h + x\noutput y = h + 10*b",
        lambda a: (lambda h: h + 10 * ahead(h, 1, 4.0))(
            run(a.L, lambda t, h: ((n := 0.5 * h + a.x[a.L - 1 - t]), n), 4.0)[::-1]
        ),
        {"x": ()},
    ),
    "reverse_reads_before_and_after": Case(
        '"previous" is then t + 1',
        "input x\nstate h reverse\nb = h\nh = 0.5*h + x\noutput y = h + 10*b",
        lambda a: (lambda h: h + 10 * ahead(h))(
            run(a.L, lambda t, h: ((n := 0.5 * h + a.x[a.L - 1 - t]), n), 0.0)[::-1]
        ),
        {"x": ()},
    ),
    "components_in_order": Case(
        "Components run in dependency order, each in its direction",
        "input x\nstate g = 3 reverse, h\nh = 0.5*h + x\ng = 0.7*g + h\noutput y = g",
        reverse_of_forward,
        {"x": ()},
    ),
    "reverse_then_forward": Case(
        "Components run in dependency order, each in its direction",
        "input x\nstate g, h reverse\nh = 0.5*h + x\ng = 0.8*g + h\noutput y = g",
        forward_of_reverse,
        {"x": ()},
    ),
    "bidirectional_matrix": Case(
        "a matrix state in reverse",
        "axis K, V\ninput q[K], k[K], v[V], g\nstate S[K, V] reverse\nS = sigmoid(g)*S + k*v\noutput y = q · S",
        lambda a: run(
            a.L,
            lambda t, S: (
                (n := sigmoid(a.g[a.L - 1 - t]) * S + np.outer(a.k[a.L - 1 - t], a.v[a.L - 1 - t])),
                a.q[a.L - 1 - t] @ n,
            ),
            np.zeros((3, 2)),
        )[::-1],
        {"q": (3,), "k": (3,), "v": (2,), "g": ()},
    ),
    # -- conv, transfer
    "conv": Case(
        "`conv(x, w)` with `w[..., W]` is `sum_j w[W = j] * prev(x, j)`; `w[W = 0]` weighs the current step",
        "axis D, W\ninput x[D]\nparam w[D, W]\noutput y = conv(x, w)",
        lambda a: sum(a.w[:, j] * delayed(a.x, j) if j else a.w[:, 0] * a.x for j in range(4)),
        {"x": (2,)},
        {"w": (2, 4)},
    ),
    "conv_of_one_tap": Case(
        "`conv` with W = 1",
        "axis D, W\ninput x[D]\nparam w[D, W]\noutput y = conv(x, w)",
        lambda a: a.w[:, 0] * a.x,
        {"x": (2,)},
        {"w": (2, 1)},
    ),
    "conv_longer_than_the_sequence": Case(
        "`conv` with more taps than steps",
        "axis W\ninput x\nparam w[W]\noutput y = conv(x, w)",
        lambda a: sum(a.w[j] * delayed(a.x, j) if j else a.w[0] * a.x for j in range(11)),
        {"x": ()},
        {"w": (11,)},
    ),
    "conv_grouped": Case(
        "`w[..., W]`: grouped weights",
        "axis G, R, W\ninput x[G, R]\nparam w[G, W]\noutput y = silu(conv(x, w))",
        lambda a: (lambda v: v * sigmoid(v))(
            sum(a.w[:, None, j] * delayed(a.x, j) if j else a.w[:, None, 0] * a.x for j in range(3))
        ),
        {"x": (2, 3)},
        {"w": (2, 3)},
    ),
    "conv_wider_weights": Case(
        "`conv`: several filters of one input",
        "axis D, F, W\ninput x[D]\nparam w[F, W]\noutput y[F, D] = conv(x, w)",
        lambda a: sum(a.w[:, None, j] * (delayed(a.x, j) if j else a.x)[:, None, :] for j in range(3)),
        {"x": (2,)},
        {"w": (4, 3)},
    ),
    "conv_last_axis_written": Case(
        "over w's last axis: the order written",
        "axis W, D\ninput x[D]\nparam w[D, W]\noutput y = conv(2*x, tanh(w))",
        lambda a: sum(np.tanh(a.w)[:, j] * (2 * delayed(a.x, j) if j else 2 * a.x) for j in range(3)),
        {"x": (2,)},
        {"w": (2, 3)},
    ),
    "conv_of_a_state": Case(
        "conv(h, w): `sum_j w[W = j]*prev(h, j)`",
        "axis W\ninput x\nparam w[W]\nstate h\nh = 0.5*h + x\noutput y = conv(h, w)",
        lambda a: (lambda h: sum(a.w[j] * (delayed(h, j) if j else h) for j in range(3)))(ema(a)),
        {"x": ()},
        {"w": (3,)},
    ),
    "conv_before_a_recurrence": Case(
        "a short convolution, then a recurrence",
        "axis K, V, W\ninput k[K], v[V], q[K]\nparam w[K, W]\nstate S[K, V]\nc = silu(conv(k, w))\nS = 0.9*S + c*v\n"
        "output y = q · S",
        lambda a: (
            lambda c: run(
                a.L,
                lambda t, S: ((n := 0.9 * S + np.outer(c[t] * sigmoid(c[t]), a.v[t])), a.q[t] @ n),
                np.zeros((3, 2)),
            )
        )(sum(a.w[:, j] * (delayed(a.k, j) if j else a.k) for j in range(3))),
        {"k": (3,), "v": (2,), "q": (3,)},
        {"w": (3, 3)},
    ),
    "transfer": Case(
        "`transfer(b, a, u)`: the rational filter, other axes elementwise",
        "axis D, P, Q\ninput u[D]\nparam b[D, P], a[D, Q]\noutput y = transfer(b, a, u)",
        filtered,
        {"u": (2,)},
        {"b": (2, 4), "a": np.array([[0.5, -0.2], [-0.3, 0.1]])},
        length=9,
    ),
    "transfer_longer_denominator": Case(
        "over the last axes of b and a: different lengths",
        "axis P, Q, D\ninput u[D]\nparam b[D, P], a[D, Q]\noutput y = transfer(b, a, u)",
        filtered,
        {"u": (2,)},
        {"b": (2, 1), "a": np.array([[0.5, -0.2, 0.1], [-0.3, 0.1, 0.2]])},
        length=9,
    ),
    "transfer_one_axis": Case(
        "b and a over the same axis",
        "axis P\ninput u\nparam b[P], a[P]\noutput y = transfer(b, a, u)",
        lambda a: signal.lfilter(a.b, np.concatenate([[1.0], a.a]), a.u),
        {"u": ()},
        {"b": (3,), "a": np.array([0.5, -0.2, 0.1])},
        length=9,
    ),
    # -- past
    "attention": Case(
        "`sum[T](softmax[T](q · past[T](k)) * past[T](v))` is causal attention",
        "axis T, K, V\ninput q[K], k[K], v[V]\noutput y = sum[T](softmax[T](q · past[T](k)) * past[T](v))",
        attention,
        {"q": (3,), "k": (3,), "v": (2,)},
    ),
    "attention_of_heads": Case(
        "`past[T](e)`: `e` at every step up to now, along a new axis",
        "axis H, T, K, V\neach H\ninput q[H, K], k[H, K], v[H, V]\n"
        "output y[H, V] = sum[T](softmax[T](q · past[T](k)) * past[T](v))",
        heads,
        {"q": (2, 3), "k": (2, 3), "v": (2, 2)},
    ),
    "past_with_a_size": Case(
        "(`axis T = 16`: the last 16 steps); steps before the start take no part in reductions",
        "axis D, T = 3\ninput x[D]" + REDUCED,
        windowed,
        {"x": (2,)},
    ),
    "past_with_a_size_of_the_call": Case(
        "axis T: the last steps, where `sizes` fixes how many",
        "axis D, T\ninput x[D]" + REDUCED,
        windowed,
        {"x": (2,)},
        sizes={"T": 3},
    ),
    "past_with_a_size_of_a_param": Case(
        "axis T: the last steps, where a tensor fixes how many",
        "axis D, T\ninput x[D]\nparam w[T] = 1" + REDUCED,
        windowed,
        {"x": (2,)},
        {"w": (3,)},
    ),
    "past_longer_than_the_sequence": Case(
        "steps before the start take no part in reductions",
        "axis D, T = 12\ninput x[D]" + REDUCED,
        whole,
        {"x": (2,)},
    ),
    "past_without_a_size": Case(
        "without a size: all",
        "axis D, T\ninput x[D]" + REDUCED,
        whole,
        {"x": (2,)},
    ),
    "past_of_an_expression": Case(
        "`past[T](e)`: e at every step up to now",
        "axis T\ninput x, u\nstate h\nh = 0.5*h + x\noutput y = sum[T](past[T](h*u)*h)",
        lambda a: (lambda h: np.cumsum(h * a.u) * h)(ema(a)),
        {"x": (), "u": ()},
    ),
    "past_in_a_recurrence": Case(
        "a state that reads its own past",
        "axis T = 3\ninput x\nstate h\np = mean[T](past[T](prev(h)))\nh = tanh(0.5*h + p + x)\noutput y = h",
        lambda a: own_past(a),
        {"x": ()},
    ),
    # -- t
    "step_number": Case(
        "`t` is the step number, from 1. `mod(t - 1, 16) == 0` is the start of a block of 16",
        "axis D\ninput x[D]\nstate h[D]\nh = where(mod(t - 1, 3) == 0, x, h + x)\noutput y = h/t, n int = t",
        lambda a: (
            run(a.L, lambda t, h: ((n := a.x[t] if t % 3 == 0 else h + a.x[t]), n / (t + 1)), np.zeros(2)),
            np.arange(1, a.L + 1),
        ),
        {"x": (2,)},
    ),
    "decay_of_the_step_number": Case(
        "`t` in a decay",
        "input x\nstate h\nh = (1 - 1/t)*h + x/t\noutput y = h",
        lambda a: np.cumsum(a.x) / np.arange(1, a.L + 1),
        {"x": ()},
    ),
    "step_number_in_reverse": Case(
        "`t` is the step number, also where a state runs in reverse",
        "input x\nstate h reverse\nh = h*0.5 + t*x\noutput y = h",
        lambda a: run(a.L, lambda t, h: ((n := 0.5 * h + (a.L - t) * a.x[a.L - 1 - t]), n), 0.0)[::-1],
        {"x": ()},
    ),
    # -- continuous time
    "euler": Case(
        "`euler` is α = 0",
        MATRIX.format("euler(step = 0.1)"),
        lambda a: matrix_method(a, lambda h, b, A, d: h + d * (A @ h + b)),
        **SHAPES,
    ),
    "bilinear": Case(
        "`bilinear` ½",
        MATRIX.format("bilinear(step = 0.1)"),
        lambda a: matrix_method(a, lambda h, b, A, d: gbt(h, b, A, d, 0.5)),
        **SHAPES,
    ),
    "backward_euler": Case(
        "`backward_euler` 1",
        MATRIX.format("backward_euler(step = 0.1)"),
        lambda a: matrix_method(a, lambda h, b, A, d: gbt(h, b, A, d, 1)),
        **SHAPES,
    ),
    "gbt": Case(
        "`gbt(alpha = α, step = Δ)`",
        MATRIX.format("gbt(alpha = 0.3, step = 0.1)"),
        lambda a: matrix_method(a, lambda h, b, A, d: gbt(h, b, A, d, 0.3)),
        **SHAPES,
    ),
    "zoh": Case(
        "`zoh` is `e^{ΔA} h + ∫ e^{sA} ds · b`",
        MATRIX.format("zoh(step = 0.1)"),
        lambda a: matrix_method(a, zoh),
        **SHAPES,
        tolerance=1e-8,
    ),
    "zoh_singular": Case(
        "also for singular A",
        MATRIX.format("zoh(step = 0.1)"),
        lambda a: matrix_method(a, zoh),
        **SINGULAR,
        tolerance=1e-8,
    ),
    "gbt_singular": Case(
        "`gbt` of a singular A",
        MATRIX.format("gbt(step = 0.1, alpha = 1)"),
        lambda a: matrix_method(a, lambda h, b, A, d: gbt(h, b, A, d, 1)),
        **SINGULAR,
    ),
    "zoh_diagonal": Case(
        "zoh, a step that varies",
        DIAGONAL.format("zoh(step = dt*dt)"),
        lambda a: diagonal(a, lambda h, b, m, d: zoh1(h, b, m, d * d)),
        **LAM,
    ),
    "zoh_diagonal_zero": Case(
        "also for singular A",
        DIAGONAL.format("zoh(step = dt*dt)"),
        lambda a: diagonal(a, lambda h, b, m, d: zoh1(h, b, m, d * d)),
        **LAM_ZERO,
        gradients=False,
    ),
    "bilinear_diagonal": Case(
        "bilinear, elementwise",
        DIAGONAL.format("bilinear(step = dt*dt/4)"),
        lambda a: diagonal(a, lambda h, b, m, d: gbt1(h, b, m, d * d / 4, 0.5)),
        **LAM,
    ),
    "step_defaults_to_one": Case(
        "`step` defaults to 1",
        DIAGONAL.format("zoh") + " + 0*dt",
        lambda a: diagonal(a, lambda h, b, m, d: zoh1(h, b, m, 1.0)),
        **LAM,
    ),
    "step_defaults_to_one_with_brackets": Case(
        "`step` defaults to 1",
        DIAGONAL.format("euler()") + " + 0*dt",
        lambda a: diagonal(a, lambda h, b, m, d: h + m * h + b),
        **LAM,
    ),
    "b_of_this_step": Case(
        "b is this step's value in every method",
        "input u\nstate h\nh' = -h + u using backward_euler(step = 0.5)\noutput y = h",
        lambda a: run(a.L, lambda t, h: ((n := (h + 0.5 * a.u[t]) / 1.5), n), 0.0),
        {"u": ()},
    ),
    "names_above_are_held": Case(
        "names assigned above, other states and `t` are held over the step",
        "input u\nstate g = 1, h\ng = 0.9*g + u\na = -g*g\nh' = a*h + g/t using zoh(step = 0.2)\noutput y = h",
        lambda a: run(
            a.L,
            lambda t, s: (
                (g := 0.9 * s[0] + a.u[t], h := zoh1(s[1], g / (t + 1), -g * g, 0.2)),
                h,
            ),
            (1.0, 0.0),
        ),
        {"u": ()},
    ),
    "euler_of_anything": Case(
        "`euler` takes any f",
        "axis D\ninput u[D]\nstate h[D]\nh' = sin(h)*u - h**3 using euler(step = 0.1)\noutput y = h",
        lambda a: run(a.L, lambda t, h: ((n := h + 0.1 * (np.sin(h) * a.u[t] - h**3)), n), np.zeros(2)),
        {"u": (2,)},
    ),
    "macro_in_an_equation": Case(
        "Only `h` written in the equation (macros expanded) is the unknown",
        "input u, g\nstate h\nf(v) = -v*g*g + u\nh' = f(h) using bilinear(step = 0.3)\noutput y = h",
        lambda a: run(a.L, lambda t, h: ((n := gbt1(h, a.u[t], -(a.g[t] ** 2), 0.3, 0.5)), n), 0.0),
        {"u": (), "g": ()},
    ),
    "s4d": Case(
        "zoh of a complex diagonal",
        "axis D, N\neach D\ninput u[D]\nparam A_re[D, N], A_im[D, N], C[D, N] complex, log_dt[D], skip[D]\n"
        "state h[D, N] complex = 0\nlam = -exp(A_re) + 1j*A_im\nh' = lam*h + u using zoh(step = exp(log_dt))\n"
        "output y[D] = 2*real(C · h) + skip*u",
        lambda a: run(
            a.L,
            lambda t, h: (
                (n := zoh1(h, a.u[t][:, None], -np.exp(a.A_re) + 1j * a.A_im, np.exp(a.log_dt)[:, None])),
                2 * (a.C * n).sum(-1).real + a.skip * a.u[t],
            ),
            np.zeros((2, 3), complex),
        ),
        {"u": (2,)},
        {"A_re": (2, 3), "A_im": (2, 3), "C": (2, 3), "log_dt": (2,), "skip": (2,)},
    ),
    "legs": Case(
        "an equation with `t`: A/t",
        "axis N = 3\ninput f\nparam A[N, N] = hippo.legs, B[N] = hippo.legs.B\nstate c[N]\n"
        "c' = (A @ c + B*f)/t using bilinear\noutput y = c",
        lambda a: legs(a),
        {"f": ()},
    ),
    "step_of_another_axis": Case(
        "`step` … has no axis that A mixes: others it may have",
        "axis D, N\ninput u[D]\nparam A[N, N], dt[D]\nstate h[D, N]\nh' = A @ h + u using zoh(step = exp(dt)/9)\n"
        "output y = h",
        lambda a: run(
            a.L,
            lambda t, h: (
                (n := np.stack([zoh(h[d], a.u[t, d] * np.ones(3), a.A, np.exp(a.dt[d]) / 9) for d in range(2)])),
                n,
            ),
            np.zeros((2, 3)),
        ),
        {"u": (2,)},
        {"A": (3, 3), "dt": (2,)},
        tolerance=1e-8,
    ),
}


@cases(TABLE)
def test_agrees(case):
    agrees(case)
