"""How generated C++ runs a spec, for `ssmc explain`: the schedule of each pass, of the forward and of its backward."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssmc.diagnostics import SpecError
from ssmc.runtime.schedules import Scheduling

if TYPE_CHECKING:
    from ssmc.backends.cpp.account import Account
    from ssmc.kernel.nodes import Program
    from ssmc.plan.machines import Machine
    from ssmc.plan.nodes import Plan

WIDTH, LINE = 12, 100


@dataclass(frozen=True)
class Told:
    """`passes` by role; `why`: who decided, or why there is nothing to tell."""

    passes: tuple[tuple[str, Account], ...]
    why: str
    lanes: int = 0
    threads: int = 0
    measured: str = ""

    def lines(self) -> list[str]:
        """For a person."""
        if not self.passes:
            return [f"{'schedule':<{WIDTH}}none: {self.why}"]
        threads = f"{self.threads} thread{'s' if self.threads != 1 else ''}"
        since = f"measured on {self.measured[:10]}" if self.measured else "not measured: `ssmc doctor --calibrate`"
        out = _wrapped(f"{'schedule':<{WIDTH}}", f"C++ in float32: {self.lanes} lanes; {self.why}")
        out += _wrapped(f"{'machine':<{WIDTH}}", f"{since}; estimates are for {threads}")
        for role, a in self.passes:
            out += _wrapped(f"  {f'{role}.{a.number}':<{WIDTH}}", a.title)
            for what, how in a.lines():
                out += _wrapped(f"    {what:<{WIDTH - 2}}", how)
        return out

    def json(self) -> dict[str, Any]:
        """For a program."""
        passes = [{"program": role, **a.json()} for role, a in self.passes]
        return {
            "backend": "cpp" if self.passes else None, "why": self.why, "lanes": self.lanes,
            "threads": self.threads, "machine_measured": self.measured or None, "passes": passes,
        }  # fmt: skip


def _wrapped(begin: str, text: str) -> list[str]:
    return textwrap.wrap(text, LINE, initial_indent=begin, subsequent_indent=" " * len(begin))


def accounts(
    plan: Plan, sizes: Mapping[str, int], batch: int, length: int, machine: Machine, asked: Scheduling
) -> Told:
    """What a plan for generated C++ on `machine` comes to; wishes that cannot be had raise SpecError."""
    from ssmc.backends.cpp.constants import constants
    from ssmc.backends.cpp.printer import print_program
    from ssmc.backends.cpp.toolchain import toolchain
    from ssmc.backends.cpp.value import NotPrintable
    from ssmc.kernel.lower import lower

    lanes = toolchain().lanes("float")
    threads = machine.cores
    wishes = asked.wishes(sizes, threads)
    passes: list[tuple[str, Account]] = []

    def add(role: str, program: Program, own: Scheduling) -> None:
        found = {a: s for a, s in sizes.items() if a in {x.name for x in program.graph.axes}}
        printed = print_program(
            program, real="float", lanes=lanes, sizes=found, wishes=own.wishes(sizes, threads).of(own.role)
        )
        passes.extend((role, a) for a in printed.passes)

    try:
        add("forward", lower(plan), asked)
        backward = backward_program(plan, sizes, batch, length, machine, asked)
        if backward is not None:
            add("backward", backward, asked.derived(True))
    except NotPrintable as missing:
        if not passes:
            return Told((), f"this backend has no code for it, and PyTorch runs it: {missing}")
    why = wishes.why or "by the rules of the compiler"
    return Told(tuple(passes), why, lanes, machine.cores, constants().measured)


def backward_program(
    plan: Plan, sizes: Mapping[str, int], batch: int, length: int, machine: Machine, asked: Scheduling
) -> Program | None:
    """The backward that gives every gradient, as a call that autograd records has it; None where there is none."""
    from ssmc.adjoint.graph import adjoint, refusal
    from ssmc.adjoint.parts import restricted, written_out
    from ssmc.kernel.lower import lower
    from ssmc.kernel.pair import at_hand, lower_resuming
    from ssmc.plan.choose import choose
    from ssmc.plan.saving import needed
    from ssmc.recurrence.analyse import analyse

    analysis = plan.analysis
    if refusal(analysis.graph) is not None:
        return None
    request: dict[str, Any] = {"sizes": sizes, "batch": batch, "length": length, "machine": machine}
    chunk = asked.chunk(sizes, machine.cores)
    forward = choose(analysis, saves=needed(analysis.graph), chunk=chunk, **request)
    found = adjoint(analysis.graph)
    graph = written_out(found.graph, found.constants, analysis.graph)
    outputs = {o.name for o in graph.outputs}
    wanted = [*found.inputs.values(), *found.params.values()]
    if not wanted:
        return None
    graph = restricted(graph, [w for w in wanted if w in outputs], [w for w in wanted if w not in outputs])
    try:
        if forward.saving is None:
            return lower(choose(analyse(graph), **request))
        saved = frozenset(forward.saving.registers) & at_hand(forward, forward.saving.chunk)
        second = choose(analyse(graph), resumes=forward.saving.chunk, **request)
        return lower_resuming(second, analysis.graph, forward.saving.chunk, saved)
    except SpecError:
        return None
