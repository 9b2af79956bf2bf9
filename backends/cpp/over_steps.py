"""Sums over the steps of what two rows multiply to: one product of matrices a chunk, in place of a matrix a step.

    g[D, K] = g + x[D] * e[K]     x and e are kept for the steps of a chunk; then g += transposed(x) e

A step would read and write all of the sum; so each element of it is held in a register for a whole chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssmc.backends.cpp.access import Array
from ssmc.backends.cpp.point import Env, Index
from ssmc.backends.cpp.products import Factor
from ssmc.backends.cpp.texts import enclosed, product, times, told, without_zeros
from ssmc.backends.cpp.value import Value

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes

if TYPE_CHECKING:
    from ssmc.backends.cpp.cell import Cell

LONGEST = 256  # steps of a chunk of which rows are kept


@dataclass(frozen=True, eq=False)
class OverSteps:
    """A total in loops over `outside`, and in one call `row` x steps by steps x `column`."""

    total: Value
    left: Factor
    right: Factor
    row: str
    column: str
    outside: Axes


def take_over_steps(cell: Cell) -> dict[int, list[OverSteps]]:
    """Take such sums out of the sweeps of a cell, by group, and keep the rows that they are of."""
    found: dict[int, list[OverSteps]] = {}
    v = cell.values
    if v.step or not v.sequential or not 1 < cell.block <= LONGEST:
        return found
    for g in v.groups:
        for total in [x for x in g.values if x.outer is not None]:
            made = None if g.tiles is not None else _over_steps(cell, total)
            if made is not None:
                g.values.remove(total)
                made.left.value.crosses = made.right.value.crosses = True
                found.setdefault(total.group, []).append(made)
    cell.arrays.clear()
    return found


def _over_steps(cell: Cell, total: Value) -> OverSteps | None:
    assert total.outer is not None
    assert total.total is not None
    order = cell.array_of(total.total).order
    if not order or order[-1] in cell.schedule.grid or n.LAG in order:
        return None
    column = order[-1]
    left, right = sorted((Factor(total.stands[f.core], f.core, f.moved) for f in total.outer),
                         key=lambda f: column in f.moved)  # fmt: skip
    if column in left.moved or column not in right.moved:
        return None
    for f in (left, right):
        v = f.value
        if not v.timed or v.carry or v.serial or v.kind != "real" or n.LAG in v.axes:
            return None
        kept_before = v in cell.values.led and not v.crosses
        if kept_before or v.group < 0 or cell.values.groups[v.group].tiles is not None:
            return None
    if cell.array_of(right.value).order[-1:] != (right.moved[column],):
        return None
    rows = [a for a in order[:-1] if a in left.moved and a not in right.moved and a != n.BATCH]
    if not rows:
        return None
    row = max(rows, key=lambda a: int(size) if (size := cell.size(a)).isdigit() else 0)
    inside = (*order, *(a for a in total.over if a != n.TIME and not cell.narrowed(a)))
    return OverSteps(total, left, right, row, column, tuple(a for a in inside if a not in (row, column)))


def over_steps(cell: Cell, made: OverSteps) -> list[str]:
    """The loops around a sum, and the call, when a chunk's rows are there."""
    home = made.total.total
    assert home is not None
    env: dict[str, Index] = dict(cell._env(made.outside))
    heads = [cell._head(a, env) for a in made.outside if a not in env or a == n.BATCH]
    zero = Index("0", "0")
    env |= {made.row: zero, made.column: Index("0", "0", True, "", "0"), n.TIME: Index("0", "start")}
    left, left_of = _begin(cell, made.left.value, _moved(env, made.left), scalar=True)
    right, right_of = _begin(cell, made.right.value, _moved(env, made.right))
    out, out_of = _begin(cell, home, env)
    call = ", ".join((
        cell.size(made.row), "stop - start", str(cell.vectors(made.column)),
        left, left_of[made.left.moved[made.row]], left_of[n.TIME],
        right, right_of[n.TIME], out, out_of[made.row], "true",
    ))  # fmt: skip
    body = [told(f"products({call});", made.total)]
    for head in reversed(heads):
        body = enclosed(head, body)
    return body


def _moved(env: Env, f: Factor) -> dict[str, Index]:
    return {**env, **{f.moved[a]: i for a, i in env.items() if a in f.moved and a != n.TIME}}


def _begin(cell: Cell, v: Value, env: Env, scalar: bool = False) -> tuple[str, dict[str, str]]:
    """Where the elements of an array begin, and how many lie between those along each of its axes, and the steps."""
    cell.frame.kept.add(v)
    if scalar:
        cell.frame.scalar.add(v)
    a: Array = cell.array_of(v)
    at, _, _ = cell._address(v, a, env, timed=v.crosses)
    at = without_zeros(at)
    name = cell.name(v) if at == "0" else f"&{cell.name(v)}[{at}]"
    typed = v in cell.typed
    strides = {x: cell._stride(a, x) for x in a.order}
    step = "1"
    for x in a.order:
        step = times(step, cell._dim(v, a, x))
    strides[n.TIME] = step
    if typed:
        strides = {x: product(stride, "LANES") for x, stride in strides.items()}
        name = f"(real *){name}" if at == "0" else f"(real *)({name})"
    return name, strides
