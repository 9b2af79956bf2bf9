"""Specs written by hand in the shape the generator gives them: ports and sizes are read off the compiled spec."""

from __future__ import annotations

from collections.abc import Mapping

import ssmc
from ssmc.expr import nodes as n
from tests.differential.generate import Generated, Port

SIZES = (3, 2, 4, 5)  # of the axes without a size, in their order


def written(text: str, laws: Mapping[str, str] | None = None) -> Generated:
    """`laws` says how a port is drawn where its kind is not enough."""
    graph = ssmc.compile(text).graph
    growing = {
        x.axis
        for x in n.postorder(graph.roots)
        if isinstance(x, n.History) and graph.register[x.register].depth.unbounded
    }
    free = [a.name for a in graph.axes if a.size is None and a.name not in growing]
    sizes = dict(zip(free, SIZES, strict=False))
    sizes |= {a.name: a.size.value for a in graph.axes if isinstance(a.size, n.Const)}  # type: ignore[misc]
    ports = tuple(
        Port(role, p.name, tuple(map(n.base_axis, p.axes)), (laws or {}).get(p.name, _LAWS[p.kind]))
        for role, found in (("input", graph.inputs), ("param", graph.params))
        for p in found
    )
    anticausal = any(r.reverse for r in graph.registers)
    return Generated(text, sizes, ports, anticausal, (), (), ())


_LAWS = {"real": "normal", "complex": "complex", "int": "int", "bool": "bool"}
