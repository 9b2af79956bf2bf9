"""Calls that go straight to a library: what an earlier call was found to mean holds for those like it.

A call is like an earlier one where its tensors have the same element types and, along the axes, the same sizes; where
its batch and length are of those that the plan was chosen for; where its options are the same; and where nobody but the
caller looks on. The library's own object checks all this (`backends/cpp/extension/public.hpp`), in less than it takes
to ask for one attribute of each tensor; what it does not know goes the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ssmc.runtime.generate import rounded

if TYPE_CHECKING:
    from ssmc.runtime.program import Program
    from ssmc.step.nodes import StepGraph

Quick = Callable[..., Any]


class Known:
    """The quick calls of one spec: the last one of each function."""

    def __init__(self, graph: StepGraph, sequence: Quick, step: Quick, result_of: Callable[[], Any]) -> None:
        """`sequence` and `step` settle any call; `result_of` gives the class of several outputs."""
        self._graph, self._result_of = graph, result_of
        self._slow = {"sequence": sequence, "step": step}
        self._keys: dict[str, Any] = {}
        self.sequence: Quick | None = None
        self.step: Quick | None = None

    def learn(
        self, function: str, program: Program, sizes: Mapping[str, int], batch: int, length: int,
        options: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """Take calls like one that was just settled."""
        make = getattr(program.module, "public", None)
        if make is None:
            return
        kernel = getattr(program.module, function, None)
        classes = alike(batch), alike(length)
        key = (id(kernel), tuple(sizes.items()), classes, tuple(options.items()))
        if self._keys.get(function) == key:
            return
        order = [p.name for p in (*self._graph.inputs, *self._graph.params)]
        several = self._result_of() if len(self._graph.outputs) > 1 else None
        made = make(function, self._slow[function], sizes, order, *classes, tuple(options.items()), several)
        self._keys[function] = key
        setattr(self, function, made)


def alike(n: int) -> tuple[int, int]:
    """The least and the most that is rounded as `n` is: a plan is the same for all of them."""
    most = rounded(n)
    return (most // 2 + 1 if most > 1 else 0), most
