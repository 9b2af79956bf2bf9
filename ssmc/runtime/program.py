"""A generated module as the runtime sees it: three functions over tensors with one batch dimension.

The one place that knows how generated functions are called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssmc.runtime.tensors import widened

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Program:
    """`module` has `initial_state`, `sequence` and `step`; `source` is its text.

    A program that saves states where chunks of `chunk` steps begin has `sequence_saving` in place of `sequence`; one
    that goes on from them takes those of the registers `saved`.
    """

    module: Any
    source: str = ""
    chunk: int = 0
    saved: tuple[str, ...] = ()

    def _named(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By the generated functions' names, which differ from the spec's where those mean something in Python.

        Values stored in 16 bits are read as they are by modules that can (`takes_halves`).
        """
        renamed = getattr(self.module, "ARGUMENTS", {})
        if not getattr(self.module, "takes_halves", False):
            tensors = widened(tensors)
        return {renamed.get(name, name): x for name, x in tensors.items()}

    def initial_state(self, sizes: Sizes, batch: int, params: Mapping[str, Tensor], like: Tensor) -> dict[str, Tensor]:
        """Every entry of the state but `t`, as (batch, …)."""
        state = self.module.initial_state(sizes=sizes, batch=batch, like=like, **self._named(params))
        return {name: entry for name, entry in state.items() if name != "t"}

    def sequence(
        self,
        sizes: Sizes,
        batch: int,
        length: int,
        inputs: Mapping[str, Tensor],
        params: Mapping[str, Tensor],
        state: Mapping[str, Any],
        saved: Mapping[str, Tensor] | None = None,
    ) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        """Outputs (batch, length, …) in order, and the new state; `state` is complete, its `t` an int.

        `saved` are the states that a forward saved, for a program that goes on from them.
        """
        given: dict[str, Any] = {**self._named(inputs), **self._named(params), "state": dict(state)}
        if saved is not None:
            given["saved"] = saved
        with no_autocast(state, inputs, params):
            return self.module.sequence(sizes=sizes, batch=batch, length=length, **given)  # type: ignore[no-any-return]

    def sequence_saving(
        self,
        sizes: Sizes,
        batch: int,
        length: int,
        inputs: Mapping[str, Tensor],
        params: Mapping[str, Tensor],
        state: Mapping[str, Any],
    ) -> tuple[tuple[Tensor, ...], dict[str, Any], dict[str, Tensor]]:
        """As `sequence`, and the states where chunks begin, by register, each (batch, chunks, …)."""
        given = {**self._named(inputs), **self._named(params)}
        with no_autocast(state, inputs, params):
            return self.module.sequence_saving(  # type: ignore[no-any-return]
                sizes=sizes, batch=batch, length=length, state=dict(state), **given
            )

    def step(
        self,
        sizes: Sizes,
        batch: int,
        inputs: Mapping[str, Tensor],
        params: Mapping[str, Tensor],
        state: Mapping[str, Any],
    ) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        """Outputs (batch, …) of one step, and the new state."""
        with no_autocast(state, inputs, params):
            return self.module.step(  # type: ignore[no-any-return]
                sizes=sizes, batch=batch, state=dict(state), **self._named(inputs), **self._named(params)
            )


@contextmanager
def no_autocast(*tensors: Mapping[str, Any]) -> Iterator[None]:
    """Without automatic casts: the program computes in the precision it was given."""
    kinds = {x.device.type for group in tensors for x in group.values() if isinstance(x, Tensor)}
    active = [kind for kind in kinds if _autocasts(kind)]
    if not active:
        yield
        return
    with torch.autocast(active[0], enabled=False):
        yield


def _autocasts(kind: str) -> bool:
    try:
        return torch.is_autocast_enabled(kind)
    except RuntimeError:  # a device that has no automatic casts
        return False
