"""Proofs that a derived operator is what a scan needs: associative, neutral at its identity, and composition.

    (f g) h = f (g h)        1 f = f = f 1        apply(f g, s) = apply(g, apply(f, s))

Each is proved for symbols, not tested on numbers: the operator is evaluated on symbols in the exact domain of its
algebra, in which equal functions have equal forms. Positions along axes that nothing mixes do not meet, so one stands
for all; an axis that is mixed is given two positions, and the sums over it are the same for any number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.recurrence.exact import Domain, Exponentials, Scalar, Table, evaluate_exact, indices
from ssmc.recurrence.lattice import Form, Lattices, Unprovable, minimum, single
from ssmc.recurrence.nodes import Analysis, Component, Monoid

Symbol = Callable[[str], Scalar]


@dataclass(frozen=True)
class Proof:
    """`statement` in symbols, whether it `holds`, and by what `method`."""

    statement: str
    holds: bool
    method: str


ASSOCIATIVE = "combine(combine(f, g), h) = combine(f, combine(g, h))"
NEUTRAL = "combine(1, f) = f = combine(f, 1)"
COMPOSES = "apply(combine(f, g), s) = apply(g, apply(f, s))"
STATEMENTS = (ASSOCIATIVE, NEUTRAL, COMPOSES)


def prove(analysis: Analysis, component: Component) -> tuple[Proof, ...]:
    """The three statements of a component's operator; nothing for a component without one. Imports sympy."""
    monoid = component.monoid
    if monoid is None:
        return ()
    setting = _Setting(analysis, component, monoid)
    match component.algebra:
        case "affine" | "stabilised":
            return setting.rings()
        case "logsumexp":
            return setting.exponentials()
        case "boolean":
            return setting.booleans()
        case "moebius":
            return setting.fractions()
        case _:
            return setting.lattices()


@dataclass(frozen=True)
class _Maps:
    """Elements of the monoid, slot by slot, and a state, register by register."""

    f: list[Table]
    g: list[Table]
    h: list[Table]
    state: dict[str, Table]


class _Setting:
    def __init__(self, analysis: Analysis, component: Component, monoid: Monoid) -> None:
        self.graph, self.component, self.monoid = analysis.graph, component, monoid
        mixed = {n.base_axis(a) for x in monoid.earlier for a in x.axes if a.endswith("~")}
        axes = {n.base_axis(a) for x in monoid.earlier for a in x.axes}
        axes |= {a for r in component.registers for a in self.graph.register[r].axes}
        self.sizes = {a: 2 if a in mixed else 1 for a in axes}
        self.matrices = " of 2 x 2 matrices" if mixed else ""

    # -- the operator in a domain --------------------------------------------------------------------------------

    def combine(self, first: Sequence[Table], second: Sequence[Table], domain: Domain) -> list[Table]:
        given = dict(zip(self.monoid.earlier, first, strict=True)) | dict(zip(self.monoid.later, second, strict=True))
        return evaluate_exact(self.monoid.combined, given.__getitem__, self.sizes, domain)  # type: ignore[arg-type]

    def apply(self, element: Sequence[Table], state: Mapping[str, Table], domain: Domain) -> dict[str, Table]:
        given: dict[Node, Table] = dict(zip(self.monoid.later, element, strict=True))

        def leaf(node: Node) -> Table:
            return state[node.register] if isinstance(node, n.Read) else given[node]

        names = [k for k, _ in self.monoid.applied]
        values = evaluate_exact([v for _, v in self.monoid.applied], leaf, self.sizes, domain)
        return {
            name: self.spread(name, v, node)
            for name, v, (_, node) in zip(names, values, self.monoid.applied, strict=True)
        }

    def spread(self, register: str, table: Table, node: Node) -> Table:
        """A table over all the axes of the register, in its order."""
        axes = self.graph.register[register].axes
        at = [axes.index(a) for a in node.axes]
        return {i: table[tuple(i[k] for k in at)] for i in indices(axes, self.sizes)}

    def neutral(self) -> list[Table]:
        tables = evaluate_exact(self.monoid.identity, _no_leaf, self.sizes, _NoDomain())
        found = []
        for slot, node, table in zip(self.monoid.later, self.monoid.identity, tables, strict=True):
            at = [slot.axes.index(a) for a in node.axes]
            found.append({i: table[tuple(i[k] for k in at)] for i in indices(slot.axes, self.sizes)})
        return found

    # -- symbols -------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        return [name for x in self.elements(lambda name: name) for name in x]

    def elements(self, symbol: Symbol) -> Iterator[list[Scalar]]:
        maps = self.maps(symbol)
        for tables in (maps.f, maps.g, maps.h, list(maps.state.values())):
            for t in tables:
                yield list(t.values())

    def maps(self, symbol: Symbol) -> _Maps:
        """Every slot of f, g, h and every element of the state as a symbol of its own."""

        def element(which: str) -> list[Table]:
            return [
                {i: symbol(_name(which, slot.name, i)) for i in indices(slot.axes, self.sizes)}
                for slot in self.monoid.later
            ]

        state = {
            r: {i: symbol(_name("s", str(k), i)) for i in indices(self.graph.register[r].axes, self.sizes)}
            for k, r in enumerate(self.component.registers)
        }
        return _Maps(element("f"), element("g"), element("h"), state)

    # -- the statements ------------------------------------------------------------------------------------------

    def proofs(
        self, cases: Iterable[tuple[_Maps, Domain]], method: str, equal: Callable[[Scalar, Scalar], bool]
    ) -> tuple[Proof, ...]:
        """The statements, each over all `cases`."""
        holds = dict.fromkeys(STATEMENTS, True)

        def same(x: Sequence[Table], y: Sequence[Table]) -> bool:
            return all(equal(t[i], u[i]) for t, u in zip(x, y, strict=True) for i in t)

        unit = self.neutral()
        for m, domain in cases:
            fg, gh = self.combine(m.f, m.g, domain), self.combine(m.g, m.h, domain)
            holds[ASSOCIATIVE] &= same(self.combine(fg, m.h, domain), self.combine(m.f, gh, domain))
            holds[NEUTRAL] &= same(self.combine(unit, m.f, domain), m.f)
            holds[NEUTRAL] &= same(self.combine(m.f, unit, domain), m.f)
            once = self.apply(fg, m.state, domain)
            twice = self.apply(m.g, self.apply(m.f, m.state, domain), domain)
            holds[COMPOSES] &= same(list(once.values()), [twice[k] for k in once])
        return tuple(Proof(statement, found, method) for statement, found in holds.items())

    def rings(self) -> tuple[Proof, ...]:
        symbol = self.polynomials()
        method = f"identity of polynomials in the entries{self.matrices}"
        return self.proofs([(self.maps(symbol), _Polynomials())], method, _equal)

    def exponentials(self) -> tuple[Proof, ...]:
        symbol = self.polynomials()
        method = f"identity of polynomials in the exponentials of the entries{self.matrices}"
        equal = lambda x, y: _equal(_exponential(x), _exponential(y))  # noqa: E731
        return self.proofs([(self.maps(symbol), Exponentials())], method, equal)

    def booleans(self) -> tuple[Proof, ...]:
        names = self.names()
        if len(names) > 10:
            return self.lattices()
        cases = []
        for values in itertools.product((False, True), repeat=len(names)):
            cases.append((self.maps(dict(zip(names, values, strict=True)).__getitem__), _NoDomain()))
        return self.proofs(cases, f"all {len(cases)} cases", lambda x, y: x is y)

    def lattices(self) -> tuple[Proof, ...]:
        symbol = self.polynomials()
        slot = "_later_a_" if self.component.algebra in ("maxtimes", "mintimes") else "_later_s_"
        times = self.component.algebra in ("maxtimes", "mintimes", "clamp")
        factors = [x for x in self.names() if slot in x] if times else []
        signed = any({"earlier_lo", "earlier_hi"} <= _locals_of(x) for x in self.monoid.combined)
        cases: list[tuple[_Maps, Domain]] = []
        for signs in itertools.product((1, -1), repeat=len(factors)) if signed else [(1,) * len(factors)]:
            known = {symbol(name): s for name, s in zip(factors, signs, strict=True)}
            domain = Lattices(_rational, lambda p, known=known: _sign(p, known))  # type: ignore[misc]
            cases.append((self.bounded(self.maps(lambda name: single(symbol(name)))), domain))
        lift = Lattices(_rational, lambda p: None).lift
        method = f"normal form of minima of maxima{self.matrices}"
        if signed:
            method += ", for every sign of the slopes"
        try:
            return self.proofs(cases, method, lambda x, y: lift(x) == lift(y))
        except Unprovable as e:
            return tuple(Proof(statement, False, f"{method}, which does not cover {e}") for statement in STATEMENTS)

    def bounded(self, maps: _Maps) -> _Maps:
        """The same with the lower bound at most the upper one, as every element has it."""
        slots = {x.name: k for k, x in enumerate(self.monoid.later)}
        if not {"later_lo", "later_hi"} <= set(slots):
            return maps
        lo, hi = slots["later_lo"], slots["later_hi"]

        def ordered(tables: list[Table]) -> list[Table]:
            low: Table = {i: minimum(tables[lo][i], tables[hi][i]) for i in tables[lo]}
            return [low if k == lo else t for k, t in enumerate(tables)]

        return _Maps(ordered(maps.f), ordered(maps.g), ordered(maps.h), maps.state)

    def fractions(self) -> tuple[Proof, ...]:
        """Matrices up to a factor: the common divisor is taken out, and `apply` is shown not to see it."""
        from sympy.polys.domains import QQ
        from sympy.polys.fields import field

        products, divisors = zip(*(x.args for x in self.monoid.combined if isinstance(x, n.Map)), strict=True)
        if len(products) != 4 or len(set(divisors)) != 1:
            raise CompilerBug("a linear-fractional operator whose entries have not one common divisor")
        names = [*self.names(), "factor"]
        made = field(names, QQ)
        generators = dict(zip(names, made[1:], strict=True))
        plain = _Setting.__new__(_Setting)
        plain.__dict__.update(self.__dict__)
        plain.monoid = Monoid(
            self.monoid.element,
            self.monoid.earlier,
            self.monoid.later,
            products,
            self.monoid.identity,
            self.monoid.applied,
        )
        maps, domain = self.maps(generators.__getitem__), _Polynomials()
        method = "identity of rational functions; matrices that differ by a factor are one map"
        found = plain.proofs([(maps, domain)], method, _equal)
        multiple = [{i: x * generators["factor"] for i, x in t.items()} for t in maps.f]
        alike = self.apply(multiple, maps.state, domain) == self.apply(maps.f, maps.state, domain)
        return tuple(Proof(p.statement, p.holds and alike, p.method) for p in found)

    def polynomials(self) -> Symbol:
        from sympy.polys.domains import QQ
        from sympy.polys.rings import ring

        names = self.names()
        generators = ring(names, QQ)[1:]
        return dict(zip(names, generators, strict=True)).__getitem__


def _name(which: str, slot: str, index: tuple[int, ...]) -> str:
    return "_".join([which, slot, *map(str, index)]) + ("_" if not index else "")


def _locals_of(node: Node) -> set[str]:
    return {x.name for x in n.postorder([node]) if isinstance(x, n.Local)}


def _no_leaf(node: Node) -> Table:
    raise CompilerBug(f"{node!r} in an identity")


class _NoDomain:
    def apply(self, op: str, args: Sequence[Scalar]) -> Scalar:
        raise CompilerBug(f"`{op}` of constants that are not exact")


class _Polynomials:
    """Sums, differences, products and quotients of sympy's polynomials or rational functions."""

    def apply(self, op: str, args: Sequence[Scalar]) -> Scalar:
        x = [_rational(a) for a in args]
        match op:
            case "add":
                return x[0] + x[1]
            case "sub":
                return x[0] - x[1]
            case "mul":
                return x[0] * x[1]
            case "div":
                return x[0] / x[1]
            case "neg":
                return -x[0]
            case _:
                raise CompilerBug(f"`{op}` in an affine operator")


def _rational(value: Scalar) -> Scalar:
    """A Python number as a rational that sympy's rings take."""
    if isinstance(value, complex) and value.imag == 0:
        value = value.real
    if isinstance(value, (int, float)):
        from sympy.polys.domains import QQ

        exact = Fraction(value)
        return QQ(exact.numerator, exact.denominator)
    return value


def _exponential(value: Scalar) -> Scalar:
    """A constant of a log-sum-exp operator by its exponential; other values are polynomials of exponentials already."""
    return Exponentials().lifted(value)


def _equal(x: Scalar, y: Scalar) -> bool:
    return bool(_rational(x) == _rational(y))


def _sign(poly: Any, known: Mapping[Any, int]) -> int | None:
    """The sign of a monomial in factors of known sign, or of a constant."""
    if not hasattr(poly, "terms"):
        return 1 if poly >= 0 else -1
    terms = poly.terms()
    if len(terms) != 1:
        return None
    powers, coefficient = terms[0]
    sign = 1 if coefficient > 0 else -1
    for generator, power in zip(poly.ring.gens, powers, strict=True):
        if power:
            if generator not in known:
                return None
            sign *= known[generator] ** power
    return sign


__all__ = ["ASSOCIATIVE", "COMPOSES", "NEUTRAL", "Form", "Proof", "prove"]
