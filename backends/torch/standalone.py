"""What a saved module has besides: `apply`, which a person calls with tensors alone.

The runtime of ssmc settles batches, sizes and states itself, so the module it loads goes without.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from ssmc.backends.torch.scope import INDENT, Scope, indented

from ssmc.expr import nodes as n


def usage(scope: Scope) -> list[str]:
    """How to call the module, for its header."""
    ports = [b.name for b in scope.of_role("input", "param")]
    arguments = ", ".join(f"{x}={x}" for x in ports)
    outputs = ", ".join(b.name for b in scope.of_role("output"))
    lines = [f"{outputs} = apply({arguments})"]
    if len(lines[0]) > 90:
        lines = [f"{outputs} = apply({ports[0]}={ports[0]}, …)"]
    return [*lines, "`sequence` and `step` are what it calls: one batch dimension, explicit sizes and state."]


def print_apply(scope: Scope, functions: str) -> list[str]:
    """The lines of `apply`; `functions` is the text of the functions it calls, which tells the sizes they need."""
    scope.used.update(("_common", "_flat", "_measured"))
    inputs, params, outputs = (scope.of_role(role) for role in ("input", "param", "output"))
    needed = dict.fromkeys(re.findall(r'sizes\["(\w+)"\]', functions))
    lines, is_open = _sizes(scope, needed)
    arguments = [f"{b.name}: Tensor" for b in (*inputs, *params)]
    if not inputs:
        arguments += ["length: int", "lead: tuple[int, ...] = ()"]
    arguments += ["sizes: dict[str, int]"] if is_open else []
    arguments += ["state: dict[str, Any] | None = None", "return_state: bool = False"]
    names = ", ".join(b.name for b in outputs)
    gives = f"Gives {names}" if len(outputs) == 1 else f"Gives the tuple ({names})"
    doc = [
        '"""All steps, for inputs (batch…, time, axes…) whose batches broadcast; sizes are read off the tensors.',
        "",
        *textwrap.wrap(f"{gives}: (batch…, time, axes…). `return_state`: also the state, for a call that goes on.", 95),
        '"""',
    ]
    body = [*doc, *lines]
    if inputs:
        own = ", ".join(f'"{b.name}": ({b.name}, {len(b.axes) - 2})' for b in inputs)
        body.append(f"lead, length = _common({{{own}}})")
    body += ["batch = math.prod(lead)"]
    body += [f"{b.name} = _flat({b.name}, {len(b.axes) - 2}, lead)" for b in inputs]
    given = "".join(f", {b.name}={b.name}" for b in params)
    fed = "".join(f", {b.name}={b.name}" for b in inputs)
    body += [
        f"new_state = initial_state(sizes=sizes, batch=batch, like={scope.like()}{given})",
        "for name, entry in (state or {}).items():",
        f"{INDENT}if torch.is_tensor(entry):",
        f"{INDENT * 2}entry = entry.reshape(batch, *entry.shape[len(lead) :])",
        f"{INDENT}new_state[name] = entry",
        f"outputs, new_state = sequence(sizes=sizes, batch=batch, length=length, state=new_state{fed}{given})",
        "shaped = tuple(y.reshape(*lead, *y.shape[1:]) for y in outputs)",
        f"result = {'shaped[0]' if len(outputs) == 1 else 'shaped'}",
        "if not return_state:",
        f"{INDENT}return result",
        "for name, entry in new_state.items():",
        f"{INDENT}if torch.is_tensor(entry):",
        f"{INDENT * 2}new_state[name] = entry.reshape(*lead, *entry.shape[1:])",
        "return result, new_state",
    ]
    return [f"def apply(*, {', '.join(arguments)}) -> Any:", *indented(body)]


def _sizes(scope: Scope, needed: Iterable[str]) -> tuple[list[str], bool]:
    """Lines that make `sizes`, and whether the caller must give some: of axes that no tensor has and nothing fixes."""
    own = {
        b.name: [n.base_axis(a) for a in b.axes if a not in (n.BATCH, n.TIME)] for b in scope.of_role("input", "param")
    }
    known = {a for axes in own.values() for a in axes}
    lines: list[str] = []
    is_open = False
    ex = scope.expressions({("size", a.name): f'sizes["{a.name}"]' for a in scope.graph.axes})

    def settle(axis: str) -> None:
        nonlocal is_open
        declared = scope.graph.axis.get(axis)
        same = [b for pair in scope.graph.equations for a, b in (pair, pair[::-1]) if a == axis and b in known]
        if axis in known:
            return
        if declared is not None and declared.size is not None:
            for x in n.postorder([declared.size]):
                if isinstance(x, n.Size):
                    settle(n.base_axis(x.axis))
            code = ex.code(declared.size)
            lines.append(f'sizes["{axis}"] = {code if declared.size.kind == "int" else f"round({code})"}')
        elif same:
            lines.append(f'sizes["{axis}"] = sizes["{same[0]}"]')
        else:
            is_open = True
        known.add(axis)

    for axis in needed:
        settle(axis)
    tensors = ", ".join(f'"{name}": ({name}, "{" ".join(axes)}")' for name, axes in own.items() if axes)
    measured = f"_measured({{{tensors}}})" if tensors else "{}"
    return [f"sizes = {{**sizes, **{measured}}}" if is_open else f"sizes = {measured}", *lines], is_open
