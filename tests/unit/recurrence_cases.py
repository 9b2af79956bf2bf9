"""Step graphs built by hand, and what runs their monoids against their definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.arrays import NumpyArrays
from ssmc.expr.evaluate import Named, evaluate
from ssmc.expr.nodes import Kind, Node
from ssmc.recurrence.nodes import Component, Monoid
from ssmc.source import Source
from ssmc.step.nodes import Axis, Depth, Origin, Output, Port, Register, StepGraph

SIZES = {"H": 2, "D": 3, "K": 2, "V": 3, "M": 2, "N": 3, "R": 2, "W": 3}
XP = NumpyArrays()


class Spec:
    """A step graph in the making: `s.input("x", "D")`, `s.state("h", "D")`, `s.set("h", source)`, `s.graph()`."""

    def __init__(self, axes: str = "H D K V M N R W", each: str = "") -> None:
        self.names = tuple(axes.split())
        self.each = tuple(each.split())
        self.arena = Arena(self.names)
        self.inputs: list[Port] = []
        self.params: list[Port] = []
        self.registers: dict[str, Register] = {}
        self.outputs: list[Output] = []

    def input(self, name: str, axes: str = "", kind: Kind = "real") -> Node:
        port = Port(name, tuple(axes.split()), kind)
        self.inputs.append(port)
        return self.arena.input(name, port.axes, kind)

    def param(self, name: str, axes: str = "", kind: Kind = "real") -> Node:
        port = Port(name, tuple(axes.split()), kind)
        self.params.append(port)
        return self.arena.param(name, port.axes, kind)

    def state(
        self,
        name: str,
        axes: str = "",
        kind: Kind = "real",
        init: float | bool = 0.0,
        reverse: bool = False,
        depth: Depth | None = None,
        origin: Origin = "state",
    ) -> n.Read:
        init_node = self.arena.const(init, kind)
        read = self.arena.read(name, tuple(axes.split()), kind)
        self.registers[name] = Register(name, read.axes, kind, init_node, read, reverse, depth or Depth(1), origin)
        return read

    def set(self, name: str, source: Node) -> Node:
        old = self.registers[name]
        self.registers[name] = Register(name, old.axes, old.kind, old.init, source, old.reverse, old.depth, old.origin)
        return source

    def output(self, name: str, value: Node) -> None:
        self.outputs.append(Output(name, value.axes, value.kind, value))

    def graph(self) -> StepGraph:
        axes = tuple(Axis(a, None, a in self.each, None) for a in self.names)
        return StepGraph(
            "test",
            Source("<test>", ""),
            axes,
            tuple(self.inputs),
            tuple(self.params),
            tuple(self.registers.values()),
            tuple(self.outputs),
            (),
            self.arena,
        )


Values = Mapping[str, Any]


def leaf_of(values: Values, locals_: Mapping[Node, Named] | None = None, time: int = 1) -> Callable[[Node], Named]:
    """Leaves from arrays by name (`Read` by register, delays by `key_of`), each with the node's own axes."""

    def leaf(node: Node) -> Named:
        match node:
            case n.Window() | n.History():
                return Named(node.axes, XP.asarray(values[key_of(node)], node.kind))
            case n.Input() | n.Param() | n.Read():
                return Named(node.axes, XP.asarray(values[key_of(node)], node.kind))
            case n.Local() if locals_ is not None:
                return locals_[node]
            case n.Time():
                return Named((), XP.asarray(time, "int"))
            case _:
                raise AssertionError(node)

    return leaf


def key_of(node: Node) -> str:
    """The name that a leaf's value goes by."""
    match node:
        case n.Input(name=name) | n.Param(name=name):
            return name
        case n.Read(register=register, steps=steps):
            return register if steps == 1 else f"{register} {steps}"
        case n.Window(register=register, axis=axis, current=current):
            return f"{register} window {axis} {current is None}"
        case _:
            raise AssertionError(node)


def draw(rng: np.random.Generator, node: Node, sizes: Mapping[str, int] = SIZES) -> Any:
    """Any value of a leaf; of a Window, the earlier steps."""
    shape = [sizes[n.base_axis(a)] for a in node.axes]
    if isinstance(node, n.Window) and node.current is not None:
        shape[node.axes.index(node.axis)] -= 1
    match node.kind:
        case "bool":
            return rng.random(shape) < 0.5
        case "int":
            return rng.integers(-3, 4, shape)
        case "complex":
            return rng.normal(size=shape) + 1j * rng.normal(size=shape)
        case _:
            return rng.normal(size=shape)


def leaves(roots: Sequence[Node]) -> list[Node]:
    return [x for x in n.postorder(list(roots)) if isinstance(x, (n.Input, n.Param, n.Read, n.Window))]


def element(monoid: Monoid, values: Values, time: int, sizes: Mapping[str, int]) -> list[Named]:
    return evaluate(monoid.element, leaf_of(values, time=time), XP, sizes)


def combine(monoid: Monoid, first: Sequence[Named], second: Sequence[Named], sizes: Mapping[str, int]) -> list[Named]:
    given = dict(zip(monoid.earlier, first, strict=True)) | dict(zip(monoid.later, second, strict=True))
    return evaluate(monoid.combined, leaf_of({}, given), XP, sizes)


def apply(monoid: Monoid, value: Sequence[Named], state: Values, sizes: Mapping[str, int]) -> dict[str, Any]:
    given = dict(zip(monoid.later, value, strict=True))
    names = [k for k, _ in monoid.applied]
    out = evaluate([v for _, v in monoid.applied], leaf_of(state, given), XP, sizes)
    return dict(zip(names, out, strict=True))


def full(value: Named, axes: tuple[str, ...], sizes: Mapping[str, int]) -> Any:
    """The array with exactly these axes."""
    data = np.asarray(value.data)
    data = data.reshape([*data.shape, *(1 for a in axes if a not in value.axes)])
    names = [*value.axes, *(a for a in axes if a not in value.axes)]
    data = data.transpose([names.index(a) for a in axes])
    return np.broadcast_to(data, [sizes[n.base_axis(a)] for a in axes])


def check_component(
    graph: StepGraph, component: Component, steps: int = 5, sizes: Mapping[str, int] = SIZES, seed: int = 0
) -> None:
    """Folding the monoid, left to right, right to left and balanced, equals running the component step by step."""
    rng = np.random.default_rng(seed)
    monoid = component.monoid
    assert monoid is not None
    registers = [graph.register[r] for r in component.registers]
    own = set(component.registers)
    sources = [r.source for r in registers]
    others = [x for x in leaves([*sources, *monoid.element]) if getattr(x, "register", None) not in own]
    params = {x.name: draw(rng, x, sizes) for x in others if isinstance(x, n.Param)}
    state = {r.name: draw(rng, graph.arena.read(r.name, r.axes, r.kind), sizes) for r in registers}
    start = dict(state)
    before = start
    elements = []
    for t in range(1, steps + 1):
        values = {key_of(x): draw(rng, x, sizes) for x in others} | params
        new = evaluate(sources, leaf_of({**values, **state}, time=t), XP, sizes)
        elements.append(element(monoid, values, t, sizes))
        state = {r.name: full(v, r.axes, sizes) for r, v in zip(registers, new, strict=True)}
        stepped = apply(monoid, elements[-1], before, sizes)
        compare(stepped, state, registers, sizes)
        before = state

    def folded(items: list[list[Named]], how: str) -> list[Named]:
        if len(items) == 1:
            return items[0]
        cut = {"left": len(items) - 1, "right": 1, "balanced": len(items) // 2}[how]
        return combine(monoid, folded(items[:cut], how), folded(items[cut:], how), sizes)

    for how in ("left", "right", "balanced"):
        compare(apply(monoid, folded(elements, how), start, sizes), state, registers, sizes)
    neutral = evaluate(monoid.identity, leaf_of({}), XP, sizes)
    padded = combine(monoid, neutral, combine(monoid, elements[0], neutral, sizes), sizes)
    one = apply(monoid, elements[0], start, sizes)
    compare(
        apply(monoid, padded, start, sizes),
        {k: full(v, graph.register[k].axes, sizes) for k, v in one.items()},
        registers,
        sizes,
    )


def compare(
    found: Mapping[str, Named], expected: Values, registers: Sequence[Register], sizes: Mapping[str, int]
) -> None:
    for r in registers:
        np.testing.assert_allclose(full(found[r.name], r.axes, sizes), expected[r.name], rtol=1e-9, atol=1e-9)
