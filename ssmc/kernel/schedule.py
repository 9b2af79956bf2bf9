"""Passes: which sweep over time computes what.

A pass sweeps time once, in one direction, in chunks of one length. Components are put into the earliest pass that runs
in their direction with their chunk length and follows what they read (and what their readouts are computed from, in a
form that holds no states). A value that belongs to one pass and is used in a later one crosses through a workspace of
the whole sequence (lower.py asks for it when it meets one): a readout, not the state it is made from, and the factors
of a large product, not the product. What depends on no register is computed again where it is needed, but
for projections and what they are computed from (projections.py): these have passes over the whole sequence at once.

A component whose states are handed in at the beginning of every chunk (`Given`) needs no pass of its own: it runs
inside the chunks of the first pass that needs it, whichever direction that has. The same holds of one that runs in
segments (segments.py), after two passes that find out with which states its chunks begin: one makes summaries of the
chunks, the next goes from chunk to chunk. Where a plan has such components, chunks are `free` of each other in every
other pass that can be so: no recurrence that goes on from chunk to chunk joins it, running sums aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Literal

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.kernel.projections import projections
from ssmc.plan.nodes import Choice, Plan
from ssmc.recurrence.chunkable import chunked_readings
from ssmc.recurrence.invariant import invariant_readings
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.readout import Tap
from ssmc.recurrence.separable import MatrixForm, matrix_form
from ssmc.recurrence.telescope import Telescope
from ssmc.recurrence.total import addend
from ssmc.step.nodes import StepGraph, depending, reads_of

FREE = -1  # the stage of a value that depends on no register and is no projection
AT_ONCE = 0  # the chunk of a pass without a recurrence, which has no reason to be cut


@dataclass(frozen=True)
class Given:
    """What a program is handed besides its arguments: registers, as they are where each chunk of `chunk` steps begins.

    `lines`: those of them that are registers of one step here and delay lines where they come from, with the axis
    along which their steps lie, newest first. `sums`: those that are not handed in, but known where a chunk ends from
    two registers that are, or are carried; the first of the two is a copy, and handed in as what it is a copy of.
    """

    chunk: int = 0
    registers: frozenset[str] = frozenset()
    lines: Mapping[str, str] = field(default_factory=dict)
    sums: Mapping[str, Telescope] = field(default_factory=dict)

    def handed_in_as(self, register: str) -> str | None:
        """The name under which a register is handed in; None where it is not."""
        if register not in self.registers or register in self.sums:
            return None
        return next((t.copy_of for t in self.sums.values() if t.state == register), register)


NOTHING = Given()


@dataclass(frozen=True)
class Sweep:
    """One pass: its components with their choices, and the outputs it computes.

    `summaries` are the components of whose chunks it makes summaries, `starts` those whose states it takes from chunk
    to chunk by these.
    """

    index: int
    reverse: bool
    chunk: int
    components: tuple[tuple[Component, Choice], ...]
    outputs: tuple[str, ...]
    summaries: tuple[Component, ...] = ()
    starts: tuple[Component, ...] = ()

    @property
    def homes(self) -> tuple[Component, ...]:
        """The components whose states are known where its chunks begin."""
        return (*(c for c, _ in self.components), *self.starts)


WIDE = 64  # the size of any axis, where values are compared by what they hold


Sort = Literal["serial", "free", "starts"]
Makes = Literal["steps", "products"]


class _Draft:
    """`whole`: for what runs over the whole sequence at once, delay lines and projections; no recurrence joins it.
    `sort`: whether what a chunk computes is carried to the next; `starts` are carried, and nothing else is there."""

    def __init__(self, reverse: bool, chunk: int | None, whole: bool = False, sort: Sort = "serial") -> None:
        self.reverse = reverse
        self.chunk = chunk  # None until a component that minds joins
        self.whole, self.sort = whole, sort
        self.members: list[tuple[Component, Choice]] = []
        self.makes: set[Makes] = set()
        self.summaries: list[Component] = []
        self.starts: list[Component] = []


def unbounded(graph: StepGraph, node: Node) -> bool:
    return isinstance(node, n.History) and graph.register[node.register].depth.unbounded


class Schedule:
    """The passes of a plan, in order (`sweeps`), and where values are computed and cross."""

    def __init__(self, plan: Plan, given: Given = NOTHING) -> None:
        analysis = plan.analysis
        self.given = given
        self.graph = analysis.graph
        self.members = list(zip(analysis.components, plan.choices, strict=True))
        self.cyclic = {r for c in analysis.components if c.recurrent for r in c.registers}
        taps = {c.index: _taps(analysis, c, choice) for c, choice in self.members}
        self.needs = {
            c.index: [self.graph.register[r].source for r in c.registers] + _parts(taps[c.index])
            for c in analysis.components
        }
        # what a component computes itself stays in its pass
        self.held: set[Node] = set()
        for c in (c for c in analysis.components if c.recurrent):
            own = [self.graph.register[r].source for r in c.registers]
            self.held |= depending([*own, *(tap.node for tap in taps[c.index])], set(c.registers))
        roots = [*self.graph.roots, *(x for needs in self.needs.values() for x in needs)]
        self.projections = projections(analysis, roots, self.held)
        self.pass_of: dict[str, int] = {}
        # generated loops go over the steps of a chunk, or multiply in it: a pass does one of the two
        self.apart = plan.machine == "cpp"
        self.cut = {c.index for c, choice in self.members if choice.segments and not self.handed_in(c)}
        self.starts_of: dict[str, int] = {}  # a register of theirs -> the pass that goes from chunk to chunk
        self.stages: dict[Node, int] = {}
        self.crossings: dict[Node, set[Node]] = {}
        self.drafts = [_Draft(False, None, whole=True)] if self.projections.first else []
        self.sweeps = self._sweeps()

    def _sweeps(self) -> tuple[Sweep, ...]:
        drafts = self.drafts
        for component, choice in self._ordered():
            needs = self.needs[component.index]
            own = set(component.registers)
            if component.index in self.cut:
                self._segments(component, choice)
                continue
            self._resume(needs, own, None if self._at_once(component, choice) else component.reverse)
            where = self._join(max(self._earliest(needs, own), 0), component, choice)
            drafts[where].members.append((component, choice))
            for r in component.registers:
                self.pass_of[r] = where
        for o in self.graph.outputs:
            self._resume([o.value], set(), None)
        last = max((self.stage(o.value) for o in self.graph.outputs), default=0)
        while len(drafts) <= max(last, 0):
            drafts.append(_Draft(False, None, sort="free" if self.cut else "serial"))
        outputs: list[list[str]] = [[] for _ in drafts]
        for o in self.graph.outputs:
            outputs[max(self.stage(o.value), 0)].append(o.name)
        return tuple(
            Sweep(
                i, d.reverse, d.chunk if d.chunk is not None else AT_ONCE, tuple(d.members), tuple(outputs[i]),
                tuple(d.summaries), tuple(d.starts),
            )
            for i, d in enumerate(drafts)
        )  # fmt: skip

    def _segments(self, component: Component, choice: Choice) -> None:
        """The two passes after which the states are known with which the chunks of a component begin."""
        assert component.monoid is not None
        elements = list(component.monoid.element)
        self._resume(elements, set(), None)
        first = self._chunk_pass(max(self._earliest(elements, set()), 0), None, choice.chunk, "free")
        self.drafts[first].summaries.append(component)
        second = self._chunk_pass(first + 1, component.reverse, choice.chunk, "starts")
        self.drafts[second].starts.append(component)
        self.starts_of.update(dict.fromkeys(component.registers, second))

    def _reads(self, component: Component) -> set[str]:
        """The registers that must be there before a component: those it reads, and what given ones of them read."""
        home = {r: c for c, _ in self.members if self.handed_in(c) for r in c.registers}
        found: set[str] = set()
        todo = [component]
        while todo:
            needs = self.needs[todo.pop().index]
            new = {r for x in n.postorder(needs) for r in reads_of(x)} - found
            found |= new
            todo += [home[r] for r in new if r in home]
        return found - home.keys() - set(component.registers)

    def _at_once(self, component: Component, choice: Choice) -> bool:
        """Whether a component is not cut into the chunks at which given ones begin."""
        return bool(self.given.registers) and component.recurrent and choice.chunk != self.given.chunk

    def handed_in(self, component: Component) -> bool:
        """Whether a component goes on from what is given at the beginning of each chunk."""
        return set(component.registers) <= self.given.registers

    def resumes(self, component: Component) -> bool:
        """Whether the states of a component are known where a chunk begins: given, or from an earlier pass."""
        return self.handed_in(component) or component.index in self.cut

    def _earliest(self, needs: Iterable[Node], own: set[str]) -> int:
        """The first pass in which all is known that `needs` are computed from, `own` registers aside."""
        inside = depending(list(needs), own)
        return max((self.stage(x) for x in n.postorder(list(needs)) if x not in inside), default=0)

    def _resume(self, needs: Iterable[Node], own: set[str], reverse: bool | None) -> None:
        """Place the given components that `needs` are computed from: in the pass that their user will join, of a
        direction (or any), so that it finds them there."""
        found = self._unplaced(needs)
        if not found:
            return
        registers = {r for component, _ in found for r in component.registers}
        every = [*needs, *(x for component, _ in found for x in self.needs[component.index])]
        known = [self.starts_of[r] + 1 for r in registers if r in self.starts_of]
        earliest = max([self._earliest(every, own | registers), 0, *known])
        chunk = next((choice.chunk for component, choice in found if component.index in self.cut), self.given.chunk)
        makes = {made for component, choice in found if (made := self._makes(component, choice))}
        where = self._chunk_pass(earliest, reverse, chunk, "free" if self.cut else "serial", makes)
        self.drafts[where].members += [
            (c, replace(choice, form="recurrent") if choice.segments else choice) for c, choice in found
        ]
        self.pass_of.update(dict.fromkeys(registers, where))

    def _unplaced(self, needs: Iterable[Node]) -> list[tuple[Component, Choice]]:
        """The given components in no pass yet that `needs` are computed from, each after those that it needs itself."""
        found: list[tuple[Component, Choice]] = []
        seen: set[int] = set()

        def visit(nodes: Iterable[Node]) -> None:
            read = {r for x in n.postorder(list(nodes)) for r in reads_of(x)} - self.pass_of.keys()
            for m in self.members:
                component = m[0]
                if self.resumes(component) and component.index not in seen and read & set(component.registers):
                    seen.add(component.index)
                    visit(self.needs[component.index])
                    found.append(m)

        visit(needs)
        return found

    def _ordered(self) -> list[tuple[Component, Choice]]:
        """The components after what they need, those of one direction together: of the two orders, which begin in one
        direction and take all they can before they turn, the one that turns less."""
        reads = {component.index: self._reads(component) for component, _ in self.members}
        depth = {component.index: self._depth(component) for component, _ in self.members}
        best: tuple[int, list[tuple[Component, Choice]]] | None = None
        for first in (False, True):
            direction, turns = first, 0
            placed: set[str] = set()
            order: list[tuple[Component, Choice]] = []
            waiting = [m for m in self.members if not self.handed_in(m[0])]
            while waiting:
                ready = [m for m in waiting if reads[m[0].index] <= placed]
                same = [m for m in ready if m[0].reverse == direction]
                if not same:
                    direction, turns = not direction, turns + 1
                    continue
                # what runs over the whole sequence at once waits for those whose chunks given components join, and who
                # needs products that only a later pass has for those who need fewer
                chosen = min(same, key=lambda m: (self._at_once(*m), depth[m[0].index]))
                order.append(chosen)
                waiting.remove(chosen)
                placed |= set(chosen[0].registers)
            if best is None or turns < best[0]:
                best = turns, order
        assert best is not None
        return best[1]

    def _depth(self, component: Component) -> int:
        """How many projections follow one another in what a component is computed from."""
        depth: dict[Node, int] = {}
        for node in n.postorder(self.needs[component.index]):
            below = max((depth[k] for k in n.children(node)), default=0)
            depth[node] = below + (node in self.projections.found)
        return max(depth.values(), default=0)

    def stage(self, root: Node) -> int:
        """The first pass that can compute an expression, or FREE."""
        if root in self.stages:
            return self.stages[root]
        for node in n.postorder([root]):
            if node in self.stages:
                continue
            at = max((self.stages[k] for k in n.children(node)), default=FREE)
            match node:
                case n.Read(register=r) | n.Window(register=r) | n.History(register=r):
                    late = unbounded(self.graph, node) and r not in self.cyclic
                    at = max(at, self.pass_of[r] + late)
            if node in self.projections.found:
                at = self._whole(max(at, 0))
            self.stages[node] = at
        return self.stages[root]

    def crosses(self, node: Node) -> bool:
        """Whether a value of an earlier pass crosses itself, and not what it is elementwise computed from."""
        return self._crossing(node) == {node}

    def _crossing(self, root: Node) -> set[Node]:
        """What crosses where a value is used: as little as can be; a value with a name before what it is of."""
        if root in self.crossings:
            return self.crossings[root]
        for node in n.postorder([root]):
            if node in self.crossings:
                continue
            self.crossings[node] = {node}
            if isinstance(node, n.Map | n.Rename) and node not in self.held:
                below = {x for c in n.children(node) if self.stage(c) != FREE for x in self.crossings[c]}
                own, less = WIDE ** len(node.axes), sum(WIDE ** len(x.axes) for x in below)
                if less < own or (less == own and node not in self.graph.arena.labels):
                    self.crossings[node] = below
        return self.crossings[root]

    def _join(self, earliest: int, component: Component, choice: Choice) -> int:
        """The pass a component joins: the earliest possible one that fits, else a new one at the end."""
        if self.projections.lines & set(component.registers):
            return self._whole(earliest)
        free = bool(self.cut) and (not component.recurrent or addend(self.graph, component) is not None)
        chunk = choice.chunk if component.recurrent else None
        made = self._makes(component, choice)
        sort: Sort = "free" if free else "serial"
        return self._chunk_pass(earliest, component.reverse, chunk, sort, {made} if made else set())

    def _makes(self, component: Component, choice: Choice) -> Makes | None:
        if not self.apart or not component.recurrent or addend(self.graph, component) is not None:
            return None
        return "products" if choice.form == "chunked" else "steps"

    def _chunk_pass(
        self,
        earliest: int,
        reverse: bool | None,
        chunk: int | None,
        sort: Sort = "serial",
        makes: Set[Makes] = frozenset(),
    ) -> int:
        """The first pass from `earliest` of a direction and of chunks of a length (None: of any), or a new one."""
        drafts = self.drafts
        for i in range(earliest, len(drafts)):
            d = drafts[i]
            if makes and d.makes and makes != d.makes:
                continue
            if d.whole or d.sort != sort or (reverse is not None and d.reverse != reverse):
                continue
            if chunk is None or d.chunk is None or d.chunk == chunk:
                d.chunk = chunk if d.chunk is None else d.chunk
                d.makes |= makes
                return i
        where = self._append(earliest, _Draft(bool(reverse), chunk, sort=sort))
        drafts[where].makes |= makes
        return where

    def _whole(self, earliest: int) -> int:
        """The first pass over the whole sequence at once, from `earliest`: it has no direction."""
        for i in range(earliest, len(self.drafts)):
            if self.drafts[i].whole:
                return i
        return self._append(earliest, _Draft(False, None, whole=True))

    def _append(self, earliest: int, draft: _Draft) -> int:
        while len(self.drafts) < earliest:
            self.drafts.append(_Draft(False, None, sort="free" if self.cut else "serial"))
        self.drafts.append(draft)
        return len(self.drafts) - 1


def _taps(analysis: Analysis, component: Component, choice: Choice) -> tuple[Tap, ...]:
    """The readouts of a form that holds no states."""
    found: tuple[Tap, ...] | Node = ()
    if component.recurrent and choice.form == "chunked":
        form = matrix_form(analysis, component)
        found = chunked_readings(analysis, component, form) if isinstance(form, MatrixForm) else ()
    elif component.recurrent and choice.form == "conv":
        found = invariant_readings(analysis, component)
    return found if isinstance(found, tuple) else ()


def _parts(taps: tuple[Tap, ...]) -> list[Node]:
    """What readouts are computed from, besides the component itself."""
    parts: list[Node] = []
    for tap in taps:
        parts += [tap.constant] if tap.constant is not None else []
        parts += [x for reading in tap.readings for x in (reading.left, reading.right)]
    return parts
