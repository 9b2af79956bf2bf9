"""Tables: the first line names the columns, each further line is one time step.

A column `u` is the input `u`; columns `x_0, x_1, …` are the input `x` along its one axis, `W_0_0, W_0_1, …` along two,
all counted from 0. A file whose first line is all numbers has no names: it can only be given as `--input NAME=FILE`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from ssmc.cli.problems import BadCell, ColumnGap, DamagedData, RaggedTable, TwoColumns
from ssmc.diagnostics import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Table:
    """`rows` are the cells as text, without the header; `lines` says for each row where in the file it ends."""

    path: str
    names: tuple[str, ...] | None
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """What each column is asked for by: its name, else its number."""
        return self.names if self.names is not None else tuple(str(n) for n in range(len(self.rows[0])))

    def index(self, key: str) -> int:
        """The one column of that name. Raises SpecError where two have it."""
        if self.keys.count(key) > 1:
            raise SpecError([TwoColumns(None, self.path, key)])
        return self.keys.index(key)

    def column(self, index: int) -> NDArray[np.float64]:
        """One column as numbers, `(L,)`. Raises SpecError with the first cell that is none."""
        import numpy as np

        values = []
        for line, row in zip(self.lines, self.rows, strict=True):
            value = _number(row[index])
            if value is None:
                text = f"`{row[index].strip()}`" if row[index].strip() else "an empty cell"
                raise SpecError([BadCell(None, self.path, line, self.keys[index], text)])
            values.append(value)
        return np.array(values, dtype=np.float64)

    def everything(self) -> NDArray[np.float64]:
        """All columns, `(L, columns)`."""
        import numpy as np

        return np.stack([self.column(n) for n in range(len(self.keys))], axis=-1)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def read_table(path: str, data: bytes) -> Table:
    """The table in a file's bytes: UTF-8, separated by commas, semicolons or tabs. Raises SpecError."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(
            [DamagedData(None, path, "csv", f"byte {error.start} is not UTF-8", "save it as UTF-8")]
        ) from error
    control = re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text)
    if control is not None:
        raise SpecError([DamagedData(None, path, "csv", f"it has the control character {ord(control[0]):#04x}")])
    head = text.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    try:
        # Blank lines separate nothing here; their numbers still count in messages.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = [(reader.line_num, tuple(row)) for row in reader if row]
    except csv.Error as error:
        raise SpecError([DamagedData(None, path, "csv", str(error))]) from error
    if not lines:
        raise SpecError([DamagedData(None, path, "csv", "it is empty")])
    width = len(lines[0][1])
    for number, row in lines:
        if len(row) != width:
            raise SpecError([RaggedTable(None, path, number, len(row), width)])
    numbers, rows = zip(*lines, strict=True)
    if all(_number(cell) is not None for cell in rows[0]):
        return Table(path, None, rows, numbers)
    return Table(path, tuple(cell.strip() for cell in rows[0]), rows[1:], numbers[1:])


def arrays_of(table: Table, ranks: Mapping[str, int]) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """The arrays that the columns make, by declared name, and the columns that belong to none.

    `ranks` gives for each name of the spec how many axes it has. Arrays are `(L,)`, or `(L, axes…)`.
    """
    import numpy as np

    names = table.names or ()
    indices: dict[str, dict[tuple[int, ...], int]] = {}
    unused = []
    for column, title in enumerate(names):
        found = _place(title, ranks)
        if found is None:
            unused.append(title)
        elif indices.setdefault(found[0], {}).setdefault(found[1], column) != column:
            raise SpecError([TwoColumns(None, table.path, title)])
    arrays: dict[str, NDArray[Any]] = {}
    for name, places in indices.items():
        shape = tuple(max(place[n] for place in places) + 1 for n in range(ranks[name]))
        gap = next((place for place in product(*map(range, shape)) if place not in places), None)
        if gap is not None:  # before any memory is taken: a column may be called `x_999999`
            raise SpecError([ColumnGap(None, table.path, name, "_".join((name, *map(str, gap))))])
        array = np.empty((len(table.rows), *shape), dtype=np.float64)
        for place in places:
            everywhere: tuple[Any, ...] = (slice(None), *place)
            array[everywhere] = table.column(places[place])
        arrays[name] = array
    return arrays, tuple(unused)


def _place(title: str, ranks: Mapping[str, int]) -> tuple[str, tuple[int, ...]] | None:
    """The array a column belongs to and its place in it. A declared name goes before a numbered one."""
    if ranks.get(title) == 0:
        return title, ()
    match = re.fullmatch(r"(.+?)((?:_\d{1,6})+)", title)
    while match is not None:
        name, places = match[1], tuple(int(part) for part in match[2].split("_")[1:])
        if ranks.get(name) == len(places):
            return name, places
        # `a_1_0` may be the column 0 of an array `a_1`: move one number from the places to the name.
        match = re.fullmatch(rf"({re.escape(name)}_\d+)((?:_\d{{1,6}})+)", title)
    return None
