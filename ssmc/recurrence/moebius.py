"""Linear-fractional updates, x -> (a x + b) / (c x + d): scalar Riccati equations, Kalman gains, continued fractions.

An update is read as a quotient of two polynomials in the state whose coefficients are exact polynomials in the
state-free sub-expressions, so that squares of the state that cancel are seen to cancel. Where numerator and denominator
come out of degree one at most, the coefficients are a 2 x 2 matrix and composition is the matrix product. A matrix and
a multiple of it are one map, so `combined` divides by the largest entry and nothing over- or underflows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.linear import Blocker
from ssmc.expr.nodes import Node, children, postorder
from ssmc.recurrence.elementwise import closed
from ssmc.recurrence.nodes import Monoid
from ssmc.recurrence.semiring import describe
from ssmc.step.nodes import Register

Matrix = tuple[Node, Node, Node, Node]

_MONOMIALS = 48  # of a polynomial; beyond it the search gives up
_DEGREE = 6  # in the state

# a monomial is a sorted tuple of (number of a node, power); a polynomial maps monomials to rational coefficients
_Monomial = tuple[tuple[int, int], ...]
_Terms = Mapping[_Monomial, Fraction]
_STATE = 0  # the state's number


class _TooLarge(Exception):
    pass


@dataclass(frozen=True)
class _Poly:
    terms: tuple[tuple[_Monomial, Fraction], ...]

    @staticmethod
    def of(terms: _Terms) -> _Poly:
        kept = tuple(sorted((m, c) for m, c in terms.items() if c))
        if len(kept) > _MONOMIALS:
            raise _TooLarge
        return _Poly(kept)

    def __add__(self, other: _Poly) -> _Poly:
        total = dict(self.terms)
        for m, c in other.terms:
            total[m] = total.get(m, Fraction(0)) + c
        return _Poly.of(total)

    def __mul__(self, other: _Poly) -> _Poly:
        total: dict[_Monomial, Fraction] = {}
        for m, c in self.terms:
            for k, d in other.terms:
                powers = dict(m)
                for x, p in k:
                    powers[x] = powers.get(x, 0) + p
                key = tuple(sorted(powers.items()))
                total[key] = total.get(key, Fraction(0)) + c * d
        result = _Poly.of(total)
        if result.degree > _DEGREE:
            raise _TooLarge
        return result

    @property
    def degree(self) -> int:
        """In the state."""
        return max((dict(m).get(_STATE, 0) for m, _ in self.terms), default=0)

    def coefficient(self, power: int) -> _Poly:
        """Of that power of the state."""
        rest: dict[_Monomial, Fraction] = {}
        for m, c in self.terms:
            if dict(m).get(_STATE, 0) == power:
                rest[tuple(f for f in m if f[0] != _STATE)] = c
        return _Poly.of(rest)

    def divided(self, by: _Poly) -> _Poly | None:
        """The quotient if the division is exact. Long division by leading terms in lexicographic order."""
        if not by.terms:
            return None
        lead, scale = max(by.terms, key=lambda t: _order(t[0]))
        rest, quotient = self, _Poly(())
        while rest.terms:
            m, c = max(rest.terms, key=lambda t: _order(t[0]))
            powers, less = dict(m), dict(lead)
            if any(powers.get(x, 0) < p for x, p in less.items()):
                return None
            left = {x: p - less.get(x, 0) for x, p in powers.items()}
            step = _Poly(((tuple(sorted((x, p) for x, p in left.items() if p)), c / scale),))
            quotient = quotient + step
            rest = rest + step * by * _constant(-1)
        return quotient


def _order(m: _Monomial) -> tuple[tuple[int, int], ...]:
    # lexicographic: the state first, then the others by number; a missing one ranks below any power of it
    return tuple((-x, p) for x, p in m)


def _constant(value: int | Fraction) -> _Poly:
    return _Poly(((((), Fraction(value))),)) if value else _Poly(())


@dataclass(frozen=True)
class _Quotient:
    """top divided by the product of `bottom`; factors are kept apart so that common ones stay visible."""

    top: _Poly
    bottom: tuple[_Poly, ...] = ()

    def __add__(self, other: _Quotient) -> _Quotient:
        missing = list(other.bottom)
        extra = []  # what self has and other lacks
        for f in self.bottom:
            if f in missing:
                missing.remove(f)
            else:
                extra.append(f)
        top = self.top
        for f in missing:
            top = top * f
        second = other.top
        for f in extra:
            second = second * f
        return _Quotient(top + second, (*self.bottom, *missing)).reduced()

    def __mul__(self, other: _Quotient) -> _Quotient:
        return _Quotient(self.top * other.top, self.bottom + other.bottom).reduced()

    def inverse(self) -> _Quotient:
        top = _constant(1)
        for f in self.bottom:
            top = top * f
        return _Quotient(top, (self.top,)).reduced()

    def reduced(self) -> _Quotient:
        top, bottom = self.top, []
        for f in self.bottom:
            quotient = top.divided(f) if f.degree else None
            if quotient is None:
                bottom.append(f)
            else:
                top = quotient
        return _Quotient(top, tuple(bottom))


class _Blocked(Exception):
    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.blocker = Blocker(node, reason)


class _Reader:
    """`open_constants`: state-free sums and products are taken apart too, so that they can cancel."""

    def __init__(self, arena: Arena, atom: Node, open_constants: bool) -> None:
        self.arena, self.atom, self.open = arena, atom, open_constants
        self.numbers: dict[Node, int] = {atom: _STATE}
        self.nodes: list[Node] = [atom]
        self.stateful: set[Node] = set()
        self.values: dict[Node, _Quotient] = {}

    def run(self, root: Node) -> Matrix | Blocker:
        last = root
        try:
            for node in postorder([root]):
                last = node
                if node is self.atom:
                    self.stateful.add(node)
                    self.values[node] = self.symbol(node)
                elif any(c in self.stateful for c in children(node)):
                    self.stateful.add(node)
                    self.values[node] = self.inner(node)
            return self.matrix(root, self.of(root))
        except _TooLarge:
            return Blocker(last, "a rational function of the carried state, too large to simplify")
        except _Blocked as blocked:
            return blocked.blocker

    def symbol(self, node: Node) -> _Quotient:
        number = self.numbers.setdefault(node, len(self.numbers))
        if number == len(self.nodes):
            self.nodes.append(node)
        return _Quotient(_Poly(((((number, 1),), Fraction(1)),)))

    def of(self, node: Node) -> _Quotient:
        if node in self.stateful:
            return self.values[node]
        match node:
            case n.Const(value=v) if isinstance(v, (int, float)) and abs(v) < 1e300:
                return _Quotient(_constant(Fraction(v)))
            case n.Map(op="add" | "sub" | "mul" | "neg") if self.open and node.kind != "complex":
                return self.inner(node)
            case n.Map(op="pow", args=(_, n.Const(kind="int"))) if self.open:
                return self.inner(node)
            case n.Map(op="cast_real" | "cast_complex", args=(x,)):
                return self.of(x)
            case _:
                return self.symbol(node)

    def inner(self, node: Node) -> _Quotient:
        if not isinstance(node, n.Map):
            raise _Blocked(node, f"{describe(node)} of the carried state")
        args, minus = node.args, _Quotient(_constant(-1))
        match node.op:
            case "add":
                return self.of(args[0]) + self.of(args[1])
            case "sub":
                return self.of(args[0]) + minus * self.of(args[1])
            case "neg":
                return minus * self.of(args[0])
            case "mul":
                return self.of(args[0]) * self.of(args[1])
            case "div":
                below = self.of(args[1])
                if not below.top.terms:
                    raise _Blocked(node, "a division by zero")
                return self.of(args[0]) * below.inverse()
            case "pow":
                return self.power(node, args[0], args[1])
            case "where" if args[0] not in self.stateful:
                return self.choice(node, args)
            case "cast_real" | "cast_complex" if args[0].kind != "bool":
                return self.of(args[0])
            case _:
                raise _Blocked(node, f"`{node.op}` of the carried state")

    def power(self, node: Node, base: Node, exponent: Node) -> _Quotient:
        if not (isinstance(exponent, n.Const) and isinstance(exponent.value, (int, float))):
            raise _Blocked(node, "a power of the carried state")
        power = exponent.value
        if power != int(power) or not 0 < abs(power) <= _DEGREE:
            raise _Blocked(node, "a power of the carried state")
        x = self.of(base)
        if power < 0:
            x = x.inverse()
        result = x
        for _ in range(int(abs(power)) - 1):
            result = result * x
        return result

    def choice(self, node: Node, args: tuple[Node, ...]) -> _Quotient:
        """The entries of the two matrices, chosen one by one; they go on as symbols."""
        first, second = (self.matrix(node, self.of(x)) for x in args[1:])
        a, b, c, d = (self.symbol(self.arena.where(args[0], x, y)).top for x, y in zip(first, second, strict=True))
        state = self.symbol(self.atom).top
        return _Quotient(a * state + b, (c * state + d,)).reduced()

    def matrix(self, node: Node, x: _Quotient) -> Matrix:
        below = _constant(1)
        for f in x.bottom:
            below = below * f
        if x.top.degree > 1 or below.degree > 1:
            raise _Blocked(node, "a quotient of polynomials of the carried state of degree above one")
        a, b, c, d = (self.built(p.coefficient(k)) for p in (x.top, below) for k in (1, 0))
        return a, b, c, d

    def built(self, poly: _Poly) -> Node:
        arena = self.arena
        total: Node | None = None
        for m, c in poly.terms:
            term: Node | None = None
            for number, power in m:
                for _ in range(power):
                    x = self.nodes[number]
                    term = x if term is None else arena.mul(term, x)
            scale = int(c) if c.denominator == 1 else float(c)
            if term is None:
                term = arena.const(scale)
            elif scale != 1:
                term = arena.neg(term) if scale == -1 else arena.mul(arena.const(scale), term)
            total = term if total is None else arena.add(total, term)
        return arena.const(0) if total is None else total


def moebius(arena: Arena, register: Register, root: Node) -> Matrix | Blocker:
    """`root`, the source of `register`, as the matrix (a, b, c, d) of a linear-fractional map; or why it is none."""
    atom = arena.read(register.name, register.axes, register.kind)
    found = _Reader(arena, atom, open_constants=False).run(root)
    if isinstance(found, Blocker):
        found = _Reader(arena, atom, open_constants=True).run(root)
    return found


def moebius_monoid(arena: Arena, register: Register, matrix: Matrix) -> Monoid:
    """later times earlier, divided by its largest entry (by 1 where all are 0)."""
    names = ("a", "b", "c", "d")
    slots = dict(zip(names, matrix, strict=True))
    element = closed(arena, slots, dict.fromkeys(names, names), "complex" if register.kind == "complex" else "real")
    earlier = {k: arena.local(f"earlier_{k}", v.axes, v.kind) for k, v in element.items()}
    later = {k: arena.local(f"later_{k}", v.axes, v.kind) for k, v in element.items()}
    product = matrix_product(arena, later, earlier)
    size: Node = arena.const(0.0)
    for entry in product.values():
        size = arena.map("max", size, arena.map("abs", entry))
    scale = arena.where(arena.map("gt", size, arena.const(0)), size, arena.const(1.0))
    read = arena.read(register.name, register.axes, register.kind)
    kind = element["a"].kind
    identity = tuple(arena.cast(arena.const(v), kind) for v in (1, 0, 0, 1))
    value = arena.div(
        arena.add(arena.mul(later["a"], read), later["b"]), arena.add(arena.mul(later["c"], read), later["d"])
    )
    return Monoid(
        element=tuple(element.values()),
        earlier=tuple(earlier.values()),
        later=tuple(later.values()),
        combined=tuple(arena.div(x, scale) for x in product.values()),
        identity=identity,
        applied=((register.name, value),),
    )


def matrix_product(arena: Arena, x: Mapping[str, Node], y: Mapping[str, Node]) -> dict[str, Node]:
    """[[a, b], [c, d]] of x times that of y."""

    def entry(p: str, q: str, r: str, s: str) -> Node:
        return arena.add(arena.mul(x[p], y[q]), arena.mul(x[r], y[s]))

    return {
        "a": entry("a", "a", "b", "c"),
        "b": entry("a", "b", "b", "d"),
        "c": entry("c", "a", "d", "c"),
        "d": entry("c", "b", "d", "d"),
    }
