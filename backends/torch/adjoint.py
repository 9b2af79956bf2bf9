"""Affine recurrences, step after step, copied into generated modules as the helpers of support.py are.

`_affine_loop` is for modules whose gradients are programs of their own, `_affine_steps` for those that autograd
records: saved ones, and whole pasts. Recorded step by step, an affine update costs the backward several operations for
every one of the forward. Its adjoint is the same recurrence from the last step to the first, so it needs one a step,
and the rest for all steps at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def _affine_loop(decay: Tensor, drive: Tensor, h: Tensor, reverse: bool = False) -> Tensor:
    """h = decay_t * h + drive_t for all steps of a tile, from h; `reverse`: from the last step to the first."""
    states = drive.new_empty(drive.shape)
    rows = list(zip(decay.unbind(1), drive.unbind(1), states.unbind(1), strict=True))
    for decay_t, drive_t, h_t in reversed(rows) if reverse else rows:
        h = torch.addcmul(drive_t, decay_t, h, out=h_t)
    return states


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
        if torch.is_grad_enabled():  # to be differentiated again: by operations that have gradients themselves
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
