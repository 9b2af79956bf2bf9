"""Language reference, "Axes": a case a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ssmc
from tests.language.support import Case, agrees, cases, compiled, refused, run, softmax


def T(x):
    return np.swapaxes(x, -1, -2)


def covariance(a):
    return run(a.L, lambda t, S: ((n := a.a[t] * S + np.outer(a.x[t], a.x[t])), n), np.zeros((3, 3)))


def grouped(a):
    G, R, P, N = 2, 3, 2, 4
    h = np.zeros((G, R, P, N))
    found = []
    for t in range(a.L):
        y = np.zeros((G, R, P))
        for g in range(G):
            for r in range(R):
                h[g, r] = a.w[t, g, r] * h[g, r] + np.outer(a.x[t, g, r], a.B[t, g])
                y[g, r] = h[g, r] @ a.C[t, g]
        found.append(y)
    return np.stack(found)


def two_states(a):
    """p real with its own init, q complex, both decaying."""
    return run(
        a.L,
        lambda t, s: ((0.5 * s[0] + a.x[t], 1j * s[1] + a.x[t]), (0.5 * s[0] + a.x[t] + (1j * s[1] + a.x[t]).imag)),
        (np.full(2, 1.5), np.full(2, 2j)),
    )


def decays(a, start):
    return run(a.L, lambda t, h: ((n := 0.5 * h + a.x[t]), n), start)


def decays_h(a):
    return run(a.L, lambda t, h: ((n := 0.5 * h + a.x[t]), n), a.h)


def decays_n(a, start):
    return run(a.L, lambda t, h: ((n := 0.5 * h + a.x[t][:, None]), n), start)


TABLE = {
    # -- order and layout
    "canonical_order": Case(
        "The order of the `axis` declarations is the canonical order",
        "axis D, N\ninput x[N], u[D]\noutput y = x*u",
        lambda a: a.u[:, :, None] * a.x[:, None, :],
        {"x": (4,), "u": (3,)},
    ),
    "canonical_order_of_one_value": Case(
        "without axes: those of the value, canonical order",
        "axis D, N\ninput x[N, D]\noutput y = x, z = 2*x",
        lambda a: (T(a.x), 2 * T(a.x)),
        {"x": (4, 3)},
    ),
    "axes_on_several_lines": Case(
        "the `axis` declarations",
        "axis B\naxis A\ninput x[A], u[B]\noutput y = x*u",
        lambda a: a.u[:, :, None] * a.x[:, None, :],
        {"x": (4,), "u": (3,)},
    ),
    "input_in_the_order_written": Case(
        "then time, then the axes in the order written",
        "axis D, N\ninput x[N, D], u[D, N]\nparam p[N, D]\noutput y = x + 2*u + 3*p",
        lambda a: T(a.x) + 2 * a.u + 3 * a.p.T,
        {"x": (4, 3), "u": (3, 4)},
        {"p": (4, 3)},
    ),
    "state_in_the_order_written": Case(
        "the caller's `(batch…, D, N)`",
        "axis D, N\ninput x[D]\nstate h[N, D]\nh = 0.5*h + x\noutput y = h",
        lambda a: run(a.L, lambda t, h: ((n := 0.5 * h + a.x[t]), n.T), a.h),
        {"x": (3,)},
        state={"h": (4, 3)},
    ),
    "written_axes_are_the_layout": Case(
        "written axes … give the layout",
        "axis D, N, K\ninput x[D], u[N], k[K]\noutput y[K, D, N] = x*u*k, z[N, D] = x*u",
        lambda a: (np.einsum("td,tn,tk->tkdn", a.x, a.u, a.k), np.einsum("td,tn->tnd", a.x, a.u)),
        {"x": (2,), "u": (3,), "k": (4,)},
    ),
    "output_of_an_assigned_name": Case(
        "`output y[D]`, `output y`",
        "axis D, N\ninput x[D], u[N]\ny = x*u\nw = 2*y\noutput y[N, D], w",
        lambda a: (a.u[:, :, None] * a.x[:, None, :], 2 * a.x[:, :, None] * a.u[:, None, :]),
        {"x": (2,), "u": (3,)},
    ),
    "output_of_a_state": Case(
        "An output may be a state (its new value; it is broadcast to the written axes)",
        "axis D, N\ninput x[D]\nstate h[D, N]\noutput h[N, D]\nh = 2*x",
        lambda a: np.broadcast_to(2 * a.x[:, None, :], (a.L, 3, 2)),
        {"x": (2,)},
        sizes={"N": 3},
    ),
    "output_of_a_state_without_axes": Case(
        "An output may be a state",
        "axis D, N\ninput x[D]\nstate h[N, D]\noutput h\nh = 0.5*h + x",
        lambda a: T(decays_h(a)),
        {"x": (2,)},
        state={"h": (3, 2)},
    ),
    "output_of_a_narrow_state": Case(
        "it is broadcast to the written axes",
        "axis D, N\ninput x[D], u[N]\nstate h[D]\nh = 0.5*h + x\noutput h[D, N], v = u",
        lambda a: (np.repeat(decays(a, np.zeros(2))[:, :, None], 3, 2), a.u),
        {"x": (2,), "u": (3,)},
    ),
    # -- kinds and declarators
    "declarators": Case(
        "Each declarator is `NAME[axes] KIND = init reverse`, every part optional and its own",
        "axis D\ninput x[D]\nstate p[D] = 1.5, q[D] complex = 2j\np = 0.5*p + x\nq = 1j*q + x\noutput y = p + imag(q)",
        two_states,
        {"x": (2,)},
    ),
    "declarators_mixed": Case(
        "every part after the name optional and its own",
        "axis D\ninput x[D], m bool, n int\nparam g, w[D] complex\n"
        "state p = 2 reverse, q[D] complex\nq = g*q + w*x\np = 0.5*p + where(m, n, 0)\noutput y[D] = p + real(q)",
        lambda a: (
            run(a.L, lambda t, p: ((n := 0.5 * p + a.m[a.L - 1 - t] * a.n[a.L - 1 - t]), n), 2.0)[::-1][:, None]
            + run(a.L, lambda t, q: ((n := a.g * q + a.w * a.x[t]), n.real), np.zeros(2, complex))
        ),
        {"x": (2,), "m": (), "n": ()},
        {"g": np.array(0.7), "w": (2,)},
    ),
    "init_is_an_expression": Case(
        "An initial value … is an expression of params, of names computed from params only, of numbers",
        "axis D, N\ninput x[D]\nparam a[D], c\nb = exp(a) + index[D]\nstate h[D, N] = b*c + 1\n"
        "h = 0.5*h + x\noutput y = h",
        lambda a: decays_n(a, ((np.exp(a.a) + np.arange(2)) * a.c + 1)[:, None] + np.zeros((2, 3))),
        {"x": (2,)},
        {"a": (2,), "c": ()},
        sizes={"N": 3},
    ),
    "default_of_a_param": Case(
        "a param's default is an expression of params …",
        "axis D\ninput x[D]\nparam a = 0.25, b[D] = a*(index[D] + 1), c[D] = 2\noutput y = a*x + b - c",
        lambda a: 0.25 * a.x + 0.25 * np.array([1, 2]) - 2,
        {"x": (2,)},
    ),
    "default_overridden": Case(
        "A param with a default may be left out of the call",
        "axis D\ninput x[D]\nparam a = 0.25, b[D] = a*(index[D] + 1)\noutput y = a*x + b",
        lambda a: a.a * a.x + a.a * np.array([1, 2]),
        {"x": (2,)},
        {"a": ()},
    ),
    # -- squares
    "square_matrix": Case(
        "square, rows then columns",
        "axis N\ninput x[N]\nparam A[N, N]\noutput y = A @ x",
        lambda a: a.x @ a.A.T,
        {"x": (3,)},
        {"A": (3, 3)},
    ),
    "square_input": Case(
        "`input W[H, D, D]`: the last two places",
        "axis H, D\ninput W[H, D, D], x[D], u[H, D]\noutput y = W @ x + 2*(W @ u)",
        lambda a: np.einsum("thij,tj->thi", a.W, a.x) + 2 * np.einsum("thij,thj->thi", a.W, a.u),
        {"W": (2, 3, 3), "x": (3,), "u": (2, 3)},
    ),
    "square_through_functions": Case(
        "A square value goes through scalar functions, `-`, `@`, `transpose`, elementwise operations",
        "axis H, N\ninput x[N], g[H]\nparam A[N, N], B[N, N]\n"
        "M = -exp(A)*B + 2*transpose(B)*g - A/3\noutput y = M @ x + (A @ B) @ x + transpose(A) @ x",
        lambda a: np.stack(
            [
                np.stack(
                    [(-np.exp(a.A) * a.B + 2 * a.B.T * g - a.A / 3) @ x + a.A @ a.B @ x + a.A.T @ x for g in a.g[t]]
                )
                for t, x in enumerate(a.x)
            ]
        ),
        {"x": (3,), "g": (2,)},
        {"A": (3, 3), "B": (3, 3)},
    ),
    "square_where": Case(
        "scalar functions and elementwise operations of squares",
        "axis N\ninput x[N], m bool\nparam A[N, N]\noutput y = where(m, max(A, 0), transpose(A)) @ x",
        lambda a: np.stack([(np.maximum(a.A, 0) if a.m[t] else a.A.T) @ a.x[t] for t in range(a.L)]),
        {"x": (3,), "m": ()},
        {"A": (3, 3)},
    ),
    "square_times_matrix": Case(
        "`@`: sums A's last axis with x's axis of that name",
        "axis N, V\ninput v[V], k[N]\nparam A[N, N]\nstate S[N, V]\nS = A @ S + k*v\noutput y = S",
        lambda a: run(a.L, lambda t, S: ((n := a.A @ S + np.outer(a.k[t], a.v[t])), n), np.zeros((3, 2))),
        {"v": (2,), "k": (3,)},
        {"A": (3, 3)},
    ),
    "vector_times_square": Case(
        "`h @ A` with a square A is `transpose(A) @ h`",
        "axis N\ninput x[N]\nparam A[N, N]\nstate h[N]\nh = h @ A + x\noutput y = h",
        lambda a: run(a.L, lambda t, h: ((n := a.A.T @ h + a.x[t]), n), np.zeros(3)),
        {"x": (3,)},
        {"A": (3, 3)},
    ),
    # -- elementwise, contraction, matrix product
    "broadcast_by_name": Case(
        "a missing axis is broadcast by name, never by position",
        "axis D, N\ninput x[N], u[D, N], s\nparam p[D]\noutput y = x*u + p + s",
        lambda a: a.x[:, None, :] * a.u + a.p[:, None] + a.s[:, None, None],
        {"x": (3,), "u": (3, 3), "s": ()},
        {"p": (3,)},
    ),
    "outer_product": Case(
        "`k[K] * v[V]` is the outer product. `k ⊗ v` (`outer(k, v)`) is the same",
        "axis K, V\ninput k[K], v[V]\noutput y = k*v + 2*(k ⊗ v) + 4*outer(k, v)",
        lambda a: 7 * a.k[:, :, None] * a.v[:, None, :],
        {"k": (3,), "v": (2,)},
    ),
    "outer_shares_each": Case(
        "an error if they share an axis that is not `each`",
        "axis H, K, V\neach H\ninput k[H, K], v[V, H]\noutput y = k ⊗ v",
        lambda a: np.einsum("thk,tvh->thkv", a.k, a.v),
        {"k": (2, 3), "v": (2, 2)},
    ),
    "contraction": Case(
        "multiply, then sum over the one axis both have",
        "axis H, K, V\ninput S[H, K, V], q[K]\noutput y = q · S, z = dot(S, q)",
        lambda a: (np.einsum("thkv,tk->thv", a.S, a.q),) * 2,
        {"S": (2, 3, 4), "q": (3,)},
    ),
    "contraction_with_each": Case(
        "`each` axes aside",
        "axis H, K, V\neach H\ninput S[H, K, V], q[H, K]\noutput y = q · S",
        lambda a: np.einsum("thkv,thk->thv", a.S, a.q),
        {"S": (2, 3, 4), "q": (2, 3)},
    ),
    "matrix_sums_the_last_written": Case(
        '"Last" is the order written for a declared name',
        "axis D, N\ninput x[D]\nparam W[N, D]\noutput y = W @ x",
        lambda a: a.x @ a.W.T,
        {"x": (3,)},
        {"W": (2, 3)},
    ),
    "matrix_of_a_computed_matrix": Case(
        "an operation one of whose operands has all the result's axes keeps that operand's order",
        "axis D, N\ninput x[D], g[D], r[N]\nparam W[N, D]\nV = exp(-2*W)*g + r\nU = where(V > 1, V, r*V)\n"
        "output y = V @ x + U @ x",
        lambda a: np.stack(
            [
                (V := np.exp(-2 * a.W) * a.g[t] + a.r[t][:, None]) @ a.x[t]
                + np.where(V > 1, V, a.r[t][:, None] * V) @ a.x[t]
                for t in range(a.L)
            ]
        ),
        {"x": (3,), "g": (3,), "r": (2,)},
        {"W": (2, 3)},
    ),
    "matrix_canonical": Case(
        "any other gives canonical order",
        "axis D, N\ninput u[D], r[N], x[N]\noutput y = (r*u) @ x",
        lambda a: np.stack([np.outer(a.u[t], a.r[t]) @ a.x[t] for t in range(a.L)]),
        {"u": (3,), "r": (2,), "x": (2,)},
    ),
    "matrix_of_an_output": Case(
        "the order written for a declared name",
        "axis D, N\ninput u[D], r[N], x[D]\noutput V[N, D] = u*r\noutput y = V @ x",
        lambda a: (
            np.einsum("tn,td->tnd", a.r, a.u),
            np.stack([np.outer(a.r[t], a.u[t]) @ a.x[t] for t in range(a.L)]),
        ),
        {"u": (3,), "r": (2,), "x": (3,)},
    ),
    "matrix_of_a_state": Case(
        "the order written for a declared name",
        "axis K, V\ninput k[K], v[V], q[K]\nstate S[V, K]\nb = S @ q\nS = 0.5*S + k*v\noutput y = b + 10*(S @ q)",
        lambda a: run(
            a.L,
            lambda t, S: ((n := 0.5 * S + np.outer(a.v[t], a.k[t])), S @ a.q[t] + 10 * (n @ a.q[t])),
            np.zeros((2, 3)),
        ),
        {"k": (3,), "v": (2,), "q": (3,)},
    ),
    "matrix_aligns_the_rest": Case(
        "every other shared axis is aligned as in `*`",
        "axis H, N, D\ninput W[H, N, D], x[H, D], z[D]\noutput y = W @ x, v = W @ z",
        lambda a: (np.einsum("thnd,thd->thn", a.W, a.x), np.einsum("thnd,td->thn", a.W, a.z)),
        {"W": (2, 4, 3), "x": (2, 3), "z": (3,)},
    ),
    "matrix_matrix": Case(
        "sums A's last axis with x's axis of that name",
        "axis I, J, K\ninput A[I, J], B[K, J]\noutput y = A @ B",
        lambda a: np.einsum("tij,tkj->tik", a.A, a.B),
        {"A": (2, 3), "B": (4, 3)},
    ),
    "matrix_and_each": Case(
        "`each` has no effect on `@`",
        "axis N, D\neach D\ninput x[D]\nparam W[N, D]\noutput y = W @ x",
        lambda a: a.x @ a.W.T,
        {"x": (3,)},
        {"W": (2, 3)},
    ),
    "vector_at_vector": Case(
        "`A @ x` sums A's last axis with x's axis of that name",
        "axis D\ninput x[D], u[D]\noutput y = x @ u",
        lambda a: (a.x * a.u).sum(-1),
        {"x": (3,), "u": (3,)},
    ),
    "matrix_after_renaming": Case(
        '"Last" of a renamed matrix',
        "axis D, N, J\ninput x[J]\nparam W[N, D]\noutput y = W[D -> J] @ x",
        lambda a: a.x @ a.W.T,
        {"x": (3,)},
        {"W": (2, 3)},
    ),
    # -- reductions
    "reductions": Case(
        "`sum[N](e)`, likewise `mean max min prod logsumexp norm` (Euclidean)",
        "axis D, N\ninput x[D, N]\noutput a = sum[N](x), b = mean[N](x), c = max[N](x), d = min[N](x), e = prod[N](x), "
        "f = logsumexp[N](x), g = norm[N](x)",
        lambda a: (
            a.x.sum(-1),
            a.x.mean(-1),
            a.x.max(-1),
            a.x.min(-1),
            a.x.prod(-1),
            np.log(np.exp(a.x).sum(-1)),
            np.sqrt((a.x**2).sum(-1)),
        ),
        {"x": (2, 3)},
    ),
    "reductions_of_several_axes": Case(
        "several axes: `sum[K, V](e)`",
        "axis D, K, V\ninput x[D, K, V]\noutput a = sum[K, V](x), b = mean[V, D](x), c = max[D, K, V](x), "
        "d = prod[D, V](x), f = logsumexp[K, V](x), g = norm[K, V](x), h = min[K, V](x)",
        lambda a: (
            a.x.sum((2, 3)),
            a.x.mean((1, 3)),
            a.x.max((1, 2, 3)),
            a.x.prod((1, 3)),
            np.log(np.exp(a.x).sum((2, 3))),
            np.sqrt((a.x**2).sum((2, 3))),
            a.x.min((2, 3)),
        ),
        {"x": (2, 3, 4)},
    ),
    "any_and_all": Case(
        "`any all`",
        "axis D, N\ninput m[D, N] bool\noutput a bool = any[N](m), b bool = all[D](m), c bool = any[D, N](m)",
        lambda a: (a.m.any(-1), a.m.all(1), a.m.any((1, 2))),
        {"m": (2, 3)},
    ),
    "complex_reductions": Case(
        "reductions of complex values",
        "axis N\ninput z[N] complex\noutput a complex = sum[N](z), b complex = mean[N](z), c complex = prod[N](z), "
        "g = norm[N](z)",
        lambda a: (a.z.sum(-1), a.z.mean(-1), a.z.prod(-1), np.sqrt((abs(a.z) ** 2).sum(-1))),
        {"z": (3,)},
    ),
    "softmax_and_cumsum": Case(
        "`softmax[N](e)` and `cumsum[N](e)` keep the axis",
        "axis D, N\ninput x[D, N]\noutput a = softmax[N](x), b = cumsum[D](x), c = softmax[D](x)",
        lambda a: (softmax(a.x, 2), a.x.cumsum(1), softmax(a.x, 1)),
        {"x": (2, 3)},
    ),
    # -- renaming, picking, shifting
    "renaming": Case(
        "`e[K -> J]`: an equation between the two sizes",
        "axis K, J\ninput k[K]\noutput y = k*k[K -> J]",
        lambda a: a.k[:, :, None] * a.k[:, None, :],
        {"k": (3,)},
    ),
    "renaming_simultaneous": Case(
        "several at once are simultaneous (`[K -> V, V -> K]`)",
        "axis K, V\ninput S[K, V]\noutput y = S - S[K -> V, V -> K]",
        lambda a: a.S - T(a.S),
        {"S": (3, 3)},
    ),
    "covariance": Case(
        "With it `S = a*S + x * x[D -> E]` is a covariance",
        "axis D, E\ninput x[D], a\nstate S[D, E]\nS = a*S + x * x[D -> E]\noutput y = S",
        covariance,
        {"x": (3,), "a": ()},
    ),
    "picking": Case(
        "`e[J = 0]`: that element, the axis drops; negative counts from the end",
        "axis J, D\ninput x[D, J]\noutput a = x[J = 0], b = x[J = -1], c = x[D = 1, J = 2], d = (2*x + 1)[D = -2], "
        "e = cumsum[J](x)[J = -1]",
        lambda a: (a.x[:, :, 0], a.x[:, :, -1], a.x[:, 1, 2], 2 * a.x[:, -2] + 1, a.x.sum(-1)),
        {"x": (2, 3)},
    ),
    "shifting": Case(
        "`shift[N](e)` moves by one along the axis, zero filled (`shift[N](e, k)`)",
        "axis N\ninput x[N]\noutput a = shift[N](x), b = shift[N](x, 2), c = shift[N](x, 5)",
        lambda a: (
            np.concatenate([np.zeros((a.L, 1)), a.x[:, :-1]], 1),
            np.concatenate([np.zeros((a.L, 2)), a.x[:, :-2]], 1),
            0 * a.x,
        ),
        {"x": (4,)},
    ),
    "shift_register": Case(
        "`shift[N]` of a state",
        "axis N\ninput u\nparam b[N]\nstate s[N]\ns = shift[N](s) + b*u\noutput y = s",
        lambda a: run(a.L, lambda t, s: ((n := np.concatenate([[0.0], s[:-1]]) + a.b * a.u[t]), n), np.zeros(3)),
        {"u": ()},
        {"b": (3,)},
    ),
    "size_and_index": Case(
        "`size[K]` is the length, `index[N]` has axes `[N]` and counts from 0",
        "axis K, N\ninput k[K], x[N]\noutput y = size[K]*x/size[N] + index[N], z int = index[N] + size[K]",
        lambda a: (3 * a.x / 4 + np.arange(4), np.tile(np.arange(4) + 3, (a.L, 1))),
        {"k": (3,), "x": (4,)},
    ),
    "grouped_heads": Case(
        "Grouped heads need nothing special",
        "axis G, R, P, N; each G, R; input x[G, R, P], B[G, N], C[G, N], w[G, R]\nstate h[G, R, P, N]\n"
        "h = w*h + B*x\noutput y = C · h",
        grouped,
        {"x": (2, 3, 2), "B": (2, 4), "C": (2, 4), "w": (2, 3)},
    ),
    # -- sizes
    "declared_sizes": Case(
        "`axis N = 16`, `axis N = 2*P`, `axis E = D`",
        "axis D, E = D, P = 2, N = 2*P\ninput x[D]\nparam w[E] = index[E] + 1\n"
        "output y = x*w, z = index[N] + 0*sum[D](x)",
        lambda a: (a.x[:, :, None] * np.arange(1, 4), np.tile(np.arange(4.0), (a.L, 1))),
        {"x": (3,)},
    ),
    "sizes_of_the_call": Case(
        'else from `sizes={"N": 16}`',
        "axis D, N\ninput x[D]\nstate h[D, N]\nh = 0.5*h + x*(index[N] + 1)\noutput y = sum[N](h)",
        lambda a: run(
            a.L, lambda t, h: ((n := 0.5 * h + a.x[t][:, None] * np.arange(1, 6)), n.sum(-1)), np.zeros((2, 5))
        ),
        {"x": (2,)},
        sizes={"N": 5},
    ),
}


@cases(TABLE)
def test_agrees(case):
    agrees(case)


REFUSED = {
    "narrower_output": ("axis D, N\ninput x[D, N]\noutput y[D] = x", "N"),
    "wider_output": ("axis D, N\ninput x[D], u[N]\noutput y[D, N] = x, z = u", "N"),
    "complex_into_real_state": ("input z complex\nstate h\nh = 0.5*h + z\noutput y = h", "complex"),
    "complex_into_real_output": ("input z complex\noutput y = z", "complex"),
    "init_of_an_input": ("input x\nstate h = x\nh = h + x\noutput y = h", "x"),
    "init_of_a_name_of_an_input": ("input x\na = 2*x\nstate h = a\nh = h + x\noutput y = h", "a"),
    "default_of_an_input": ("input x\nparam p = x\noutput y = p*x", "x"),
    "axis_twice_apart": ("axis N, D\ninput x[N]\nparam A[N, D, N]\noutput y = A @ x", "N"),
    "axis_twice_first": ("axis N, D\ninput x[N]\nparam A[N, N, D]\noutput y = A @ x", "N"),
    "axis_thrice": ("axis N\ninput x[N]\nparam A[N, N, N]\noutput y = A @ x", "N"),
    "square_state": ("axis N\ninput x[N]\nstate S[N, N]\nS = S + x\noutput y = x", "two axes"),
    "square_with_its_axis": ("axis N\ninput x[N]\nparam A[N, N]\noutput y = (A*x) @ x", "A"),
    "outer_shares": ("axis D\ninput x[D], u[D]\noutput y = x ⊗ u", "D"),
    "dot_shares_none": ("axis K, V\ninput k[K], v[V]\noutput y = k · v", "k", "v"),
    "dot_shares_two": ("axis H, K\ninput q[H, K], k[H, K]\noutput y = q · k", "each H", "sum[H, K]"),
    "matrix_without_the_axis": ("axis N, D\ninput x[N]\nparam W[N, D]\noutput y = W @ x", "D"),
    "last_is_the_order_written": ("axis D, N\ninput x[N]\nparam W[N, D]\noutput y = W @ x", "D"),
    "last_is_canonical": ("axis D, N\ninput u[D], r[N]\noutput y = (r*u) @ u", "N"),
    "reduction_lacks": ("axis D, N\ninput x[D], n[N]\noutput y = sum[N](x), z = n", "N"),
    "reduction_lacks_one": ("axis D, N\ninput x[D], n[N]\noutput y = sum[D, N](x), z = n", "N"),
    "softmax_lacks": ("axis D, N\ninput x[D], n[N]\noutput y = softmax[N](x), z = n", "N"),
    "renamed_to_present": ("axis D, N\ninput x[D, N]\noutput y = x[D -> N]", "N"),
    "picked_by_a_name": ("axis D\ninput x[D], i int\noutput y = x[D = i]", "integer"),
    "undeclared_axis": ("input x[D]\noutput y = x", "D"),
    "state_with_more_axes": ("axis D, N\ninput x[D, N]\nstate h[D]\nh = 0.5*h + x\noutput y = h", "N"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    spec, *words = REFUSED[name]
    refused(spec, *words)


EMA = "axis D\ninput x[D], s\nstate h[D] = 1\nh = 0.5*h + x*s\noutput y[D] = h"


@pytest.mark.parametrize("batch", [(), (2,), (2, 3), (1, 1, 2), (0,)])
def test_leading_dimensions(batch):
    """Any number of leading batch dimensions, then time, then the axes."""
    f = compiled(EMA)
    rng = np.random.default_rng(0)
    x, s = rng.normal(size=(*batch, 5, 3)), rng.normal(size=(*batch, 5))
    y, state = f(x=torch.tensor(x), s=torch.tensor(s), return_state=True)
    h = np.ones((*batch, 3))
    want = []
    for t in range(5):
        h = 0.5 * h + x[..., t, :] * s[..., t, None]
        want.append(h)
    np.testing.assert_allclose(y, np.stack(want, -2), atol=1e-12)
    assert tuple(state["h"].shape) == (*batch, 3)
    np.testing.assert_allclose(state["h"], h, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_floating_dtype(dtype):
    """Everything else is real, in the caller's floating dtype; real with complex gives complex."""
    f = compiled(
        "axis D\ninput x[D], m bool\nstate h[D], n int\nh = 0.5*h + x\nn = n + where(m, 1, 0)\n"
        "output y = h, z complex = h*1j, k int = n"
    )
    y, z, k = f(torch.ones(4, 3, dtype=dtype), torch.ones(4, dtype=torch.bool))
    assert y.dtype == dtype
    assert z.dtype == (torch.complex128 if dtype == torch.float64 else torch.complex64)
    assert k.dtype == torch.int64
    assert k.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(y[:, 0].double(), [1, 1.5, 1.75, 1.875], atol=1e-6)


def test_axis_that_nothing_fixes():
    """An axis that nothing fixes is an error that names the params left out."""
    f = compiled("axis D, N\ninput x[D]\nparam w[N] = 1\nstate h[D, N]\nh = 0.5*h + x*w\noutput y = sum[N](h)")
    with pytest.raises(ssmc.SpecError) as caught:
        f(torch.ones(4, 3))
    assert "`N`" in str(caught.value)
    assert "`w`" in str(caught.value)
    assert f(torch.ones(4, 3), sizes={"N": 2})[0].tolist() == [2, 2, 2]


def test_mismatch():
    """A mismatch names the axis, both tensors and both sizes."""
    f = compiled("axis D\ninput x[D], u[D]\noutput y = x + u")
    with pytest.raises(ssmc.SpecError) as caught:
        f(torch.ones(4, 3), torch.ones(4, 5))
    for word in ("`D`", "`x`", "`u`", "3", "5"):
        assert word in str(caught.value)


def test_mismatch_of_a_declared_size():
    """A mismatch names the axis, both tensors and both sizes."""
    f = compiled("axis N = 4\ninput x[N]\noutput y = x")
    assert tuple(f(torch.ones(2, 4)).shape) == (2, 4)
    with pytest.raises(ssmc.SpecError, match="N"):
        f(torch.ones(2, 5))
    with pytest.raises(ssmc.SpecError, match="N"):
        f(torch.ones(2, 4), sizes={"N": 5})


def test_mismatch_of_an_equation():
    """`e[K -> J]`: an equation between the two sizes."""
    f = compiled("axis K, J\ninput k[K], j[J]\noutput y = k[K -> J] + j")
    assert f(torch.ones(2, 3), torch.ones(2, 3)).shape == (2, 3)
    with pytest.raises(ssmc.SpecError, match="K"):
        f(torch.ones(2, 3), torch.ones(2, 4))


def test_size_equations():
    """`axis N = 2*P` is the size of N, whatever the tensors say."""
    f = compiled("axis P, N = 2*P\ninput x[N], p[P]\noutput y = x + sum[P](p)")
    assert f(torch.zeros(1, 6), torch.ones(1, 3)).tolist() == [[3.0] * 6]
    with pytest.raises(ssmc.SpecError, match="N"):
        f(torch.zeros(1, 5), torch.ones(1, 3))


def test_size_of_a_part():
    """`axis N = D/2`: what tries the spec out finds sizes that fit."""
    f = compiled("axis N = D/2, D\ninput x[D], n[N]\noutput y = x*n")
    assert f(torch.ones(1, 4), torch.ones(1, 2)).shape == (1, 2, 4)
    assert all(row.ok for row in f.self_test())
    with pytest.raises(ssmc.SpecError, match="N"):
        f(torch.ones(1, 3), torch.ones(1, 1))


def test_pick_out_of_range():
    """`e[J = 0]`: that element."""
    f = compiled("axis J\ninput x[J]\noutput y = x[J = 3]")
    assert f(torch.arange(4.0)[None]).tolist() == [3]
    with pytest.raises(ssmc.SpecError, match="J"):
        f(torch.ones(1, 3))


def test_empty_axis():
    """An axis of no elements: sums are 0, products 1."""
    f = compiled("axis N\ninput x[N]\noutput a = sum[N](x), b = prod[N](x)")
    a, b = f(torch.ones(2, 0))
    assert (a.tolist(), b.tolist()) == ([0, 0], [1, 1])
