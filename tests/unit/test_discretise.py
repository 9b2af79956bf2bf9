"""Discretisation in closed form, against SciPy's matrix functions and the definition."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.signal

from ssmc.expr import nodes as n
from ssmc.expr.affine import affine
from ssmc.expr.arena import Arena
from ssmc.expr.arrays import NumpyArrays
from ssmc.expr.evaluate import Named, evaluate
from ssmc.expr.linear import Affine
from ssmc.expr.nodes import Node, postorder
from ssmc.step.discretise import NotAffine, StepMixes, discretise

METHODS = ["euler", "bilinear", "backward_euler", "zoh", "gbt"]
ALPHA = {"euler": 0.0, "bilinear": 0.5, "backward_euler": 1.0, "gbt": 0.3}
D, N, R = 2, 4, 2
SIZES = {"D": D, "N": N, "R": R, "DN": D * N}


class System:
    """h[D, N] with values for everything; `new` discretises and evaluates."""

    def __init__(self) -> None:
        self.ar = Arena(["D", "N", "R"])
        self.values: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        rng = np.random.default_rng(5)
        self.h = self.ar.read("h", ("D", "N"), "complex")
        self.h_value = rng.normal(size=(D, N)) + 1j * rng.normal(size=(D, N))
        self.rng = rng
        self.u = self.leaf("u", rng.normal(size=D), "D")
        self.B = self.leaf("B", rng.normal(size=N), "N")
        self.step = self.leaf("dt", rng.uniform(0.1, 0.5, size=D), "D")

    def leaf(self, name: str, value: np.ndarray, axes: str = "") -> Node:
        self.values[name] = (tuple(axes.split()), np.asarray(value))
        kind: n.Kind = "complex" if np.iscomplexobj(value) else "real"
        return self.ar.param(name, tuple(axes.split()), kind)

    def value(self, node: Node) -> np.ndarray:
        def leaf(x: Node) -> Named:
            if x is self.h:
                return Named(x.axes, self.h_value)
            return Named(*self.values[x.name])  # type: ignore[attr-defined]

        (v,) = evaluate([node], leaf, NumpyArrays(), SIZES)
        return np.transpose(v.data, [v.axes.index(a) for a in ("D", "N")])

    def new(self, f: Node, method: str, step: Node | None = None) -> Node:
        alpha = self.ar.const(ALPHA["gbt"]) if method == "gbt" else None
        return discretise(self.ar, f, self.h, method, step if step is not None else self.step, alpha)

    def check(self, f: Node, matrices: np.ndarray, b: np.ndarray, method: str, rtol: float = 1e-11) -> Node:
        """f = A h + b with A [D, N, N], b [D, N], one system a channel."""
        node = self.new(f, method)
        got = self.value(node)
        for d, dt in enumerate(self.values["dt"][1]):
            expected = definition(matrices[d], b[d], self.h_value[d], dt, method)
            np.testing.assert_allclose(got[d], expected, rtol=rtol, atol=1e-12)
        return node


def definition(a: np.ndarray, b: np.ndarray, h: np.ndarray, dt: float, method: str) -> np.ndarray:
    if method == "zoh":
        size = len(b)
        block = np.zeros((size + 1, size + 1), complex)
        block[:size, :size], block[:size, size] = a, b
        full = scipy.linalg.expm(dt * block)
        return full[:size, :size] @ h + full[:size, size]
    alpha, one = ALPHA[method], np.eye(len(b))
    return np.linalg.solve(one - alpha * dt * a, (one + (1 - alpha) * dt * a) @ h + dt * b)


def matmul(ar: Arena, m: Node, x: Node) -> Node:
    return ar.contract(m, ar.rename(x, {"N": "N'"}), ("N'",))


@pytest.mark.parametrize("method", METHODS)
def test_elementwise(method: str) -> None:
    s = System()
    lam = s.rng.normal(size=(D, N)) + 1j * s.rng.normal(size=(D, N))
    lam[0, 0] = 0  # A -> 0 is no special case
    lam[0, 1] = 1e-13
    f = s.ar.add(s.ar.mul(s.leaf("lam", lam, "D N"), s.h), s.u)
    b = np.tile(s.values["u"][1][:, None], N)
    node = s.check(f, np.stack([np.diag(x) for x in lam]), b, method)
    assert not any(isinstance(x, n.Solve | n.Expm) for x in postorder([node]))


@pytest.mark.parametrize("method", METHODS)
def test_without_a_matrix_or_without_an_input(method: str) -> None:
    s = System()
    b = np.tile(s.values["u"][1][:, None], N).astype(complex)
    s.check(s.ar.broadcast(s.u, ("D", "N")), np.zeros((D, N, N)), b, method)
    s.check(s.ar.neg(s.h), np.stack([-np.eye(N)] * D), 0 * b, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("singular", [False, True])
def test_dense(method: str, singular: bool) -> None:
    s = System()
    a = s.rng.normal(size=(N, N))
    if singular:
        a = np.eye(N, k=1)
    f = s.ar.add(matmul(s.ar, s.leaf("A", a, "N N'"), s.h), s.ar.mul(s.B, s.u))
    b = np.outer(s.values["u"][1], s.values["B"][1])
    s.check(f, np.stack([a] * D), b, method)


@pytest.mark.parametrize("method", METHODS)
def test_dense_per_channel_with_a_diagonal_part(method: str) -> None:
    s = System()
    a, d = s.rng.normal(size=(D, N, N)), s.rng.normal(size=N)
    f = s.ar.sub(matmul(s.ar, s.leaf("A", a, "D N N'"), s.h), s.ar.mul(s.leaf("d", d, "N"), s.h))
    f = s.ar.add(f, s.ar.sub(s.ar.mul(s.B, s.u), s.u))
    b = np.outer(s.values["u"][1], s.values["B"][1] - 1)
    s.check(f, a - np.diag(d), b, method)


def low_rank(s: System, count: int) -> tuple[Node, np.ndarray]:
    """diag(lam) - sum over r of P_r Q_r^T, with N too few to make it singular."""
    ar = s.ar
    lam = -s.rng.uniform(0.5, 1.5, size=(D, N)) + 1j * s.rng.normal(size=(D, N))
    f: Node = ar.mul(s.leaf("lam", lam, "D N"), s.h)
    a = np.stack([np.diag(x) for x in lam])
    for r in range(count):
        p = s.rng.normal(size=(D, N)) + 1j * s.rng.normal(size=(D, N))
        q = s.rng.normal(size=N)
        left, right = s.leaf(f"P{r}", p, "D N"), s.leaf(f"Q{r}", q, "N")
        f = ar.sub(f, ar.mul(left, ar.contract(right, s.h, ("N",))))
        a = a - p[:, :, None] * q[None, None, :]
    return ar.add(f, ar.mul(s.B, s.u)), a


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_diagonal_plus_low_rank(method: str, count: int) -> None:
    s = System()
    f, a = low_rank(s, count)
    node = s.check(f, a, np.outer(s.values["u"][1], s.values["B"][1]), method)
    dense = method == "zoh" or (count == 3 and method != "euler")
    assert any(isinstance(x, n.Solve | n.Expm) for x in postorder([node])) == dense


def test_rank_one_stays_rank_one() -> None:
    s = System()
    f, _ = low_rank(s, 1)
    form = affine(s.ar, s.new(f, "bilinear"), [s.h])
    assert isinstance(form, Affine)
    assert [t.mixed for t in form.terms] == [(), ("N",)]
    assert "N" not in form.terms[1].right.axes


@pytest.mark.parametrize("method", METHODS)
def test_low_rank_over_a_rank_axis(method: str) -> None:
    s = System()
    ar = s.ar
    lam, p, q = -s.rng.uniform(0.5, 1.5, size=N), s.rng.normal(size=(R, D, N)), s.rng.normal(size=(R, N))
    read = ar.contract(s.leaf("Q", q, "R N"), s.h, ("N",))
    f = ar.sub(ar.mul(s.leaf("lam", lam, "N"), s.h), ar.contract(s.leaf("P", p, "R D N"), read, ("R",)))
    a = np.diag(lam) - np.einsum("rdn,rm->dnm", p, q)
    node = s.check(ar.add(f, s.ar.mul(s.B, s.u)), a, np.outer(s.values["u"][1], s.values["B"][1]), method)
    solves = [x for x in postorder([node]) if isinstance(x, n.Solve)]
    assert [x.row for x in solves] == (["R"] if method not in ("zoh", "euler") else [])


def test_a_rate_that_depends_on_the_step_number() -> None:
    """HiPPO-LegS: (A c + B f)/t."""
    ar = Arena(["N"])
    c, f, t = ar.read("c", ("N",), "real"), ar.input("f", (), "real"), ar.time()
    a, b = ar.table("hippo.legs", ("N", "N'"), "real"), ar.table("hippo.legs.B", ("N",), "real")
    rhs = ar.div(ar.add(matmul(ar, a, c), ar.mul(b, f)), t)
    from ssmc.step.initial import table

    matrix, vector = table("hippo.legs", (4, 4)), table("hippo.legs.B", (4,))
    start = np.array([1.0, -2, 0.5, 3])

    def leaf(x: Node) -> Named:
        if isinstance(x, n.Time):
            return Named((n.TIME,), np.arange(1, 4))
        known = {a: matrix, b: vector, c: start, f: np.float64(0.7)}
        return Named(x.axes, known[x])

    for method in ("bilinear", "zoh", "backward_euler"):
        (new,) = evaluate([discretise(ar, rhs, c, method, ar.const(1))], leaf, NumpyArrays(), {"N": 4})
        for i, step in enumerate((1, 2, 3)):
            expected = definition(matrix / step, 0.7 * vector / step, start, 1.0, method)
            np.testing.assert_allclose(new.data[i], expected, rtol=1e-11)


def test_agrees_with_scipy_cont2discrete() -> None:
    s = System()
    a = s.rng.normal(size=(N, N))
    f = s.ar.add(matmul(s.ar, s.leaf("A", a, "N N'"), s.h), s.ar.mul(s.B, s.u))
    dt, (_, u), (_, b) = 0.2, s.values["u"], s.values["B"]
    for method in METHODS:
        if method == "euler":
            continue
        system = (a, b[:, None], np.zeros((1, N)), np.zeros((1, 1)))
        name = {"backward_euler": "backward_diff"}.get(method, method)
        ad, bd, *_ = scipy.signal.cont2discrete(system, dt, name, alpha=ALPHA.get(method))
        got = s.value(s.new(f, method, s.ar.const(dt)))
        np.testing.assert_allclose(got, s.h_value @ ad.T + u[:, None] * bd[:, 0], rtol=1e-10)


def test_a_stiff_decay_loses_no_digits() -> None:
    s = System()
    f = s.ar.mul(s.ar.const(-1e9), s.h)
    got = s.value(s.new(f, "backward_euler", s.ar.const(1.0)))
    np.testing.assert_allclose(got, s.h_value / (1 + 1e9), rtol=1e-15)
    assert (s.value(s.new(f, "zoh", s.ar.const(1.0))) == 0).all()


def test_euler_takes_any_f_and_the_others_say_what_is_not_affine() -> None:
    s = System()
    bad = s.ar.map("tanh", s.h)
    f = s.ar.sub(bad, s.h)
    np.testing.assert_allclose(
        s.value(s.new(f, "euler")), s.h_value + s.values["dt"][1][:, None] * (np.tanh(s.h_value) - s.h_value)
    )
    for method in METHODS[1:]:
        with pytest.raises(NotAffine) as caught:
            s.new(f, method)
        assert caught.value.node is bad
        assert caught.value.reason == "tanh of the carried state"


def test_a_step_over_a_mixed_axis_is_refused() -> None:
    s = System()
    dense = matmul(s.ar, s.leaf("A", np.eye(N), "N N'"), s.h)
    with pytest.raises(StepMixes, match="`N`"):
        s.new(dense, "bilinear", s.B)


@pytest.mark.parametrize("method", METHODS)
def test_a_matrix_equation(method: str) -> None:
    """H' = M H + H A^T + u B^T mixes both axes of H."""
    s = System()
    a, m = s.rng.normal(size=(N, N)), s.rng.normal(size=(D, D))
    both = s.ar.contract(s.leaf("M", m, "D D'"), s.ar.rename(s.h, {"D": "D'"}), ("D'",))
    f = s.ar.add(matmul(s.ar, s.leaf("A", a, "N N'"), s.h), both)
    f = s.ar.sub(s.ar.add(f, s.ar.mul(s.u, s.B)), s.ar.mul(s.B, s.h))
    alpha = s.ar.const(ALPHA["gbt"]) if method == "gbt" else None
    node = discretise(s.ar, f, s.h, method, s.ar.const(0.3), alpha, lambda axes: "".join(axes))
    b = s.values["B"][1]
    joint = np.kron(m, np.eye(N)) + np.kron(np.eye(D), a) - np.diag(np.tile(b, D))
    held = np.outer(s.values["u"][1], b).reshape(-1)
    expected = definition(joint, held, s.h_value.reshape(-1), 0.3, method)
    np.testing.assert_allclose(s.value(node).reshape(-1), expected, rtol=1e-11)


@pytest.mark.parametrize("method", METHODS)
def test_rank_one_over_two_axes(method: str) -> None:
    """Every element decays by itself and is fed by the sum of all."""
    s = System()
    lam = s.rng.normal(size=(D, N))
    total = s.ar.reduce("sum", s.ar.mul(s.B, s.h), ("D", "N"))
    f = s.ar.add(s.ar.mul(s.leaf("lam", lam, "D N"), s.h), s.ar.mul(s.u, total))
    alpha = s.ar.const(ALPHA["gbt"]) if method == "gbt" else None
    node = discretise(s.ar, f, s.h, method, s.ar.const(0.3), alpha, lambda axes: "".join(axes))
    u, b = np.repeat(s.values["u"][1], N), np.tile(s.values["B"][1], D)
    expected = definition(np.diag(lam.reshape(-1)) + np.outer(u, b), 0 * u, s.h_value.reshape(-1), 0.3, method)
    np.testing.assert_allclose(s.value(node).reshape(-1), expected, rtol=1e-11)
    assert any(isinstance(x, n.Solve | n.Expm) for x in postorder([node])) == (method == "zoh")


def test_what_depends_on_params_only_is_a_product_of_params() -> None:
    """The matrices of a time-invariant system do not contain the input."""
    ar = Arena(["N"])
    h, u = ar.read("h", ("N",), "real"), ar.input("u", (), "real")
    a, b = ar.param("A", ("N", "N'"), "real"), ar.param("B", ("N",), "real")
    for method in ("zoh", "bilinear"):
        new = discretise(ar, ar.add(matmul(ar, a, h), ar.mul(b, u)), h, method, ar.const(0.1))
        for x in postorder([new]):
            if isinstance(x, n.Solve | n.Expm | n.Reduce) and h not in postorder([x]):
                assert u not in postorder([x])


def test_a_matrix_equation_as_text_declares_its_axis() -> None:
    import ssmc
    from ssmc.step.interp import run
    from ssmc.step.printer import print_graph
    from ssmc.step.reader import read_graph, same_graph

    text = """
ssm lyapunov
axis   N, M
input  u[N], v[M]
param  A[N, N], B[M, M]
state  S[N, M] = 0
S' = A @ S + S @ B + u*v using zoh(step = 0.1)
output S
"""
    graph = ssmc.compile(text).graph
    assert [a.name for a in graph.axes] == ["N", "M", "N_M"]
    assert same_graph(graph, read_graph(print_graph(graph)))
    rng = np.random.default_rng(0)
    a, b, u, v = (
        rng.normal(size=(3, 3)),
        rng.normal(size=(2, 2)),
        rng.normal(size=(1, 4, 3)),
        rng.normal(size=(1, 4, 2)),
    )
    out, _ = run(graph, {"u": u, "v": v}, {"A": a, "B": b})
    state = np.zeros((3, 2))
    for t in range(4):
        joint = np.kron(a, np.eye(2)) + np.kron(np.eye(3), b.T)
        new = definition(joint, np.outer(u[0, t], v[0, t]).reshape(-1), state.reshape(-1), 0.1, "zoh")
        state = new.real.reshape(3, 2)
        np.testing.assert_allclose(out["S"][0, t], state, rtol=1e-10)
