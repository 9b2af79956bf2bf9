"""What a pass's schedule comes to, for `ssmc explain`: what is threads, lanes, registers and loops, in a few words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssmc.backends.cpp.schedule import REGISTERS, Schedule
from ssmc.backends.cpp.tiles import CHUNK
from ssmc.backends.cpp.value import Value
from ssmc.backends.cpp.values import Pass
from ssmc.backends.cpp.wishes import Legal

from ssmc.expr import nodes as n


@dataclass(frozen=True)
class Held:
    """A state as a cell holds it: so many vectors (None: unknown), in registers or in memory."""

    name: str
    vectors: int | None

    @property
    def registers(self) -> bool:
        return self.vectors is not None and self.vectors <= REGISTERS


@dataclass(frozen=True)
class Account:
    """One pass. `cells` are counted for one sequence; None where a size is not known."""

    number: int
    title: str
    words: str
    grid: tuple[str, ...]
    lane: str | None
    vectors: int
    cells: int | None
    states: tuple[Held, ...]
    chunk: int
    loops: tuple[str, ...]
    sequential: bool  # there is a recurrence
    cells_in_order: bool  # a cell has many steps; else each has one, or a few
    rows: int = 1  # of the batch, that a cell takes at once
    chunks: bool = False  # whether a cell has one chunk of the steps
    tiles: tuple[tuple[tuple[str, int], ...], ...] = ()  # of large states, that the steps of a chunk run for
    legal: Legal | None = None

    def lines(self) -> list[tuple[str, str]]:
        """(what, how) for a person."""
        rows = f" in blocks of {self.rows}" if self.rows > 1 else ""
        shared = f"batch{rows}{', chunks' if self.chunks else ''}{''.join(f', {a}' for a in self.grid)}"
        each = "a block" if self.rows > 1 else "a sequence"
        count = f": {self.cells} cell{'s' if self.cells != 1 else ''} {each}" if self.cells is not None else ""
        if not self.cells_in_order:
            return [("threads", "batch, time"), ("loops", ", ".join(self.loops) or "none")]
        out = [("threads", shared + count)]
        if self.lane is not None:
            held = f", {self.vectors} vector{'s' if self.vectors > 1 else ''} a cell" if self.lane in self.grid else ""
            out.append(("lanes", self.lane + held))
        else:
            out.append(("lanes", "each loop its own"))
        near = [h for h in self.states if h.registers]
        far = [h for h in self.states if not h.registers]
        if near:
            out.append(("registers", ", ".join(f"{h.name} ({_vectors(h.vectors)})" for h in near)))
        if far:
            out.append(("in cache", ", ".join(f"{h.name} ({_vectors(h.vectors)})" for h in far)))
        if self.tiles:
            sizes = "; ".join(" x ".join(f"{a} {size}" for a, size in tile) for tile in self.tiles)
            out.append(("tiles", f"{sizes}: the steps of a chunk for one after the other"))
        chunk = f"time, in chunks of {self.chunk} steps" if self.chunk else "time"
        out.append(("loops", ", ".join([chunk, *self.loops])))
        return out

    def json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "pass": self.number, "title": self.title, "recurrence": self.sequential, "threads": list(self.grid),
            "lanes": self.lane, "vectors": self.vectors, "cells": self.cells, "rows": self.rows,
            "chunks_apart": self.chunks,
            "registers": {h.name: h.vectors for h in self.states if h.registers},
            "in_cache": {h.name: h.vectors for h in self.states if not h.registers},
            "tiles": [dict(tile) for tile in self.tiles], "chunk": self.chunk, "loops": list(self.loops),
            "words": self.words,
        }  # fmt: skip


def _vectors(count: int | None) -> str:
    if count is None:
        return "of any size"
    return f"{count} vector{'s' if count != 1 else ''}"


def account(
    values: Pass, s: Schedule, number: int, title: str, sizes: Mapping[str, int], lanes: int, legal: Legal | None = None
) -> Account:
    """Of a pass of the sequence with its schedule."""

    def vectors_of(axis: str) -> int | None:
        if axis == s.lane and s.blocked:
            return s.vectors
        return -(-sizes[axis] // lanes) if axis in sizes else None

    def held(name: str, c: Value) -> Held:
        counts = [
            vectors_of(n.base_axis(a)) if a == s.lane else sizes.get(n.base_axis(a))
            for a in c.axes
            if a not in (n.BATCH, n.TIME, n.LAG) and (a == s.lane or a not in s.grid)
        ]
        each = None if None in counts else math.prod(x for x in counts if x is not None)
        return Held(name, each)

    totals = {v.total for v in values.totals}
    carries = {name: c for name, c in values.carries.items() if c.axes and c not in totals}
    cells: int | None = 1
    for a in s.grid:
        blocks = s.vectors * lanes if a == s.lane and s.blocked else 1
        cells = None if cells is None or a not in sizes else cells * -(-sizes[a] // blocks)
    tiles = [g.tiles for g in values.groups if g.tiles is not None]
    extents = dict.fromkeys(tuple(t.extents.items()) for t in tiles)
    every = [v for g in values.groups if g.sequential or not values.sequential for v in g.values]
    inner = {n.base_axis(a) for v in every for a in (*v.axes, *v.over)} - {n.BATCH, n.TIME, n.LAG, *s.grid}
    order = [a.name for a in values.graph.axes]
    loops = sorted(inner - {s.lane}, key=lambda a: (order.index(a) if a in order else len(order), a))
    return Account(
        number, title, s.words(), s.grid, s.lane, s.vectors, cells, tuple(held(*x) for x in carries.items()),
        CHUNK if tiles and not values.cut else values.p.loop.block, tuple(loops), values.sequential,
        values.sequential or values.at_once, s.batch, s.chunks, tuple(extents), legal,
    )  # fmt: skip
