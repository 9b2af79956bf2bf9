"""Sweeps over large states as sweeps over tiles of them: the loop over the steps of a chunk inside, the tiles outside.

A state of more than a core's registers is read and written once a step, from whatever cache holds it. Where the
elements along an axis are computed alone, the steps of a chunk can run for one tile of the state after the other, and
the tile stays near. What a step computes is put into *levels* for this:

    level 0    a = exp(g);  s = scale * q             narrow: what has none of the state's width
    level 1    S = a * S + k * v;  y = sum[K] s * S   wide: over the state; tiles along K and V
    level 2    r = rsqrt(mean[V](y * y));  store y    narrow: y is whole when all tiles are done

Each level is a sweep over the chunk (several, where directions differ), and what crosses between levels is kept for
each of its steps. A wide value that a later level reads is computed again there, from where the chunk began, since to
keep all states of a chunk costs more than that. What sums over a tiled axis adds up over the tiles.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import networkx as nx
from ssmc.backends.cpp.nests import cheap, pointwise
from ssmc.backends.cpp.schedule import REGISTERS, Schedule, moves
from ssmc.backends.cpp.value import Group, Value, moved_axes
from ssmc.backends.cpp.values import Pass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node

# A tile of the states as a part of the first cache, and all that it keeps for the steps of a chunk, of the second.
NEAR, KEPT = 0.25, 0.375
# Bytes that may cross between levels for each step of a chunk before they are computed again instead.
CROSSING = 131072
OWN = 56  # vectors of a tile whose elements have coefficients of their own, and of these: registers and a few more
HELD, VECTORS = 16, 4  # vectors of state in registers, of them along the lanes
CHUNK = 32  # steps that a tile runs for where nothing else settles it


@dataclass(frozen=True, eq=False)
class Tiles:
    """The tiles of one wide level: for each axis how many elements, the lane's a multiple of LANES; `near` are the
    values kept for the steps of a chunk of one tile only."""

    extents: Mapping[str, int]
    lane: str | None
    near: frozenset[Value] = frozenset()
    sums: tuple[Value, ...] = ()  # added up over the tiles


@dataclass
class _Level:
    number: dict[Value, int] = field(default_factory=dict)
    group: dict[Value, int] = field(default_factory=dict)


def split(
    values: Pass,
    schedule: Schedule,
    sizes: Mapping[str, int],
    lanes: int,
    width: int,
    caches: tuple[int, int] = (1 << 15, 1 << 20),
) -> bool:
    """Put the values of a pass into levels, and say which tiles the wide ones run over. False where nothing is wide,
    or no axis of what is can be tiled: then nothing has changed."""
    return _Split(values, schedule, sizes, lanes, width, caches).done()


class _Split:
    def __init__(
        self,
        values: Pass,
        schedule: Schedule,
        sizes: Mapping[str, int],
        lanes: int,
        width: int,
        caches: tuple[int, int],
    ) -> None:
        self.values, self.schedule, self.sizes = values, schedule, sizes
        self.near, self.kept = NEAR * caches[0], KEPT * caches[1]
        self.lanes, self.width = lanes, width
        self.block = values.p.loop.block if values.cut else CHUNK
        self.level: dict[Value, int] = {}
        self.home = {v: i for i, g in enumerate(values.groups) for v in g.values}  # the group that it came from
        self.order: dict[Value, float] = {v: float(i) for i, v in enumerate(self.home)}
        self.carries = [*values.carries.values(), *(c for cs in values.resets.values() for c in cs)]
        self.next = {v.place: v for v in self.home if v.place is not None}
        self.totals = {v.total for v in values.totals}

    def done(self) -> bool:
        v = self.values
        if not v.sequential or v.step or any(c.reads or c.before for cs in v.resets.values() for c in cs):
            return False
        if any(not x.timed and not x.carry for x in self.home):
            return False
        wide = [c for c in self.carries if c not in self.totals and self._large(c)]
        if not wide or any(a not in self.sizes and a not in (n.LAG,) for x in self.home for a in self.spans(x)):
            return False
        self.shapes = [self.spans(c) for c in wide]
        parts = self._parts()
        if parts is None:
            return False
        self._numbered(parts)
        extents = {k: self._extents(k) for k in self._wide_levels()}
        if not any(extents.values()):
            return False
        self._staged()
        self._again()
        self._regroup()
        return True

    # -- what is wide --------------------------------------------------------------------------------------------

    def narrowed(self, a: str) -> bool:
        if a in (n.BATCH, n.TIME):
            return True
        return a != self.schedule.lane and (a in self.schedule.grid or self.sizes.get(n.base_axis(a)) == 1)

    def extent(self, a: str) -> int:
        if a == self.schedule.lane and self.schedule.blocked:
            return self.schedule.vectors * self.lanes
        return self.sizes.get(n.base_axis(a), 1)

    def spans(self, v: Value) -> frozenset[str]:
        """The axes that a value has loops over."""
        return frozenset(a for a in (*v.axes, *v.over) if not self.narrowed(a))

    def bytes(self, axes: Iterable[str]) -> int:
        return math.prod(self.extent(a) for a in axes) * self.width

    def _large(self, c: Value) -> bool:
        axes = self.spans(c)
        return n.LAG not in axes and len(axes) > 1 and self.bytes(axes) > REGISTERS * self.lanes * self.width

    def wide(self, v: Value) -> bool:
        return any(s <= self.spans(v) for s in self.shapes)

    # -- levels --------------------------------------------------------------------------------------------------

    def _parts(self) -> list[list[Value]] | None:
        """The values in order, those together that have to run in one sweep: what reads a state and what changes it."""
        graph: nx.DiGraph[Value] = nx.DiGraph()
        graph.add_nodes_from(self.home)
        for v in self.home:
            for r in v.reads:
                if r.carry:
                    update = self.next.get(r)
                    if update is not None and self.home[update] != self.home[v]:
                        if update not in v.old:
                            return None
                        graph.add_edge(update, v)  # what the state was is kept for each step
                    elif update is not None:
                        graph.add_edge(v, update)
                        graph.add_edge(update, v)
                elif r in self.home:
                    graph.add_edge(r, v)
            for s in v.behind:
                if s in self.home:
                    graph.add_edge(s, v)
        found = nx.condensation(graph)
        rank = {i: min(self.order[v] for v in found.nodes[i]["members"]) for i in found}
        ordered = nx.lexicographical_topological_sort(found, key=lambda i: rank[i])
        parts = [sorted(found.nodes[i]["members"], key=lambda v: self.order[v]) for i in ordered]
        if any(len({self.home[v] for v in part}) > 1 for part in parts):
            return None
        return parts

    def _numbered(self, parts: list[list[Value]]) -> None:
        """Levels: even ones narrow, odd ones wide, each value in the first that it can be in.

        A sum is whole within its level where its axes cannot be tiled, since the state itself needs it (`bound`); what
        is computed of it element by element, and nothing else narrow, stays in that level too.
        """
        self.part = {v: i for i, part in enumerate(parts) for v in part}
        bound: dict[int, frozenset[str]] = {}
        for i, part in enumerate(parts):
            wide = any(self.wide(v) for v in part)
            (v, *others) = part
            simple = not others and not (v.op or v.store or v.serial or v.place or v.behind or v.total)
            level = 1 if wide else 0
            mine = frozenset(a for v in part if v.op and any(v in x.reads for x in part) for a in v.over)
            reads = {(r, v) for v in part for r in (*v.reads, *v.behind) if not r.carry and r in self.home}
            for r, v in reads:
                if self.part[r] == i:
                    continue
                theirs = self.level[r]
                if not theirs % 2:
                    level = max(level, theirs + 1 if wide else theirs)
                    continue
                whole = not r.store and (not r.op or set(r.over) <= {*bound[self.part[r]], n.BATCH, n.TIME})
                if (wide or simple) and whole and pointwise(v, r, self.values):
                    level = max(level, theirs)
                else:
                    level = max(level, theirs + 2 if wide else theirs + 1)
            for r, _ in reads:
                if self.part[r] != i and self.level[r] == level and level % 2:
                    mine |= bound[self.part[r]]
            bound[i] = mine
            for v in part:
                self.level[v] = level
        self._later(parts)

    def _later(self, parts: list[list[Value]]) -> None:
        """What is made of the caller's tensors alone waits for the first who reads it: less is kept."""
        readers: dict[Value, list[Value]] = {}
        for v in self.home:
            for r in v.reads:
                readers.setdefault(r, []).append(v)
        for part in reversed(parts):
            (v, *others) = part
            alone = not others and not v.store and v.total is None and v.place is None and not v.behind
            if alone and not self.level[v] % 2 and not [r for r in v.reads if r in self.home or r.carry]:
                mine = readers.get(v, [])
                if mine and all(self.home[r] == self.home[v] for r in mine):
                    self.level[v] = max(self.level[v], min(self.level[r] // 2 * 2 for r in mine))

    def _wide_levels(self) -> list[int]:
        return sorted({x for x in self.level.values() if x % 2})

    def _of(self, level: int) -> list[Value]:
        return sorted((v for v in self.level if self.level[v] == level), key=lambda v: self.order[v])

    # -- what a wide level reads ---------------------------------------------------------------------------------

    def _staged(self) -> None:
        """Narrow parts of wide expressions, and narrow tensors, become values of the level before: computed and
        fetched once a step, and not once for each of their uses."""
        self.staged: dict[Node, Value] = {}
        for level in self._wide_levels():
            for v in self._of(level):
                if v.special is None and self.wide(v):
                    self._stage(v, v.value)

    def _stage(self, v: Value, node: Node) -> None:
        if node in v.stands or isinstance(node, n.Const | n.Size | n.Index):
            return
        axes = {a for a in node.axes if not self.narrowed(a)}
        if not any(s <= axes for s in self.shapes):
            made = self._narrow(v, node)
            if made is not None:
                v.stands[node] = made
                v.reads.append(made)
            if made is not None or not isinstance(node, n.Map):
                return
        if isinstance(node, n.Map):
            for x in node.args:
                self._stage(v, x)
        elif isinstance(node, n.Local):
            named = self.values.named.get(node.name)
            if isinstance(named, n.Map):
                self._stage(v, named)

    def _narrow(self, v: Value, node: Node) -> Value | None:
        """A narrow part of an expression as a value; None where it is one already, or the same at every step."""
        if isinstance(node, n.Local) and isinstance(self.values.named.get(node.name), Value):
            return None
        if node in self.staged:
            return self.staged[node]
        if not self._timed(node):
            return None
        before = [len(g.values) for g in self.values.groups]
        axes = tuple(a for a in node.axes if a != n.TIME)
        made = Value("", axes, node.kind, node, span=v.span, group=v.group)
        self.values._needs(made, node)
        for g, count in zip(self.values.groups, before, strict=True):
            del g.values[count:]
        if any(r not in self.level or self.level[r] >= self.level[v] for r in made.reads) or made.behind or made.old:
            return None
        load = next((x for x in n.postorder([node]) if isinstance(x, n.Load)), None)
        made.name = self.values.fresh(load.buffer if node is load and load is not None else f"{v.name}_part")
        made.group = v.group
        self.level[made], self.home[made], self.order[made] = self.level[v] - 1, self.home[v], self.order[v]
        self.values.groups[self.home[v]].values.append(made)
        self.staged[node] = made
        return made

    def _timed(self, node: Node) -> bool:
        """Whether an expression reads sequences of the caller's."""
        for x in n.postorder([node]):
            if isinstance(x, n.Load) and n.TIME in self.values.buffers[x.buffer].axes:
                return True
            if isinstance(x, n.Local):
                named = self.values.named.get(x.name)
                if isinstance(named, Value) or (named is not None and self._timed(named)):
                    return True
        return False

    # -- computing again -----------------------------------------------------------------------------------------

    def _again(self) -> None:
        """What a wide level reads of an earlier one, and would have to be kept, is computed in it too."""
        for level in self._wide_levels():
            made: dict[Value, Value] = {}
            for v in self._of(level):
                for r in list(v.reads):
                    if r.carry or r.op or r not in self.level or not self.level[r] % 2 or self.level[r] == level:
                        continue
                    if self.bytes(self.spans(r)) * self.block <= CROSSING:
                        continue
                    needed = self._origin(r)
                    if needed is not None:
                        self._copied(needed, level, made)
                        self._redirect(v, made)
            for twin in list(made.values()):
                self._redirect(twin, made)
            self._from_before(level)

    def _from_before(self, level: int) -> None:
        """What takes an operation or two to compute of the state before a step, and is read in a later sweep beside
        that state, is computed there: to keep it for every step costs more."""
        mine = self._of(level)
        for v in mine:
            before = {
                c: x
                for x in mine
                if self.home[x] == self.home[v] and isinstance(x.value, n.Lag) and len(x.old) == 1
                for c in [next(iter(x.old)).place]
                if c is not None and x.reads == [next(iter(x.old))]
            }
            made: dict[Value, Value] = {}
            for r in v.reads:
                if r.carry or r.op or self.level.get(r) != level or self.home[r] == self.home[v] or not cheap(r):
                    continue
                states = [c for c in r.reads if c.carry or self.level.get(c, 0) % 2]
                if not states or any(c not in before for c in states):
                    continue
                twin = copy.copy(r)
                twin.name, twin.place, twin.crosses = self.values.fresh(f"{r.name}_here"), None, False
                twin.reads, twin.stands, twin.old = list(r.reads), dict(r.stands), {}
                twin.instead = dict(r.instead)
                twin.redirect({c: before[c] for c in states})
                for c in states:
                    self.order[before[c]] = min(self.order[before[c]], self.order[v] - 0.5)
                self.level[twin], self.home[twin], self.order[twin] = level, self.home[v], self.order[v] - 0.25
                self.values.groups[self.home[v]].values.append(twin)
                made[r] = twin
            self._redirect(v, made)

    def _origin(self, v: Value) -> list[Value] | None:
        """The wide values that a value is computed from, and the carries among them; None where one goes on from chunk
        to chunk: it is not there any more."""
        found: dict[Value, None] = {}
        todo = [v]
        while todo:
            x = todo.pop()
            if x in found:
                continue
            found[x] = None
            if x.carry:
                if not any(x in cs for cs in self.values.resets.values()):
                    return None
                update = self.next.get(x)
                todo += [] if update is None else [update]
                continue
            if x.store or x.total is not None:
                return None
            if x.place is not None:
                todo.append(x.place)
            todo += [r for r in x.reads if r.carry or self.level.get(r, 0) % 2]
        return list(found)

    def _copied(self, needed: list[Value], level: int, made: dict[Value, Value]) -> None:
        for x in needed:
            if x in made:
                continue
            twin = copy.copy(x)
            twin.name = self.values.fresh(f"{x.name}_again")
            twin.reads, twin.stands, twin.old = list(x.reads), dict(x.stands), dict(x.old)
            twin.instead, twin.crosses = dict(x.instead), False
            made[x] = twin
            if x in self.values.led:
                self.values.led.add(twin)
            if x.carry:
                home = next(i for i, cs in self.values.resets.items() if x in cs)
                self.values.resets[home].append(twin)
            else:
                self.level[twin], self.home[twin] = level, self.home[x]
                self.order[twin] = self.order[x]
                self.values.groups[self.home[x]].values.append(twin)

    def _redirect(self, v: Value, made: Mapping[Value, Value]) -> None:
        """Let a value read copies in place of what they were made from."""
        v.redirect(made)
        if v.place is not None and v.place in made and v in made.values():
            v.place = made[v.place]

    # -- sweeps --------------------------------------------------------------------------------------------------

    def _regroup(self) -> None:
        """A group for each level and each group before, in order."""
        old = self.values.groups
        self._drop_unread()
        keys = sorted({(self.level[v], self.home[v]) for v in self.level})
        groups: list[Group] = []
        resets: dict[int, list[Value]] = {}
        begun: set[Value] = set()
        for number, (level, home) in enumerate(keys):
            mine = [v for v in self._of(level) if self.home[v] == home]
            group = Group(old[home].reverse, mine, old[home].sequential)
            for v in mine:
                v.group = number
            for c in self.values.resets.get(home, []):
                if c not in begun and any(c in v.reads or v.place is c for v in mine):
                    begun.add(c)
                    resets.setdefault(number, []).append(c)
            groups.append(group)
        self.values.groups, self.values.resets = groups, resets
        for v in self.level:
            v.crosses = False
        outside = {r for v in (*self.values.after, *self.values.final, *self.values.starts) for r in v.reads}
        readers: dict[Value, list[Value]] = {}
        for g in groups:
            for v in g.values:
                for r in v.reads:
                    readers.setdefault(r, []).append(v)
                    if r.timed and not r.carry and r.group < v.group:
                        r.crosses = True
        for level in self._wide_levels():
            extents = self._extents(level)
            if not extents:
                continue
            here = set(self._of(level))
            near = {v for v in here if v.crosses and v not in outside and set(readers.get(v, ())) <= here}
            near = {v for v in near if not v.op}
            sums = [v for v in self._of(level) if v.op and v.total is None and set(v.over) & set(extents)]
            lane = self._lane(level)
            sweeps = [g for g in groups if g.values and g.values[0] in here]
            small = self._in_registers(level, extents, lane) if len(sweeps) == 1 and not near else None
            sized = small or self._sized(level, extents, near, lane)
            tiles = Tiles(sized, lane, frozenset(near), tuple(sums))
            for g in sweeps:
                g.tiles = tiles

    def _drop_unread(self) -> None:
        """What nobody reads any more, since what read it reads a copy, goes."""
        v = self.values
        todo = [*v.after, *v.final, *v.starts]
        todo += [x for x in self.level if x.store or x.total is not None or x.place in v.carries.values()]
        live: set[Value] = set()
        while todo:
            x = todo.pop()
            if x in live:
                continue
            live.add(x)
            todo += [*x.reads, *x.behind]
            if x.carry:
                todo += [u for u in self.level if u.place is x]
        for x in [x for x in self.level if x not in live]:
            del self.level[x]

    # -- tiles ---------------------------------------------------------------------------------------------------

    def _extents(self, level: int) -> tuple[str, ...]:
        """The axes of a wide level along which its values are computed alone."""
        mine = self._of(level)
        inside = set(mine)
        axes = {a for s in self.shapes for a in s}
        bad: set[str] = set()
        for v in mine:
            read_here = any(v in x.reads for x in mine)
            for a in axes:
                if a in v.axes:
                    continue
                if a not in v.over or read_here or v.op not in ("sum", "max", "min"):
                    bad.add(a)
            bad |= {n.base_axis(a) for a in (*v.axes, *v.over) if n.base_axis(a) != a}
            if v.special is not None:
                bad |= moves(v.special)
            bad |= self._moved(v, inside)
        return tuple(a for a in sorted(axes - bad) if self.extent(a) > 1)

    def _moved(self, v: Value, inside: set[Value]) -> set[str]:
        """The axes along which a value reads others of its level where it does not stand itself."""
        found: set[str] = set()
        for node in n.postorder([v.special if v.special is not None else v.value]):
            if isinstance(node, n.Reduce) or node in v.stands:
                continue
            moved = moves(node)
            if moved:
                named = {x.name for x in n.postorder([node]) if isinstance(x, n.Local)}
                reads = {self.values.named.get(name) for name in named}
                if any(r in inside or (isinstance(r, Value) and r.carry) or isinstance(r, n.Node) for r in reads):
                    found |= moved
                if any(x in v.stands and v.stands[x] in inside for x in n.postorder([node])):
                    found |= moved
        return found

    def _lane(self, level: int) -> str | None:
        """The axis whose elements are computed together: one that few sums of the level are over, since to add up
        the lanes of a vector takes longer than a vector of terms."""
        mine, lane = self._of(level), self.schedule.lane
        if self.schedule.blocked or lane is None:
            return lane
        moved = {a for v in mine for a in (*moved_axes(v), *(moves(v.special) if v.special is not None else ()))}
        possible = set.intersection(*(set(s) for s in self.shapes)) - moved
        possible = {a for a in possible if self.extent(a) >= self.lanes}
        return min([lane, *sorted(possible - {lane})], key=lambda a: sum(a in v.over for v in mine))

    def _states(self, level: int) -> list[Value]:
        return list(dict.fromkeys(v.place for v in self._of(level) if v.place is not None))

    def _in_registers(self, level: int, axes: tuple[str, ...], lane: str | None) -> dict[str, int] | None:
        """Tiles that stay in registers while time goes on, where their states fit; None where they do not, or the
        lanes of a vector are summed for each of its elements."""
        mine, states = self._of(level), self._states(level)
        wide = set().union(*(self.spans(c) for c in states))
        if lane not in axes or not wide <= set(axes) or any(lane in v.over for v in mine) or not states:
            return None
        if any(self.wide(r) for v in mine for r in v.reads if r in self.values.held):
            return None
        if any(v.serial or v.special is not None or (self.spans(v) != wide and v.place is not None) for v in mine):
            return None
        extents = dict.fromkeys(axes, 1)
        room = HELD * self.lanes // sum(2 if c.kind == "complex" else 1 for c in states)
        for a in (lane, *sorted((a for a in axes if a != lane), key=lambda a: (not any(a in v.over for v in mine), a))):
            unit = self.lanes if a == lane else 1
            count = -(-self.extent(a) // unit)
            most = max(room // (math.prod(extents.values()) * (unit if a == lane else 1)), 1)
            most = min(most, VECTORS if a == lane else most)
            extents[a] = unit * max(x for x in range(1, count + 1) if count % x == 0 and x <= most)
        return extents

    def _sized(self, level: int, axes: tuple[str, ...], near: set[Value], lane: str | None) -> dict[str, int]:
        """How large the tiles are: all of an axis that is not tiled, of the others what the caches have room for."""
        mine = self._of(level)
        states = self._states(level)
        extents = dict.fromkeys(axes, 1)
        across = any(lane in v.over for v in mine)
        if lane in extents:
            extents[lane] = self.lanes

        def fits(tried: Mapping[str, int]) -> bool:
            def size(v: Value) -> int:
                return math.prod(tried.get(a, self.extent(a)) for a in self.spans(v)) * self.width

            tile = sum(map(size, states))
            return tile <= self.near * max(1, len(states)) and tile + self.block * sum(map(size, near)) <= self.kept

        def grown(a: str, most: int) -> None:
            unit = self.lanes if a == lane else 1
            count = -(-self.extent(a) // unit)
            wishes = [x for x in range(1, count + 1) if x * unit <= most]
            for x in sorted(wishes, key=lambda x: -x if count % x == 0 else -x / 2):  # tiles that are all alike
                if fits({**extents, a: x * unit}):
                    extents[a] = max(x * unit, extents[a])
                    return

        own = {r for v in mine for r in v.reads if r in self.values.held and self.wide(r)}
        if own:  # they take the registers, and no larger tile shares anything
            each = sum(2 if v.kind == "complex" else 1 for v in (*states, *own))
            for a in [a for a in axes if a != lane][:1]:
                grown(a, max(1, OWN // each))
            return extents
        inner = sorted((a for a in axes if a != lane), key=lambda a: (not any(a in v.over for v in mine), a))
        if lane in extents:
            grown(lane, 4 * self.lanes)
        for a in inner:
            grown(a, self.lanes)
        if lane in extents and across:
            grown(lane, self.extent(lane) + self.lanes)
        return extents
