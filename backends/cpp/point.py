"""Expressions as C++ at one point of the loops around them: one element, or the lanes of one vector.

Every operator is a function, or an infix operator, that takes elements and vectors alike (support/), so that the text
of an expression does not say which of the two it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ssmc.backends.cpp.library_text import CONDITION_OPERATORS
from ssmc.backends.cpp.library_text import OPERATORS as FUNCTIONS
from ssmc.backends.cpp.parts import PARTLY_REAL
from ssmc.backends.cpp.value import NotPrintable, Value
from ssmc.backends.cpp.values import Pass

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.expr.ops import OPS, join_kinds

if TYPE_CHECKING:
    from ssmc.backends.cpp.cell import Cell

VECTOR: dict[Kind, str] = {"bool": "vmask", "int": "vint", "real": "vreal", "complex": "cx<vreal>"}

_LEVEL = {
    "*": 80,
    "/": 80,
    "+": 75,
    "-": 75,
    "<": 60,
    "<=": 60,
    ">": 60,
    ">=": 60,
    "==": 55,
    "!=": 55,
    "&": 50,
    "|": 40,
}
ATOM = 100
_KINDS: tuple[Kind, ...] = ("bool", "int", "real", "complex")


@dataclass(frozen=True)
class Index:
    """Where along an axis: `local` in arrays of the cell, `whole` in the caller's tensors.

    With `lane` they are the first of LANES elements, `left` is how many there are from there on, and `vector` the
    number of the vector in arrays of vectors. `near` is the same counted from the beginning of a tile.
    """

    local: str
    whole: str
    lane: bool = False
    left: str = ""
    vector: str = ""
    near: Index | None = None


@dataclass(frozen=True)
class Code:
    text: str
    level: int
    kind: Kind
    lanes: bool


Env = Mapping[str, Index]


class Point:
    """Prints the expressions of a cell where `env` says what each axis stands at."""

    def __init__(self, cell: Cell, env: Env, at: Value | None, known: Mapping[Value, str]) -> None:
        self.cell, self.env, self.at, self.known = cell, dict(env), at, known
        self.of: Pass = cell.values

    def moved(self, env: Env) -> Point:
        return Point(self.cell, env, self.at, self.known)

    # -- entry points ------------------------------------------------------------------------------------------

    def code(self, node: Node) -> Code:
        number = self.cell.printer.number(node) if isinstance(node, n.Map) else None
        made = self._code(node) if number is None else _constant(number, node.kind)
        if made.kind == "int" and not isinstance(node, n.Const):
            self.cell.printer.integers = True
        return made

    def _code(self, node: Node) -> Code:
        found = self.at.stands.get(node) if self.at is not None else None
        if found is not None:
            return self.value(found)
        match node:
            case n.Const(value=value):
                return _constant(value, node.kind)
            case n.Size(axis=axis):
                return Code(self.cell.size(axis), ATOM, "int", False)
            case n.Index(axes=(axis,)):
                i = self.env[axis]
                at = i.local if axis in (n.TIME, n.SOURCE) and self.of.at_once else i.whole
                return Code(f"lanes_from({at})" if i.lane else f"i64({at})", ATOM, "int", i.lane)
            case n.Local(name=name):
                named = self.of.named.get(name)
                if isinstance(named, Value):
                    return self.value(named)
                if name in self.of.tails and self.at is not None and self.at.group == -1:
                    return self.cell.line_before(self.of.line(self.of.tails[name]), self.scalar(n.LAG).whole, self)
                if named is None:
                    return self.cell.outer(name, self)
                return self.code(named)
            case n.Load():
                return self.load(node)
            case n.Map():
                return self.map(node)
            case n.Rename(arg=arg, pairs=pairs):
                new = {old: self.env[name] for old, name in pairs}
                gone = {name for _, name in pairs}
                kept = {a: i for a, i in self.env.items() if a not in gone or a in new}
                return self.moved({**kept, **new}).code(arg)
            case n.Pick(arg=arg, axis=axis, index=index):
                return self.moved({**self.env, axis: self.picked(arg, axis, index)}).code(arg)
            case n.Flip(arg=arg, axis=axis) if axis == n.TIME and isinstance(arg, n.Lag | n.Frames):
                return self.code(arg)
            case n.Flip(arg=arg, axis=n.TIME) if self.of.at_once:
                i = self.scalar(n.TIME)
                there = Index(f"(steps - 1 - {_group(i.local)})", f"(t + steps - 1 - {_group(i.local)})")
                return self.moved({**self.env, n.TIME: there}).code(arg)
            case n.Flip(arg=arg, axis=axis):
                i = self.scalar(axis)
                size = self.cell.lag(arg) if axis == n.LAG else self.cell.size(axis)
                at = f"{size} - 1 - {_group(i.whole)}"
                if axis == n.TIME and self.of.sequential:  # of a chunk
                    at = f"start + stop - 1 - {_group(i.whole)}"
                return self.moved({**self.env, axis: Index(at, at)}).code(arg)
            case n.Lag(steps=steps):
                earlier = self.of.chunk_lag(node)
                if earlier is not None:
                    return self.before(node, earlier)
                return self.delayed(node, str(steps))
            case n.Frames(axis=axis):
                return self.frame(node)
            case n.Tail():
                return self.tail(node)
            case n.Shift(arg=arg, axis=axis, steps=steps):
                return self.shifted(arg, axis, steps)
            case _:
                raise NotPrintable(f"{type(node).__name__}")

    def scalar(self, axis: str) -> Index:
        i = self.env[axis]
        if i.lane:
            raise CompilerBug(f"the lanes of {axis} at another index")
        return i

    def picked(self, arg: Node, axis: str, index: int) -> Index:
        if axis == n.TIME and self.of.at_once:
            at = str(index) if index >= 0 else f"(steps - {-index})"
            return Index(at, f"(t + {at})")
        if axis == n.TIME:
            return Index("last", "last")
        if index >= 0:
            return Index(str(index), str(index))
        size = self.cell.lag(arg) if axis == n.LAG else self.cell.size(axis)
        at = str(int(size) + index) if size.isdigit() else f"{size} - {-index}"
        return Index(at, at)

    def converted(self, code: Code, kind: Kind) -> Code:
        if code.kind == kind:
            return code
        if kind == "complex":
            real = self.converted(code, "real")
            return Code(f"m_complex({real.text})", ATOM, kind, code.lanes)
        if kind in ("real", "int"):
            if code.text.lstrip("-").isdigit() and kind == "real":
                return _constant(float(code.text), "real")
            table = CONDITION_OPERATORS if code.kind == "bool" else FUNCTIONS
            return Code(f"{table[f'cast_{kind}'][1]}({code.text})", ATOM, kind, code.lanes)
        raise CompilerBug(f"{code.kind} as {kind}")

    def converted_name(self, name: str, kind: Kind) -> Code:
        """A variable of the printer's own."""
        return Code(name, ATOM, kind, False)

    def as_lanes(self, code: Code) -> str:
        if code.lanes:
            return code.text
        return f"splat({self.number_of(code)})"

    def number_of(self, code: Code) -> str:
        """A number as an argument: overloads and templates tell an int of C++ from ours."""
        return f"i64({code.text})" if code.kind == "int" else code.text

    # -- operators -----------------------------------------------------------------------------------------------

    def map(self, node: n.Map) -> Code:
        op, args = node.op, [self.code(x) for x in node.args]
        if (
            op == "pow"
            and isinstance(node.args[1], n.Const)
            and node.args[1].value in (2, -1, 0.5)
            and (args[0].kind in ("real", "complex"))
        ):
            simple = self._power(args[0], node.args[1].value)
            if simple is not None:
                return simple
        if op == "cast_complex" or (op in ("real", "conj") and args[0].kind == "real"):
            # a complex number without an imaginary part stays a real one until an operator needs the other
            return self.converted(args[0], "real") if args[0].kind != "complex" else args[0]
        if op not in PARTLY_REAL:
            args = [
                self.converted(c, x.kind) if x.kind == "complex" else c for c, x in zip(args, node.args, strict=True)
            ]
        kinds = [c.kind for c in args]
        kind = "real" if node.kind == "complex" and op in PARTLY_REAL and "complex" not in kinds else node.kind
        if op == "where":
            joined = join_kinds(*kinds[1:])
            args = [args[0], *(self.converted(c, joined) for c in args[1:])]
        elif op == "phi":
            args = [self.converted(args[0], node.kind)]
        elif op.startswith("cast_") or op in ("real", "imag", "conj", "angle", "not"):
            pass
        elif len(args) > 1 or node.kind in ("real", "complex"):
            joined = join_kinds(*kinds)
            if op not in ("and", "or"):
                joined = join_kinds(joined, "int")
            rule = OPS[op].rule(*[joined] * len(args))
            if rule in ("real", "complex") and joined == "int":
                joined = "real"
            if joined == "complex" and op in PARTLY_REAL:
                # a real beside a complex number stays one: half the work
                args = [self.converted(c, max("real", c.kind, key=_KINDS.index)) for c in args]
            else:
                args = [self.converted(c, joined) for c in args]
        fused = self.fused(node.args, args) if op == "add" and kind == "complex" else None
        if fused is not None:
            return fused
        style, text = FUNCTIONS[op]
        if args[0].kind == "bool" and op in CONDITION_OPERATORS and op != "where":
            style, text = CONDITION_OPERATORS[op]
        lanes = any(c.lanes for c in args)
        if op == "phi":
            return Code(f"{text}<{self.number(node.args[1])}>({args[0].text})", ATOM, kind, lanes)
        if style == "infix":
            level = _LEVEL[text]
            left, right = (self._operand(c, lanes, level + (1 if j else 0)) for j, c in enumerate(args))
            return Code(f"{left} {text} {right}", level, kind, lanes)
        if style == "prefix":
            inner = args[0].text if args[0].level >= 90 else f"({args[0].text})"
            return Code(f"{text}{inner}", 85, kind, lanes)
        parts = [self.as_lanes(c) if lanes else self.number_of(c) for c in args]
        return Code(f"{text}({', '.join(parts)})", ATOM, kind, lanes)

    def factors(self, node: Node) -> tuple[Code, Code] | None:
        """The factors of a product of complex numbers that is written out here."""
        if self.at is not None and node in self.at.stands:
            return None
        if not isinstance(node, n.Map) or node.op != "mul" or any(x.kind != "complex" for x in node.args):
            return None
        a, b = (self.code(x) for x in node.args)
        return (a, b) if a.kind == b.kind == "complex" else None

    def fused(self, nodes: Sequence[Node], codes: Sequence[Code]) -> Code | None:
        """A product of complex numbers and what is added to it: each part takes two fused operations."""
        for mine, other in ((0, 1), (1, 0)):
            found = self.factors(nodes[mine])
            if found is not None:
                added = self.converted(codes[other], "complex")
                lanes = any(c.lanes for c in (*found, added))
                parts = [self.as_lanes(c) if lanes else c.text for c in (*found, added)]
                return Code(f"fused({', '.join(parts)})", ATOM, "complex", lanes)
        return None

    def number(self, node: Node) -> int:
        """A constant that the program may have a name for."""
        while isinstance(node, n.Local):
            named = self.of.named.get(node.name)
            node = (
                named.value
                if isinstance(named, Value)
                else named
                if named is not None
                else self.cell.once_value(node.name)
            )
        if not isinstance(node, n.Const):
            raise NotPrintable("an order that is not a number")
        return int(node.value)  # type: ignore[arg-type]

    def _power(self, x: Code, power: object) -> Code | None:
        one = _constant(1.0, x.kind if x.kind == "real" else "real").text
        if power == 2 and x.text.isidentifier():
            return Code(f"{x.text} * {x.text}", 80, x.kind, x.lanes)
        if power == -1:
            return Code(f"{one} / {self._operand(x, x.lanes, 81)}", 80, x.kind, x.lanes)
        return None

    def _operand(self, c: Code, lanes: bool, level: int) -> str:
        text = c.text if c.level >= level else f"({c.text})"
        if lanes and not c.lanes and c.kind in ("int", "bool"):
            return self.as_lanes(c)
        return text

    def read(self, v: Value) -> Value:
        """What is read for a value: a copy of it, where there is one for this place."""
        return self.at.instead.get(v, v) if self.at is not None else v

    # -- values and tensors --------------------------------------------------------------------------------------

    def value(self, v: Value) -> Code:
        v = self.read(v)
        if v in self.known:
            lanes = self.known[v].endswith("|lanes")
            return Code(self.known[v].removesuffix("|lanes"), ATOM, v.kind, lanes)
        return self.cell.array(v, self)

    def load(self, node: n.Load) -> Code:
        b = self.of.buffers[node.buffer]
        if b.role == "time":
            i = self.env.get(n.TIME, Index("0", "0"))
            return Code(f"(c.t0 + {i.whole} + 1)", ATOM, "int", False)
        if b.name in self.of.scratch:
            scratch = self.of.scratch[b.name]
            return self.moved(self.positions(b.axes, node)).value(scratch)
        return self.tensor(b.name, b.axes, b.kind, self.positions(b.axes, node))

    def positions(self, axes: Axes, node: n.Load) -> dict[str, Index]:
        """Where along each dimension of a buffer; the current step, where the load has no time."""
        mine = list(node.axes)
        env: dict[str, Index] = {}
        timed = n.TIME in mine
        for a in axes:
            if a == n.TIME and not timed:
                env[a] = self.env.get(n.TIME, Index("t", "t"))
            else:
                env[a] = self.env[mine.pop(0)]
        return env

    def tensor(self, buffer: str, axes: Axes, kind: Kind, env: Env) -> Code:
        """An element, or a vector, of a tensor of the caller's or a whole sequence."""
        return self.cell.fetched(buffer, axes, kind, env)

    # -- other steps ---------------------------------------------------------------------------------------------

    def before(self, node: n.Lag, v: Value) -> Code:
        """What a state was one step before, or a value of an earlier sweep some steps before."""
        i = self.env.get(n.TIME)
        led = self.read(v) in self.cell.led and node.steps == 1 and v.place is not None
        if led and i is not None and self.of.begins(node.halo, v.place):  # type: ignore[arg-type]
            sign = "+" if self.of.reversed(node.halo) else "-"
            there = Index(f"({i.local} {sign} 1)", f"({i.whole} {sign} 1)")
            return self.moved({**self.env, n.TIME: there}).value(v)
        if self.at is not None and self.at.group == self.read(v).group:
            if v.place is None or node.steps != 1 or not self.of.begins(node.halo, v.place):
                raise NotPrintable("an earlier value of this sweep")
            return self.value(v.place)
        halo = self.code(node.halo)
        i = self.env[n.TIME]
        reverse = self.of.reversed(node.halo)
        sign = "+" if reverse else "-"
        there = Index(f"({i.local} {sign} {node.steps})", f"({i.whole} {sign} {node.steps})")
        inside = f"{i.whole} {sign} {node.steps} " + ("< stop" if reverse else ">= start")
        return self.cell.either(inside, self.moved({**self.env, n.TIME: there}).value(v), self.converted(halo, v.kind))

    def delayed(self, node: n.Lag | n.Frames, steps: str, env: Env | None = None) -> Code:
        line = self.of.line(node)
        return self.cell.delayed(line, steps, self if env is None else self.moved(env))

    def frame(self, node: n.Frames) -> Code:
        at = self.scalar(node.axis)
        size = self.cell.size(node.axis)
        back = f"{size} - 1 - {_group(at.whole)}" if node.oldest_first else at.whole
        back = f"{back} + {node.skip}" if node.skip else back
        env = {a: i for a, i in self.env.items() if a != node.axis}
        if self.of._line_carry(node.halo):
            return self.delayed(node, back, env)
        # the newest is this step's value, the others are what the loop carries, oldest first
        depth = self.cell.lag(node.halo)
        place = f"{depth} - ({back})"
        inner = self.moved({**env, n.LAG: Index(place, place)})
        halo = inner.code(node.halo)
        if node.skip:
            return halo
        now = self.converted(self.moved(env).code(node.arg), halo.kind)
        return self.cell.either(f"{_group(back)} == 0", now, halo)

    def tail(self, node: n.Tail) -> Code:
        at = self.scalar(n.LAG)
        if self.of._line_carry(node.halo) and not self.of.step:
            return self.cell.line_after(self.of.line(node), at.whole, self)
        depth = self.cell.lag(node.halo)
        place = f"{at.whole} + 1"
        halo = self.moved({**self.env, n.LAG: Index(place, place)}).code(node.halo)
        env = {a: i for a, i in self.env.items() if a != n.LAG}
        now = self.converted(self.moved(env).code(node.arg), halo.kind)
        return self.cell.either(f"{at.whole} + 1 < {depth}", halo, now)

    def shifted(self, arg: Node, axis: str, steps: int) -> Code:
        i = self.scalar(axis)
        if axis == n.TIME and self.of.at_once:
            at = f"({i.local} {'-' if steps > 0 else '+'} {abs(steps)})"
            moved = self.moved({**self.env, axis: Index(at, f"(t + {at})")}).code(arg)
            return self.cell.either(f"{at} >= 0 && {at} < steps", moved, _constant(0, moved.kind))
        place = f"{i.whole} - {steps}" if steps > 0 else f"{i.whole} + {-steps}"
        moved = self.moved({**self.env, axis: Index(place, place)}).code(arg)
        zero = _constant(0, moved.kind)
        return self.cell.either(f"({place}) >= 0 && ({place}) < {self.cell.size(axis)}", moved, zero)


def _group(text: str) -> str:
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def _constant(value: object, kind: Kind) -> Code:
    if kind == "bool":
        return Code("true" if value else "false", ATOM, kind, False)
    if kind == "int":
        number = int(value)  # type: ignore[call-overload]
        return Code(str(number), ATOM if number >= 0 else 85, kind, False)
    if kind == "complex":
        z = complex(value)  # type: ignore[call-overload]
        return Code(f"cx<real>{{{_real(z.real)}, {_real(z.imag)}}}", ATOM, kind, False)
    text = _real(float(value))  # type: ignore[arg-type]
    return Code(text, ATOM if not text.startswith("-") else 85, "real", False)


def _real(x: float) -> str:
    if math.isnan(x):
        return 'real(__builtin_nan(""))'
    if math.isinf(x):
        return "INFINITE" if x > 0 else "-INFINITE"
    return f"real({x!r})"


__all__ = ["Code", "Env", "Index", "Point", "replace"]
