"""`h' = f(h) using METHOD(step = d)`: the new value of h as an expression, in closed form for the structure of f.

With f = A h + b, everything but h held over the step:

    gbt(alpha)   (I - alpha d A)^-1 [(I + (1 - alpha) d A) h + d b]      euler 0, bilinear 1/2, backward_euler 1
    zoh          e^{dA} h + d phi_1(dA) b,   phi_1(x) = (e^x - 1)/x, 1 at 0: right for singular A

    A                      gbt                                         zoh
    elementwise            a division                                  exp and phi_1, elementwise
    diagonal + low rank    Woodbury: a division (rank 1), a 2 x 2      as dense
                           system (two of rank 1), or Solve over
                           the axis that the rank is summed over
    dense                  Solve                                       Expm of order 0 and 1

Where A mixes several axes, other than in low rank, they are laid out along one new axis first.

Matrices are made explicit, (I - alpha d A)^-1 and its like, and applied by products: as long as A and d are of params
only, they are computed once for the whole sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.affine import affine, dense_kernel
from ssmc.expr.arena import Arena
from ssmc.expr.linear import Affine, Blocker, Term
from ssmc.expr.nodes import Axes, Node

METHODS = ("gbt", "euler", "bilinear", "backward_euler", "zoh")
_ALPHA: dict[str, float] = {"bilinear": 0.5, "backward_euler": 1.0}


class CannotDiscretise(Exception):
    """The user's equation does not allow the method: `node` is at fault, `reason` says why, in words."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.node, self.reason = node, reason


class NotAffine(CannotDiscretise):
    """f is not affine in h; `node` is the smallest expression that is not."""


class StepMixes(CannotDiscretise):
    """The step (or alpha) has the axis `axis`, which A mixes."""

    def __init__(self, node: Node, axis: str) -> None:
        super().__init__(node, f"the step has the axis `{axis}`, which the equation mixes")
        self.axis = axis


def discretise(
    arena: Arena,
    f: Node,
    h: Node,
    method: str,
    step: Node,
    alpha: Node | None = None,
    flat_axis: Callable[[Axes], str] | None = None,
) -> Node:
    """The new value of `h` (a leaf: the state before the step) for h' = f using `method`, one of METHODS.

    `alpha` is gbt's. `flat_axis` declares an axis as long as the product of the given ones: for an A that mixes
    several. Raises NotAffine or StepMixes; `euler` takes any f and raises nothing.
    """
    if method not in METHODS or (method == "gbt") != (alpha is not None):
        raise CompilerBug(f"discretisation `{method}` with alpha {alpha!r}")
    if method == "euler":
        return arena.add(h, arena.mul(step, f))
    form = affine(arena, f, {h})
    if isinstance(form, Blocker):
        raise NotAffine(form.node, form.reason)
    system = _System(arena, h, step, form, flat_axis)
    if method == "zoh":
        return system.zoh()
    return system.gbt(alpha if alpha is not None else arena.const(_ALPHA[method]))


@dataclass(frozen=True)
class _Factor:
    """A low-rank part U V^T: sum over `rank` (None: nothing to sum) and over the mixed axes of U * V * h.

    `right` has the mixed axes under their own names.
    """

    left: Node
    right: Node
    rank: str | None


class _System:
    def __init__(
        self, arena: Arena, h: Node, step: Node, form: Affine, flat_axis: Callable[[Axes], str] | None
    ) -> None:
        self.ar, self.h, self.step, self.flat_axis = arena, h, step, flat_axis
        self.b = form.constant
        self.diagonal: Node | None = None
        self.mixing: list[Term] = []
        for term in form.terms:
            if term.mixed:
                self.mixing.append(term)
            else:
                self.diagonal = term.left
        self.terms = form.terms
        self.mixed = arena.sorted_axes(a for t in self.mixing for a in t.mixed)
        self._check(step)

    def _check(self, value: Node) -> None:
        for axis in self.mixed:
            if axis in value.axes:
                raise StepMixes(value, axis)

    # -- zero-order hold -------------------------------------------------------------------------------------------

    def zoh(self) -> Node:
        ar, step = self.ar, self.step
        if not self.mixing:
            if self.diagonal is None:
                return self._plus(self.h, self._scaled_b())
            x = ar.mul(step, self.diagonal)
            held = None if self.b is None else ar.mul(ar.mul(step, ar.map("phi", x, ar.const(1))), self.b)
            return self._plus(ar.mul(ar.exp(x), self.h), held)
        axis = self._axis()
        x = ar.mul(step, self._matrix(axis))
        new = self._apply(ar.expm(x, axis, axis + "'"), self.h, axis)
        if self.b is None:
            return new
        held = ar.mul(step, ar.expm(x, axis, axis + "'", 1))
        return ar.add(new, self._apply(held, self.b, axis))

    # -- generalised bilinear --------------------------------------------------------------------------------------

    def gbt(self, alpha: Node) -> Node:
        self._check(alpha)
        ar, step = self.ar, self.step
        rest = ar.sub(ar.const(1), alpha)
        if not self.mixing:
            if self.diagonal is None:
                return self._plus(self.h, self._scaled_b())
            x = ar.mul(step, self.diagonal)
            up = self._plus(ar.mul(ar.add(ar.const(1), ar.mul(rest, x)), self.h), self._scaled_b())
            return ar.div(up, ar.sub(ar.const(1), ar.mul(alpha, x)))
        factors = self._factors()
        if factors is not None:
            return self._woodbury(factors, alpha)
        axis = self._axis()
        column = axis + "'"
        x = ar.mul(step, self._matrix(axis))
        one = ar.eye(axis, column)
        left = ar.sub(one, ar.mul(alpha, x))
        # the right side's column must not be the axis that the system is solved over
        other = column + "'"
        right = ar.rename(ar.add(one, ar.mul(rest, x)), {column: other})
        moved = ar.rename(ar.solve(left, right, axis, column), {other: column})
        new = self._apply(moved, self.h, axis)
        if self.b is None:
            return new
        inverse = ar.rename(ar.solve(left, ar.eye(axis, other), axis, column), {other: column})
        return ar.add(new, self._apply(ar.mul(step, inverse), self.b, axis))

    def _woodbury(self, factors: Sequence[_Factor], alpha: Node) -> Node:
        """With e = 1 - alpha d D for the diagonal D, G = d U / e and S = I - alpha V^T G:

        h' = ((1 + (1 - alpha) d D) h + d b) / e + G S^-1 V^T ((h + alpha d b) / e)
        """
        ar, step = self.ar, self.step
        one = ar.const(1)
        x = ar.mul(step, self.diagonal) if self.diagonal is not None else ar.const(0)
        e = ar.sub(one, ar.mul(alpha, x))
        carried = ar.add(one, ar.mul(ar.sub(one, alpha), x))
        new = ar.div(self._plus(ar.mul(carried, self.h), self._scaled_b()), e)
        b = self._scaled_b()
        seen = ar.div(self._plus(self.h, ar.mul(alpha, b) if b is not None else None), e)
        gains = [ar.div(ar.mul(step, f.left), e) for f in factors]
        reads = [self._read(f.right, seen) for f in factors]
        if len(factors) == 2:
            s = [[ar.mul(alpha, self._read(f.right, g)) for g in gains] for f in factors]
            a, d = ar.sub(one, s[0][0]), ar.sub(one, s[1][1])
            det = ar.sub(ar.mul(a, d), ar.mul(s[0][1], s[1][0]))
            first = ar.add(ar.mul(d, reads[0]), ar.mul(s[0][1], reads[1]))
            second = ar.add(ar.mul(a, reads[1]), ar.mul(s[1][0], reads[0]))
            written = ar.add(ar.mul(gains[0], first), ar.mul(gains[1], second))
            return ar.add(new, ar.div(written, det))
        (factor,), (gain,), (read,) = factors, gains, reads
        if factor.rank is None:
            s1 = ar.sub(one, ar.mul(alpha, self._read(factor.right, gain)))
            return ar.add(new, ar.mul(gain, ar.div(read, s1)))
        rank, column = factor.rank, factor.rank + "'"
        coupling = ar.mul(alpha, self._read(factor.right, ar.rename(gain, {rank: column})))
        weights = ar.solve(ar.sub(ar.eye(rank, column), coupling), self._with(read, rank), rank, column)
        return ar.add(new, ar.contract(self._with(gain, rank), weights, (rank,)))

    def _read(self, right: Node, x: Node) -> Node:
        return self.ar.contract(right, self._with(x, *self.mixed), self.mixed)

    # -- structure -------------------------------------------------------------------------------------------------

    def _factors(self) -> list[_Factor] | None:
        """The mixing part as at most two factors of rank one, or one with a rank axis; None: it is neither."""
        if any(t.mixed != self.mixed for t in self.mixing):
            return None
        found = [self._factor(t) for t in self.mixing]
        whole = [f for f in found if f is not None]
        if len(whole) < len(found) or len(whole) > 2 or (len(whole) == 2 and any(f.rank for f in whole)):
            return None
        return whole

    def _factor(self, term: Term) -> _Factor | None:
        ar = self.ar
        back = {a + "~": a for a in self.mixed}
        if not any(a in term.right.axes for a in self.mixed):
            return _Factor(term.left, ar.rename(self._with(term.right, *back), back), None)
        left: list[Node] = [term.left]
        right: list[Node] = []
        rank: str | None = None
        for factor in _product(term.right):
            inner = [factor]
            if self._is_matrix(factor) and isinstance(factor, n.Reduce) and factor.op == "sum" and rank is None:
                if len(factor.over) > 1:
                    return None
                (rank,) = factor.over
                inner = _product(factor.arg)
            for part in inner:
                if self._is_matrix(part):
                    return None
                (right if any(a in part.axes for a in back) else left).append(part)
        if rank is None or rank in self.h.axes:
            return None
        return _Factor(ar.product(left), ar.rename(self._with(ar.product(right), *back), back), rank)

    def _is_matrix(self, x: Node) -> bool:
        """Whether x has both a mixed axis and the copy of one."""
        return any(a in x.axes for a in self.mixed) and any(a + "~" in x.axes for a in self.mixed)

    # -- dense -----------------------------------------------------------------------------------------------------

    def _axis(self) -> str:
        """The axis of the matrix: the one that A mixes, or a new one for all of them."""
        if len(self.mixed) == 1:
            return self.mixed[0]
        if self.flat_axis is None:
            raise CompilerBug(f"nothing declares an axis for {self.mixed}")
        return self.flat_axis(self.mixed)

    def _place(self, axis: str) -> Node:
        """1 where an index of `axis` stands for the indices of the mixed axes, the last one fastest."""
        ar = self.ar
        at: Node = ar.index(self.mixed[0])
        for a in self.mixed[1:]:
            at = ar.add(ar.mul(at, ar.size(a)), ar.index(a))
        return ar.where(ar.map("eq", ar.index(axis), at), ar.const(1.0), ar.const(0.0))

    def _laid_out(self, x: Node, axis: str) -> Node:
        """x with `axis` in place of the mixed axes."""
        x = self._with(x, *self.mixed)
        return x if len(self.mixed) == 1 else self.ar.contract(self._place(axis), x, self.mixed)

    def _matrix(self, axis: str) -> Node:
        """A over (axis, axis'), other axes elementwise."""
        ar = self.ar
        copies = {a: a + "~" for a in self.mixed}
        total = self._with(ar.total(dense_kernel(ar, t, self.mixed) for t in self.terms), *self.mixed, *copies.values())
        if len(self.mixed) == 1:
            return ar.rename(total, {axis + "~": axis + "'"})
        columns = ar.rename(self._place(axis), {axis: axis + "'", **copies})
        return ar.contract(self._laid_out(total, axis), columns, copies.values())

    def _apply(self, matrix: Node, x: Node, axis: str) -> Node:
        """matrix @ x; what of x lacks the mixed axes stays outside, so that the rest is of params where it can be."""
        ar = self.ar
        match x:
            case n.Map(op="add" | "sub" as op, args=(y, z)):
                return ar.map(op, self._apply(matrix, y, axis), self._apply(matrix, z, axis))
            case n.Map(op="neg", args=(y,)):
                return ar.neg(self._apply(matrix, y, axis))
            case n.Map(op="div", args=(y, z)) if not set(self.mixed) & set(z.axes):
                return ar.div(self._apply(matrix, y, axis), z)
            case _:
                parts = _product(x)
                inside = [p for p in parts if set(self.mixed) & set(p.axes)]
                outside = [p for p in parts if not set(self.mixed) & set(p.axes)]
                column = ar.rename(self._laid_out(ar.product(inside), axis), {axis: axis + "'"})
                moved = ar.contract(matrix, column, (axis + "'",))
                if len(self.mixed) > 1:
                    moved = ar.contract(self._place(axis), moved, (axis,))
                return ar.product([moved, *outside])

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _scaled_b(self) -> Node | None:
        return None if self.b is None else self.ar.mul(self.step, self.b)

    def _plus(self, x: Node, y: Node | None) -> Node:
        return x if y is None else self.ar.add(x, y)

    def _with(self, x: Node, *axes: str) -> Node:
        missing = [a for a in axes if a not in x.axes]
        return self.ar.broadcast(x, (*x.axes, *missing)) if missing else x


def _product(x: Node) -> list[Node]:
    """The factors of a product, in order; a bound keeps a product of shared products from growing."""
    found: list[Node] = []
    stack = [x]
    while stack:
        y = stack.pop()
        if isinstance(y, n.Map) and y.op == "mul" and len(found) + len(stack) < 64:
            stack.extend(reversed(y.args))
        else:
            found.append(y)
    return found
