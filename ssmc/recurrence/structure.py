"""What the transition of an affine component looks like along its axes.

identity    h + b                                  scalar      one factor for all that is mixed or written together
diagonal    a factor an element                    low_rank    diagonal plus a few outer products
shift       moved along an axis                    companion   a shift plus one row (a filter's delay line)
dense       a matrix                               block       several coupled registers
"""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.linear import Affine, Term
from ssmc.expr.nodes import Axes, Node
from ssmc.recurrence.semiring import is_constant
from ssmc.step.nodes import Register


@dataclass(frozen=True)
class OuterProduct:
    """One low-rank term: the sum over `rank` (axes, may be none) of column[…, K] * row[…, K~]."""

    column: Node
    row: Node
    rank: Axes


@dataclass(frozen=True)
class LowRank:
    """diagonal (None: zero) plus the outer products, over the axes `mixed`."""

    mixed: Axes
    diagonal: Node | None
    products: tuple[OuterProduct, ...]


def factors_of(node: Node) -> list[Node]:
    """The operands of a product, however it is nested."""
    found: list[Node] = []
    stack = [node]
    while stack:
        x = stack.pop()
        if isinstance(x, n.Map) and x.op == "mul":
            stack.extend(reversed(x.args))
        else:
            found.append(x)
    return found


def outer_product(arena: Arena, term: Term) -> OuterProduct | None:
    """A mixing term as column times row, if its coefficient separates into the two sides; a sum over a rank axis
    inside counts, sum over R of column[K, R] row[K~, R]."""
    mixed = set(term.mixed)
    inner = {a + "~" for a in mixed}
    right = term.right
    rank: Axes = ()
    outside: list[Node] = []
    if mixed & set(right.axes):
        # the sum may stand among factors that have no rank axis
        sums = [f for f in factors_of(right) if isinstance(f, n.Reduce) and f.op == "sum"]
        if len(sums) != 1:
            return None
        outside = [f for f in factors_of(right) if f is not sums[0]]
        rank, right = sums[0].over, sums[0].arg
    column, row = [term.left, *(f for f in outside if not inner & set(f.axes))], []
    row += [f for f in outside if inner & set(f.axes)]
    for f in factors_of(right):
        if inner & set(f.axes):
            row.append(f)
        else:
            column.append(f)
    if any(mixed & set(f.axes) for f in row):
        return None
    return OuterProduct(arena.product(column), arena.product(row), rank)


def low_rank(arena: Arena, form: Affine) -> LowRank | None:
    """A map of one register as diagonal plus outer products; None if a term is a full matrix or nothing is mixed."""
    mixing = [t for t in form.terms if t.mixed]
    if not mixing or len({frozenset(t.mixed) for t in mixing}) > 1:
        return None
    products = [outer_product(arena, t) for t in mixing]
    if any(p is None for p in products):
        return None
    diagonal: Node | None = None
    for term in form.terms:
        if not term.mixed:
            whole = arena.mul(term.left, term.right)
            diagonal = whole if diagonal is None else arena.add(diagonal, whole)
    return LowRank(mixing[0].mixed, diagonal, tuple(p for p in products if p is not None))


def is_shift(term: Term) -> bool:
    """Whether a term moves its atom along one axis: the coefficient is 1 where index = index~ + k, else 0."""
    if len(term.mixed) != 1:
        return False
    (axis,) = term.mixed
    for f in factors_of(term.right):
        match f:
            case n.Map(op="where", args=(n.Map(op="eq", args=(x, y)), n.Const(), n.Const(value=zero))) if zero == 0:
                return {a for s in (x, y) for a in s.axes} == {axis, axis + "~"}
            case _:
                pass
    return False


def structure_of(
    arena: Arena, registers: tuple[Register, ...], maps: tuple[Affine, ...], independent: frozenset[str]
) -> str:
    """The word for the transition; `independent` are the axes declared `each`, along which factors may always vary."""
    if len(registers) > 1:
        return "block"
    register, (form,) = registers[0], maps
    mixing = [t for t in form.terms if t.mixed]
    if not mixing:
        coefficient = diagonal_of(arena, form)
        return "diagonal" if coefficient is None else elementwise_structure(register, coefficient, 1, independent)
    if register.line is not None and all(set(t.mixed) <= {register.line} for t in mixing):
        return "companion"
    if all(is_shift(t) for t in mixing):
        return "shift" if len(mixing) == len(form.terms) else "dense"
    found = low_rank(arena, form)
    return "dense" if found is None else "low_rank"


def elementwise_structure(
    register: Register, coefficient: Node, one: bool | int | float, independent: frozenset[str]
) -> str:
    """identity where the coefficient is `one`; scalar where it is one number for all the axes but independent ones."""
    if is_constant(coefficient, one):
        return "identity"
    axes = set(coefficient.axes)
    return "scalar" if not axes or (axes <= independent and set(register.axes) - independent) else "diagonal"


def diagonal_of(arena: Arena, form: Affine) -> Node | None:
    """The elementwise coefficient of a map of one register that mixes nothing; None if it is zero."""
    terms = [arena.mul(t.left, t.right) for t in form.terms]
    return arena.total(terms) if terms else None


def rank_of(found: LowRank) -> str:
    """The rank in words: a number, or a number and axes."""
    fixed = sum(1 for p in found.products if not p.rank)
    axes = [" ".join(p.rank) for p in found.products if p.rank]
    return " + ".join([*([str(fixed)] if fixed or not axes else []), *(f"size of {a}" for a in axes)])
