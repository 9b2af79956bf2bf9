"""Recurrences as one writes them in torch without a compiler: a Python loop over time.

Sequences are taken apart by `unbind`, whose backward is one `stack`; a loop that indexes `x[:, t]` has a backward that
writes a whole sequence for every step.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def selective_scan(
    u: Tensor, dt: Tensor, B: Tensor, C: Tensor, z: Tensor, A_log: Tensor, skip: Tensor, dt_bias: Tensor
) -> Tensor:
    """`examples/selective_scan.ssm`. u, dt, z (batch, L, D), B, C (batch, L, N), A_log (D, N) -> (batch, L, D)."""
    A = -torch.exp(A_log)
    delta = F.softplus(dt + dt_bias)
    h = u.new_zeros(u.shape[0], *A.shape)
    ys = []
    for delta_t, u_t, B_t, C_t in zip(delta.unbind(1), u.unbind(1), B.unbind(1), C.unbind(1), strict=True):
        h = torch.exp(delta_t[..., None] * A) * h + (delta_t * u_t)[..., None] * B_t[:, None, :]
        ys.append((h @ C_t[..., None]).squeeze(-1))
    return (torch.stack(ys, 1) + skip * u) * F.silu(z)


def mamba(
    u: Tensor,
    z: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    W_r: Tensor,
    W_dt: Tensor,
    dt_bias: Tensor,
    W_B: Tensor,
    W_C: Tensor,
    A_log: Tensor,
    skip: Tensor,
) -> Tensor:
    """`examples/mamba.ssm`: the convolution by torch's own, everything outside the recurrence for all steps at once."""
    width = conv_weight.shape[1]
    line = F.pad(u.transpose(1, 2), (width - 1, 0))
    # the spec's weight has the newest step first
    x = F.silu(F.conv1d(line, conv_weight.flip(1)[:, None], conv_bias, groups=u.shape[2]).transpose(1, 2))
    dt = F.linear(F.linear(x, W_r), W_dt)
    return selective_scan(x, dt, F.linear(x, W_B), F.linear(x, W_C), z, A_log, skip, dt_bias)
