"""A step graph as a spec of the language, which compiles to a graph that means the same.

For graphs that the compiler made itself, of which no text exists. Ports and states keep their names, and values those
that the user's spec gave them; what is used twice, or is long, gets one. Squares are written with an axis for the
columns, windows that are no `conv` as a state that moves by one place a step.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.expr.printer import show
from ssmc.expr.words import describe
from ssmc.step.functions import free_name
from ssmc.step.nodes import Output, Register, StepGraph, reads_of
from ssmc.step.spelling import phi_macro, phi_name, spelled
from ssmc.step.squares import without_squares

LONG = 14  # operators in one statement
WIDTH = 110


class NoText(Exception):
    """The graph has an operation that the language has no word for; the argument says which."""


def spec_text(graph: StepGraph, comments: tuple[str, ...] = ()) -> str:
    """The text of a spec named as the graph is; `comments` stand above it. Raises NoText."""
    whole = spelled(without_squares(graph))
    for node in n.postorder(whole.roots):
        if isinstance(node, n.Expm):
            raise NoText("a matrix exponential")
    return _Writer(whole).text(comments)


@dataclass(frozen=True)
class _State:
    name: str
    axes: Axes
    kind: Kind
    init: Node
    reverse: bool


class _Writer:
    def __init__(self, graph: StepGraph) -> None:
        self.graph, self.arena = graph, graph.arena
        self.states = [_State(r.name, r.axes, r.kind, r.init, r.reverse) for r in graph.states]
        self.taken = {p.name for p in (*graph.inputs, *graph.params)} | {o.name for o in graph.outputs}
        self.taken |= {s.name for s in self.states}
        self.lines: list[str] = []
        self.assigned: set[str] = set()  # the states whose line is written: their bare name is the new value now
        self.pending: dict[str, str] = {}  # buffer -> its line, which waits for its value
        self.buffers: dict[tuple[str, str], str] = {}
        self.orders: set[int] = set()  # of phi
        self.owners: dict[Node, Register] = {}  # a value that is a state's new one, whole: it goes by its name
        for r in graph.states:
            if set(r.source.axes) == set(r.axes) and r.source.kind == r.kind and not _plain(r.source):
                self.owners.setdefault(r.source, r)
        self.bound = self.chosen()
        self.names = {node: self.name(node) for node in self.bound}
        for r in graph.registers:
            x = r.source
            if r.origin != "state" and isinstance(x, n.Read) and self.across(x, r) and x not in self.names:
                # inside `prev` a state that runs the other way is not what this step began with
                self.names[x] = self.fresh(f"{x.register}_before")
                self.lines.append(f"{self.names[x]} = {x.register}")

    def text(self, comments: tuple[str, ...]) -> str:
        graph = self.graph
        for node in self.bound:
            line = f"{self.names[node]} = {self.expression(node)}"
            self.lines.append(line)
            if node in self.owners:
                self.assigned.add(self.owners[node].name)
        for r in graph.states:
            if r.name not in self.assigned:
                self.lines.append(f"{r.name} = {self.value(r.source)}")
                self.assigned.add(r.name)
        outputs = [self.output(o) for o in graph.outputs]
        if not outputs:  # a spec has one
            outputs = [f"output {self.fresh('total')} = {s.name}" for s in self.states[-1:]]
        axes = sorted(graph.axes, key=lambda a: self.arena.rank(a.name))
        head: list[str] = []
        for comment in comments:
            head += textwrap.wrap(comment, WIDTH, initial_indent="# ", subsequent_indent="#   ")
        head.append(f"ssm {graph.name}")
        head += _declared("axis", [self.axis(a.name) for a in axes])
        head += _declared("input", [_declarator(p.name, p.axes, p.kind) for p in graph.inputs])
        head += _declared("param", [_declarator(p.name, p.axes, p.kind) for p in graph.params])
        head += _declared("state", [self.state(s) for s in self.states])
        head += [phi_macro(k) for k in range(1, max(self.orders, default=0) + 1)]
        return "\n".join([*head, *self.lines, *self.pending.values(), *outputs]) + "\n"

    # -- declarations ------------------------------------------------------------------------------------------

    def axis(self, name: str) -> str:
        size = self.graph.axis[name].size
        if size is None:
            return name
        plain: dict[Node, str] = {x: x.axis for x in n.postorder([size]) if isinstance(x, n.Size)}
        return f"{name} = {plain.get(size) or show(size, names=plain)}"

    def state(self, s: _State) -> str:
        init = show(s.init)
        return _declarator(s.name, s.axes, s.kind) + (f" = {init}" if init != "0" else "") + " reverse" * s.reverse

    def output(self, o: Output) -> str:
        value = self.value(o.value)
        declared = _declarator(o.name, o.axes, o.kind)
        return f"output {declared}" if value == o.name else f"output {declared} = {value}"

    # -- which values get names --------------------------------------------------------------------------------

    def chosen(self) -> list[Node]:
        """The values that get a line of their own, operands first."""
        nodes = n.postorder(self.graph.roots)
        uses: dict[Node, int] = {}
        for root in self.graph.roots:
            uses[root] = uses.get(root, 0) + 1
        for node in nodes:
            for c in n.children(node):
                uses[c] = uses.get(c, 0) + 1
        delayed = {r.source for r in self.graph.registers if r.origin != "state"}
        size: dict[Node, int] = {}
        found: list[Node] = []
        for node in nodes:
            size[node] = 0 if _plain(node) else 1 + sum(size[c] for c in n.children(node))
            wanted = node in self.arena.labels or node in delayed or uses[node] > 1 or size[node] > LONG
            if wanted and not _plain(node) and not isinstance(node, n.Rename | n.Window | n.History):
                found.append(node)
                size[node] = 0
        return found

    def name(self, node: Node) -> str:
        if node in self.owners:
            return self.owners[node].name
        return self.fresh(self.arena.labels.get(node) or describe(node, self.arena))

    def fresh(self, wish: str) -> str:
        name = free_name(wish, self.taken)
        self.taken.add(name)
        return name

    # -- expressions -------------------------------------------------------------------------------------------

    def value(self, node: Node) -> str:
        return self.names.get(node) or self.expression(node)

    def expression(self, root: Node) -> str:
        """The text of a value, in which values with lines of their own are by name."""
        words: dict[Node, str] = dict(self.names)
        seen: set[Node] = set()
        order: list[Node] = []
        stack: list[tuple[Node, bool]] = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                order.append(node)
            elif node not in seen and (node is root or node not in self.names):
                seen.add(node)
                conv = self.conv(node)
                if conv is not None:
                    words[node] = conv
                    continue
                stack.append((node, True))
                stack += [(c, False) for c in n.children(node)]
        for node in order:
            word = self.special(node, words)
            if word is not None:
                words[node] = word
        # the root's own word, where it has a special one
        special = words[root] if root in words and words[root] != self.names.get(root) else None
        return special or show(root, names=words, limit=1 << 20)

    def special(self, node: Node, words: dict[Node, str]) -> str | None:
        """The text of what `show` has no legal text for."""

        def at(x: Node) -> str:
            return words.get(x) or show(x, names=words, limit=1 << 20)

        match node:
            case n.Read(register=register, steps=steps):
                return self.read(self.graph.register[register], steps)
            case n.Window(register=register, axis=axis, current=current):
                return self.buffer(self.graph.register[register], axis, current is not None, newest_first=True)
            case n.History(register=register, axis=axis):
                r = self.graph.register[register]
                if r.reverse:
                    return self.buffer(r, axis, True, newest_first=False)
                return f"past[{axis}]({self.source(r)})"
            case n.Map(op="where", args=(n.Map(args=(n.Index(axes=(axis,)), _)), x, y)) if x is y:
                return f"({at(x)} and index[{axis}] >= 0)" if x.kind == "bool" else f"({at(x)} + 0*index[{axis}])"
            case n.Map(op="phi", args=(x, n.Const(value=k))):
                assert isinstance(k, int)
                self.orders.add(k)
                return f"{phi_name(k)}({at(x)})"
            case _:
                return None

    def across(self, x: n.Read, r: Register) -> bool:
        """Whether a read is of a state that runs the other way."""
        of = self.graph.register[x.register]
        return of.origin == "state" and of.reverse != r.reverse

    def source(self, r: Register) -> str:
        """What a delay line holds, as this step has it."""
        if r.source in self.names:
            return self.names[r.source]
        if isinstance(r.source, n.Read) and self.graph.register[r.source.register].origin == "state":
            return f"prev({r.source.register})"
        if isinstance(r.source, n.Read | n.Window | n.History):
            return self.special(r.source, {}) or ""
        return show(r.source, names=self.names)

    def read(self, r: Register, steps: int) -> str:
        if r.origin == "state":
            return r.name if r.name not in self.assigned else f"prev({r.name})"
        init = show(r.init)
        inner, given = self.source(r), init != "0"
        state = isinstance(r.source, n.Read) and self.graph.register[r.source.register].origin == "state"
        if isinstance(r.source, n.Read) and state and r.source not in self.names:
            # inside `prev` a state is what it became at that step, one step later than what that step began with
            inner, steps, given = r.source.register, steps + 1, True
        rest = [str(steps)] if steps != 1 or given else []
        rest += [init] if given else []
        return f"{'next' if r.reverse else 'prev'}({', '.join([inner, *rest])})"

    def conv(self, node: Node) -> str | None:
        """`conv(x, w)`, where a window is summed with weights of params alone that have its axis last."""
        if not (isinstance(node, n.Reduce) and node.op == "sum" and len(node.over) == 1):
            return None
        product, (axis,) = node.arg, node.over
        parts = n.factors(product)
        windows = [f for f in parts if isinstance(f, n.Window) and f.axis == axis and f.current is not None]
        if len(windows) != 1 or product in self.names or self.graph.register[windows[0].register].reverse:
            return None
        rest = [f for f in parts if f is not windows[0]]
        weight = self.arena.product(rest)
        fixed = not any(isinstance(x, n.Input | n.Time) or reads_of(x) for x in n.postorder([weight]))
        if not rest or not fixed or weight.axes[-1:] != (axis,):
            return None
        return f"conv({self.source(self.graph.register[windows[0].register])}, {show(weight, names=self.names)})"

    def buffer(self, r: Register, axis: str, current: bool, newest_first: bool) -> str:
        """A state that holds the last values along `axis`; its name, as this step's value or as the one before."""
        key = (r.name, axis)
        if key not in self.buffers:
            source = self.source(r)
            name = self.buffers[key] = self.fresh(f"{source if source.isidentifier() else 'value'}_line")
            self.states.append(_State(name, self.arena.sorted_axes((*r.axes, axis)), r.kind, r.init, r.reverse))
            first, step = ("0", "") if newest_first else (f"size[{axis}] - 1", ", -1")
            self.pending[name] = f"{name} = where(index[{axis}] == {first}, {source}, shift[{axis}]({name}{step}))"
        name = self.buffers[key]
        if current and name in self.pending:
            self.lines.append(self.pending.pop(name))
            self.assigned.add(name)
        return name if current or name not in self.assigned else f"prev({name})"


def _plain(node: Node) -> bool:
    return not n.children(node) or isinstance(node, n.Window | n.History)


def _declarator(name: str, axes: Axes, kind: Kind) -> str:
    return name + (f"[{', '.join(axes)}]" if axes else "") + (f" {kind}" if kind != "real" else "")


def _declared(word: str, items: list[str]) -> list[str]:
    """One declaration, over several lines where it is long: a line may end in a comma."""
    lines: list[str] = []
    for i, item in enumerate(items):
        piece = item + ("," if i < len(items) - 1 else "")
        if lines and len(lines[-1]) + len(piece) < WIDTH:
            lines[-1] += f" {piece}"
        else:
            lines.append(f"    {piece}" if lines else f"{word} {piece}")
    return lines
