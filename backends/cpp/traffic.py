"""What one step reads and writes of the caller's tensors, and which axis of a nest is best taken as its lanes.

Over a sequence whatever does not change is laid out for the lanes once; a single step meets every tensor as it lies in
memory, and only once. So each nest takes the lanes along which most of its tensors are contiguous:

    h[D, N] = exp(-delta[D] * A[D, N]) * h[D, N]    lanes over N, one row after the other
    delta[D] = softplus(dt[D])                      lanes over D
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ssmc.backends.cpp.values import Pass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes

UNKNOWN = 64  # elements along an axis whose size is not known
# Of one vector, in units of one operation: what is computed with it, and what it costs where its elements are apart.
COMPUTED = 10
APART = 2  # for each element


@dataclass(frozen=True)
class Traffic:
    """The axes of each tensor that a pass reads or writes, in memory order."""

    tensors: tuple[Axes, ...]
    sizes: Mapping[str, int]
    lanes: int

    def best(self, loops: Iterable[str], possible: Iterable[str]) -> str:
        """The axis of these loops whose lanes cost least."""
        every = tuple(loops)
        return min(possible, key=lambda a: (self._cost(every, a), -every.index(a)))

    def _cost(self, loops: Axes, lane: str) -> float:
        """Of nests over `loops` with these lanes, for each of its elements."""
        size = self.sizes.get(n.base_axis(lane), UNKNOWN)
        vectors = math.ceil(size / self.lanes)
        rest = size % self.lanes
        cost = float(vectors * COMPUTED)
        for axes in self.tensors:
            if lane not in axes or not set(axes) <= set(loops):
                continue
            near = self._innermost(axes) == lane
            cost += APART * (size if not near else rest) + (vectors if near else 0)
        return cost / max(size, 1)

    def _innermost(self, axes: Axes) -> str:
        wide = [a for a in axes if self.sizes.get(n.base_axis(a), UNKNOWN) > 1]
        return wide[-1] if wide else axes[-1]


def traffic(values: Pass, sizes: Mapping[str, int], lanes: int) -> Traffic:
    """The tensors of a pass."""
    names: dict[str, None] = {}
    every = [v for g in values.groups for v in g.values] + values.final
    for v in every:
        roots = [v.special if v.special is not None else v.value]
        names |= dict.fromkeys(x.buffer for x in n.postorder(roots) if isinstance(x, n.Load))
        names |= {v.store: None} if v.store else {}
    found = (tuple(a for a in values.buffers[name].axes if a not in (n.BATCH, n.TIME)) for name in names)
    return Traffic(tuple(axes for axes in found if axes), dict(sizes), lanes)
