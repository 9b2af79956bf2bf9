"""Sweeps in strips of LANES steps, where each step sums a vector of lanes to one number.

for a strip of LANES steps
    for each step: h = a * h + b; rows[step] = c * h       the state's nests; the vectors of a step's sum
    y_sum = hsums(rows)                                    the sums of all steps at once, for a quarter of the work
    for each step: y = y_sum[step] + …                     what reads the sums, and no state
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssmc.backends.cpp.nests import Nest
from ssmc.backends.cpp.texts import enclosed, indented
from ssmc.backends.cpp.value import Group, Value

from ssmc.expr import nodes as n

if TYPE_CHECKING:
    from ssmc.backends.cpp.cell import Cell


@dataclass(frozen=True, eq=False)
class Strip:
    """The nests of each step, those that wait for the strip's sums, and the sums."""

    early: tuple[Nest, ...]
    late: tuple[Nest, ...]
    sums: tuple[Value, ...]


def strip_of(cell: Cell, group: Group, nests: list[Nest]) -> Strip | None:
    """A sweep in strips, where it sums lanes at every step and no state waits for the sums."""
    if cell.step or not cell.values.sequential:
        return None
    sums = tuple(v for nest in nests for v in nest.values if _alone(cell, v, nest))
    early: list[Nest] = []
    late: list[Nest] = []
    made = {v for nest in nests for v in nest.values}
    waits = set(sums)
    for nest in nests:
        reads = {r for v in nest.values for r in (*v.reads, *v.behind)}
        if not reads & waits:
            early.append(nest)
            continue
        waits |= set(nest.values)
        late.append(nest)
        if any(v.place is not None or v.old or v.total is not None or v.crosses or v.op for v in nest.values):
            return None
        if any(r.carry or (r in made and r not in waits) for r in reads):
            return None
    return Strip(tuple(early), tuple(late), sums) if late else None


def _alone(cell: Cell, v: Value, nest: Nest) -> bool:
    """Whether a value is one number a step, the sum of the lanes of a vector."""
    if v.op != "sum" or v.kind != "real" or v.total is not None or v.crosses or v.place is not None:
        return False
    over = [a for a in v.over if not cell.narrowed(a)]
    return over == [nest.lane] and n.TIME not in v.over and not cell.axes_of(v) and not cell.missing(v)


def swept(cell: Cell, strip: Strip, reverse: bool) -> list[str]:
    """The loops over the strips and their steps."""
    early = [line for nest in strip.early for line in cell._nest_lines(nest)]
    late = [line for nest in strip.late for line in cell._nest_lines(nest)]
    names = [cell.printer.identifier(v.name) for v in strip.sums]
    if reverse:
        head = "for (i64 end = stop; end > start; end -= LANES) {"
        bounds = "const i64 strip = end - LANES > start ? end - LANES : start;"
        steps = "for (i64 t = end - 1; t >= strip; t--) {"
    else:
        head = "for (i64 strip = start; strip < stop; strip += LANES) {"
        bounds = "const i64 end = strip + LANES < stop ? strip + LANES : stop;"
        steps = "for (i64 t = strip; t < end; t++) {"
    body = [bounds, *(f"vreal {name}_rows[LANES] = {{}};" for name in names), *enclosed(steps, early)]
    body += [f"store({name}, hsums({name}_rows));" for name in names]
    return [head, *indented([*body, *enclosed(steps, late)]), "}"]
