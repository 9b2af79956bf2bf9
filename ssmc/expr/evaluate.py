"""Named-axis evaluation: what an expression is worth, given its leaves.

A value is `Named(axes, data)`: a dimension an axis, each at its full size. A leaf's value may carry `batch` and `time`
axes that the node does not have; they go by name through everything. The same evaluator therefore serves one step, a
whole sequence at once, and kernel IR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arrays import Array, Arrays
from ssmc.expr.nodes import Axes, Kind, Node, base_axis, children, postorder
from ssmc.expr.ops import OPS, REDUCTIONS, join_kinds

EXTRA = (n.BATCH, n.TIME)


@dataclass(frozen=True)
class Named:
    """An array whose dimensions have names: `data.shape[i]` is the size of `axes[i]`."""

    axes: Axes
    data: Array


Leaf = Callable[[Node], Named]


def evaluate(roots: Sequence[Node], leaf: Leaf, xp: Arrays, sizes: Mapping[str, int]) -> list[Named]:
    """The roots' values, each with the axes `batch`, `time` where a leaf brought them in, then exactly the node's.

    `leaf` is asked for every leaf but Const, Size and Index, whose axes may come in any order and of which any may be
    missing (broadcast). For a Window or History it gives the earlier steps only, along the node's own axis: `current`
    is put in front of a Window's, behind a History's. `sizes` has the size of every axis, by its own name or by the
    declared axis it is a copy of.
    """
    return Evaluator(roots, xp)(leaf, sizes)


class Evaluator:
    """Evaluates the same roots many times. Nodes in `cut` are asked of `leaf` instead of being computed."""

    def __init__(self, roots: Sequence[Node], xp: Arrays, cut: Mapping[Node, object] | frozenset[Node] = frozenset()):
        self.xp = xp
        self.roots = list(roots)
        self.order = _postorder_above(self.roots, cut)
        self._cut = cut
        self._moves: dict[tuple[Axes, Axes], tuple[tuple[int, ...], tuple[int | None, ...]]] = {}
        self._consts: dict[Node, Named] = {}

    def __call__(self, leaf: Leaf, sizes: Mapping[str, int]) -> list[Named]:
        values: dict[Node, Named] = {}
        with self.xp.quiet():
            for node in self.order:
                if node in self._cut:
                    values[node] = self.complete(leaf(node), node, sizes)
                else:
                    values[node] = self._value(node, [values[c] for c in children(node)], leaf, sizes)
        return [values[r] for r in self.roots]

    # -- axes --------------------------------------------------------------------------------------------------

    def align(self, x: Named, axes: Axes) -> Array:
        """x's data with the dimensions `axes`; of size 1 where x lacks the axis."""
        if x.axes == axes:
            return x.data
        key = (x.axes, axes)
        move = self._moves.get(key)
        if move is None:
            perm = tuple(x.axes.index(a) for a in axes if a in x.axes)
            if len(perm) != len(x.axes):
                raise CompilerBug(f"a value with axes {x.axes} where {axes} are expected")
            places = tuple(x.axes.index(a) if a in x.axes else None for a in axes)
            move = self._moves[key] = (perm, places)
        perm, places = move
        data = x.data if perm == tuple(range(len(perm))) else self.xp.transpose(x.data, perm)
        shape = x.data.shape
        return self.xp.reshape(data, [1 if p is None else shape[p] for p in places])

    def complete(self, x: Named, node: Node, sizes: Mapping[str, int]) -> Named:
        """x with exactly the node's axes and the extra ones, in order and full size."""
        axes = (*(a for a in EXTRA if a in x.axes and a not in node.axes), *node.axes)
        data = self.align(x, axes)
        known = dict(zip(x.axes, x.data.shape, strict=True))
        shape = tuple(known[a] if a in known else size_of(a, sizes) for a in axes)
        return Named(axes, data if tuple(data.shape) == shape else self.xp.expand(data, shape))

    def _joined(self, parts: Sequence[Named], axes: Axes) -> Axes:
        """`axes` behind the extra axes that the parts bring in."""
        return (*(a for a in EXTRA if a not in axes and any(a in p.axes for p in parts)), *axes)

    # -- one node ----------------------------------------------------------------------------------------------

    def _value(self, node: Node, args: list[Named], leaf: Leaf, sizes: Mapping[str, int]) -> Named:
        xp = self.xp
        match node:
            case n.Map(op=op, args=nodes):
                axes = self._joined(args, node.axes)
                kinds = _operand_kinds(op, node.kind, [a.kind for a in nodes])
                data = [
                    xp.cast(self.align(a, axes), k) if k else self.align(a, axes)
                    for a, k in zip(args, kinds, strict=True)
                ]
                return Named(axes, xp.cast(OPS[op].evaluate(xp, *data), node.kind))
            case n.Const(value=value, kind=kind):
                if node not in self._consts:
                    self._consts[node] = Named((), xp.asarray(value, kind))
                return self._consts[node]
            case n.Size(axis=axis):
                return Named((), xp.asarray(size_of(axis, sizes), "int"))
            case n.Index(axes=(axis,)):
                return Named((axis,), xp.arange(size_of(axis, sizes)))
            case n.Reduce(op=op, over=over):
                (arg,) = args
                dims = tuple(arg.axes.index(a) for a in over)
                rest = tuple(a for a in arg.axes if a not in over)
                operand = xp.cast(arg.data, REDUCTIONS[op].rule(node.arg.kind) or node.kind)
                return self.complete(Named(rest, xp.cast(xp.reduce(op, operand, dims), node.kind)), node, sizes)
            case n.Cumulative(op=op, axis=axis, reverse=reverse):
                (arg,) = args
                data = xp.cumulative(op, xp.cast(arg.data, node.kind), arg.axes.index(axis), reverse)
                return Named(arg.axes, data)
            case n.Rename(pairs=pairs):
                new = dict(pairs)
                return Named(tuple(new.get(a, a) for a in args[0].axes), args[0].data)
            case n.Pick(axis=axis, index=index):
                (arg,) = args
                at = arg.axes.index(axis)
                where = (*(slice(None) for _ in range(at)), index)
                return Named(tuple(a for a in arg.axes if a != axis), arg.data[where])
            case n.Shift(axis=axis, steps=steps):
                return Named(args[0].axes, self._shifted(args[0], axis, steps))
            case n.Solve(row=row, col=col):
                return self._solved(node, args[0], args[1], row, col, sizes)
            case n.Expm(row=row, col=col, order=order):
                (arg,) = args
                axes = (*(a for a in arg.axes if a not in (row, col)), row, col)
                data = xp.expm(xp.cast(self.align(arg, axes), node.kind), order)
                return self.complete(Named(axes, data), node, sizes)
            case n.Window(axis=axis, current=current):
                earlier = leaf(node)
                parts = [earlier] if current is None else [self._single(args[0], axis), earlier]
                return self.complete(self._chained(parts, axis, node, sizes), node, sizes)
            case n.History(axis=axis):
                parts = [leaf(node), self._single(args[0], axis)]
                return self.complete(self._chained(parts, axis, node, sizes), node, sizes)
            case n.Prefix():
                return self._prefix(node, args, sizes)
            case n.Lag() | n.Frames() | n.Tail() | n.Append():
                return self._from_halo(node, args[0], args[1], sizes)
            case n.Flip(axis=axis):
                return Named(args[0].axes, xp.flip(args[0].data, args[0].axes.index(axis)))
            case n.Start(axis=axis):
                return _steps(args[0], axis, 0, size_of(axis, sizes))
            case n.Scores(over=over, late=late):
                return self._scores(node, args, over, late, sizes)
            case n.Gather(late=late):
                return self._gathered(node, args, late, sizes)
            case n.Geometric(over=over, first=first):
                return self._geometric(node, args[0], args[1], over, first, sizes)
            case n.Moment():
                return self._moment(node, args, sizes)
            case n.FftConv(over=over):
                return self._convolved(node, args[0], args[1], over, sizes)
            case _:
                given = leaf(node)
                return self.complete(Named(given.axes, xp.asarray(given.data, node.kind)), node, sizes)

    def _shifted(self, x: Named, axis: str, steps: int) -> Array:
        dim, size = x.axes.index(axis), x.data.shape[x.axes.index(axis)]
        count = min(abs(steps), size)
        shape = list(x.data.shape)
        shape[dim] = count
        zeros = self.xp.zeros(shape, self.xp.kind_of(x.data))
        if steps >= 0:
            return self.xp.concatenate([zeros, _along(x.data, dim, 0, size - count)], dim)
        return self.xp.concatenate([_along(x.data, dim, count, size), zeros], dim)

    def _single(self, x: Named, axis: str) -> Named:
        return Named((*x.axes, axis), self.xp.reshape(x.data, [*x.data.shape, 1]))

    def _chained(self, parts: list[Named], axis: str, node: Node, sizes: Mapping[str, int]) -> Named:
        """The parts one after another along `axis`, the last dimension, broadcast over the node's other axes."""
        every = {a for p in parts for a in p.axes} - {axis}
        extra = (a for a in EXTRA if a in every and a not in node.axes)
        axes = (*extra, *(a for a in node.axes if a in every), axis)
        known = {a: s for p in parts for a, s in zip(p.axes, p.data.shape, strict=True)}
        shape = [known[a] if a in known else size_of(a, sizes) for a in axes[:-1]]
        full = [
            self.xp.cast(self.xp.expand(self.align(p, axes), [*shape, p.data.shape[p.axes.index(axis)]]), node.kind)
            for p in parts
        ]
        return Named(axes, self.xp.concatenate(full, len(axes) - 1))

    def _solved(self, node: Node, matrix: Named, rhs: Named, row: str, col: str, sizes: Mapping[str, int]) -> Named:
        xp = self.xp
        shared = tuple(a for a in matrix.axes if a not in (row, col))
        free = tuple(a for a in rhs.axes if a != row and a not in shared)
        lead = (*(a for a in free if a in EXTRA), *shared)  # an extra axis of the right side may as well be a batch
        free = tuple(a for a in free if a not in EXTRA)
        known = {a: s for p in (matrix, rhs) for a, s in zip(p.axes, p.data.shape, strict=True)}
        batch = [known[a] for a in lead]
        a = xp.expand(self.align(matrix, (*lead, row, col)), [*batch, known[row], known[col]])
        b = xp.expand(self.align(rhs, (*lead, row, *free)), [*batch, known[row], *(known[f] for f in free)])
        columns = 1
        for f in free:
            columns *= known[f]
        x = xp.solve(xp.cast(a, node.kind), xp.cast(xp.reshape(b, [*batch, known[row], columns]), node.kind))
        x = xp.reshape(x, [*batch, known[row], *(known[f] for f in free)])
        return self.complete(Named((*lead, row, *free), x), node, sizes)

    # -- along time ---------------------------------------------------------------------------------------------

    def _prefix(self, node: n.Prefix, args: list[Named], sizes: Mapping[str, int]) -> Named:
        """A sequential fold, one step of the tile after the other."""
        timed = (x.data.shape[x.axes.index(n.TIME)] for x in args if n.TIME in x.axes)
        length = next(timed, None)
        length = size_of(n.TIME, sizes) if length is None else length  # the same element at every step
        if length == 0:
            return self.complete(args[node.slot], node, sizes)
        combine = Evaluator(node.combined, self.xp)
        one_step = {**sizes, n.TIME: 1}
        total: list[Named] = []
        out: list[Named] = []
        for t in range(length):
            element = [_steps(x, n.TIME, t, t + 1) if n.TIME in x.axes else x for x in args]
            given = dict(zip((*node.earlier, *node.later), (*total, *element), strict=bool(total)))
            total = combine(given.__getitem__, one_step) if total else element
            out.append(total[node.slot])
        steps = [x if n.TIME in x.axes else self._single(x, n.TIME) for x in out]
        return self.complete(self._chained(steps, n.TIME, node, sizes), node, sizes)

    def _with_halo(self, node: Node, arg: Named, halo: Named, sizes: Mapping[str, int]) -> tuple[Named, int]:
        """The halo and the tile as one stretch of `time`, and the number of steps in the halo (without `lag`: one)."""
        halo = halo if n.LAG in halo.axes else self._single(halo, n.LAG)
        before = Named(tuple(n.TIME if a == n.LAG else a for a in halo.axes), halo.data)
        tile = arg if n.TIME in arg.axes else self._single(arg, n.TIME)
        return self._chained([before, tile], n.TIME, node, sizes), halo.data.shape[halo.axes.index(n.LAG)]

    def _from_halo(self, node: Node, arg: Named, halo: Named, sizes: Mapping[str, int]) -> Named:
        whole, held = self._with_halo(node, arg, halo, sizes)
        end = whole.data.shape[-1]
        match node:
            case n.Lag(steps=steps):
                if held < steps:
                    raise CompilerBug(f"a delay of {steps} steps from a halo of {held}")
                found = _steps(whole, n.TIME, held - steps, end - steps)
            case n.Tail():
                found = _steps(whole, n.TIME, end - held, end)
                found = Named(tuple(n.LAG if a == n.TIME else a for a in found.axes), found.data)
            case n.Append(axis=axis):
                found = Named(tuple(axis if a == n.TIME else a for a in whole.axes), whole.data)
            case n.Frames(axis=axis, skip=skip, oldest_first=oldest_first):
                size = size_of(axis, sizes)
                if held < size - 1 + skip:
                    raise CompilerBug(f"{size} steps from {skip} steps before, from a halo of {held}")
                back = [j + skip for j in (reversed(range(size)) if oldest_first else range(size))]
                frames = [self._single(_steps(whole, n.TIME, held - j, end - j), axis) for j in back]
                found = self._chained(frames, axis, node, sizes) if frames else self._none(whole, held, axis, node)
                if n.TIME not in arg.axes:  # one step, outside a tile
                    found = _picked(found, 0)
            case _:
                raise CompilerBug(f"{node!r} has no halo")
        return self.complete(found, node, sizes)

    def _none(self, whole: Named, held: int, axis: str, node: Node) -> Named:
        shape = [*whole.data.shape[:-1], whole.data.shape[-1] - held, 0]
        return Named((*whole.axes, axis), self.xp.zeros(shape, node.kind))

    def _convolved(self, node: Node, kernel: Named, arg: Named, over: Axes, sizes: Mapping[str, int]) -> Named:
        """By the definition: shift, multiply, add."""
        xp = self.xp
        every = dict.fromkeys((*self._joined([kernel, arg], ()), *kernel.axes, *arg.axes))
        axes = (*(a for a in every if a != n.TIME), n.TIME)
        k, x = (xp.cast(self.align(v, axes), node.kind) for v in (kernel, arg))
        length = x.shape[-1]
        total = k[..., :1] * x if length else x * 0
        moved = Named(axes, x)
        for lag in range(1, min(length, k.shape[-1])):
            total = total + k[..., lag : lag + 1] * self._shifted(moved, n.TIME, lag)
        dims = tuple(axes.index(a) for a in over)
        rest = tuple(a for a in axes if a not in over)
        return self.complete(Named(rest, xp.sum(total, dims) if dims else total), node, sizes)

    def _scores(self, node: Node, args: Sequence[Named], over: Axes, late: bool, sizes: Mapping[str, int]) -> Named:
        """By the definition: all keys so far, decayed once more at every step."""
        xp, (query, key, decay) = self.xp, args
        axes = tuple(a for a in dict.fromkeys(a for x in args for a in x.axes) if a != n.TIME)
        dims = tuple(axes.index(a) for a in over)
        rows = []
        for t, keys in enumerate(self._decayed(key, decay, axes, late, node.kind, sizes)):
            asked = self.align(_picked(query, t), axes)
            rows.append(xp.stack([xp.cast(xp.reduce("sum", asked * k, dims), node.kind) for k in keys], 0))
        rest = tuple(a for a in axes if a not in over)
        return self.complete(Named((n.TIME, n.SOURCE, *rest), xp.stack(rows, 0)), node, sizes)

    def _gathered(self, node: Node, args: Sequence[Named], late: bool, sizes: Mapping[str, int]) -> Named:
        """By the definition, as `_scores`."""
        scores, value, decay = args
        axes = tuple(a for a in dict.fromkeys(a for x in args for a in x.axes) if a not in (n.TIME, n.SOURCE))
        rows = []
        for t, values in enumerate(self._decayed(value, decay, axes, late, node.kind, sizes)):
            row = _picked(scores, t)
            first, *others = (self.align(_picked(row, s, n.SOURCE), axes) * v for s, v in enumerate(values))
            rows.append(sum(others, first))
        return self.complete(Named((n.TIME, *axes), self.xp.stack(rows, 0)), node, sizes)

    def _decayed(
        self, x: Named, decay: Named, axes: Axes, late: bool, kind: Kind, sizes: Mapping[str, int]
    ) -> Iterator[list[Array]]:
        """At each step, x of every step times the decays between the two; zero for later ones."""
        xp, steps = self.xp, size_of(n.TIME, sizes)
        known = {a: d for v in (x, decay) for a, d in zip(v.axes, v.data.shape, strict=True)}
        shape = [known.get(a, 1) for a in axes]
        each, decays = (
            [xp.expand(xp.cast(self.align(_picked(v, t), axes), kind), shape) for t in range(steps)] for v in (x, decay)
        )
        held: list[Array] = []
        for t in range(steps):
            before, held = held, [*(h * decays[t] for h in held), each[t]]
            seen = before if late else held
            yield [*seen, *(xp.zeros(shape, kind) for _ in range(steps - len(seen)))]

    def _geometric(
        self, node: Node, coefficient: Named, base: Named, over: Axes, first: int, sizes: Mapping[str, int]
    ) -> Named:
        xp, length = self.xp, size_of(n.TIME, sizes)
        axes = (*dict.fromkeys((*coefficient.axes, *base.axes)), n.TIME)
        steps = Named((n.TIME,), xp.arange(length) + first)
        c, b, e = (self.align(x, axes) for x in (coefficient, base, steps))
        dims = tuple(axes.index(a) for a in over)
        rest = tuple(a for a in axes if a not in over)
        return self.complete(Named(rest, xp.cast(xp.reduce("sum", c * xp.power(b, e), dims), node.kind)), node, sizes)

    def _moment(self, node: Node, args: Sequence[Named], sizes: Mapping[str, int]) -> Named:
        """By the recurrence that it sums up."""
        arg, base, factor, state = args
        axes = tuple(a for a in dict.fromkeys(a for x in args for a in x.axes) if a != n.TIME)
        value = self.align(state, axes)
        for t in range(arg.data.shape[arg.axes.index(n.TIME)] if n.TIME in arg.axes else size_of(n.TIME, sizes)):
            now = [_picked(x, t) if n.TIME in x.axes else x for x in (base, factor, arg)]
            b, f, x = (self.align(v, axes) for v in now)
            value = b * value + f * x
        return self.complete(Named(axes, self.xp.cast(value, node.kind)), node, sizes)


def _picked(x: Named, t: int, axis: str = n.TIME) -> Named:
    at = x.axes.index(axis)
    where = (*(slice(None) for _ in range(at)), t)
    return Named(tuple(a for a in x.axes if a != axis), x.data[where])


def size_of(axis: str, sizes: Mapping[str, int]) -> int:
    """The size of an axis or of the declared axis it is a copy of."""
    size = sizes.get(axis)
    return sizes[base_axis(axis)] if size is None else size


def _steps(x: Named, axis: str, start: int, stop: int) -> Named:
    return Named(x.axes, _along(x.data, x.axes.index(axis), start, stop))


def _along(x: Array, dim: int, start: int, stop: int) -> Any:
    where = (*(slice(None) for _ in range(dim)), slice(start, stop))
    return x[where]


def _operand_kinds(op: str, result: Kind, kinds: Sequence[Kind]) -> list[Kind | None]:
    """What each operand is converted to first, so that no library rule for mixed kinds is relied on (None: nothing)."""
    if op == "where":
        return [None, result, result]
    if result == "bool":
        joined = join_kinds(*kinds)
        return [joined if k != joined else None for k in kinds]
    wanted: Kind = "real" if result in ("real", "complex") else "int"
    return [wanted if n.KINDS.index(k) < n.KINDS.index(wanted) else None for k in kinds]


def _postorder_above(roots: Sequence[Node], cut: Mapping[Node, object] | frozenset[Node]) -> list[Node]:
    if not cut:
        return postorder(list(roots))
    seen: set[Node] = set()
    order: list[Node] = []
    stack: list[tuple[Node, bool]] = [(r, False) for r in reversed(roots)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if node not in cut:
                stack.extend((c, False) for c in reversed(children(node)) if c not in seen)
    return order
