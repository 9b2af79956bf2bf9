"""`past`: growing and of a fixed length; what lies before the start takes no part."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.specs import built, codes, outputs

L, K, V, S = 6, 2, 3, 4
RNG = np.random.default_rng(1)
Q, KEY, VAL = RNG.normal(size=(L, K)), RNG.normal(size=(L, K)), RNG.normal(size=(L, V))


def steps(i: int, length: int | None) -> slice:
    """The steps that `past` holds at step i."""
    return slice(0 if length is None else max(0, i + 1 - length), i + 1)


@pytest.mark.parametrize("length", [None, S])
def test_attention(length: int | None) -> None:
    text = f"""
    axis K, V, T{"" if length is None else f" = {length}"}
    input q[K], k[K], v[V]
    output o[V] = sum[T](softmax[T](q · past[T](k))*past[T](v))
    """
    got = outputs(text, q=Q, k=KEY, v=VAL)["o"]
    for i in range(L):
        s = steps(i, length)
        weights = np.exp(KEY[s] @ Q[i])
        np.testing.assert_allclose(got[i], weights @ VAL[s] / weights.sum())


@pytest.mark.parametrize("length", [None, S])
def test_reductions(length: int | None) -> None:
    # exp and + 1 are not zero before the start: only the mask keeps those steps out
    text = f"""
    axis V, T{"" if length is None else f" = {length}"}
    input v[V]
    e = exp(past[T](v)) + 1
    output a[V] = sum[T](e), b[V] = mean[T](e), c[V] = max[T](-e), d[V] = prod[T](e), f = mean[T, V](e)
    output g[V] = logsumexp[T](e), h[V] = norm[T](e), i = e · index[T] · v, j[V] bool = all[T](e > 1)
    output k[V] bool = any[T](e < 0), l[V] = max[T](past[T](where(v > 0, 1, -1)))
    """
    text = text.replace("i = e · index[T] · v", "i[V] = e · index[T]")
    got = outputs(text, v=VAL)
    for i in range(L):
        s = steps(i, length)
        e = np.exp(VAL[s]) + 1
        place = np.arange(len(e)) + (0 if length is None else length - len(e))
        for name, wanted in {
            "a": e.sum(0), "b": e.mean(0), "c": (-e).max(0), "d": e.prod(0), "f": e.mean(),
            "g": np.log(np.exp(e).sum(0)), "h": np.sqrt((e * e).sum(0)), "i": (e * place[:, None]).sum(0),
            "j": [True] * V, "k": [False] * V, "l": np.where(VAL[s] > 0, 1, -1).max(0),
        }.items():  # fmt: skip
            np.testing.assert_allclose(got[name][i], wanted, err_msg=f"{name} at {i}")


@pytest.mark.parametrize("length", [None, S])
def test_axes_of_steps_are_picked_shifted_and_renamed(length: int | None) -> None:
    size = "" if length is None else f" = {length}"
    text = f"""
    axis V, T{size}, R{size}
    input v[V]
    p = past[T](v)
    output a[V] = p[T = -1], b[V] = p[T = -3], c[V] = sum[T](p*shift[T](exp(p))), d[V] = sum[R](exp(p[T -> R]))
    output e[V] = cumsum[T](exp(p))[T = -1], f = size[T]/t
    """
    got = outputs(text, v=VAL)
    for i in range(L):
        p = VAL[steps(i, length)]
        moved = np.vstack([np.zeros((1, V)), np.exp(p)[:-1]])
        for name, wanted in {
            "a": p[-1], "b": p[-3] if len(p) >= 3 else np.zeros(V), "c": (p * moved).sum(0), "d": np.exp(p).sum(0),
            "e": np.exp(p).sum(0), "f": 1.0 if length is None else S / (i + 1),
        }.items():  # fmt: skip
            np.testing.assert_allclose(got[name][i], wanted, err_msg=f"{name} at {i}")


def test_a_delayed_past_knows_its_own_start() -> None:
    text = """
    axis V, T = 3
    input v[V]
    output a[V] = mean[T](exp(prev(past[T](v))))
    """
    got = outputs(text, v=VAL)["a"]
    for i in range(L):
        e = np.exp(VAL[steps(i - 1, 3)]) if i else np.zeros((1, V))
        np.testing.assert_allclose(got[i], e.mean(0))


def test_a_past_of_a_past() -> None:
    text = """
    axis T = 3, S = 2
    input x
    p = exp(past[T](past[S](x)))
    output a = sum[T, S](p), b = mean[T, S](p), c = sum[T](mean[S](p)), d = max[S](-mean[T](p))
    """
    x = VAL[:, 0]
    got = outputs(text, x=x)
    for i in range(L):
        p = [[np.exp(x[k]) for k in range(max(0, j - 1), j + 1)] for j in range(max(0, i - 2), i + 1)]
        every = [e for row in p for e in row]
        np.testing.assert_allclose(got["a"][i], sum(every))
        np.testing.assert_allclose(got["b"][i], np.mean(every))
        np.testing.assert_allclose(got["c"][i], sum(np.mean(row) for row in p))
        # along S: the older of two, then the newer; the older is there wherever a step has one before it
        older = [row[0] for row in p if len(row) == 2]
        newer = [row[-1] for row in p]
        np.testing.assert_allclose(got["d"][i], max(-np.mean(z) for z in (older, newer) if z))


def test_the_first_element_of_a_growing_past() -> None:
    text = """
    axis V, T
    input v[V]
    p = past[T](v)
    output a[V] = p[T = 0], b[V] = p[T = 2], c bool = past[T](t == 1)[T = 0]
    """
    got = outputs(text, v=VAL)
    np.testing.assert_allclose(got["a"], np.broadcast_to(VAL[0], (L, V)))
    np.testing.assert_allclose(got["b"], np.where(np.arange(L)[:, None] >= 2, VAL[2], 0))
    assert got["c"].all()


def test_a_length_from_a_tensor_is_a_length() -> None:
    text = """
    axis T
    input x
    param w[T]
    output y = w · past[T](x)
    """
    (line,) = built(text).registers
    assert (line.depth.axis, line.depth.unbounded) == ("T", False)
    w = RNG.normal(size=3)
    x = VAL[:, 0]
    got = outputs(text, x=x, w=w)["y"]
    for i in range(L):
        p = x[steps(i, 3)]
        np.testing.assert_allclose(got[i], w[3 - len(p) :] @ p)


def test_equal_pasts_share_a_register() -> None:
    graph = built("""
    axis V, T
    input v[V]
    output y[V] = sum[T](past[T](v)*past[T](v)), z[V] = sum[T](past[T](2*v))
    """)
    assert [r.name for r in graph.registers] == ["past.v", "past.z"]


def test_nothing_else_may_grow() -> None:
    head = "axis T, V\ninput v[V]\np = past[T](v)\n"
    assert codes(head + "output y[T, V] = p") == ["E514"]
    assert codes(head + "output y[V] = sum[T](prev(p))") == ["E514"]
    assert codes(head + "state h[V]\nh = p\noutput h") == ["E317"]
    assert codes("axis T, V, R = 3\ninput v[V]\noutput y[V] = sum[R](past[T](v)[T -> R])") == ["E515"]
