"""A name for a value that the spec does not name, from what it computes: `exp_A_log`, `q_dot_k`, `dt_x`."""

from __future__ import annotations

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Node

LONGEST = 20  # characters; beyond, the operation alone names the value
FALLBACK = "value"

# operator: what stands between the names of its two operands
_BETWEEN = {"mul": "_", "div": "_per_", "add": "_plus_", "sub": "_minus_", "max": "_max_", "min": "_min_"}
# operator: what a value is called whose operands have no short name
_ALONE = {
    "gt": "later",
    "ge": "seen",
    "eq": "same",
    "mul": "product",
    "div": "ratio",
    "add": "total",
    "sub": "difference",
    "pow": "power",
    "neg": "negated",
}
_POSITIONS = {n.TIME: "now", n.SOURCE: "source"}  # the steps of a chunk


def describe(node: Node, arena: Arena) -> str:
    """What to call `node`, which has no name of its own; a Python identifier once `Names` has seen it."""
    return _of(node, arena, root=True) or _alone(node)


def telling(node: Node) -> bool:
    """Whether a name for `node` explains a chunk's products: the decay over a stretch of steps, or the scores."""
    match node:
        case n.Map(op="exp", args=(x,)):
            return _running_sum(x) is not None
        case n.Reduce(op="sum", arg=n.Map(op="mul")):
            return _between_steps(node)
        case n.Scores():
            return True
        case _:
            return False


def _of(node: Node, arena: Arena, root: bool = False) -> str | None:
    """A short name, or None."""
    if not root and node in arena.labels:
        return arena.labels[node]
    name = _compound(node, arena)
    return name if name is not None and len(name) <= LONGEST else None


def _compound(node: Node, arena: Arena) -> str | None:
    def of(x: Node) -> str | None:
        return _of(x, arena)

    match node:
        case n.Local(name=name) | n.Load(buffer=name) | n.Input(name=name) | n.Param(name=name):
            return name
        case n.Index(axes=(axis,)):
            return _POSITIONS.get(axis, f"index_{axis}")
        case n.Map(op="where", args=(_, x, _)) | n.Rename(arg=x):
            return of(x)  # a mask, a view: the value is still x
        case n.Map(op=op, args=(x,)):
            return of(x) if op.startswith("cast_") else _joined(op, "_", of(x)) if op != "neg" else of(x)
        case n.Map(op="mul" | "div" | "add" | "sub" | "max" | "min" as op, args=(x, y)):
            if op == "sub" and isinstance(x, n.Const) and x.value == 1:
                return _joined("one_minus", "_", of(y))
            if isinstance(x, n.Const | n.Size):
                return of(y)
            return of(x) if isinstance(y, n.Const | n.Size) else _joined(of(x), _BETWEEN[op], of(y))
        case n.Reduce(op="sum", arg=n.Map(op="mul", args=(x, y))):
            return _joined(of(x), "_dot_", of(y))
        case n.Reduce(op=op, arg=x):
            return _joined(op, "_", of(x))
        case n.Cumulative(arg=x, reverse=reverse):
            return _joined(of(x), "_", "to_end" if reverse else "so_far")
        case n.Pick(arg=x, index=index):
            return _joined(of(x), "_", "last" if index == -1 else "picked")
        case n.Shift(arg=x) | n.Lag(arg=x):
            return _joined(of(x), "_", "before")
        case n.Frames(arg=x):
            return _joined(of(x), "_", "window")
        case n.FftConv(arg=x):
            return _joined(of(x), "_", "conv")
        case _:
            return None


def _joined(a: str | None, between: str, b: str | None) -> str | None:
    return f"{a}{between}{b}" if a is not None and b is not None else None


def _alone(node: Node) -> str:
    match node:
        case n.Map(op="where", args=(_, x, _)) | n.Rename(arg=x):
            return _alone(x)
        case n.Map(op="exp", args=(x,)) if (total := _running_sum(x)) is not None:
            return _product(node, total.reverse)
        case n.Cumulative(op="prod", reverse=reverse):
            return _product(node, reverse)
        case n.Scores():
            return "scores"
        case n.Reduce(op="sum", arg=n.Map(op="mul")) if _between_steps(node):
            return "scores"
        case n.Map(op=op):
            return _ALONE.get(op, op)
        case n.Reduce(op="sum", arg=n.Map(op="mul")):
            return "contracted"
        case n.Cumulative(op=op):
            return f"running_{op}"
        case n.Reduce(op=op):
            return "total" if op == "sum" else op
        case n.Geometric():
            return "powers"
        case n.Solve():
            return "solved"
        case n.Expm():
            return "expm"
        case _:
            return FALLBACK


def _between_steps(node: Node) -> bool:
    return {n.TIME, n.SOURCE} <= set(node.axes)


def _product(node: Node, reverse: bool) -> str:
    return "product_between" if _between_steps(node) else f"product_{'to_end' if reverse else 'so_far'}"


def _running_sum(node: Node) -> n.Cumulative | None:
    """The running sum that `node` is, masked or moved."""
    while True:
        match node:
            case n.Cumulative(op="sum"):
                return node
            case n.Map(op="where", args=(_, x, _)) | n.Shift(arg=x):
                node = x
            case _:
                return None
