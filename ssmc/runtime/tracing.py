"""A call of a spec inside `torch.compile`: one node of the graph, which runs the call as it is written.

Dynamo reads `called` line by line, so it holds what Dynamo can read: it takes the call's tensors out of their
dictionaries, and puts the results back into theirs. Between the two stands `run_in_graph`, which Dynamo does not look
into: it runs on tensors that have no data, and what remains of it in the graph is `ssmc::sequence` (`library`).
Imported only while it traces: it loads the whole of torch's compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ssmc.runtime.registry import spec_of

if TYPE_CHECKING:
    from ssmc.api import Compiled


@torch.compiler.disable  # type: ignore[untyped-decorator]
def a_spec_runs_outside_of_the_graph(function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
    """Run as it is: how it is cut into sequences depends on what is in a tensor, so the graph ends before the call.

    Where the graph must be whole, torch's error names this function and the user's line.
    """
    return function(*args, **named)


@torch.compiler.allow_in_graph  # type: ignore[untyped-decorator]
def run_in_graph(key: str, step: bool, count: int, names: tuple[str, ...], *values: Any) -> tuple[Tensor, ...]:
    """The outputs, then the entries of the new state. `count` of the values are positional, the others by name."""
    compiled = spec_of(key)
    named: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for name, value in zip(names, values[count:], strict=True):
        if name.startswith("state "):
            state[name[6:]] = value
        else:
            named[name] = value
    if state:
        named["state"] = state
    if step:
        y, after = compiled.step(named.pop("state", None), *values[:count], **named)
    else:
        keep = named.get("return_state")
        result = compiled(*values[:count], **named)
        y, after = result if keep else (result, {})
    outputs = (y,) if isinstance(y, Tensor) else tuple(y)
    return (*outputs, *(x for x in after.values() if isinstance(x, Tensor)))


def called(method: Callable[..., Any], step: bool, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
    """What `method(*args, **given)` gives, which is a call of a spec or a step; `args` begins with the spec."""
    compiled: Compiled = args[0]
    named = dict(given)
    args = args[1:]
    if step and args:
        named["state"] = args[0]
        args = args[1:]
    state = named.pop("state", None) or {}
    packed = isinstance(named.get("lengths"), Tensor) or isinstance(named.get("cu_seqlens"), Tensor)
    if packed or isinstance(state.get("t"), Tensor) or named.get("out") is not None:
        if step:
            return a_spec_runs_outside_of_the_graph(method, compiled, state or None, *args, **named)
        return a_spec_runs_outside_of_the_graph(method, compiled, *args, state=state or None, **named)
    keep = step or bool(named.get("return_state"))
    names = list(named) + [f"state {name}" for name in state]
    values = [*named.values(), *state.values()]
    made = run_in_graph(compiled.key, step, len(args), tuple(names), *args, *values)
    outputs = compiled.graph.outputs
    y = made[0]
    length = 1 if step else y.shape[y.ndim - 1 - len(outputs[0].axes)]
    result = compiled.result_of(made[: len(outputs)])
    if not keep:
        return result
    entries = [r.name for r in compiled.graph.registers]
    after: dict[str, Any] = dict(zip(entries, made[len(outputs) :]))  # noqa: B905  Dynamo reads no `strict=`
    last = len(outputs) + len(entries)
    after["t"] = made[last] if len(made) > last else state.get("t", 0) + length  # a number each, of packed sequences
    return result, after
