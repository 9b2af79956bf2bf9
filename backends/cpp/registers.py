"""Carries of a small tile in arrays of their own while its steps go on: the compiler keeps those in registers.

for each tile of N
    h_tile[…] = h[tile of N]
    for each step: h_tile = a * h_tile + b
    h[tile of N] = h_tile[…]
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from ssmc.backends.cpp.nests import Nest
from ssmc.backends.cpp.point import VECTOR, Env, Point
from ssmc.backends.cpp.schedule import REGISTERS
from ssmc.backends.cpp.texts import indented
from ssmc.backends.cpp.value import Group, Value

if TYPE_CHECKING:
    from ssmc.backends.cpp.cell import Cell


def held_carries(cell: Cell, group: Group) -> dict[Value, int]:
    """The carries that a sweep over the steps of a tile can hold, and how many vectors each takes."""
    tiles = cell.tiles
    if tiles is None or any(not cell.turns(a, lane=a == tiles.lane).isdigit() for a in tiles.extents):
        return {}
    mine = {c for v in group.values for c in (v.place, v.total, *v.reads) if c is not None and c.carry}
    first = {v.place for v in group.values}  # what changes at every step, before what is added up
    found: dict[Value, int] = {}
    room = REGISTERS
    for c in sorted(mine, key=lambda c: (c not in first, c.name)):
        order = cell.array_of(c).order
        if c not in cell.typed or c in cell.near or c in cell.rows or c.crosses or not set(tiles.extents) <= set(order):
            continue
        turns = [cell.turns(a, lane=a == order[-1]) for a in order]
        if not all(x.isdigit() for x in turns):
            continue
        vectors = math.prod(map(int, turns))
        parts = vectors * (2 if c.kind == "complex" else 1)
        if parts <= room:
            found[c] = vectors
            room -= parts
    return found


def around(cell: Cell, carries: dict[Value, int], sweep: list[str], changed: set[Value]) -> list[str]:
    """A sweep, with its carries fetched before and those that it changes put back after."""
    if not carries:
        return sweep
    out: list[str] = []
    for c, vectors in carries.items():
        out.append(f"{VECTOR[c.kind]} {tile_name(cell, c)}[{vectors}];")
        out += _copied(cell, c, back=False)
    out += sweep
    for c in carries:
        if c in changed:
            out += _copied(cell, c, back=True)
    return ["{", *indented(out), "}"]


def enter(cell: Cell, carries: Collection[Value]) -> None:
    """From here on these carries are read and written in arrays of the tile."""
    for c in carries:
        assert cell.tiles is not None
        cell.in_tile.add(c)
        cell.near[c] = cell.tiles


def leave(cell: Cell, carries: Collection[Value]) -> None:
    for c in carries:
        cell.in_tile.remove(c)
        del cell.near[c]


def tile_name(cell: Cell, c: Value) -> str:
    return cell.printer.identifier(f"{c.name} tile")


def _copied(cell: Cell, c: Value, back: bool) -> list[str]:
    axes = cell.axes_of(c)

    def body(env: Env) -> list[str]:
        point = Point(cell, env, None, {})
        whole = cell.array(c, point).text
        enter(cell, {c})
        mine = cell.array(c, point).text
        leave(cell, {c})
        return [f"{whole} = {mine};" if back else f"{mine} = {whole};"]

    return cell._loops(Nest(axes, cell.lane_of(c, axes), set(), []), body, {})
