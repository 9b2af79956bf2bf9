"""The arena: makes, types and hash-conses expressions.

Callers have checked what a user may get wrong (kinds, axes, squares) and reported it; here a violation is a
`CompilerBug`. The only rewrites done on the way are those that are exact for every value, infinities and NaN included:
folding of constants, x + 0, x * 1, x / 1, x ** 1, --x, where(const, …). `x * 0` is not one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.expr.ops import OPS, REDUCTIONS, join_kinds
from ssmc.source import Span

N = TypeVar("N", bound=Node)

_FIXED = {n.BATCH: -4, n.TIME: -3, n.SOURCE: -2, n.LAG: -1}


class Arena:
    """Makes nodes. `axis_order` is the canonical order of the declared axes.

    `spans` remembers the first place of the text an expression came from, `labels` a readable name for it; neither
    takes part in equality.
    """

    def __init__(self, axis_order: Sequence[str] = ()) -> None:
        self._order = {a: i for i, a in enumerate(axis_order)}
        self._memo: dict[tuple[Any, ...], Node] = {}
        self.spans: dict[Node, Span] = {}
        self.labels: dict[Node, str] = {}
        self.span: Span | None = None  # given to every new node until changed

    # -- axes --------------------------------------------------------------------------------------------------

    def declare_axis(self, axis: str) -> None:
        self._order.setdefault(n.base_axis(axis), len(self._order))

    def rank(self, axis: str) -> tuple[int, str, int]:
        base = n.base_axis(axis)
        return self._order.get(base, _FIXED.get(base, len(self._order))), base, len(axis)

    def sorted_axes(self, axes: Iterable[str]) -> Axes:
        return tuple(sorted(set(axes), key=self.rank))

    def union(self, parts: Sequence[Axes]) -> Axes:
        """Axes of an elementwise result: the order of an operand that has them all, else canonical order."""
        every = set().union(*parts) if parts else set()
        for p in parts:
            if len(p) == len(every):
                return p
        return self.sorted_axes(every)

    # -- interning ---------------------------------------------------------------------------------------------

    def _intern(self, cls: type[N], axes: Axes, kind: Kind, *data: Any) -> N:
        # 1, 1.0 and True are equal in Python: the kind keeps them apart
        key = (cls, axes, kind, *data)
        found = self._memo.get(key)
        if found is None:
            if len(set(axes)) != len(axes):
                raise CompilerBug(f"an axis stands twice in {axes} of a {cls.__name__}")
            found = cls(axes, kind, *data)
            self._memo[key] = found
            if self.span is not None:
                self.spans[found] = self.span
        return found  # type: ignore[return-value]

    # -- leaves ------------------------------------------------------------------------------------------------

    def const(self, value: bool | int | float | complex, kind: Kind | None = None) -> n.Const:
        if kind is None:
            kind = "bool" if isinstance(value, bool) else _kind_of(value)
        value = _coerce(value, kind)
        # repr keeps -0.0, nan and 1 + 0j apart as dictionary keys
        key = (n.Const, kind, repr(value))
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = n.Const((), kind, value)
        assert isinstance(found, n.Const)
        return found

    def input(self, name: str, axes: Axes, kind: Kind) -> n.Input:
        return self._intern(n.Input, axes, kind, name)

    def param(self, name: str, axes: Axes, kind: Kind) -> n.Param:
        return self._intern(n.Param, axes, kind, name)

    def time(self) -> n.Time:
        return self._intern(n.Time, (), "int")

    def size(self, axis: str) -> n.Size:
        return self._intern(n.Size, (), "int", axis)

    def index(self, axis: str) -> n.Index:
        return self._intern(n.Index, (axis,), "int")

    def read(self, register: str, axes: Axes, kind: Kind, steps: int = 1) -> n.Read:
        return self._intern(n.Read, axes, kind, register, steps)

    def table(self, name: str, axes: Axes, kind: Kind) -> n.Table:
        return self._intern(n.Table, axes, kind, name)

    def draw(self, distribution: str, args: tuple[Node, ...], axes: Axes, number: int = 0) -> n.Draw:
        return self._intern(n.Draw, axes, "real", distribution, args, number)

    def local(self, name: str, axes: Axes, kind: Kind) -> n.Local:
        return self._intern(n.Local, axes, kind, name)

    def load(self, buffer: str, axes: Axes, kind: Kind) -> n.Load:
        return self._intern(n.Load, axes, kind, buffer)

    # -- elementwise -------------------------------------------------------------------------------------------

    def map(self, op: str, *args: Node) -> Node:
        entry = OPS[op]
        if len(args) != entry.arity:
            raise CompilerBug(f"{op} takes {entry.arity} operands, given {len(args)}")
        kind = entry.rule(*(a.kind for a in args))
        if kind is None:
            raise CompilerBug(f"{op} does not take {', '.join(a.kind for a in args)}")
        if op == "pow" and kind == "int" and not _stays_int(*args):
            return self.map(op, self.cast(args[0], "real"), args[1])
        simple = self._simplify(op, args, kind)
        if simple is not None:
            return simple
        return self._intern(n.Map, self.union([a.axes for a in args]), kind, op, args)

    def _simplify(self, op: str, args: tuple[Node, ...], kind: Kind) -> Node | None:
        consts = [a.value if isinstance(a, n.Const) else None for a in args]
        if all(c is not None for c in consts):
            folded = _fold(op, consts)
            if folded is not None:
                return self.const(folded, kind)
        match op:
            case "neg" if isinstance(args[0], n.Map) and args[0].op == "neg" and args[0].args[0].kind == kind:
                return args[0].args[0]
            case "add" | "mul":
                identity = OPS[op].identity
                for c, other in ((consts[0], args[1]), (consts[1], args[0])):
                    if _same(c, identity) and other.kind == kind:
                        return other
            case "sub" if _same(consts[1], 0) and args[0].kind == kind:
                return args[0]
            case "div" | "pow" if _same(consts[1], 1) and args[0].kind == kind:
                return args[0]
            case "where":
                if args[1] is args[2] and set(args[0].axes) <= set(args[1].axes):
                    return args[1]
                if consts[0] is not None:
                    taken = args[1] if consts[0] else args[2]
                    if taken.kind == kind and set(taken.axes) == set(self.union([a.axes for a in args])):
                        return taken
            case "cast_real" | "cast_complex" | "cast_int" if args[0].kind == kind:
                return args[0]
            case "real" | "conj" if args[0].kind == kind and kind != "complex":
                return args[0]
        return None

    def neg(self, x: Node) -> Node:
        return self.map("neg", x)

    def add(self, x: Node, y: Node) -> Node:
        return self.map("add", x, y)

    def sub(self, x: Node, y: Node) -> Node:
        return self.map("sub", x, y)

    def mul(self, x: Node, y: Node) -> Node:
        return self.map("mul", x, y)

    def div(self, x: Node, y: Node) -> Node:
        return self.map("div", x, y)

    def exp(self, x: Node) -> Node:
        return self.map("exp", x)

    def where(self, c: Node, x: Node, y: Node) -> Node:
        return self.map("where", c, x, y)

    def product(self, factors: Iterable[Node]) -> Node:
        result: Node | None = None
        for f in factors:
            result = f if result is None else self.mul(result, f)
        return result if result is not None else self.const(1)

    def total(self, terms: Iterable[Node]) -> Node:
        result: Node | None = None
        for t in terms:
            result = t if result is None else self.add(result, t)
        return result if result is not None else self.const(0)

    def cast(self, x: Node, kind: Kind) -> Node:
        """x as an element of `kind`, which is its own or a later one of bool, int, real, complex."""
        if x.kind == kind:
            return x
        if n.KINDS.index(x.kind) > n.KINDS.index(kind):
            raise CompilerBug(f"cannot narrow {x.kind} to {kind}")
        return self.map(f"cast_{kind}", x)

    def broadcast(self, x: Node, axes: Axes) -> Node:
        """x with exactly these axes, a superset of its own: where(index >= 0, x, x) of every missing one."""
        for a in (a for a in axes if a not in x.axes):
            always = self.map("ge", self.index(a), self.const(0))
            x = self._intern(n.Map, self.union([x.axes, (a,)]), x.kind, "where", (always, x, x))
        return x

    # -- axes operations ---------------------------------------------------------------------------------------

    def reduce(self, op: str, arg: Node, over: Iterable[str]) -> Node:
        over = tuple(over)
        if not over:
            return arg
        if any(a not in arg.axes for a in over):
            raise CompilerBug(f"{op} over {over} of a value with axes {arg.axes}")
        kind = REDUCTIONS[op].rule(arg.kind)
        if kind is None:
            raise CompilerBug(f"{op} does not take {arg.kind}")
        axes = tuple(a for a in arg.axes if a not in over)
        return self._intern(n.Reduce, axes, kind, op, arg, self.sorted_axes(over))

    def contract(self, x: Node, y: Node, over: Iterable[str]) -> Node:
        """Sum over `over` of x * y."""
        return self.reduce("sum", self.mul(x, y), over)

    def cumulative(self, op: str, arg: Node, axis: str, reverse: bool = False) -> Node:
        kind: Kind = "int" if arg.kind == "bool" else arg.kind
        return self._intern(n.Cumulative, arg.axes, kind, op, arg, axis, reverse)

    def rename(self, arg: Node, pairs: Mapping[str, str]) -> Node:
        used = {a: b for a, b in pairs.items() if a in arg.axes and a != b}
        if not used:
            return arg
        if isinstance(arg, n.Index):
            return self.index(used[arg.axes[0]])
        axes = tuple(used.get(a, a) for a in arg.axes)
        return self._intern(n.Rename, axes, arg.kind, arg, tuple(sorted(used.items())))

    def pick(self, arg: Node, axis: str, index: int) -> Node:
        axes = tuple(a for a in arg.axes if a != axis)
        return self._intern(n.Pick, axes, arg.kind, arg, axis, index)

    def shift(self, arg: Node, axis: str, steps: int) -> Node:
        return arg if steps == 0 else self._intern(n.Shift, arg.axes, arg.kind, arg, axis, steps)

    # -- matrices ----------------------------------------------------------------------------------------------

    def solve(self, matrix: Node, rhs: Node, row: str, col: str) -> Node:
        axes = self.union([rhs.axes, tuple(a for a in matrix.axes if a != col)])
        return self._intern(n.Solve, axes, _inexact(matrix, rhs), matrix, rhs, row, col)

    def expm(self, matrix: Node, row: str, col: str, order: int = 0) -> Node:
        return self._intern(n.Expm, matrix.axes, _inexact(matrix), matrix, row, col, order)

    def eye(self, row: str, col: str) -> Node:
        """The identity matrix over (row, col), real."""
        same = self.map("eq", self.index(row), self.index(col))
        return self.where(same, self.const(1.0), self.const(0.0))

    # -- delays ------------------------------------------------------------------------------------------------

    def window(self, register: str, axis: str, axes: Axes, kind: Kind, current: Node | None) -> n.Window:
        """`axes` are the register's."""
        return self._intern(n.Window, self.union([axes, (axis,)]), kind, register, axis, current)

    def history(self, register: str, axis: str, current: Node, axes: Axes, kind: Kind) -> n.History:
        return self._intern(n.History, self.union([axes, (axis,)]), kind, register, axis, current)

    # -- kernel IR ---------------------------------------------------------------------------------------------

    def prefix(
        self,
        args: Sequence[Node],
        earlier: Sequence[Node],
        later: Sequence[Node],
        combined: Sequence[Node],
        identity: Sequence[Node],
        slot: int,
    ) -> n.Prefix:
        """`earlier` and `later` have the axes of the tiles (batch and time among them), whatever `args` lack."""
        kind = join_kinds(args[slot].kind, combined[slot].kind)
        return self._intern(
            n.Prefix,
            later[slot].axes,
            kind,
            tuple(args),
            tuple(earlier),
            tuple(later),
            tuple(combined),
            tuple(identity),
            slot,
        )

    def flip(self, arg: Node, axis: str) -> Node:
        if isinstance(arg, n.Flip) and arg.axis == axis:
            return arg.arg
        return self._intern(n.Flip, arg.axes, arg.kind, arg, axis)

    def start(self, arg: Node, axis: str) -> n.Start:
        return self._intern(n.Start, arg.axes, arg.kind, arg, axis)

    def lag(self, arg: Node, halo: Node, steps: int) -> n.Lag:
        axes = self.union([arg.axes, tuple(a for a in halo.axes if a != n.LAG)])
        return self._intern(n.Lag, axes, join_kinds(arg.kind, halo.kind), arg, halo, steps)

    def frames(self, arg: Node, halo: Node, axis: str, skip: int, oldest_first: bool) -> n.Frames:
        axes = self.union([arg.axes, tuple(a for a in halo.axes if a != n.LAG), (axis,)])
        return self._intern(n.Frames, axes, join_kinds(arg.kind, halo.kind), arg, halo, axis, skip, oldest_first)

    def tail(self, arg: Node, halo: Node) -> n.Tail:
        return self._intern(n.Tail, halo.axes, halo.kind, arg, halo)

    def append(self, arg: Node, halo: Node, axis: str) -> n.Append:
        rest = [tuple(a for a in x.axes if a not in (n.TIME, n.LAG)) for x in (arg, halo)]
        return self._intern(n.Append, self.union([*rest, (axis,)]), join_kinds(arg.kind, halo.kind), arg, halo, axis)

    def fft_conv(self, kernel: Node, arg: Node, over: Axes) -> n.FftConv:
        axes = tuple(a for a in self.union([arg.axes, kernel.axes]) if a not in over)
        return self._intern(n.FftConv, axes, _inexact(kernel, arg), kernel, arg, over)

    def scores(self, query: Node, key: Node, decay: Node, over: Axes, late: bool) -> n.Scores:
        every = {*query.axes, *key.axes, *decay.axes, n.SOURCE}
        axes, kind = self.sorted_axes(every - set(over)), _inexact(query, key, decay)
        return self._intern(n.Scores, axes, kind, query, key, decay, over, late)

    def gather(self, scores: Node, value: Node, decay: Node, late: bool) -> n.Gather:
        axes = self.sorted_axes({*scores.axes, *value.axes, *decay.axes} - {n.SOURCE})
        return self._intern(n.Gather, axes, _inexact(scores, value, decay), scores, value, decay, late)

    def geometric(self, coefficient: Node, base: Node, over: Axes, first: int) -> n.Geometric:
        every = set(coefficient.axes) | set(base.axes) | {n.TIME}
        axes = self.sorted_axes(every - set(over))
        return self._intern(n.Geometric, axes, _inexact(coefficient, base), coefficient, base, over, first)

    def moment(self, arg: Node, base: Node, factor: Node, carry: Node) -> n.Moment:
        return self._intern(n.Moment, carry.axes, carry.kind, arg, base, factor, carry)

    # -- rebuilding --------------------------------------------------------------------------------------------

    def rebuild(self, node: Node, kids: Sequence[Node]) -> Node:
        """`node` with other operands, typed anew. A leaf comes back as it is (interned here)."""
        match node:
            case n.Map(op=op):
                return self.map(op, *kids)
            case n.Reduce(op=op, over=over):
                return self.reduce(op, kids[0], over)
            case n.Cumulative(op=op, axis=axis, reverse=reverse):
                return self.cumulative(op, kids[0], axis, reverse)
            case n.Rename(pairs=pairs):
                return self.rename(kids[0], dict(pairs))
            case n.Pick(axis=axis, index=index):
                return self.pick(kids[0], axis, index)
            case n.Shift(axis=axis, steps=steps):
                return self.shift(kids[0], axis, steps)
            case n.Solve(row=row, col=col):
                return self.solve(kids[0], kids[1], row, col)
            case n.Expm(row=row, col=col, order=order):
                return self.expm(kids[0], row, col, order)
            case n.Draw(distribution=distribution, axes=axes, number=number):
                return self.draw(distribution, tuple(kids), axes, number)
            case n.Window(register=register, axis=axis, axes=axes, kind=kind):
                rest = tuple(a for a in axes if a != axis)
                return self.window(register, axis, rest, kind, kids[0] if kids else None)
            case n.History(register=register, axis=axis, axes=axes, kind=kind):
                return self.history(register, axis, kids[0], tuple(a for a in axes if a != axis), kind)
            case n.Prefix(earlier=earlier, later=later, combined=combined, identity=identity, slot=slot):
                return self.prefix(kids, earlier, later, combined, identity, slot)
            case n.Flip(axis=axis):
                return self.flip(kids[0], axis)
            case n.Start(axis=axis):
                return self.start(kids[0], axis)
            case n.Lag(steps=steps):
                return self.lag(kids[0], kids[1], steps)
            case n.Frames(axis=axis, skip=skip, oldest_first=oldest_first):
                return self.frames(kids[0], kids[1], axis, skip, oldest_first)
            case n.Tail():
                return self.tail(kids[0], kids[1])
            case n.Append(axis=axis):
                return self.append(kids[0], kids[1], axis)
            case n.Scores(over=over, late=late):
                return self.scores(kids[0], kids[1], kids[2], over, late)
            case n.Gather(late=late):
                return self.gather(kids[0], kids[1], kids[2], late)
            case n.Geometric(over=over, first=first):
                return self.geometric(kids[0], kids[1], over, first)
            case n.Moment():
                return self.moment(kids[0], kids[1], kids[2], kids[3])
            case n.FftConv(over=over):
                return self.fft_conv(kids[0], kids[1], over)
            case n.Const(value=value, kind=kind):
                return self.const(value, kind)
            case _:
                fields = {k: v for k, v in vars(node).items() if k not in ("axes", "kind")}
                return self._intern(type(node), node.axes, node.kind, *fields.values())

    def noted(self, new: Node, old: Node) -> Node:
        """`new`, with the place and the name of `old` where it has none of its own."""
        if old in self.spans:
            self.spans.setdefault(new, self.spans[old])
        if old in self.labels:
            self.labels.setdefault(new, self.labels[old])
        return new

    def substitute(self, roots: Sequence[Node], replace: Callable[[Node], Node | None]) -> list[Node]:
        """The roots rebuilt bottom-up; `replace` is asked first at every node, None keeps and descends."""
        done: dict[Node, Node] = {}
        stack: list[Node] = list(roots)
        while stack:
            node = stack[-1]
            if node in done:
                stack.pop()
                continue
            new = replace(node)
            if new is not None:
                done[node] = new
                stack.pop()
                continue
            kids = n.children(node)
            waiting = [k for k in kids if k not in done]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            built = self.rebuild(node, [done[k] for k in kids])
            self.noted(built, node)
            done[node] = built
            stack.pop()
        return [done[r] for r in roots]


def _inexact(*parts: Node) -> Kind:
    return "complex" if any(p.kind == "complex" for p in parts) else "real"


def _kind_of(value: int | float | complex) -> Kind:
    return "int" if isinstance(value, int) else "real" if isinstance(value, float) else "complex"


def _coerce(value: Any, kind: Kind) -> bool | int | float | complex:
    convert: dict[Kind, Callable[[Any], Any]] = {"bool": bool, "int": int, "real": float, "complex": complex}
    return convert[kind](value)  # type: ignore[no-any-return]


def _same(c: Any, identity: Any) -> bool:
    # an exact identity only: -0.0 is the identity of + for floats, 0.0 is not for -0.0, which no one can observe here
    return c is not None and identity is not None and not isinstance(c, bool) and c == identity


_FOLDS: dict[str, Callable[..., Any]] = {
    "neg": lambda x: -x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, p: x**p,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "not": lambda x: not x,
    "and": lambda x, y: x and y,
    "or": lambda x, y: x or y,
    "min": min,
    "max": max,
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "cast_real": float,
    "cast_complex": complex,
    "cast_int": int,
}


def _stays_int(base: Node, exponent: Node) -> bool:
    """Whether a power of integers is one: the exponent is known not to be negative, a known result not to be huge."""
    if not isinstance(exponent, n.Const) or exponent.value < 0:  # type: ignore[operator]
        return False
    return not isinstance(base, n.Const) or int(base.value.real).bit_length() * int(exponent.value.real) <= 53


def _fold(op: str, values: list[Any]) -> Any:
    """The value of a constant expression, or None where it is left to run time (overflow, domain, huge integers)."""
    f = _FOLDS.get(op)
    if f is None:
        return None
    try:
        result = f(*values)
    except (ArithmeticError, ValueError, TypeError):
        return None
    if isinstance(result, int) and not isinstance(result, bool) and abs(result) > 2**53:
        return None
    return result
