"""Step graphs built by hand, for tests of the levels that stand on them."""

from __future__ import annotations

from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.source import Source
from ssmc.step.nodes import Axis, Depth, Origin, Output, Port, Register, StepGraph


class Builder:
    """Collects the parts of a step graph; axes in the canonical order."""

    def __init__(self, axes: str = "", sizes: dict[str, Node] | None = None) -> None:
        self.ar = Arena(axes.split())
        self._axes = axes.split()
        self.sizes: dict[str, Node] = sizes or {}
        self._inputs: list[Port] = []
        self._params: list[Port] = []
        self._registers: list[Register] = []
        self._outputs: list[Output] = []
        self.equations: tuple[tuple[str, str], ...] = ()

    def input(self, name: str, axes: str = "", kind: Kind = "real") -> Node:
        self._inputs.append(Port(name, tuple(axes.split()), kind))
        return self.ar.input(name, tuple(axes.split()), kind)

    def param(self, name: str, axes: str = "", kind: Kind = "real", default: Node | None = None) -> Node:
        self._params.append(Port(name, tuple(axes.split()), kind, default))
        return self.ar.param(name, tuple(axes.split()), kind)

    def read(self, name: str, axes: str = "", kind: Kind = "real", steps: int = 1) -> Node:
        return self.ar.read(name, tuple(axes.split()), kind, steps)

    def register(
        self, name: str, source: Node, axes: str = "", kind: Kind = "real", init: float | Node = 0.0,
        reverse: bool = False, depth: Depth | None = None, origin: Origin = "state",
    ) -> None:  # fmt: skip
        start = init if isinstance(init, Node) else self.ar.const(init)
        self._registers.append(
            Register(name, tuple(axes.split()), kind, start, source, reverse, depth or Depth(1), origin)
        )

    def output(self, name: str, value: Node, axes: Axes | None = None) -> None:
        self._outputs.append(Output(name, value.axes if axes is None else axes, value.kind, value))

    def graph(self) -> StepGraph:
        axes = tuple(Axis(a, self.sizes.get(a), False) for a in self._axes)
        return StepGraph(
            "hand", Source("hand.ssm", ""), axes, tuple(self._inputs), tuple(self._params), tuple(self._registers),
            tuple(self._outputs), self.equations, self.ar,
        )  # fmt: skip
