"""`out=`: outputs copied into tensors of the caller."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ssmc.diagnostics import SpecError
from ssmc.runtime.problems import BadOption, shape_text


def copy_into(out: Any, result: Any) -> Any:
    """The tensors of `out`, after the outputs were copied into them, in the shape of `result`: one, or a named tuple.

    Raises SpecError where they do not fit, or gradients are wanted.
    """
    outputs = (result,) if isinstance(result, Tensor) else tuple(result)
    targets = (out,) if isinstance(out, Tensor) else out
    if not isinstance(targets, (tuple, list)) or not all(isinstance(x, Tensor) for x in targets):
        raise _fault("is a tensor, or a tuple of tensors in the order of the outputs")
    if len(targets) != len(outputs):
        raise _fault(f"holds {len(targets)} tensors, and the spec has {len(outputs)} outputs")
    for target, y in zip(targets, outputs, strict=True):
        if target.shape != y.shape:
            raise _fault(f"has the shape {shape_text(target.shape)}, and the output {shape_text(y.shape)}")
        if target.requires_grad or y.requires_grad:
            raise _fault("cannot carry gradients; leave it out, or call under `torch.no_grad()`")
        if y.is_complex() and not target.is_complex():
            raise _fault(f"is {str(target.dtype).removeprefix('torch.')}, and the output is complex")
    for target, y in zip(targets, outputs, strict=True):
        target.copy_(y)
    return targets[0] if isinstance(result, Tensor) else type(result)(*targets)


def _fault(why: str) -> SpecError:
    return SpecError([BadOption(None, "out", why)])
