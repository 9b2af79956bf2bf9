"""The text form of a kernel program: one statement a line, expressions as a person reads them.

    kernel ema
    input     x[batch, time, D] real
    state     state_h[batch, D] real  # h

    once
      rate = exp(log_rate)                                   # ema.ssm:5
    pass over time, in chunks of 64 (h: recurrent)
      for 64 steps, recomputed for the backward
        carry h = state_h
        …
        set h = h_t
      store state_h = h

It is for reading only: a program is made by `lower` alone. `t` is the step's number, `[time -> source]` a renaming.
"""

from __future__ import annotations

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Node
from ssmc.expr.printer import show
from ssmc.kernel import nodes as k
from ssmc.source import Span

COLUMN = 88
INDENT = "  "
_MARK = "\0"  # between a statement and its place in the spec, until all is indented


def print_program(program: k.Program) -> str:
    """The text of `program`, ending in a newline."""
    lines = [f"kernel {program.name}", *(f"{INDENT}# {line}" for line in program.header)]
    lines += [_buffer(b, program.saving) for b in program.buffers]
    if program.once:
        lines += ["", "once", *_indented(_body(program.once))]
    for p in program.passes:
        lines += ["", f"pass {p.title}"]
        lines += _indented([*_body(p.before), *_loop(p.loop), *_body(p.final)])
    lines += ["", "initial", *_indented([f"{name} = {_text(value)}" for name, value in program.initial])]
    if program.step:
        lines += ["", "step", *_indented(_body(program.step))]
    return "".join(f"{_aligned(line)}\n" for line in lines)


def _aligned(line: str) -> str:
    text, mark, where = line.partition(_MARK)
    return f"{text:<{COLUMN}}  # {where}" if mark else text


def _buffer(b: k.Buffer, saving: int) -> str:
    entry = f"  # {b.entry}" if b.entry not in ("", b.name) else ""
    if b.role == "saved":
        entry += f", every {saving} steps"
    return f"{b.role:<9} {b.name}{_axes(b.axes)} {b.kind}{entry}"


def _axes(axes: Axes) -> str:
    return f"[{', '.join(a.removeprefix('@') for a in axes)}]" if axes else ""


def _body(body: tuple[k.Statement, ...]) -> list[str]:
    return [line for s in body for line in _statement(s)]


def _statement(s: k.Statement) -> list[str]:
    match s:
        case k.Section(title=title):
            return [f"--- {title}"]
        case k.Let(target=target, value=value, span=span):
            return [_placed(f"{target.name} = {_text(value)}", span)]
        case k.Set(target=target, value=value, span=span):
            return [_placed(f"set {target.name} = {_text(value)}", span)]
        case k.Store(buffer=buffer, value=value, span=span):
            return [_placed(f"store {buffer} = {_text(value)}", span)]
        case k.For():
            return _loop(s)


def _loop(loop: k.For) -> list[str]:
    tile = {0: "the whole sequence", 1: "each step"}.get(loop.block, f"{loop.block} steps")
    words = [f"for {tile}"]
    words += ["from the last to the first"] if loop.reverse else []
    words += ["recomputed for the backward"] if loop.recompute else []
    carries = [f"carry {c.target.name} = {_text(c.init)}" for c in loop.carries]
    return [", ".join(words), *_indented([*carries, *_body(loop.body)])]


def _text(node: Node) -> str:
    text = show(node, None, limit=10_000)
    # `@time` inside, so that no axis of a spec is one of these
    for axis in (n.BATCH, n.TIME, n.SOURCE, n.LAG):
        text = text.replace(axis, axis.removeprefix("@"))
    return text


def _placed(text: str, span: Span | None) -> str:
    return f"{text}{_MARK}{span.where.rsplit('/', 1)[-1]}" if span is not None else text


def _indented(lines: list[str]) -> list[str]:
    return [INDENT + line for line in lines]
