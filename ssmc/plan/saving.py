"""What a forward saves for its backward: states at the beginning of chunks, and how long those are.

Delay lines are saved beside them where a pass in chunks has them; the lowering knows (kernel/pair.py).

The backward runs each chunk again, from the last to the first, beginning with the state that was saved there. So it
holds a state for each chunk, and all that a chunk computes anew of one chunk at a time:

    memory(c) = L/c states + RERUN * c states           least at c = sqrt(L / RERUN)
    time(c)   = the forms' own estimates at this chunk length, and the states written and read

The chunk taken is the cheapest in time of those whose memory is at most TWICE the least, or a TENTH of what the caller
holds: inputs, outputs and the gradients of both. A form that works in matrix products has a length of its own, as has
one that was asked for with a length.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ssmc.adjoint.graph import adjoint, refusal
from ssmc.plan.costs import CHUNKS, WORD, Subject, estimate
from ssmc.plan.machines import Machine
from ssmc.plan.nodes import Choice, Saving
from ssmc.plan.work import Quantities
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.step.nodes import Register, StepGraph

CUTS = (16, 32, 64, 128, 256, 512, 1024, 2048)  # the chunk lengths to choose from
# Of machines that run a tile of the channels at a time, whose chunk is to stay in the nearest cache.
STEPWISE_CUTS = (16, 32, 64)
RERUN = 4  # tiles as large as the states of a chunk that its backward holds: states, their cotangents, decay, product
TWICE, TENTH = 2, 0.1


def needed(graph: StepGraph) -> frozenset[str]:
    """The registers whose values the gradients need."""
    if refusal(graph) is not None:
        return frozenset()
    own = {r.name for r in graph.registers}
    return frozenset(own & {r.name for r in adjoint(graph).graph.registers})


def cut_for_backward(
    analysis: Analysis,
    choices: Iterable[Choice],
    registers: Collection[str],
    q: Quantities,
    at: Machine,
    asked: int = 0,
) -> Saving | None:
    """Where a forward of these choices saves the registers, if anywhere; `asked` is a chunk length that is settled."""
    graph = analysis.graph
    pairs = list(zip(analysis.components, choices, strict=True))
    chunked = [(c, choice) for c, choice in pairs if choice.chunk or not c.recurrent]
    held = [r for c, _ in chunked for r in c.registers if r in registers and not graph.register[r].depth.unbounded]
    if not any(graph.register[r].origin == "state" for r in held):
        return None
    recurrent = [(c, choice) for c, choice in chunked if c.recurrent]
    chunk = asked or _own_length(recurrent) or _balanced(analysis, recurrent, held, q, at)
    return Saving(chunk, tuple(r.name for r in graph.registers if r.name in held), _bytes(graph, held, q, chunk))


def _own_length(recurrent: list[tuple[Component, Choice]]) -> int:
    return CHUNKS["chunked"][0] if any(choice.form == "chunked" for _, choice in recurrent) else 0


def _balanced(
    analysis: Analysis, recurrent: list[tuple[Component, Choice]], held: Collection[str], q: Quantities, at: Machine
) -> int:
    graph = analysis.graph
    boundary = sum(entry_elements(graph.register[r], q) for r in held)
    step = sum(int(q.elements(graph.register[r].axes)) for component, _ in recurrent for r in component.registers)
    cuts = STEPWISE_CUTS if at.stepwise else CUTS
    memory = {c: boundary * q.ceil_div(q.length, c) + RERUN * step * min(c, q.length) for c in cuts}
    axes = [*(p.axes for p in graph.inputs), *(o.axes for o in graph.outputs)]
    caller = 2 * q.length * sum(int(q.elements(x)) for x in axes)
    allowed = max(TWICE * min(memory.values()), TENTH * caller)
    subjects = [(choice.form, Subject.of(analysis, component)) for component, choice in recurrent]

    def seconds(chunk: int) -> float:
        moved = 2 * WORD * q.batch * boundary * q.ceil_div(q.length, chunk)
        computing = sum(estimate(form, subject, q, chunk).seconds(at) for form, subject in subjects)
        return float(moved / at.bandwidth + computing)

    return min((c for c in cuts if memory[c] <= allowed), key=seconds)


def entry_elements(r: Register, q: Quantities) -> int:
    """The elements of a register's entry in the state, for one sequence."""
    elements = int(q.elements(a for a in r.axes if a != r.line)) * (2 if r.kind == "complex" else 1)
    if r.origin == "state":
        return elements
    return elements * (r.depth.steps + (q.size(r.depth.axis) if r.depth.axis is not None else 0))


def _bytes(graph: StepGraph, held: Iterable[str], q: Quantities, chunk: int) -> int:
    each = sum(entry_elements(graph.register[r], q) for r in held)
    return int(WORD * q.batch * each * q.ceil_div(q.length, chunk))


def in_bytes(x: float) -> str:
    """An amount of memory as a person says it: `12.6 MB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if x >= size:
            return f"{x / size:.3g} {unit}"
    return f"{x:.0f} B"


def what_is_kept(
    analysis: Analysis,
    saving: Saving | None,
    registers: Collection[str],
    others: Mapping[str, str],
    sums: Sequence[str] = (),
) -> str:
    """What the backward keeps of the forward, and what it computes again; `registers` are those that it needs.

    `others` are the forms that a forward with a backward takes, where they are not those of one alone; `sums` the
    states the gradient of whose decay is a running sum.
    """
    why = refusal(analysis.graph)
    if why is not None:
        return f"recorded by PyTorch's autograd, which keeps the states at chunk boundaries: {why}"
    if not registers:
        return "keeps the inputs: no gradient needs a state"
    parts = ["keeps the inputs"]
    if saving is not None:
        states = [r.name for r in analysis.graph.states if r.name in saving.registers]
        lines = ", and delay lines:" if len(states) < len(saving.registers) else ":"
        parts.append(
            f"the forward saves {_listed(states)} where chunks of {saving.chunk} steps begin{lines} "
            f"{in_bytes(saving.bytes)} in float32; the backward runs each chunk again from there, last chunk first"
        )
    own = [r.name for r in analysis.graph.states if r.name in registers]
    own = [r for r in own if saving is None or r not in saving.registers]
    if sums:
        parts.append(
            f"it holds no state of a step: the gradient of the decay of {_listed(sums)} is a running sum of readouts, "
            "which begins anew at the end of each chunk"
        )
    if own:
        parts.append(f"the backward first runs {_listed(own)} again from the start")
    parts += [f"with a backward {names} runs as {form}" for names, form in others.items()]
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), names[-1]])
