"""The transpose of every node: from the cotangent of a value to those of its operands.

A cotangent of a complex value is torch's: d L / d real + i d L / d imag, so that an operator with a complex derivative
multiplies by its conjugate. A cotangent may lack axes of its value (it is the same along them) and never has more; it
has the value's kind. Where a value does not depend on an operand, or only by steps, there is none.

A derivative beside a mask stays behind the mask: where(c, g, 0) times a partial is where(c, g * partial, 0), so that
what is infinite or NaN in the branch not taken does not come through as 0 * inf.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Node
from ssmc.expr.ops import OPS

# the declared axis, twice as long, on which a matrix and a direction stand together: made by who derives a graph
Doubled = Callable[[str], str]


@dataclass(frozen=True)
class Rules:
    """`doubled` gives the name of an axis of twice the size of one, which it declares if need be."""

    arena: Arena
    doubled: Doubled

    def operands(self, node: Node, cot: Node) -> list[tuple[Node, Node]]:
        """Each operand that gets a cotangent, with it. `cot` has at most the axes of `node`."""
        found = [(x, c) for x, c in self._of(node, cot) if x.kind in ("real", "complex")]
        return [(x, self.fitted(c, x)) for x, c in found]

    def fitted(self, cot: Node, value: Node) -> Node:
        """A cotangent as one of `value`: summed over the axes that it lacks, real where it is."""
        ar = self.arena
        cot = ar.reduce("sum", cot, [a for a in cot.axes if a not in value.axes])
        if cot.kind == "complex" and value.kind == "real":
            return ar.map("real", cot)
        return ar.cast(cot, value.kind)

    def times(self, cot: Node, partial: Node) -> Node:
        """cot * conj(partial), behind the mask of `cot` where that is masked."""
        ar = self.arena
        match cot, partial:
            case n.Map(op="where", args=(c, x, n.Const(value=v))), _ if v == 0:
                return ar.where(c, self.times(x, partial), ar.const(0.0))
            case n.Map(op="where", args=(c, n.Const(value=v), x)), _ if v == 0:
                return ar.where(c, ar.const(0.0), self.times(x, partial))
            case _, n.Const(value=1):
                return cot
            case _, n.Const(value=-1):
                return ar.neg(cot)
            case n.Const(value=1), _:
                return ar.map("conj", partial)
            case _:
                return ar.mul(cot, ar.map("conj", partial))

    # -- a node at a time --------------------------------------------------------------------------------------

    def _of(self, node: Node, cot: Node) -> list[tuple[Node, Node]]:
        ar = self.arena
        match node:
            case n.Map(op=op, args=args):
                entry = OPS[op]
                if entry.adjoint is not None:
                    parts = entry.adjoint(ar, args, node, cot)
                else:
                    partials = entry.derivative(ar, args, node)
                    parts = tuple(None if p is None else self.times(cot, p) for p in partials)
                return [(x, c) for x, c in zip(args, parts, strict=True) if c is not None]
            case n.Reduce():
                return self._reduce(node, cot)
            case n.Cumulative(op="sum", arg=arg, axis=axis, reverse=reverse):
                return [(arg, ar.cumulative("sum", self._along(cot, axis, arg), axis, not reverse))]
            case n.Cumulative(op="prod", arg=arg, axis=axis, reverse=reverse):
                return [(arg, self._running_product(arg, axis, reverse, cot))]
            case n.Rename(arg=arg, pairs=pairs):
                return [(arg, ar.rename(cot, {new: old for old, new in pairs}))]
            case n.Pick(arg=arg, axis=axis, index=index):
                at = ar.const(index) if index >= 0 else ar.add(ar.size(axis), ar.const(index))
                return [(arg, ar.where(ar.map("eq", ar.index(axis), at), cot, ar.const(0.0)))]
            case n.Shift(arg=arg, axis=axis, steps=steps):
                return [(arg, ar.shift(self._along(cot, axis, arg), axis, -steps))]
            case n.Solve(matrix=matrix, rhs=rhs, row=row, col=col):
                adjoint = ar.rename(ar.map("conj", matrix), {row: col, col: row})
                by_rhs = ar.solve(adjoint, self._along(cot, row, node), row, col)
                solution = ar.rename(ar.map("conj", node), {row: col})
                return [(rhs, by_rhs), (matrix, ar.neg(ar.mul(by_rhs, solution)))]
            case n.Expm():
                return [(node.matrix, self._expm(node, cot))]
            case n.Window(current=current, axis=axis) if current is not None:
                return [(current, ar.pick(cot, axis, 0) if axis in cot.axes else cot)]
            case n.History(current=current, axis=axis):
                return [(current, ar.pick(cot, axis, -1) if axis in cot.axes else cot)]
            case _ if not n.children(node):
                return []
            case _:
                raise CompilerBug(f"{type(node).__name__} has no transpose")

    def _along(self, cot: Node, axis: str, value: Node) -> Node:
        """`cot` with the axis written out, which an operation works along."""
        if axis in cot.axes:
            return cot
        axes = tuple(a for a in value.axes if a in cot.axes or a == axis)
        return self.arena.broadcast(cot, axes)

    def _reduce(self, node: n.Reduce, cot: Node) -> list[tuple[Node, Node]]:
        ar, arg, over = self.arena, node.arg, node.over
        match node.op:
            case "sum":
                return [(arg, cot)]
            case "prod":
                return [(arg, self.times(cot, self._others(arg, over)))]
            case "max" | "min":
                # among equal ones it is shared, as torch does
                hit = ar.map("eq", arg, node)
                share = ar.div(ar.const(1.0), ar.reduce("sum", ar.cast(hit, "real"), over))
                return [(arg, ar.where(hit, ar.mul(cot, share), ar.const(0.0)))]
            case "logsumexp":
                nothing = ar.map("eq", node, ar.const(float("-inf")))
                weight = ar.exp(ar.where(nothing, ar.const(float("-inf")), ar.sub(arg, node)))
                return [(arg, self.times(cot, weight))]
            case _:
                return []

    def _others(self, arg: Node, over: Axes) -> Node:
        """At every element the product of all the others along `over`: no division, so zeros may be among them."""
        ar = self.arena
        result: Node | None = None
        rest = arg
        for axis in over:
            before = ar.shift(ar.cumulative("prod", rest, axis), axis, 1)
            after = ar.shift(ar.cumulative("prod", rest, axis, True), axis, -1)
            first = ar.map("eq", ar.index(axis), ar.const(0))
            last = ar.map("eq", ar.index(axis), ar.sub(ar.size(axis), ar.const(1)))
            one = ar.const(1.0)
            others = ar.mul(ar.where(first, one, before), ar.where(last, one, after))
            result = others if result is None else ar.mul(result, others)
            rest = ar.reduce("prod", rest, (axis,))
        assert result is not None
        return result

    def _running_product(self, arg: Node, axis: str, reverse: bool, cot: Node) -> Node:
        """The sum over j of the cotangent at j times the product of the others up to j."""
        ar = self.arena
        column = f"{axis}'"
        while column in arg.axes:
            column += "'"
        here, there = ar.index(axis), ar.index(column)
        others = ar.rename(arg, {axis: column})
        same = ar.map("eq", here, there)
        products = ar.cumulative("prod", ar.where(same, ar.const(1.0), others), column, reverse)
        reached = ar.map("le" if reverse else "ge", there, here)
        partial = ar.where(reached, products, ar.const(0.0))
        moved = ar.rename(self._along(cot, axis, arg), {axis: column})
        return ar.contract(moved, ar.map("conj", partial), (column,))

    def _expm(self, node: n.Expm, cot: Node) -> Node:
        """The upper right block of the same function of [[A*, G], [0, A*]], with G the cotangent.

        Higham (2008), Functions of Matrices, theorem 3.6: f of that block matrix has the derivative of f at A*, in
        the direction G, in its corner.
        """
        ar, row, col = self.arena, node.row, node.col
        two = self.doubled(row)
        wide, high = f"{two}'", two
        matrix = ar.rename(ar.map("conj", node.matrix), {row: col, col: row})
        cot = self._along(self._along(cot, row, node), col, node)

        def placed(x: Node, down: bool, right: bool) -> Node:
            return ar.contract(
                ar.contract(x, self._selected(high, row, down), (row,)), self._selected(wide, col, right), (col,)
            )

        whole = ar.total([placed(matrix, False, False), placed(cot, False, True), placed(matrix, True, True)])
        result = ar.expm(whole, high, wide, node.order)
        corner = ar.contract(result, self._selected(high, row, False), (high,))
        return ar.contract(corner, self._selected(wide, col, True), (wide,))

    def _selected(self, long: str, short: str, second: bool) -> Node:
        """[long, short]: 1 where an element of the long axis is that of its first (second) half."""
        ar = self.arena
        at: Node = ar.index(short)
        if second:
            at = ar.add(at, ar.size(n.base_axis(short)))
        return ar.where(ar.map("eq", ar.index(long), at), ar.const(1.0), ar.const(0.0))
