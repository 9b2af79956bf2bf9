"""An upper bound of the absolute value of an expression, complex values included.

Built on the intervals of real values: |exp(z)| is exp(Re z), so what matters of a complex exponent is the interval of
its real part. `inf` where nothing is known.
"""

from __future__ import annotations

import math

from ssmc.expr import bounds as iv
from ssmc.expr import nodes as n
from ssmc.expr.bounds import ANY, INF, Interval
from ssmc.expr.nodes import Node
from ssmc.expr.ranges import Ranges


def magnitude(node: Node, ranges: Ranges) -> float:
    """The bound of |node|."""
    if node.kind != "complex":
        r = ranges(node)
        return max(abs(r.low), abs(r.high))
    match node:
        case n.Const(value=value):
            return abs(value)
        case n.Map(op="cast_complex" | "neg" | "conj", args=(x,)) | n.Rename(arg=x) | n.Pick(arg=x):
            return magnitude(x, ranges)
        case n.Map(op="exp", args=(z,)):
            top = real_part(z, ranges).high
            return math.exp(top) if top < 700 else INF
        case n.Map(op="mul", args=(x, y)):
            return _product(magnitude(x, ranges), magnitude(y, ranges))
        case n.Map(op="add" | "sub", args=(x, y)):
            return magnitude(x, ranges) + magnitude(y, ranges)
        case n.Map(op="where", args=(_, x, y)):
            return max(magnitude(x, ranges), magnitude(y, ranges))
        case n.Map(op="div", args=(x, y)):
            return _cayley(x, y, ranges)
        case _:
            return INF


def real_part(node: Node, ranges: Ranges) -> Interval:
    """The interval of the real part."""
    if node.kind != "complex":
        return ranges(node)
    match node:
        case n.Const(value=value):
            part = complex(value).real
            return Interval(part, part)
        case n.Map(op="cast_complex" | "conj", args=(x,)) | n.Rename(arg=x) | n.Pick(arg=x):
            return real_part(x, ranges)
        case n.Map(op="neg", args=(x,)):
            return iv.neg(real_part(x, ranges))
        case n.Map(op="add", args=(x, y)):
            return iv.add(real_part(x, ranges), real_part(y, ranges))
        case n.Map(op="sub", args=(x, y)):
            return iv.sub(real_part(x, ranges), real_part(y, ranges))
        case n.Map(op="mul", args=(x, y)):
            for factor, other in ((x, y), (y, x)):
                real = _as_real(factor)
                if real is not None:
                    return iv.mul(ranges(real), real_part(other, ranges))
            return ANY
        case n.Map(op="div", args=(x, y)):
            real = _as_real(y)
            return ANY if real is None else iv.div(real_part(x, ranges), ranges(real))
        case n.Map(op="where", args=(_, x, y)):
            return iv.join(real_part(x, ranges), real_part(y, ranges))
        case _:
            return ANY


def _as_real(node: Node) -> Node | None:
    """The real value that a factor is, or None if it is complex."""
    if node.kind != "complex":
        return node
    if isinstance(node, n.Map) and node.op == "cast_complex":
        return node.args[0]
    return None


def _product(x: float, y: float) -> float:
    return 0.0 if x == 0 or y == 0 else x * y


def _cayley(x: Node, y: Node, ranges: Ranges) -> float:
    """|(1 + z) / (1 - z)| <= 1 where Re z <= 0: the bilinear transform of a stable system."""
    match x, y:
        case (
            n.Map(op="add", args=(n.Const(value=one), z)),
            n.Map(op="sub", args=(n.Const(value=other), w)),
        ) if one == other and one != 0 and z is w and real_part(z, ranges).nonpositive:
            return 1.0
        case _:
            return INF
