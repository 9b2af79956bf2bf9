# conv, from <text> (sha256 f95bd701dc78), by ssmc. Edit the spec, not this file.
#
#   h: conv. asked for
#
#   u [batch, time, D]   A_log [D, N]   B [N]   C [N]   skip [D]
#   -> y [batch, time, D]
#
#   y = apply(u=u, A_log=A_log, B=B, C=C, skip=skip)
#   `sequence` and `step` are what it calls: one batch dimension, explicit sizes and state.

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def _precision(like: Tensor) -> tuple[torch.dtype, torch.dtype, torch.device]:
    """The real and the complex element type that go with a tensor, and its device."""
    real = (
        like.real.dtype
        if like.is_complex()
        else like.dtype if like.is_floating_point() else torch.get_default_dtype()
    )
    return real, (torch.complex128 if real == torch.float64 else torch.complex64), like.device


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


def _measured(tensors: dict[str, tuple[Tensor, str]]) -> dict[str, int]:
    """The sizes of axes, read off the last dimensions of tensors; ValueError where two of them differ."""
    sizes: dict[str, int] = {}
    for name, (x, axes) in tensors.items():
        own = axes.split()
        if x.dim() < len(own):
            raise ValueError(f"`{name}` is {tuple(x.shape)}; its last dimensions are {axes}")
        for axis, size in zip(own, x.shape[x.dim() - len(own) :], strict=True):
            if sizes.setdefault(axis, size) != size:
                raise ValueError(
                    f"`{name}` is {tuple(x.shape)}, with {axis} = {size} where {sizes[axis]} was found"
                )
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


def initial_state(
    *, sizes: dict[str, int], batch: int, like: Tensor, A_log: Tensor, B: Tensor, C: Tensor, skip: Tensor
) -> dict[str, Any]:
    """Every entry of the state before the first step; `like` has the precision and device."""
    D = sizes["D"]
    N = sizes["N"]
    real, _, device = _precision(like)
    return {
        "t": 0,
        "h": torch.full((batch, D, N), 0.0, dtype=real, device=device),
    }


def sequence(
    *,
    sizes: dict[str, int],
    batch: int,
    length: int,
    state: dict[str, Any],
    u: Tensor,
    A_log: Tensor,
    B: Tensor,
    C: Tensor,
    skip: Tensor,
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """All steps: the outputs in the spec's order, and the state after the last."""
    D = sizes["D"]
    real, _, device = _precision(u)
    t0 = state["t"]
    if length == 0:
        return (torch.zeros(batch, 0, D, dtype=real, device=device),), {**state}
    new_state: dict[str, Any] = {"t": t0 + length}

    # --- once: values of the parameters alone
    C_B = C * B
    exp_exp_A_log = torch.exp(-torch.exp(A_log))  # <text>:6

    # --- the whole sequence at once (h: conv)
    h = state["h"]
    steps = length
    y = skip * u + (
        _fft_conv(_geometric(C_B, exp_exp_A_log, steps, 1, 0), u.transpose(1, 2), 0).transpose(1, 2)
        + _geometric(C * h, exp_exp_A_log, steps, 1, 1).transpose(1, 2)
    )  # <text>:7
    h = _moment(u[..., None], exp_exp_A_log, B, h)
    new_state["h"] = h

    return (y,), new_state


def step(
    *,
    sizes: dict[str, int],
    batch: int,
    state: dict[str, Any],
    u: Tensor,
    A_log: Tensor,
    B: Tensor,
    C: Tensor,
    skip: Tensor,
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """One step: inputs (batch, axes…); the outputs of this step, and the state after it."""
    t = state["t"] + 1
    h = torch.exp(-torch.exp(A_log)) * state["h"] + B * u[..., None]  # <text>:6
    y = torch.einsum("n,bdn->bd", C, h) + skip * u  # <text>:7
    new_state = {
        "t": t,
        "h": h,
    }
    return (y,), new_state


def apply(
    *,
    u: Tensor,
    A_log: Tensor,
    B: Tensor,
    C: Tensor,
    skip: Tensor,
    state: dict[str, Any] | None = None,
    return_state: bool = False,
) -> Any:
    """All steps, for inputs (batch…, time, axes…) whose batches broadcast; sizes are read off the tensors.

    Gives y: (batch…, time, axes…). `return_state`: also the state, for a call that goes on.
    """
    sizes = _measured(
        {"u": (u, "D"), "A_log": (A_log, "D N"), "B": (B, "N"), "C": (C, "N"), "skip": (skip, "D")}
    )
    lead, length = _common({"u": (u, 1)})
    batch = math.prod(lead)
    u = _flat(u, 1, lead)
    new_state = initial_state(sizes=sizes, batch=batch, like=u, A_log=A_log, B=B, C=C, skip=skip)
    for name, entry in (state or {}).items():
        if torch.is_tensor(entry):
            entry = entry.reshape(batch, *entry.shape[len(lead) :])
        new_state[name] = entry
    outputs, new_state = sequence(
        sizes=sizes, batch=batch, length=length, state=new_state, u=u, A_log=A_log, B=B, C=C, skip=skip
    )
    shaped = tuple(y.reshape(*lead, *y.shape[1:]) for y in outputs)
    result = shaped[0]
    if not return_state:
        return result
    for name, entry in new_state.items():
        if torch.is_tensor(entry):
            new_state[name] = entry.reshape(*lead, *entry.shape[1:])
    return result, new_state
