"""Programs of one step graph, made on demand: a plan for the request, and the module that a backend makes of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ssmc.diagnostics import SpecError
from ssmc.runtime import problems
from ssmc.runtime.recent import COMPILING, Recent
from ssmc.runtime.schedules import Scheduling, machine_here

if TYPE_CHECKING:
    import torch

    from ssmc.kernel import nodes as kernel
    from ssmc.plan.machines import Machine
    from ssmc.plan.nodes import Plan
    from ssmc.recurrence.nodes import Analysis
    from ssmc.runtime.program import Program

BACKENDS = ("torch", "cpp")
Form = str | Mapping[str, str] | None


@dataclass(frozen=True)
class Route:
    """What a call asks of the compiler besides its values: a form, a backend; None for either chooses."""

    form: Form = None
    backend: str | None = None

    @cached_property
    def key(self) -> tuple[Any, ...]:
        return form_key(self.form), self.backend

    def __str__(self) -> str:
        form = self.form or "auto"
        text = ",".join(f"{k}={v}" for k, v in form.items()) if isinstance(form, Mapping) else str(form)
        return f"{text or 'auto'}/{self.backend or 'any'}"

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Route) and self.key == other.key


def form_key(form: Form) -> Any:
    # the text of what is no form: the plan says so, and it need not be hashable
    return tuple((str(k), str(v)) for k, v in form.items()) if isinstance(form, Mapping) else str(form or "auto")


def checked_backend(backend: object) -> None:
    """Raise SpecError where there is no such backend."""
    if backend is not None and backend not in BACKENDS:
        raise SpecError([problems.NoSuchBackend(None, str(backend), BACKENDS)])


@dataclass(frozen=True)
class Saved:
    """States that a forward saved for its backward: where chunks of `chunk` steps begin, of these registers."""

    chunk: int
    registers: tuple[str, ...]


class Programs:
    """The programs of an analysed step graph, a bounded number of them.

    `analysis` may be a function, asked when the first program is made. `forward` is the analysis of what the graph is
    the backward of, with the delay lines that became states (`ssmc.adjoint.graph.Adjoint.lines`). `derived`: nobody who
    asks for a form has seen the graph; it is taken where it is legal. `scheduling` is what is asked of C++ schedules.
    """

    def __init__(
        self,
        name: str,
        analysis: Analysis | Callable[[], Analysis],
        derived: bool = False,
        forward: Programs | None = None,
        lines: Mapping[str, str] | None = None,
        scheduling: Scheduling | None = None,
    ) -> None:
        self.name = name
        self.scheduling = scheduling
        self._analysis = analysis
        self.derived, self._forward, self._lines = derived, forward, lines or {}
        self.plans: Recent[Any, Plan] = Recent(256)
        self.made: Recent[Any, Program] = Recent(64)

    @cached_property
    def analysis(self) -> Analysis:
        return self._analysis() if callable(self._analysis) else self._analysis

    @cached_property
    def needed(self) -> frozenset[str]:
        """The registers that a backward needs."""
        from ssmc.plan.saving import needed

        with COMPILING:
            return needed(self.analysis.graph)

    def get(
        self,
        sizes: Mapping[str, int],
        batch: int,
        length: int,
        target: str,
        route: Route,
        *,
        gradients: bool = False,
        saves: bool | Saved = False,
        resumes: Saved | None = None,
    ) -> Program:
        """The program for a request; the same one for all requests that the same plan answers.

        `gradients`: autograd records what it does. `saves`: it saves states for its backward, if that needs any, or
        just these. `resumes`: it is a backward, and goes on from these.
        """
        chosen, backend = self.plan(
            sizes, batch, length, target, route, gradients=gradients, saves=saves, resumes=resumes
        )
        asked = route.backend is not None
        key = (chosen.key, backend, resumes, asked)
        return self.made.get(key, lambda: self._made(chosen, backend, resumes, asked))

    def plan(
        self,
        sizes: Mapping[str, int],
        batch: int,
        length: int,
        target: str,
        route: Route,
        *,
        gradients: bool = False,
        saves: bool | Saved = False,
        resumes: Saved | None = None,
    ) -> tuple[Plan, str]:
        """The plan of a request (see `get`), and the backend that runs it."""
        from ssmc.kernel.pair import cut
        from ssmc.plan.choose import choose
        from ssmc.plan.nodes import Saving

        # powers of two: varying lengths must not make varying plans
        batch, length = rounded(batch), rounded(length)
        backend = backend_of(route, target)
        target = "cpp" if backend == "cpp" else target
        chunk = self.scheduling.chunk(sizes) if backend == "cpp" and self.scheduling is not None else 0

        def plan() -> Plan:
            asked = legal(self.analysis, route.form) if self.derived else route.form
            made = choose(
                self.analysis, form=asked or "auto", sizes=sizes, batch=batch, length=length,
                machine=described(target), gradients=gradients, saves=self.needed if saves else None,
                resumes=resumes.chunk if resumes else 0, chunk=chunk,
            )  # fmt: skip
            if isinstance(saves, Saved):
                made = replace(cut(made, saves.chunk), saving=Saving(saves.chunk, saves.registers))
            return made

        key = (tuple(sizes.items()), batch, length, route.key[0], target, gradients, saves, resumes, chunk)
        return self.plans.get(key, plan), backend

    def saving(self, sizes: Mapping[str, int], batch: int, length: int, target: str, route: Route) -> Saved | None:
        """What a forward saves for its backward."""
        from ssmc.kernel.pair import at_hand

        plan, _ = self.plan(sizes, batch, length, target, route, saves=True)
        if plan.saving is None:
            return None
        found = at_hand(plan, plan.saving.chunk)
        kept = tuple(r.name for r in self.analysis.graph.registers if r.name in found & {*plan.saving.registers})
        return Saved(plan.saving.chunk, kept) if kept else None

    def _made(self, plan: Plan, backend: str | None, resumes: Saved | None, asked: bool) -> Program:
        from ssmc.kernel.pair import lower_resuming, lower_saving, saved_by

        if resumes is not None and self._forward is not None:
            before = self._forward.analysis.graph
            program = lower_resuming(plan, before, resumes.chunk, resumes.registers, self._lines)
        else:
            program = lower_saving(plan)
        made = generate(program, self.name, backend, asked, self.scheduling)
        return replace(made, chunk=program.saving, saved=saved_by(program))


def legal(analysis: Analysis, form: Form) -> Form:
    """What of a form asked for can be had: by register."""
    from ssmc.plan.forms import verdicts

    if form is None or form == "auto":
        return None
    asked: dict[str, str] = {}
    for component in (c for c in analysis.components if c.recurrent):
        told, _ = verdicts(analysis, component)
        for register in component.registers:
            wish = form if isinstance(form, str) else next((f for name, f in form.items() if _of(register, name)), "")
            name = wish.partition(":")[0]
            if name in told and told[name][0]:
                asked[component.registers[0]] = wish
                break
    return asked


def _of(register: str, name: str) -> bool:
    """Whether a register was derived from the one of this name."""
    return register.removesuffix("_dot").removeprefix("d_") == name


def generate(
    program: kernel.Program,
    name: str,
    backend: str | None = None,
    asked: bool = True,
    scheduling: Scheduling | None = None,
) -> Program:
    """A kernel program, built and loaded; `asked`: by someone who wants this backend and no other."""
    from ssmc.backends.torch.build import load, source
    from ssmc.runtime.program import Program

    if backend == "cpp":
        from ssmc.backends.cpp.build import program_module
        from ssmc.backends.cpp.printer import print_program

        wishes = scheduling.passes if scheduling is not None else None
        return Program(program_module(program, print_program, asked=asked, wishes=wishes))
    text = source(program)
    return Program(load(text, name), text)


def backend_of(route: Route, target: str) -> str:
    """What runs a call: what it asks for; else generated C++ on a CPU with a compiler, and PyTorch anywhere else.

    The environment variable SSMC_BACKEND takes the choice.
    """
    if route.backend is not None:
        return route.backend
    chosen = os.environ.get("SSMC_BACKEND", "")
    if chosen in BACKENDS:
        return chosen
    if target != "cpu":
        return "torch"
    from ssmc.backends.cpp.toolchain import available

    return "cpp" if available() else "torch"


def machine_of(target: str, form: Form = None, threads: int | None = None, backend: str | None = None) -> str | Machine:
    """The description of the machine that plans for a target are made for: a CPU's is that of the backend it gets."""
    if target == "cpu" and backend_of(Route(form, backend), target) == "cpp":
        target = "cpp"
    return described(target, threads)


def described(target: str, threads: int | None = None) -> str | Machine:
    """A target, or what is known of this machine where generated C++ runs on it."""
    return machine_here(threads) if target == "cpp" else target


def target_of(device: torch.device) -> str:
    """The machine description that a device's plans are made for."""
    if device.type != "cuda":
        return "cpu"
    import torch

    if torch.version.hip:
        return "hip:gfx942"
    major, minor = torch.cuda.get_device_capability(device)
    return f"cuda:{major}{minor}"


def rounded(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()
