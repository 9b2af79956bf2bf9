"""The invariants of a step graph, each a check of its own with a name.

`verify` runs between all passes. A violation is the compiler's fault, so it is a `CompilerBug`: it names the pass that
just ran and the one invariant it broke. That expressions have no cycles needs no check: a node's operands exist before
it does, and nothing can be changed afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.lines import type_text
from ssmc.expr.nodes import KINDS, Axes, Node, base_axis, postorder
from ssmc.expr.ops import OPS, REDUCTIONS
from ssmc.step.nodes import Axis, Output, Port, Register, StepGraph, reads_of
from ssmc.step.printer import roots_of
from ssmc.step.reader import structure

Rule = Callable[[StepGraph, list[Node]], Iterable[str]]


@dataclass(frozen=True)
class Check:
    """One invariant. `rule` is given the graph and all its nodes (operands first) and tells every violation."""

    name: str
    says: str
    rule: Rule


def verify(graph: StepGraph, after: str = "build", checks: tuple[Check, ...] = ()) -> None:
    """Raise `CompilerBug` if `graph` breaks an invariant; `after` is the pass that made it, `checks` what it added."""
    nodes = postorder(roots_of(graph))
    for check in (*INVARIANTS, *checks):
        for violation in check.rule(graph, nodes):
            raise CompilerBug(
                f"after `{after}`, the step graph of `{graph.name}` breaks `{check.name}` ({check.says}): {violation}"
            )


# -- expressions ---------------------------------------------------------------------------------------------------

STEP_NODES = (
    n.Const, n.Input, n.Param, n.Time, n.Size, n.Index, n.Read, n.Table, n.Draw, n.Map, n.Reduce, n.Cumulative,
    n.Rename, n.Pick, n.Shift, n.Solve, n.Expm, n.Window, n.History,
)  # fmt: skip


def _step_nodes(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        if not isinstance(node, STEP_NODES):
            yield f"{node!r}"


def _interned(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    number: dict[Node, int] = {}
    first: dict[tuple[object, ...], Node] = {}
    for i, node in enumerate(nodes):
        number[node] = i
        form = structure(node, number)
        if form in first:
            yield f"{node!r} is there twice"
        first[form] = node


def _declared_axes(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        for a in _axes_in(node):
            if base_axis(a) not in graph.axis:
                yield f"`{a}` of {node!r}"


def _axes_in(node: Node) -> Axes:
    return (*node.axes, node.axis) if isinstance(node, n.Size) else node.axes


def _distinct_axes(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        if len(set(node.axes)) != len(node.axes):
            yield f"{node!r}"


def _typed(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        wanted = _axes_by_rule(node)
        if wanted is not None and wanted != set(node.axes):
            yield f"{node!r} should have the axes {', '.join(sorted(wanted))}"
        if isinstance(node, n.Map):
            entry = OPS.get(node.op)
            if entry is None or entry.arity != len(node.args):
                yield f"{node!r}: no operator {node.op} of {len(node.args)} operands"
            elif entry.rule(*(a.kind for a in node.args)) != node.kind:
                yield f"{node!r} of {', '.join(a.kind for a in node.args)}"
        elif isinstance(node, n.Reduce | n.Rename | n.Pick | n.Shift):
            kind = node.arg.kind
            if node.kind != (REDUCTIONS[node.op].rule(kind) if isinstance(node, n.Reduce) else kind):
                yield f"{node!r} of {kind}"


def _axes_by_rule(node: Node) -> set[str] | None:
    """The axes that a node's operands give it."""
    match node:
        case n.Const() | n.Time() | n.Size():
            return set()
        case n.Map(args=args):
            return {a for x in args for a in x.axes}
        case n.Reduce(arg=arg, over=over):
            return set(arg.axes) - set(over)
        case n.Cumulative(arg=arg) | n.Shift(arg=arg) | n.Expm(matrix=arg):
            return set(arg.axes)
        case n.Rename(arg=arg, pairs=pairs):
            return {dict(pairs).get(a, a) for a in arg.axes}
        case n.Pick(arg=arg, axis=axis):
            return set(arg.axes) - {axis}
        case n.Solve(matrix=matrix, rhs=rhs, col=col):
            return set(rhs.axes) | (set(matrix.axes) - {col})
        case _:
            return None


def _operated_axes(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        operand: Node = node
        worked: Axes = ()
        match node:
            case n.Reduce(arg=operand, over=worked):
                if not worked:
                    yield f"{node!r} over no axis"
            case (
                n.Cumulative(arg=operand, axis=axis) | n.Pick(arg=operand, axis=axis) | n.Shift(arg=operand, axis=axis)
            ):
                worked = (axis,)
            case n.Rename(arg=operand, pairs=pairs):
                worked = tuple(a for a, _ in pairs)
            case n.Solve(matrix=operand, row=row, col=col) | n.Expm(matrix=operand, row=row, col=col):
                worked = (row, col)
                if isinstance(node, n.Solve) and row not in node.rhs.axes:
                    yield f"{row} of {node!r} is no axis of the right side"
        for a in worked:
            if a not in operand.axes:
                yield f"`{a}` of {node!r} is no axis of {operand!r}"


def _spans(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    parts: list[Axis | Port | Register | Output] = [*graph.axes, *graph.inputs, *graph.params]
    parts += [*graph.registers, *graph.outputs]
    spans = [(p.name, p.span) for p in parts] + [(repr(node), graph.span_of(node)) for node in nodes]
    for what, span in spans:
        if span is not None and (
            span.source is not graph.source or not 0 <= span.start <= span.end <= len(span.source.text)
        ):
            yield f"{span!r} of {what}"


# -- ports ---------------------------------------------------------------------------------------------------------


def _unique_names(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    values = [p.name for p in (*graph.inputs, *graph.params)] + [r.name for r in graph.registers]
    for names in (values, [o.name for o in graph.outputs], [a.name for a in graph.axes]):
        yield from {f"`{x}`" for x in names if names.count(x) > 1}


def _ports(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    inputs, params = ({p.name: p for p in ports} for ports in (graph.inputs, graph.params))
    for node in nodes:
        port: Port | None
        match node:
            case n.Input(name=name):
                port = inputs.get(name)
            case n.Param(name=name):
                port = params.get(name)
            case _:
                continue
        if port is None or (port.axes, port.kind) != (node.axes, node.kind):
            yield f"{node!r} is {type_text(port.kind, port.axes) if port else 'not declared'}"


def _primed_axes(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    layouts = [(p.name, p.axes) for p in (*graph.inputs, *graph.params)] + [(o.name, o.axes) for o in graph.outputs]
    for name, axes in layouts:
        for i, a in enumerate(axes):
            if a != base_axis(a) and (i != len(axes) - 1 or i == 0 or f"{axes[i - 1]}'" != a):
                yield f"`{a}` of `{name}`"
    for r in graph.registers:
        # a delay line may hold a square value, a state never does
        if any("~" in a or (r.origin == "state" and a != base_axis(a)) for a in r.axes):
            yield f"{', '.join(r.axes)} of `{r.name}`"


def _outputs(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    states = {r.source for r in graph.states}
    for o in graph.outputs:
        if o.kind != o.value.kind:
            yield f"`{o.name}` is {o.kind}, its value {o.value.kind}"
        missing = set(o.axes) - set(o.value.axes)
        if set(o.value.axes) - set(o.axes) or (missing and o.value not in states):
            yield f"`{o.name}` is laid out as [{', '.join(o.axes)}], its value has [{', '.join(o.value.axes)}]"


# -- expressions of constants --------------------------------------------------------------------------------------

_CONSTANT = (n.Const, n.Size, n.Index, n.Param, n.Table, n.Map, n.Reduce, n.Cumulative, n.Rename, n.Pick, n.Shift,
             n.Solve, n.Expm)  # fmt: skip


def _constant_init(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for r in graph.registers:
        yield from (
            f"{x!r} in the initial value of `{r.name}`" for x in postorder([r.init]) if not isinstance(x, _CONSTANT)
        )


def _constant_defaults(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for p in graph.params:
        if p.default is not None:
            inside = postorder([p.default])
            yield from (
                f"{x!r} in the default of `{p.name}`" for x in inside if not isinstance(x, (*_CONSTANT, n.Draw))
            )
            if set(p.default.axes) - set(p.axes):
                yield f"the default of `{p.name}` has [{', '.join(p.default.axes)}]"
    for p in graph.inputs:
        if p.default is not None:
            yield f"the input `{p.name}` has a default"


def _draws(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    computed = postorder([r.init for r in graph.registers] + graph.roots)
    yield from (f"{x!r}" for x in computed if isinstance(x, n.Draw))


def _sizes(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    settled: set[str] = set()
    for a in graph.axes:
        inside = postorder([a.size]) if a.size is not None else []
        yield from (f"{x!r} in the size of `{a.name}`" for x in inside if not isinstance(x, n.Const | n.Size | n.Map))
        if a.size is not None and (a.size.axes or a.size.kind == "complex"):
            yield f"the size of `{a.name}` is {type_text(a.size.kind, a.size.axes)}"
    needs = {
        a.name: {x.axis for x in postorder([a.size] if a.size else []) if isinstance(x, n.Size)} for a in graph.axes
    }
    while len(settled) < len(needs):
        ready = {name for name, of in needs.items() if name not in settled and not (of & set(needs)) - settled}
        if not ready:
            yield f"the sizes of {', '.join(sorted(set(needs) - settled))} depend on one another"
            return
        settled |= ready


# -- registers -----------------------------------------------------------------------------------------------------


def _known_registers(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        yield from (f"{node!r}" for r in reads_of(node) if r not in graph.register)


def _read_types(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        for name in reads_of(node):
            r = graph.register.get(name)
            if r is None:
                continue
            extra = {node.axis} if isinstance(node, n.Window | n.History) else set()
            exact = node.axes == r.axes if isinstance(node, n.Read) else set(node.axes) == set(r.axes) | extra
            if not exact or node.kind != r.kind:
                yield f"{node!r} of {type_text(r.kind, r.axes)}"


def _read_depths(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        for name in reads_of(node):
            depth = graph.register[name].depth if name in graph.register else None
            if depth is None:
                continue
            match node:
                case n.Read(steps=steps):
                    legal = steps >= 1 and (steps <= depth.steps or depth.axis is not None or depth.unbounded)
                case n.Window(axis=axis):
                    legal = depth.axis == axis or depth.unbounded
                case n.History(axis=axis):
                    legal = depth.unbounded or depth.axis == axis
                case _:
                    legal = True
            if not legal:
                yield f"{node!r} of a register {depth}"


def _depths(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for r in graph.registers:
        if r.origin == "state" and r.depth.axis is None and r.depth.steps < 1:
            yield f"the state `{r.name}` holds {r.depth}"
        if r.depth.steps < 0 or (r.depth.axis is not None and r.depth.axis not in graph.axis):
            yield f"`{r.name}` holds {r.depth}"


def _currents(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, n.Window | n.History) and node.current is not None and node.register in graph.register:
            source = graph.register[node.register].source
            if node.current is not source:
                yield f"{node!r} has {node.current!r}, the source is {source!r}"


def _sources(graph: StepGraph, nodes: list[Node]) -> Iterator[str]:
    for r in graph.registers:
        for what, value in (("source", r.source), ("init", r.init)):
            if set(value.axes) - set(r.axes):
                yield f"the {what} of `{r.name}` has [{', '.join(value.axes)}], the register [{', '.join(r.axes)}]"
            if KINDS.index(value.kind) > KINDS.index(r.kind):
                yield f"the {what} of `{r.name}` is {value.kind}, the register {r.kind}"


INVARIANTS: tuple[Check, ...] = (
    Check("step-nodes", "no node that only kernel IR has", _step_nodes),
    Check("interned", "one object for each expression", _interned),
    Check("distinct-axes", "a value has each axis once", _distinct_axes),
    Check("declared-axes", "every axis is a declared one or a copy of it", _declared_axes),
    Check("operated-axes", "an axis that is reduced, renamed, picked, shifted or solved is there", _operated_axes),
    Check("typed", "axes and kind are what the operands give", _typed),
    Check("spans", "spans lie in the graph's source", _spans),
    Check("unique-names", "a name is declared once", _unique_names),
    Check("ports", "inputs and params are declared, with these axes and this kind", _ports),
    Check("primed-axes", "the columns of a square stand last, after its rows; no state is square", _primed_axes),
    Check("outputs", "an output's layout and kind are its value's", _outputs),
    Check("constant-init", "an initial value is of params, sizes and constants", _constant_init),
    Check("constant-defaults", "only params have defaults, of constants within their axes", _constant_defaults),
    Check("draws", "a random draw stands in a default only", _draws),
    Check("sizes", "sizes are arithmetic on sizes, without a circle", _sizes),
    Check("known-registers", "what is read from another step is a register", _known_registers),
    Check("read-types", "a read has its register's axes and kind", _read_types),
    Check("read-depths", "a read goes no deeper than its register holds", _read_depths),
    Check("depths", "a register holds at least a step", _depths),
    Check("currents", "a window's current value is its register's source", _currents),
    Check("sources", "source and initial value fit their register", _sources),
)
