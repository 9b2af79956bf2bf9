# chunked_scalar_decay, from <text> (sha256 604f47e29409), by ssmc. Edit the spec, not this file.
#
#   S: chunked. asked for
#
#   q [batch, time, K]   k [batch, time, K]   v [batch, time, V]   dt [batch, time]
#   -> o [batch, time, V]
#
#   o = apply(q=q, k=k, v=v, dt=dt)
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


def initial_state(*, sizes: dict[str, int], batch: int, like: Tensor) -> dict[str, Any]:
    """Every entry of the state before the first step; `like` has the precision and device."""
    K = sizes["K"]
    V = sizes["V"]
    real, _, device = _precision(like)
    return {
        "t": 0,
        "S": torch.full((batch, K, V), 0.0, dtype=real, device=device),
    }


def sequence(
    *,
    sizes: dict[str, int],
    batch: int,
    length: int,
    state: dict[str, Any],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dt: Tensor,
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """All steps: the outputs in the spec's order, and the state after the last."""
    V = sizes["V"]
    real, _, device = _precision(q)
    t0 = state["t"]
    if length == 0:
        return (torch.zeros(batch, 0, V, dtype=real, device=device),), {**state}
    new_state: dict[str, Any] = {"t": t0 + length}

    # --- over time, in chunks of 64 (S: chunked)

    def chunk_1(steps: int, S: Tensor, dt: Tensor, k: Tensor, q: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        dt_k = dt[..., None] * k  # <text>:5
        q_dot_dt_k = torch.einsum("btk,bsk->bts", q, dt_k)
        now = torch.arange(steps, device=device)
        source = torch.arange(steps, device=device)
        softplus_dt = -F.softplus(dt, threshold=40)  # <text>:5
        product_between = torch.exp(
            torch.where(
                now[..., None] >= source,
                torch.where(now[..., None] > source, softplus_dt[..., None], 0.0).cumsum(1),
                -math.inf,
            )
        )
        product_so_far = torch.exp(softplus_dt.cumsum(1))
        o = (
            torch.einsum("bts,bsv->btv", q_dot_dt_k * product_between, v)
            + torch.einsum("btk,bkv->btv", q, S) * product_so_far[..., None]
        )  # <text>:6
        return (
            S * product_so_far.select(1, -1)[..., None, None]
            + torch.einsum("btk,btv->bkv", dt_k * product_between.select(1, -1)[..., None], v),
            o,
        )

    S = state["S"]
    dt_tiles = dt.split(64, 1)
    k_tiles = k.split(64, 1)
    q_tiles = q.split(64, 1)
    v_tiles = v.split(64, 1)
    o_parts: list[Tensor] = []
    for i, start in enumerate(range(0, length, 64)):
        steps = min(64, length - start)
        S, o_part = _recomputed(chunk_1, steps, S, dt_tiles[i], k_tiles[i], q_tiles[i], v_tiles[i])
        o_parts.append(o_part)
    o = torch.cat(o_parts, 1)
    new_state["S"] = S

    return (o,), new_state


def step(
    *, sizes: dict[str, int], batch: int, state: dict[str, Any], q: Tensor, k: Tensor, v: Tensor, dt: Tensor
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """One step: inputs (batch, axes…); the outputs of this step, and the state after it."""
    t = state["t"] + 1
    S = (
        torch.exp(-F.softplus(dt, threshold=40))[..., None, None] * state["S"]
        + (dt[..., None] * k)[..., None] * v[..., None, :]
    )  # <text>:5
    o = torch.einsum("bk,bkv->bv", q, S)  # <text>:6
    new_state = {
        "t": t,
        "S": S,
    }
    return (o,), new_state


def apply(
    *,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dt: Tensor,
    state: dict[str, Any] | None = None,
    return_state: bool = False,
) -> Any:
    """All steps, for inputs (batch…, time, axes…) whose batches broadcast; sizes are read off the tensors.

    Gives o: (batch…, time, axes…). `return_state`: also the state, for a call that goes on.
    """
    sizes = _measured({"q": (q, "K"), "k": (k, "K"), "v": (v, "V")})
    lead, length = _common({"q": (q, 1), "k": (k, 1), "v": (v, 1), "dt": (dt, 0)})
    batch = math.prod(lead)
    q = _flat(q, 1, lead)
    k = _flat(k, 1, lead)
    v = _flat(v, 1, lead)
    dt = _flat(dt, 0, lead)
    new_state = initial_state(sizes=sizes, batch=batch, like=q)
    for name, entry in (state or {}).items():
        if torch.is_tensor(entry):
            entry = entry.reshape(batch, *entry.shape[len(lead) :])
        new_state[name] = entry
    outputs, new_state = sequence(
        sizes=sizes, batch=batch, length=length, state=new_state, q=q, k=k, v=v, dt=dt
    )
    shaped = tuple(y.reshape(*lead, *y.shape[1:]) for y in outputs)
    result = shaped[0]
    if not return_state:
        return result
    for name, entry in new_state.items():
        if torch.is_tensor(entry):
            new_state[name] = entry.reshape(*lead, *entry.shape[1:])
    return result, new_state
