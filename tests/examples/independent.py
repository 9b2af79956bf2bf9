"""What the checks of the references share: arrays of a case, comparison, convolution by the definition."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from tests.examples.cases import BY_NAME, Arrays

B, L = 2, 9
TOLERANCE = 1e-10


def arrays_of(name: str, length: int = L) -> Arrays:
    return BY_NAME[name].make_inputs(np.random.default_rng(sum(map(ord, name))), B, length)


def agree(actual: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(expected).max())))


def convolve(kernel: np.ndarray, u: np.ndarray) -> np.ndarray:
    """y_t = sum_l kernel[l] u_{t-l}, kernel (L, …), u (B, L, …)."""
    y = np.zeros(np.broadcast_shapes(u.shape, (1, *kernel.shape)), np.result_type(kernel, u))
    for t in range(u.shape[1]):
        for j in range(t + 1):
            y[:, t] += kernel[j] * u[:, t - j]
    return y
