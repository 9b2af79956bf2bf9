"""Values made of constants and sizes: Python numbers in the generated code, with the values that tensors would have.

Python raises where a tensor has an infinity or no number (`log(0)`, `1/0`, `exp(1000)`), and its functions take no
complex ones. What may be such a case, or is no function of Python's at all, is computed here if it is made of
constants, and by the helper `_number` if it depends on sizes.
"""

from __future__ import annotations

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node, children, postorder
from ssmc.expr.ranges import Ranges

_ALWAYS = {
    "neg", "add", "sub", "mul", "not", "and", "or", "lt", "le", "gt", "ge", "eq", "ne", "min", "max", "where", "abs",
    "real", "imag", "conj", "cast_real", "cast_complex",
}  # fmt: skip
_FINITE = {"sin", "cos", "tan", "tanh", "erf", "floor", "round", "cast_int"}
_LARGEST = 700.0  # exp of more overflows
_HUGE = 1e30  # the eighth power of more does


def folded(node: Node) -> bool | int | float | complex | None:
    """The value of a node made of constants alone; None where it has sizes."""
    if any(isinstance(x, n.Size) for x in postorder([node])):
        return None
    from ssmc.expr.arrays import TorchArrays
    from ssmc.expr.evaluate import Named, evaluate

    def leaf(node: Node) -> Named:
        raise AssertionError(f"{node!r} is no constant")

    (value,) = evaluate([node], leaf, TorchArrays(), {})
    number: bool | int | float | complex = value.data.item()
    return number


def plain(node: n.Map) -> bool:
    """Whether Python's own operator or function gives the value, for all sizes of at least 1."""
    op, args = node.op, node.args
    if op in _ALWAYS:
        return True
    ranges = Ranges()
    if any(a.kind == "complex" for a in args):
        return op == "div" and isinstance(args[1], n.Const) and args[1].value != 0
    low, high = ranges(args[-1]).low, ranges(args[-1]).high
    match op:
        case "div" | "mod":
            return low > 0 or high < 0
        case "pow":
            by = args[1].value if isinstance(args[1], n.Const) else None
            if isinstance(by, complex) or by is None or abs(by) > 8 or not _finite(args[0]):
                return False
            return ranges(args[0]).low > 0 or (isinstance(by, int) and by >= 0)
        case "sqrt":
            return low >= 0
        case "log" | "rsqrt":
            return low > 0
        case "log1p":
            return low > -1
        case "exp" | "expm1":
            return high <= _LARGEST
        case _:
            return op in _FINITE and all(_finite(a) for a in args)


def _finite(node: Node) -> bool:
    """Whether nothing below is infinite or no number: sizes are not, and what is made of them as Python makes it."""
    for x in postorder([node]):
        if isinstance(x, n.Const) and isinstance(x.value, float) and not abs(x.value) < _HUGE:
            return False
        if isinstance(x, n.Map) and children(x) and not (x.op in _ALWAYS or x.op in ("div", "sqrt", "log", "mod")):
            return False
    return True
