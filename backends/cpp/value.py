"""One value of a pass: what is computed, over which axes, and what it reads; and the sweeps that values stand in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.expr.ops import OPS
from ssmc.kernel import nodes as k
from ssmc.kernel.naming import is_number
from ssmc.source import Span

if TYPE_CHECKING:
    from ssmc.backends.cpp.products import Factor, Product
    from ssmc.backends.cpp.tiles import Tiles


class NotPrintable(Exception):
    """What the program holds and this backend has no code for; another backend runs it."""


BEGUN = ("boundary", "saved")  # of what a chunk begins with
AFTER = 1 << 20  # the group of what is computed when all steps of a chunk are done


@dataclass(eq=False)
class Value:
    """One value. `axes` are those of its array, without time; `over` the axes that `op` reduces, time among them or
    not.

    `timed`: it is another one at every step. `carry`: it lives from step to step, and `value` is what it begins with.
    `store`: it is written to that buffer and not kept. `total`: it is added to that carry.
    `serial`: how it is computed where lanes cannot work along an axis (`cumulative`, `shift`, `solve`, `expm`).
    """

    name: str
    axes: Axes
    kind: Kind
    value: Node
    op: str = ""
    over: Axes = ()
    timed: bool = True
    reverse: bool | None = None  # the direction of the sweep that it can be computed in, where it looks back
    group: int = 0
    span: Span | None = None
    carry: bool = False
    store: str = ""
    total: Value | None = None
    serial: bool = False
    special: Node | None = None
    outer: tuple[Factor, Factor] | None = None  # of a sum over the steps, where it is of products of two rows
    product: Product | None = None  # of its sum, where it is one with a matrix
    place: Value | None = None  # the carry whose array it takes, its next value
    crosses: bool = False  # read in another group: kept for every step of the chunk
    reads: list[Value] = field(default_factory=list)
    stands: dict[Node, Value] = field(default_factory=dict)  # parts of its expression that are values of their own
    before: list[Value] = field(default_factory=list)  # of a carry: what its first value needs
    old: dict[Value, n.Lag] = field(default_factory=dict)  # values of which it reads the one of the step before, where
    spread: list[Value] = field(default_factory=list)  # those that it reads at other steps of the chunk
    behind: list[Value] = field(default_factory=list)  # stores of the sequences that it reads at other steps
    instead: dict[Value, Value] = field(default_factory=dict)  # copies that it reads in place of those

    @property
    def only(self) -> Value | None:
        """The value that it is a copy of."""
        return self.reads[0] if len(self.reads) == 1 and self.copies else None

    copies: bool = False

    def redirect(self, made: Mapping[Value, Value]) -> None:
        """Read copies in place of what they were made from."""
        self.instead = {k: made.get(x, x) for k, x in self.instead.items()}
        self.instead |= {x: made[x] for x in (*self.reads, *self.old) if x in made}
        self.reads = [made.get(x, x) for x in self.reads]
        self.stands = {node: made.get(x, x) for node, x in self.stands.items()}
        self.old = {made.get(x, x): node for x, node in self.old.items()}

    def __repr__(self) -> str:
        return f"<{self.name} {self.axes} over {self.over} group {self.group}>"


@dataclass(frozen=True, eq=False)
class Line:
    """Values of `signal` at earlier steps (later ones, where `reverse`), and what came before the sequence."""

    signal: Node  # a Load of a whole sequence, or what an earlier sweep made of the chunk
    halo: Node  # a Load of a state entry, oldest first
    reverse: bool


@dataclass
class Group:
    """One sweep over the steps of a chunk."""

    reverse: bool | None = None
    values: list[Value] = field(default_factory=list)
    sequential: bool = False
    tiles: Tiles | None = None  # the tiles of large states outside its loop over the steps


def makes(s: k.Statement) -> set[str]:
    """The names that a statement gives values."""
    match s:
        case k.Let(target=target):
            return {target.name}
        case k.For(carries=carries, body=body):
            return {c.target.name for c in carries} | {x.buffer for x in body if isinstance(x, k.Store)}
        case _:
            return set()


def uses(s: k.Statement) -> set[str]:
    match s:
        case k.For(carries=carries, body=body):
            roots = [c.init for c in carries]
            roots += [x.value for x in body if isinstance(x, k.Let | k.Set | k.Store)]
        case k.Let(value=value) | k.Set(value=value) | k.Store(value=value):
            roots = [value]
        case _:
            roots = []
    return {
        x.name if isinstance(x, n.Local) else x.buffer for x in n.postorder(roots) if isinstance(x, n.Local | n.Load)
    }


def at_once(loop: k.For) -> bool:
    """Whether a pass computes the steps of a chunk at once: something stands at one step for another."""
    roots = [s.value for s in loop.body if isinstance(s, k.Let | k.Set | k.Store)]
    return any(
        n.SOURCE in x.axes
        or isinstance(x, n.Scores | n.Gather | n.FftConv | n.Geometric | n.Moment)
        or (isinstance(x, n.Cumulative | n.Shift) and x.axis == n.TIME)
        for x in n.postorder(roots)
    )


def serial(node: Node) -> bool:
    """Whether a node reads its operand at other indices along an axis: no lanes there."""
    alone = n.Cumulative | n.Solve | n.Expm | n.Shift | n.Scores | n.Gather | n.FftConv | n.Geometric | n.Moment
    return isinstance(node, alone) or (isinstance(node, n.Flip) and node.axis != n.TIME)


def sums_time(node: Node) -> bool:
    return any(isinstance(x, n.Reduce) and n.TIME in x.over for x in n.postorder([node]))


def worth(child: Node, parent: Node) -> bool:
    """Whether part of an expression is computed before the loops over axes that it does not have."""
    if is_number(child):
        return False
    if set(child.axes) >= set(parent.axes) and not isinstance(parent, n.Reduce):
        return False
    wide = set(parent.axes) | (set(parent.over) if isinstance(parent, n.Reduce) else set())
    return set(child.axes) < wide and _costly(child)


def _costly(node: Node) -> bool:
    if isinstance(node, n.Map):
        return (OPS[node.op].cost > 1 and node.op != "where") or any(map(_costly, node.args))
    return isinstance(node, n.Rename | n.Pick) and _costly(node.arg)


def added(target: n.Local, value: Node) -> n.Reduce | None:
    """What a chunk adds to a carry, where that is a sum over its steps."""
    if not (isinstance(value, n.Map) and value.op == "add"):
        return None
    for mine, other in (value.args, value.args[::-1]):
        own = isinstance(mine, n.Local) and mine.name == target.name
        if own and isinstance(other, n.Reduce) and other.op == "sum" and n.TIME in other.over:
            return other
    return None


def logsumexp(ar: Arena, node: n.Reduce) -> Node:
    """log(sum(exp(x))), by way of the largest; of nothing but -inf it is -inf."""
    most = ar.reduce("max", node.arg, node.over)
    shift = ar.where(ar.map("lt", ar.map("abs", most), ar.const(float("inf"))), most, ar.const(0.0))
    total = ar.reduce("sum", ar.exp(ar.sub(node.arg, shift)), node.over)
    return ar.add(ar.map("log", total), shift)


def label(node: Node) -> str:
    return node.name if isinstance(node, n.Local) else "signal"


def word(node: Node) -> str:
    match node:
        case n.Reduce(op=op):
            return op
        case n.Map(op=op):
            return op
        case _:
            return type(node).__name__.lower()


def moved_axes(v: Value) -> set[str]:
    """Axes along which a value reads what stands elsewhere: lanes cannot be theirs."""
    found = set()
    for x in n.postorder([v.special if v.special is not None else v.value]):
        if isinstance(x, n.Shift | n.Flip | n.Frames):
            found |= {x.axis}
    return found
