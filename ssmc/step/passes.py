"""Passes over the step graph: pure functions from graph to graph, and the loop that runs and verifies them.

A pass says by checks what it needs and what holds once it has run. Everything established stays verified after every
later pass, so that the failure names the pass that broke it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ssmc.diagnostics import CompilerBug
from ssmc.step.nodes import StepGraph
from ssmc.step.verify import Check, verify


@dataclass(frozen=True)
class Pass:
    """`name` is the word that `--after` takes; `requires` and `establishes` are invariants beyond those of `verify`."""

    name: str
    run: Callable[[StepGraph], StepGraph]
    summary: str = ""
    requires: tuple[Check, ...] = ()
    establishes: tuple[Check, ...] = ()


def run_passes(
    graph: StepGraph,
    passes: Sequence[Pass],
    *,
    after: str | None = None,
    seen: Callable[[str, StepGraph], None] | None = None,
) -> StepGraph:
    """The graph after all passes, or after the one named `after` (`build`: as given), verified before and after each.

    `seen` is called with every pass's name and result. Raises `CompilerBug` where an invariant breaks, where a pass
    needs what no earlier one established, and where `after` names no pass.
    """
    names = ["build", *(p.name for p in passes)]
    if after is not None and after not in names:
        raise CompilerBug(f"no pass `{after}` among {', '.join(names)}")
    held: tuple[Check, ...] = ()
    verify(graph, "build")
    if seen is not None:
        seen("build", graph)
    for step in passes:
        if after is not None and names.index(step.name) > names.index(after):
            break
        for check in step.requires:
            if check not in held:
                raise CompilerBug(f"`{step.name}` needs `{check.name}`, which no pass before it establishes")
        graph = step.run(graph)
        held += tuple(c for c in step.establishes if c not in held)
        verify(graph, step.name, held)
        if seen is not None:
            seen(step.name, graph)
    return graph
