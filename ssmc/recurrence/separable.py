"""Matrix states written by outer products: what the chunked form needs.

    S[E, K, V]  <-  decay * S + sum over writes of (sum over summed axes of k[E, K] * v[E, V])

with rows K, columns V and elementwise axes E; the decay a product of factors none of which has both row and column
axes: K4 where it has neither, K5 where the log-decay separates into a row part and a column part. Many assignments of
the state's axes to K, V and E may fit; the one with a scalar decay is taken before others, then the one with the fewest
elementwise axes. Rows are the side that the readout sums over, where the graph says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product as cartesian

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.linear import Affine
from ssmc.expr.nodes import Axes, Node, postorder
from ssmc.expr.ranges import Ranges
from ssmc.recurrence.graph import leaves_time
from ssmc.recurrence.logs import LOG_ZERO, log_of
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.products import Product, Whole, sum_of_products
from ssmc.recurrence.structure import LowRank, diagonal_of, factors_of, low_rank
from ssmc.step.nodes import Register, StepGraph

INSEPARABLE = "the decay does not separate into a factor of the rows and one of the columns"


_AXES = 7  # of a state; with more, no matrix form is looked for


@dataclass(frozen=True)
class Decay:
    """A factor of the decay. `log` is its logarithm where one is provable (LOG_ZERO standing for log 0), else None."""

    value: Node
    log: Node | None


@dataclass(frozen=True)
class Write:
    """The sum over `summed` of k * v; k has no column axes, v no row axes; both may have elementwise ones."""

    k: Node
    v: Node
    summed: Axes = ()


@dataclass(frozen=True)
class MatrixForm:
    """A matrix state. A decay part that is None is 1.

    `scalar` has elementwise axes only, `alpha` row axes too, `beta` column axes too; the decay is their product, with
    `reset` (bool, elementwise axes): where it holds the decay is 0 whatever the parts say. `scalar.log` has LOG_ZERO
    there; `plain` is the scalar part without the resets, for a form that masks segments instead (None: 1).
    """

    register: str
    rows: Axes
    cols: Axes
    elementwise: Axes
    scalar: Decay | None
    alpha: Decay | None
    beta: Decay | None
    writes: tuple[Write, ...]
    reset: Node | None = None
    plain: Decay | None = None

    @property
    def kclass(self) -> str:
        return "K4" if self.alpha is None and self.beta is None else "K5"


@dataclass(frozen=True)
class DeltaForm:
    """S <- (diagonal + sum of column row^T over `rows`) S + writes, `cols` carried: the transition of the delta rule.

    `transition` has the diagonal (None: zero; it may have row axes, no column axes) and the outer products, whose rows
    are over `rows` with `~`.
    """

    register: str
    rows: Axes
    cols: Axes
    elementwise: Axes
    transition: LowRank
    log_diagonal: Node | None
    writes: tuple[Write, ...]


def matrix_form(analysis: Analysis, component: Component) -> MatrixForm | str:
    """The matrix form of a component; or the reason why it has none, a clause that completes "because …"."""
    if len(component.registers) != 1 or len(component.affine) != 1:
        return "the component is not one affine register"
    register = analysis.graph.register[component.registers[0]]
    return find_matrix_form(analysis.graph, register, component.affine[0][1])


def find_matrix_form(graph: StepGraph, register: Register, form: Affine) -> MatrixForm | str:
    """The same for a register whose source is the affine map `form`."""
    if any(t.mixed for t in form.terms):
        return "the transition mixes positions along an axis"
    if len(register.axes) < 2:
        return f"`{register.name}` has fewer than two axes"
    if form.constant is None:
        return "nothing is written to the state"
    decay = diagonal_of(graph.arena, form)
    if decay is None:
        return "the state forgets everything at every step"
    return _Search(graph, register, decay, form.constant).run()


def delta_form(analysis: Analysis, component: Component) -> DeltaForm | str:
    """The diagonal-plus-low-rank form of a component; or the reason why it has none."""
    if len(component.registers) != 1 or len(component.affine) != 1:
        return "the component is not one affine register"
    graph, (form,) = analysis.graph, [f for _, f in component.affine]
    register, arena = graph.register[component.registers[0]], graph.arena
    found = low_rank(arena, form)
    if found is None:
        return "the transition is not diagonal plus low rank"
    rows, rest = found.mixed, [a for a in register.axes if a not in found.mixed]
    parts = [p for o in found.products for p in (o.column, o.row)]
    held = {a for p in (*parts, found.diagonal) if p is not None for a in p.axes}
    ranges = Ranges()
    for count in range(1, len(rest) + 1):
        cols = tuple(rest[-count:])
        if held & set(cols):
            break
        elementwise = tuple(rest[:-count])
        writes: tuple[Write, ...] | None = ()
        if form.constant is not None:
            products = sum_of_products(arena, form.constant, _one_sided(set(rows), set(cols)))
            writes = _writes(arena, products, rows, cols)
        if writes is not None:
            log = None if found.diagonal is None else log_of(arena, found.diagonal, ranges)
            return DeltaForm(register.name, rows, cols, elementwise, found, log, writes)
    return "what is written is not an outer product"


class _Search:
    def __init__(self, graph: StepGraph, register: Register, decay: Node, written: Node) -> None:
        self.graph, self.arena, self.register = graph, graph.arena, register
        self.decay, self.written = decay, written
        self.ranges = Ranges()

    def run(self) -> MatrixForm | str:
        best: tuple[tuple[int, int, int], MatrixForm] | None = None
        outer = False
        for rows, cols, elementwise in self.assignments():
            writes = self.writes(rows, cols)
            if writes is None:
                continue
            outer = True
            parts = self.parts(rows, cols)
            if parts is None:
                continue
            form = self.form(rows, cols, elementwise, parts, writes)
            rank = (form.kclass != "K4", len(elementwise), self.preference(rows, cols))
            if best is None or rank < best[0]:
                best = (rank, form)
        if best is not None:
            return best[1]
        if outer:
            return INSEPARABLE
        return "what is written is not an outer product"

    def assignments(self) -> Iterator[tuple[Axes, Axes, Axes]]:
        """Rows, columns and the rest, where no factor of a write that cannot be split further has both sides."""
        axes = self.register.axes
        # what an axis of the state was summed over has another such axis inside
        products = sum_of_products(
            self.arena, self.written, lambda node: isinstance(node, n.Reduce) and bool(set(node.over) & set(axes))
        )
        factors = {frozenset(f.axes) for p in products for f in p.factors}
        if len(axes) > _AXES:
            return
        for sides in cartesian((0, 1, 2), repeat=len(axes)):
            rows, cols, rest = (tuple(a for a, s in zip(axes, sides, strict=True) if s == side) for side in range(3))
            if rows and cols and not any(f & set(rows) and f & set(cols) for f in factors):
                yield rows, cols, rest

    def preference(self, rows: Axes, cols: Axes) -> int:
        """0 where the readout sums over the rows, 2 where it sums over the columns, 1 where it says neither."""
        summed = read_over(self.graph, self.register)
        if summed and summed <= set(rows):
            return 0
        return 2 if summed and summed <= set(cols) else 1

    # -- what is written -----------------------------------------------------------------------------------------

    def writes(self, rows: Axes, cols: Axes) -> tuple[Write, ...] | None:
        products = sum_of_products(self.arena, self.written, _one_sided(set(rows), set(cols)))
        return _writes(self.arena, products, rows, cols)

    # -- the decay -----------------------------------------------------------------------------------------------

    def parts(self, rows: Axes, cols: Axes) -> tuple[list[Node], ...] | None:
        """The decay's factors with neither side's axes, with rows, with columns; None if one has both."""
        r, c = set(rows), set(cols)
        products = sum_of_products(self.arena, self.decay, _one_sided_factor(r, c))
        if len(products) != 1 or products[0].summed:
            products = (Product((self.decay,)),)
        parts: tuple[list[Node], ...] = ([], [], [])
        for factor in self.exponents(products[0].factors, r, c):
            axes = set(factor.axes)
            if axes & r and axes & c:
                return None
            parts[1 if axes & r else 2 if axes & c else 0].append(factor)
        return parts

    def exponents(self, factors: Iterable[Node], rows: set[str], cols: set[str]) -> Iterator[Node]:
        """The factors, with exp(x + y) as exp(x) exp(y) where that separates the sides."""
        for factor in factors:
            axes = set(factor.axes)
            log = log_of(self.arena, factor, self.ranges) if axes & rows and axes & cols else None
            if log is None:
                yield factor
                continue
            terms = sum_of_products(self.arena, log, _one_sided(rows, cols))
            sides: dict[int, list[Node]] = {}
            for term in terms:
                value: Node = self.arena.reduce("sum", self.arena.product(term.factors), term.summed)
                held = set(value.axes)
                side = 3 if held & rows and held & cols else 1 if held & rows else 2 if held & cols else 0
                sides.setdefault(side, []).append(value)
            if 3 in sides:
                yield factor
                continue
            for values in sides.values():
                yield self.arena.exp(self.arena.total(values))

    def form(
        self, rows: Axes, cols: Axes, elementwise: Axes, parts: tuple[list[Node], ...], writes: tuple[Write, ...]
    ) -> MatrixForm:
        resets = [reset_of(self.arena, f) for f in parts[0] if is_mask(f)]
        plain = [f for f in parts[0] if not is_mask(f)]
        reset: Node | None = None
        for r in resets:
            reset = r if reset is None else self.arena.map("or", reset, r)
        return MatrixForm(
            self.register.name,
            rows,
            cols,
            elementwise,
            self.joined(parts[0]),
            self.joined(parts[1]),
            self.joined(parts[2]),
            writes,
            reset=reset,
            plain=self.joined(plain),
        )

    def joined(self, factors: list[Node]) -> Decay | None:
        factors = [f for f in factors if not (isinstance(f, n.Const) and f.value == 1)]
        if not factors:
            return None
        value = self.arena.product(factors)
        return Decay(value, log_of(self.arena, value, self.ranges))


def read_over(graph: StepGraph, register: Register) -> set[str]:
    """The axes that a readout sums a product with the state over; empty where none does."""
    state = {register.source}
    for x in postorder(graph.roots):
        if isinstance(x, n.Read) and x.register == register.name:
            state.add(x)
        elif isinstance(x, n.Reduce) and x.op == "sum":
            inside = sum_of_products(graph.arena, x.arg, lambda y: y in state)
            if any(f in state for p in inside for f in p.factors):
                return set(x.over)
    return set()


def read_as_matrix(graph: StepGraph, register: Register, form: MatrixForm) -> bool:
    """Whether a readout sums over one side of the state, or nothing reads it but an output that is the state itself.

    A state read element by element (an angle, say) gains nothing from being written by outer products.
    """
    summed = read_over(graph, register)
    if summed:
        return summed <= set(form.rows) or summed <= set(form.cols)
    others = [o.value for o in graph.outputs if o.value is not register.source]
    others += [r.source for r in graph.registers if r.name != register.name]
    return not any(
        x is register.source or (isinstance(x, n.Read) and x.register == register.name) for x in postorder(others)
    )


def is_mask(factor: Node) -> bool:
    """Whether a factor is where(c, 0, 1) or where(c, 1, 0)."""
    match factor:
        case n.Map(op="where", args=(_, n.Const(value=x), n.Const(value=y))):
            return (x, y) in ((0, 1), (1, 0))
        case _:
            return False


def reset_of(arena: Arena, mask: Node) -> Node:
    """The condition under which a mask is 0."""
    assert isinstance(mask, n.Map)
    assert isinstance(mask.args[1], n.Const)
    return arena.map("not", mask.args[0]) if mask.args[1].value == 1 else mask.args[0]


def _one_sided(rows: set[str], cols: set[str]) -> Whole:
    """What need not be taken apart: an expression that has axes of one side only."""
    return lambda node: not (rows & set(node.axes) and cols & set(node.axes))


def _one_sided_factor(rows: set[str], cols: set[str]) -> Whole:
    """The same, but products and choices are always taken apart, so that resets are seen."""

    def whole(node: Node) -> bool:
        inner = isinstance(node, n.Map) and node.op in ("mul", "where") and not is_mask(node)
        return not inner and not (rows & set(node.axes) and cols & set(node.axes))

    return whole


def _writes(arena: Arena, products: tuple[Product, ...], rows: Axes, cols: Axes) -> tuple[Write, ...] | None:
    """Each product as k times v with every row axis in k and every column axis in v; None if one is not.

    Factors of neither side go to the smaller side: the one with fewer axes.
    """
    r, c = set(rows), set(cols)
    found: list[Write] = []
    for p in products:
        k: list[Node] = []
        v: list[Node] = []
        neither: list[Node] = []
        for f in p.factors:
            axes = set(f.axes)
            if axes & r and axes & c:
                return None
            (k if axes & r else v if axes & c else neither).append(f)
        if {a for f in k for a in f.axes} & r != r or {a for f in v for a in f.axes} & c != c:
            return None
        summed = set(p.summed)
        (k if len(r) <= len(c) else v).extend(f for f in neither)
        one_k = arena.product(_ones_last(k))
        one_v = arena.product(_ones_last(v))
        # a summed axis that only one side has is summed there
        only_k = tuple(a for a in p.summed if a not in one_v.axes)
        only_v = tuple(a for a in p.summed if a not in one_k.axes)
        one_k, one_v = arena.reduce("sum", one_k, only_k), arena.reduce("sum", one_v, only_v)
        left = tuple(a for a in p.summed if a in summed and a not in only_k and a not in only_v)
        found.append(Write(one_k, one_v, left))
    return tuple(found)


def _ones_last(factors: list[Node]) -> list[Node]:
    """Constants after the others: arena.product starts from the first factor."""
    return sorted(factors, key=lambda f: isinstance(f, n.Const))


def data_on_every_axis(form: MatrixForm) -> bool:
    """Whether what is written varies with the data along every axis of the state, the elementwise ones too."""
    factors = [f for w in form.writes for side in (w.k, w.v) for f in factors_of(side)]
    data = {a for f in factors if leaves_time([f]) == "data" for a in f.axes}
    return set(form.rows) <= data and set(form.cols) <= data and set(form.elementwise) <= data


__all__ = [
    "LOG_ZERO",
    "Decay",
    "DeltaForm",
    "MatrixForm",
    "Write",
    "data_on_every_axis",
    "delta_form",
    "find_matrix_form",
    "log_of",
    "matrix_form",
]
