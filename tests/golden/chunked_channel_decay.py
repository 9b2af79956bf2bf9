# chunked_channel_decay, from <text> (sha256 4f4ce860c227), by ssmc. Edit the spec, not this file.
#
#   S: chunked. asked for
#
#   q [batch, time, K]   k [batch, time, K]   v [batch, time, V]   g [batch, time, K]
#   -> o [batch, time, V]
#
#   o = apply(q=q, k=k, v=v, g=g)
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


def _shift(x: Tensor, dim: int, steps: int) -> Tensor:
    """x moved by `steps` towards higher indices along `dim`, zero filled."""
    size = x.shape[dim]
    kept = max(size - abs(steps), 0)
    zeros = x.new_zeros(*x.shape[:dim], size - kept, *x.shape[dim + 1 :])
    if steps > 0:
        return torch.cat([zeros, x.narrow(dim, 0, kept)], dim)
    return torch.cat([x.narrow(dim, size - kept, kept), zeros], dim)


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
    g: Tensor,
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """All steps: the outputs in the spec's order, and the state after the last."""
    V = sizes["V"]
    real, _, device = _precision(q)
    t0 = state["t"]
    if length == 0:
        return (torch.zeros(batch, 0, V, dtype=real, device=device),), {**state}
    new_state: dict[str, Any] = {"t": t0 + length}

    # --- over time, in chunks of 64 (S: chunked)

    def chunk_1(steps: int, S: Tensor, g: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        logsigmoid_g = F.logsigmoid(g)
        scores = _scores(q, k, torch.exp(logsigmoid_g), 1, False)
        product_so_far = torch.exp(logsigmoid_g.cumsum(1))
        o = torch.einsum("bts,bsv->btv", scores, v) + torch.einsum(
            "btk,bkv->btv", q * product_so_far, S
        )  # <text>:6
        product_to_end = torch.exp(_shift(logsigmoid_g.flip(1).cumsum(1).flip(1), 1, -1))
        return (
            S * product_so_far.select(1, -1)[..., None] + torch.einsum("btk,btv->bkv", k * product_to_end, v),
            o,
        )

    S = state["S"]
    g_tiles = g.split(64, 1)
    q_tiles = q.split(64, 1)
    k_tiles = k.split(64, 1)
    v_tiles = v.split(64, 1)
    o_parts: list[Tensor] = []
    for i, start in enumerate(range(0, length, 64)):
        steps = min(64, length - start)
        S, o_part = _recomputed(chunk_1, steps, S, g_tiles[i], q_tiles[i], k_tiles[i], v_tiles[i])
        o_parts.append(o_part)
    o = torch.cat(o_parts, 1)
    new_state["S"] = S

    return (o,), new_state


def step(
    *, sizes: dict[str, int], batch: int, state: dict[str, Any], q: Tensor, k: Tensor, v: Tensor, g: Tensor
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """One step: inputs (batch, axes…); the outputs of this step, and the state after it."""
    t = state["t"] + 1
    S = torch.sigmoid(g)[..., None] * state["S"] + k[..., None] * v[..., None, :]  # <text>:5
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
    g: Tensor,
    state: dict[str, Any] | None = None,
    return_state: bool = False,
) -> Any:
    """All steps, for inputs (batch…, time, axes…) whose batches broadcast; sizes are read off the tensors.

    Gives o: (batch…, time, axes…). `return_state`: also the state, for a call that goes on.
    """
    sizes = _measured({"q": (q, "K"), "k": (k, "K"), "v": (v, "V"), "g": (g, "K")})
    lead, length = _common({"q": (q, 1), "k": (k, 1), "v": (v, 1), "g": (g, 1)})
    batch = math.prod(lead)
    q = _flat(q, 1, lead)
    k = _flat(k, 1, lead)
    v = _flat(v, 1, lead)
    g = _flat(g, 1, lead)
    new_state = initial_state(sizes=sizes, batch=batch, like=q)
    for name, entry in (state or {}).items():
        if torch.is_tensor(entry):
            entry = entry.reshape(batch, *entry.shape[len(lead) :])
        new_state[name] = entry
    outputs, new_state = sequence(
        sizes=sizes, batch=batch, length=length, state=new_state, q=q, k=k, v=v, g=g
    )
    shaped = tuple(y.reshape(*lead, *y.shape[1:]) for y in outputs)
    result = shaped[0]
    if not return_state:
        return result
    for name, entry in new_state.items():
        if torch.is_tensor(entry):
            new_state[name] = entry.reshape(*lead, *entry.shape[1:])
    return result, new_state
