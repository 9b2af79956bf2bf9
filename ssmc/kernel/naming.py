"""Names for the values of a program, and the pass that gives shared expressions one.

`finish` hoists what depends on parameters only into the program's `once` part, and binds every expression that is used
twice in a body, or that the user's spec named, by a `Let` before its first use. Lowerings therefore build plain
expressions and never think about sharing.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Local, Node
from ssmc.expr.words import describe, telling
from ssmc.kernel import nodes as k

# Words of Python, and those that generated code has for itself.
_OWN = """annotations torch math F Tensor Any Callable Sequence checkpoint ARGUMENTS initial_state sequence
    sequence_saving step apply sizes batch length state saved new_state return_state lead like real cplx device t t0 i
    start steps earlier later combine prefix outputs shaped result name entry"""
_TAKEN = {
    *keyword.kwlist,
    *dir(builtins),
    *_OWN.split(),
    *(f"{word}_{number}" for word in ("chunk", "sweep", "combine", "prefix") for number in range(1, 10)),
}
# A printer derives other names from a value's: its tiles, its value at one step, … Those come with the name.
_DERIVED = ("_t", "_tile", "_tiles", "_part", "_parts", "_steps", "_now")


def size_name(axis: str) -> str:
    """The variable that holds the length of an axis: the axis's own name, where that means nothing else."""
    own = axis in _TAKEN or axis.startswith(("_", "size_"))  # helper functions begin with `_`
    return f"size_{axis}" if own else axis


def size_names(axes: Iterable[str]) -> list[str]:
    """The names that the lengths of axes take."""
    return sorted({name for a in axes for name in _with_derived(size_name(a))})


class Names:
    """Fresh, readable names: the wish itself if it is free, else with a number."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {*_TAKEN, *taken}
        self._given: set[str] = set()

    def free(self, wish: str) -> bool:
        return not self._taken & _with_derived(wish)

    def at_a_step(self, name: str) -> str:
        """The name of a state inside the loop over the steps: it came with the state's own."""
        wish = f"{_identifier(name)}_t"
        if wish in self._given:
            return self.fresh(wish)
        self._given.add(wish)
        return wish

    def fresh(self, wish: str) -> str:
        base = _identifier(wish)
        name, count = base, 2
        while not self.free(name):
            name, count = f"{base}_{count}", count + 1
        self._taken |= _with_derived(name)
        self._given.add(name)
        return name


def _identifier(wish: str) -> str:
    base = "".join(c if c.isidentifier() or c.isdigit() else "_" for c in wish).strip("_") or "value"
    return f"v{base}" if base[0].isdigit() else base


def _with_derived(name: str) -> set[str]:
    return {name, *(name + suffix for suffix in _DERIVED)}


def finish(program: k.Program, names: Names) -> k.Program:
    """Hoist parameter-only expressions and name shared ones."""
    ar = program.arena
    params = {b.name for b in program.buffers if b.role == "param"}
    outputs = {b.name: b.axes for b in program.buffers if b.role in ("output", "workspace")}
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
        for x in n.postorder([node]) if node not in constant else ():
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
                local = ar.local(names.fresh(ar.labels.get(node) or describe(node, ar)), node.axes, node.kind)
                once.append(k.Let(local, node, ar.spans.get(node)))
                hoisted[node] = local
                return local
            return None

        return ar.substitute([root], at)[0]

    def walk(body: tuple[k.Statement, ...]) -> tuple[k.Statement, ...]:
        return name_shared(ar, tuple(_map_statement(s, hoist, walk) for s in body), names, outputs)

    passes = []
    for p in program.passes:
        loop = replace(p.loop, body=walk(p.loop.body))
        passes.append(replace(p, before=walk(p.before), loop=loop, final=tuple(p.final)))
    once_of_passes = name_shared(ar, tuple(once), names, unify=False)
    ports = [b.name for b in program.buffers if b.role not in ("workspace", "scratch")]
    reserved = Names([*ports, *size_names(a.name for a in program.graph.axes)])
    one_step = {name: tuple(a for a in axes if a != n.TIME) for name, axes in outputs.items()}
    step = name_shared(ar, program.step, reserved, one_step)
    return _without_unread(replace(program, once=once_of_passes, passes=tuple(passes), step=step))


def _without_unread(program: k.Program) -> k.Program:
    """Without what is stored and never read: a state of a coupled component that nothing else uses."""
    loads: set[str] = set()

    def look(body: tuple[k.Statement, ...]) -> None:
        for s in body:
            loads.update(x.buffer for x in n.postorder(list(_values(s))) if isinstance(x, n.Load))
            if isinstance(s, k.For):
                look(s.body)

    for p in program.passes:
        look((*p.before, p.loop, *p.final))
    unread = {b.name for b in program.buffers if b.role in ("scratch", "boundary") and b.name not in loads}

    def kept(body: tuple[k.Statement, ...]) -> tuple[k.Statement, ...]:
        rest = (s for s in body if not (isinstance(s, k.Store) and s.buffer in unread))
        return tuple(replace(s, body=kept(s.body)) if isinstance(s, k.For) else s for s in rest)

    return replace(
        program,
        buffers=tuple(b for b in program.buffers if b.name not in unread),
        passes=tuple(replace(p, loop=replace(p.loop, body=kept(p.loop.body))) for p in program.passes),
    )


def _worth_once(node: Node) -> bool:
    """Whether a parameter-only expression is work: views and step-independent scalars stay where they are."""
    return not isinstance(node, n.Index | n.Size | n.Pick | n.Rename) and not is_number(node)


def is_number(node: Node) -> bool:
    """Whether a value is made of constants and sizes alone: a number of the host language, never a tensor."""
    if node.axes:
        return False
    for x in n.postorder([node]):
        if not isinstance(x, n.Const | n.Size) and (x.axes or not isinstance(x, n.Map)):
            return False
    return True


def _map_statement(statement: k.Statement, change: object, walk: object) -> k.Statement:
    match statement:
        case k.Let() | k.Set() | k.Store():
            return replace(statement, value=change(statement.value))  # type: ignore[operator]
        case k.For():
            carries = tuple(replace(c, init=change(c.init)) for c in statement.carries)  # type: ignore[operator]
            return replace(statement, carries=carries, body=walk(statement.body))  # type: ignore[operator]
        case _:
            return statement


def name_shared(
    ar: Arena,
    body: tuple[k.Statement, ...],
    names: Names,
    outputs: Mapping[str, Axes] | None = None,
    unify: bool = True,
) -> tuple[k.Statement, ...]:
    """Bind what is used more than once, or labelled by the user, before its first use.

    With `unify` a second name of one value goes; not where names of the body are used outside it. What is stored in an
    output, whole, takes the output's own name: no code that sees the value sees the buffer.
    """
    body = _under_output_names(ar, body, outputs or {})
    lent: dict[Node, str] = {}
    carried: dict[Node, str] = {}
    for s in body:
        match s:
            case k.Store(buffer=buffer, value=value) if outputs and set(outputs.get(buffer, "?")) == set(value.axes):
                if _bindable(value) and buffer not in lent.values():
                    lent.setdefault(value, buffer)
            case k.Set(target=target, value=value):
                carried.setdefault(value, f"{target.name}_new")
    named = {s.value: s.target for s in reversed(body) if isinstance(s, k.Let)}
    taken = {s.target.name for s in body if isinstance(s, k.Let)}
    lent = {value: name for value, name in lent.items() if name not in taken}

    def name_for(node: Node) -> str:
        if node in lent:
            return lent[node]
        label = ar.labels.get(node)
        if label is not None and names.free(label):
            return names.fresh(label)
        return names.fresh(carried.get(node) or label or describe(node, ar))

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
    for node in reversed(n.postorder([root for s in body for root in _values(s)])):
        if isinstance(node, n.Rename):  # costs nothing, so it is written out: its operand is used as often as it is
            uses[node.arg] += uses[node] - 1
    bound: dict[Node, Node] = {}
    aliases: dict[str, str] = {}
    out: list[k.Statement] = []

    def bind(root: Node, keep: bool) -> Node:
        for node in n.postorder([root]):
            if node in bound or not _bindable(node) or (keep and node is root):
                continue
            if uses.get(node, 0) > 1 or node in ar.labels or node in lent or telling(node):
                value = ar.rebuild(node, [_inline(ar, c, bound) for c in n.children(node)])
                local = named.get(node) or ar.local(name_for(node), node.axes, node.kind)
                out.append(k.Let(local, value, ar.spans.get(node)))
                bound[node] = local
        return _inline(ar, root, bound)

    for s in body:
        match s:
            case k.Let(target=target, value=value):
                known = bound.get(value, value if isinstance(value, Local) else None)
                if known is target:
                    pass  # bound already, where a value before it needed it
                elif known is not None and unify:
                    bound[target] = known  # it has a name already
                    aliases[target.name] = _name_of(known)
                elif value in bound:
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
                out.append(replace(s, carries=carries, body=_renamed(ar, s.body, aliases)))
            case _:
                out.append(s)
    return tuple(out)


def _name_of(node: Node) -> str:
    if not isinstance(node, Local):
        raise CompilerBug(f"{node!r} is no name")
    return node.name


def _renamed(ar: Arena, body: tuple[k.Statement, ...], names: Mapping[str, str]) -> tuple[k.Statement, ...]:
    """A loop over the steps whose Locals of the chunk around it have other names."""

    def at(node: Node) -> Node | None:
        if isinstance(node, Local) and node.name in names:
            return ar.local(names[node.name], node.axes, node.kind)
        return None

    return tuple(_map_statement(s, lambda node: ar.substitute([node], at)[0], None) for s in body) if names else body


def _under_output_names(
    ar: Arena, body: tuple[k.Statement, ...], outputs: Mapping[str, Axes]
) -> tuple[k.Statement, ...]:
    """A value that a lowering named after an output, with a number, and that is stored there: without the number."""
    lets = {s.target for s in body if isinstance(s, k.Let)}
    new: dict[str, str] = {}
    for s in body:
        if isinstance(s, k.Store) and isinstance(s.value, Local) and s.value in lets and s.value.name not in new:
            stem, _, number = s.value.name.rpartition("_")
            if stem == s.buffer and number.isdigit() and set(outputs.get(stem, "?")) == set(s.value.axes):
                new[s.value.name] = stem
    if not new:
        return body

    def renamed(node: Node) -> Local | None:
        # by name: inside a loop over the steps the same name stands for one step of the tile
        return ar.local(new[node.name], node.axes, node.kind) if isinstance(node, Local) and node.name in new else None

    def change(node: Node) -> Node:
        return ar.substitute([node], renamed)[0]

    def walk(inner: tuple[k.Statement, ...]) -> tuple[k.Statement, ...]:
        changed = (_map_statement(s, change, walk) for s in inner)
        return tuple(replace(s, target=renamed(s.target) or s.target) if isinstance(s, k.Let) else s for s in changed)

    return walk(body)


def _values(statement: k.Statement) -> tuple[Node, ...]:
    match statement:
        case k.Let(value=value) | k.Set(value=value) | k.Store(value=value):
            return (value,)
        case k.For(carries=carries):
            return tuple(c.init for c in carries)
        case _:
            return ()


def _bindable(node: Node) -> bool:
    """Whether a value may have a name of its own: views of other values need none."""
    if isinstance(node, n.Index):
        return node.axes[0].startswith("@")
    return not isinstance(node, n.Local | n.Load | n.Rename) and not is_number(node)


def _inline(ar: Arena, root: Node, bound: dict[Node, Node]) -> Node:
    return ar.substitute([root], bound.get)[0]
