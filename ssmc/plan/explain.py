"""What `ssmc explain` says: a plan as text for a person, or as a dictionary for a program.

The plan must have been made with its formulas. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ssmc.diagnostics import SpecError
from ssmc.expr.nodes import Axes, Node, base_axis
from ssmc.expr.printer import show
from ssmc.plan.choose import in_words
from ssmc.plan.forms import blockers
from ssmc.plan.nodes import Choice, Cost, Form, Plan
from ssmc.plan.problems import NoSuchPass
from ssmc.plan.work import NOMINAL_SIZE, numbers
from ssmc.recurrence.families import spec_class
from ssmc.recurrence.nodes import Component, Monoid
from ssmc.recurrence.proof import prove
from ssmc.step.nodes import Axis, Port, Register, StepGraph

WIDTH = 100
TIME = {"invariant": "time-invariant", "index": "varies with t only", "data": "varies with the data"}
ALGEBRA = {
    "affine": "affine over (+, ×)",
    "maxplus": "linear over (max, +)",
    "minplus": "linear over (min, +)",
    "maxtimes": "linear over (max, ×), factors not negative",
    "mintimes": "linear over (min, ×), factors not negative",
    "logsumexp": "linear over (logaddexp, +)",
    "boolean": "boolean",
    "clamp": "clamps: min(max(a h + b, lo), hi)",
    "moebius": "linear-fractional: (a h + b) / (c h + d)",
    "stabilised": "affine, scaled by a running maximum",
    "nonlinear": "nonlinear",
    "delay": "delay",
}


@dataclass(frozen=True)
class Request:
    """What the plan was asked for."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    batch: int = 1
    length: int = 2048


# -- for a program -------------------------------------------------------------------------------------------------


def as_json(plan: Plan, request: Request) -> dict[str, Any]:
    """The report as plain data. Costs are numbers at the sizes of the request, and formulas.

    A delay line, which nothing feeds back into, has no forms to choose from.
    """
    graph = plan.analysis.graph
    quantities, assumed = numbers(graph, request.sizes, request.batch, request.length)
    return {
        "spec": graph.name,
        "class": spec_class(plan.analysis),
        "machine": plan.machine,
        "batch": request.batch,
        "length": request.length,
        "sizes": {a.name: quantities.axes[a.name] for a in graph.axes if a.name not in assumed},
        "assumed": {name: quantities.axes[name] for name in assumed},
        "components": [
            _component_json(plan, component, choice)
            for component, choice in zip(plan.analysis.components, plan.choices, strict=True)
        ],
        "state": [{"name": r.name, "shape": list(entry_shape(graph, r)), "kind": r.kind} for r in graph.registers],
        "saved": plan.saved,
        "facts": list(plan.analysis.facts),
    }


def _component_json(plan: Plan, component: Component, choice: Choice) -> dict[str, Any]:
    monoid = component.monoid
    proofs = prove(plan.analysis, component)
    return {
        "states": list(component.registers),
        "recurrent": component.recurrent,
        "reverse": component.reverse,
        "algebra": component.algebra,
        "time": component.time,
        "structure": component.structure,
        "class": component.kclass,
        "notes": list(component.notes),
        "blockers": list(blockers(plan.analysis, component)),
        "combine": [f"{name} = {text}" for name, text in combine_lines(plan, monoid)] if monoid is not None else [],
        "proofs": [{"statement": p.statement, "holds": p.holds, "method": p.method} for p in proofs],
        "forms": [_form_json(form) for form in choice.forms] if component.recurrent else [],
        "chosen": choice.form,
        "chunk": choice.chunk,
        "why": choice.why,
        "flips_at": [{"form": name, "length": length} for name, length in choice.flips_at],
    }


def _form_json(form: Form) -> dict[str, Any]:
    cost = form.cost
    return {
        "name": form.name,
        "legal": form.legal,
        "reason": form.reason,
        "chunk": form.chunk if form.legal else None,
        "flops": cost.flops_at if cost else None,
        "bytes": cost.bytes_at if cost else None,
        "depth": cost.depth_at if cost else None,
        "seconds": cost.seconds_at if cost else None,
        "formulas": {"flops": cost.flops, "bytes": cost.bytes, "depth": cost.depth} if cost else None,
    }


# -- for a person ----------------------------------------------------------------------------------------------------


def as_text(plan: Plan, request: Request) -> str:
    """The report as text, without a newline at its end."""
    graph = plan.analysis.graph
    lines = [f"{graph.name}   class {spec_class(plan.analysis)}   {graph.source.name}", ""]
    lines += _ports(graph, request)
    for component, choice in zip(plan.analysis.components, plan.choices, strict=True):
        lines += ["", *_component(plan, component, choice)]
    lines += ["", *_state(graph)]
    lines += ["", *_item("backward", plan.saved)]
    for fact in plan.analysis.facts:
        lines += _item("fact", fact)
    return "\n".join(lines)


def _ports(graph: StepGraph, request: Request) -> list[str]:
    quantities, assumed = numbers(graph, request.sizes, request.batch, request.length)
    given = [f"{a.name} = {quantities.axes[a.name]}" for a in graph.axes if a.name not in assumed and _listed(a)]
    rows = [
        ("input", _joined(_port(p) for p in graph.inputs)),
        ("param", _joined(_port(p) for p in graph.params)),
        ("output", _joined(f"{o.name}{_axes(o.axes)}" for o in graph.outputs)),
        ("sizes", ", ".join([*given, f"batch B = {request.batch}", f"length L = {request.length}"])),
    ]
    lines = [line for name, text in rows if text for line in _item(name, text)]
    if assumed:
        names = ", ".join(assumed)
        lines += _item("", f"not given, taken as {NOMINAL_SIZE} for the estimates: {names}")
    return lines


def _listed(axis: Axis) -> bool:
    return axis.span is not None


def _port(p: Port) -> str:
    return f"{p.name}{_axes(p.axes)}" + (f" {p.kind}" if p.kind != "real" else "")


def _axes(axes: Axes) -> str:
    return f"[{', '.join(map(base_axis, axes))}]" if axes else ""


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _item(name: str, text: str, indent: str = "  ") -> list[str]:
    """`name   text`, the text wrapped under itself."""
    import textwrap

    head = f"{indent}{name:<11}"
    wrapped = textwrap.wrap(text, WIDTH - len(head), break_long_words=False, break_on_hyphens=False) or [""]
    return [head + wrapped[0], *(" " * len(head) + line for line in wrapped[1:])]


def _component(plan: Plan, component: Component, choice: Choice) -> list[str]:
    graph = plan.analysis.graph
    registers = [graph.register[name] for name in component.registers]
    states = ", ".join(f"{r.name}{_axes(r.axes)}" for r in registers)
    if not component.recurrent:
        (r,) = registers
        held = "every step so far" if r.depth.unbounded else f"the last {_steps(r)}"
        lines = [f"delay {states}   ({component.kclass})"]
        return lines + _item("holds", f"{held} of {_expression(graph, r.source, whole=False)}")
    direction = ", from the last step to the first" if component.reverse else ""
    lines = [f"component {states}{direction}"]
    for r in registers:
        lines += _item("update", f"{r.name} = {_expression(graph, r.source)}")
    lines += _item("algebra", ALGEBRA[component.algebra])
    lines += _item("structure", component.structure.replace("_", " "))
    lines += _item("time", TIME[component.time])
    lines += _item("class", component.kclass)
    for note in component.notes:
        lines += _item("note", note)
    for text in blockers(plan.analysis, component):
        lines += _item("blocked by", text)
    if component.monoid is not None:
        lines += _combine(plan, component, component.monoid)
    lines += ["", *_forms(choice)]
    chunk = f" in chunks of {choice.chunk} steps" if choice.chunk else ", the whole sequence at once"
    lines += ["", *_item("choice", f"{choice.form}{chunk}: {choice.why}")]
    if choice.flips_at:
        (first, _), *rest = choice.flips_at
        spans = [f"{first} below L = {rest[0][1]}", *(f"{name} from L = {length}" for name, length in rest)]
        lines += _item("by length", ", ".join(spans))
    return lines


def _steps(r: Register) -> str:
    if r.depth.axis is None:
        return "step" if r.depth.steps == 1 else f"{r.depth.steps} steps"
    if r.depth.steps:
        return f"{r.depth.axis} {'-' if r.depth.steps < 0 else '+'} {abs(r.depth.steps)} steps"
    return f"{r.depth.axis} steps"


def _each(graph: StepGraph) -> frozenset[str]:
    return frozenset(a.name for a in graph.axes if a.each)


def _expression(graph: StepGraph, node: Node, whole: bool = True) -> str:
    """An expression in the user's names; with `whole` the node itself is written out even if it has a name."""
    names = {value: name for name, value in graph.names if not (whole and value is node)}
    return show(node, graph.arena, names=names, each=_each(graph), limit=400)


def _combine(plan: Plan, component: Component, monoid: Monoid) -> list[str]:
    graph = plan.analysis.graph
    lines = []
    for name, text in element_lines(plan, monoid):
        lines += _item("element", f"{name} = {text}")
    for name, text in combine_lines(plan, monoid):
        lines += _item("combine", f"{name} = {text}")
    for register, node in monoid.applied:
        lines += _item(
            "applied", f"{register} = {show(node, None, names=_short(monoid), each=_each(graph), limit=300)}"
        )
    return lines + _proof_lines(plan, component)


def _slot(local: Node) -> str:
    return str(getattr(local, "name", "")).removeprefix("later_").removeprefix("earlier_")


def _short(monoid: Monoid) -> dict[Node, str]:
    """`a1` for the slot a of the earlier element, `a2` for that of the later one."""
    names: dict[Node, str] = {x: f"{_slot(x)}1" for x in monoid.earlier}
    names.update((x, f"{_slot(x)}2") for x in monoid.later)
    return names


def element_lines(plan: Plan, monoid: Monoid) -> list[tuple[str, str]]:
    """(slot, this step's element) of each slot."""
    graph = plan.analysis.graph
    return [(_slot(x), _expression(graph, e)) for x, e in zip(monoid.later, monoid.element, strict=True)]


def combine_lines(plan: Plan, monoid: Monoid) -> list[tuple[str, str]]:
    """(slot, how it is combined) of each slot; 1 is the earlier element, 2 the later."""
    each = _each(plan.analysis.graph)
    names = _short(monoid)
    return [
        (_slot(x), show(c, None, names=names, each=each, limit=400))
        for x, c in zip(monoid.later, monoid.combined, strict=True)
    ]


def _proof_lines(plan: Plan, component: Component) -> list[str]:
    """The statements that sympy proved, then how; a statement that does not hold says so."""
    proofs = prove(plan.analysis, component)
    lines = []
    for proof in proofs:
        lines += _item("proved" if proof.holds else "NOT TRUE", proof.statement)
    for method in dict.fromkeys(p.method for p in proofs):
        lines += _item("by", method)
    return lines


def _forms(choice: Choice) -> list[str]:
    """The table of forms: legal ones with numbers and formulas, the others with the reason."""
    rows = [["form", "chunk", "operations", "bytes", "depth", "estimate"]]
    for form in choice.forms:
        if form.legal and form.cost is not None:
            mark = "* " if form.name == choice.form else "  "
            rows.append([mark + form.name, str(form.chunk or "all"), *_numbers(form.cost)])
    lines = ["  " + line for line in _aligned(rows)]
    for form in choice.forms:
        if form.legal and form.cost is not None:
            text = f"operations {form.cost.flops}; bytes {form.cost.bytes}; depth {form.cost.depth}"
            lines += _item(form.name, text, indent="    ")
        elif not form.legal:
            lines += _item(form.name, f"not legal: {form.reason}", indent="    ")
    return lines


def _numbers(cost: Cost) -> list[str]:
    return [
        _scaled(cost.flops_at),
        _scaled(cost.bytes_at),
        f"{cost.depth_at:.0f}" if cost.depth_at is not None else "",
        in_words(cost.seconds_at) if cost.seconds_at is not None else "",
    ]


def _scaled(x: float | None) -> str:
    """A count with a unit: `1.2 G`."""
    if x is None:
        return ""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if x >= size:
            return f"{x / size:.3g} {unit}"
    return f"{x:.0f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns under each other, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]


# -- the state -------------------------------------------------------------------------------------------------------


def entry_shape(graph: StepGraph, register: Register) -> tuple[str, ...]:
    """The dimensions of a register's entry after the batch: for a delay line the steps it holds, then its axes."""
    axes = [base_axis(a) for a in register.axes if a != getattr(register, "line", None)]
    if register.origin == "state" and register.depth.steps == 1 and register.depth.axis is None:
        return tuple(axes)
    if register.depth.unbounded:
        return ("t", *axes)
    size = str(register.depth.steps) if register.depth.axis is None else _steps(register).removesuffix(" steps")
    return (size, *axes)


def _state(graph: StepGraph) -> list[str]:
    lines = ["state entries"]
    for r in graph.registers:
        kind = "" if r.kind == "real" else f" {r.kind}"
        lines += _item(r.name, f"(batch…{''.join(f', {d}' for d in entry_shape(graph, r))}){kind}")
    return lines + _item("t", "steps done")


# -- the graph after a pass ------------------------------------------------------------------------------------------


def after_pass(graph: StepGraph, name: str) -> str:
    """The step graph after a pass, or that of the adjoint, as text. Raises SpecError where there is none."""
    from ssmc.adjoint.explain import derived
    from ssmc.recurrence.passes import PASSES
    from ssmc.step.passes import run_passes
    from ssmc.step.printer import print_graph

    names = ("build", *(p.name for p in PASSES))
    if name == "adjoint":
        return print_graph(derived(graph).graph).rstrip("\n")
    if name not in names:
        raise SpecError([NoSuchPass(None, name, (*names, "adjoint", "lower"))])
    return print_graph(run_passes(graph, PASSES, after=name)).rstrip("\n")
