"""Named-axis expressions: the nodes that the step graph and the kernel IR share.

    Leaf    = Const | Input | Param | Time | Size | Index | Read | Table | Draw | Local | Load
    Inner   = Map | Reduce | Cumulative | Rename | Pick | Shift | Solve | Expm | Window | History
            | Flip | Start | Prefix | Lag | Frames | Tail | Append | FftConv | Scores | Gather
            | Geometric | Moment

A node is immutable and made only by an `Arena` (see arena.py), which types it and hash-conses it: within one arena two
equal expressions are one object, so equality is identity and recursion is memoised by the node itself.

`axes` is the ordered tuple of the value's axes, each once. An axis is a name; `N'` (primes) is a second copy of axis
`N` with the same size: the columns of a square value declared `[N, N]` are `N'`. `N~` is the copy of `N` on the input
side of a linear map (see ssmc.recurrence). Batch and time are the axes `batch` and `time` of kernel IR; the step graph
has neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["bool", "int", "real", "complex"]
KINDS: tuple[Kind, ...] = ("bool", "int", "real", "complex")

Axes = tuple[str, ...]

# Axes that only kernel IR has; no axis of a spec can have such a name. `time` is the position in the sequence (or in a
# chunk of it), `source` a second copy of it (the column of a chunk's product), `lag` the steps held by a delay line,
# oldest first.
BATCH, TIME, SOURCE, LAG = "@batch", "@time", "@source", "@lag"


def base_axis(axis: str) -> str:
    """The declared axis that `axis` is a copy of."""
    return axis.rstrip("'~")


@dataclass(frozen=True, eq=False, repr=False)
class Node:
    """Base of all expressions: the axes and the element kind of the value."""

    axes: Axes
    kind: Kind

    def __repr__(self) -> str:
        # one level deep: a full print of a graph with sharing grows exponentially (see printer.py)
        data = [f"{k}={v!r}" for k, v in vars(self).items() if k not in ("axes", "kind") and not _holds_nodes(v)]
        return f"{type(self).__name__}({', '.join([self.kind, *self.axes, *data])})"


def _holds_nodes(value: object) -> bool:
    return isinstance(value, Node) or (isinstance(value, tuple) and any(isinstance(v, Node) for v in value))


# -- leaves of the step graph --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Const(Node):
    value: bool | int | float | complex


@dataclass(frozen=True, eq=False, repr=False)
class Input(Node):
    """This step's value of an input."""

    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Param(Node):
    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Time(Node):
    """`t`: the number of this step, from 1, an int."""


@dataclass(frozen=True, eq=False, repr=False)
class Size(Node):
    """The length of an axis, an int."""

    axis: str


@dataclass(frozen=True, eq=False, repr=False)
class Index(Node):
    """0, 1, 2, … along its one axis."""


@dataclass(frozen=True, eq=False, repr=False)
class Read(Node):
    """What a register's source was `steps` >= 1 steps before (after, for a reverse register)."""

    register: str
    steps: int


@dataclass(frozen=True, eq=False, repr=False)
class Table(Node):
    """A constant table such as `hippo.legs`, computed from the sizes of its axes in float64."""

    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Draw(Node):
    """A random initial value, `uniform(lo, hi)`, `loguniform(lo, hi)`, `normal(std)`; only in a param's default.

    `number` tells independent draws of one distribution apart.
    """

    distribution: str
    args: tuple[Node, ...]
    number: int


@dataclass(frozen=True, eq=False, repr=False)
class Local(Node):
    """A placeholder by name: the operands of a derived operator, a value named by a `Let` of kernel IR."""

    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Load(Node):
    """Kernel IR: the current tile of a buffer, its axes renamed as `axes` says (in the buffer's order)."""

    buffer: str


# -- inner nodes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Map(Node):
    """An operator of the table (ssmc.expr.ops) applied elementwise, broadcast by axis name."""

    op: str
    args: tuple[Node, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Reduce(Node):
    """`op` is one of sum, prod, max, min, any, all, logsumexp; `over` are axes of `arg`.

    Contractions and matrix products are `Reduce("sum", Map("mul", …))`: there is no node of their own.
    """

    op: str
    arg: Node
    over: Axes


@dataclass(frozen=True, eq=False, repr=False)
class Cumulative(Node):
    """Inclusive running `op` (sum, or prod) along `axis`; `reverse` runs it from the end."""

    op: str
    arg: Node
    axis: str
    reverse: bool


@dataclass(frozen=True, eq=False, repr=False)
class Rename(Node):
    """Simultaneous renaming of axes: `pairs` of (old, new)."""

    arg: Node
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False, repr=False)
class Pick(Node):
    """One element along `axis`, which drops; a negative index counts from the end."""

    arg: Node
    axis: str
    index: int


@dataclass(frozen=True, eq=False, repr=False)
class Shift(Node):
    """Moved by `steps` towards higher indices along `axis`, zero filled (negative: towards lower)."""

    arg: Node
    axis: str
    steps: int


@dataclass(frozen=True, eq=False, repr=False)
class Solve(Node):
    """x with sum over `col` of matrix[row, col] * x[col -> row …] = rhs[row]; other axes elementwise.

    The result has the axes of `rhs` (with `row`), joined with the matrix's other axes.
    """

    matrix: Node
    rhs: Node
    row: str
    col: str


@dataclass(frozen=True, eq=False, repr=False)
class Expm(Node):
    """The matrix exponential over (row, col); other axes elementwise.

    With `order` k it is phi_k of the matrix, the sum over j of X^j / (j + k)!, for singular X too; phi_0 = exp.
    """

    matrix: Node
    row: str
    col: str
    order: int


@dataclass(frozen=True, eq=False, repr=False)
class Window(Node):
    """A register's values along the new `axis`, newest first.

    With `current` (the register's source, as it is this step) position j is j steps before; without, j + 1 steps.
    """

    register: str
    axis: str
    current: Node | None


@dataclass(frozen=True, eq=False, repr=False)
class History(Node):
    """`past[T](e)`: along `axis`, oldest first, the register's source up to and including this step (`current`).

    For an axis with a size: that many last steps, positions before the start hold zero. Without one: all steps so far,
    position s is step s + 1 (kernel IR may hold more positions than steps; every use is masked by `index < t`).
    """

    register: str
    axis: str
    current: Node


# -- inner nodes that only kernel IR has ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Prefix(Node):
    """Inclusive prefix of a derived associative operator along `time`, one slot of it.

    `args` are the elements (tiles with `time`), `earlier` and `later` the operator's placeholders slot by slot,
    `combined` its slots as expressions of them, `identity` the neutral element; the value is slot `slot`.
    """

    args: tuple[Node, ...]
    earlier: tuple[Node, ...]
    later: tuple[Node, ...]
    combined: tuple[Node, ...]
    identity: tuple[Node, ...]
    slot: int


@dataclass(frozen=True, eq=False, repr=False)
class Flip(Node):
    """Reversed along `axis`."""

    arg: Node
    axis: str


@dataclass(frozen=True, eq=False, repr=False)
class Start(Node):
    """The first elements along `axis`, as many as its size here: fewer inside a loop that the axis grows in."""

    arg: Node
    axis: str


@dataclass(frozen=True, eq=False, repr=False)
class Lag(Node):
    """A tile moved `steps` steps later along `time`; `halo` (axis `lag`, oldest first) supplies what comes before.

    `halo` has at least `steps` positions; the last `steps` of them come first.
    """

    arg: Node
    halo: Node
    steps: int


@dataclass(frozen=True, eq=False, repr=False)
class Frames(Node):
    """A tile's own recent values along the new `axis`, `halo` (axis `lag`, oldest first) supplying those before it.

    Newest first: position j is j + `skip` steps before. With `oldest_first` the last position is `skip` steps before.
    `halo` holds at least size[axis] - 1 + skip steps.
    """

    arg: Node
    halo: Node
    axis: str
    skip: int
    oldest_first: bool


@dataclass(frozen=True, eq=False, repr=False)
class Tail(Node):
    """The halo that the next tile sees: the last steps of `halo` (axis `lag`) and the tile, as many as before."""

    arg: Node
    halo: Node


@dataclass(frozen=True, eq=False, repr=False)
class Append(Node):
    """`halo` (axis `lag`) followed by `arg` (its `time`, or one step if it has none) along the new `axis`."""

    arg: Node
    halo: Node
    axis: str


@dataclass(frozen=True, eq=False, repr=False)
class FftConv(Node):
    """Causal convolution along `time`: y[t] = sum over s <= t of kernel[t - s] * arg[s]; other axes broadcast.

    Axes of `over` are summed after the product with the kernel.
    """

    kernel: Node
    arg: Node
    over: Axes


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Node):
    """[time, source]: the sum over `over` of query[time] * key[source] * (the product of decay between the two steps).

    Between: after source up to time, and 0 for later sources. With `late` before time, and 0 for the step itself too.
    All three have `time`. Printers find the products of all pairs by halves of the tile: a decay for each pair of steps
    and each position of `over` is never held, and nothing is divided.
    """

    query: Node
    key: Node
    decay: Node
    over: Axes
    late: bool


@dataclass(frozen=True, eq=False, repr=False)
class Gather(Node):
    """[time]: the sum over source of scores[time, source] * value[source] * (the product of decay between the two).

    As in Scores; `value` and `decay` have `time`, and axes that `scores` lacks. Later sources do not count, whatever
    their scores.
    """

    scores: Node
    value: Node
    decay: Node
    late: bool


@dataclass(frozen=True, eq=False, repr=False)
class Geometric(Node):
    """k[l] = sum over `over` of coefficient * base ** (l + first) along `time`, for the steps of the tile.

    Printers compute it from two sets of about sqrt(steps) powers: powers times steps are never held.
    """

    coefficient: Node
    base: Node
    over: Axes
    first: int


@dataclass(frozen=True, eq=False, repr=False)
class Moment(Node):
    """base ** steps * carry + sum over `time` of base ** (steps - 1 - t) * factor * arg[t]: the state after a tile."""

    arg: Node
    base: Node
    factor: Node
    carry: Node


def children(node: Node) -> tuple[Node, ...]:
    """The operands of a node, in order."""
    match node:
        case Map(args=args) | Draw(args=args):
            return args
        case Reduce(arg=arg) | Cumulative(arg=arg) | Rename(arg=arg) | Pick(arg=arg) | Shift(arg=arg):
            return (arg,)
        case Solve(matrix=matrix, rhs=rhs):
            return (matrix, rhs)
        case Expm(matrix=matrix):
            return (matrix,)
        case Window(current=None):
            return ()
        case Window(current=current) | History(current=current):
            assert current is not None
            return (current,)
        case Prefix(args=args):
            return args
        case (
            Lag(arg=arg, halo=halo) | Frames(arg=arg, halo=halo) | Tail(arg=arg, halo=halo) | Append(arg=arg, halo=halo)
        ):
            return (arg, halo)
        case FftConv(kernel=kernel, arg=arg):
            return (kernel, arg)
        case Flip(arg=arg) | Start(arg=arg):
            return (arg,)
        case Scores(query=query, key=key, decay=decay):
            return (query, key, decay)
        case Gather(scores=scores, value=value, decay=decay):
            return (scores, value, decay)
        case Geometric(coefficient=coefficient, base=base):
            return (coefficient, base)
        case Moment(arg=arg, base=base, factor=factor, carry=carry):
            return (arg, base, factor, carry)
        case _:
            return ()


def postorder(roots: tuple[Node, ...] | list[Node]) -> list[Node]:
    """Every node below the roots once, operands before users, without recursion."""
    seen: set[Node] = set()
    order: list[Node] = []
    stack: list[tuple[Node, bool]] = [(r, False) for r in reversed(roots)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
            continue
        if node in seen:
            continue
        seen.add(node)
        stack.append((node, True))
        stack.extend((c, False) for c in reversed(children(node)) if c not in seen)
    return order


def factors(node: Node) -> list[Node]:
    """The factors of a product, left to right."""
    if isinstance(node, Map) and node.op == "mul":
        return [*factors(node.args[0]), *factors(node.args[1])]
    return [node]
