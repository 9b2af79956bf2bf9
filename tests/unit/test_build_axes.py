"""Axes: unions and their order, contractions, squares, reductions, renaming; against numpy's einsum."""

from __future__ import annotations

import numpy as np
import pytest

from ssmc.expr import nodes as n
from tests.unit.specs import built, checked, codes, outputs

RNG = np.random.default_rng(2)
M, N, P = 2, 3, 4
A = RNG.normal(size=(N, N))
B = RNG.normal(size=(N, N))
C = RNG.normal(size=(M, N))
W = RNG.normal(size=(P, N, N))
G = RNG.normal(size=(P, M, N))
X = RNG.normal(size=(1, N))
HEAD = "axis M, N, P\ninput x[N]\nparam A[N, N], B[N, N], C[M, N], W[P, N, N], G[P, M, N], p[P]\n"


def value(expression: str, axes: str, head: str = HEAD) -> np.ndarray:
    text = f"{head}output y[{axes}] = {expression}" if axes else f"{head}output y = {expression}"
    found = outputs(text, x=X, A=A, B=B, C=C, W=W, G=G, p=np.ones(P))["y"][0]
    return np.asarray(found)


@pytest.mark.parametrize(
    ("expression", "axes", "wanted"),
    [
        ("A @ x", "N", A @ X[0]),
        ("x @ A", "N", A.T @ X[0]),
        ("transpose(A) @ x", "N", A.T @ X[0]),
        ("A @ B @ x", "N", A @ B @ X[0]),
        ("C @ A @ x", "M", C @ A @ X[0]),
        ("C @ A", "M, N", C @ A),
        ("x @ A @ B", "N", X[0] @ A @ B),
        ("(A*B - transpose(exp(A))) @ x", "N", (A * B - np.exp(A).T) @ X[0]),
        ("W @ x", "P, N", W @ X[0]),
        ("x @ W", "P, N", np.einsum("n,pnm->pm", X[0], W)),
        ("(p*A) @ x", "P, N", np.broadcast_to(A @ X[0], (P, N))),
        ("(W @ (A @ B)) @ x", "P, N", W @ A @ B @ X[0]),
        ("G @ (W @ x)", "P, M", np.einsum("pmn,pnk,k->pm", G, W, X[0])),
        ("C · x", "M", C @ X[0]),
        ("x · x", "", X[0] @ X[0]),
        ("dot(G, C[M -> M])", "", None),
        ("sum[M, N](G*C)", "P", np.einsum("pmn,mn->p", G, C)),
        ("mean[M, N](C)", "", C.mean()),
        ("norm[N](C)", "M", np.linalg.norm(C, axis=1)),
        ("softmax[M, N](C)", "M, N", np.exp(C) / np.exp(C).sum()),
        ("cumsum[N](C)", "M, N", C.cumsum(1)),
        ("shift[N](C)", "M, N", np.hstack([np.zeros((M, 1)), C[:, :-1]])),
        ("shift[N](C, -2)", "M, N", np.hstack([C[:, 2:], np.zeros((M, 2))])),
        ("C[N = -1, M = 0]", "", C[0, -1]),
        ("index[N]*size[M] + x", "N", np.arange(N) * M + X[0]),
        ("x ⊗ x[N -> M]", "M, N", None),
    ],
)
def test_values(expression: str, axes: str, wanted: np.ndarray | None) -> None:
    if wanted is None:
        assert codes(f"{HEAD}output y = {expression}")[:1] in (["E302"], ["W201"])
    else:
        np.testing.assert_allclose(value(expression, axes), wanted, atol=1e-12)


def test_each_is_set_aside_by_dots_only() -> None:
    head = HEAD + "each M\n"
    np.testing.assert_allclose(value("C · G", "M, P", head), np.einsum("mn,pmn->mp", C, G))
    np.testing.assert_allclose(value("C ⊗ p*G", "P, M, N", head.replace("each M", "each M, N")), C * G)
    assert codes(f"{HEAD}output y[M, P] = C · G")[0] == "E302"


@pytest.mark.parametrize(
    ("expression", "order"),
    [
        ("B*C", "BC"),  # neither has all: canonical
        ("S*C", "DCB"),  # S has all: its order
        ("C*S", "DCB"),
        ("S[B -> A]", "DCA"),  # renamed in place
        ("sum[C](S)", "DB"),
        ("S · D", "CB"),
        ("past[A](S)", "ABCD"),
        ("h", "DB"),  # a declared name keeps the order written
    ],
)
def test_the_last_axis_is_the_one_that_a_matrix_product_sums(expression: str, order: str) -> None:
    last = order[-1]
    text = f"""
    axis A, B, C, D
    input B[B], C[C], D[D], S[D, C, B], v[{last}]
    state h[D, B]
    h = B*D
    output y = sum[{", ".join(order[:-1])}](({expression}) @ v)
    """.replace("axis A,", "axis A = 2,")
    graph, _ = checked(text.replace("output y", "m = " + expression + "\noutput y"))
    sums = [x.over for x in n.postorder([dict(graph.names)["y"]]) if isinstance(x, n.Reduce)]
    assert sums[-2:] == [(last,), tuple(sorted(order[:-1]))]


def test_outputs_have_the_layout_written_or_the_canonical_one() -> None:
    graph = built("""
    axis A, B
    input x[B, A]
    y = x + 1
    output x, y[B, A], z[B, A] = 2*x
    """)
    assert [(o.name, o.axes) for o in graph.outputs] == [("x", ("A", "B")), ("y", ("B", "A")), ("z", ("B", "A"))]


def test_renaming_and_its_equations() -> None:
    graph = built("""
    axis D, E
    input x[D]
    state S[D, E]
    S = 0.9*S + x*x[D -> E]
    output S
    """)
    assert graph.equations == (("D", "E"),)


def test_sizes_are_expressions_of_other_sizes() -> None:
    graph = built("""
    axis N = 2*P, P, Q = (N + P)/3 - 1, R = size[P], F = 2*8
    input a[N, P], b[Q, R], c[F]
    output a, b, c
    """)
    sizes = {a.name: a.size for a in graph.axes}
    ar = graph.arena
    size = ar.size
    assert sizes["P"] is None
    assert sizes["N"] is ar.mul(ar.const(2), size("P"))
    assert sizes["Q"] is ar.sub(ar.div(ar.add(size("N"), size("P")), ar.const(3)), ar.const(1))
    assert sizes["R"] is size("P")
    assert sizes["F"] is ar.const(16)


def test_two_readings_are_told_only_where_they_differ() -> None:
    head = "axis K, V\ninput b, k[K], q[K], D[K, V], v[V]\n"
    for legal in ("b*k · D", "b*(k · q)*v", "(b*k) · D", "v*q · k", "q · k*v", "-k · D", "v/(q · k)", "k · q/b"):
        assert "E" not in "".join(codes(f"{head}output y[V] = {legal} + 0*v")), legal
    for wrong in ("q*k · D", "k · D*q", "q · D/k"):
        assert "E310" in codes(f"{head}output y = {wrong}"), wrong
    assert "E311" in codes(f"{head}output y[V] = v/q · k")


def test_a_square_value_goes_through_elementwise_operations() -> None:
    np.testing.assert_allclose(value("tanh(A*B + 1) @ x", "N"), np.tanh(A * B + 1) @ X[0])
    np.testing.assert_allclose(value("where(A > 0, A, -B) @ x", "N"), np.where(A > 0, A, -B) @ X[0])
    np.testing.assert_allclose(value("exp(A)", "N, N"), np.exp(A))
    np.testing.assert_allclose(value("sum[P](p*W) @ x", "N"), W.sum(0) @ X[0])


def test_macros_over_axes() -> None:
    text = """
    axis H, K, J
    input k[H, K]
    l2[A](x) = x*rsqrt(sum[A](x*x) + 1)
    both[A, B](x) = l2[B](l2[A](x)) + index[A]/size[B]
    swapped[A](x) = x[A -> J][J -> A]
    output y[H, K] = both[K, H](k), z[H, K] = swapped[K](k)
    """
    k = RNG.normal(size=(1, 2, 3))
    got = outputs(text, k=k)
    unit = k / np.sqrt((k * k).sum(2, keepdims=True) + 1)
    unit = unit / np.sqrt((unit * unit).sum(1, keepdims=True) + 1)
    np.testing.assert_allclose(got["y"], unit + np.arange(3) / 2)
    np.testing.assert_allclose(got["z"], k)
