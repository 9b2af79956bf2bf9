"""The logarithm of a factor that is provably positive, found by structure and never by taking a log of an exp."""

from __future__ import annotations

import math

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Node
from ssmc.expr.ranges import Ranges

# What stands for log 0. exp of it is 0 in every precision; it is finite so that differences of sums have no inf - inf.
# A float32 sum that holds it keeps only two digits behind the point: forms that sum logs take resets apart.
LOG_ZERO = -1e5
LEAST = 1.2e-38  # the smallest that single precision holds with all its digits


def log_of(arena: Arena, node: Node, ranges: Ranges) -> Node | None:
    """An expression of log(node), or None where none is safe.

    exp(g) -> g        sigmoid(x) -> logsigmoid(x)       1 - sigmoid(x) -> logsigmoid(-x)
    x*y, x/y, x**p, sqrt(x), prod -> sums       x + y -> logaddexp      where(c, x, 0) -> where(c, log x, LOG_ZERO)
    A value whose interval is above zero has `log` itself. One known only as non-negative, or not at all, has none.
    """
    done: dict[Node, Node | None] = {}

    def get(x: Node) -> Node | None:
        if x not in done:
            done[x] = rule(x)
        return done[x]

    def both(op: str, x: Node, y: Node) -> Node | None:
        a, b = get(x), get(y)
        return None if a is None or b is None else arena.map(op, a, b)

    def rule(x: Node) -> Node | None:
        if x.kind == "complex":
            return None
        match x:
            case n.Const(value=v):
                number = float(v)  # type: ignore[arg-type]
                if number < 0 or math.isnan(number):
                    return None
                return arena.const(math.log(number) if number > 0 else LOG_ZERO)
            case n.Map(op="exp", args=(g,)):
                return g
            case n.Map(op="sigmoid", args=(g,)):
                return arena.map("logsigmoid", g)
            case n.Map(op="sub", args=(n.Const(value=one), n.Map(op="sigmoid", args=(g,)))) if one == 1:
                return arena.map("logsigmoid", arena.neg(g))
            case n.Map(op="mul", args=(a, b)):
                found = both("add", a, b)
            case n.Map(op="div", args=(a, b)):
                found = both("sub", a, b) if not _may_vanish(b) else None
            case n.Map(op="add", args=(a, b)):
                found = both("logaddexp", a, b)
            case n.Map(op="max" | "min" as op, args=(a, b)):
                found = both(op, a, b)
            case n.Map(op="where", args=(c, a, b)):
                u, w = get(a), get(b)
                found = None if u is None or w is None else arena.where(c, u, w)
            case n.Map(op="pow", args=(a, p)):
                u = get(a)
                found = None if u is None or _may_vanish(a) else arena.mul(p, u)
            case n.Map(op="sqrt" | "rsqrt" as op, args=(a,)):
                u = get(a)
                found = None if u is None else arena.mul(arena.const(0.5 if op == "sqrt" else -0.5), u)
                if op == "rsqrt" and _may_vanish(a):
                    found = None
            case n.Map(op="cast_real", args=(a,)):
                found = get(a)
            case n.Reduce(op="prod", arg=a, over=over):
                u = get(a)
                found = None if u is None else arena.reduce("sum", arena.broadcast(u, a.axes), over)
            case n.Rename(arg=a, pairs=pairs):
                u = get(a)
                found = None if u is None else arena.rename(u, dict(pairs))
            case n.Pick(arg=a, axis=axis, index=index):
                u = get(a)
                found = None if u is None else arena.pick(arena.broadcast(u, a.axes), axis, index)
            case _:
                found = None
        if found is None and ranges(x).positive:
            # what is above zero may round to it, where the derivative of log is infinite: not below its bound then
            least = arena.const(max(ranges(x).low, LEAST))
            found = arena.map("log", arena.map("max", x, least))
        return found

    return get(node)


def _may_vanish(node: Node) -> bool:
    """Whether LOG_ZERO may stand in the logarithm of the node: it is no number to negate."""
    return any(isinstance(x, n.Const) and x.value == 0 and x.kind != "bool" for x in n.postorder([node]))
