"""An expression as a person reads it: infix, in the language's own syntax, with the parentheses it needs and no others.

For `explain`, for comments in generated code and for messages. What the language has no word for is printed in its
style: `solve[N, N'](A, b)`, `expm[N, N'](A)`, `window[W](x)`. Conversions between kinds and broadcasts are not shown.
A graph has sharing and a text has none, so `depth` and `limit` bound what is printed; what is left out is `…`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Node

ELLIPSIS = "…"

# How tightly a form binds, as in the grammar.
OR, AND, NOT, COMPARE, SUM, PRODUCT, CONTRACT, SIGN, POWER, CALL = range(1, 11)

# operator: its sign, how tightly it binds, what it asks of its left and of its right operand
_INFIX: dict[str, tuple[str, int, int, int]] = {
    "or": ("or", OR, OR, AND),
    "and": ("and", AND, AND, NOT),
    "lt": ("<", COMPARE, SUM, SUM),
    "le": ("<=", COMPARE, SUM, SUM),
    "gt": (">", COMPARE, SUM, SUM),
    "ge": (">=", COMPARE, SUM, SUM),
    "eq": ("==", COMPARE, SUM, SUM),
    "ne": ("!=", COMPARE, SUM, SUM),
    "add": ("+", SUM, SUM, PRODUCT),
    "sub": ("-", SUM, SUM, PRODUCT),
    "mul": ("*", PRODUCT, PRODUCT, CONTRACT),
    "div": ("/", PRODUCT, PRODUCT, CONTRACT),
}
_HIDDEN = ("cast_real", "cast_complex", "cast_int")


@dataclass(frozen=True)
class _Text:
    """`sums`: the axes over which an unparenthesised `·` or `@` of this product sums."""

    text: str
    binds: int
    sums: frozenset[str] = frozenset()

    def within(self, least: int) -> str:
        return self.text if self.binds >= least else f"({self.text})"


def show(
    node: Node,
    arena: Arena | None = None,
    depth: int | None = None,
    *,
    stop_at_labels: bool = True,
    names: Mapping[Node, str] | None = None,
    each: frozenset[str] = frozenset(),
    limit: int = 2000,
) -> str:
    """`node` as infix text.

    A node below the root that has a label in `arena`, or a name in `names`, is printed as that label, unless
    `stop_at_labels` is false. Operands more than `depth` levels down are `…` (or their label). `each` holds the axes
    that `·` never sums; no operand of more than `limit` characters is printed.

    A state of the step before is printed by its bare name, as in the language, but as `prev(m)` in a text that means
    this step's value by `m` too.
    """
    labels = dict(names) if names is not None else {}
    if arena is not None:
        labels = {**arena.labels, **labels}
    # deeper than this no one reads, and Python's own stack has an end
    depth = min(depth, 60) if depth is not None else 60
    printer = _Printer(labels, stop_at_labels, each, limit)
    text = printer.text(node, depth, root=True).text
    if printer.reads & printer.named:
        printer = _Printer(labels, stop_at_labels, each, limit, both=frozenset(printer.reads & printer.named))
        text = printer.text(node, depth, root=True).text
    return text


def number(value: bool | int | float | complex) -> str:
    """A constant as the language writes it (a sum, for a complex number with a real part)."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case complex(real=0):
            return f"{number(value.imag)}j"
        case complex():
            sign = "-" if value.imag < 0 else "+"
            return f"{number(value.real)} {sign} {number(abs(value.imag))}j"


@dataclass(eq=False)
class _Printer:
    labels: Mapping[Node, str]
    stop: bool
    each: frozenset[str]
    limit: int
    both: frozenset[str] = frozenset()  # states that the text names as they were and as they are
    reads: set[str] = field(default_factory=set)  # bare names of states as they were
    named: set[str] = field(default_factory=set)  # labels printed
    done: dict[tuple[Node, int], _Text] = field(default_factory=dict)

    def text(self, node: Node, depth: int, root: bool = False) -> _Text:
        label = None if root else self.labels.get(node)
        if label is not None and (self.stop or depth <= 0):
            if not isinstance(node, n.Read):
                self.named.add(label)
            return _Text(label, CALL)
        if depth < 0 or (depth == 0 and n.children(node)):
            return _Text(ELLIPSIS, CALL)
        key = (node, depth)
        if key not in self.done:
            text = self.write(node, lambda x: self.text(x, depth - 1))
            short = len(text.text) <= self.limit or root
            self.done[key] = text if short else _Text(ELLIPSIS if label is None else label, CALL)
        return self.done[key]

    def known(self, node: Node) -> bool:
        """Whether a value goes by its name."""
        return self.stop and node in self.labels

    def write(self, node: Node, at: Callable[[Node], _Text]) -> _Text:
        match node:
            case n.Map():
                return self.write_map(node, at)
            case n.Reduce(op="sum", arg=n.Map(op="mul", args=(a, b)), over=(axis,)) if not self.known(node.arg):
                sign = self.product_sign(a, b, axis)
                if sign is not None:
                    if axis != n.base_axis(axis) and isinstance(b, n.Rename) and b not in self.labels:
                        b = b.arg  # the columns' name is understood
                    text = f"{at(a).within(CONTRACT)} {sign} {at(b).within(SIGN)}"
                    return _Text(text, CONTRACT, frozenset((n.base_axis(axis),)))
                return _Text(f"sum[{axis}]({at(node.arg).text})", CALL)
            case _:
                return self.write_other(node, at)

    def product_sign(self, a: Node, b: Node, axis: str) -> str | None:
        """How `sum[axis](a * b)` is written in short, if it can be."""
        shared = set(a.axes) & set(b.axes)
        if axis not in shared:
            return None
        base = n.base_axis(axis)
        if axis != base:
            column = isinstance(b, n.Rename) and b.pairs == ((base, axis),) and base in a.axes
            return "@" if column and a.axes[-1] == axis else None
        if shared - self.each == {axis} and axis not in self.each:
            return "·"
        return "@" if a.axes[-1] == axis and f"{axis}'" not in (*a.axes, *b.axes) else None

    def write_map(self, node: n.Map, at: Callable[[Node], _Text]) -> _Text:
        args = node.args
        match node.op:
            case op if op in _HIDDEN:
                return at(args[0])
            case "where" if args[1] is args[2]:  # a broadcast
                return at(args[1])
            case "neg":
                return _Text(f"-{at(args[0]).within(SIGN)}", SIGN)
            case "not":
                return _Text(f"not {at(args[0]).within(NOT)}", NOT)
            case "pow":
                exponent = at(args[1]).within(SIGN)
                return _Text(f"{at(args[0]).within(CALL)}**{exponent}", POWER)
            case op if op in _INFIX:
                return self.write_infix(node, at)
        return _Text(f"{node.op}({', '.join(at(a).text for a in args)})", CALL)

    def write_infix(self, node: n.Map, at: Callable[[Node], _Text]) -> _Text:
        sign, binds, left_least, right_least = _INFIX[node.op]
        first, second = node.args
        if node.op == "add" and isinstance(second, n.Map) and second.op == "neg" and second not in self.labels:
            sign, second = "-", second.args[0]  # x + -y is x - y, for every value
        left, right = at(first), at(second)
        if binds == PRODUCT:
            # a neighbour that has the summed axis would make the reader ask which product comes first: an error in
            # the language, as is `x / a · b`
            axes = [frozenset(map(n.base_axis, a.axes)) for a in node.args]
            if left.sums & axes[1]:
                left_least = CALL
            if right.sums and (node.op == "div" or right.sums & axes[0]):
                right_least = CALL
        texts = left.within(left_least), right.within(right_least)
        kept = [p.sums for p, least in ((left, left_least), (right, right_least)) if p.binds >= least]
        sums = frozenset[str]().union(*kept) if binds == PRODUCT else frozenset[str]()
        return _Text(f"{texts[0]} {sign} {texts[1]}", binds, sums)

    def write_other(self, node: Node, at: Callable[[Node], _Text]) -> _Text:
        def call(function: str, *args: Node, extra: str = "") -> _Text:
            return _Text(f"{function}({', '.join(at(a).text for a in args)}{extra})", CALL)

        match node:
            case n.Const(value=value):
                text = number(value)
                inner = isinstance(value, complex) and value.real != 0
                return _Text(text, SUM if inner else SIGN if text.startswith("-") else CALL)
            case n.Input(name=name) | n.Param(name=name) | n.Table(name=name) | n.Local(name=name):
                return _Text(name, CALL)
            case n.Load(buffer=name):
                return _Text(name, CALL)
            case n.Time():
                return _Text("t", CALL)
            case n.Size(axis=axis):
                return _Text(f"size[{axis}]", CALL)
            case n.Index(axes=(axis,)):
                return _Text(f"index[{axis}]", CALL)
            case n.Read(register=register, steps=steps):
                if steps == 1 and register in self.both:
                    return _Text(f"prev({register})", CALL)
                self.reads.add(register)
                return _Text(read_text(register, steps), CALL)
            case n.Draw(distribution=distribution, args=args):
                return call(distribution, *args)
            case n.Reduce(op=op, arg=arg, over=over):
                return call(f"{op}[{', '.join(over)}]", arg)
            case n.Cumulative(op=op, arg=arg, axis=axis, reverse=reverse):
                return call(f"cum{op}[{axis}]", arg, extra=", reverse" if reverse else "")
            case n.Rename(arg=arg, pairs=pairs):
                if (
                    len(pairs) == 2
                    and pairs[0] == pairs[1][::-1]
                    and n.base_axis(pairs[0][0]) == n.base_axis(pairs[0][1])
                ):
                    return call("transpose", arg)
                moves = ", ".join(f"{a} -> {b}" for a, b in pairs)
                return _Text(f"{at(arg).within(CALL)}[{moves}]", CALL)
            case n.Pick(arg=arg, axis=axis, index=index):
                return _Text(f"{at(arg).within(CALL)}[{axis} = {index}]", CALL)
            case n.Shift(arg=arg, axis=axis, steps=steps):
                return call(f"shift[{axis}]", arg, extra=f", {steps}" if steps != 1 else "")
            case n.Solve(matrix=matrix, rhs=rhs, row=row, col=col):
                return call(f"solve[{row}, {col}]", matrix, rhs)
            case n.Expm(matrix=matrix, row=row, col=col, order=order):
                return call(f"{f'phi{order}' if order else 'expm'}[{row}, {col}]", matrix)
            case n.Window(register=register, axis=axis, current=None):
                return _Text(f"window[{axis}]({read_text(register, 1)})", CALL)
            case n.Window(axis=axis, current=current):
                assert current is not None
                return call(f"window[{axis}]", current)
            case n.History(axis=axis, current=current):
                return call(f"past[{axis}]", current)
            case _:
                return self.write_kernel(node, at)

    def write_kernel(self, node: Node, at: Callable[[Node], _Text]) -> _Text:
        """The nodes that only kernel IR has: `name[axes](operands, numbers)`."""
        axes: tuple[str, ...] = ()
        rest: list[object] = []
        match node:
            case n.Flip(axis=axis) | n.Append(axis=axis) | n.Start(axis=axis):
                axes = (axis,)
            case n.Lag(steps=steps):
                rest = [steps]
            case n.Frames(axis=axis, skip=skip, oldest_first=oldest_first):
                axes = (axis,)
                rest = [*([f"skip {skip}"] if skip else []), *(["oldest first"] if oldest_first else [])]
            case n.FftConv(over=over):
                axes = over
            case n.Geometric(over=over, first=first):
                axes, rest = over, [f"from {first}"]
            case n.Scores(over=over, late=late):
                axes, rest = over, ["late"] if late else []
            case n.Gather(late=late):
                rest = ["late"] if late else []
            case n.Prefix(combined=combined, slot=slot):
                rest = [f"by {', '.join(at(c).text for c in combined)}; {slot}"]
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(node).__name__).lower()
        operands = ", ".join([*(at(x).text for x in n.children(node)), *map(str, rest)])
        bracket = f"[{', '.join(axes)}]" if axes else ""
        return _Text(f"{name}{bracket}({operands})", CALL)


def read_text(register: str, steps: int) -> str:
    """A register some steps back: `h` for a state (its value before this step's update), `prev(x, 2)` for a delay."""
    origin, dot, rest = register.partition(".")
    if dot:
        return f"{origin}({rest})" if steps == 1 else f"{origin}({rest}, {steps})"
    return register if steps == 1 else f"prev({register}, {steps})"
