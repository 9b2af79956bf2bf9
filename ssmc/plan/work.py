"""How much a component does in one step: operations and elements, as numbers or as formulas.

The same functions count both ways. A `Quantities` gives the sizes: integers for an estimate, sympy symbols for a
formula that a person reads; nothing here looks at which of the two it adds and multiplies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node, children, postorder
from ssmc.expr.ops import OPS, REDUCTIONS
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.step.nodes import StepGraph, reads_of
from ssmc.step.sizes import growing_axes, solve_sizes

# Sizes that nothing fixes are taken to be this in a choice; `explain` says so.
NOMINAL_SIZE = 64


@dataclass(frozen=True)
class Quantities:
    """Sizes of a request. `symbolic` chooses how rounding up and logarithms are written."""

    axes: Mapping[str, Any]
    batch: Any
    length: Any
    symbolic: bool = False

    def size(self, axis: str) -> Any:
        return self.axes[n.base_axis(axis)]

    def elements(self, axes: Iterable[str]) -> Any:
        total: Any = 1
        for a in axes:
            total = total * self.size(a)
        return total

    def ceil_div(self, a: Any, b: Any) -> Any:
        if self.symbolic:
            import sympy

            return sympy.ceiling(sympy.Integer(1) * a / b)
        return -(-a // b)

    def sqrt(self, a: Any) -> Any:
        if self.symbolic:
            import sympy

            return sympy.sqrt(a)
        return math.isqrt(a)

    def log2(self, a: Any) -> Any:
        """Rounded up; at least 1."""
        if self.symbolic and not isinstance(a, int):
            import sympy

            return sympy.Function("log2")(a)
        return max(1, math.ceil(math.log2(max(1, a))))


def numbers(graph: StepGraph, sizes: Mapping[str, int], batch: int, length: int) -> tuple[Quantities, tuple[str, ...]]:
    """Quantities in numbers, and the axes that `sizes` leaves open: those are nominal, histories as long as the past.

    Raises SpecError where `sizes` contradict the declarations.
    """
    growing = growing_axes(graph)
    given = dict(sizes)
    known = solve_sizes(graph, {}, given, partial=True)
    opened: list[str] = []
    # axes with a size equation last: they follow from the others
    for axis in sorted(graph.axes, key=lambda a: a.size is not None):
        if axis.name not in known and axis.name not in growing:
            opened.append(axis.name)
            given[axis.name] = NOMINAL_SIZE
            known = solve_sizes(graph, {}, given, partial=True)
    return Quantities(known | dict.fromkeys(growing, max(1, length // 2)), batch, length), tuple(opened)


def symbols(graph: StepGraph) -> Quantities:
    """Quantities as sympy symbols: each axis by its name (or its declared size), batch B, length L.

    Where an axis is called B or L, the two are written `batch` and `length`.
    """
    import sympy

    taken = {a.name for a in graph.axes} & {"B", "L", "c"}
    batch = sympy.Symbol("batch" if taken else "B", positive=True, integer=True)
    length = sympy.Symbol("length" if taken else "L", positive=True, integer=True)
    known: dict[str, Any] = {}
    growing = growing_axes(graph)
    for axis in graph.axes:
        if axis.name in growing:
            known[axis.name] = length / 2
            continue
        size = _declared(axis.size, known)
        known[axis.name] = sympy.Symbol(axis.name, positive=True, integer=True) if size is None else size
    return Quantities(known, batch, length, symbolic=True)


def _declared(size: Node | None, known: Mapping[str, Any]) -> Any:
    """A declared size; None where there is none, or it needs one that is not known yet."""
    if size is None:
        return None
    values: dict[Node, Any] = {}
    for node in postorder([size]):
        match node:
            case n.Const(value=value):
                values[node] = value
            case n.Size(axis=axis):
                values[node] = known.get(axis)
            case n.Map(op=op, args=args):
                operands = [values[a] for a in args]
                values[node] = None if None in operands else _arithmetic(op, operands)
            case _:
                raise CompilerBug(f"a size holds {node!r}")
    return values[size]


def _arithmetic(op: str, operands: Sequence[Any]) -> Any:
    match op, operands:
        case "add", [a, b]:
            return a + b
        case "sub", [a, b]:
            return a - b
        case "mul", [a, b]:
            return a * b
        case "div", [a, b]:
            return a // b if isinstance(a, int) and isinstance(b, int) else a / b
        case "pow", [a, b]:
            return a**b
        case "neg", [a]:
            return -a
        case _, [a, *_]:
            return a


EXP = 10  # operations of an exponential, in the operator table; what costs as much or more is made of such


# -- counting ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What some expressions do in one step of one sequence, computed one operation at a time.

    `flops` elementwise, `dots` in sums of products, `moved` elements read and written, `ops` operations started. `exps`
    are how many exponentials the costly ones among the elementwise are worth, of EXP operations each.
    """

    flops: Any = 0
    dots: Any = 0
    moved: Any = 0
    ops: int = 0
    exps: Any = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.flops + other.flops, self.dots + other.dots, self.moved + other.moved, self.ops + other.ops,
            self.exps + other.exps,
        )  # fmt: skip


def work_of(nodes: Iterable[Node], q: Quantities) -> Work:
    total = Work()
    for node in nodes:
        total = total + _one(node, q)
    return total


def _one(node: Node, q: Quantities) -> Work:
    own = q.elements(node.axes)
    wide = 4 if node.kind == "complex" else 1
    match node:
        case n.Map(op=op, args=args):
            moved = own
            for a in args:
                if not isinstance(a, n.Const):
                    moved = moved + q.elements(a.axes)
            cost = OPS[op].cost
            return Work(cost * wide * own, 0, moved, 1 if cost else 0, cost / EXP * wide * own if cost >= EXP else 0)
        case n.Reduce(op="sum", arg=n.Map(op="mul") as arg):
            # the product is counted with its Map; as one contraction it is never written
            inner = q.elements(arg.axes)
            moved = own - inner
            return Work(-wide * inner, 2 * wide * inner, moved, 0)
        case n.Reduce(op=op, arg=arg):
            inner = q.elements(arg.axes)
            return Work(OPS[REDUCTIONS[op].operator].cost * inner, 0, inner + own, 1)
        case n.Cumulative(op=op):
            return Work(OPS["mul" if op == "prod" else "add"].cost * own, 0, 2 * own, 1)
        case n.Solve(row=row):
            size = q.size(row)
            rows = q.elements(a for a in node.matrix.axes if a not in (row, node.col))
            return Work(0, rows * size**3 + 2 * own * size, 2 * own + rows * size * size, 1)
        case n.Expm(row=row):
            return Work(0, 40 * own * q.size(row), 10 * own, 10)
        case n.Shift() | n.Window():
            return Work(0, 0, 2 * own, 1)
        case _:
            return Work()


# -- which expressions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """The expressions of a step that belong to a component.

    `core` depends on its state of before; `bulk` is state-free but as large as the state (the products written into a
    matrix); `readout` is what takes the state down to its first contraction.
    """

    core: tuple[Node, ...]
    bulk: tuple[Node, ...]
    readout: tuple[Node, ...]


def parts_of(analysis: Analysis, component: Component) -> Parts:
    graph = analysis.graph
    mine = set(component.registers)
    sources = [graph.register[name].source for name in component.registers]
    states = [set(graph.register[name].axes) for name in component.registers]
    dependent: set[Node] = set()
    core: list[Node] = []
    bulk: list[Node] = []
    for node in postorder(sources):
        if any(r in mine for r in reads_of(node)):
            dependent.add(node)
        elif any(c in dependent for c in children(node)):
            dependent.add(node)
            core.append(node)
        elif children(node) and any(s and s <= set(node.axes) for s in states):
            bulk.append(node)
    reached = {node for node in dependent if reads_of(node)} | set(sources)
    counted = set(core) | set(bulk)
    readout: list[Node] = []
    for node in postorder(graph.roots):
        if node in reached or node in counted or not any(c in reached for c in children(node)):
            continue
        readout.append(node)
        if not isinstance(node, n.Reduce):
            reached.add(node)
    return Parts(tuple(core), tuple(bulk), tuple(readout))


def state_elements(analysis: Analysis, component: Component, q: Quantities) -> Any:
    total: Any = 0
    for name in component.registers:
        r = analysis.graph.register[name]
        total = total + q.elements(r.axes) * (2 if r.kind == "complex" else 1)
    return total
