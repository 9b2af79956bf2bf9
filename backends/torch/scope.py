"""What the printers of one module share: the code of names and sizes, and the helper functions in use."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from ssmc.backends.torch.expressions import DTYPES, Expressions, method

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.kernel import nodes as k
from ssmc.kernel.naming import size_name
from ssmc.source import Span

INDENT = "    "
Names = dict[tuple[str, str], str]  # ("local" | "load" | "size" | "prefix", name) -> code


class Scope:
    """Of a program. `recorded`: autograd will differentiate what the module does; else it has a program for that."""

    def __init__(self, program: k.Program, recorded: bool = True) -> None:
        self.recorded = recorded
        self.program, self.graph = program, program.graph
        self.buffers = {b.name: b for b in program.buffers}
        self.used: set[str] = set()
        # the axes that the compiler has made: nobody who calls the module knows of them
        made = {a.name: _factors(a.size) for a in self.graph.axes if a.span is None and a.size is not None}
        self.made = {axis: factors for axis, factors in made.items() if factors is not None}
        # the axes of whole pasts, each with the registers that lie along it
        self.growing: dict[str, set[str]] = {}
        for x in n.postorder(self.graph.roots):
            if isinstance(x, n.History) and self.graph.register[x.register].depth.unbounded:
                self.growing.setdefault(x.axis, set()).add(x.register)

    def of_role(self, *roles: str) -> list[k.Buffer]:
        return [b for b in self.program.buffers if b.role in roles]

    def saves(self) -> bool:
        """Whether the program saves states for its backward; else it goes on from those that its forward saved."""
        stores = {s.buffer for p in self.program.passes for s in p.loop.body if isinstance(s, k.Store)}
        return any(b.name in stores for b in self.of_role("saved"))

    def empty(self, b: k.Buffer) -> str:
        """A sequence to be written, tile by tile."""
        own = {n.BATCH: "batch", n.TIME: "length"}
        shape = ", ".join(own[a] if a in own else self.size(n.base_axis(a)) for a in b.axes)
        return f"torch.empty({shape}, dtype={DTYPES[b.kind]}, device=device)"

    def size(self, axis: str) -> str:
        """The variable that holds the length of an axis; of an axis that no spec names, the length itself."""
        made = self.made.get(axis)
        if made is not None:
            factors = [self.size(x.axis) if isinstance(x, n.Size) else str(x.value) for x in made]
            return factors[0] if len(factors) == 1 else f"({' * '.join(factors)})"
        return size_name(axis)

    def names(self) -> Names:
        """The names outside any loop."""
        names: Names = {("size", n.BATCH): "batch"}
        for axis in self.axes():
            names["size", axis] = self.size(axis)
        for b in self.program.buffers:
            names["load", b.name] = f'state["{b.entry}"]' if b.role == "state" else b.name
        return names

    def axes(self) -> list[str]:
        every = [a.name for a in self.graph.axes]
        for r in self.graph.registers:
            every += (a for a in map(n.base_axis, r.axes) if a not in every)
        return every

    def size_lines(self) -> list[str]:
        """Every size by its variable; `pruned` drops those that a function does not use."""
        return [f'{self.size(a)} = sizes["{a}"]' for a in self.axes() if a not in self.growing and a not in self.made]

    def like(self) -> str:
        """A tensor of the call whose precision and device are the program's."""
        for b in self.of_role("input", "param"):
            if b.kind in ("real", "complex"):
                return b.name
        for b in sorted(self.of_role("state"), key=lambda b: b.kind not in ("real", "complex")):
            return f'state["{b.entry}"]'
        for b in self.of_role("input", "param"):
            return b.name
        return "torch.zeros(())"

    def expressions(self, names: Names) -> Expressions:
        ex = Expressions(names)
        ex.used = self.used
        return ex

    def stored(self, ex: Expressions, value: Node, axes: Axes, kind: Kind) -> str:
        """`value` with exactly these dimensions and this kind."""
        sizes = {a: ex.names.get(("size", n.base_axis(a)), "-1") for a in axes}
        code = ex.as_axes(value, axes, sizes)
        return code if value.kind == kind else method(code, f"to({DTYPES[kind]})")

    def kept(self, ex: Expressions, value: Node, axes: Axes, kind: Kind) -> str:
        """`stored`, in memory of its own: a state that is a view would keep what it is a view of, or change with it."""
        code = self.stored(ex, value, axes, kind)
        return method(code, "clone()") if isinstance(viewed(value), n.Load) or viewed(value) is not value else code

    def prefixes(self, values: Iterable[Node], names: Names) -> list[str]:
        """Lines that compute the parallel prefixes below `values`, each once for all its slots."""
        lines: list[str] = []
        ex = self.expressions(names)
        for node in n.postorder(list(values)):
            if not isinstance(node, n.Prefix) or ("prefix", prefix_key(node)) in names:
                continue
            self.used.add("_prefix")
            number = sum(1 for key in names if key[0] == "prefix") + 1
            suffix = f"_{number}" if number > 1 else ""
            inside: Names = {**names, ("size", n.TIME): "-1", ("size", n.BATCH): "-1"}
            inner = self.expressions(inside)
            slots = [_local(x) for x in node.later]
            results = []
            for value, slot in zip(node.combined, slots, strict=True):
                code = inner.as_axes(value, slot.axes)
                results.append(code if value.kind == slot.kind else method(code, f"to({DTYPES[slot.kind]})"))
            lines += [
                f"def combine{suffix}(earlier: Sequence[Tensor], later: Sequence[Tensor]) -> tuple[Tensor, ...]:",
                f"{INDENT}{tuple_of(_local(x).name for x in node.earlier)} = earlier",
                f"{INDENT}{tuple_of(x.name for x in slots)} = later",
                f"{INDENT}return {tuple_of(results)}",
                "",
            ]
            elements = [self.stored(ex, a, s.axes, s.kind) for a, s in zip(node.args, slots, strict=True)]
            lines.append(f"prefix{suffix} = _prefix(combine{suffix}, ({tuple_of(elements)}))")
            names["prefix", prefix_key(node)] = f"prefix{suffix}"
        return lines


def viewed(node: Node) -> Node:
    """What a value is a view of; itself, where it is none."""
    while True:
        match node:
            case n.Rename(arg=arg) | n.Pick(arg=arg) | n.Map(op="real" | "imag" | "conj", args=(arg,)):
                node = arg
            case _:
                return node


def prefix_key(node: n.Prefix) -> str:
    """What the slots of one prefix have in common."""
    return ",".join(str(id(x)) for x in (*node.args, *node.combined))


def _local(node: Node) -> n.Local:
    if not isinstance(node, n.Local):
        raise CompilerBug("a slot of a prefix is not a placeholder")
    return node


def tuple_of(parts: Iterable[str]) -> str:
    items = list(parts)
    return f"{items[0]}," if len(items) == 1 else ", ".join(items)


def assign(name: str, code: str, span: Span | None) -> str:
    line = f"{name} = {code}"
    return f"{line}  # {one_line(span.where.rsplit('/', 1)[-1])}" if span is not None else line


def one_line(text: str) -> str:
    """Text for a comment: a file's name may hold anything, and must not end the comment."""
    return "".join(c if c.isprintable() else "?" for c in text)


def indented(lines: Iterable[str]) -> list[str]:
    return [INDENT + line if line else "" for line in lines]


def values_of(statement: k.Statement) -> tuple[Node, ...]:
    match statement:
        case k.Let(value=value) | k.Set(value=value) | k.Store(value=value):
            return (value,)
        case k.For(carries=carries):
            return tuple(c.init for c in carries)
        case _:
            return ()


def names_in(code: str) -> set[str]:
    """The names that a piece of a module reads."""
    found = ast.walk(ast.parse(code))
    return {x.id for x in found if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)}


def _factors(size: Node) -> list[n.Const | n.Size] | None:
    """The factors of a length that is a product of lengths and numbers, as those that the compiler makes are."""
    match size:
        case n.Const() | n.Size():
            return [size]
        case n.Map(op="mul", args=(left, right)):
            first, second = _factors(left), _factors(right)
            return None if first is None or second is None else first + second
        case _:
            return None


def pruned(lines: list[str]) -> list[str]:
    """A function without those bindings of its beginning (see `prologue`) that nothing below uses."""
    kept = list(lines)
    for line in reversed(lines):
        targets, _, value = line.strip().partition(" = ")
        if not value.startswith(_PROLOGUE) and value != "t":
            continue
        used = names_in("\n".join(x for x in kept if x is not line))
        names = [x if x in used else "_" for x in targets.split(", ")]
        at = next(i for i, x in enumerate(kept) if x is line)
        kept[at : at + 1] = [f"{INDENT}{', '.join(names)} = {value}"] if set(names) != {"_"} else []
    return kept


# how the lines begin, after their names, that bind what every function may need
_PROLOGUE = ('sizes["', 'state["t"]', "t0 + length", "_precision(")
