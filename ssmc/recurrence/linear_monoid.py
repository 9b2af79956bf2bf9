"""The monoid of linear maps over a semiring: from `Affine` maps of a component's registers to a `Monoid`.

Axes. `carried` are the axes that every register of the component has and every term carries elementwise; the maps are
block matrices over the other axes R(i) of each register, for each position along the carried ones.

    element      A[i][j]  with carried axes, R(i), and R(j) with `~`;    b[i]  with carried axes and R(i)
    combine      A[i][j] = plus over k of (plus over R(k)) of later.A[i][k] times earlier.A[k][j]
                 b[i]    = plus over k of (plus over R(k)) of later.A[i][k] times earlier.b[k], plus later.b[i]
    apply        h[i]    = the same with h[k] for earlier.b[k]

One register with nothing mixed is the diagonal map (a, b): `a` keeps the axes it was written with, so that a decay a
head stays one number a head. A slot that is constant for every composition is left out: `a` where it is the ring's one
(h + b), `b` where there is no constant (a running product).
Every slot is closed: the element, the placeholders and `combined` have the same axes and kind, slot by slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.linear import Affine, Term
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.expr.ops import join_kinds
from ssmc.recurrence.nodes import Monoid
from ssmc.recurrence.semiring import Semiring, is_constant
from ssmc.step.nodes import Register


def carried_axes(registers: Sequence[Register], maps: Sequence[Affine]) -> frozenset[str]:
    """The axes of every register that no term mixes."""
    carried = frozenset(registers[0].axes)
    for r in registers:
        carried &= frozenset(r.axes)
    for m in maps:
        for term in m.terms:
            carried -= frozenset(term.mixed)
    return carried


def factor_of(arena: Arena, ring: Semiring, term: Term, row: Axes, column: Axes) -> Node:
    """A term's matrix: left times right, an identity over the axes of `column` that the term does not mix.

    `row` and `column` are the matrix axes of the two registers; the columns come out with `~`.
    """
    factor = ring.mul(arena, term.left, term.right)
    for axis in column:
        if axis not in term.mixed:
            same = arena.map("eq", arena.index(axis), arena.index(axis + "~"))
            factor = arena.where(same, factor, ring.zero_node(arena, factor.kind))
    return _full(arena, factor, (*row, *(a + "~" for a in column)))


def _full(arena: Arena, x: Node, axes: Axes) -> Node:
    """x with at least these axes."""
    missing = tuple(a for a in axes if a not in x.axes)
    return arena.broadcast(x, (*x.axes, *missing)) if missing else x


class LinearMonoid:
    """Builds the monoid of one component. `factors[i, j]` is the matrix from register j to register i."""

    def __init__(self, arena: Arena, ring: Semiring, registers: Sequence[Register], maps: Sequence[Affine]) -> None:
        self.arena, self.ring, self.registers = arena, ring, tuple(registers)
        self.carried = carried_axes(registers, maps)
        self.matrix = {r.name: tuple(a for a in r.axes if a not in self.carried) for r in self.registers}
        self.count = len(self.registers)
        self.factors: dict[tuple[int, int], Node] = {}
        self.constants: list[Node | None] = [m.constant for m in maps]
        for i, m in enumerate(maps):
            for term in m.terms:
                assert isinstance(term.atom, n.Read)
                j = next(k for k, r in enumerate(self.registers) if r.name == term.atom.register)
                new = factor_of(arena, ring, term, self.rows(i), self.rows(j))
                total = ring.add(arena, self.factors.get((i, j)), new)
                assert total is not None
                self.factors[i, j] = total

    def rows(self, i: int) -> Axes:
        return self.matrix[self.registers[i].name]

    def inner(self, i: int) -> dict[str, str]:
        """From a register's matrix axes to their copies on the input side."""
        return {a: a + "~" for a in self.rows(i)}

    # -- slots ---------------------------------------------------------------------------------------------------

    def build(self) -> Monoid:
        arena, ring, every = self.arena, self.ring, range(self.count)
        zero = self.zero(self.kind(()))
        unit = self.count == 1 and not self.rows(0) and is_constant(self.factors.get((0, 0), zero), ring.one)
        matrices = [] if unit else [(i, j) for i in every for j in every]
        vectors = list(every) if any(c is not None for c in self.constants) else []
        factors = {k: self.factors.get(k, zero) for k in matrices}
        constants = {i: zero if c is None else c for i, c in enumerate(self.constants)}

        shared = self.shared(factors.values())
        spread = shared | self.shared(constants[i] for i in vectors)
        kind = self.kind(factors.values())
        whole = join_kinds(kind, self.kind(constants[i] for i in vectors)) if vectors else kind

        names: dict[tuple[int, ...], str] = {}
        element: list[Node] = []
        single = self.count == 1
        for i, j in matrices:
            axes = self.ordered(shared, self.rows(i), tuple(self.inner(j).values()))
            names[i, j] = "a" if single else f"a{i + 1}{j + 1}"
            element.append(arena.cast(_full(arena, factors[i, j], axes), kind))
        for i in vectors:
            axes = self.ordered(spread, self.rows(i), ())
            names[i,] = "b" if single else f"b{i + 1}"
            element.append(arena.cast(_full(arena, constants[i], axes), whole))

        slots = dict(zip(names, element, strict=True))
        earlier = {k: arena.local(f"earlier_{names[k]}", e.axes, e.kind) for k, e in slots.items()}
        later = {k: arena.local(f"later_{names[k]}", e.axes, e.kind) for k, e in slots.items()}
        combined = [self.product(later, earlier, i, j) for i, j in matrices]
        combined += [self.moved(later, lambda k: earlier[k,], i, bool(vectors)) for i in vectors]
        reads = [arena.read(r.name, r.axes, r.kind) for r in self.registers]
        applied = tuple(
            (r.name, self.moved(later, reads.__getitem__, i, bool(vectors))) for i, r in enumerate(self.registers)
        )
        return Monoid(
            element=tuple(element),
            earlier=tuple(earlier.values()),
            later=tuple(later.values()),
            combined=tuple(combined),
            identity=tuple([self.identity(i, j, kind) for i, j in matrices] + [self.zero(whole) for _ in vectors]),
            applied=applied,
        )

    def shared(self, parts: Iterable[Node]) -> frozenset[str]:
        """The carried axes that any of the slots has."""
        return frozenset(a for p in parts for a in p.axes if a in self.carried)

    def kind(self, parts: Iterable[Node]) -> Kind:
        low: Kind = "bool" if isinstance(self.ring.one, bool) else "int"
        return join_kinds(low, *(p.kind for p in parts))

    def ordered(self, shared: frozenset[str], rows: Axes, columns: Axes) -> Axes:
        return (*self.arena.sorted_axes(shared), *rows, *columns)

    # -- operations ----------------------------------------------------------------------------------------------

    def product(
        self, later: Mapping[tuple[int, ...], Node], earlier: Mapping[tuple[int, ...], Node], i: int, j: int
    ) -> Node:
        arena, ring = self.arena, self.ring
        total: Node | None = None
        for k in range(self.count):
            middle = {a: a + "''" for a in self.rows(k)}
            left = arena.rename(later[i, k], {a + "~": m for a, m in middle.items()})
            right = arena.rename(earlier[k, j], middle)
            total = ring.add(arena, total, self.contracted(left, right, tuple(middle.values())))
        assert total is not None
        return total

    def moved(
        self, later: Mapping[tuple[int, ...], Node], vector: Callable[[int], Node], i: int, constant: bool
    ) -> Node:
        """A[i] applied to the vectors, plus b[i]."""
        arena, ring = self.arena, self.ring
        total: Node | None = None
        for k in range(self.count):
            v = vector(k)
            if (i, k) in later:
                inner = self.inner(k)
                v = self.contracted(later[i, k], arena.rename(v, inner), tuple(inner.values()))
            elif i != k:
                continue
            total = ring.add(arena, total, v)
        total = ring.add(arena, total, later[i,] if constant else None)
        assert total is not None
        return total

    def contracted(self, x: Node, y: Node, over: Axes) -> Node:
        return self.arena.reduce(self.ring.reduction, self.ring.mul(self.arena, x, y), over)

    def identity(self, i: int, j: int, kind: Kind) -> Node:
        arena, ring = self.arena, self.ring
        one, zero = arena.cast(ring.one_node(arena), kind), self.zero(kind)
        if i != j:
            return zero
        value = one
        for axis, copy in self.inner(i).items():
            value = arena.where(arena.map("eq", arena.index(axis), arena.index(copy)), value, zero)
        return value

    def zero(self, kind: Kind) -> Node:
        return self.arena.cast(self.ring.zero_node(self.arena, kind), kind)


def linear_monoid(arena: Arena, ring: Semiring, registers: Sequence[Register], maps: Sequence[Affine]) -> Monoid:
    """The monoid of a component whose sources are the linear maps `maps`, register by register."""
    return LinearMonoid(arena, ring, registers, maps).build()
