# recurrent, from <text> (sha256 5eb6b4e10c81), by ssmc. Edit the spec, not this file.
#
#   h: recurrent. asked for
#
#   x [batch, time, D]   g [batch, time, D]   W [D, D']
#   -> y [batch, time, D]
#
#   y = apply(x=x, g=g, W=W)
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


def initial_state(*, sizes: dict[str, int], batch: int, like: Tensor, W: Tensor) -> dict[str, Any]:
    """Every entry of the state before the first step; `like` has the precision and device."""
    D = sizes["D"]
    real, _, device = _precision(like)
    return {
        "t": 0,
        "h": torch.full((batch, D), 0.0, dtype=real, device=device),
    }


def sequence(
    *, sizes: dict[str, int], batch: int, length: int, state: dict[str, Any], x: Tensor, g: Tensor, W: Tensor
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """All steps: the outputs in the spec's order, and the state after the last."""
    D = sizes["D"]
    real, _, device = _precision(x)
    t0 = state["t"]
    if length == 0:
        return (torch.zeros(batch, 0, D, dtype=real, device=device),), {**state}
    new_state: dict[str, Any] = {"t": t0 + length}

    # --- over time, in chunks of 256 (h: recurrent)

    def chunk_1(steps: int, h: Tensor, g: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        update = torch.sigmoid(g)  # <text>:6
        h_decay = 1 - update  # <text>:7
        h_t = h
        h_all_steps: list[Tensor] = []
        for h_decay_t, update_t, x_t in zip(h_decay.unbind(1), update.unbind(1), x.unbind(1), strict=True):
            h_t = torch.addcmul(update_t * torch.tanh(x_t + F.linear(h_t, W)), h_decay_t, h_t)  # <text>:7
            h_all_steps.append(h_t)
        h_all = torch.stack(h_all_steps, 1)
        y = 2 * h_all  # <text>:8
        return h_t, y

    h = state["h"]
    g_tiles = g.split(256, 1)
    x_tiles = x.split(256, 1)
    y_parts: list[Tensor] = []
    for i, start in enumerate(range(0, length, 256)):
        steps = min(256, length - start)
        h, y_part = _recomputed(chunk_1, steps, h, g_tiles[i], x_tiles[i])
        y_parts.append(y_part)
    y = torch.cat(y_parts, 1)
    new_state["h"] = h

    return (y,), new_state


def step(
    *, sizes: dict[str, int], batch: int, state: dict[str, Any], x: Tensor, g: Tensor, W: Tensor
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """One step: inputs (batch, axes…); the outputs of this step, and the state after it."""
    t = state["t"] + 1
    update = torch.sigmoid(g)  # <text>:6
    h = (1 - update) * state["h"] + update * torch.tanh(x + F.linear(state["h"], W))  # <text>:7
    y = 2 * h  # <text>:8
    new_state = {
        "t": t,
        "h": h,
    }
    return (y,), new_state


def apply(
    *, x: Tensor, g: Tensor, W: Tensor, state: dict[str, Any] | None = None, return_state: bool = False
) -> Any:
    """All steps, for inputs (batch…, time, axes…) whose batches broadcast; sizes are read off the tensors.

    Gives y: (batch…, time, axes…). `return_state`: also the state, for a call that goes on.
    """
    sizes = _measured({"x": (x, "D"), "g": (g, "D"), "W": (W, "D D")})
    lead, length = _common({"x": (x, 1), "g": (g, 1)})
    batch = math.prod(lead)
    x = _flat(x, 1, lead)
    g = _flat(g, 1, lead)
    new_state = initial_state(sizes=sizes, batch=batch, like=x, W=W)
    for name, entry in (state or {}).items():
        if torch.is_tensor(entry):
            entry = entry.reshape(batch, *entry.shape[len(lead) :])
        new_state[name] = entry
    outputs, new_state = sequence(sizes=sizes, batch=batch, length=length, state=new_state, x=x, g=g, W=W)
    shaped = tuple(y.reshape(*lead, *y.shape[1:]) for y in outputs)
    result = shaped[0]
    if not return_state:
        return result
    for name, entry in new_state.items():
        if torch.is_tensor(entry):
            new_state[name] = entry.reshape(*lead, *entry.shape[1:])
    return result, new_state
