"""Which forms a component may take, and the reason where it may not."""

from __future__ import annotations

from ssmc.expr.nodes import Node
from ssmc.plan.costs import CHUNKS, Subject, cheapest, cost
from ssmc.plan.machines import Machine
from ssmc.plan.nodes import FORM_NAMES, Form, FormName
from ssmc.plan.work import Quantities
from ssmc.recurrence.chunkable import Refusal, chunkable
from ssmc.recurrence.invariant import conv_reason
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.separable import MatrixForm

DELAY = "a delay line: nothing is fed back, so every step is free of the others"
LEGAL: dict[FormName, str] = {
    "recurrent": "always",
    "scan": "the update composes associatively",
    "chunked": "a matrix state written by outer products, with a decay that separates",
    "conv": "affine, diagonal and time-invariant",
}


def verdicts(analysis: Analysis, component: Component) -> tuple[dict[FormName, tuple[bool, str]], Subject]:
    """(legal, reason) of each form in order, and the component with what its costs need."""
    subject = Subject.of(analysis, component)
    if not component.recurrent:
        no = (False, DELAY)
        return {"recurrent": (True, DELAY), "scan": no, "chunked": no, "conv": no}, subject
    chunked = _chunked(analysis, component)
    if not isinstance(chunked, str):
        subject = subject.with_matrix(chunked)
    found: dict[FormName, str] = {
        "recurrent": "",
        "scan": _scan(analysis, component),
        "chunked": chunked if isinstance(chunked, str) else "",
        "conv": _conv(analysis, component),
    }
    return {form: (not why, why or LEGAL[form]) for form, why in found.items()}, subject


def forms(
    analysis: Analysis,
    component: Component,
    q: Quantities,
    machine: Machine,
    formulas: Quantities | None = None,
    gradients: bool = False,
    wanted: tuple[FormName, int] | None = None,
) -> tuple[Form, ...]:
    """Every form, legal with its cost at its best chunk (or the one `wanted`), or illegal with the reason."""
    found, subject = verdicts(analysis, component)
    made = []
    for name in FORM_NAMES:
        legal, reason = found[name]
        if not legal or not component.recurrent:
            made.append(Form(name, legal, reason, chunk=CHUNKS[name][0] if legal else 0))
            continue
        given = wanted[1] if wanted is not None and wanted[0] == name else None
        chunk, at = cheapest(name, subject, q, machine, gradients, given)
        made.append(Form(name, True, reason, cost(name, subject, at, machine, formulas, gradients), chunk))
    return tuple(made)


def _scan(analysis: Analysis, component: Component) -> str:
    if component.monoid is not None:
        return ""
    return "no associative operator composes the update" + blocked(analysis, component)


def blocked(analysis: Analysis, component: Component) -> str:
    """What stands in the way of associativity, as the end of a sentence; empty where nothing was recorded."""
    said = blockers(analysis, component)
    return f": {'; '.join(said)}" if said else ""


def blockers(analysis: Analysis, component: Component) -> tuple[str, ...]:
    """What stands in the way of associativity, each with its place."""
    return tuple(dict.fromkeys(b.reason + place(analysis, b.node) for b in component.blockers))


def _chunked(analysis: Analysis, component: Component) -> str | MatrixForm:
    found = chunkable(analysis, component)
    if isinstance(found, Refusal):
        return found.reason + (place(analysis, found.node) if found.node is not None else "")
    return found


def _conv(analysis: Analysis, component: Component) -> str:
    return conv_reason(analysis, component) or ""


def place(analysis: Analysis, node: Node) -> str:
    """` (file:line)` of an expression, where it has one."""
    span = analysis.graph.span_of(node)
    return f" ({span.where})" if span is not None else ""
