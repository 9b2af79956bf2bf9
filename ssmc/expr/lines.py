"""One node of a step graph as a line of text, and back.

    add %2, %3 : real[D]
    const 0.5 : real
    reduce sum %7 over N : real[D]
    read h steps 1 : real[D, N]

A line names the node's operands by `%name` and ends in its type. `read_node` makes the node anew through the arena's
constructors, so a text cannot hold what a pass could not make; a type that is not the one the arena derives is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import get_args

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.expr.ops import OPS

_TOKEN = re.compile(r"\s*(->|%[^\s,()\[\]]+|[^\s,()\[\]:]+|[,()\[\]:])")


class TextError(CompilerBug):
    """The text of an IR cannot be read; `line` (from 1) is filled in by the reader of the whole text."""


def type_text(kind: Kind, axes: Axes) -> str:
    """`real[D, N]`, or `real` without axes."""
    return f"{kind}[{', '.join(axes)}]" if axes else kind


def node_text(node: Node, ref: Callable[[Node], str]) -> str:
    """The line of `node`; `ref` gives the name (with its `%`) of an operand."""
    return f"{_body(node, ref)} : {type_text(node.kind, node.axes)}"


def _body(node: Node, ref: Callable[[Node], str]) -> str:
    match node:
        case n.Const(value=value):
            return f"const {str(value).lower() if isinstance(value, bool) else _number_text(value)}"
        case n.Input(name=name):
            return f"input {name}"
        case n.Param(name=name):
            return f"param {name}"
        case n.Time():
            return "time"
        case n.Size(axis=axis):
            return f"size {axis}"
        case n.Index():
            return "index"
        case n.Read(register=register, steps=steps):
            return f"read {register} steps {steps}"
        case n.Table(name=name):
            return f"table {name}"
        case n.Draw(distribution=distribution, args=args, number=number):
            return f"draw {distribution}{f'.{number}' if number else ''} {', '.join(map(ref, args))}"
        case n.Local(name=name):
            return f"local {name}"
        case n.Load(buffer=buffer):
            return f"load {buffer}"
        case n.Map(op=op, args=args):
            return f"{op} {', '.join(map(ref, args))}"
        case n.Reduce(op=op, arg=arg, over=over):
            return f"reduce {op} {ref(arg)} over {', '.join(over)}"
        case n.Cumulative(op=op, arg=arg, axis=axis, reverse=reverse):
            return f"cumulative {op} {ref(arg)} along {axis}{' reverse' if reverse else ''}"
        case n.Rename(arg=arg, pairs=pairs):
            return f"rename {ref(arg)} {', '.join(f'{a} -> {b}' for a, b in pairs)}"
        case n.Pick(arg=arg, axis=axis, index=index):
            return f"pick {ref(arg)} {axis} at {index}"
        case n.Shift(arg=arg, axis=axis, steps=steps):
            return f"shift {ref(arg)} {axis} by {steps}"
        case n.Solve(matrix=matrix, rhs=rhs, row=row, col=col):
            return f"solve {ref(matrix)}, {ref(rhs)} row {row} col {col}"
        case n.Expm(matrix=matrix, row=row, col=col, order=order):
            return f"expm {ref(matrix)} row {row} col {col}{f' order {order}' if order else ''}"
        case n.Window(register=register, axis=axis, current=current):
            return f"window {register} along {axis}{f' current {ref(current)}' if current is not None else ''}"
        case n.History(register=register, axis=axis, current=current):
            return f"history {register} along {axis} current {ref(current)}"
    raise CompilerBug(f"a {type(node).__name__} has no line of text")


def _number_text(value: int | float | complex) -> str:
    if isinstance(value, complex):  # both parts apart, so that no sign of a zero is lost
        return f"{value.real!r} {value.imag!r}"
    return repr(value)


def read_node(text: str, arena: Arena, node: Callable[[str], Node]) -> Node:
    """The node that a line describes, made in `arena`; `node` finds an operand by its name (without `%`).

    Raises `TextError` where the line is not one that `node_text` writes.
    """
    words = Words(text)
    made = _make(words, arena, node)
    words.end()
    return made


def _make(words: Words, arena: Arena, node: Callable[[str], Node]) -> Node:
    head = words.next()

    def operand() -> Node:
        return node(words.reference())

    if head in _LEAVES:
        return _leaf(head, words, arena)
    made: Node
    match head:
        case "draw":
            (distribution, _, number), args = words.next().partition("."), words.references(node)
            kind, axes = words.type()
            return arena.draw(distribution, tuple(args), axes, int(number or 0))
        case "reduce":
            op, arg = words.next(), operand()
            words.expect("over")
            made = arena.reduce(op, arg, words.names())
        case "cumulative":
            op, arg = words.next(), operand()
            axis = words.after("along")
            made = arena.cumulative(op, arg, axis, words.skip("reverse"))
        case "rename":
            arg, pairs = operand(), {}
            while True:
                old = words.next()
                pairs[old] = words.after("->")
                if not words.skip(","):
                    break
            made = arena.rename(arg, pairs)
        case "pick":
            arg, axis = operand(), words.next()
            made = arena.pick(arg, axis, int(words.after("at")))
        case "shift":
            arg, axis = operand(), words.next()
            made = arena.shift(arg, axis, int(words.after("by")))
        case "solve":
            matrix, rhs = words.references(node)
            made = arena.solve(matrix, rhs, words.after("row"), words.after("col"))
        case "expm":
            matrix = operand()
            row, col = words.after("row"), words.after("col")
            made = arena.expm(matrix, row, col, int(words.next()) if words.skip("order") else 0)
        case "window" | "history":
            register, axis = words.next(), words.after("along")
            current = operand() if words.skip("current") else None
            kind, axes = words.type()
            rest = tuple(a for a in axes if a != axis)
            if head == "window":
                made = arena.window(register, axis, rest, kind, current)
            elif current is None:
                raise TextError("a history without its current value")
            else:
                made = arena.history(register, axis, current, rest, kind)
            return words.typed(made, kind, axes)
        case op if op in OPS:
            made = arena.map(op, *words.references(node))
        case other:
            raise TextError(f"`{other}` is no operation")
    return words.typed(made, *words.type())


_LEAVES = ("const", "input", "param", "time", "size", "index", "read", "table", "local", "load")


def _leaf(head: str, words: Words, arena: Arena) -> Node:
    data: list[str] = []
    while not words.at(":"):
        data.append(words.next())
    kind, axes = words.type()
    match head, data:
        case "const", [value]:
            return arena.const(_number(value, kind), kind)
        case "const", [real, imag]:
            return arena.const(complex(float(real), float(imag)), kind)
        case "input", [name]:
            return arena.input(name, axes, kind)
        case "param", [name]:
            return arena.param(name, axes, kind)
        case "time", []:
            return words.typed(arena.time(), kind, axes)
        case "size", [axis]:
            return words.typed(arena.size(axis), kind, axes)
        case "index", []:
            return words.typed(arena.index(axes[0]), kind, axes)
        case "read", [register, "steps", steps]:
            return arena.read(register, axes, kind, int(steps))
        case "table", [name]:
            return arena.table(name, axes, kind)
        case "local", [name]:
            return arena.local(name, axes, kind)
        case "load", [buffer]:
            return arena.load(buffer, axes, kind)
    raise TextError(f"`{head} {' '.join(data)}` is no leaf")


def _number(text: str, kind: Kind) -> bool | int | float:
    match kind:
        case "bool":
            return text == "true"
        case "int":
            return int(text)
        case _:
            return float(text)


class Words:
    """The words of one line, read from left to right. Every method raises `TextError` where the line says otherwise."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._words: list[str] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise TextError(f"cannot read `{text[at:]}`")
            self._words.append(found.group(1))
            at = found.end()
        self._at = 0

    def at(self, word: str) -> bool:
        return self._at < len(self._words) and self._words[self._at] == word

    def next(self) -> str:
        if self._at == len(self._words):
            raise TextError(f"`{self.text}` ends too early")
        self._at += 1
        return self._words[self._at - 1]

    def skip(self, word: str) -> bool:
        found = self.at(word)
        self._at += found
        return found

    def expect(self, word: str) -> None:
        if not self.skip(word):
            raise TextError(f"`{word}` is missing in `{self.text}`")

    def after(self, word: str) -> str:
        self.expect(word)
        return self.next()

    def end(self) -> None:
        if self._at != len(self._words):
            raise TextError(f"`{self._words[self._at]}` is too much in `{self.text}`")

    def reference(self) -> str:
        word = self.next()
        if not word.startswith("%"):
            raise TextError(f"`{word}` stands where a `%name` should in `{self.text}`")
        return word[1:]

    def references(self, node: Callable[[str], Node]) -> list[Node]:
        found = [node(self.reference())]
        while self.skip(","):
            found.append(node(self.reference()))
        return found

    def names(self) -> tuple[str, ...]:
        found = [self.next()]
        while self.skip(","):
            found.append(self.next())
        return tuple(found)

    def bracket(self) -> tuple[str, ...]:
        """`[D, N]`, or nothing."""
        if not self.skip("["):
            return ()
        found = self.names()
        self.expect("]")
        return found

    def type(self) -> tuple[Kind, Axes]:
        self.expect(":")
        return self.kind(), self.bracket()

    def kind(self) -> Kind:
        word = self.next()
        for kind in get_args(Kind):
            if word == kind:
                return kind  # type: ignore[no-any-return]
        raise TextError(f"`{word}` is no kind")

    def typed(self, made: Node, kind: Kind, axes: Axes) -> Node:
        if (made.kind, made.axes) != (kind, axes):
            raise TextError(f"`{self.text}` says {type_text(kind, axes)}, it is {type_text(made.kind, made.axes)}")
        return made


def names_of(named: Mapping[Node, str], nodes: list[Node]) -> dict[Node, str]:
    """A name (with `%`) for every node: the one in `named`, else a number in the order of the list."""
    result: dict[Node, str] = {}
    number = 0
    taken: set[str] = set()
    for node in nodes:
        if node in named and named[node] not in taken:
            taken.add(named[node])
            result[node] = f"%{named[node]}"
        else:
            number += 1
            result[node] = f"%{number}"
    return result
