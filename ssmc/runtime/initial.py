"""Values that the caller leaves out: params' defaults, random ones drawn on request, and the state at the start.

Defaults are evaluated in double precision and then cast, whatever the precision of the call.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ssmc.diagnostics import CompilerBug, SpecError
from ssmc.expr import nodes as n
from ssmc.expr.arrays import TorchArrays
from ssmc.expr.evaluate import Evaluator, Named
from ssmc.expr.nodes import Node, postorder
from ssmc.runtime import problems
from ssmc.runtime.arguments import whole
from ssmc.runtime.shapes import Shape, axes_of, check_param
from ssmc.runtime.tensors import COMPLEX_OF, Precision, check_kinds, convert, precision_of, value_of
from ssmc.step.initial import table
from ssmc.step.nodes import Port, Register, StepGraph
from ssmc.step.sizes import solve_sizes

# A memo of what depends on shapes, sizes and precision only: (key, make) -> value.
Memo = Callable[[Any, Callable[[], Any]], Any]

STD = 0.02  # of a param without a default, as `init_params` draws it


def leaves(node: Node) -> list[Node]:
    return postorder([node])


def is_random(node: Node) -> bool:
    return any(isinstance(x, n.Draw) for x in leaves(node))


def sizes_of_call(
    graph: StepGraph, expanded: StepGraph, shapes: Mapping[str, Shape], sizes: Mapping[str, int] | None
) -> dict[str, int]:
    """The size of every axis, also of those that the analysis added to `expanded`. Raises SpecError (E601 to E605)."""
    solved = solve_sizes(graph, shapes, sizes)
    return solved if expanded is graph else solve_sizes(expanded, {}, solved, partial=True)


class Defaults:
    """The defaults of a spec's params at given sizes, from the params that the caller gave."""

    def __init__(
        self,
        graph: StepGraph,
        given: Mapping[str, Tensor],
        sizes: Mapping[str, int],
        generator: torch.Generator | None = None,
        drawing: bool = False,
    ) -> None:
        self.port = {p.name: p for p in graph.params}
        self.sizes = sizes
        self.generator = generator
        self.drawing = drawing
        self.xp = TorchArrays()
        self.values: dict[str, Tensor] = dict(given)

    def value(self, name: str) -> Tensor:
        """The param's value: as given, or its default in double precision on the CPU."""
        if name in self.values:
            return self.values[name]
        port = self.port[name]
        if port.default is None:
            value = self._without_default(port)
        else:
            value = self.evaluate(port.default, port.axes, port.kind)
        self.values[name] = value
        return value

    def evaluate(self, node: Node, axes: n.Axes, kind: n.Kind) -> Tensor:
        """`node` as a tensor of exactly these axes."""
        evaluator = Evaluator([node], self.xp)
        (found,) = evaluator(self._leaf, dict(self.sizes))
        data = self.xp.cast(evaluator.align(found, axes), kind)
        return data.expand(axes_of(axes, self.sizes))  # type: ignore[no-any-return]

    def _leaf(self, node: Node) -> Named:
        match node:
            case n.Param(name=name, axes=axes, kind=kind):
                return Named(axes, self.xp.asarray(self.value(name).cpu(), kind))
            case n.Table(name=name, axes=axes, kind=kind):
                return Named(axes, self.xp.asarray(table(name, list(axes_of(axes, self.sizes))), kind))
            case n.Draw(distribution=distribution, args=args, axes=axes):
                return Named(axes, self._draw(distribution, args, axes_of(axes, self.sizes)))
            case _:
                raise CompilerBug(f"{node!r} in a default")

    def _draw(self, distribution: str, args: Sequence[Node], shape: Shape) -> Tensor:
        numbers = [float(self.evaluate(a, (), "real")) for a in args]
        if distribution == "normal":
            return torch.randn(shape, generator=self.generator, dtype=torch.float64) * numbers[0]
        unit = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        low, high = numbers
        if distribution == "uniform":
            return low + (high - low) * unit
        if distribution == "loguniform":
            return torch.exp(math.log(low) + (math.log(high) - math.log(low)) * unit)
        raise CompilerBug(f"the distribution {distribution}")

    def _without_default(self, port: Port) -> Tensor:
        shape = axes_of(port.axes, self.sizes)
        if not self.drawing:
            raise CompilerBug(f"the param `{port.name}` has no value")
        match port.kind:
            case "bool":
                return torch.zeros(shape, dtype=torch.bool)
            case "int":
                return torch.zeros(shape, dtype=torch.int64)
            case "real":
                return torch.randn(shape, generator=self.generator, dtype=torch.float64) * STD
            case "complex":
                return torch.randn(shape, generator=self.generator, dtype=torch.complex128) * STD


def default_params(
    graph: StepGraph, given: Mapping[str, Tensor], sizes: Mapping[str, int], precision: Precision, memo: Memo
) -> dict[str, Tensor]:
    """Every param: as given, else its default. Raises SpecError for one that has none, or a random one."""
    missing = [p for p in graph.params if p.name not in given]
    without = tuple(p.name for p in missing if p.default is None)
    if without:
        role = "params without a default" if len(without) > 1 else "a param without a default"
        raise SpecError([problems.MissingArguments(None, without, role, graph.name)])
    random = [p for p in missing if p.default is not None and is_random(p.default)]
    if random:
        raise SpecError([problems.RandomDefault(p.span, p.name, graph.name) for p in random])
    defaults = Defaults(graph, given, sizes)
    lasting = _lasting()

    def made(p: Port) -> Tensor:
        return defaults.value(p.name).to(device=precision.device, dtype=precision.of(p.kind))

    params: dict[str, Tensor] = {}
    for p in graph.params:
        if p.name in given:
            params[p.name] = given[p.name]
        elif p.default is not None and any(isinstance(x, n.Param) for x in leaves(p.default)):
            params[p.name] = made(p)
        else:
            key = (p.name, tuple(sizes.items()), precision.compute, precision.device)
            # kept for later calls, which may want gradients where this one is in inference mode
            with torch.inference_mode(False):
                params[p.name] = memo(key, lambda p=p: made(p).clone()) if lasting else made(p)  # type: ignore[misc]
    return params


def _lasting() -> bool:
    """Whether a tensor made now is one like any other later: not a tracer's, not a transform's."""
    return type(torch.empty(0)) is Tensor and torch._C._functorch.maybe_current_level() is None


def init_params(
    graph: StepGraph,
    sizes: Mapping[str, int] | None,
    generator: torch.Generator | None,
    seed: int | None,
    dtype: torch.dtype | None,
    device: Any,
) -> dict[str, Tensor]:
    """See `Compiled.init_params`."""
    if generator is None and seed is not None:
        if whole(seed) is None:
            raise SpecError([problems.BadOption(None, "seed", f"is an integer that is not negative, not {seed!r}")])
        generator = torch.Generator().manual_seed(operator.index(seed))
    real = _floating(dtype) or torch.get_default_dtype()
    place = _place(device) or torch.get_default_device()
    wanted = {n.base_axis(a) for p in graph.params for a in p.axes}
    solved = solve_sizes(graph, {}, sizes, partial=True)
    if not wanted <= solved.keys():
        solved = _required(graph, {}, sizes, wanted)
    defaults = Defaults(graph, {}, solved, generator, drawing=True)
    dtypes = {"real": real, "complex": COMPLEX_OF.get(real, torch.complex64), "int": torch.int64, "bool": torch.bool}
    return {p.name: defaults.value(p.name).to(device=place, dtype=dtypes[p.kind]).clone() for p in graph.params}


def _floating(dtype: object) -> torch.dtype | None:
    """The dtype asked for, None for none. Raises SpecError where it is no floating one."""
    if dtype is None or (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        return dtype
    why = f"is {dtype!r}, which is no floating dtype, as `torch.float64` is"
    raise SpecError([problems.BadOption(None, "dtype", why)])


def _place(device: Any) -> torch.device | None:
    """The device asked for, None for none. Raises SpecError where there is no such device here."""
    if device is None:
        return None
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError, ValueError, NotImplementedError) as error:
        why = f"is {str(device)!r}, where no tensor can be made: {str(error).strip().splitlines()[0]}"
        raise SpecError([problems.BadOption(None, "device", why)]) from None


def _required(
    graph: StepGraph, shapes: Mapping[str, Shape], sizes: Mapping[str, int] | None, wanted: set[str]
) -> dict[str, int]:
    """Raise what `solve_sizes` says of the axes wanted and not known; other open axes do not matter here."""
    try:
        return solve_sizes(graph, shapes, sizes)
    except SpecError as error:
        told = [d for d in error.diagnostics if any(f"`{a}`" in d.title for a in wanted)]
        raise SpecError(told or error.diagnostics) from None


def initial_state(graph: StepGraph, batch: int | Sequence[int], named: Mapping[str, Any]) -> dict[str, Any]:
    """See `Compiled.init_state`."""
    port = {p.name: p for p in graph.params}
    named = dict(named)
    if "batch" in named and "batch" not in port:
        batch = named.pop("batch")
    sizes_of_batch = [whole(b) for b in batch] if isinstance(batch, Iterable) else [whole(batch)]
    shape = tuple(b for b in sizes_of_batch if b is not None)
    if len(shape) != len(sizes_of_batch):
        why = f"is a number of sequences, or a shape of them, not {batch!r}"
        raise SpecError([problems.BadOption(None, "batch", why)])
    options = {k: v for k, v in named.items() if k in STATE_OPTIONS and k not in port}
    given = {k: v for k, v in named.items() if k not in options and v is not None}
    unknown = [k for k in given if k not in port]
    if unknown:
        raise SpecError([problems.UnknownArgument(None, k, tuple(port), graph.name, STATE_OPTIONS) for k in unknown])
    values = [value_of(k, x, port[k].kind, port[k].span) for k, x in given.items()]
    check_kinds(values)
    for v in values:
        check_param(port[v.name], v.tensor.shape)
    found = precision_of(values)
    storage = _floating(options.get("dtype")) or found.storage
    device = _place(options.get("device")) or found.device
    precision = Precision(storage, storage if storage in COMPLEX_OF else torch.float32, device)
    sizes = _sizes_of_state(graph, {v.name: tuple(v.tensor.shape) for v in values}, options.get("sizes"))
    needed = [p for p in graph.params if p.name in _params_of_state(graph)]
    missing = tuple(p.name for p in needed if p.name not in given and p.default is None)
    if missing:
        raise SpecError([problems.MissingArguments(None, missing, "what its initial state depends on", graph.name)])
    random = [p for p in needed if p.name not in given and p.default is not None and is_random(p.default)]
    if random:
        raise SpecError([problems.RandomDefault(p.span, p.name, graph.name) for p in random])
    defaults = Defaults(graph, convert(values, precision), sizes)
    state: dict[str, Any] = {}
    for r in graph.registers:
        entry = defaults.evaluate(r.init, r.axes, r.kind).to(device=device, dtype=precision.of(r.kind))
        steps = held(r, sizes)
        state[r.name] = entry.expand(*shape, *steps, *entry.shape).clone()
    return state | {"t": 0}


STATE_OPTIONS = ("sizes", "dtype", "device")


def held(r: Register, sizes: Mapping[str, int]) -> Shape:
    """The dimension of the steps that an entry holds; a declared state has none."""
    if r.origin == "state" and r.depth.steps == 1 and r.depth.axis is None and not r.depth.unbounded:
        return ()
    if r.depth.unbounded:
        return (0,)
    return (r.depth.steps + (sizes[n.base_axis(r.depth.axis)] if r.depth.axis is not None else 0),)


def _params_of_state(graph: StepGraph) -> set[str]:
    return {x.name for r in graph.registers for x in leaves(r.init) if isinstance(x, n.Param)}


def _sizes_of_state(graph: StepGraph, shapes: Mapping[str, Shape], sizes: Any) -> dict[str, int]:
    """Sizes of the axes that the state has. Raises SpecError where one is open."""
    solved = solve_sizes(graph, shapes, sizes, partial=True)
    wanted = {n.base_axis(a) for r in graph.registers for a in r.axes}
    wanted |= {n.base_axis(r.depth.axis) for r in graph.registers if r.depth.axis is not None}
    return solved if wanted <= solved.keys() else _required(graph, shapes, sizes, wanted)
