"""Products with a matrix that is the same in every row: `rows` x `inner` by `inner` x `column`, several rows at once.

    U @ h         rows: the batch        U[D, D'] laid out with D innermost, h over batch and D'
    W . x         rows: steps            of a pass without a recurrence

A sum of products is one where a factor is a param, or made of params alone, with an axis that the other factors do not
have. Those become a value of their own, an array to read row by row; matrices.py says how a cell computes such a sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssmc.backends.cpp.value import Value

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node

ROWS = 8  # of the batch that a cell takes at once: as many as `products` has sums of in registers


@dataclass(frozen=True, eq=False)
class Factor:
    """A value that a product reads row by row."""

    value: Value
    core: Node  # what it is the value of
    moved: dict[str, str]  # an axis of the product -> the value's axis


@dataclass(frozen=True, eq=False)
class Product:
    """Two factors of a sum: rows, and a matrix in the buffer `source`."""

    row: Factor
    source: str
    places: dict[str, str]  # an axis of the product -> the buffer's axis


class Products:
    """What a pass knows of its products.

    It is a part of Pass, whose attributes it takes for granted.
    """

    def product_of(self: Any, node: n.Reduce, name: str) -> tuple[Product, Node] | None:
        """A sum as a product with a matrix, and what is summed in that order."""
        if self.step or self.home is not None or node.op != "sum" or node.kind != "real" or n.TIME in node.over:
            return None
        found = self._factors(node.arg)
        if any(x.kind != "real" for x in found):
            return None
        for at, matrix in enumerate(found):
            rest = found[:at] + found[at + 1 :]
            others = {a for x in rest for a in x.axes}
            source = self._constant(matrix)
            if source is None or not rest or not set(node.axes) & set(matrix.axes) - others:
                continue
            if not set(node.over) <= set(matrix.axes) & others or not others & {n.BATCH, n.TIME}:
                continue
            row = self.arena.product(rest)
            product = Product(self._factor(row, name), source, self._places(matrix))
            return product, self.arena.mul(row, matrix)
        return None

    def outer_of(self: Any, total: Value, name: str) -> tuple[tuple[Factor, Factor], Node] | None:
        """What is added up over the steps as a product of two rows, each with an axis that the other lacks."""
        found = self._factors(total.value)
        if not self.sequential or total.kind != "real" or any(x.kind != "real" for x in found):
            return None
        mine = set(total.axes) - {n.BATCH}
        for one in found:
            for other in found:
                own = mine & set(one.axes) - set(other.axes)
                left = [x for x in found if own & set(x.axes)]
                right = [x for x in found if x not in left]
                apart = {a for x in right for a in x.axes} & mine - {a for x in left for a in x.axes}
                if own and apart and len(left) + len(right) == len(found):
                    rows = self.arena.product(left), self.arena.product(right)
                    pair = self._factor(rows[0], name), self._factor(rows[1], name)
                    return pair, self.arena.mul(*rows)
        return None

    def _factors(self: Any, node: Node, pairs: Mapping[str, str] | None = None) -> list[Node]:
        """What is multiplied, each renamed as the product is."""
        if isinstance(node, n.Map) and node.op == "mul":
            return [x for arg in node.args for x in self._factors(arg, pairs)]
        if isinstance(node, n.Rename):
            own, later = dict(node.pairs), pairs or {}
            both = {a: later.get(own.get(a, a), own.get(a, a)) for a in node.arg.axes}
            return list(self._factors(node.arg, both))
        return [self.arena.rename(node, pairs or {})]

    def _factor(self: Any, row: Node, name: str) -> Factor:
        inside, moved = bare(row)
        value = self.named.get(inside.name) if isinstance(inside, n.Local) else self.of.get(inside)
        if not isinstance(value, Value):
            value = self._value(f"{name}_row", inside, None)
        return Factor(value, inside, moved)

    def _constant(self: Any, node: Node) -> str | None:
        """The buffer of what is the same in a whole call."""
        node, _ = bare(node)
        if isinstance(node, n.Load) and self.buffers[node.buffer].role == "param":
            return node.buffer
        if isinstance(node, n.Local) and node.name not in self.named and node.name not in self.lines:
            return f"once_{node.name}"
        return None

    def _places(self: Any, node: Node) -> dict[str, str]:
        """The dimension of its buffer that each axis of a matrix is."""
        inside, renamed = bare(node)
        if not isinstance(inside, n.Load):
            return renamed
        own = dict(zip(inside.axes, self.buffers[inside.buffer].axes, strict=True))
        return {a: own[b] for a, b in renamed.items()}


def bare(node: Node) -> tuple[Node, dict[str, str]]:
    """What is renamed, and the axis of it that each axis is."""
    moved = {a: a for a in node.axes}
    while isinstance(node, n.Rename):
        back = {new: old for old, new in node.pairs}
        moved = {a: back.get(b, b) for a, b in moved.items()}
        node = node.arg
    return node, moved
