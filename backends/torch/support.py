"""Helper functions that generated modules carry along: each is copied, as it stands here, where it is used.

Dimensions are (batch, time, …) for tiles, (batch, lag, …) for delay lines with the oldest step first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def _precision(like: Tensor) -> tuple[torch.dtype, torch.dtype, torch.device]:
    """The real and the complex element type that go with a tensor, and its device."""
    real = (
        like.real.dtype if like.is_complex() else like.dtype if like.is_floating_point() else torch.get_default_dtype()
    )
    return real, (torch.complex128 if real == torch.float64 else torch.complex64), like.device


def _shift(x: Tensor, dim: int, steps: int) -> Tensor:
    """x moved by `steps` towards higher indices along `dim`, zero filled."""
    size = x.shape[dim]
    kept = max(size - abs(steps), 0)
    zeros = x.new_zeros(*x.shape[:dim], size - kept, *x.shape[dim + 1 :])
    if steps > 0:
        return torch.cat([zeros, x.narrow(dim, 0, kept)], dim)
    return torch.cat([x.narrow(dim, size - kept, kept), zeros], dim)


def _solve(a: Tensor, b: Tensor) -> Tensor:
    """x with a @ x = b over the last axes."""
    x: Tensor = torch.linalg.solve(a, b.unsqueeze(-1))
    return x.squeeze(-1)


def _matrix_phi(a: Tensor, order: int) -> Tensor:
    """The sum over j of a^j / (j + order)!, for singular a too: a block of a larger matrix's exponential."""
    size = a.shape[-1]
    padded = torch.nn.functional.pad(a, (0, order * size, 0, order * size))
    ones = torch.ones(order * size, dtype=a.dtype, device=a.device)
    whole: Tensor = torch.linalg.matrix_exp(padded + torch.diag(ones, size))
    return whole[..., :size, order * size :]


def _lag(x: Tensor, halo: Tensor, steps: int) -> Tensor:
    """x delayed by `steps`; the last steps of `halo` come first."""
    before = halo.narrow(1, halo.shape[1] - steps, steps)
    return torch.cat([before, x], 1).narrow(1, 0, x.shape[1])


def _lead(x: Tensor, halo: Tensor, steps: int) -> Tensor:
    """x ahead by `steps`; the last steps of `halo` come after it, the last of all first."""
    after = halo.narrow(1, halo.shape[1] - steps, steps)
    return torch.cat([x, after if steps == 1 else after.flip(1)], 1).narrow(1, steps, x.shape[1])


def _tail(x: Tensor, halo: Tensor) -> Tensor:
    """The delay line after x, and nothing else of x."""
    depth, steps = halo.shape[1], x.shape[1]
    new = min(depth, steps)
    return torch.cat([halo.narrow(1, new, depth - new), x.narrow(1, steps - new, new)], 1)


def _frames(x: Tensor, halo: Tensor, size: int, skip: int, oldest_first: bool) -> Tensor:
    """The last `size` steps at every step, along a new last axis; `skip` of them are left out at the end."""
    line = torch.cat([halo, x], 1)
    frames = line.narrow(1, halo.shape[1] - skip - size + 1, x.shape[1] + size - 1).unfold(1, size, 1)
    return frames if oldest_first else frames.flip(-1)


def _delayed(weight: Tensor, x: Tensor, halo: Tensor, skip: int, oldest_first: bool) -> Tensor:
    """The sum over the last steps of weight[..., i] * step: what `_frames` gives, never made."""
    line, steps = torch.cat([halo, x], 1), x.shape[1]
    ages = range(weight.shape[-1])
    total: Tensor | None = None
    for age, w in zip(reversed(ages) if oldest_first else ages, weight.unbind(-1), strict=True):
        then = line.narrow(1, halo.shape[1] - skip - age, steps)
        total = w * then if total is None else torch.addcmul(total, w, then)
    return total if total is not None else torch.zeros_like(x)


def _logsumexp(x: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """log(sum(exp(x))), -inf where every term is -inf (with a zero gradient)."""
    top = x.detach().amax(dims, keepdim=True)
    top = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
    total = torch.exp(x - top).sum(dims)
    empty = total == 0
    result = torch.log(torch.where(empty, torch.ones_like(total), total)) + top.sum(dims)
    return torch.where(empty, torch.full_like(result, -torch.inf), result)


def _logaddexp(x: Tensor, y: Tensor) -> Tensor:
    """log(exp(x) + exp(y)), of infinities too, where torch's own derivatives are NaN (0 for equal ones)."""
    infinite = torch.isinf(x) | torch.isinf(y)
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    inner = torch.logaddexp(torch.where(infinite, zero, x), torch.where(infinite, zero, y))
    larger = torch.where(x == y, x.detach(), torch.maximum(x, y))
    return torch.where(infinite, larger, inner)


def _number(function: Callable[..., Any], *args: complex) -> Any:
    """A function of numbers, as tensors have it: infinities and no exceptions."""
    kinds = (torch.complex128 if isinstance(a, complex) else torch.float64 for a in args)
    return function(*(torch.tensor(a, dtype=k) for a, k in zip(args, kinds, strict=True))).item()


def _phi(x: Tensor, k: int) -> Tensor:
    """phi_k(x) = sum over j of x^j / (j + k)!: phi_1(x) = (e^x - 1) / x, and 1 at 0."""
    factorial = 1.0
    for i in range(2, k + 1):
        factorial *= i
    small = x.abs() < 1.0
    near = torch.where(small, x, torch.zeros_like(x))
    far = torch.where(small, torch.ones_like(x), x)
    series = torch.zeros_like(x)
    for j in range(18, 0, -1):
        series = near / (j + k) * (1 + series)
    series = (1 + series) / factorial
    value, fact = torch.exp(far), 1.0
    for i in range(1, k + 1):
        value = (value - 1 / fact) / far
        fact *= i
    return torch.where(small, series, value)


def _prefix(combine: Callable[..., tuple[Tensor, ...]], elements: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Inclusive prefix along time of an associative operator, pairs first: two operations an element."""
    steps = elements[0].shape[1]
    if steps < 2:
        return tuple(elements)
    pairs = combine([e[:, 0 : steps - 1 : 2] for e in elements], [e[:, 1::2] for e in elements])
    odd = _prefix(combine, pairs)
    inner = (steps - 1) // 2
    even = combine([o[:, :inner] for o in odd], [e[:, 2::2] for e in elements])
    result = []
    for e, at_even, at_odd in zip(elements, even, odd, strict=True):
        at_even = torch.cat([e[:, :1].to(at_even.dtype), at_even], 1)
        both = torch.stack([at_even[:, : at_odd.shape[1]], at_odd], 2).flatten(1, 2)
        result.append(torch.cat([both, at_even[:, at_odd.shape[1] :]], 1))
    return tuple(result)


def _halves(x: Tensor) -> tuple[Tensor, ...]:
    """The blocks of `x` (…, block, step, axis) in two: the earlier and the later one of each pair."""
    return x.reshape(*x.shape[:-3], x.shape[-3] // 2, 2, *x.shape[-2:]).unbind(-3)


def _filled(x: Tensor, dims: int = 1) -> Tensor:
    """Zeros after the steps of `x` (…, step, axis), to a power of two; `dims` 2: both are steps."""
    steps, size = x.shape[-2], 1
    while size < steps:
        size *= 2
    end = (0, size - steps)
    return x if size == steps else torch.nn.functional.pad(x, end * 2 if dims == 2 else (0, 0, *end))


def _scores(query: Tensor, key: Tensor, decay: Tensor, summed: int, late: bool) -> Tensor:
    """query_t . key_s over the last `summed` dimensions, with the decays after s up to t: (…, t, s).

    0 for later s. `late`: the decays before t, and 0 for t itself.

    In blocks of 1, 2, 4, … steps, each with its queries decayed from its start and its keys to its end:
    all pairs across two neighbours are one matrix product, and no decay is ever divided.
    """
    whole = torch.broadcast_tensors(query, key, decay)  # type: ignore[no-untyped-call]
    steps = whole[0].shape[-1 - summed]
    query, key, whole = (_filled(x.flatten(-summed)).unsqueeze(-2) for x in whole)
    rows, columns = query if late else query * whole, key
    scores = (query * key).sum(-1, keepdim=True)
    scores = torch.zeros_like(scores) if late else scores
    while scores.shape[-3] > 1:
        (before, after), (rows_0, rows_1), (columns_0, columns_1) = map(_halves, (scores, rows, columns))
        across = torch.cat([rows_1 @ columns_0.mT, after], -1)
        scores = torch.cat([torch.nn.functional.pad(before, (0, before.shape[-1])), across], -2)
        if scores.shape[-3] > 1:
            whole_0, whole_1 = _halves(whole)
            rows = torch.cat([rows_0, rows_1 * whole_0], -2)
            columns = torch.cat([columns_0 * whole_1, columns_1], -2)
            whole = whole_0 * whole_1
    return scores.squeeze(-3)[..., :steps, :steps]


def _broadcast(*shapes: torch.Size) -> tuple[int, ...]:
    """The shape that all of them broadcast to. PyTorch's own function imports sympy, which takes a second."""
    rank = max(map(len, shapes))
    sizes = zip(*((1,) * (rank - len(s)) + tuple(s) for s in shapes), strict=True)
    return tuple(next((size for size in each if size != 1), 1) for each in sizes)


def _gather(scores: Tensor, value: Tensor, decay: Tensor, kept: int, late: bool) -> Tensor:
    """The sum over s of scores_ts * value_s, with the decays between the steps: (…, t, `kept` dimensions).

    As in `_scores`: what crosses to the next block is decayed to the end of its own, then from there.
    """
    lead = [x.shape[: -1 - kept] for x in (value, decay)]
    shape = _broadcast(scores.shape[:-2], *lead)
    own = _broadcast(*(x.shape[-1 - kept :] for x in (value, decay)))
    columns, whole = (_filled(x.expand(*shape, *own).flatten(-kept)).unsqueeze(-2) for x in (value, decay))
    steps, scores = own[0], _filled(scores, 2)
    rows = torch.ones_like(whole) if late else whole
    total = torch.zeros_like(columns) if late else scores.diagonal(0, -2, -1)[..., None, None] * columns
    while total.shape[-3] > 1:
        cut = (total.shape[-3] // 2, 2, total.shape[-2])
        pairs = scores.reshape(*scores.shape[:-2], *cut, *cut).select(-5, 1).select(-2, 0)
        across = pairs.diagonal(0, -4, -2).movedim(-1, -3)
        (total_0, total_1), (rows_0, rows_1), (columns_0, columns_1) = map(_halves, (total, rows, columns))
        total = torch.cat([total_0, total_1 + rows_1 * (across @ columns_0)], -2)
        if total.shape[-3] > 1:
            whole_0, whole_1 = _halves(whole)
            rows = torch.cat([rows_0, rows_1 * whole_0], -2)
            columns = torch.cat([columns_0 * whole_1, columns_1], -2)
            whole = whole_0 * whole_1
    return total.squeeze(-3)[..., :steps, :].reshape(*shape, *own)


def _powers(base: Tensor, count: int) -> Tensor:
    """1, base, base^2, … along a new first dimension, by doubling: about log2(count) roundings."""
    powers = torch.ones_like(base).unsqueeze(0)
    top = base
    while powers.shape[0] < count:
        powers = torch.cat([powers, powers * top])
        top = top * top
    return powers[:count]


def _geometric(coefficient: Tensor, base: Tensor, steps: int, summed: int, first: int) -> Tensor:
    """sum of coefficient * base ** (l + first) over the last `summed` dimensions; l along a new last one.

    base ** (m s + r) = (base ** m) ** s * base ** r: two sets of about sqrt(steps) powers.
    """
    width = max(1, int(math.sqrt(steps)))
    count = -(-steps // width)
    shape = (coefficient + base).shape
    base = base.reshape((1,) * (len(shape) - base.dim()) + base.shape)
    low = _powers(base, width)
    stride = low[-1] * base
    if first:
        coefficient = coefficient * base
    high = (_powers(stride, count) * coefficient).expand(count, *shape)
    if summed:
        low = low.expand(width, *shape)
        keep = len(shape) - summed
        high, low = high.flatten(1 + keep), low.flatten(1 + keep)
        kernel = torch.einsum("s...n,r...n->...sr", high, low)
    else:
        kernel = (high.unsqueeze(1) * low).movedim((0, 1), (-2, -1))
    return kernel.flatten(-2)[..., :steps]


def _moment(x: Tensor, base: Tensor, factor: Tensor, carry: Tensor) -> Tensor:
    """base ** steps * carry + factor * sum over time of base ** (steps - 1 - t) * x[:, t]."""
    steps = x.shape[1]
    width = max(1, int(math.sqrt(steps)))
    rows = -(-steps // width)
    # zeros before the start change nothing
    base = base.reshape((1,) * (carry.dim() - base.dim()) + base.shape)
    x = torch.cat([x.new_zeros(x.shape[0], rows * width - steps, *x.shape[2:]), x], 1)
    x = x.reshape(x.shape[0], rows, width, *x.shape[2:])
    low = _powers(base, width)
    stride = low[-1] * base
    part = torch.zeros_like(carry)
    for row in x.unbind(1):
        inner = (row.movedim(1, 0) * low.flip(0)).sum(0)
        part = part * stride + inner
    high, rest, total = base, steps, torch.ones_like(base)
    while rest:
        total = total * high if rest & 1 else total
        high, rest = high * high, rest >> 1
    return total * carry + factor * part


def _fft_conv(kernel: Tensor, x: Tensor, summed: int) -> Tensor:
    """Causal convolution along the last dimension, summed over the `summed` dimensions before it."""
    steps = x.shape[-1]
    size = 2 * steps
    dims = tuple(range(-1 - summed, -1))
    if 0 in kernel.shape or 0 in x.shape:  # nothing to transform, which some libraries refuse
        empty = kernel * x
        return empty.sum(dims) if summed else empty
    real = not (kernel.is_complex() or x.is_complex())
    there, back = (torch.fft.rfft, torch.fft.irfft) if real else (torch.fft.fft, torch.fft.ifft)
    # a transform would spread over all steps what is not finite; it has no part in it, and makes NaN from its step on
    same = x.detach()
    since = (same - same).cumsum(-1)
    finite = torch.where(same.isfinite(), x, x.new_zeros(()))
    product: Tensor = there(kernel, size) * there(finite, size)
    y: Tensor = back(product.sum(dims) if summed else product, size)
    return y[..., :steps] + (since.sum(dims) if summed else since)


def _recomputed(chunk: Callable[..., Any], *args: Any) -> Any:
    """Run a chunk. For the backward only its arguments are kept: what it computed is computed again."""
    # torch.func.grad and its like refuse what a checkpoint is made of
    hooks: bool = torch._C._autograd._saved_tensors_hooks_is_enabled()  # type: ignore[attr-defined]
    if not torch.is_grad_enabled() or not hooks:
        return chunk(*args)
    if not torch.compiler.is_compiling():
        # without a backward there is nothing to save, and the first checkpoint of a process imports for seconds
        read = (*args, *(c.cell_contents for c in chunk.__closure__ or ()))
        if not any(isinstance(x, Tensor) and x.requires_grad for x in read):
            return chunk(*args)
    return checkpoint(chunk, *args, use_reentrant=False, preserve_rng_state=False, determinism_check="none")


def _measured(tensors: dict[str, tuple[Tensor, str]]) -> dict[str, int]:
    """The sizes of axes, read off the last dimensions of tensors; ValueError where two of them differ."""
    sizes: dict[str, int] = {}
    for name, (x, axes) in tensors.items():
        own = axes.split()
        if x.dim() < len(own):
            raise ValueError(f"`{name}` is {tuple(x.shape)}; its last dimensions are {axes}")
        for axis, size in zip(own, x.shape[x.dim() - len(own) :], strict=True):
            if sizes.setdefault(axis, size) != size:
                raise ValueError(f"`{name}` is {tuple(x.shape)}, with {axis} = {size} where {sizes[axis]} was found")
    return sizes


def _common(inputs: dict[str, tuple[Tensor, int]]) -> tuple[tuple[int, ...], int]:
    """The batch dimensions that the inputs broadcast to, and their length; each with its number of axes."""
    lengths = {name: x.shape[x.dim() - own - 1] for name, (x, own) in inputs.items() if x.dim() > own}
    if len(lengths) < len(inputs) or len(set(lengths.values())) != 1:
        raise ValueError(f"inputs are (batch…, time, axes…) with one length; found {lengths}")
    leads = [x.shape[: x.dim() - own - 1] for x, own in inputs.values()]
    return tuple(torch.broadcast_shapes(*leads)), next(iter(lengths.values()))  # type: ignore[no-untyped-call]


def _flat(x: Tensor, own: int, lead: tuple[int, ...]) -> Tensor:
    """An input with one batch dimension."""
    kept = x.shape[x.dim() - own - 1 :]
    return x.expand(*lead, *kept).reshape(math.prod(lead), *kept)
