"""Products with a matrix, several rows at once: each vector of the matrix is read once for all of them.

`products` of support/products.hpp does it; here is which axis is its rows, columns and sums, and where they lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssmc.backends.cpp.nests import Nest
from ssmc.backends.cpp.point import Env, Index
from ssmc.backends.cpp.products import Product
from ssmc.backends.cpp.texts import enclosed, product, told, without_zeros
from ssmc.backends.cpp.value import Value

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes

if TYPE_CHECKING:
    from ssmc.backends.cpp.cell import Cell


@dataclass(frozen=True, eq=False)
class Layout:
    """How a cell computes a product: loops over `outside`, and in one call `rows` x `inner` by `inner` x `column`."""

    product: Product
    rows: str
    inner: str
    column: str
    outside: Axes
    added: Axes  # summed, beside `inner`


def layout_of(cell: Cell, v: Value) -> Layout | None:
    """How a cell computes a product, where it has several rows for it."""
    p = v.product
    if p is None or cell.tiles is not None or v.total is not None or set(v.over) & set(cell.schedule.grid):
        return None
    order = cell.array_of(v).order
    matrix = {a for a in p.places if not cell.narrowed(a)}
    if not order or order[-1] not in matrix or order[-1] in p.row.moved or order[-1] in cell.schedule.grid:
        return None
    column = order[-1]
    rows = [a for a in order if a not in matrix]
    if not rows:
        return None
    *added, inner = [a for a in v.over if not cell.narrowed(a)] or [""]
    if not inner:
        return None
    rest = tuple(a for a in cell.axes_of(v) if a not in (rows[0], column))
    return Layout(p, rows[0], inner, column, rest, tuple(added))


def lines(cell: Cell, nest: Nest, layout: Layout) -> list[str]:
    """The loops around a product, and the call."""
    (v,) = nest.values
    p = layout.product
    env: dict[str, Index] = dict(cell._env(nest.axes))
    heads = [cell._head(a, env) for a in (*layout.outside, *layout.added) if a not in env or a == n.BATCH]
    zero = Index("0", "0")
    start = {n.BATCH: Index("0", "b"), n.TIME: Index("0", "t")}
    env |= {layout.rows: start.get(layout.rows, zero), layout.inner: zero}
    env[layout.column] = Index("0", "0", True, "", "0")
    inside = {**env, **{p.row.moved[a]: i for a, i in env.items() if a in p.row.moved}}
    row, row_of = _row(cell, v.stands[p.row.core], inside)
    matrix, step = cell.printer.matrix(p, (*(a for a in p.places if a not in (layout.inner, layout.column)),
                                           layout.inner, layout.column), env)  # fmt: skip
    out, out_row = _result(cell, v, env, layout.rows)
    count = {n.BATCH: "rows", n.TIME: "steps"}.get(layout.rows) or cell.size(layout.rows)
    added = " + ".join(env[a].whole for a in layout.added)
    call = ", ".join((
        count, cell.size(layout.inner), str(cell.vectors(layout.column)),
        row, row_of[p.row.moved[layout.rows]], row_of[p.row.moved[layout.inner]],
        matrix, step, out, out_row, f"{added} > 0" if added else "false",
    ))  # fmt: skip
    body = [told(f"products({call});", v)]
    for head in reversed(heads):
        body = enclosed(head, body)
    return body


def _row(cell: Cell, v: Value, env: Env) -> tuple[str, dict[str, str]]:
    """Where the elements of a row begin, and what lies between those along each axis."""
    cell.frame.kept.add(v)
    home = v.place if v.place is not None and not v.crosses and cell.in_place(v) else v
    assert home is not None
    cell.frame.scalar.add(home)
    a = cell.array_of(v)
    at, _, _ = cell._address(home, a, env, timed=v.crosses and cell.values.sequential)
    return _pointer(cell.name(v), at), {x: cell._stride(a, x) for x in a.order}


def _result(cell: Cell, v: Value, env: Env, rows: str) -> tuple[str, str]:
    a = cell.array_of(v)
    at, _, _ = cell._address(v, a, env, timed=v.crosses and cell.values.sequential)
    name, stride = _pointer(cell.printer.identifier(v.name), at), cell._stride(a, rows)
    if v in cell.typed:
        return f"(real *){name if name[0] != '&' else f'({name})'}", product(stride, "LANES")
    return name, stride


def _pointer(name: str, at: str) -> str:
    at = without_zeros(at)
    return name if at == "0" else f"&{name}[{at}]"
