"""Scalar functions, norms, filters and HiPPO matrices that the reference loops share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm
from scipy.special import erf

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
Result = dict[str, np.ndarray]


def sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def logsigmoid(x: Array) -> Array:
    return -softplus(-x)


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def gelu(x: Array) -> Array:
    return 0.5 * x * (1.0 + erf(x / np.sqrt(2.0)))


def elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


def rms_norm(x: Array, axes: tuple[int, ...] = (-1,), eps: float = 1e-5) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=axes, keepdims=True) + eps)


def layer_norm(x: Array, axes: tuple[int, ...] = (-1,), eps: float = 1e-5) -> Array:
    centred = x - np.mean(x, axis=axes, keepdims=True)
    return centred / np.sqrt(np.mean(centred * centred, axis=axes, keepdims=True) + eps)


def unit(x: Array, eps: float = 1e-6) -> Array:
    """Rows of length one along the last axis."""
    return x / np.sqrt(np.sum(x * x, axis=-1, keepdims=True) + eps)


def causal_filter(x: Array, taps: Array) -> Array:
    """y_t = sum_j taps[..., j] x_{t-j}, channel by channel; x is (B, L, …), taps (…, W)."""
    y = np.zeros_like(x)
    for j in range(taps.shape[-1]):
        for t in range(j, x.shape[1]):
            y[:, t] += taps[..., j] * x[:, t - j]
    return y


def centred_filter(x: Array, taps: Array) -> Array:
    """y_t = sum_j taps[..., j] x_{t+j-W//2} with zeros outside: a convolution with "same" padding, as torch has it."""
    y = np.zeros_like(x)
    half = taps.shape[-1] // 2
    for j in range(taps.shape[-1]):
        for t in range(x.shape[1]):
            if 0 <= t + j - half < x.shape[1]:
                y[:, t] += taps[..., j] * x[:, t + j - half]
    return y


def start(state: np.ndarray | None, shape: tuple[int, ...], value: float = 0.0, dtype: type = np.float64) -> np.ndarray:
    """The caller's initial state, or `value` everywhere."""
    return np.full(shape, value, dtype) if state is None else np.array(state, dtype)


def bilinear(A: np.ndarray, B: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """(I - step A/2)^-1 (I + step A/2) and (I - step A/2)^-1 step B."""
    eye = np.eye(len(A))
    left = np.linalg.inv(eye - 0.5 * step * A)
    return left @ (eye + 0.5 * step * A), left @ (step * B)


def zero_order_hold(A: np.ndarray, B: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """exp(step A) and the integral of exp(s A) B over the step, from one exponential of the augmented matrix."""
    n = len(A)
    block = np.zeros((n + 1, n + 1), np.result_type(A, B))
    block[:n, :n] = A
    block[:n, n] = B
    full = expm(step * block)
    return full[:n, :n], full[:n, n]


def hippo_legs(N: int) -> tuple[Array, Array]:
    A = np.zeros((N, N))
    for n in range(N):
        for k in range(N):
            if n > k:
                A[n, k] = -np.sqrt((2 * n + 1) * (2 * k + 1))
            elif n == k:
                A[n, k] = -(n + 1)
    return A, np.sqrt(2 * np.arange(N) + 1.0)


def hippo_legt(N: int) -> tuple[Array, Array]:
    A = np.zeros((N, N))
    R = np.sqrt(2 * np.arange(N) + 1.0)
    for n in range(N):
        for k in range(N):
            A[n, k] = -0.5 * R[n] * R[k] * ((-1.0) ** (n - k) if n < k else 1.0)
    return A, 0.5 * R


def hippo_lmu(N: int) -> tuple[Array, Array]:
    A = np.zeros((N, N))
    for n in range(N):
        for k in range(N):
            A[n, k] = (2 * n + 1) * (-1.0 if n < k else (-1.0) ** (n - k + 1))
    return A, np.array([(2 * n + 1) * (-1.0) ** n for n in range(N)])


def hippo_fout(N: int) -> tuple[Array, Array]:
    """N even: rotations at 0, 0, 1, 1, … half turns, less the rank-one term that makes the window slide."""
    d = np.zeros(N)
    d[1::2] = np.arange(N // 2)
    d = d[1:]
    B = np.zeros(N)
    B[0] = 1.0
    B[2::2] = np.sqrt(2.0)
    return np.pi * (-np.diag(d, 1) + np.diag(d, -1)) - np.outer(B, B), B
