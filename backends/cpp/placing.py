"""Where values go once a pass is read: totals of sums as sums, and what only later sweeps read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssmc.backends.cpp.value import AFTER, Value, makes, uses

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Node
from ssmc.kernel import nodes as k

if TYPE_CHECKING:
    from ssmc.backends.cpp.values import Pass


def join_totals(of: Pass) -> None:
    """A total of sums is a sum over the steps too: one value, so that its parts may come from several cells."""
    readers: dict[Value, int] = {}
    for v in [*(v for g in of.groups for v in g.values), *of.after, *of.final, *of.starts]:
        for r in v.reads:
            readers[r] = readers.get(r, 0) + 1
    for total in list(of.totals):
        if len(total.reads) != 1:
            continue
        (part,) = total.reads
        if part.op != "sum" or part.total is not None or readers[part] > 1:
            continue
        node = total.value
        named = of.named.get(node.name) if isinstance(node, n.Local) else None
        if total.stands.get(node, named) is not part or set(part.axes) != set(total.axes):
            continue
        part.total, part.over, part.name = total.total, (*part.over, *total.over), total.name
        of.totals[of.totals.index(total)] = part
        of.groups[total.group].values.remove(total)


def sink(of: Pass) -> None:
    """Values that only later groups read are computed there."""
    every = [v for g in of.groups for v in g.values]
    readers: dict[Value, list[Value]] = {}
    for v in [*every, *of.after, *of.final]:
        for r in v.reads:
            readers.setdefault(r, []).append(v)
    spread = {x for v in every for x in v.spread}  # read at other steps: all of them have to be there
    for v in reversed(every):
        users = readers.get(v, [])
        if v in spread:
            continue
        if of.groups[v.group].sequential and (v.place is not None or _recurrent(v)):
            continue
        if not users or v.store or v.total is not None or n.TIME in v.over:
            continue
        least = min(u.group for u in users)
        if v.group < least < AFTER:
            if any(r.carry or (r.timed and r.group == v.group and _recurrent(r)) for r in v.reads):
                continue
            of.groups[v.group].values.remove(v)
            v.group = least
            at = min(of.groups[least].values.index(u) for u in users if u.group == least)
            of.groups[least].values.insert(at, v)


def follow(of: Pass) -> None:
    """What a state was one step before, read in a later sweep alone, is read there from the states that are kept."""
    readers: dict[Value, list[Value]] = {}
    for v in [*(v for g in of.groups for v in g.values), *of.after, *of.final, *of.starts]:
        for r in v.reads:
            readers.setdefault(r, []).append(v)
    for v in [v for g in of.groups for v in g.values if v.old]:
        users = readers.get(v, [])
        if not isinstance(v.value, n.Lag) or len(v.old) > 1 or not users:
            continue
        ((now, node),) = v.old.items()
        least = min(u.group for u in users)
        if v.group != now.group or not now.group < least < AFTER or not of.leads(now, node):
            continue
        of.groups[v.group].values.remove(v)
        v.group, v.reads = least, [now]
        of.led.add(now)
        at = min(of.groups[least].values.index(u) for u in users if u.group == least)
        of.groups[least].values.insert(at, v)


def _recurrent(v: Value) -> bool:
    return any(r.carry for r in v.reads)


def in_order(body: tuple[k.Statement, ...], reverse: bool) -> list[k.Statement]:
    """Loops in the other direction first, with what they need: the pass's own then takes what reads either."""
    made = {name: s for s in body for name in makes(s)}
    first: set[int] = set()
    todo: list[k.Statement] = [s for s in body if isinstance(s, k.For) and s.reverse != reverse]
    while todo:
        s = todo.pop()
        if id(s) in first:
            continue
        first.add(id(s))
        todo += [made[name] for name in uses(s) if name in made and made[name] is not s]
    return [s for s in body if id(s) in first] + [s for s in body if id(s) not in first]


def unturned(node: Node, arena: Arena) -> Node | None:
    """What is summed over the steps of a chunk, in the order of time, where all of it stands the other way round; None
    where only a part does."""
    if n.TIME not in node.axes:
        return node
    match node:
        case n.Flip(arg=arg, axis=n.TIME):
            return arg
        case n.Map(op=op, args=args):
            turned = [unturned(x, arena) for x in args]
            return None if any(x is None for x in turned) else arena.map(op, *(x for x in turned if x is not None))
        case _:
            return None
