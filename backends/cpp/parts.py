"""Real and imaginary parts: which of them nobody needs."""

from __future__ import annotations

from collections.abc import Mapping

from ssmc.backends.cpp.value import Value

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Node

PARTLY_REAL = ("add", "sub", "mul", "div", "neg")  # operators of complex numbers that take reals as they are


def without_imaginary_part(node: Node, of: Mapping[Node, Value], named: Mapping[str, Value | Node]) -> bool:
    """Whether what counts as complex is made of reals alone. `of` and `named` say which values stand for what."""
    if node.kind != "complex":
        return node.kind == "real"
    if node in of:
        return of[node].kind == "real"
    match node:
        case n.Map(op="cast_complex"):
            return True
        case n.Map(op=op, args=args) if op in PARTLY_REAL:
            return all(x.kind in ("int", "bool") or without_imaginary_part(x, of, named) for x in args)
        case n.Reduce(op="sum", arg=arg):
            return without_imaginary_part(arg, of, named)
        case n.Local(name=name) if name in named:
            known = named[name]
            return known.kind == "real" if isinstance(known, Value) else without_imaginary_part(known, of, named)
        case _:
            return False


def part_of_sum(node: Node, arena: Arena) -> Node | None:
    """The real or imaginary part of a sum as the sum of those parts: the other one is nobody's."""
    match node:
        case n.Map(op="real" | "imag" as part, args=(n.Reduce(op="sum", kind="complex", arg=arg, over=over),)):
            return None if n.TIME in over else arena.reduce("sum", arena.map(part, arg), over)
        case _:
            return None
