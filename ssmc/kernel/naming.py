"""Names for the values of a program, and the pass that gives shared expressions one.

`finish` hoists what depends on parameters only into the program's `once` part, and binds every expression that is used
twice in a body, or that the user's spec named, by a `Let` before its first use. Lowerings therefore build plain
expressions and never think about sharing.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable
from dataclasses import replace

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Node
from ssmc.kernel import nodes as k

_TAKEN = {
    *keyword.kwlist,
    *dir(builtins),
    "torch",
    "math",
    "sizes",
    "batch",
    "length",
    "state",
    "steps",
    "start",
    "t",
    "device",
    "like",
    "real",
    "cplx",
    "t0",
    "i",
    "new_state",
    "F",
    "Tensor",
    "Any",
    "Callable",
    "Sequence",
    "checkpoint",
    "annotations",
    "initial_state",
    "sequence",
    "step",
    "ARGUMENTS",
    "earlier",
    "later",
}


class Names:
    """Fresh, readable names: the wish itself if it is free, else with a number."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {*_TAKEN, *taken}

    def fresh(self, wish: str) -> str:
        base = "".join(c if c.isidentifier() or c.isdigit() else "_" for c in wish).strip("_") or "value"
        if base[0].isdigit():
            base = f"v{base}"
        name, count = base, 2
        while name in self._taken:
            name, count = f"{base}_{count}", count + 1
        self._taken.add(name)
        return name


def finish(program: k.Program, names: Names) -> k.Program:
    """Hoist parameter-only expressions and name shared ones."""
    ar = program.arena
    params = {b.name for b in program.buffers if b.role == "param"}
    hoisted: dict[Node, Node] = {}
    once: list[k.Statement] = []

    def is_constant(node: Node) -> bool:
        return all(
            isinstance(leaf, (n.Const, n.Size, n.Index, n.Table))
            or (isinstance(leaf, n.Load) and leaf.buffer in params)
            for leaf in n.postorder([node])
            if not n.children(leaf)
        )

    constant: dict[Node, bool] = {}

    def constant_of(node: Node) -> bool:
        for x in n.postorder([node]):
            if x not in constant:
                kids = n.children(x)
                # a mask over the steps of a chunk depends on no input, but is as long as the chunk
                tiled = any(a.startswith("@") for a in x.axes)
                constant[x] = not tiled and (all(constant[c] for c in kids) if kids else is_constant(x))
        return constant[node]

    def hoist(root: Node) -> Node:
        def at(node: Node) -> Node | None:
            if node in hoisted:
                return hoisted[node]
            if not isinstance(node, n.Load | n.Const | n.Local) and constant_of(node) and _worth_once(node):
                local = ar.local(names.fresh(ar.labels.get(node, "param")), node.axes, node.kind)
                once.append(k.Let(local, node, ar.spans.get(node)))
                hoisted[node] = local
                return local
            return None

        return ar.substitute([root], at)[0]

    def walk(body: tuple[k.Statement, ...]) -> tuple[k.Statement, ...]:
        return name_shared(ar, tuple(_map_statement(s, hoist, walk) for s in body), names)

    passes = []
    for p in program.passes:
        loop = replace(p.loop, body=walk(p.loop.body))
        passes.append(replace(p, before=walk(p.before), loop=loop, final=tuple(p.final)))
    once_of_passes = name_shared(ar, tuple(once), names)
    step = name_shared(ar, program.step, Names(b.name for b in program.buffers if b.role != "workspace"))
    return replace(program, once=once_of_passes, passes=tuple(passes), step=step)


def _worth_once(node: Node) -> bool:
    """Whether a parameter-only expression is work: views and step-independent scalars stay where they are."""
    return not isinstance(node, n.Index | n.Size | n.Pick | n.Rename) and not is_number(node)


def is_number(node: Node) -> bool:
    """Whether a value is made of constants and sizes alone: a number of the host language, never a tensor."""
    match node:
        case n.Const() | n.Size():
            return True
        case n.Map(args=args):
            return not node.axes and all(is_number(a) for a in args)
        case _:
            return False


def _map_statement(statement: k.Statement, change: object, walk: object) -> k.Statement:
    match statement:
        case k.Let() | k.Set() | k.Store():
            return replace(statement, value=change(statement.value))  # type: ignore[operator]
        case k.For():
            carries = tuple(replace(c, init=change(c.init)) for c in statement.carries)  # type: ignore[operator]
            return replace(statement, carries=carries, body=walk(statement.body))  # type: ignore[operator]
        case _:
            return statement


def name_shared(ar: Arena, body: tuple[k.Statement, ...], names: Names) -> tuple[k.Statement, ...]:
    """Bind what is used more than once, or labelled by the user, before its first use."""
    uses: dict[Node, int] = {}
    for s in body:
        for root in _values(s):
            uses[root] = uses.get(root, 0) + 1
    seen: set[Node] = set()
    for s in body:
        for node in n.postorder(list(_values(s))):
            if node not in seen:
                seen.add(node)
                for c in n.children(node):
                    uses[c] = uses.get(c, 0) + 1
    bound: dict[Node, Node] = {}
    out: list[k.Statement] = []

    def bind(root: Node, keep: bool) -> Node:
        for node in n.postorder([root]):
            if node in bound or not _bindable(node) or (keep and node is root):
                continue
            if uses.get(node, 0) > 1 or node in ar.labels:
                value = ar.rebuild(node, [_inline(ar, c, bound) for c in n.children(node)])
                local = ar.local(names.fresh(ar.labels.get(node, "value")), node.axes, node.kind)
                out.append(k.Let(local, value, ar.spans.get(node)))
                bound[node] = local
        return _inline(ar, root, bound)

    for s in body:
        match s:
            case k.Let(target=target, value=value):
                if value in bound:
                    out.append(replace(s, value=bound[value]))
                else:
                    new = bind(value, keep=True)
                    out.append(replace(s, value=new))
                    if _bindable(value):
                        bound[value] = target
            case k.Set() | k.Store():
                new = bind(s.value, keep=False)
                out.append(replace(s, value=new))
            case k.For():
                carries = tuple(replace(c, init=bind(c.init, keep=False)) for c in s.carries)
                out.append(replace(s, carries=carries))
            case _:
                out.append(s)
    return tuple(out)


def _values(statement: k.Statement) -> tuple[Node, ...]:
    match statement:
        case k.Let(value=value) | k.Set(value=value) | k.Store(value=value):
            return (value,)
        case k.For(carries=carries):
            return tuple(c.init for c in carries)
        case _:
            return ()


def _bindable(node: Node) -> bool:
    return not isinstance(node, n.Local | n.Load | n.Index) and not is_number(node)


def _inline(ar: Arena, root: Node, bound: dict[Node, Node]) -> Node:
    return ar.substitute([root], bound.get)[0]
