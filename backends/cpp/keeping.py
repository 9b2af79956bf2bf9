"""What of a tile is kept between nests and steps, and what is computed where it is read."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from ssmc.backends.cpp.nests import Nest, cheap, pointwise
from ssmc.backends.cpp.texts import enclosed, identity
from ssmc.backends.cpp.tiles import Tiles
from ssmc.backends.cpp.value import Group, Value
from ssmc.backends.cpp.values import Pass

from ssmc.expr import nodes as n

if TYPE_CHECKING:
    from ssmc.backends.cpp.cell import Cell


def compute_again(cell: Cell, g: Group, nests: list[Nest]) -> None:
    """Of a state in a cache, what is had for an operation or two is computed in each nest that reads it."""
    if g.tiles is None:
        return
    for nest in nests:
        for v in list(nest.values):
            made: dict[Value, Value] = {}
            for r in v.reads:
                home = next((x for x in nests if r in x.values), None)
                if (
                    home in (None, nest)
                    or set(cell.loops(r)) != set(nest.axes)
                    or not _had_here(cell.values, r, nests, nest)
                ):
                    continue
                twin = copy.copy(r)
                twin.name, twin.reads, twin.crosses = cell.values.fresh(f"{r.name}_here"), list(r.reads), False
                made[r] = twin
                nest.values.insert(nest.values.index(v), twin)
                g.values.insert(g.values.index(v), twin)
            v.redirect(made)


def _had_here(of: Pass, r: Value, nests: list[Nest], nest: Nest) -> bool:
    if not cheap(r) or r.crosses or r.place is not None:
        return False
    changed = {v.place for x in nests[: nests.index(nest)] for v in x.values if v.place is not None}
    wide = [x for x in r.reads if x.carry]
    known = [x for x in r.reads if not x.carry and x.group == r.group and any(x in y.values for y in nests)]
    return bool(wide) and not known and not changed & set(wide) and pointwise(r, wide[0], of)


def kept_in_rows(cell: Cell) -> dict[Value, Value]:
    """Carries of tiles that need no array, since every step's next value is kept: with the values that are."""
    found: dict[Value, Value] = {}
    for v in cell.led & cell.placed:
        c = v.place
        assert c is not None
        if v.kind != c.kind or cell.values.groups[v.group].tiles is None:
            continue
        groups = {x.group for g in cell.values.groups for x in g.values if c in x.reads and v not in x.old}
        if groups <= {v.group} and not any(c in x.reads for x in cell._others()):
            found[c] = v
    return found


def over_tiles(cell: Cell, tiles: Tiles, sweeps: list[str]) -> list[str]:
    """Sweeps in the loops over tiles; what is added up over the tiles begins with nothing."""
    out: list[str] = []
    for v in tiles.sums:
        a = cell.array_of(v)
        start = identity(v.op, v.kind)
        start = f"splat({start})" if v in cell.typed else start
        count = cell._count(v, a)
        out.append(f"for (i64 i = 0; i < {count}; i++) {cell.printer.identifier(v.name)}[i] = {start};")
    outer = [a for a in tiles.extents if a != tiles.lane]
    outer += [a for a in tiles.extents if a == tiles.lane]
    for axis in reversed(outer):
        sweeps = enclosed(cell.tile_head(axis), sweeps)
    return [*out, *sweeps]


def axes_of_one(cell: Cell) -> frozenset[str]:
    """Axes of one element: no loops over them."""
    v = cell.values
    carried = [*v.carries.values(), *(c for cs in v.resets.values() for c in cs)]
    every = [*(x for g in v.groups for x in g.values), *carried, *cell._others()]
    nodes = n.postorder([x.special if x.special is not None else x.value for x in every])
    axes = {a for x in every for a in (*x.axes, *x.over)} | {a for x in nodes for a in x.axes}
    special = (n.BATCH, n.TIME, n.LAG, cell.schedule.lane)
    return frozenset(a for a in axes if a not in special and cell.printer.size(a) == "1")
