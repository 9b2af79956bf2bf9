"""The invariants of a kernel program, each a check of its own with a name.

`lower` ends with `verify`: a violation is the compiler's fault, so it is a `CompilerBug` that names the invariant. The
types of expressions are the arena's business; what is checked here is what holds between statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import KINDS, Axes, Kind, Node, base_axis
from ssmc.kernel import nodes as k

Rule = Callable[[k.Program], Iterable[str]]

STEP_LEAVES = (n.Input, n.Param, n.Time, n.Read, n.Window, n.History, n.Draw)
ALONG_TIME = (n.Prefix, n.Lag, n.FftConv, n.Scores, n.Gather, n.Geometric, n.Moment)
TILE_AXES = (n.TIME, n.SOURCE)


@dataclass(frozen=True)
class Check:
    """One invariant. `rule` tells every violation."""

    name: str
    says: str
    rule: Rule


def verify(program: k.Program) -> None:
    """Raise `CompilerBug` if `program` breaks an invariant."""
    for check in INVARIANTS:
        for violation in check.rule(program):
            raise CompilerBug(
                f"the kernel program of `{program.name}` breaks `{check.name}` ({check.says}): {violation}"
            )


def values_of(s: k.Statement) -> tuple[Node, ...]:
    """The expressions of one statement, those of a loop's body not among them."""
    match s:
        case k.Let(value=value) | k.Set(value=value) | k.Store(value=value):
            return (value,)
        case k.For(carries=carries):
            return tuple(c.init for c in carries)
        case _:
            return ()


def nested(body: Iterable[k.Statement]) -> Iterator[k.Statement]:
    """All statements, those of loops after the loop."""
    for s in body:
        yield s
        if isinstance(s, k.For):
            yield from nested(s.body)


def _parts(program: k.Program) -> Iterator[tuple[str, tuple[k.Statement, ...]]]:
    yield "once", program.once
    for i, p in enumerate(program.passes, 1):
        yield f"pass {i}", (*p.before, p.loop, *p.final)
    yield "step", program.step


def _nodes(body: Iterable[k.Statement]) -> list[Node]:
    return n.postorder([v for s in nested(body) for v in values_of(s)])


# -- expressions ---------------------------------------------------------------------------------------------------


def _no_step_leaves(program: k.Program) -> Iterator[str]:
    for where, body in _parts(program):
        yield from (f"{x!r} in {where}" for x in _nodes(body) if isinstance(x, STEP_LEAVES))
    values = n.postorder([value for _, value in program.initial])
    yield from (f"{x!r} in an initial value" for x in values if isinstance(x, STEP_LEAVES))


def _time_in_chunk_loops(program: k.Program) -> Iterator[str]:
    outside = [("once", list(program.once)), ("step", list(program.step))]
    for i, p in enumerate(program.passes, 1):
        steps = [s for s in p.loop.body if isinstance(s, k.For)]
        outside += [(f"the loop over the steps of pass {i}", list(s.body)) for s in steps]
        outside.append((f"the carries of pass {i}", [k.Let(c.target, c.init) for c in p.loop.carries]))
    for where, body in outside:
        for x in _nodes(body):
            if set(x.axes) & set(TILE_AXES) or isinstance(x, ALONG_TIME):
                yield f"{x!r} in {where}"


def _loads(program: k.Program) -> Iterator[str]:
    buffers = {b.name: b for b in program.buffers}
    for where, body in _parts(program):
        for x in _nodes(body):
            if not isinstance(x, n.Load):
                continue
            b = buffers.get(x.buffer)
            if b is None:
                yield f"{x.buffer} in {where} is no buffer"
            elif b.role == "output":
                yield f"the output {x.buffer} is read in {where}"
            elif x.kind != b.kind or x.axes not in (b.axes, tuple(a for a in b.axes if a != n.TIME)):
                yield f"{x!r} in {where} of {b}"


# -- names ---------------------------------------------------------------------------------------------------------


def _bound_before_use(program: k.Program) -> Iterator[str]:
    """Every Local has a Let or a Carry before it, in a body around it."""

    def walk(body: Iterable[k.Statement], known: set[str]) -> Iterator[str]:
        for s in body:
            for x in n.postorder(list(values_of(s))):
                if isinstance(x, n.Local) and x.name not in known:
                    yield x.name
            if isinstance(s, k.Let):
                known.add(s.target.name)
            elif isinstance(s, k.For):
                yield from walk(s.body, known | {c.target.name for c in s.carries})
                if s.block == 1:  # what it carried is known after it
                    known |= {c.target.name for c in s.carries}

    for where, body in _parts(program):
        known = {s.target.name for s in program.once if isinstance(s, k.Let)} if where != "step" else set()
        known = set() if where == "once" else known
        for s in body:
            if isinstance(s, k.For):
                known |= {c.target.name for c in s.carries}
        yield from (f"{name} in {where}" for name in walk(body, known))


def _bound_once(program: k.Program) -> Iterator[str]:
    every = [s for where, body in _parts(program) if where != "step" for s in nested(body)]
    for statements in (every, list(nested(program.step))):
        names = [s.target.name for s in statements if isinstance(s, k.Let)]
        names += [c.target.name for s in statements if isinstance(s, k.For) for c in s.carries]
        yield from sorted({name for name in names if names.count(name) > 1})


# -- loops and stores ----------------------------------------------------------------------------------------------


def _sets(program: k.Program) -> Iterator[str]:
    for i, p in enumerate(program.passes, 1):
        loops = [p.loop, *(s for s in p.loop.body if isinstance(s, k.For))]
        for loop in loops:
            targets = [s.target for s in loop.body if isinstance(s, k.Set)]
            for c in loop.carries:
                if targets.count(c.target) != 1:
                    yield f"pass {i} sets {c.target.name} {targets.count(c.target)} times"
            yield from (f"pass {i} sets {x.name}" for x in targets if x not in [c.target for c in loop.carries])
            for s in loop.body:
                if isinstance(s, k.Set) and not _fits(s.value, s.target.axes, s.target.kind):
                    yield f"pass {i} sets {s.target!r} to {s.value!r}"
    for where, body in (("once", program.once), ("step", program.step)):
        yield from (f"{type(s).__name__} in {where}" for s in body if isinstance(s, k.Set | k.For))


def _nesting(program: k.Program) -> Iterator[str]:
    for i, p in enumerate(program.passes, 1):
        for s in p.loop.body:
            if isinstance(s, k.For):
                if s.block != 1:
                    yield f"a loop over {s.block} steps inside pass {i}"
                yield from (
                    f"a loop inside the loop over the steps of pass {i}" for x in s.body if isinstance(x, k.For)
                )


def _stores_fit(program: k.Program) -> Iterator[str]:
    buffers = {b.name: b for b in program.buffers}
    for where, body in _parts(program):
        for s in nested(body):
            if not isinstance(s, k.Store):
                continue
            b = buffers.get(s.buffer)
            if b is None or b.role in ("input", "param", "time"):
                yield f"{s.buffer} is stored in {where}"
            elif not _fits(s.value, b.axes, b.kind):
                yield f"{s.value!r} to {b} in {where}"


def _fits(value: Node, axes: Axes, kind: Kind) -> bool:
    return set(value.axes) <= set(axes) and KINDS.index(value.kind) <= KINDS.index(kind)


def _stored_once(program: k.Program) -> Iterator[str]:
    stored = [s.buffer for _, body in _parts(program) if body is not program.step for s in nested(body)
              if isinstance(s, k.Store)]  # fmt: skip
    for b in program.buffers:
        if b.role in ("output", "state", "workspace", "scratch", "boundary") and stored.count(b.name) != 1:
            yield f"the {b.role} {b.name} is stored {stored.count(b.name)} times"
        if b.role == "saved" and stored.count(b.name) > 1:
            yield f"the saved {b.name} is stored {stored.count(b.name)} times"
    if program.step:
        stored = [s.buffer for s in program.step if isinstance(s, k.Store)]
        for b in program.buffers:
            if b.role in ("output", "state") and stored.count(b.name) != 1:
                yield f"a step stores the {b.role} {b.name} {stored.count(b.name)} times"


def _saved(program: k.Program) -> Iterator[str]:
    """Saved states are all stored, or all loaded, in the bodies of loops over chunks of the length the program says."""
    saved = {b.name for b in program.buffers if b.role == "saved"}
    if bool(saved) != bool(program.saving):
        yield f"{sorted(saved)} in chunks of {program.saving}"

    def loads(body: Iterable[k.Statement]) -> set[str]:
        return {x.buffer for x in _nodes(body) if isinstance(x, n.Load)} & saved

    def stores(body: Iterable[k.Statement]) -> set[str]:
        return {s.buffer for s in nested(body) if isinstance(s, k.Store)} & saved

    everywhere, inside = [s for _, body in _parts(program) for s in body], set[str]()
    for i, p in enumerate(program.passes, 1):
        found = loads(p.loop.body) | stores(p.loop.body)
        inside |= found
        if found and p.loop.block != program.saving:
            yield f"{sorted(found)} in chunks of {p.loop.block} in pass {i}"
        steps = [s for s in p.loop.body if isinstance(s, k.For)]
        outside = [*p.before, *p.final, *(k.Let(c.target, c.init) for c in p.loop.carries)]
        yield from (f"{name} outside the chunks of pass {i}" for name in sorted(loads(outside) | stores(outside)))
        yield from (f"{name} stored at a step of pass {i}" for name in sorted(stores(steps)))
    yield from (f"{name} outside all passes" for name in sorted((loads(everywhere) | stores(everywhere)) - inside))
    yield from (f"{name} is not used" for name in sorted(saved - inside))
    if loads(everywhere) and stores(everywhere):
        yield f"{sorted(loads(everywhere))} are loaded, {sorted(stores(everywhere))} stored"


def _written_before_read(program: k.Program) -> Iterator[str]:
    """A workspace is read in later passes (or by the final stores of its own); scratch after its loop."""
    written: set[str] = set()
    for i, p in enumerate(program.passes, 1):
        inside = {b.name for b in program.buffers if b.role in ("workspace", "scratch", "boundary")}
        for s in (*p.before, *p.loop.body):
            reads = {x.buffer for x in _nodes([s]) if isinstance(x, n.Load)} & inside
            yield from (f"{name} in pass {i}" for name in sorted(reads - written))
            if isinstance(s, k.For):
                written |= {x.buffer for x in s.body if isinstance(x, k.Store)}
        written |= {s.buffer for s in p.loop.body if isinstance(s, k.Store)}
        reads = {x.buffer for x in _nodes(p.final) if isinstance(x, n.Load)} & inside
        yield from (f"{name} at the end of pass {i}" for name in sorted(reads - written))


def _initial(program: k.Program) -> Iterator[str]:
    entries = {b.entry: b for b in program.buffers if b.role == "state"}
    if sorted(entries) != sorted(name for name, _ in program.initial):
        yield f"{sorted(name for name, _ in program.initial)} for {sorted(entries)}"
    params = {b.name for b in program.buffers if b.role == "param"}
    for name, value in program.initial:
        b = entries.get(name)
        if b is not None and not {base_axis(a) for a in value.axes} <= {base_axis(a) for a in b.axes}:
            yield f"{value!r} for {b}"
        leaves = (x for x in n.postorder([value]) if not n.children(x))
        yield from (
            f"{x!r} in the initial value of {name}"
            for x in leaves
            if isinstance(x, n.Local) or (isinstance(x, n.Load) and x.buffer not in params)
        )


INVARIANTS: tuple[Check, ...] = (
    Check("no-step-leaves", "what only a step graph has is gone", _no_step_leaves),
    Check("time-in-chunk-loops", "tiles, and what works along time, stand in chunk loops", _time_in_chunk_loops),
    Check("loads", "a Load is of a buffer, with its kind and axes; outputs are never read", _loads),
    Check("bound-before-use", "a name is bound before it is used", _bound_before_use),
    Check("bound-once", "a name is bound once", _bound_once),
    Check("nesting", "chunk loops, in them loops over the steps", _nesting),
    Check("sets", "a loop sets each of its carries once, and nothing else", _sets),
    Check("stores-fit", "a value lies within the axes and the kind of its buffer", _stores_fit),
    Check("stored-once", "every output, state, workspace and scratch is stored once", _stored_once),
    Check("written-before-read", "what one part stores is read after it", _written_before_read),
    Check("saved", "saved states are stored, or loaded, in chunks of the length that the program says", _saved),
    Check("initial", "every state entry has an initial value, of params and sizes", _initial),
)  # fmt: skip
