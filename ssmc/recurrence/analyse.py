"""From a step graph to its analysis: components, algebras, monoids, classes.

Guaranteed by the level before: a typed step graph in which every dependence on another step is a register's.
A component is tried against the algebras in order, the first that fits is taken:

    1. affine over (+, *)                             ssmc.expr.affine
    2. linear over another pair of the operator table  semiring.py
    3. boolean functions of one bool, clamps           elementwise.py
    4. linear-fractional maps                          moebius.py
    5. nonlinear: the sparsity of its Jacobian         jacobian.py
"""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.affine import affine
from ssmc.expr.bounds import Interval, join
from ssmc.expr.linear import Affine, Blocker
from ssmc.expr.nodes import Kind, Node, postorder
from ssmc.expr.ranges import Ranges
from ssmc.recurrence.elementwise import boolean, boolean_monoid, clamp, clamp_monoid
from ssmc.recurrence.families import affine_class, nonlinear_class
from ssmc.recurrence.graph import check_directions, components_of, is_recurrent, leaves_time, registers_read
from ssmc.recurrence.jacobian import jacobian_of
from ssmc.recurrence.linear_monoid import linear_monoid
from ssmc.recurrence.moebius import moebius, moebius_monoid
from ssmc.recurrence.nodes import Algebra, Analysis, Component, Monoid, TimeDependence
from ssmc.recurrence.passes import PASSES
from ssmc.recurrence.semiring import ADD_MUL, SEMIRINGS, Semiring, linear, simplified
from ssmc.recurrence.stabiliser import stabiliser_of
from ssmc.recurrence.structure import elementwise_structure, structure_of
from ssmc.step.nodes import Register, StepGraph
from ssmc.step.passes import run_passes


def analyse(graph: StepGraph) -> Analysis:
    """The components of a step graph in dependency order, each with its algebra."""
    check_directions(graph, components_of(graph))
    return _Analyser(run_passes(graph, PASSES)).run()


@dataclass(frozen=True)
class _Found:
    """What an algebra says of a component it fits."""

    algebra: Algebra
    monoid: Monoid
    coefficients: tuple[Node, ...]  # what multiplies the state: decides the time dependence
    affine: tuple[tuple[str, Affine], ...] = ()
    structure: str = "diagonal"


class _Analyser:
    def __init__(self, graph: StepGraph) -> None:
        self.graph, self.arena = graph, graph.arena
        self.bounds: dict[str, Interval] = {}
        self.ranges = Ranges(self.known)
        self.done: dict[str, Component] = {}
        self.independent = frozenset(a.name for a in graph.axes if a.each)

    def known(self, node: Node) -> Interval | None:
        """Registers that are not recurrent hold their source's values, or the initial ones."""
        match node:
            case n.Read(register=r) | n.Window(register=r) | n.History(register=r):
                return self.bounds.get(r)
            case _:
                return None

    def run(self) -> Analysis:
        components: list[Component] = []
        for index, names in enumerate(components_of(self.graph)):
            found = self.component(index, tuple(self.graph.register[name] for name in names))
            self.done.update((name, found) for name in names)
            components.append(found)
        return Analysis(self.graph, tuple(components))

    def component(self, index: int, registers: tuple[Register, ...]) -> Component:
        names = tuple(r.name for r in registers)
        reverse = registers[0].reverse
        if not is_recurrent(self.graph, names):
            return self.delay(index, registers[0])
        atoms = [self.arena.read(r.name, r.axes, r.kind) for r in registers]
        found = self.history(registers) or self.algebra(registers, atoms)
        if not isinstance(found, _Found):
            return self.nonlinear(index, registers, found)
        time = leaves_time(found.coefficients)
        algebra = found.algebra
        notes: list[str] = []
        structure, kclass = found.structure, "K7"
        maps = tuple(m for _, m in found.affine)
        if algebra == "affine":
            structure = structure_of(self.arena, registers, maps, self.independent)
            stabiliser = stabiliser_of(self.graph, self.done, found.coefficients)
            family = affine_class(self.graph, self.arena, registers, maps, structure, time, stabiliser is not None)
            structure, kclass = family.structure, family.kclass
            notes += family.notes
            if stabiliser is not None:
                algebra = "stabilised"
                notes.append(
                    f"scaled by the running maximum `{stabiliser}`: together with it this is the log-semiring pair "
                    f"(w, m, x) with x' = exp(m1 + w2 - m') x1 + exp(m2 - m') x2, m' = max(m1 + w2, m2)"
                )
        return Component(
            index,
            names,
            True,
            reverse,
            algebra,
            time,
            structure,
            kclass,
            found.affine,
            found.monoid,
            notes=tuple(notes),
        )

    def history(self, registers: tuple[Register, ...]) -> tuple[Blocker, ...]:
        """Reads of more than the step before that `expand_delays` leaves: `past` inside a cycle."""
        own = {r.name for r in registers}
        found = [
            x
            for x in postorder([r.source for r in registers])
            if isinstance(x, (n.Window, n.History)) and x.register in own
        ]
        return tuple(Blocker(x, "the past of a value that depends on it") for x in found)

    # -- algebras ------------------------------------------------------------------------------------------------

    def algebra(self, registers: tuple[Register, ...], atoms: list[n.Read]) -> _Found | tuple[Blocker, ...]:
        """The first algebra that fits, or what stops the first of them, expression by expression."""
        blockers: tuple[Blocker, ...] = ()
        kinds = {r.kind for r in registers}
        if "bool" not in kinds:
            maps = [affine(self.arena, r.source, atoms) for r in registers]
            fits = [m for m in maps if isinstance(m, Affine)]
            if len(fits) == len(maps):
                monoid = linear_monoid(self.arena, ADD_MUL, registers, fits)
                named = tuple((r.name, m) for r, m in zip(registers, fits, strict=True))
                return _Found("affine", monoid, _coefficients(fits), named)
            blockers = tuple(dict.fromkeys(m for m in maps if isinstance(m, Blocker)))
        return self.other(registers, atoms, kinds) or blockers or self.why_not(registers, atoms)

    def other(self, registers: tuple[Register, ...], atoms: list[n.Read], kinds: set[Kind]) -> _Found | None:
        sources = [simplified(self.arena, r.source) for r in registers]
        if "complex" not in kinds:
            for ring in SEMIRINGS.values():
                if ring is ADD_MUL or (kinds != {"bool"}) is isinstance(ring.one, bool):
                    continue
                maps = [linear(self.arena, ring, s, frozenset(atoms), self.ranges) for s in sources]
                fits = [m for m in maps if isinstance(m, Affine)]
                if len(fits) == len(maps) and (ring.total or len(maps) == 1):
                    return self.over(ring, registers, fits)
        if len(registers) > 1:
            return None
        (register,), (source,) = registers, sources
        if kinds == {"bool"}:
            values = boolean(self.arena, register, source)
            if isinstance(values, Blocker):
                return None
            return _Found("boolean", boolean_monoid(self.arena, register, values), values)
        if kinds <= {"int", "real"}:
            form = clamp(self.arena, register, source, self.ranges)
            if not isinstance(form, Blocker):
                parts = [p for p in (form.slope, form.offset, form.low, form.high) if p is not None]
                return _Found("clamp", clamp_monoid(self.arena, register, form), tuple(parts))
        if kinds <= {"real", "complex"}:
            matrix = moebius(self.arena, register, source)
            if not isinstance(matrix, Blocker):
                return _Found("moebius", moebius_monoid(self.arena, register, matrix), matrix)
        return None

    def over(self, ring: Semiring, registers: tuple[Register, ...], maps: list[Affine]) -> _Found:
        monoid = linear_monoid(self.arena, ring, registers, maps)
        coefficients = [ring.mul(self.arena, t.left, t.right) for m in maps for t in m.terms]
        structure = "block"
        if len(registers) == 1:
            mixes = any(t.mixed for t in maps[0].terms)
            structure = (
                "dense" if mixes else elementwise_structure(registers[0], coefficients[0], ring.one, self.independent)
            )
        return _Found(ring.algebra, monoid, tuple(coefficients), structure=structure)

    def why_not(self, registers: tuple[Register, ...], atoms: list[n.Read]) -> tuple[Blocker, ...]:
        """What stops a component of bools from being linear in `or` and `and`."""
        ring = SEMIRINGS["or.and"]
        found = [linear(self.arena, ring, r.source, frozenset(atoms), self.ranges) for r in registers]
        return tuple(f for f in found if isinstance(f, Blocker))

    # -- the rest ------------------------------------------------------------------------------------------------

    def delay(self, index: int, register: Register) -> Component:
        self.bounds[register.name] = join(self.ranges(register.source), self.ranges(register.init))
        kclass = "K12" if register.depth.unbounded else "K8"
        structure = "growing" if register.depth.unbounded else "delay"
        time: TimeDependence = "invariant"
        return Component(index, (register.name,), False, register.reverse, "delay", time, structure, kclass)

    def nonlinear(self, index: int, registers: tuple[Register, ...], blockers: tuple[Blocker, ...]) -> Component:
        names = tuple(r.name for r in registers)
        sources = [r.source for r in registers]
        jacobian = jacobian_of(self.graph, names)
        structure = "growing" if any(r.depth.unbounded for r in registers) else jacobian.structure
        own = set(names)
        free = [x for x in postorder(sources) if not (isinstance(x, n.Read) and x.register in own)]
        time = leaves_time(x for x in free if not n.children(x))
        if registers_read(sources) - own:
            time = "data"
        kclass = nonlinear_class(self.arena, registers, structure)
        return Component(
            index,
            names,
            True,
            registers[0].reverse,
            "nonlinear",
            time,
            structure,
            kclass,
            blockers=blockers,
            notes=jacobian.notes,
        )


def _coefficients(maps: list[Affine]) -> tuple[Node, ...]:
    return tuple(x for m in maps for t in m.terms for x in (t.left, t.right))
