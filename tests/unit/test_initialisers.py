"""The tables against their defining facts."""

from __future__ import annotations

import numpy as np
import pytest

from ssmc.diagnostics import CompilerBug
from ssmc.step.initial import MATRICES, TABLES, table

SIZES = pytest.mark.parametrize("size", [1, 2, 5, 8, 33])


def skew(a: np.ndarray) -> np.ndarray:
    """What keeps a matrix from being skew-symmetric."""
    return np.abs(a + a.T)


@SIZES
def test_legs(size: int) -> None:
    a, b = table("hippo.legs", (size, size)), table("hippo.legs.B", (size,))
    n = np.arange(size)
    np.testing.assert_array_equal(np.triu(a, 1), 0)
    np.testing.assert_allclose(np.diag(a), -(n + 1))  # triangular: these are the eigenvalues
    np.testing.assert_allclose(b, np.sqrt(2 * n + 1))
    p = np.sqrt(n + 0.5)
    assert skew(a + np.outer(p, p) + np.eye(size) / 2).max() < 1e-12 * size**2
    if size > 2:
        assert a[2, 1] == pytest.approx(-np.sqrt(15))


@SIZES
def test_legt_plus_rank_two_is_skew(size: int) -> None:
    a, b = table("hippo.legt", (size, size)), table("hippo.legt.B", (size,))
    root = np.sqrt(2 * np.arange(size) + 1)
    np.testing.assert_allclose(b, root / 2)
    symmetric = (a + a.T) / 2
    even, odd = root * (np.arange(size) % 2 == 0), root * (np.arange(size) % 2 == 1)
    # -1/2 (R R^T) where n - k is even, 0 where it is odd: one direction a parity
    np.testing.assert_allclose(symmetric, -(np.outer(even, even) + np.outer(odd, odd)) / 2, atol=1e-12)
    assert a[0, 0] == -0.5
    if size > 1:
        assert a[0, 1] == pytest.approx(np.sqrt(3) / 2)
        assert a[1, 0] == pytest.approx(-np.sqrt(3) / 2)


@SIZES
def test_lmu(size: int) -> None:
    a, b = table("hippo.lmu", (size, size)), table("hippo.lmu.B", (size,))
    for n in range(size):
        assert b[n] == (2 * n + 1) * (-1) ** n
        for k in range(size):
            assert a[n, k] == (2 * n + 1) * (-1 if n < k else (-1) ** (n - k + 1))


def test_lmu_delays_a_signal_by_its_window() -> None:
    """m holds the last second of u(t) = t as shifted Legendre coefficients: their sum is u one second ago."""
    size, step = 6, 1e-3
    a, b = table("hippo.lmu", (size, size)), table("hippo.lmu.B", (size,))
    left, right = np.eye(size) - step / 2 * a, np.eye(size) + step / 2 * a
    m = np.zeros(size)
    for i in range(4000):
        m = np.linalg.solve(left, right @ m + step * b * (i * step))
    assert m.sum() == pytest.approx(3.0, abs=5e-3)


@SIZES
def test_fout_plus_rank_one_is_a_rotation_of_each_frequency(size: int) -> None:
    a, b = table("hippo.fout", (size, size)), table("hippo.fout.B", (size,))
    rotation = a + np.outer(b, b)
    assert skew(rotation).max() < 1e-12
    np.testing.assert_allclose(b[:4], [1, 0, np.sqrt(2), 0][:size])
    if size % 2 == 0:
        frequencies = np.sort(np.abs(np.linalg.eigvals(rotation).imag))
        np.testing.assert_allclose(frequencies, np.pi * np.repeat(np.arange(size // 2), 2), atol=1e-9)
        assert np.abs(np.linalg.eigvals(rotation)).min() == pytest.approx(0)


@SIZES
def test_s4d(size: int) -> None:
    n = np.arange(size)
    np.testing.assert_allclose(table("s4d.lin", (size,)), -0.5 + 1j * np.pi * n)
    np.testing.assert_array_equal(table("s4d.real", (size,)), -(n + 1.0))
    full = 2 * size
    inverse = table("s4d.inv", (size,))
    np.testing.assert_allclose(inverse, -0.5 + 1j * full / np.pi * (full / (2 * n + 1) - 1))
    assert (inverse.imag > 0).all()


@SIZES
def test_s4d_legs_are_the_eigenvalues_of_the_normal_part(size: int) -> None:
    values = table("s4d.legs", (size,))
    p = np.sqrt(np.arange(2 * size) + 0.5)
    every = np.linalg.eigvals(table("hippo.legs", (2 * size, 2 * size)) + np.outer(p, p))
    np.testing.assert_allclose(values.real, -0.5)
    assert (np.diff(values.imag) > 0).all()
    expected = np.sort(every.imag)
    np.testing.assert_allclose(np.sort(np.concatenate([values.imag, -values.imag])), expected, atol=1e-8 * size**2)


def test_every_table_has_its_kind_and_precision() -> None:
    for name, kind in TABLES.items():
        shape = (4, 4) if name in MATRICES else (4,)
        value = table(name, shape)
        assert value.shape == shape
        assert value.dtype == (np.complex128 if kind == "complex" else np.float64)


@pytest.mark.parametrize(("name", "shape"), [("hippo.legs", (3, 4)), ("hippo.legs.B", (3, 3)), ("s4d.other", (3,))])
def test_a_wrong_shape_or_name_is_a_bug(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(CompilerBug):
        table(name, shape)
