# reverse_and_delays, from <text> (sha256 36439560ab42), by ssmc. Edit the spec, not this file.
#
#   ahead: recurrent. asked for
#   behind: recurrent. asked for
#
#   x [batch, time, D]   g [batch, time, D]   w [D, W]
#   -> y [batch, time, D]
#
#   y = apply(x=x, g=g, w=w)
#   `sequence` and `step` are what it calls: one batch dimension, explicit sizes and state.

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def _precision(like: Tensor) -> tuple[torch.dtype, torch.dtype, torch.device]:
    """The real and the complex element type that go with a tensor, and its device."""
    real = (
        like.real.dtype
        if like.is_complex()
        else like.dtype if like.is_floating_point() else torch.get_default_dtype()
    )
    return real, (torch.complex128 if real == torch.float64 else torch.complex64), like.device


def _lag(x: Tensor, halo: Tensor, steps: int) -> Tensor:
    """x delayed by `steps`; the last steps of `halo` come first."""
    before = halo.narrow(1, halo.shape[1] - steps, steps)
    return torch.cat([before, x], 1).narrow(1, 0, x.shape[1])


def _tail(x: Tensor, halo: Tensor) -> Tensor:
    """The delay line after x, and nothing else of x."""
    depth, steps = halo.shape[1], x.shape[1]
    new = min(depth, steps)
    return torch.cat([halo.narrow(1, new, depth - new), x.narrow(1, steps - new, new)], 1)


def _delayed(weight: Tensor, x: Tensor, halo: Tensor, skip: int, oldest_first: bool) -> Tensor:
    """The sum over the last steps of weight[..., i] * step: what `_frames` gives, never made."""
    line, steps = torch.cat([halo, x], 1), x.shape[1]
    ages = range(weight.shape[-1])
    total: Tensor | None = None
    for age, w in zip(reversed(ages) if oldest_first else ages, weight.unbind(-1), strict=True):
        then = line.narrow(1, halo.shape[1] - skip - age, steps)
        total = w * then if total is None else torch.addcmul(total, w, then)
    return total if total is not None else torch.zeros_like(x)


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


class _AffineSteps(torch.autograd.Function):
    """h_t = decay_t * h_{t-1} + drive_t for all steps of a tile."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, drive: Tensor, h: Tensor) -> Tensor:
        states, now = drive.new_empty(drive.shape), h
        for decay_t, drive_t, h_t in zip(decay.unbind(1), drive.unbind(1), states.unbind(1), strict=True):
            now = torch.addcmul(drive_t, decay_t, now, out=h_t)
        ctx.save_for_backward(decay, states, h)
        ctx.save_for_forward(decay, states, h)
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same recurrence over the gradients, backwards."""
        decay, states, h = ctx.saved_tensors
        if (
            torch.is_grad_enabled()
        ):  # to be differentiated again: by operations that have gradients themselves
            total = grad
            if grad.shape[1] > 1:
                later = _apply(decay[:, 1:].flip(1).conj(), grad[:, :-1].flip(1), grad[:, -1])
                total = torch.cat([later.flip(1), grad[:, -1:]], 1)
            before = torch.cat([h.unsqueeze(1), states[:, :-1]], 1)
            return total * before.conj(), total, total[:, 0] * decay[:, 0].conj()
        total, d_decay, last = torch.empty_like(states), torch.empty_like(states), grad.shape[1] - 1
        now = total[:, last].copy_(grad[:, last])
        rows = zip(grad[:, :last].unbind(1), decay[:, 1:].unbind(1), total[:, :last].unbind(1), strict=True)
        for grad_t, decay_later, total_t in reversed(list(rows)):
            now = torch.addcmul(grad_t, decay_later.conj(), now, out=total_t)
        torch.mul(total[:, 1:], states[:, :-1].conj(), out=d_decay[:, 1:])
        torch.mul(total[:, 0], h.conj(), out=d_decay[:, 0])
        return d_decay, total, total[:, 0] * decay[:, 0].conj()

    @staticmethod
    def jvp(ctx: Any, d_decay: Tensor, d_drive: Tensor, d_h: Tensor) -> Tensor:
        decay, states, h = ctx.saved_tensors
        before = torch.cat([h.unsqueeze(1), states[:, :-1]], 1)
        return _apply(decay, d_decay * before + d_drive, d_h)


def _apply(decay: Tensor, drive: Tensor, h: Tensor) -> Tensor:
    states: Tensor = _AffineSteps.apply(decay, drive, h)  # type: ignore[no-untyped-call]
    return states


def _affine_steps(decay: Tensor, drive: Tensor, h: Tensor) -> Tensor:
    """h_t = decay_t * h_{t-1} + drive_t for all steps of a tile, from h."""
    if not torch._C._are_functorch_transforms_active():
        return _apply(decay, drive, h)
    states = []
    for decay_t, drive_t in zip(decay.unbind(1), drive.unbind(1), strict=True):
        h = torch.addcmul(drive_t, decay_t, h)
        states.append(h)
    return torch.stack(states, 1)


def initial_state(*, sizes: dict[str, int], batch: int, like: Tensor, w: Tensor) -> dict[str, Any]:
    """Every entry of the state before the first step; `like` has the precision and device."""
    D = sizes["D"]
    W = sizes["W"]
    real, _, device = _precision(like)
    return {
        "t": 0,
        "ahead": torch.full((batch, D), 0.0, dtype=real, device=device),
        "behind": torch.full((batch, D), 0.0, dtype=real, device=device),
        "conv.x": torch.full((batch, W, D), 0.0, dtype=real, device=device),
        "prev.u": torch.full((batch, 2, D), 0.0, dtype=real, device=device),
    }


def sequence(
    *, sizes: dict[str, int], batch: int, length: int, state: dict[str, Any], x: Tensor, g: Tensor, w: Tensor
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """All steps: the outputs in the spec's order, and the state after the last."""
    D = sizes["D"]
    real, _, device = _precision(x)
    t0 = state["t"]
    if length == 0:
        return (torch.zeros(batch, 0, D, dtype=real, device=device),), {**state}
    new_state: dict[str, Any] = {"t": t0 + length}

    # --- over time, in chunks of 256 (conv.x: delay, prev.u: delay, behind: recurrent)

    def chunk_1(steps: int, conv_x: Tensor, prev_u: Tensor, behind: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        u = F.silu(_delayed(w, x, conv_x, 0, False))  # <text>:6
        behind_drive = _lag(u, prev_u, 2)  # <text>:8
        behind_t = behind
        behind_all_steps: list[Tensor] = []
        for behind_drive_t in behind_drive.unbind(1):
            behind_t = 0.5 * behind_t + behind_drive_t  # <text>:8
            behind_all_steps.append(behind_t)
        behind_all = torch.stack(behind_all_steps, 1)
        return _tail(x, conv_x), _tail(u, prev_u), behind_t, u, behind_all

    conv_x = state["conv.x"]
    prev_u = state["prev.u"]
    behind = state["behind"]
    x_tiles = x.split(256, 1)
    u_parts: list[Tensor] = []
    behind_2_parts: list[Tensor] = []
    for i, start in enumerate(range(0, length, 256)):
        steps = min(256, length - start)
        conv_x, prev_u, behind, u_part, behind_2_part = _recomputed(
            chunk_1, steps, conv_x, prev_u, behind, x_tiles[i]
        )
        u_parts.append(u_part)
        behind_2_parts.append(behind_2_part)
    u = torch.cat(u_parts, 1)
    behind_2 = torch.cat(behind_2_parts, 1)
    new_state["conv.x"] = conv_x
    new_state["prev.u"] = prev_u
    new_state["behind"] = behind

    # --- from the last step to the first, in chunks of 256 (ahead: recurrent)

    def chunk_2(steps: int, ahead: Tensor, g: Tensor, u: Tensor, behind_2: Tensor) -> tuple[Tensor, ...]:
        ahead_decay = torch.sigmoid(g)  # <text>:7
        ahead_all = _affine_steps(ahead_decay.flip(1), u.flip(1), ahead).flip(1)  # <text>:7
        ahead_t = ahead_all[:, 0].clone()  # a view would keep the tile
        y = ahead_all + behind_2  # <text>:9
        return ahead_t, y

    ahead = state["ahead"]
    g_tiles = g.split(256, 1)
    u_tiles = u.split(256, 1)
    behind_2_tiles = behind_2.split(256, 1)
    y_parts: list[Tensor] = []
    for i, start in reversed([*enumerate(range(0, length, 256))]):
        steps = min(256, length - start)
        ahead, y_part = _recomputed(chunk_2, steps, ahead, g_tiles[i], u_tiles[i], behind_2_tiles[i])
        y_parts.append(y_part)
    y = torch.cat(y_parts[::-1], 1)
    new_state["ahead"] = ahead

    return (y,), new_state


def apply(
    *, x: Tensor, g: Tensor, w: Tensor, state: dict[str, Any] | None = None, return_state: bool = False
) -> Any:
    """All steps, for inputs (batch…, time, axes…) whose batches broadcast; sizes are read off the tensors.

    Gives y: (batch…, time, axes…). `return_state`: also the state, for a call that goes on.
    """
    sizes = _measured({"x": (x, "D"), "g": (g, "D"), "w": (w, "D W")})
    lead, length = _common({"x": (x, 1), "g": (g, 1)})
    batch = math.prod(lead)
    x = _flat(x, 1, lead)
    g = _flat(g, 1, lead)
    new_state = initial_state(sizes=sizes, batch=batch, like=x, w=w)
    for name, entry in (state or {}).items():
        if torch.is_tensor(entry):
            entry = entry.reshape(batch, *entry.shape[len(lead) :])
        new_state[name] = entry
    outputs, new_state = sequence(sizes=sizes, batch=batch, length=length, state=new_state, x=x, g=g, w=w)
    shaped = tuple(y.reshape(*lead, *y.shape[1:]) for y in outputs)
    result = shaped[0]
    if not return_state:
        return result
    for name, entry in new_state.items():
        if torch.is_tensor(entry):
            new_state[name] = entry.reshape(*lead, *entry.shape[1:])
    return result, new_state
