"""Reads the text form of a step graph (see printer.py), and compares two graphs by structure.

Comments are skipped, so a graph that was read has no spans and an empty source text. What the text says of types is
checked against what the arena derives; whether the graph is a legal one is `verify`'s business.
"""

from __future__ import annotations

import re

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.lines import TextError, Words, read_node
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.source import Source
from ssmc.step.nodes import Axis, Depth, Origin, Output, Port, Register, StepGraph
from ssmc.step.printer import roots_of

_COMMENT = re.compile(r"\s+#.*$|^#.*$")
_DEFINITION = re.compile(r"%(\S+) = (.*)$")
_ORIGINS: tuple[Origin, ...] = ("state", "prev", "next", "conv", "transfer", "past")


def read_graph(text: str) -> StepGraph:
    """The graph that `print_graph` printed as `text`. Raises `TextError` (with the line's number) on any other text."""
    lines = [_COMMENT.sub("", line) for line in text.splitlines()]
    reader = _Reader([line.split()[1] for line in lines if line.startswith("axis ") and len(line.split()) > 1])
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                reader.line(line)
        except TextError as error:
            raise TextError(f"line {number}: {error}") from None
        except (ValueError, LookupError) as error:
            raise TextError(f"line {number}: cannot read `{line}`") from error
    return reader.graph()


class _Reader:
    def __init__(self, axis_order: list[str]) -> None:
        self.arena = Arena(axis_order)
        self.name = ""
        self.nodes: dict[str, Node] = {}
        self.axes: list[Axis] = []
        self.inputs: list[Port] = []
        self.params: list[Port] = []
        self.registers: list[Register] = []
        self.outputs: list[Output] = []
        self.equations: list[tuple[str, str]] = []
        self.names: list[tuple[str, Node]] = []

    def find(self, name: str) -> Node:
        if name not in self.nodes:
            raise TextError(f"%{name} is not defined above")
        return self.nodes[name]

    def line(self, line: str) -> None:
        definition = _DEFINITION.match(line)
        if definition is not None:
            name, body = definition.groups()
            if name in self.nodes:
                raise TextError(f"%{name} is defined twice")
            self.nodes[name] = read_node(body, self.arena, self.find)
            if not name.isdigit():
                self.names.append((name, self.nodes[name]))
            return
        words = Words(line)
        match words.next():
            case "step":
                self.name = words.next()
            case "axis":
                name = words.next()
                size = self.find(words.reference()) if words.skip("=") else None
                self.axes.append(Axis(name, size, words.skip("each")))
            case "equal":
                self.equations.append((words.next(), words.next()))
            case "input":
                self.inputs.append(Port(*self.declared(words)))
            case "param":
                declared = self.declared(words)
                self.params.append(Port(*declared, self.find(words.reference()) if words.skip("=") else None))
            case "register":
                self.registers.append(self.register(words))
            case "output":
                self.outputs.append(Output(*self.declared(words), self.find(words.reference())))
            case "name":
                name = words.next()
                self.names.append((name, self.find(words.reference())))
            case other:
                raise TextError(f"a line cannot begin with `{other}`")
        words.end()

    def declared(self, words: Words) -> tuple[str, Axes, Kind]:
        return words.next(), words.bracket(), words.kind()

    def register(self, words: Words) -> Register:
        name, axes, kind = self.declared(words)
        origin = _ORIGINS[_ORIGINS.index(words.next())]
        reverse = words.skip("reverse")
        if not reverse:
            words.expect("forward")
        words.expect("depth")
        depth = Depth(int(words.next()), words.next() if words.skip("along") else None, words.skip("unbounded"))
        words.expect("init")
        init = self.find(words.reference())
        words.expect("source")
        source = self.find(words.reference())
        line = words.next() if words.skip("line") else None
        return Register(name, axes, kind, init, source, reverse, depth, origin, line=line)

    def graph(self) -> StepGraph:
        if not self.name:
            raise TextError("the text has no `step` line")
        return StepGraph(
            self.name, Source("", ""), tuple(self.axes), tuple(self.inputs), tuple(self.params), tuple(self.registers),
            tuple(self.outputs), tuple(self.equations), self.arena, tuple(self.names),
        )  # fmt: skip


def same_graph(a: StepGraph, b: StepGraph) -> bool:
    """Whether two graphs are equal by structure, names of values included; sources and spans do not count."""
    seen: dict[tuple[object, ...], int] = {}
    forms = []
    for graph in (a, b):
        number = _numbered(roots_of(graph), seen)
        forms.append(
            (
                graph.name,
                tuple((x.name, x.each, x.size is not None and number[x.size]) for x in graph.axes),
                tuple((p.name, p.axes, p.kind) for p in graph.inputs),
                tuple((p.name, p.axes, p.kind, p.default is not None and number[p.default]) for p in graph.params),
                tuple(
                    (r.name, r.axes, r.kind, number[r.init], number[r.source], r.reverse, r.depth, r.origin, r.line)
                    for r in graph.registers
                ),
                tuple((o.name, o.axes, o.kind, number[o.value]) for o in graph.outputs),
                graph.equations,
                frozenset((name, number[node]) for name, node in graph.names),
            )
        )
    return forms[0] == forms[1]


def structure(node: Node, of: dict[Node, int]) -> tuple[object, ...]:
    """A node's class and data, with the operands replaced by their numbers: equal for equal nodes of any arena."""

    def plain(value: object) -> object:
        match value:
            case n.Node():
                return of[value]
            case tuple():
                return tuple(plain(v) for v in value)
            case float() | complex():
                return repr(value)  # keeps -0.0 and nan apart
            case _:
                return value

    return type(node).__name__, *(plain(v) for v in vars(node).values())


def _numbered(roots: list[Node], seen: dict[tuple[object, ...], int]) -> dict[Node, int]:
    number: dict[Node, int] = {}
    for node in n.postorder(roots):
        number[node] = seen.setdefault(structure(node, number), len(seen))
    return number
