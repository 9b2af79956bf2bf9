"""What is known of the values of an expression: intervals, from the leaves up.

Elementwise operators have their rule in the operator table; this file has the other nodes'. An axis is taken to hold at
least one element: over an empty one a reduction is the identity of its operator, which no interval here covers.
"""

from __future__ import annotations

from collections.abc import Callable

from ssmc.expr import bounds as iv
from ssmc.expr import nodes as n
from ssmc.expr.bounds import ANY, INF, NONNEGATIVE, UNIT, Interval
from ssmc.expr.nodes import Node, postorder
from ssmc.expr.ops import OPS

Known = Callable[[Node], "Interval | None"]


def _nothing(node: Node) -> Interval | None:
    return None


class Ranges:
    """`ranges(node)` is an interval that covers every real element of the value; memoised, iterative.

    `known` may give the interval of a leaf (a Read of a bounded register, say); None: the general rule. A complex
    value has no order: its interval is `ANY`, and the table's rules for `abs` and the like start from there.
    """

    def __init__(self, known: Known = _nothing) -> None:
        self._known = known
        self._found: dict[Node, Interval] = {}

    def __call__(self, node: Node) -> Interval:
        if node not in self._found:
            for x in postorder([node]):
                if x not in self._found:
                    self._found[x] = self._range(x)
        return self._found[node]

    def _range(self, node: Node) -> Interval:
        known = self._known(node)
        if known is not None:
            return known
        if node.kind == "bool":
            return UNIT
        if node.kind == "complex":
            return ANY
        match node:
            case n.Const(value=value):
                assert not isinstance(value, complex)
                return ANY if value != value else Interval(float(value), float(value))
            case n.Time() | n.Size():
                return Interval(1.0, INF)
            case n.Index():
                return NONNEGATIVE
            case n.Map(op="mul", args=(x, y)) if x is y and x.kind != "complex":
                return iv.power(self._found[x], Interval(2.0, 2.0))
            case n.Map(op=op, args=args):
                return OPS[op].range(*(self._found[a] for a in args))
            case n.Reduce(op=op, arg=arg):
                return _repeated(op, self._found[arg])
            case n.Cumulative(op=op, arg=arg):
                return _repeated(op, self._found[arg])
            case n.Rename(arg=arg) | n.Pick(arg=arg):
                return self._found[arg]
            case n.Shift(arg=arg):
                return iv.join(self._found[arg], Interval(0.0, 0.0))
            case _:
                return ANY


def _repeated(op: str, a: Interval) -> Interval:
    """One or more values of `a` joined by a reduction's operator."""
    match op:
        case "sum":
            return Interval(a.low if a.low >= 0 else -INF, a.high if a.high <= 0 else INF)
        case "prod":
            if a.low >= 0:
                return Interval(0.0 if a.low < 1 else a.low, a.high if a.high <= 1 else INF)
            return Interval(-1.0, 1.0) if a.low >= -1 and a.high <= 1 else ANY
        case "max" | "min":
            return a
        case "logsumexp":
            return Interval(a.low, INF)
        case _:
            return ANY
