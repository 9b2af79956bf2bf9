"""Every legal form of a spec against the oracle, here and now: what `ssmc test` runs.

A nonlinear recurrence may amplify rounding without bound, and then nothing else agrees with anything to a fixed
tolerance. So the oracle is asked a second time, for inputs slightly off; a form may be as far from the oracle as that,
or as the fixed tolerance, whichever is more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ssmc.diagnostics import SpecError
from ssmc.expr.arrays import TorchArrays
from ssmc.expr.nodes import Axes, Kind
from ssmc.plan.nodes import FORM_NAMES
from ssmc.runtime.shapes import axes_of
from ssmc.step.interp import run
from ssmc.step.nodes import Register, StepGraph
from ssmc.step.sizes import growing_axes, solve_sizes

if TYPE_CHECKING:
    from ssmc.api import Compiled

BATCH = 2
AWKWARD = (3, 2, 5)  # sizes of axes that nothing fixes, in turn
EVEN = (4, 8, 16, 64, 48)  # … where another axis is a part of one
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
GRADIENT_TOLERANCE = 1e-7
# primes, what is almost nothing, and a chunk more or less by one, for chunks of CUT steps
CUT = 4
LENGTHS = (0, 1, 2, CUT - 1, CUT + 1, 7, 31, 65)
SHORT, MIDDLE = 7, 31
# How far off: some hundred roundings, since each step rounds again; and how much further in float32.
NEARBY = 2.0**-44
SINGLE_ROUNDING = 2.0**28


@dataclass(frozen=True)
class Row:
    """One comparison. Errors are the largest differences over the largest magnitude (at least 1) of what was expected;
    `gradient` is None where none was taken. `form` may end in the length of chunks, or be `step`: token by token.
    """

    form: str
    length: int
    dtype: str
    forward: float
    gradient: float | None
    ok: bool


def self_test(compiled: Compiled, sizes: Mapping[str, int] | None = None) -> tuple[Row, ...]:
    """A row a comparison; see `Row`."""
    trial = _Trial(compiled, awkward_sizes(compiled.graph, sizes))
    rows: list[Row] = []
    forms = tuple(f"{form}{cut}" for form in legal_forms(compiled) for cut in ("", f":{CUT}"))
    for length in LENGTHS:
        question = trial.question(length)
        expected = trial.expected(question)
        slack = trial.slack(question, expected)
        rows.extend(trial.compare(form, question, expected, slack) for form in forms)
        if length == MIDDLE:
            rows.extend(trial.compare_single(question, forms, slack[0]))
        if length == SHORT and not any(r.reverse for r in compiled.graph.registers):
            rows.append(trial.compare_steps(question, expected, slack))
    return tuple(rows)


def legal_forms(compiled: Compiled) -> tuple[str, ...]:
    """The forms that at least one component can take."""
    from ssmc.plan.forms import verdicts

    analysis = compiled.analysis
    found = [verdicts(analysis, c)[0] for c in analysis.components if c.recurrent]
    return tuple(f for f in FORM_NAMES if f == "recurrent" or any(v[f][0] for v in found))


def awkward_sizes(graph: StepGraph, sizes: Mapping[str, int] | None) -> dict[str, int]:
    """Sizes for all axes: as given and declared, the others small, odd and different."""
    given = dict(sizes or {})
    known = solve_sizes(graph, {}, given, partial=True)
    growing = growing_axes(graph)
    for axis in sorted(graph.axes, key=lambda a: a.size is not None):
        if axis.name not in known and axis.name not in growing:
            turn = len(given) % len(AWKWARD)
            for size in (*AWKWARD[turn:], *AWKWARD[:turn], *EVEN):
                try:
                    known = solve_sizes(graph, {}, given | {axis.name: size}, partial=True)
                except SpecError:  # an axis declared as a part of this one
                    if size == EVEN[-1]:
                        raise
                    continue
                given[axis.name] = size
                break
    return known


@dataclass(frozen=True)
class _Question:
    """Leaves in double precision: inputs, params and initial states, by name."""

    length: int
    inputs: dict[str, Tensor]
    params: dict[str, Tensor]
    state: dict[str, Tensor]

    @property
    def leaves(self) -> list[Tensor]:
        every = [*self.inputs.values(), *self.params.values(), *self.state.values()]
        return [x for x in every if x.requires_grad]

    def changed(self, change: Callable[[Tensor], Tensor]) -> _Question:
        """The question with every real or complex leaf changed."""

        def one(x: Tensor) -> Tensor:
            return change(x.detach()).requires_grad_(x.requires_grad) if x.requires_grad else x

        def group(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {k: one(x) for k, x in tensors.items()}

        return _Question(self.length, group(self.inputs), group(self.params), group(self.state))


@dataclass(frozen=True)
class _Answer:
    """Outputs and final states by name, then the gradient of each leaf."""

    values: dict[str, Tensor]
    gradients: tuple[Tensor | None, ...] = ()


class _Trial:
    def __init__(self, compiled: Compiled, sizes: dict[str, int]) -> None:
        self.compiled = compiled
        self.graph = compiled.graph
        self.sizes = sizes
        self.generator = torch.Generator().manual_seed(20)

    def question(self, length: int) -> _Question:
        own = {a: s for a, s in self.sizes.items() if a in self.graph.axis}
        drawn = self.compiled.init_params(own, generator=self.generator, dtype=torch.float64)
        params = {
            p.name: drawn[p.name] if p.default is not None else self._draw((), p.axes, p.kind, 0.5)
            for p in self.graph.params
        }
        inputs = {p.name: self._draw((BATCH, length), p.axes, p.kind, 1.0) for p in self.graph.inputs}
        states = [r for r in self.graph.registers if _plain(r)]
        state = {r.name: self._draw((BATCH,), r.axes, r.kind, 0.5) for r in states}
        for group in (inputs, params, state):
            for name, x in group.items():
                group[name] = x.requires_grad_(x.is_floating_point() or x.is_complex())
        return _Question(length, inputs, params, state)

    def _draw(self, lead: Sequence[int], axes: Axes, kind: Kind, scale: float) -> Tensor:
        shape = (*lead, *axes_of(axes, self.sizes))
        match kind:
            case "bool":
                return torch.rand(shape, generator=self.generator) < 0.3
            case "int":
                return torch.randint(0, 4, shape, generator=self.generator)
            case "real":
                return torch.randn(shape, generator=self.generator, dtype=torch.float64) * scale
            case "complex":
                return torch.randn(shape, generator=self.generator, dtype=torch.complex128) * scale

    # -- answers ---------------------------------------------------------------------------------------------------

    def expected(self, q: _Question) -> _Answer:
        outputs, state = run(self.graph, q.inputs, q.params, q.state, q.length, TorchArrays, self.sizes)
        return self._answer(q, outputs, state)

    def found(self, q: _Question, form: str, gradients: bool = True) -> _Answer:
        options: dict[str, Any] = {} if self.graph.inputs else {"length": q.length}
        own = {a: s for a, s in self.sizes.items() if a in self.graph.axis}
        outputs, state = self.compiled(
            *q.inputs.values(), *q.params.values(), form=form, state=q.state, return_state=True, sizes=own, **options
        )
        return self._answer(q, self._by_name(outputs), state, gradients)

    def _by_name(self, outputs: Any) -> dict[str, Tensor]:
        values = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
        return {o.name: y for o, y in zip(self.graph.outputs, values, strict=True)}

    def _answer(
        self, q: _Question, outputs: Mapping[str, Tensor], state: Mapping[str, Any], gradients: bool = True
    ) -> _Answer:
        values = {**outputs, **{f"state {k}": x for k, x in state.items() if isinstance(x, Tensor)}}
        if not gradients or not q.leaves:
            return _Answer({k: x.detach() for k, x in values.items()})
        # weights that depend on the place only, so that both sides take the same loss
        total = torch.zeros((), dtype=torch.float64)
        for k in sorted(values):
            y = values[k]
            if y.requires_grad:
                weight = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)
                total = total + (weight * (y.real + y.imag if y.is_complex() else y)).sum()
        if not total.requires_grad:
            return _Answer({k: x.detach() for k, x in values.items()}, (None,) * len(q.leaves))
        taken = torch.autograd.grad(total, q.leaves, allow_unused=True)
        return _Answer({k: x.detach() for k, x in values.items()}, taken)

    # -- comparisons -----------------------------------------------------------------------------------------------

    def slack(self, q: _Question, expected: _Answer) -> tuple[float, float]:
        """How far the oracle's values and gradients are from themselves for slightly different leaves."""

        def near(x: Tensor) -> Tensor:
            return x * (1 + NEARBY * torch.randn(x.shape, generator=self.generator, dtype=torch.float64))

        nearby = self.expected(q.changed(near))
        return self._distance(nearby, expected), _slope_distance(nearby, expected)

    def compare(self, form: str, q: _Question, expected: _Answer, slack: tuple[float, float]) -> Row:
        found = self.found(q, form)
        forward, gradient = self._distance(found, expected), _slope_distance(found, expected)
        ok = forward <= max(TOLERANCE["float64"], slack[0]) and gradient <= max(GRADIENT_TOLERANCE, slack[1])
        return Row(form, q.length, "float64", forward, gradient, ok)

    def compare_single(self, q: _Question, forms: Sequence[str], slack: float) -> list[Row]:
        single = q.changed(lambda x: _as(x, torch.float32))
        expected = self.expected(single.changed(lambda x: _as(x, torch.float64)))
        allowed = max(TOLERANCE["float32"], SINGLE_ROUNDING * slack)
        rows = []
        for form in forms:
            forward = self._distance(self.found(single, form, gradients=False), expected)
            rows.append(Row(form, q.length, "float32", forward, None, forward <= allowed))
        return rows

    def compare_steps(self, q: _Question, expected: _Answer, slack: tuple[float, float]) -> Row:
        state: dict[str, Any] = dict(q.state)
        own = {a: s for a, s in self.sizes.items() if a in self.graph.axis}
        steps = []
        for t in range(q.length):
            now = [x[:, t] for x in q.inputs.values()]
            y, state = self.compiled.step(state, *now, *q.params.values(), sizes=own)
            steps.append(self._by_name(y))
        outputs = {k: torch.stack([s[k] for s in steps], 1) for k in steps[0]}
        found = self._answer(q, outputs, state)
        forward, gradient = self._distance(found, expected), _slope_distance(found, expected)
        ok = forward <= max(TOLERANCE["float64"], slack[0]) and gradient <= max(GRADIENT_TOLERANCE, slack[1])
        return Row("step", q.length, "float64", forward, gradient, ok)

    def _distance(self, found: _Answer, expected: _Answer) -> float:
        return max((error(found.values[k], y) for k, y in expected.values.items()), default=0.0)


def _slope_distance(found: _Answer, expected: _Answer) -> float:
    pairs = zip(found.gradients, expected.gradients, strict=True)
    return max((_gradient_error(a, b) for a, b in pairs), default=0.0)


def _plain(r: Register) -> bool:
    return r.origin == "state" and r.depth.steps == 1 and r.depth.axis is None


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    if x.is_complex():
        return x.to(torch.complex64 if dtype == torch.float32 else torch.complex128)
    return x.to(dtype) if x.is_floating_point() else x


def _gradient_error(found: Tensor | None, expected: Tensor | None) -> float:
    if found is None or expected is None:
        # no path is the same as a gradient of zero
        only = found if expected is None else expected
        return 0.0 if only is None else error(torch.zeros_like(only), only)
    return error(found, expected)


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest magnitude, at least 1; infinite where shapes or non-numbers differ."""
    if found.shape != expected.shape:
        return float("inf")
    if found.numel() == 0:
        return 0.0
    wide = torch.complex128 if expected.is_complex() or found.is_complex() else torch.float64
    a, b = found.to(wide), expected.to(wide)
    same = (a == b) | (a.isnan() & b.isnan())
    difference = torch.where(same, 0.0, (a - b).abs())
    finite = b.abs()[b.isfinite()]
    scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
    worst = float(difference.max()) / scale
    return worst if worst == worst else float("inf")
