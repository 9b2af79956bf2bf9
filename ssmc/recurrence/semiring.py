"""Pairs of operators under which an update can be linear, found in the operator table, and the test for each.

A pair (plus, times) serves when `plus` is associative and commutative with an identity (the ring's `zero`), `times` is
associative with an identity (`one`), and the table says that `times` distributes over `plus`, for every factor or for
non-negative ones. An update is then linear in the state when it is a `plus` of terms `factor times state` and of
state-free expressions. For (add, mul) ssmc.expr.affine knows more operators; `linear` here is for every other pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.linear import Affine, Blocker, Term
from ssmc.expr.nodes import Kind, Node, children, postorder
from ssmc.expr.ops import OPS, REDUCTIONS
from ssmc.expr.ranges import Ranges
from ssmc.recurrence.lattice import BEYOND
from ssmc.recurrence.nodes import Algebra

# what the pairs are called; a pair of the table without a name here is not tried
NAMES: Mapping[tuple[str, str], Algebra] = {
    ("add", "mul"): "affine",
    ("max", "add"): "maxplus",
    ("min", "add"): "minplus",
    ("max", "mul"): "maxtimes",
    ("min", "mul"): "mintimes",
    ("logaddexp", "add"): "logsumexp",
    ("or", "and"): "boolean",
    ("and", "or"): "boolean",
}


@dataclass(frozen=True)
class Semiring:
    """`total` where `zero` times x is `zero` for every x, so that an absent term can be written as a factor."""

    algebra: Algebra
    plus: str
    times: str
    reduction: str
    zero: bool | int | float
    one: bool | int | float
    nonnegative: bool  # factors have to be
    total: bool

    def zero_node(self, arena: Arena, kind: Kind = "real") -> Node:
        """Zero. Integers have no infinity: there it is a number beyond every sum of theirs, good for one use only."""
        if kind == "int" and isinstance(self.zero, float):
            return arena.const(-BEYOND if self.zero < 0 else BEYOND)
        return arena.const(self.zero)

    def one_node(self, arena: Arena) -> Node:
        return arena.const(self.one)

    def add(self, arena: Arena, x: Node | None, y: Node | None) -> Node | None:
        """x plus y, None standing for zero."""
        if x is None or y is None:
            return y if x is None else x
        return arena.map(self.plus, x, y)

    def mul(self, arena: Arena, x: Node, y: Node) -> Node:
        if is_constant(x, self.one) and _same_kind(self, x, y):
            return y
        if is_constant(y, self.one) and _same_kind(self, y, x):
            return x
        return arena.map(self.times, x, y)


def _same_kind(ring: Semiring, unit: Node, other: Node) -> bool:
    return n.KINDS.index(unit.kind) <= n.KINDS.index(other.kind)


def is_constant(node: Node, value: bool | int | float) -> bool:
    return isinstance(node, n.Const) and not isinstance(node.value, complex) and node.value == value


def _found() -> dict[str, Semiring]:
    rings: dict[str, Semiring] = {}
    folds = {r.operator: r.name for r in REDUCTIONS.values()}
    for (plus, times), algebra in NAMES.items():
        p, t = OPS[plus], OPS[times]
        always, sometimes = plus in t.distributes_over, plus in t.distributes_if_nonnegative
        if not (p.associative and p.commutative and t.associative and (always or sometimes)):
            raise CompilerBug(f"the operator table does not make ({plus}, {times}) a semiring")
        if p.identity is None or t.identity is None:
            raise CompilerBug(f"({plus}, {times}) lacks an identity")
        # the zero annihilates: said by the table, or an infinity that no finite summand moves
        total = t.annihilator == p.identity if t.annihilator is not None else times == "add"
        rings[f"{plus}.{times}"] = Semiring(
            algebra, plus, times, folds[plus], p.identity, t.identity, nonnegative=not always, total=total
        )
    return rings


SEMIRINGS: dict[str, Semiring] = _found()
ADD_MUL = SEMIRINGS["add.mul"]


# -- linear in a pair ----------------------------------------------------------------------------------------------

_Key = tuple[Node, frozenset[str]]  # the atom, and which of its axes are summed


@dataclass(frozen=True)
class _Linear:
    """A plus of `factor times atom` over the atoms' mixed axes (see ssmc.expr.linear.Term), and `constant`."""

    terms: Mapping[_Key, Node] = field(default_factory=dict)
    constant: Node | None = None


def linear(arena: Arena, ring: Semiring, root: Node, atoms: frozenset[Node], ranges: Ranges) -> Affine | Blocker:
    """`root` as a linear map of the atoms over `ring`, its terms and constant in the ring's operators.

    A Term's contribution is: `plus` over the mixed axes of left times right times atom. A Blocker names the smallest
    sub-expression that is not linear, and why.
    """
    return _Extraction(arena, ring, atoms, ranges).run(root)


class _Blocked(Exception):
    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.blocker = Blocker(node, reason)


class _Extraction:
    def __init__(self, arena: Arena, ring: Semiring, atoms: frozenset[Node], ranges: Ranges) -> None:
        self.arena, self.ring, self.atoms, self.ranges = arena, ring, atoms, ranges
        self.stateful: set[Node] = set()
        self.values: dict[Node, _Linear] = {}
        integers = any(a.kind == "int" for a in atoms)
        self.total = ring.total and not (integers and isinstance(ring.zero, float))

    def run(self, root: Node) -> Affine | Blocker:
        try:
            for node in postorder([root]):
                if node in self.atoms:
                    self.stateful.add(node)
                    self.values[node] = _Linear({(node, frozenset()): self.ring.one_node(self.arena)})
                elif any(c in self.stateful for c in children(node)):
                    self.stateful.add(node)
                    self.values[node] = self.inner(node)
            found = self.affine(self.of(root))
        except _Blocked as blocked:
            return blocked.blocker
        if not self.total and any(t.mixed for t in found.terms):
            return Blocker(root, f"no factor makes a term vanish under `{self.ring.plus}`")
        return found

    def of(self, node: Node) -> _Linear:
        return self.values[node] if node in self.stateful else _Linear({}, node)

    def affine(self, x: _Linear) -> Affine:
        one = self.ring.one_node(self.arena)
        terms = []
        for (atom, mixed), factor in x.terms.items():
            inner = any(a.endswith("~") for a in factor.axes)
            left, right = (one, factor) if inner else (factor, one)
            terms.append(Term(atom, self.arena.sorted_axes(mixed), left, right))
        return Affine(tuple(terms), x.constant)

    # -- operators ---------------------------------------------------------------------------------------------

    def inner(self, node: Node) -> _Linear:
        match node:
            case n.Map(op=op, args=args):
                return self.mapped(node, op, args)
            case n.Reduce(op=op, arg=arg, over=over) if op == self.ring.reduction:
                return self.reduced(self.of(arg), over)
            case n.Rename(arg=arg, pairs=pairs):
                return self.renamed(self.of(arg), dict(pairs))
            case n.Pick(arg=arg, axis=axis, index=index):
                return self.picked(self.of(arg), axis, index)
            case n.Shift(arg=arg, axis=axis, steps=steps):
                return self.shifted(node, self.of(arg), arg, axis, steps)
            case _:
                raise _Blocked(node, f"{describe(node)} of the carried state")

    def mapped(self, node: Node, op: str, args: tuple[Node, ...]) -> _Linear:
        ring, arena = self.ring, self.arena
        stateful = [a in self.stateful for a in args]
        if op == ring.plus:
            return self.plus(self.of(args[0]), self.of(args[1]))
        if op == "where" and not stateful[0]:
            return self.chosen(node, args[0], self.of(args[1]), self.of(args[2]))
        if op in ("cast_real", "cast_int") and args[0].kind != "bool":
            return self.of(args[0])
        inverse = _INVERSES.get(op)
        if inverse is not None and inverse[0] == ring.times and not stateful[1]:
            return self.scaled(node, self.of(args[0]), inverse[1](arena, args[1]))
        if op == ring.times:
            if all(stateful):
                raise _Blocked(
                    node,
                    "a product of the carried state with itself"
                    if op == "mul"
                    else f"`{op}` of two expressions of the carried state",
                )
            factor = args[1] if stateful[0] else args[0]
            return self.scaled(node, self.of(args[0] if stateful[0] else args[1]), factor)
        raise _Blocked(node, f"`{op}` of the carried state")

    def plus(self, x: _Linear, y: _Linear) -> _Linear:
        terms = dict(x.terms)
        for key, factor in y.terms.items():
            terms[key] = self.arena.map(self.ring.plus, terms[key], factor) if key in terms else factor
        return _Linear(terms, self.ring.add(self.arena, x.constant, y.constant))

    def scaled(self, node: Node, x: _Linear, factor: Node) -> _Linear:
        if self.ring.nonnegative and not self.ranges(factor).nonnegative:
            raise _Blocked(node, f"a factor that may be negative does not distribute over `{self.ring.plus}`")

        def mul(c: Node) -> Node:
            return self.ring.mul(self.arena, c, factor)

        constant = None if x.constant is None else mul(x.constant)
        return _Linear({k: mul(c) for k, c in x.terms.items()}, constant)

    def chosen(self, node: Node, c: Node, x: _Linear, y: _Linear) -> _Linear:
        zero = self.ring.zero_node(self.arena)
        keys = [*x.terms, *(k for k in y.terms if k not in x.terms)]
        if not self.total and any(k not in x.terms or k not in y.terms for k in keys):
            raise _Blocked(node, f"no factor makes a term vanish under `{self.ring.plus}`")

        def where(a: Node | None, b: Node | None) -> Node:
            return self.arena.where(c, zero if a is None else a, zero if b is None else b)

        terms = {k: where(x.terms.get(k), y.terms.get(k)) for k in keys}
        if x.constant is None and y.constant is None:
            return _Linear(terms)
        return _Linear(terms, where(x.constant, y.constant))

    # -- axes --------------------------------------------------------------------------------------------------

    def mixing(self, key: _Key, factor: Node, axis: str) -> tuple[_Key, Node]:
        """The term with a carried axis of its atom named apart, `axis~`, to be summed."""
        atom, mixed = key
        return (atom, mixed | {axis}), self.arena.rename(factor, {axis: axis + "~"})

    def gathered(self, pairs: list[tuple[_Key, Node]], constant: Node | None) -> _Linear:
        result = _Linear({}, constant)
        for key, factor in pairs:
            result = self.plus(result, _Linear({key: factor}))
        return result

    def carried(self, key: _Key, axis: str) -> bool:
        atom, mixed = key
        return axis in atom.axes and axis not in mixed

    def reduced(self, x: _Linear, over: tuple[str, ...]) -> _Linear:
        arena, op = self.arena, self.ring.reduction
        pairs = []
        for key, factor in x.terms.items():
            for axis in over:
                if self.carried(key, axis):
                    key, factor = self.mixing(key, factor, axis)
                else:
                    factor = arena.reduce(op, arena.broadcast(factor, arena.union([factor.axes, (axis,)])), (axis,))
            pairs.append((key, factor))
        constant = x.constant
        if constant is not None:
            constant = arena.reduce(op, arena.broadcast(constant, arena.union([constant.axes, over])), over)
        return self.gathered(pairs, constant)

    def kept(self, factor: Node, condition: Node) -> Node:
        return self.arena.where(condition, factor, self.ring.zero_node(self.arena))

    def renamed(self, x: _Linear, pairs: Mapping[str, str]) -> _Linear:
        arena = self.arena
        found = []
        for key, factor in x.terms.items():
            moved = [a for a in pairs if self.carried(key, a)]
            for a in moved:
                key, factor = self.mixing(key, factor, a)
            factor = arena.rename(factor, pairs)
            for a in moved:
                factor = self.kept(factor, arena.map("eq", arena.index(pairs[a]), arena.index(a + "~")))
            found.append((key, factor))
        return self.gathered(found, None if x.constant is None else arena.rename(x.constant, pairs))

    def picked(self, x: _Linear, axis: str, index: int) -> _Linear:
        arena = self.arena
        at: Node = arena.const(index) if index >= 0 else arena.add(arena.size(axis), arena.const(index))

        def pick(v: Node) -> Node:
            return arena.pick(v, axis, index) if axis in v.axes else v

        found = []
        for key, factor in x.terms.items():
            if self.carried(key, axis):
                key, factor = self.mixing(key, factor, axis)
                factor = self.kept(factor, arena.map("eq", arena.index(axis + "~"), at))
            else:
                factor = pick(factor)
            found.append((key, factor))
        return self.gathered(found, None if x.constant is None else pick(x.constant))

    def shifted(self, node: Node, x: _Linear, arg: Node, axis: str, steps: int) -> _Linear:
        """Positions that nothing moves into hold the number 0, which is not the ring's zero: they join the constant."""
        arena = self.arena
        source = arena.sub(arena.index(axis), arena.const(steps))
        inside = arena.map("and", arena.map("ge", source, arena.const(0)), arena.map("lt", source, arena.size(axis)))
        found = []
        for key, factor in x.terms.items():
            if self.carried(key, axis):
                key, factor = self.mixing(key, factor, axis)
                factor = self.kept(factor, arena.map("eq", source, arena.index(axis + "~")))
            else:
                factor = arena.shift(arena.broadcast(factor, arena.union([factor.axes, (axis,)])), axis, steps)
                factor = self.kept(factor, inside)
            found.append((key, factor))
        zero = self.ring.zero_node(arena)
        constant = zero
        if x.constant is not None:
            constant = arena.shift(arena.broadcast(x.constant, arena.union([x.constant.axes, (axis,)])), axis, steps)
        empty = arena.const(False) if node.kind == "bool" else arena.const(0)
        return self.gathered(found, arena.where(inside, constant, empty))


_INVERSES: dict[str, tuple[str, Callable[[Arena, Node], Node]]] = {
    "sub": ("add", lambda arena, x: arena.neg(x)),
    "div": ("mul", lambda arena, x: arena.div(arena.const(1), x)),
}


def describe(node: Node) -> str:
    """A node in the words of a message."""
    match node:
        case n.Map(op=op) | n.Reduce(op=op):
            return f"`{op}`"
        case n.Cumulative(op=op):
            return f"`cum{op}`"
        case n.Solve():
            return "the solution of a linear system"
        case n.Expm():
            return "the matrix exponential"
        case n.History():
            return "`past`"
        case _:
            return f"`{type(node).__name__.lower()}`"


def simplified(arena: Arena, root: Node) -> Node:
    """The expression in the operators that the pairs and the other algebras are made of.

    relu(x)               = max(x, 0)
    log(exp(x) + exp(y))  = logaddexp(x, y)         log(sum[N](exp(x))) = logsumexp[N](x)
    softplus(x)           = logaddexp(x, 0)         log1p(exp(x))       = logaddexp(x, 0)
    x - min(x, y), …      are left as they are
    """
    done: dict[Node, Node] = {}
    for node in postorder([root]):
        kids = [done[c] for c in children(node)]
        built = arena.rebuild(node, kids)
        if isinstance(node, n.Map) and (new := _rewritten(arena, node.op, kids)) is not None:
            built = new
        if node in arena.spans:
            arena.spans.setdefault(built, arena.spans[node])
        done[node] = built
    return done[root]


def _rewritten(arena: Arena, op: str, args: list[Node]) -> Node | None:
    match op, args:
        case "relu", [x]:
            return arena.map("max", x, arena.const(0))
        case "softplus", [x]:
            return arena.map("logaddexp", x, arena.const(0.0))
        case "log1p", [n.Map(op="exp", args=(x,))] if x.kind != "complex":
            return arena.map("logaddexp", x, arena.const(0.0))
        case "log", [n.Map(op="add", args=(x, y))]:
            a, b = _exponent(x), _exponent(y)
            if a is not None and b is not None and "complex" not in (a.kind, b.kind):
                return arena.map("logaddexp", a, b)
        case "log", [n.Reduce(op="sum", arg=n.Map(op="exp", args=(x,)), over=over)] if x.kind != "complex":
            return arena.reduce("logsumexp", x, over)
        case _:
            pass
    return None


def _exponent(x: Node) -> Node | None:
    return x.args[0] if isinstance(x, n.Map) and x.op == "exp" else None
