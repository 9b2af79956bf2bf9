"""How fast a spec is here: every legal form on every backend, forward, with its backward, and a step.

Nothing is timed before it was compared with the oracle. That is slow and, with gradients, keeps every intermediate
value, so a long sequence is compared in its first steps: a causal spec's outputs, and the gradients of a loss on
them, do not depend on the others, and so it is the very call that is timed that is compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ssmc.diagnostics import SpecError
from ssmc.expr.arrays import TorchArrays
from ssmc.expr.nodes import Axes, Kind
from ssmc.runtime.selftest import error, legal_forms
from ssmc.runtime.shapes import axes_of
from ssmc.runtime.timing import Timing, interleaved
from ssmc.step.interp import run
from ssmc.step.sizes import growing_axes, solve_sizes

if TYPE_CHECKING:
    from ssmc.api import Compiled

FORWARD, BACKWARD, STEP = "forward", "forward + backward", "step"
# sizes of axes that nothing fixes, the first that fits with those of the others
DEFAULT_SIZES = (16, 64, 48, 17)
# numbers that all states of the compared steps may have together
COMPARED = 2**22
TOLERANCE = {FORWARD: 1e-4, BACKWARD: 1e-3, STEP: 1e-4}
# A nonlinear recurrence amplifies rounding; as far as the oracle is from itself for leaves that are rounded once to
# single precision, so many times, may a result be from it.
ROUNDINGS = 64
REPEAT = 0.005  # seconds that one timed run should take at least


@dataclass(frozen=True)
class Row:
    """A case: seconds of one run, how far it was from the oracle, and the seconds of its first call.

    `chosen` says that the plan takes this form where none is asked for, `estimate` the seconds that the plan expects of
    it. Where `wrong`, the rest may be meaningless.
    """

    what: str
    form: str
    backend: str
    median: float
    best: float
    spread: float
    first: float
    error: float
    chosen: bool
    wrong: bool
    estimate: float | None = None


@dataclass(frozen=True)
class Report:
    """All rows; `slower` is the ratio of a median to the best of the same `what`."""

    sizes: dict[str, int]
    batch: int
    length: int
    compared: int
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]

    def slower(self, row: Row) -> float:
        return row.median / min(r.median for r in self.rows if r.what == row.what)


@dataclass
class _Case:
    what: str
    form: str
    backend: str
    run: Callable[[], object]
    first: float
    error: float
    chosen: bool
    wrong: bool
    estimate: float | None = None

    @property
    def name(self) -> str:
        return f"{self.what}/{self.form}/{self.backend}"


def bench(
    compiled: Compiled,
    *,
    sizes: Mapping[str, int] | None = None,
    batch: int = 1,
    length: int = 1024,
    backends: Sequence[str],
    forms: Sequence[str] = (),
    only: Sequence[str] = (FORWARD, BACKWARD, STEP),
    all_must_run: bool = False,
    rounds: int = 7,
    budget: float = 10.0,
) -> Report:
    """Time what `only` names, on float32. Without `forms`, all that are legal.

    `budget` is the seconds that the timed runs of each of `only` take together, about. Raises SpecError; for a form
    or a backend that cannot only where `forms` names it or all must run.
    """
    question = _Question(compiled, dict(sizes or {}), batch, length)
    asked = tuple(forms) or legal_forms(compiled)
    rows: list[Row] = []
    left_out: list[str] = []
    for what in only:
        cases: list[_Case] = []
        for backend in backends:
            for form in ("recurrent",) if what == STEP else asked:
                try:
                    cases += question.cases(what, form, backend)
                except SpecError as refused:
                    if forms or all_must_run:
                        raise
                    left_out.append(f"{what}, {form} on {backend}: {refused.diagnostics[0].title}")
        if cases:
            timings = interleaved(
                [(c.name, c.run) for c in cases], rounds=rounds, budget=budget, repeat=REPEAT
            )  # fmt: skip
            rows += [_row(case, timing) for case, timing in zip(cases, timings, strict=True)]
    return Report(question.sizes, batch, length, question.compared, tuple(rows), tuple(left_out))


def _row(case: _Case, timing: Timing) -> Row:
    return Row(
        case.what, case.form, case.backend, timing.median, timing.best, timing.spread, case.first, case.error,
        case.chosen, case.wrong, case.estimate,
    )  # fmt: skip


class _Question:
    """Leaves in single precision, and what the oracle makes of them."""

    def __init__(self, compiled: Compiled, sizes: dict[str, int], batch: int, length: int) -> None:
        self.compiled, self.graph, self.batch, self.length = compiled, compiled.graph, batch, length
        self.sizes = _all_sizes(compiled, sizes)
        self.own = {a: s for a, s in self.sizes.items() if a in self.graph.axis}
        g = torch.Generator().manual_seed(0)
        drawn = compiled.init_params(self.own, generator=g)
        self.params = {
            p.name: drawn[p.name] if p.default is not None else self._draw(g, (), p.axes, p.kind, 0.5)
            for p in self.graph.params
        }
        self.inputs = {p.name: self._draw(g, (batch, length), p.axes, p.kind, 1.0) for p in self.graph.inputs}
        # a size that a tensor says need not be given, and calls that give none are quicker
        told = {a for p in (*self.graph.inputs, *self.graph.params) for a in p.axes}
        untold = {a: s for a, s in self.own.items() if a not in told}
        self.untold: dict[str, Any] = {"sizes": untold} if untold else {}
        self.backwards = any(r.reverse for r in self.graph.registers)
        numbers = sum(_product(axes_of(r.axes, self.sizes)) for r in self.graph.registers if r.depth.axis is None)
        self.compared = min(length, max(16, COMPARED // max(1, batch * numbers)))
        self._expected: dict[bool, tuple[list[Tensor], list[Tensor | None]]] = {}

    def _draw(self, g: torch.Generator, lead: tuple[int, ...], axes: Axes, kind: Kind, scale: float) -> Tensor:
        shape = (*lead, *axes_of(axes, self.sizes))
        match kind:
            case "bool":
                return torch.rand(shape, generator=g) < 0.3
            case "int":
                return torch.randint(0, 4, shape, generator=g)
            case "real":
                return torch.randn(shape, generator=g) * scale
            case "complex":
                return torch.randn(shape, generator=g, dtype=torch.complex64) * scale

    # -- the oracle ------------------------------------------------------------------------------------------------

    def expected(self, nearby: bool) -> tuple[list[Tensor], list[Tensor | None]]:
        """Outputs of the compared steps, and the gradient of each leaf; `nearby`, for leaves rounded once more."""
        if nearby not in self._expected:
            g = torch.Generator().manual_seed(1)

            def wide(x: Tensor) -> Tensor:
                if not _differentiable(x):
                    return x
                y = x.to(torch.complex128 if x.is_complex() else torch.float64)
                if nearby:
                    y = y * (1 + 2.0**-24 * torch.randn(y.shape, generator=g, dtype=torch.float64))
                return y.requires_grad_()

            inputs = {k: wide(x[:, : self.compared]) for k, x in self.inputs.items()}
            params = {k: wide(x) for k, x in self.params.items()}
            found, _ = run(self.graph, inputs, params, None, self.compared, TorchArrays, self.own)
            outputs = [found[o.name] for o in self.graph.outputs]
            slopes = _gradients(outputs, [*inputs.values(), *params.values()], self.compared)
            self._expected[nearby] = [y.detach() for y in outputs], slopes
        return self._expected[nearby]

    def compare(self, what: str, outputs: Sequence[Tensor], slopes: Sequence[Tensor | None]) -> tuple[float, bool]:
        """The error of the outputs or of the gradients, and whether it is too large."""
        truth, off = self.expected(nearby=False), self.expected(nearby=True)
        if what == BACKWARD:
            pairs, allowed = list(self._slope_pairs(slopes, truth[1])), list(self._slope_pairs(off[1], truth[1]))
        else:
            steps = outputs[0].shape[1] if outputs else 0
            pairs = [(a, b[:, :steps]) for a, b in zip(outputs, truth[0], strict=True)]
            allowed = [(a[:, :steps], b[:, :steps]) for a, b in zip(off[0], truth[0], strict=True)]
        found, slack = (max((error(a, b) for a, b in each), default=0.0) for each in (pairs, allowed))
        return found, not found <= max(TOLERANCE[what], ROUNDINGS * slack)

    def _slope_pairs(
        self, found: Sequence[Tensor | None], truth: Sequence[Tensor | None]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Gradients of inputs are compared where there are steps to compare; no path is a gradient of zero."""
        for n, (a, b) in enumerate(zip(found, truth, strict=True)):
            if a is None and b is None:
                continue
            one = torch.zeros_like(b) if a is None else a  # type: ignore[arg-type]
            if n < len(self.inputs):
                one = one[:, : self.compared]
            yield one, torch.zeros_like(one) if b is None else b

    # -- cases -----------------------------------------------------------------------------------------------------

    def cases(self, what: str, form: str, backend: str) -> list[_Case]:
        """One, compared; none where a step, or a backward, does not exist."""
        if what == STEP:
            return [] if self.backwards or not self.graph.inputs else [self._step(backend)]
        options: dict[str, Any] = {"form": form, "backend": backend, **self.untold}
        if not self.graph.inputs:
            options["length"] = self.length
        run_it = self._forward(options) if what == FORWARD else self._both(options)
        if run_it is None:
            return []
        start = time.perf_counter()
        outputs, slopes = run_it()
        first = time.perf_counter() - start
        if self.compared < self.length and self.backwards:
            # nothing of a reverse state is known before the end: a short call is compared, not the timed one
            short = _Question(self.compiled, self.own, self.batch, self.compared).cases(what, form, backend)[0]
            off, wrong = short.error, short.wrong
        else:
            if what == BACKWARD and self.compared < self.length:
                slopes = self._both(options, self.compared)()[1]  # type: ignore[misc]
            off, wrong = self.compare(what, [y[:, : self.compared] for y in outputs], slopes)
        gradients = what == BACKWARD
        estimate = self._estimate(form, backend, gradients)
        return [_Case(what, form, backend, run_it, first, off, self._chosen(form, gradients), wrong, estimate)]

    def _outputs(self, *given: Tensor, **options: Any) -> list[Tensor]:
        """Of a call; a spec without inputs has no batch, and gets one."""
        outputs = _listed(self.compiled(*given, **options))
        return outputs if self.graph.inputs else [y[None] for y in outputs]

    def _forward(self, options: dict[str, Any]) -> Callable[[], tuple[list[Tensor], list[Tensor | None]]]:
        def forward() -> tuple[list[Tensor], list[Tensor | None]]:
            with torch.no_grad():
                return self._outputs(*self.inputs.values(), *self.params.values(), **options), []

        return forward

    def _both(
        self, options: dict[str, Any], steps: int | None = None
    ) -> Callable[[], tuple[list[Tensor], list[Tensor | None]]] | None:
        """With the gradients of a loss on the first `steps`; None where nothing has a gradient."""
        leaves = [x.detach().requires_grad_(_differentiable(x)) for x in (*self.inputs.values(), *self.params.values())]
        if not any(x.requires_grad for x in leaves) or not any(o.kind in _SMOOTH for o in self.graph.outputs):
            return None

        def both() -> tuple[list[Tensor], list[Tensor | None]]:
            outputs = self._outputs(*leaves, **options)
            return [y.detach() for y in outputs], _gradients(outputs, leaves, steps or self.length)

        return both

    def _step(self, backend: str) -> _Case:
        now = [x[:, 0] for x in self.inputs.values()]
        params = list(self.params.values())

        def advance(state: Any) -> tuple[Any, Any]:
            with torch.no_grad():
                return self.compiled.step(state, *now, *params, backend=backend, **self.untold)

        start = time.perf_counter()
        y, state = advance(None)
        first = time.perf_counter() - start
        off, wrong = self.compare(STEP, [x[:, None] for x in _listed(y)], [])
        return _Case(STEP, "step", backend, lambda: advance(state), first, off, False, wrong)

    def _estimate(self, form: str, backend: str, gradients: bool) -> float | None:
        """Seconds that the plan expects of the recurrences, of as many threads as run; PyTorch's are those of one."""
        threads = torch.get_num_threads()
        plan = self.compiled.plan(self.own, self.batch, self.length, form, "cpu", gradients, threads, backend)
        costs = [f.cost for c in plan.choices for f in c.forms if f.name == c.form]
        seconds = [c.seconds_at for c in costs if c is not None and c.seconds_at is not None]
        return sum(seconds) if seconds else None

    def _chosen(self, form: str, gradients: bool) -> bool:
        """Whether the plan takes `form` of its own accord."""
        asked, own = (
            self.compiled.plan(self.own, self.batch, self.length, f, gradients=gradients) for f in (form, "auto")
        )
        return asked.key == own.key


_SMOOTH = ("real", "complex")


def _gradients(outputs: Sequence[Tensor], leaves: Sequence[Tensor], steps: int) -> list[Tensor | None]:
    """Of a loss with a weight for each output element, by its place in the step; nothing depends on later steps."""
    roots = [y for y in outputs if y.requires_grad]
    wanted = [x for x in leaves if x.requires_grad]
    if not roots or not wanted:
        return [None for _ in leaves]
    weights = [_weight(y, steps) for y in roots]
    taken = iter(torch.autograd.grad(roots, wanted, weights, allow_unused=True))
    return [next(taken) if x.requires_grad else None for x in leaves]


def _weight(y: Tensor, steps: int) -> Tensor:
    """Of a shape and a place only, so that all sides take the same loss; zero beyond the first `steps`."""
    inner = torch.cos(torch.arange(y[:1, :1].numel(), dtype=torch.float64)).reshape(y[:1, :1].shape)
    over_time = torch.cos(0.7 * torch.arange(y.shape[1], dtype=torch.float64))
    over_time[steps:] = 0
    weight = inner * over_time.reshape(1, -1, *(1,) * (y.dim() - 2))
    return weight.expand(y.shape).to(y.dtype)


def _listed(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _differentiable(x: Tensor) -> bool:
    return x.is_floating_point() or x.is_complex()


def _product(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


def _all_sizes(compiled: Compiled, given: dict[str, int]) -> dict[str, int]:
    """Sizes for all axes: as given and declared, and a default for the others. Raises SpecError."""
    graph = compiled.graph
    known = solve_sizes(graph, {}, given, partial=True)
    growing = growing_axes(graph)
    for axis in sorted(graph.axes, key=lambda a: a.size is not None):
        if axis.name in known or axis.name in growing:
            continue
        for size in DEFAULT_SIZES:
            try:
                known = solve_sizes(graph, {}, given | {axis.name: size}, partial=True)
            except SpecError:  # an axis declared as a part of this one
                if size == DEFAULT_SIZES[-1]:
                    raise
                continue
            given[axis.name] = size
            break
    return known
