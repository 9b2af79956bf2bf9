"""A kernel program as one self-contained PyTorch module.

    initial_state(*, sizes, batch, like, <params>)                every entry of the state before the first step
    sequence(*, sizes, batch, length, state, <inputs>, <params>)  outputs over the whole sequence, and the new state
    step(*, sizes, batch, state, <inputs>, <params>)              one token

A program that saves states for its backward has, in place of `sequence`, `sequence_saving`, which gives a dictionary of
them besides; one that goes on from such states takes them as `saved`.

Batch is one dimension, first; time the second. The module needs torch only: the helper functions it uses are copied
into it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from ssmc.backends.torch import adjoint, support
from ssmc.backends.torch.expressions import DTYPES, method
from ssmc.backends.torch.passes import print_pass
from ssmc.backends.torch.scope import INDENT, Scope, assign, indented, names_in, one_line, pruned, tuple_of
from ssmc.backends.torch.standalone import print_apply, usage

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.kernel import nodes as k
from ssmc.kernel.naming import is_number

RESULT = "tuple[tuple[Tensor, ...], dict[str, Any]]"
SAVING = "tuple[tuple[Tensor, ...], dict[str, Any], dict[str, Tensor]]"


def print_program(program: k.Program, standalone: bool = False) -> str:
    """The module's text, before formatting. With `standalone` it has `apply` too, which a person calls.

    Autograd records what a standalone module does; the others have programs for their gradients, but for whole pasts.
    """
    scope = Scope(program, recorded=standalone or any(r.depth.unbounded for r in program.graph.registers))
    functions = [initial(scope), _sequence(scope)]
    if program.step:
        functions.append(_step(scope))
    return module_text(scope, functions, standalone)


def module_text(
    scope: Scope,
    functions: list[list[str]],
    standalone: bool,
    more: Sequence[str] = (),
    imports: Sequence[str] = (),
) -> str:
    """A module of these functions, the first of which is `initial`'s, and of the helpers that they use.

    `more` goes before the functions, `imports` are the modules that it needs.
    """
    scope.used.add("_precision")
    if standalone:
        functions = [*functions, print_apply(scope, "\n".join(line for f in functions for line in f))]
    helpers = [*(inspect.getsource(f).rstrip() for f in HELPERS if f.__name__ in scope.used), *more]
    body = ["\n".join(f) for f in functions]
    header = _header(scope, "\n".join([*helpers, *body]), standalone, imports)
    return "\n\n\n".join([header, *helpers, *body]) + "\n"


def _header(scope: Scope, body: str, standalone: bool, imports: Sequence[str]) -> str:
    graph, program = scope.graph, scope.program
    file = one_line(graph.source.name.rsplit("/", 1)[-1])
    out = [
        f"# {graph.name}, from {file} (sha256 {graph.source.sha256[:12]}), by ssmc. Edit the spec, not this file.",
        "#",
    ]
    out += [f"#   {one_line(line)}" for line in program.header]
    legend = [f"{p.name} [{', '.join(('batch', 'time', *p.axes))}]" for p in graph.inputs]
    legend += [f"{p.name} [{', '.join(p.axes)}]" for p in graph.params]
    out += ["#", *(f"#   {line}" for line in _filled(legend))]
    out += [f"#   -> {o.name} [{', '.join(('batch', 'time', *o.axes))}]" for o in graph.outputs]
    out += ["#", *(f"#   {line}" for line in usage(scope))] if standalone else []
    out += ["", "from __future__ import annotations", ""]
    used = names_in(body)
    out += [f"import {name}" for name in sorted({*imports, *({"math"} & used)})]
    names = [x for x in ("Callable", "Sequence") if x in used]
    if names:
        out.append(f"from collections.abc import {', '.join(names)}")
    out += ["from typing import Any", "", "import torch"]
    if "F" in used:
        out.append("import torch.nn.functional as F")
    out.append("from torch import Tensor")
    if "checkpoint" in used:
        out.append("from torch.utils.checkpoint import checkpoint")
    renamed = {b.entry: b.name for b in scope.of_role("input", "param") if b.entry != b.name}
    if renamed:
        out += ["", "# names of the spec that are not free in Python", f"ARGUMENTS = {renamed!r}"]
    return "\n".join(out)


def _filled(parts: list[str]) -> list[str]:
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) < 100:
            lines[-1] += f"   {part}"
        else:
            lines.append(part)
    return lines


def signature(name: str, scope: Scope, lead: str, roles: tuple[str, ...], result: str, doc: str) -> list[str]:
    """The head of a generated function, with the ports of `roles` for arguments after `lead`."""
    ports = "".join(f", {b.name}: Tensor" for b in scope.of_role(*roles))
    return [f"def {name}(*, {lead}{ports}) -> {result}:", f'{INDENT}"""{doc}"""']


def _prologue(scope: Scope, like: str) -> list[str]:
    return [*scope.size_lines(), f"real, cplx, device = _precision({like})"]


def initial(scope: Scope) -> list[str]:
    """The function `initial_state`."""
    ex = scope.expressions(scope.names())
    entries = ['"t": 0,']
    for name, value in scope.program.initial:
        b = next(b for b in scope.of_role("state") if b.entry == name)
        shape = ", ".join(dimension(scope, b, a) for a in b.axes)
        if is_number(value):
            shape = f"{shape}," if len(b.axes) == 1 else shape
            code = f"torch.full(({shape}), {ex.code(value)}, dtype={DTYPES[b.kind]}, device=device)"
        else:
            rest = tuple(a for a in b.axes if a not in (n.BATCH, n.LAG))
            code = ex.as_axes(value, rest)
            code = code if value.kind == b.kind else method(code, f"to({DTYPES[b.kind]})")
            code = method(code, f"expand({shape})")
        entries.append(f'"{name}": {code},')
    return pruned(
        [
            *signature(
                "initial_state",
                scope,
                "sizes: dict[str, int], batch: int, like: Tensor",
                ("param",),
                "dict[str, Any]",
                "Every entry of the state before the first step; `like` has the precision and device.",
            ),
            *indented([*_prologue(scope, "like"), "return {", *indented(entries), "}"]),
        ]
    )


def _nothing(scope: Scope, b: k.Buffer) -> str:
    """An output over no steps."""
    shape = ", ".join("0" if a == n.TIME else dimension(scope, b, a) for a in b.axes)
    return f"torch.zeros({shape}, dtype={DTYPES[b.kind]}, device=device)"


def dimension(scope: Scope, b: k.Buffer, axis: str) -> str:
    """The length of a dimension of a buffer, as code."""
    if axis == n.BATCH:
        return "batch"
    if axis != n.LAG:
        return scope.size(n.base_axis(axis))
    depth = b.depth
    if depth is None:
        raise CompilerBug(f"{b.name} has a lag and no depth")
    if depth.unbounded:
        return "0"
    parts = [scope.size(depth.axis)] if depth.axis else []
    return " + ".join([*parts, *([str(depth.steps)] if depth.steps or not parts else [])])


def _sequence(scope: Scope) -> list[str]:
    program, names = scope.program, scope.names()
    body = [*_prologue(scope, scope.like()), 't0 = state["t"]']
    body += [f"{scope.size(a)} = t0 + length" for a in scope.growing]
    nothing = tuple_of(_nothing(scope, b) for b in scope.of_role("output"))
    saving = scope.saves()
    if saving:
        body.append("saved: dict[str, Tensor] = {}")
    result = [f"({nothing})", "{**state}"]
    if saving:
        like = {b.entry: f'state["{b.entry}"].unsqueeze(1)[:, :0]' for b in scope.of_role("saved")}
        result.append("{" + ", ".join(f'"{entry}": {code}' for entry, code in like.items()) + "}")
    body += ["if length == 0:", f"{INDENT}return {', '.join(result)}"]
    body.append('new_state: dict[str, Any] = {"t": t0 + length}')
    if program.once:
        ex = scope.expressions(names)
        body += ["", "# --- once: values of the parameters alone"]
        for s in program.once:
            assert isinstance(s, k.Let)
            body.append(assign(s.target.name, ex.code(s.value), s.span))
    for number, p in enumerate(program.passes, 1):
        body += print_pass(scope, number, p, names)
    body += ["", _returned(scope, {}) + (", saved" if saving else "")]
    lead = "sizes: dict[str, int], batch: int, length: int, state: dict[str, Any]"
    doc = "All steps: the outputs in the spec's order, and the state after the last."
    every = f"every {program.saving} steps"
    if saving:
        doc += (
            f"\n\n{INDENT}Then the states {every}, from the first on, for the backward: (batch, chunks, …).\n{INDENT}"
        )
    elif scope.of_role("saved"):
        lead += ", saved: dict[str, Tensor]"
        doc += f"\n\n{INDENT}`saved` are the forward's states {every}, from the first on: (batch, chunks, …).\n{INDENT}"
    return pruned(
        [
            *signature(
                "sequence_saving" if saving else "sequence",
                scope,
                lead,
                ("input", "param"),
                SAVING if saving else RESULT,
                doc,
            ),
            *indented(body),
        ]
    )


def _step(scope: Scope) -> list[str]:
    names = scope.names()
    names["load", "t"] = "torch.tensor(t, device=device)"
    names["size", n.LAG] = "1"
    ex = scope.expressions(names)
    body = [*_prologue(scope, scope.like()), 't = state["t"] + 1', *(f"{scope.size(a)} = t" for a in scope.growing)]
    entries = ['"t": t,']
    # a value that an output is the transpose of may have taken the output's name
    taken = {s.target.name for s in scope.program.step if isinstance(s, k.Let)}
    outputs: dict[str, str] = {}
    for s in scope.program.step:
        match s:
            case k.Let(target=target, value=value, span=span):
                body.append(assign(target.name, ex.code(value), span))
            case k.Store(buffer=buffer, value=value, span=span):
                b = scope.buffers[buffer]
                stored = scope.stored if b.role == "output" else scope.kept
                code = stored(ex, value, tuple(a for a in b.axes if a != n.TIME), b.kind)
                if b.role == "output" and (b.name in taken or code.isidentifier()):
                    outputs[b.name] = code
                elif b.role == "output":
                    body.append(assign(b.name, code, span))
                else:
                    entries.append(f'"{b.entry}": {code},')
            case _:
                raise CompilerBug(f"{type(s).__name__} in a step")
    body += ["new_state = {", *indented(entries), "}", _returned(scope, outputs)]
    return pruned(
        [
            *signature(
                "step",
                scope,
                "sizes: dict[str, int], batch: int, state: dict[str, Any]",
                ("input", "param"),
                RESULT,
                "One step: inputs (batch, axes…); the outputs of this step, and the state after it.",
            ),
            *indented(body),
        ]
    )


def _returned(scope: Scope, codes: Mapping[str, str]) -> str:
    """The last line of a function; `codes` of the outputs that are not by their own name."""
    outputs = "".join(f"{codes.get(b.name, b.name)}, " for b in scope.of_role("output"))
    return f"return ({outputs.rstrip()}), new_state"


HELPERS = (
    support._precision, support._shift, support._solve, support._lag, support._lead, support._tail,
    support._frames, support._delayed,
    support._logsumexp, support._logaddexp, support._number, support._phi, support._matrix_phi,
    support._halves, support._filled, support._scores, support._broadcast, support._gather,
    support._prefix, support._powers, support._geometric, support._moment,
    support._fft_conv, support._recomputed, support._measured, support._common, support._flat,
    adjoint._affine_loop, adjoint._AffineSteps, adjoint._apply, adjoint._affine_steps,
)  # fmt: skip
