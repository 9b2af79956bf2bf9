"""The text form of a step graph: one line a node, operands before users; `reader.py` reads it back.

    step ema  # ema.ssm
    axis D
    input x[D] real
    param a[D] real

    %1 = input x : real[D]                # ema.ssm:3
    %2 = read h steps 1 : real[D]         # ema.ssm:6
    …
    %h = add %3, %5 : real[D]             # ema.ssm:6

    register h[D] real state forward depth 1 init %6 source %h
    output y[D] real %h

A value that the spec names keeps its name; the others are numbered. Comments say where in the spec a line came from.
"""

from __future__ import annotations

from ssmc.expr.lines import names_of, node_text
from ssmc.expr.nodes import Axes, Node, postorder
from ssmc.source import Span
from ssmc.step.nodes import Depth, StepGraph

COLUMN = 56


def print_graph(graph: StepGraph) -> str:
    """The text of `graph`, ending in a newline."""
    nodes = postorder(roots_of(graph))
    named: dict[Node, str] = {}
    for name, node in graph.names:
        named.setdefault(node, name)
    refs = names_of(named, nodes)
    lines = [f"step {graph.name}"]
    if graph.source.name:
        lines[0] += f"  # {graph.source.name}"

    def ref(node: Node) -> str:
        return refs[node]

    def definition(node: Node) -> str:
        return _with_comment(f"{refs[node]} = {node_text(node, ref)}", graph.span_of(node))

    # sizes and defaults first: a declaration names them
    declared = [a.size for a in graph.axes if a.size is not None]
    declared += [p.default for p in graph.params if p.default is not None]
    early = postorder(declared)
    lines.extend(definition(node) for node in early)
    for a in graph.axes:
        size = f" = {refs[a.size]}" if a.size is not None else ""
        lines.append(_with_comment(f"axis {a.name}{size}{' each' if a.each else ''}", a.span))
    lines.extend(f"equal {a} {b}" for a, b in graph.equations)
    lines.extend(_with_comment(f"input {p.name}{_bracket(p.axes)} {p.kind}", p.span) for p in graph.inputs)
    for p in graph.params:
        default = f" = {refs[p.default]}" if p.default is not None else ""
        lines.append(_with_comment(f"param {p.name}{_bracket(p.axes)} {p.kind}{default}", p.span))
    lines.append("")
    done = set(early)
    lines.extend(definition(node) for node in nodes if node not in done)
    lines.append("")
    for r in graph.registers:
        direction = "reverse" if r.reverse else "forward"
        text = f"register {r.name}{_bracket(r.axes)} {r.kind} {r.origin} {direction} depth {_depth(r.depth)}"
        line = f" line {r.line}" if r.line is not None else ""
        lines.append(_with_comment(f"{text} init {refs[r.init]} source {refs[r.source]}{line}", r.span))
    for o in graph.outputs:
        lines.append(_with_comment(f"output {o.name}{_bracket(o.axes)} {o.kind} {refs[o.value]}", o.span))
    for name, node in graph.names:
        if named[node] != name:
            lines.append(f"name {name} {refs[node]}")
    return "\n".join(lines) + "\n"


def roots_of(graph: StepGraph) -> list[Node]:
    """Every expression the graph holds, the ones a step does not compute (sizes, defaults, initial values) included."""
    parts: list[Node | None] = [a.size for a in graph.axes]
    parts += [p.default for p in graph.params]
    parts += [r.init for r in graph.registers]
    parts += graph.roots
    parts += [node for _, node in graph.names]
    return [node for node in parts if node is not None]


def _bracket(axes: Axes) -> str:
    return f"[{', '.join(axes)}]" if axes else ""


def _depth(depth: Depth) -> str:
    words = [str(depth.steps)]
    if depth.axis is not None:
        words.append(f"along {depth.axis}")
    if depth.unbounded:
        words.append("unbounded")
    return " ".join(words)


def _with_comment(text: str, span: Span | None) -> str:
    return f"{text:<{COLUMN}}  # {span.where}" if span is not None else text
