"""A pass as values with a place: what is computed at each step, in loops over which axes, and where it is kept.

The kernel IR says what a tile is, as expressions over named axes. Here each expression that cannot be written out where
it is used becomes a `Value`: sums and other reductions, what is read at another index than its own, what a loop
carries, and whatever a `Let` names. Everything between is written inline. Values are put into groups: a group is one
sweep over the steps of a chunk, and a value that another group, or another step, needs is kept for every step of the
chunk.

    Let a = exp(-d * A)     Value a  [D, N]           group 0
    for each step           Value h  [D, N]           group 0, carried
        h = a * h + b
    y = C @ h_all           Value y  [D], over N      group 0: nothing is read at another step
"""

from __future__ import annotations

from ssmc.backends.cpp.lines import Lines
from ssmc.backends.cpp.parts import part_of_sum, without_imaginary_part
from ssmc.backends.cpp.placing import follow, in_order, join_totals, sink, unturned
from ssmc.backends.cpp.products import Products
from ssmc.backends.cpp.value import (
    AFTER,
    BEGUN,
    Group,
    NotPrintable,
    Value,
    added,
    at_once,
    label,
    logsumexp,
    serial,
    sums_time,
    uses,
    word,
    worth,
)  # fmt: skip

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Kind, Node, _holds_nodes
from ssmc.kernel import nodes as k
from ssmc.kernel.naming import is_number
from ssmc.source import Span


class Pass(Lines, Products):
    """The values of a pass, in order."""

    def __init__(
        self,
        program: k.Program,
        p: k.Pass,
        spare: dict[str, k.Buffer],
        line_starts: dict[str, Node],
        step: bool = False,
    ) -> None:
        self.program, self.p = program, p
        self.graph, self.arena = program.graph, program.arena
        self.spare = spare  # whole sequences that this printer needs beside the program's own
        self.buffers = {b.name: b for b in program.buffers} | spare
        self.line_starts = line_starts  # boundaries of delay lines: what the line began with, of any pass
        self.step = step
        self.of: dict[Node, Value] = {}  # what stands for an expression
        self.named: dict[str, Value | Node] = {}  # what a Local stands for
        self.scratch: dict[str, Value] = {}
        self.groups: list[Group] = [Group()]
        self.carries: dict[str, Value] = {}
        self.numbered: dict[int, Value] = {}  # by what is computed
        self.led: set[Value] = set()  # kept with what they were before the first step of the chunk
        self.olds: dict[Value, Value] = {}  # values that are a carry before its step
        self.wholes: dict[tuple[int, frozenset[str], Kind], Value] = {}
        self.keys: dict[Node, int] = {}
        self.interned: dict[object, int] = {}
        self.lines: dict[str, Node] = {}  # a delay line's carry -> what it begins with
        self.totals: list[Value] = []
        self.after: list[Value] = []  # when all steps of a chunk are done
        self.final: list[Value] = []
        self.held: list[Value] = []  # the same at every step: fetched before the loops
        self.starts: list[Value] = []  # stored at the beginning of a chunk: boundaries
        self.resets: dict[int, list[Value]] = {}  # carries that begin again in each chunk, by group
        self.names: set[str] = set()
        self.reverse = p.loop.reverse
        self.earlier: dict[Node, Value] = {}  # what states were one step before, where later sweeps read it
        self.promoted: dict[Node, tuple[n.Load, Value]] = {}  # sequences made here that lines delay
        carries = [c for c in p.loop.carries if n.LAG not in c.target.axes]
        steps = bool(carries) or any(isinstance(s, k.For) for s in p.loop.body)
        begun = {b.name for b in program.buffers if b.role in BEGUN}
        self.at_once = not step and (at_once(p.loop) or (not steps and any(uses(s) & begun for s in p.loop.body)))
        self.sequential = not self.at_once and steps
        self._collect()

    @property
    def cut(self) -> bool:
        """Whether something is kept of where chunks begin, so that their length is settled."""
        return bool(self.starts or self.resets) or any(b.role in BEGUN for b in self.program.buffers)

    # -- reading the statements ----------------------------------------------------------------------------------

    def _collect(self) -> None:
        loop = self.p.loop
        if self.p.before:
            raise NotPrintable("a past that grows")
        if self.at_once and any(isinstance(s, k.For) for s in loop.body):
            raise NotPrintable("products inside a chunk beside a loop over its steps")
        carried = {c.target.name: c for c in loop.carries}
        for name, c in carried.items():
            if n.LAG in c.target.axes:
                self.lines[name] = c.init
            else:
                self.carries[name] = Value(name, c.target.axes, c.target.kind, c.init, carry=True)
        for v in self.carries.values():
            self._began(v)
        self.named |= self.carries
        self.tails = {
            s.target.name: s.value
            for s in loop.body
            if isinstance(s, k.Set) and s.target.name in self.lines and isinstance(s.value, n.Tail)
        }
        for s in in_order(loop.body, self.reverse):
            self._statement(s, inside=False)
        for f in self.p.final:
            self._apart(self.final, AFTER, self._stored(f.buffer, f.value, f.span, AFTER))
        join_totals(self)
        sink(self)
        follow(self)
        for v in [v for g in self.groups for v in g.values]:
            for now, node in v.old.items():
                if now.group != v.group:
                    self._read_later(v, now, node)
        for g in self.groups:
            for v in g.values:
                for r in v.reads:
                    if r.timed and not r.carry and r.group < v.group:
                        r.crosses = True
                    if not r.timed and not r.carry and not self.sequential and r.group < v.group:
                        raise NotPrintable("a value between two sweeps")
        for v in (v for g in self.groups for v in g.values if self.sequential is False):
            if v.crosses:
                raise NotPrintable("a value between two sweeps")

    def leads(self, now: Value, node: n.Lag) -> bool:
        """Whether a state of the step before is a row of those that are kept, with what a chunk begins with first."""
        begun = any(now.place in cs for cs in self.resets.values())
        return begun and node.steps == 1 and now.place is not None and self.begins(node.halo, now.place)

    def _read_later(self, v: Value, now: Value, node: n.Lag) -> None:
        """What a state was one step before, of an earlier sweep: its values of that sweep, moved, and what it began
        with; where that is a carry, which has gone on since, that sweep keeps what it was at each step. Where the state
        begins with that in each chunk, it is kept as one more row before those of the steps (`led`)."""
        if self.leads(now, node):
            self.led.add(now)
            self._note(v, now)
            return
        if not self._reads_carry(node.halo):
            v.reads.append(now)
            others, self.least = list(self.groups[v.group].values), v.group
            self._needs(v, node.halo)
            self.least = 0
            new = [x for x in self.groups[v.group].values if x not in others]
            at = others.index(v)
            self.groups[v.group].values[:] = [*others[:at], *new, *others[at:]]
            return
        if node not in self.earlier:
            axes = tuple(a for a in node.axes if a != n.TIME)
            before = Value(self.fresh(f"{now.name}_before"), axes, now.kind, node, group=now.group)
            assert now.place is not None
            before.reads, before.old[now] = [now.place], node
            values = self.groups[now.group].values
            values.insert(values.index(now), before)
            self.earlier[node] = before
        self._stand(v, node, self.earlier[node])

    def _reads_carry(self, node: Node) -> bool:
        found = [self.named.get(x.name) for x in n.postorder([node]) if isinstance(x, n.Local)]
        return any(x.carry if isinstance(x, Value) else x is not None and self._reads_carry(x) for x in found)

    def _statement(self, s: k.Statement, inside: bool) -> None:
        match s:
            case k.Let(target=target, value=value, span=span):
                self._let(target, value, span, inside)
            case k.Store(buffer=buffer, value=value, span=span):
                b = self.buffers[buffer]
                if b.role == "scratch":
                    v = self._whole(value, buffer, span, b.axes, b.kind)
                    self.scratch[buffer] = v
                elif b.role in BEGUN:
                    if isinstance(value, n.Local) and value.name in self.lines:
                        self.line_starts[buffer] = self.lines[value.name]
                    if isinstance(value, n.Local) and isinstance(self.named.get(value.name), Value):
                        self.line_starts[buffer] = self.named[value.name].value  # type: ignore[union-attr]
                    if self._ends(value):
                        self._apart(self.after, AFTER, self._stored(buffer, value, span, AFTER))
                    else:
                        self._apart(self.starts, -1, self._stored(buffer, value, span, -1))
                else:
                    self._place(self._stored(buffer, value, span, 0))
            case k.Set(target=target, value=value, span=span):
                self._set(target, value, span, inside)
            case k.For():
                self._loop(s)
            case k.Section():
                pass

    def _ends(self, value: Node) -> bool:
        """Whether a value is known when the steps of a chunk are done: what a loop over them leaves."""
        found = self.named.get(value.name) if isinstance(value, n.Local) else None
        return isinstance(found, Value) and any(found in carries for carries in self.resets.values())

    def _let(self, target: n.Local, value: Node, span: Span | None, inside: bool) -> None:
        if self._view(value) or (isinstance(value, n.Flip) and value.axis == n.TIME):
            self.named[target.name] = value
            return
        if self.sequential and not inside and n.TIME not in value.axes and not sums_time(value):
            # the same throughout a chunk: written out where it is read, which may be before the steps
            self.named[target.name] = value
            return
        self.named[target.name] = self._value(target.name, value, span)

    def _view(self, value: Node) -> bool:
        while isinstance(value, n.Rename | n.Pick) or (isinstance(value, n.Flip) and value.axis == n.TIME):
            value = value.arg
        return isinstance(value, n.Local | n.Load | n.Const | n.Size)

    def _loop(self, loop: k.For) -> None:
        group = self._open(loop.reverse, self._required(loop))
        for c in loop.carries:
            outer = self.named.get(c.init.name) if isinstance(c.init, n.Local) else None
            if isinstance(outer, Value) and outer.carry and outer.axes == c.target.axes:
                self.named[c.target.name] = outer
                continue
            line = self.lines.get(c.init.name) if isinstance(c.init, n.Local) else None
            v = Value(c.target.name, c.target.axes, c.target.kind, line if line is not None else c.init, carry=True)
            self._began(v)
            self.named[c.target.name] = v
            if line is not None:
                self.carries[c.target.name] = v
                self.named[label(c.init)] = v
                continue
            at = max([group, *(self._after_group(r) for r in v.reads)])
            self.resets.setdefault(at, []).append(v)
            group = at
        self.least = group
        self.direction = loop.reverse
        self.inside = True
        sets = [s for s in loop.body if isinstance(s, k.Set)]
        for s in loop.body:
            if not isinstance(s, k.Set):
                self._statement(s, inside=True)
        for s in sets:
            self._statement(s, inside=True)
        self.inside, self.least, self.direction = False, 0, None

    def _began(self, v: Value) -> None:
        """What a carry begins with."""
        self._apart(v.before, -1, v)
        v.before.pop()

    def _apart(self, values: list[Value], group: int, v: Value) -> Value:
        """A value that is computed outside the sweeps, and into `values` what it needs there."""
        memory = self.of, self.numbered, self.wholes, self.home, self.home_group, self.inside
        self.of, self.numbered, self.wholes, self.inside = {}, {}, {}, False
        self.home, self.home_group = values, group
        self._made(v)
        self.of, self.numbered, self.wholes, self.home, self.home_group, self.inside = memory
        v.group = group
        values.append(v)
        return v

    home: list[Value] | None = None
    home_group = 0
    inside = False
    least = 0
    direction: bool | None = None

    def _required(self, loop: k.For) -> int:
        """The first group in which all is there that a loop over the steps reads."""
        roots = [c.init for c in loop.carries]
        roots += [s.value for s in loop.body if isinstance(s, k.Let | k.Set | k.Store)]
        found = 0
        todo = list(roots)
        seen: set[Node] = set()
        while todo:
            root = todo.pop()
            if root in seen:
                continue
            seen.add(root)
            for x in n.postorder([root]):
                known = self.named.get(x.name) if isinstance(x, n.Local) else None
                if isinstance(x, n.Load) and x.buffer in self.scratch:
                    known = self.scratch[x.buffer]
                if isinstance(known, Value):
                    found = max(found, self._ready(known))
                elif known is not None:
                    todo.append(known)
        return found

    def _open(self, reverse: bool, least: int) -> int:
        """The first group from `least` that runs in a direction, or can."""
        for i, g in enumerate(self.groups):
            if i >= least and g.reverse in (None, reverse):
                return i
        while len(self.groups) < least:
            self.groups.append(Group())
        self.groups.append(Group(reverse))
        return len(self.groups) - 1

    def _set(self, target: n.Local, value: Node, span: Span | None, inside: bool) -> None:
        if not inside and target.name in self.lines:
            # a delay line over a whole sequence is read where the sequence is
            self.named[target.name] = value
            return
        carry = self.named[target.name]
        assert isinstance(carry, Value)
        if not inside:
            source = self.named.get(value.name) if isinstance(value, n.Local) else None
            if source is carry:
                return
            more = None if self.at_once else added(target, value)
            if more is not None:
                terms = unturned(more.arg, self.arena) or more.arg
                total = Value(f"{carry.name}_sum", carry.axes, carry.kind, terms, "sum", more.over, True, span=span)
                total.total = carry
                outer = self.outer_of(total, carry.name)
                if outer is not None:
                    total.outer, total.value = outer
                self.totals.append(total)
                self._place(total)
                return
            v = Value(f"{carry.name}_next", carry.axes, carry.kind, value, timed=False, span=span, group=AFTER)
            v.place = carry
            self._apart(self.after, AFTER, v)
            return
        v = self._whole(value, f"{carry.name}_next", span, target.axes, target.kind)
        if v.place is not None or v.carry:
            copy = Value(f"{carry.name}_next", target.axes, target.kind, value, span=span)
            self._place(copy)
            v = copy
        v.place = carry

    # -- values --------------------------------------------------------------------------------------------------

    def fresh(self, name: str) -> str:
        taken = self.names | set(self.buffers)
        wish, count = name, 2
        while wish in taken:
            wish, count = f"{name}_{count}", count + 1
        self.names.add(wish)
        return wish

    def _value(self, name: str, node: Node, span: Span | None) -> Value:
        """The value of an expression under a name."""
        if node in self.of:
            return self.of[node]
        key = self._key(node)
        known = self.numbered.get(key)
        if known is not None and set(known.axes) == set(node.axes) - {n.TIME}:
            self.of[node] = known
            return known
        v = self._new_value(name, node, span)
        self.numbered.setdefault(key, v)
        return v

    def _new_value(self, name: str, node: Node, span: Span | None) -> Value:
        axes = tuple(a for a in node.axes if a != n.TIME)
        timed = n.TIME in node.axes or self.inside or self.step
        if isinstance(node, n.Reduce) and node.op == "logsumexp":
            v = self._place(
                Value(self.fresh(name), axes, node.kind, logsumexp(self.arena, node), timed=timed, span=span)
            )
            self.of[node] = v
            return v
        kind: Kind = "real" if without_imaginary_part(node, self.of, self.named) else node.kind
        v = Value(self.fresh(name), axes, kind, node, timed=timed, span=span)
        if isinstance(node, n.Reduce):
            v.op, v.over, v.value = node.op, node.over, node.arg
            found = self.product_of(node, name)
            if found is not None:
                v.product, v.value = found
        elif serial(node):
            v.serial, v.special = not isinstance(node, n.Shift | n.Flip), node
        self.of[node] = v
        carry = self._old(node) if isinstance(node, n.Lag) and node.steps == 1 else None
        if carry is not None:
            self.olds[v] = carry
        return self._place(v)

    def _key(self, node: Node) -> int:
        """A number that two expressions share which are the same at every step, whatever loop they stand in."""
        found = self.of.get(node)
        if found is not None:
            return self._interned(("value", id(self.olds.get(found, found))))
        if node in self.keys:
            return self.keys[node]
        match node:
            case n.Local(name=name) if isinstance(value := self.named.get(name), Value):
                return self._interned(("value", id(self.olds.get(value, value))))
            case n.Local(name=name) if isinstance(self.named.get(name), n.Node) and name not in self.lines:
                return self._key(self.named[name])  # type: ignore[arg-type]
            case n.Local(name=name):
                return self._interned(("local", name))
            case n.Load(buffer=buffer) if buffer in self.scratch:
                return self._interned(("value", id(self.scratch[buffer])))
            case n.Load(buffer=buffer):
                return self._interned(("load", buffer, tuple(a for a in node.axes if a != n.TIME)))
            case n.Flip(arg=n.Lag() as inner, axis=n.TIME):
                return self._key(inner)
            case n.Lag(steps=1) if self._old(node) is not None:
                return self._interned(("value", id(self._old(node))))
        data = tuple((k, x) for k, x in vars(node).items() if k != "axes" and not _holds_nodes(x))
        axes = tuple(a for a in node.axes if a != n.TIME) if not isinstance(node, n.Map) else ()
        key = (type(node).__name__, axes, data, tuple(self._key(x) for x in n.children(node)))
        self.keys[node] = self._interned(key)
        return self.keys[node]

    def _old(self, node: n.Lag) -> Value | None:
        """The carry whose value before this step a node is."""
        now = self.chunk_lag(node)
        if now is None or now.place is None or not self.begins(node.halo, now.place):
            return None
        return now.place

    def _interned(self, key: object) -> int:
        return self.interned.setdefault(key, len(self.interned))

    def _whole(self, node: Node, name: str, span: Span | None, axes: Axes, kind: Kind) -> Value:
        """The value of an expression, with all of these axes."""
        axes = tuple(a for a in axes if a != n.TIME)
        known = self.named.get(node.name) if isinstance(node, n.Local) else self.of.get(node)
        same = isinstance(known, Value) and set(known.axes) == set(axes) and known.kind == kind and known.timed
        if isinstance(known, Value) and same and not known.carry:  # a carry goes on; what it was has a place of its own
            return known
        if isinstance(node, n.Reduce) and set(node.axes) - {n.TIME} == set(axes) and node.kind == kind:
            return self._value(name, node, span)
        key = (self._key(node), frozenset(axes), kind)
        if key not in self.wholes:
            self.wholes[key] = self._place(Value(self.fresh(name), axes, kind, node, span=span))
        return self.wholes[key]

    def _stored(self, buffer: str, node: Node, span: Span | None, group: int) -> Value:
        b = self.buffers[buffer]
        axes = tuple(a for a in b.axes if a != n.TIME)
        v = Value(f"store {buffer}", axes, b.kind, node, timed=n.TIME in b.axes or self.step, span=span, store=buffer)
        v.group = group
        base = node
        while (
            isinstance(base, n.Local) and isinstance(self.named.get(base.name), n.Node) and base.name not in self.lines
        ):
            base = self.named[base.name]  # type: ignore[assignment]
        v.copies = isinstance(base, n.Local | n.Reduce) or (isinstance(base, n.Load) and base.buffer in self.scratch)
        return v

    def _made(self, v: Value) -> Value:
        """A value with what it needs made before."""
        if v.product is not None:
            self._stand(v, v.product.row.core, v.product.row.value)
            return v
        if v.outer is not None:
            for f in v.outer:
                self._stand(v, f.core, f.value)
            return v
        node = v.special if v.special is not None else v.value
        self._needs(v, node, root=v.special is not None)
        return v

    def _place(self, v: Value) -> Value:
        """A value in the first group that can take it."""
        if self.home is not None:
            self._made(v)
            v.timed, v.group = v.timed and self.at_once, self.home_group
            self.home.append(v)
            return v
        self._made(v)
        group = max(
            [
                self.least,
                *(self._ready(r) for r in v.reads),
                *(x.group for x in v.old),
                *(x.group + 1 for x in v.spread),
            ]
        )
        group = max([group, *(s.group + (0 if self.sequential else 1) for s in v.behind)])
        group = 0 if self.at_once else group
        if v.reverse is not None:
            group = self._open(v.reverse, group)
            self.groups[group].reverse = v.reverse
            if any(s.group != group for s in v.behind):
                raise NotPrintable(f"`{v.name}` looks back on what another sweep makes")
        if self.inside:
            while len(self.groups) <= group:
                self.groups.append(Group())
            if self.groups[group].reverse not in (None, self.direction):
                raise NotPrintable(f"`{v.name}` runs in two directions")
            self.groups[group].reverse = self.direction
            self.groups[group].sequential = True
        while len(self.groups) <= group:
            self.groups.append(Group())
        v.group = group
        self.groups[group].values.append(v)
        return v

    def _ready(self, read: Value) -> int:
        """The first group in which a value can be read."""
        if read.carry:
            return 0
        if not read.timed:
            return self._after_group(read)
        return read.group

    def _after_group(self, read: Value) -> int:
        return read.group + 1 if n.TIME in read.over else read.group

    def _needs(self, v: Value, node: Node, root: bool = False) -> None:
        """Make what an expression cannot be written without, and note what it reads."""
        found = self.of.get(node)
        if found is not None and found is not v:
            self._stand(v, node, found)
            return
        if not root and self._own_place(node):
            # a Reduce or the like inside an expression: a value by a name that says what it is
            self._stand(v, node, self._value(f"{v.name.removeprefix('store ')}_{word(node)}", node, v.span))
            return
        part = part_of_sum(node, self.arena)
        if part is not None:
            self._stand(v, node, self._value(f"{v.name.removeprefix('store ')}_sum", part, v.span))
            return
        match node:
            case n.Local(name=name):
                self._local(v, name)
            case n.Load(buffer=buffer) if buffer in self.scratch:
                self._note(v, self.scratch[buffer])
            case n.Lag() if self.chunk_lag(node) is not None:
                now = self.chunk_lag(node)
                assert now is not None
                if node.steps == 1 and now.place is not None and self.begins(node.halo, now.place):
                    self._note(v, now.place)
                    v.old[now] = node
                else:
                    self._note(v, now)
                    self._needs(v, node.halo)
            case n.Lag() | n.Frames():
                self._line(v, node)
            case n.Flip(arg=n.Lag() | n.Frames() as inner, axis=n.TIME):
                self._needs(v, inner)
            case n.Tail(arg=arg, halo=halo) if not self._line_carry(halo):
                self._needs(v, arg)
                self._needs(v, halo)
            case n.Tail():
                self._line(v, node)
            case n.Append() | n.Start():
                raise NotPrintable("a past that grows")
            case n.Prefix():
                raise NotPrintable("a parallel prefix, of a plan that was made for another machine")
            case n.Table() | n.Draw():
                raise NotPrintable(type(node).__name__)
            case _:
                kids = n.children(node)
                if serial(node) and root:
                    # its operand is read at other indices: it needs an array
                    for x in kids:
                        self._arrays(v, x)
                    return
                for x in kids:
                    if worth(x, node):
                        self._stand(v, x, self._value(f"{v.name.removeprefix('store ')}_{word(x)}", x, v.span))
                    else:
                        self._needs(v, x)

    def _arrays(self, v: Value, node: Node) -> None:
        if is_number(node) or (self._view(node) and not isinstance(node, n.Rename | n.Pick)):
            self._needs(v, node)
        else:
            self._stand(v, node, self._value(f"{v.name}_arg", node, v.span))

    def _own_place(self, node: Node) -> bool:
        return isinstance(node, n.Reduce) or serial(node)

    def _stand(self, v: Value, node: Node, made: Value) -> None:
        v.stands[node] = made
        self._note(v, made)

    def _note(self, v: Value, read: Value) -> None:
        if read not in v.reads:
            v.reads.append(read)

    def _local(self, v: Value, name: str) -> None:
        found = self.named.get(name)
        if isinstance(found, Value):
            self._note(v, found)
        elif name in self.tails and v.group == -1:
            self._line(v, self.tails[name])  # as it is where a chunk begins
        elif found is not None:
            self._needs(v, found)
        elif name in self.lines:
            raise NotPrintable(f"the delay line {name} itself")
