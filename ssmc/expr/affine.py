"""From an expression to an affine map of some of its leaves, the atoms; or the reason why it is none.

An abstract interpretation over the graph, each node once: the value of a node is a sum of terms, each linear in one
atom, plus a constant. Coefficients stay factored (see linear.py): `v * (k · h)` keeps `v` and `k` apart, so a rank-one
transition is seen as one.

Inside, a term says for every axis of its atom where it has gone: to an axis of the value at hand (`place`), or into the
sum (None; the coefficient's copy of it is `a~`). A renaming only changes the place. Places that differ from the atom's
own axis at the end become a sum with an identity matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.linear import Affine, Blocker, Term
from ssmc.expr.nodes import Axes, Node, children, postorder

_FACTOR_LIMIT = 64
_CASTS = ("cast_real", "cast_complex", "cast_int")
_PARTS = {"real": "real part", "imag": "imaginary part", "conj": "conjugate"}
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


@dataclass(frozen=True)
class _Path:
    """One linear path: sum over the atom's unplaced axes of left * right * atom[axis -> place, or axis~]."""

    atom: Node
    place: tuple[str | None, ...]
    left: Node
    right: Node

    @property
    def key(self) -> tuple[Node, tuple[str | None, ...], Node]:
        return self.atom, self.place, self.right


@dataclass(frozen=True)
class _Form:
    paths: tuple[_Path, ...]
    constant: Node | None


class _NotAffine(Exception):
    def __init__(self, reason: str) -> None:
        self.reason = reason


def affine(arena: Arena, root: Node, atoms: Collection[Node]) -> Affine | Blocker:
    """`root` as an affine map of the `atoms` (leaves), or the first node in evaluation order that is none."""
    chosen = frozenset(atoms)
    forms: dict[Node, _Form | None] = {}  # None: free of the atoms
    reader = _Reader(arena)
    for node in postorder([root]):
        if node in chosen:
            forms[node] = _Form((_Path(node, tuple(node.axes), arena.const(1), arena.const(1)),), None)
            continue
        args = [forms[c] for c in children(node)]
        if all(a is None for a in args):
            forms[node] = None
            continue
        try:
            forms[node] = reader.read(node, args)
        except _NotAffine as e:
            return Blocker(node, e.reason)
    form = forms[root]
    if form is None:
        return Affine((), root)
    return Affine(tuple(reader.term(p) for p in form.paths), form.constant)


def kernel(arena: Arena, term: Term) -> Node:
    """left * right: the term's coefficient over result axes and `~` axes, carried axes elementwise."""
    return arena.mul(term.left, term.right)


def dense_kernel(arena: Arena, term: Term, axes: Iterable[str]) -> Node:
    """The coefficient as a matrix over each of the atom's `axes` and its `~` copy, with an identity where carried."""
    carried = [a for a in axes if a in term.atom.axes and a not in term.mixed]
    return arena.product([kernel(arena, term), *(arena.eye(a, a + "~") for a in carried)])


def reconstruct(arena: Arena, form: Affine, axes: Axes) -> Node:
    """The expression that an affine map stands for, with the given axes."""
    parts = []
    for term in form.terms:
        atom = arena.rename(term.atom, {a: a + "~" for a in term.mixed})
        inner = arena.reduce("sum", arena.mul(term.right, atom), [a + "~" for a in term.mixed])
        parts.append(arena.mul(term.left, inner))
    if form.constant is not None:
        parts.append(form.constant)
    return arena.broadcast(arena.total(parts), axes)


class _Reader:
    """The rule of each kind of node, given the forms of its operands (None: free of the atoms)."""

    def __init__(self, arena: Arena) -> None:
        self.ar = arena
        self.one = arena.const(1)
        self.zero = arena.const(0)

    def read(self, node: Node, args: list[_Form | None]) -> _Form:
        match node:
            case n.Map(op=op):
                return self._map(node, op, args)
            case n.Reduce(op="sum", over=over):
                form = _given(args[0])
                paths = form.paths
                for axis in over:
                    paths = tuple(self._summed(p, axis) for p in paths)
                return self._form(paths, self._total(form.constant, over))
            case n.Reduce(op=op):
                raise _NotAffine(f"{op} over an axis of {_name(node.arg, args[0])}")
            case n.Rename(pairs=pairs):
                return self._renamed(_given(args[0]), dict(pairs))
            case n.Pick(axis=axis, index=index):
                form = _given(args[0])
                constant = form.constant
                if constant is not None and axis in constant.axes:
                    constant = self.ar.pick(constant, axis, index)
                return self._form((self._picked(p, axis, index) for p in form.paths), constant)
            case n.Shift(axis=axis, steps=steps):
                form = _given(args[0])
                constant = form.constant
                if constant is not None:
                    constant = self.ar.shift(self._with(constant, axis), axis, steps)
                return self._form((self._shifted(p, axis, steps) for p in form.paths), constant)
            case n.Cumulative(op="sum", axis=axis, reverse=reverse):
                form = _given(args[0])
                constant = form.constant
                if constant is not None:
                    constant = self.ar.cumulative("sum", self._with(constant, axis), axis, reverse)
                return self._form((self._running(p, axis, reverse) for p in form.paths), constant)
            case n.Cumulative(op=op):
                raise _NotAffine(f"a running {op} of {_name(node.arg, args[0])}")
            case n.Solve(matrix=matrix, row=row, col=col):
                if args[0] is not None:
                    raise _NotAffine("a linear system whose matrix depends on the carried state")
                form = _given(args[1])
                constant = form.constant
                if constant is not None:
                    constant = self.ar.solve(matrix, self._with(constant, row), row, col)
                return self._form((self._solved(p, matrix, row, col) for p in form.paths), constant)
            case n.Expm():
                raise _NotAffine("the matrix exponential of a value that depends on the carried state")
            case n.Window() | n.History():
                raise _NotAffine("a window of time over a value that depends on the carried state")
            case _:
                raise _NotAffine("a value that depends on the carried state in a way that is not linear")

    # -- elementwise ---------------------------------------------------------------------------------------------

    def _map(self, node: n.Map, op: str, args: list[_Form | None]) -> _Form:
        ar = self.ar
        match op:
            case "neg":
                return self._scaled(_given(args[0]), ar.neg)
            case "add":
                return self._sum(self._lift(args[0], node.args[0]), self._lift(args[1], node.args[1]))
            case "sub":
                second = self._scaled(self._lift(args[1], node.args[1]), ar.neg)
                return self._sum(self._lift(args[0], node.args[0]), second)
            case "mul":
                if args[0] is not None and args[1] is not None:
                    raise _NotAffine("a product of two values that depend on the carried state")
                form, factor = (args[0], node.args[1]) if args[0] is not None else (args[1], node.args[0])
                return self._scaled(_given(form), lambda x: ar.mul(factor, x))
            case "div":
                if args[1] is not None:
                    raise _NotAffine("a division by a value that depends on the carried state")
                return self._scaled(_given(args[0]), lambda x: ar.div(x, node.args[1]))
            case "where":
                if args[0] is not None:
                    raise _NotAffine("a choice that depends on the carried state")
                return self._choice(node.args[0], self._lift(args[1], node.args[1]), self._lift(args[2], node.args[2]))
            case _ if op in _CASTS:
                form = _given(args[0])
                constant = None if form.constant is None else ar.cast(form.constant, node.kind)
                return _Form(form.paths, constant)
            case _ if op in _PARTS:
                raise _NotAffine(f"the {_PARTS[op]} of a complex state is not complex-linear")
            case _ if op in _COMPARISONS:
                raise _NotAffine("a comparison that depends on the carried state")
            case "pow":
                raise _NotAffine("a power of the carried state" if args[1] is None else "a power that depends on it")
            case _:
                at = next(i for i, a in enumerate(args) if a is not None)
                raise _NotAffine(f"{op} of {_name(node.args[at], args[at])}")

    def _lift(self, form: _Form | None, node: Node) -> _Form:
        if form is not None:
            return form
        # a zero is no constant: else it would be multiplied along, into what a later analysis takes for an addend
        zero = isinstance(node, n.Const) and node.kind != "bool" and node.value == 0
        return _Form((), None if zero else node)

    def _scaled(self, form: _Form, by: Callable[[Node], Node]) -> _Form:
        constant = None if form.constant is None else by(form.constant)
        return self._form((replace(p, left=by(p.left)) for p in form.paths), constant)

    def _sum(self, x: _Form, y: _Form) -> _Form:
        if x.constant is None or y.constant is None:
            constant = y.constant if x.constant is None else x.constant
        else:
            constant = self.ar.add(x.constant, y.constant)
        return self._form((*x.paths, *y.paths), constant)

    def _choice(self, c: Node, x: _Form, y: _Form) -> _Form:
        first = {p.key: p for p in x.paths}
        second = {p.key: p for p in y.paths}
        paths = []
        for key in dict.fromkeys((*first, *second)):
            a = first[key].left if key in first else self.zero
            b = second[key].left if key in second else self.zero
            # equal on both sides: a broadcast, which the axes of the result say already
            left = a if a is b else self.ar.where(c, a, b)
            paths.append(replace(first.get(key) or second[key], left=left))
        constant: Node | None = None
        if x.constant is not None or y.constant is not None:
            a, b = x.constant or self.zero, y.constant or self.zero
            constant = a if a is b else self.ar.where(c, a, b)
        return self._form(paths, constant)

    def _form(self, paths: Iterable[_Path], constant: Node | None) -> _Form:
        """Paths with one right factor share a left, the sum; so do low-rank paths with one left share a right."""
        merged: dict[object, _Path] = {}
        for p in paths:
            known = merged.get(p.key)
            merged[p.key] = p if known is None else replace(known, left=self.ar.add(known.left, p.left))
        joined: dict[object, _Path] = {}
        for p in merged.values():
            key: object = ("left", p.atom, p.place, p.left) if self._low_rank(p) else p.key
            known = joined.get(key)
            joined[key] = p if known is None else replace(known, right=self.ar.add(known.right, p.right))
        if len({p.key for p in joined.values()}) < len(joined):  # the sums made now have a right factor in common
            return self._form(joined.values(), constant)
        return _Form(tuple(joined.values()), constant)

    def _low_rank(self, p: _Path) -> bool:
        mixed = [a for a, to in zip(p.atom.axes, p.place, strict=True) if to is None]
        return bool(mixed) and not any(a in p.right.axes for a in mixed)

    # -- along an axis -------------------------------------------------------------------------------------------

    def _split(self, node: Node, axis: str) -> tuple[list[Node], list[Node]]:
        """The factors of a product that have the axis, and those that lack it."""
        having: list[Node] = []
        lacking: list[Node] = []
        stack = [node]
        budget = _FACTOR_LIMIT
        while stack:
            f = stack.pop()
            budget -= 1
            if axis not in f.axes:
                lacking.append(f)
            elif budget > 0 and isinstance(f, n.Map) and f.op == "mul":
                stack.extend(reversed(f.args))
            elif budget > 0 and isinstance(f, n.Map) and f.op == "neg":
                stack.extend((f.args[0], self.ar.const(-1)))
            elif budget > 0 and self._divisible(f, axis):
                numerator, denominator = children(f)
                stack.extend((self.ar.div(self.one, denominator), numerator))
            else:
                having.append(f)
        return having, lacking

    def _divisible(self, f: Node, axis: str) -> bool:
        """Whether f is a quotient of which only one side has the axis."""
        match f:
            case n.Map(op="div", args=(x, y)):
                return x is not self.one and not (axis in x.axes and axis in y.axes)
            case _:
                return False

    def _unplace(self, p: _Path, axis: str) -> tuple[_Path, str]:
        """The path with the atom's axis that lies at `axis` taken into the sum; also that axis's `~` copy."""
        at = p.place.index(axis)
        copy = p.atom.axes[at] + "~"
        having, lacking = self._split(p.left, axis)
        moved = [self.ar.rename(f, {axis: copy}) for f in having]
        right = self.ar.product([self.ar.rename(p.right, {axis: copy}), *moved])
        place = tuple(None if i == at else to for i, to in enumerate(p.place))
        return _Path(p.atom, place, self.ar.product(lacking), right), copy

    def _gathered(self, p: _Path, axis: str) -> tuple[Node | None, _Path]:
        """What of the coefficient has `axis` (None: nothing), and the path without it."""
        left, left_rest = self._split(p.left, axis)
        right, right_rest = self._split(p.right, axis)
        if not left and not right:
            return None, p
        rest = replace(p, left=self.ar.product(left_rest), right=self.ar.product(right_rest))
        return self.ar.product((*left, *right)), rest

    def _times(self, p: _Path, factor: Node) -> _Path:
        """The path times a factor, which goes right if it has a `~` axis."""
        if any(a.endswith("~") for a in factor.axes):
            return replace(p, right=self.ar.mul(p.right, factor))
        return replace(p, left=self.ar.mul(p.left, factor))

    def _summed(self, p: _Path, axis: str) -> _Path:
        if axis in p.place:
            return self._unplace(p, axis)[0]
        having, rest = self._gathered(p, axis)
        if having is None:
            return self._times(p, self.ar.size(axis))
        return self._times(rest, self.ar.reduce("sum", having, (axis,)))

    def _picked(self, p: _Path, axis: str, index: int) -> _Path:
        ar = self.ar
        wanted = ar.const(index) if index >= 0 else ar.add(ar.size(axis), ar.const(index))
        picked = replace(p, left=self._pick(p.left, axis, index), right=self._pick(p.right, axis, index))
        if axis not in p.place:
            return picked
        at = p.place.index(axis)
        chosen = self._indicator("eq", ar.index(p.atom.axes[at] + "~"), wanted)
        place = tuple(None if i == at else to for i, to in enumerate(p.place))
        return replace(picked, place=place, right=ar.mul(picked.right, chosen))

    def _pick(self, node: Node, axis: str, index: int) -> Node:
        return self.ar.pick(node, axis, index) if axis in node.axes else node

    def _shifted(self, p: _Path, axis: str, steps: int) -> _Path:
        ar = self.ar
        if axis in p.place:
            moved, copy = self._unplace(p, axis)
            target = ar.sub(ar.index(axis), ar.const(steps))
            return replace(moved, right=ar.mul(moved.right, self._indicator("eq", ar.index(copy), target)))
        having, rest = self._gathered(p, axis)
        return self._times(rest, ar.shift(having or self._with(ar.const(1.0), axis), axis, steps))

    def _running(self, p: _Path, axis: str, reverse: bool) -> _Path:
        ar = self.ar
        if axis in p.place:
            moved, copy = self._unplace(p, axis)
            reached = self._indicator("ge" if reverse else "le", ar.index(copy), ar.index(axis))
            return replace(moved, right=ar.mul(moved.right, reached))
        having, rest = self._gathered(p, axis)
        return self._times(rest, ar.cumulative("sum", having or self._with(ar.const(1.0), axis), axis, reverse))

    def _solved(self, p: _Path, matrix: Node, row: str, col: str) -> _Path:
        ar = self.ar
        if row in p.place:
            moved, copy = self._unplace(p, row)
            return replace(moved, right=ar.mul(moved.right, ar.solve(matrix, ar.eye(row, copy), row, col)))
        having, rest = self._gathered(p, row)
        return self._times(rest, ar.solve(matrix, having or self._with(ar.const(1.0), row), row, col))

    def _renamed(self, form: _Form, pairs: dict[str, str]) -> _Form:
        ar = self.ar
        paths = [
            _Path(
                p.atom,
                tuple(pairs.get(to, to) if to is not None else None for to in p.place),
                ar.rename(p.left, pairs),
                ar.rename(p.right, pairs),
            )
            for p in form.paths
        ]
        return self._form(paths, None if form.constant is None else ar.rename(form.constant, pairs))

    # -- helpers -------------------------------------------------------------------------------------------------

    def _indicator(self, op: str, x: Node, y: Node) -> Node:
        return self.ar.where(self.ar.map(op, x, y), self.ar.const(1.0), self.ar.const(0.0))

    def _with(self, node: Node, axis: str) -> Node:
        return self.ar.broadcast(node, (*node.axes, axis)) if axis not in node.axes else node

    def _total(self, constant: Node | None, over: Axes) -> Node | None:
        if constant is None:
            return None
        present = [a for a in over if a in constant.axes]
        total = self.ar.reduce("sum", constant, present)
        for a in over:
            if a not in present:
                total = self.ar.mul(self.ar.size(a), total)
        return total

    def term(self, p: _Path) -> Term:
        """The public form: places other than the atom's own axis become sums with an identity matrix."""
        right = p.right
        mixed = []
        for axis, to in zip(p.atom.axes, p.place, strict=True):
            if to == axis:
                continue
            mixed.append(axis)
            if to is not None:
                right = self.ar.mul(right, self._indicator("eq", self.ar.index(to), self.ar.index(axis + "~")))
        return Term(p.atom, self.ar.sorted_axes(mixed), p.left, right)


def _given(form: _Form | None) -> _Form:
    assert form is not None
    return form


def _name(node: Node, form: _Form | None) -> str:
    alone = form is not None and len(form.paths) == 1 and form.paths[0].atom is node
    return "the carried state" if alone else "a value that depends on the carried state"
