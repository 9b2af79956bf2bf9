"""What `ssmc explain --adjoint` says: the derived backward as a spec that can be read, and compiled."""

from __future__ import annotations

from ssmc.adjoint.graph import Adjoint, adjoint, refusal
from ssmc.adjoint.problems import NoAdjoint, NoAdjointText
from ssmc.diagnostics import SpecError
from ssmc.expr.printer import show
from ssmc.step.nodes import StepGraph
from ssmc.step.spec_text import NoText, spec_text


def derived(graph: StepGraph) -> Adjoint:
    """The adjoint of a graph. Raises SpecError where it has none of fixed size."""
    why = refusal(graph)
    if why is not None:
        span = next(r.span for r in graph.registers if r.depth.unbounded)
        raise SpecError([NoAdjoint(span, graph.name, why)])
    return adjoint(graph)


def adjoint_text(graph: StepGraph) -> str:
    """The derived backward as a spec, with a legend. Raises SpecError where there is none, or no words for it."""
    found = derived(graph)
    try:
        return spec_text(found.graph, legend(graph, found))
    except NoText as why:
        raise SpecError([NoAdjointText(None, graph.name, str(why))]) from None


def legend(graph: StepGraph, found: Adjoint) -> tuple[str, ...]:
    """What the parts of the derived spec are to the one it was derived from."""
    labels = graph.arena
    lines = [f"The backward of {graph.name}: from the gradient of the outputs to that of the inputs."]
    used = {p.name for p in found.graph.params} | set(found.params)
    lines += [f"{name} is {show(value, labels)}" for name, value in found.constants if name in used]
    states = [(name, register) for name, register in found.states.items() if "." not in name]
    lines += [f"{r} begins with the gradient of the last {name}, and ends with that of the first" for name, r in states]
    if found.params:
        sums = ", ".join(found.params.values())
        lines.append(f"the last values of {sums}, summed over the batch, are the params' gradients")
    return tuple(lines)
