"""What the generated specs hold: how often each form, algebra, structure and construct occurs in so many seeds.

python -m tests.differential.coverage 500
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator

import ssmc
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.recurrence.separable import MatrixForm, matrix_form
from tests.differential.generate import Generated, generate

# a construct: what its text looks like
CONSTRUCTS = {
    "each": r"^each ",
    "square": r"\[(?:\w+, )*(\w+), \1\]",
    "complex": r" complex",
    "bool": r" bool",
    "int": r" int",
    "reverse": r" reverse",
    "prev": r"prev\(",
    "prev of several steps": r"prev\([^\n]*, [23][,)]",
    "prev with an initial value": r"prev\([^\n]*, [123], ",
    "next": r"next\(",
    "conv": r"conv\(",
    "transfer": r"transfer\(",
    "past": r"past\[",
    "using": r" using ",
    "·": r"[·⋅]|dot\(",
    "⊗": "⊗",
    "@": "@",
    "t": r"\bt\b",
    "macro": r"^f\d+\(",
    "macro over an axis": r"^f\d+\[",
    "renaming": r"->",
    "picking": r"\[\w+ = -?\d",
    "shift": r"shift\[",
    "cumsum": r"cumsum\[",
    "index": r"index\[",
    "no input": r"\A(?![\s\S]*^input )",
}


def constructs(spec: Generated) -> Iterator[str]:
    yield from (name for name, look in CONSTRUCTS.items() if re.search(look, spec.text, re.MULTILINE))
    open_axes = {a for a in re.findall(r"^axis (T\d+)$", spec.text, re.MULTILINE) if f"past[{a}]" in spec.text}
    if open_axes:
        yield "past without a size"


def structures(spec: Generated) -> Iterator[tuple[str, str]]:
    """(heading, what occurs under it), once for each component of the spec."""
    compiled = ssmc.compile(spec.text)
    analysis = compiled.analysis
    for axes in (r.axes for r in analysis.graph.states):
        yield "rank of a state", str(len(axes))
    yield "components of a spec", str(sum(c.recurrent for c in analysis.components))
    plan = compiled.plan(spec.sizes, 2, 64)
    for component, choice in zip(analysis.components, plan.choices, strict=True):
        if not component.recurrent:
            origin = analysis.graph.register[component.registers[0]].origin
            yield "delay line of", origin
            continue
        kinds = {analysis.graph.register[r].kind for r in component.registers} - {"real"}
        what = " ".join([*sorted(kinds), component.algebra])
        yield "algebra", what
        yield "class and structure", f"{component.kclass} {component.structure}"
        yield "coefficients", component.time
        if component.reverse:
            yield "reverse", what
        for form in choice.forms:
            if form.legal:
                yield "legal form", form.name
                yield f"algebras of {form.name}", what
        if any(form.name == "chunked" and form.legal for form in choice.forms):
            yield from (("chunked", x) for x in _chunked(analysis, component))


def _chunked(analysis: Analysis, component: Component) -> Iterator[str]:
    form = matrix_form(analysis, component)
    assert isinstance(form, MatrixForm)
    sides = [name for name, part in (("rows", form.alpha), ("columns", form.beta)) if part is not None]
    yield f"decay along {' and '.join(sides) or 'neither side'}"
    if form.scalar is None:
        yield "no decay of the whole"
    elif form.scalar.log is None:
        yield "decay of the whole without a logarithm"
    if form.reset is not None:
        yield "resets"
    if form.elementwise:
        yield "elementwise axes"
    if len(form.writes) > 1:
        yield "several writes"
    if any(w.summed for w in form.writes):
        yield "a write summed over an axis"
    if analysis.graph.register[form.register].kind == "complex":
        yield "complex"
    if component.reverse:
        yield "reverse"


def table(seeds: Iterable[int]) -> dict[str, Counter[str]]:
    """Occurrences by heading; under `construct` the number of specs that have it."""
    found: dict[str, Counter[str]] = {}
    for seed in seeds:
        spec = generate(seed)
        for name in constructs(spec):
            found.setdefault("construct (specs)", Counter())[name] += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for heading, name in structures(spec):
                found.setdefault(heading, Counter())[name] += 1
    return found


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    lines = [f"{count} seeds"]
    for heading, counts in sorted(table(range(count)).items()):
        lines += ["", heading, *(f"  {n:5}  {name}" for name, n in counts.most_common())]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
