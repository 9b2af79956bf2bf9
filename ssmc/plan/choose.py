"""The choice of a form for each component: what was asked for, else the cheapest by estimate."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ssmc.adjoint.graph import adjoint
from ssmc.adjoint.parts import written_out
from ssmc.diagnostics import SpecError
from ssmc.plan.costs import cheapest
from ssmc.plan.forms import DELAY, forms, verdicts
from ssmc.plan.machines import Machine
from ssmc.plan.machines import machine as find_machine
from ssmc.plan.nodes import FORM_NAMES, Choice, Form, FormName, Plan
from ssmc.plan.problems import FormNotLegal, NoStateForForm, NoSuchForm, TwoForms
from ssmc.plan.saving import cut_for_backward, needed, what_is_kept
from ssmc.plan.segments import SEGMENT, SHORT, in_segments
from ssmc.plan.work import numbers, symbols
from ssmc.recurrence.analyse import analyse
from ssmc.recurrence.invariant import provably_stable
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.telescope import telescoped


@dataclass(frozen=True)
class Wanted:
    """A form asked for, and a chunk length if one was."""

    form: FormName
    chunk: int | None = None


LONGEST = 1 << 20  # where the search for lengths at which the choice flips ends


def choose(
    analysis: Analysis,
    *,
    form: str | Mapping[str, str] = "auto",
    sizes: Mapping[str, int] | None = None,
    batch: int = 1,
    length: int = 2048,
    machine: str | Machine = "cpu",
    formulas: bool = False,
    gradients: bool = False,
    saves: Collection[str] | None = None,
    resumes: int = 0,
    chunk: int = 0,
) -> Plan:
    """The plan for a request.

    A form's name asks for it wherever it is legal, and must be legal somewhere; a dictionary asks for the components of
    the states it names, where it must be legal. A name may end in a chunk length: `scan:128`, `recurrent:0` (the whole
    sequence). `gradients` chooses for a forward that autograd records. `saves` are registers that a forward saves for
    its backward where chunks begin, as many of them as it can (`needed` of saving.py says which); `resumes` is the
    length of those chunks, where the plan is the backward's. `chunk` is a length for all chunks of the forward, where
    the form does not say one; 0 chooses. `formulas` fills in the costs' text and the lengths at which the choice flips.
    Raises SpecError: no such form, not legal, no such target.
    """
    plan = _choose(analysis, form, sizes, batch, length, machine, formulas, gradients, saves, resumes, chunk)
    return _with_running_sums(plan, form, sizes, batch, length, machine, resumes) if resumes else plan


def _with_running_sums(
    plan: Plan,
    form: str | Mapping[str, str],
    sizes: Mapping[str, int] | None,
    batch: int,
    length: int,
    machine: str | Machine,
    chunk: int,
) -> Plan:
    """A backward's plan with the gradients of decays as running sums, where that lets its states be chunked."""
    found = telescoped(plan.analysis.graph)
    if found is None:
        return plan
    graph, telescopes = found
    for name in {r for t in telescopes for r in (t.copy_of, t.cotangent)}:
        wish = form if isinstance(form, str) else form.get(name, "auto")
        if wish.partition(":")[0] not in ("auto", "chunked"):
            return plan
    if isinstance(form, Mapping):
        copies = {t.copy_of: t.state for t in telescopes}
        wishes = [(name, wish) for state, wish in form.items() for name in (state, copies.get(state))]
        form = {name: wish for name, wish in wishes if name in graph.register}
    other = _choose(analyse(graph), form, sizes, batch, length, machine, resumes=chunk)
    sums, needed_chunked = {t.sum for t in telescopes}, {r for t in telescopes for r in (t.state, t.cotangent)}
    choices = []
    for component, choice in zip(other.analysis.components, other.choices, strict=True):
        names = set(component.registers)
        if names & needed_chunked and choice.form != "chunked":
            return plan
        made = replace(choice, form="recurrent", chunk=chunk, why=RUNNING_SUM) if names & sums else choice
        choices.append(made)
    return replace(other, choices=tuple(choices), telescopes=telescopes, without=plan)


STEPWISE = "generated C++ keeps the state in registers or in the nearest cache, where no other form is faster"
RUNNING_SUM = "a running sum of readouts, which begins anew with each chunk: the gradient of a decay"


def _choose(
    analysis: Analysis,
    form: str | Mapping[str, str],
    sizes: Mapping[str, int] | None,
    batch: int,
    length: int,
    machine: str | Machine,
    formulas: bool = False,
    gradients: bool = False,
    saves: Collection[str] | None = None,
    resumes: int = 0,
    given_chunk: int = 0,
) -> Plan:
    at = find_machine(machine)
    asked = _asked(analysis, form)
    q, _ = numbers(analysis.graph, sizes or {}, batch, length)
    letters = symbols(analysis.graph) if formulas else None
    choices = []
    for component in analysis.components:
        wanted = asked.get(component.index)
        given = (wanted.form, wanted.chunk) if wanted is not None and wanted.chunk is not None else None
        found = forms(analysis, component, q, at, letters, gradients, given)
        states = resumes > 0 or bool(set(saves or ()) & set(component.registers))
        choices.append(_choice(analysis, component, found, wanted, form, at, states))
    lengths = {i: w.chunk for i, w in asked.items() if w.chunk is not None}
    choices = _together(analysis, choices, set(lengths))
    asked_chunk = given_chunk if not lengths else 0
    settled = next((chunk for chunk in lengths.values() if chunk), asked_chunk)
    if at.stepwise and not asked:
        choices = in_segments(analysis, choices, q, at, resumes > 0, resumes or asked_chunk or (SHORT if saves else 0))
        settled = settled or (SHORT if any(c.segments for c in choices) else 0)
    saving = cut_for_backward(analysis, choices, saves, q, at, settled) if saves else None
    if chunk := saving.chunk if saving is not None else resumes or asked_chunk:
        choices = [replace(c, chunk=chunk) if c.chunk else c for c in choices]
    if formulas:
        choices = [
            _with_flips(analysis, component, choice, asked.get(component.index), sizes or {}, batch, at, gradients)
            for component, choice in zip(analysis.components, choices, strict=True)
        ]
    said = _said(analysis, choices, form, sizes, batch, length, at, given_chunk) if formulas else ""
    return Plan(analysis, tuple(choices), said, at.name, saving)


def _said(
    analysis: Analysis,
    choices: list[Choice],
    form: str | Mapping[str, str],
    sizes: Mapping[str, int] | None,
    batch: int,
    length: int,
    at: Machine,
    chunk: int = 0,
) -> str:
    """What the backward of the same request keeps, as a sentence."""
    registers = needed(analysis.graph)
    plan = choose(
        analysis, form=form, sizes=sizes, batch=batch, length=length, machine=at, saves=registers, chunk=chunk
    )
    pairs = zip(analysis.components, choices, plan.choices, strict=True)
    others = {", ".join(c.registers): now.form for c, alone, now in pairs if alone.form != now.form}
    sums: list[str] = []
    if plan.saving is not None:
        derived = adjoint(analysis.graph)
        backward = written_out(derived.graph, derived.constants, analysis.graph)
        if telescoped(backward) is not None:
            again = choose(
                analyse(backward), sizes=sizes, batch=batch, length=length, machine=at, resumes=plan.saving.chunk
            )
            sums = list(dict.fromkeys(t.copy_of for t in again.telescopes))
    return what_is_kept(analysis, plan.saving, registers, others, sums)


def _together(analysis: Analysis, choices: list[Choice], fixed: set[int]) -> list[Choice]:
    """Recurrent components with one chunk length, the shortest of theirs, so that one pass over time takes them all."""
    free = [
        choice
        for component, choice in zip(analysis.components, choices, strict=True)
        if component.recurrent and choice.form == "recurrent" and component.index not in fixed
    ]
    shortest = min((c.chunk for c in free), default=0)
    return [replace(c, chunk=shortest) if c in free else c for c in choices]


def _choice(
    analysis: Analysis,
    component: Component,
    found: tuple[Form, ...],
    wanted: Wanted | None,
    form: str | Mapping[str, str],
    at: Machine,
    states: bool,
) -> Choice:
    """The form of a component; `states`: one that has its states where chunks begin, unless another is asked for."""
    if not component.recurrent:
        return Choice(component.index, "recurrent", found[0].chunk, DELAY, found)
    legal = [f for f in found if f.legal]
    if wanted is not None:
        picked = next(f for f in found if f.name == wanted.form)
        if picked.legal and picked.name == "scan" and at.stepwise:
            return Choice(component.index, "scan", wanted.chunk or SEGMENT, "asked for", found, segments=True)
        if picked.legal:
            return Choice(component.index, picked.name, picked.chunk, "asked for", found)
        if isinstance(form, Mapping):
            span = analysis.graph.register[component.registers[0]].span
            raise SpecError(
                [FormNotLegal(span, wanted.form, analysis.graph.name, (_reason(component, picked.reason),))]
            )
    if at.stepwise and wanted is None:
        chosen = next(f for f in legal if f.name == "recurrent")
        return Choice(component.index, chosen.name, chosen.chunk, STEPWISE, found)
    # an FFT rounds relative to the largest value of the sequence: it is for those who ask, where states may grow
    conv = any(f.name == "conv" for f in legal)
    growing = conv and not provably_stable(analysis.graph, component)
    safe = [f for f in legal if f.name != "conv" or not (growing or states)]
    best = min(safe, key=lambda f: (_seconds(f), FORM_NAMES.index(f.name)))
    rest = sorted((f for f in safe if f is not best), key=_seconds)
    why = "the only legal form"
    if rest:
        others = ", ".join(f"{f.name} {in_words(_seconds(f))}" for f in rest)
        why = f"cheapest by estimate on {at.name}: {in_words(_seconds(best))}, against {others}"
    if conv and states:
        why += "; conv only if asked for, since it has no states where chunks begin, which gradients are computed from"
    elif growing:
        why += "; conv only if asked for, since the decay may exceed 1 and an FFT loses the small beside the large"
    if wanted is not None:
        why = f"`{wanted.form}` is not legal here; {why}"
    return Choice(component.index, best.name, best.chunk, why, found)


def _seconds(form: Form) -> float:
    return form.cost.seconds_at or 0.0 if form.cost is not None else 0.0


def in_words(seconds: float) -> str:
    """A time as a person says it: `3.2 ms`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _asked(analysis: Analysis, form: str | Mapping[str, str]) -> dict[int, Wanted]:
    """The form asked for, by the index of a component. Raises SpecError where it can be had nowhere."""
    recurrent = [c for c in analysis.components if c.recurrent]
    if isinstance(form, Mapping):
        return _asked_by_state(recurrent, form)
    if form == "auto":
        return {}
    wanted = _wanted(form)
    if recurrent and wanted.form != "recurrent":
        told = [(c, verdicts(analysis, c)[0][wanted.form]) for c in recurrent]
        if not any(legal for _, (legal, _) in told):
            reasons = tuple(_reason(c, why) for c, (_, why) in told)
            span = analysis.graph.register[recurrent[0].registers[0]].span if len(recurrent) == 1 else None
            raise SpecError([FormNotLegal(span, wanted.form, analysis.graph.name, reasons)])
    return {c.index: wanted for c in recurrent}


def _asked_by_state(recurrent: list[Component], form: Mapping[str, str]) -> dict[int, Wanted]:
    asked: dict[int, Wanted] = {}
    by: dict[int, str] = {}
    for state, text in form.items():
        home = next((c for c in recurrent if state in c.registers), None)
        if home is None:
            raise SpecError([NoStateForForm(None, str(state), tuple(r for c in recurrent for r in c.registers))])
        if text == "auto":
            continue
        wanted = _wanted(text)
        if asked.setdefault(home.index, wanted) != wanted:
            raise SpecError([TwoForms(None, by[home.index], state)])
        by[home.index] = state
    return asked


def _wanted(text: str) -> Wanted:
    """`scan`, or `scan:128`. Raises SpecError."""
    name, colon, chunk = str(text).partition(":")
    for known in FORM_NAMES:
        if name == known and not colon:
            return Wanted(known)
        if name == known and chunk.isascii() and chunk.isdigit():
            return Wanted(known, int(chunk))
    raise SpecError([NoSuchForm(None, str(text), ("auto", *FORM_NAMES))])


def _reason(component: Component, why: str) -> str:
    return f"{', '.join(f'`{r}`' for r in component.registers)}: {why}"


def _with_flips(
    analysis: Analysis,
    component: Component,
    choice: Choice,
    wanted: Wanted | None,
    sizes: Mapping[str, int],
    batch: int,
    at: Machine,
    gradients: bool,
) -> Choice:
    """The choice with the lengths at which it flips: each form with the length from which it is chosen, from 1 on.

    Empty where one form is chosen at all lengths.
    """
    legal = [f.name for f in choice.forms if f.legal]
    if not component.recurrent or (wanted is not None and wanted.form in legal) or len(legal) < 2:
        return choice
    _, subject = verdicts(analysis, component)
    known: dict[int, FormName] = {}

    def best(length: int) -> FormName:
        if length not in known:
            q, _ = numbers(analysis.graph, sizes, batch, length)
            known[length] = min(legal, key=lambda f: cheapest(f, subject, q, at, gradients)[1].seconds(at, gradients))
        return known[length]

    flips = [(best(1), 1)]
    low = 1
    while low < LONGEST:
        high = low * 2
        while (now := flips[-1][0]) != best(high):
            a, b = max(low, flips[-1][1]), high
            while b - a > 1:
                middle = (a + b) // 2
                a, b = (a, middle) if best(middle) != now else (middle, b)
            flips.append((best(b), b))
        low = high
    if len(flips) == 1:
        flips = []
    return replace(choice, flips_at=tuple(flips))
