"""Array namespaces: NumPy and torch with one vocabulary, in double precision.

`Operator.evaluate` and the evaluator call only what stands here. Both namespaces agree to rounding, also where the
libraries alone would not: `mod` is floored, `phi` is safe at 0, `logsumexp` of only -inf is -inf, a reduction over
an empty axis gives the identity. What TorchArrays computes is differentiable by autograd.

An axis is a dimension number here; names are the evaluator's business.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from ssmc.expr.nodes import Kind

Array = Any
Dims = tuple[int, ...]

_PHI_TERMS = 26


class Arrays(ABC):
    """What both namespaces share; `lib` is the library's module, `dtypes` its dtype of each kind."""

    lib: Any
    dtypes: dict[Kind, Any]

    # -- kinds -------------------------------------------------------------------------------------------------

    @abstractmethod
    def asarray(self, value: Any, kind: Kind) -> Array: ...

    @abstractmethod
    def cast(self, x: Array, kind: Kind) -> Array: ...

    def kind_of(self, x: Array) -> Kind:
        return next(k for k, d in self.dtypes.items() if d == x.dtype)

    def to_real(self, x: Array) -> Array:
        return self.cast(x, "real")

    def to_complex(self, x: Array) -> Array:
        return self.cast(x, "complex")

    def to_int(self, x: Array) -> Array:
        return self.cast(x, "int")

    def quiet(self) -> AbstractContextManager[Any]:
        """Within it, overflow and 0/0 give infinities and NaN without a word."""
        return nullcontext()

    # -- elementwise: those that the libraries have under one name -----------------------------------------------

    def true_divide(self, x: Array, y: Array) -> Array:
        return x / y

    def power(self, x: Array, y: Array) -> Array:
        return x**y

    def logical_not(self, x: Array) -> Array:
        return ~x

    def logical_and(self, x: Array, y: Array) -> Array:
        return x & y

    def logical_or(self, x: Array, y: Array) -> Array:
        return x | y

    def exp(self, x: Array) -> Array:
        return self.lib.exp(x)

    def log(self, x: Array) -> Array:
        return self.lib.log(x)

    def log1p(self, x: Array) -> Array:
        return self.lib.log1p(x)

    def expm1(self, x: Array) -> Array:
        return self.lib.expm1(x)

    def sqrt(self, x: Array) -> Array:
        return self.lib.sqrt(x)

    def rsqrt(self, x: Array) -> Array:
        return 1 / self.lib.sqrt(x)

    def sin(self, x: Array) -> Array:
        return self.lib.sin(x)

    def cos(self, x: Array) -> Array:
        return self.lib.cos(x)

    def tan(self, x: Array) -> Array:
        return self.lib.tan(x)

    def tanh(self, x: Array) -> Array:
        return self.lib.tanh(x)

    def floor(self, x: Array) -> Array:
        return self.lib.floor(x)

    def round(self, x: Array) -> Array:
        """To the nearest integer, halves to the even one."""
        return self.lib.round(x)

    def angle(self, x: Array) -> Array:
        return self.lib.angle(x)

    def abs(self, x: Array) -> Array:
        return self.lib.abs(x)

    def real(self, x: Array) -> Array:
        return x.real if self.kind_of(x) == "complex" else x

    def imag(self, x: Array) -> Array:
        return x.imag if self.kind_of(x) == "complex" else x * 0

    def conj(self, x: Array) -> Array:
        return self.lib.conj(x) if self.kind_of(x) == "complex" else x

    def where(self, c: Array, x: Array, y: Array) -> Array:
        """x where c, else y; the branches are promoted to one kind."""
        return self.lib.where(c, x, y)

    def phi(self, x: Array, k: Any) -> Array:
        """phi_k(x) = sum over j of x^j / (j + k)!, so phi_0 = exp and phi_1 = (e^x - 1) / x, also at x = 0.

        By the series near 0, by phi_k = (phi_{k-1} - 1/(k-1)!) / x elsewhere: each where it does not cancel.
        """
        order = int(k.item() if hasattr(k, "item") else k)  # a constant, perhaps with dimensions of size 1
        if order == 0:
            return self.exp(x)
        small = self.abs(x) < (1.0 if order == 1 else 2.0)
        near, far = self.where(small, x, x * 0), self.where(small, x * 0 + 3.0, x)
        series = near * 0 + 1 / math.factorial(_PHI_TERMS + order)
        for j in reversed(range(_PHI_TERMS)):
            series = series * near + 1 / math.factorial(j + order)
        value = self.expm1(far) / far
        for j in range(1, order):
            value = (value - 1 / math.factorial(j)) / far
        return self.where(small, series, value)

    # -- shapes --------------------------------------------------------------------------------------------------

    @abstractmethod
    def transpose(self, x: Array, dims: Dims) -> Array: ...

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return x.reshape(tuple(shape))

    def expand(self, x: Array, shape: Sequence[int]) -> Array:
        return self.lib.broadcast_to(x, tuple(shape))

    def flip(self, x: Array, dim: int) -> Array:
        return self.lib.flip(x, (dim,))

    @abstractmethod
    def concatenate(self, parts: Sequence[Array], dim: int) -> Array: ...

    @abstractmethod
    def stack(self, parts: Sequence[Array], dim: int) -> Array: ...

    @abstractmethod
    def unbind(self, x: Array, dim: int) -> Sequence[Array]:
        """The slices along `dim`."""

    def arange(self, count: int) -> Array:
        return self.lib.arange(count, dtype=self.dtypes["int"])

    def full(self, shape: Sequence[int], value: Any, kind: Kind) -> Array:
        return self.lib.full(tuple(shape), value, dtype=self.dtypes[kind])

    def zeros(self, shape: Sequence[int], kind: Kind) -> Array:
        return self.full(shape, 0, kind)

    # -- reductions; over no dimension they give x back ------------------------------------------------------------

    def reduce(self, op: str, x: Array, dims: Dims) -> Array:
        """`op` of ssmc.expr.ops.REDUCTIONS over `dims`."""
        if not dims:
            return x
        return getattr(self, op)(x, dims)

    def _empty(self, x: Array, dims: Dims, value: float) -> Array:
        kind = self.kind_of(x)
        if kind == "int":
            value = -(2**63) if value < 0 else 2**63 - 1
        return self.full([s for d, s in enumerate(x.shape) if d not in dims], value, kind)

    def sum(self, x: Array, dims: Dims) -> Array:
        return x.sum(dims)

    def prod(self, x: Array, dims: Dims) -> Array:
        for d in sorted(dims, reverse=True):
            x = x.prod(d)
        return x

    def max(self, x: Array, dims: Dims) -> Array:
        return self.lib.amax(x, dims) if _filled(x, dims) else self._empty(x, dims, -math.inf)

    def min(self, x: Array, dims: Dims) -> Array:
        return self.lib.amin(x, dims) if _filled(x, dims) else self._empty(x, dims, math.inf)

    def any(self, x: Array, dims: Dims) -> Array:
        return self.lib.any(x, dims)

    def all(self, x: Array, dims: Dims) -> Array:
        return self.lib.all(x, dims)

    def logsumexp(self, x: Array, dims: Dims) -> Array:
        if not _filled(x, dims):
            return self._empty(x, dims, -math.inf)
        top = self.constant(self.max(x, dims))
        kept = [1 if d in dims else s for d, s in enumerate(x.shape)]
        top = self.where(self.lib.isfinite(top), top, self._zero(top))
        total = self.sum(self.exp(x - self.reshape(top, kept)), dims)
        nothing = total == 0  # every term -inf: the gradient of log there would be 0 * inf
        log = self.log(self.where(nothing, total * 0 + 1, total)) + top
        return self.where(nothing, self._zero(log) - math.inf, log)

    def _zero(self, x: Array) -> Array:
        return self.full(x.shape, 0.0, "real")

    def constant(self, x: Array) -> Array:
        """x as a value that no gradient flows through."""
        return x

    def cumulative(self, op: str, x: Array, dim: int, reverse: bool) -> Array:
        """Inclusive running sum or prod."""
        if reverse:
            x = self.flip(x, dim)
        x = (x.cumsum if op == "sum" else x.cumprod)(dim)
        return self.flip(x, dim) if reverse else x

    # -- matrices over the last two dimensions ---------------------------------------------------------------------

    def solve(self, matrix: Array, rhs: Array) -> Array:
        return self.lib.linalg.solve(matrix, rhs)

    def expm(self, matrix: Array, order: int = 0) -> Array:
        """The exponential; with an order k, phi_k: a block of the exponential of a matrix k + 1 times as large."""
        if order == 0:
            return self._expm(matrix)
        size, kind = matrix.shape[-1], self.kind_of(matrix)
        total = (order + 1) * size
        wide = self.zeros([*matrix.shape[:-1], total - size], kind)
        tall = self.zeros([*matrix.shape[:-2], total - size, total], kind)
        padded = self.concatenate([self.concatenate([matrix, wide], -1), tall], -2)
        # [[X, I, 0], [0, 0, I], [0, 0, 0]]: the last block of the first row of its exponential
        step = self.cast(self.lib.diag(self.lib.ones(total - size), size), kind)
        return self._expm(padded + step)[..., :size, total - size :]

    @abstractmethod
    def _expm(self, matrix: Array) -> Array: ...


def _filled(x: Array, dims: Dims) -> bool:
    return all(x.shape[d] for d in dims)


class NumpyArrays(Arrays):
    """NumPy, float64 and complex128."""

    def __init__(self) -> None:
        import numpy as np

        self.lib = np
        self.dtypes = {
            "bool": np.dtype(np.bool_),
            "int": np.dtype(np.int64),
            "real": np.dtype(np.float64),
            "complex": np.dtype(np.complex128),
        }
        self._erf = np.frompyfunc(math.erf, 1, 1)

    def asarray(self, value: Any, kind: Kind) -> Array:
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()
        return self.lib.asarray(value, self.dtypes[kind])

    def cast(self, x: Array, kind: Kind) -> Array:
        # operators on 0-d arrays give NumPy scalars, which have a dtype as well
        return x if x.dtype == self.dtypes[kind] else self.lib.asarray(x).astype(self.dtypes[kind])

    def quiet(self) -> AbstractContextManager[Any]:
        return cast(AbstractContextManager[Any], self.lib.errstate(all="ignore"))

    def sign(self, x: Array) -> Array:
        if self.kind_of(x) != "complex":
            return self.lib.sign(x)
        size = self.lib.abs(x)
        return self.lib.where(size == 0, 0, x / self.lib.where(size == 0, 1, size))

    def sigmoid(self, x: Array) -> Array:
        e = self.lib.exp(-self.lib.abs(x))
        return self.lib.where(x >= 0, 1 / (1 + e), e / (1 + e))

    def softplus(self, x: Array) -> Array:
        return self.lib.logaddexp(x, 0.0)

    def logaddexp(self, x: Array, y: Array) -> Array:
        return self.lib.logaddexp(x, y)

    def erf(self, x: Array) -> Array:
        return self.lib.asarray(self._erf(x)).astype(self.dtypes["real"])

    def maximum(self, x: Array, y: Array) -> Array:
        return self.lib.maximum(x, y)

    def minimum(self, x: Array, y: Array) -> Array:
        return self.lib.minimum(x, y)

    def mod(self, x: Array, y: Array) -> Array:
        return self.lib.mod(x, y)

    def transpose(self, x: Array, dims: Dims) -> Array:
        return x.transpose(dims)

    def concatenate(self, parts: Sequence[Array], dim: int) -> Array:
        return self.lib.concatenate(list(parts), dim)

    def stack(self, parts: Sequence[Array], dim: int) -> Array:
        return self.lib.stack(list(parts), dim)

    def unbind(self, x: Array, dim: int) -> Sequence[Array]:
        return list(self.lib.moveaxis(x, dim, 0))

    def _expm(self, matrix: Array) -> Array:
        """Scaling and squaring with the [13/13] Padé approximant, each matrix of the stack scaled by its own norm."""
        np = self.lib
        a = matrix
        if a.size == 0:
            return a
        norm = np.abs(a).sum(-2).max(-1)
        # below 5.37 the approximant is exact to rounding (Higham 2005)
        doublings = np.maximum(0, np.ceil(np.log2(np.maximum(norm, 1e-300) / 5.371920351148152)))
        doublings = np.where(np.isfinite(doublings), doublings, 0).astype(int)
        a = a / np.exp2(doublings)[..., None, None]
        b = [
            64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000,
            10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
        ]  # fmt: skip
        one = np.eye(a.shape[-1])
        a2 = a @ a
        a4 = a2 @ a2
        a6 = a4 @ a2
        odd = a @ (a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one)
        even = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * one
        result = np.linalg.solve(even - odd, even + odd)
        for step in range(int(doublings.max())):
            result = np.where((doublings > step)[..., None, None], result @ result, result)
        return result


class TorchArrays(Arrays):
    """torch on the CPU, float64 and complex128, differentiable."""

    def __init__(self) -> None:
        import torch

        self.lib = torch
        self.dtypes = {
            "bool": torch.bool,
            "int": torch.int64,
            "real": torch.float64,
            "complex": torch.complex128,
        }

    def asarray(self, value: Any, kind: Kind) -> Array:
        if isinstance(value, self.lib.Tensor):
            return value.to(self.dtypes[kind])
        return self.lib.as_tensor(value, dtype=self.dtypes[kind])

    def cast(self, x: Array, kind: Kind) -> Array:
        return x.to(self.dtypes[kind])

    def constant(self, x: Array) -> Array:
        return x.detach()

    def sign(self, x: Array) -> Array:
        return self.lib.sgn(x)

    def rsqrt(self, x: Array) -> Array:
        return self.lib.rsqrt(x)

    def conj(self, x: Array) -> Array:
        return self.lib.conj_physical(x)

    def sigmoid(self, x: Array) -> Array:
        return self.lib.sigmoid(x)

    def softplus(self, x: Array) -> Array:
        return self.lib.logaddexp(x, self.lib.zeros_like(x))

    def logaddexp(self, x: Array, y: Array) -> Array:
        # two equal infinities: torch's gradient would be NaN; it is 0, as of a logsumexp without terms
        both = (x == y) & self.lib.isinf(x)
        inner = self.lib.logaddexp(self._masked(both, x), self._masked(both, y))
        return self.lib.where(both, x.detach(), inner)

    def _masked(self, c: Array, x: Array) -> Array:
        return self.lib.where(c, self.lib.zeros_like(x), x)

    def erf(self, x: Array) -> Array:
        return self.lib.erf(x)

    def _other(self, x: Array, y: Array) -> Array:
        return y if isinstance(y, self.lib.Tensor) else self.lib.full_like(x, y)

    def maximum(self, x: Array, y: Array) -> Array:
        return self.lib.maximum(x, self._other(x, y))

    def minimum(self, x: Array, y: Array) -> Array:
        return self.lib.minimum(x, self._other(x, y))

    def mod(self, x: Array, y: Array) -> Array:
        if self.kind_of(y) != "int" or self.kind_of(x) != "int":
            return self.lib.remainder(x, y)
        # an integer modulo 0 is 0, as in NumPy, and not an exception
        zero = y == 0
        return self.lib.where(zero, 0, self.lib.remainder(x, self.lib.where(zero, 1, y)))

    def transpose(self, x: Array, dims: Dims) -> Array:
        return x.permute(dims)

    def concatenate(self, parts: Sequence[Array], dim: int) -> Array:
        return self.lib.cat(list(parts), dim)

    def stack(self, parts: Sequence[Array], dim: int) -> Array:
        return self.lib.stack(list(parts), dim)

    def unbind(self, x: Array, dim: int) -> Sequence[Array]:
        return cast(Sequence[Array], x.unbind(dim))

    def solve(self, matrix: Array, rhs: Array) -> Array:
        kind: Kind = "complex" if "complex" in (self.kind_of(matrix), self.kind_of(rhs)) else "real"
        return self.lib.linalg.solve(self.cast(matrix, kind), self.cast(rhs, kind))

    def _expm(self, matrix: Array) -> Array:
        return self.lib.linalg.matrix_exp(matrix)
