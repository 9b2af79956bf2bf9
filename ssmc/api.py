"""The Python interface: `load`, `compile`, `jit`, and what they give, a `Compiled`."""

from __future__ import annotations

import functools
import hashlib
import inspect
import operator
import os
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ssmc.diagnostics import SpecError
from ssmc.runtime import problems
from ssmc.runtime.arguments import whole
from ssmc.runtime.generate import BACKENDS, Form, Programs, Route, checked_backend, machine_of
from ssmc.runtime.quick import Known
from ssmc.runtime.recent import COMPILING, Recent
from ssmc.runtime.schedules import Scheduling
from ssmc.source import Source

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ssmc.plan.explain import Request
    from ssmc.plan.machines import Machine
    from ssmc.plan.nodes import Plan
    from ssmc.recurrence.nodes import Analysis
    from ssmc.runtime.accounts import Told
    from ssmc.runtime.runner import Runner
    from ssmc.runtime.selftest import Row
    from ssmc.step.nodes import StepGraph
    from ssmc.syntax import nodes

__all__ = ["BACKENDS", "Compiled", "compile", "jit", "load"]
R = TypeVar("R")
P = ParamSpec("P")


def load(path: str | Path, name: str | None = None, *, schedule: Any = None) -> Compiled:
    """The compiled spec of a `.ssm` file; `path` may end in `:NAME`, or `name` says which spec of the file is meant.

    `schedule` is what generated C++ is to do in place of what it would choose: `{"lane": "N", "chunk": 64}`, or "rules"
    (docs/schedules.md). Raises SpecError: the file cannot be read, a spec is wrong, or it holds several and none is
    named.
    """
    from ssmc.syntax.parser import parse
    from ssmc.syntax.reader import choose_spec, read, read_spec_argument

    try:
        text = os.fsdecode(path)
    except TypeError:
        raise SpecError([problems.NotAPath(None, f"a {type(path).__name__}")]) from None
    if "\n" in text and "=" in text:
        raise SpecError([problems.NotAPath(None, "the text of a spec")])
    if _spec_name(name) is None:
        text, name = read_spec_argument(text)
    source = read(text)
    return Compiled(choose_spec(parse(source), name), source, schedule)


def compile(text: str, *, name: str | None = None, schedule: Any = None) -> Compiled:
    """The compiled spec of `.ssm` text. `name` says which, where the text holds several; `schedule` as in `load`.

    Raises SpecError.
    """
    if not isinstance(text, str):
        raise SpecError([problems.NotText(None, f"a {type(text).__name__}")])
    if "\n" not in text and text.endswith(".ssm"):
        raise SpecError([problems.NotText(None, "the name of a file")])
    from ssmc.syntax.parser import parse
    from ssmc.syntax.reader import choose_spec

    source = Source("<text>", text)
    return Compiled(choose_spec(parse(source), _spec_name(name), 'name="{name}"'), source, schedule)


def _spec_name(name: Any) -> str | None:
    if name is not None and not isinstance(name, str):
        raise SpecError([problems.BadOption(None, "name", f"is the name of a spec, not a {type(name).__name__}")])
    return name


def jit(
    function: Callable[..., Any] | None = None,
    *,
    axes: str | Sequence[str] = "",
    each: str | Sequence[str] = "",
    sizes: Mapping[str, int] | None = None,
    schedule: Any = None,
) -> Any:
    """A decorator: the function's body, in Python's syntax, is one time step of the spec. It is read, never run.

    `axes` declares the axes in their canonical order, `each` those that `dot` never sums over, `sizes` fixes sizes;
    `schedule` as in `load`. Gives a `Compiled` with the function as `__wrapped__`. Raises SpecError pointing into the
    user's file.
    """

    def decorate(wrapped: Callable[..., Any]) -> Compiled:
        from ssmc.syntax.python_frontend import from_function

        spec, source = from_function(wrapped, axes=axes, each=each, sizes=sizes)
        try:
            compiled = Compiled(spec, source, schedule)
        except SpecError as wrong:
            from ssmc.syntax.python_remedies import in_python

            around = {*wrapped.__globals__, *wrapped.__code__.co_freevars}
            raise SpecError(in_python(d, around) for d in wrong.diagnostics) from None
        functools.update_wrapper(compiled, wrapped)
        return compiled

    return decorate if function is None else decorate(function)


def _traceable(step: bool) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A method that torch.compile takes as one node of its graph, and that is left out for a quick call."""

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(method)
        def called(self: Compiled, /, *args: Any, **named: Any) -> Any:
            import torch

            if torch.compiler.is_dynamo_compiling():
                from ssmc.runtime import tracing

                return tracing.called(method, step, (self, *args), named)
            quick = self._quick.step if step else self._quick.sequence
            if quick is not None:
                return quick(*args, **named)
            return method(self, *args, **named)  # type: ignore[arg-type]

        return called  # type: ignore[return-value]

    return decorate


class Compiled:
    """A spec that runs: call it on whole sequences, or step it token by token.

    It does not change once made; what it keeps are the programs it has generated, a bounded number of them.
    """

    def __init__(self, spec: nodes.Spec, source: Source, schedule: Any = None) -> None:
        """Raises SpecError with everything that is wrong with the spec."""
        from ssmc.backends.cpp.wishes import wishes_of
        from ssmc.recurrence.analyse import analyse
        from ssmc.runtime.registry import enter
        from ssmc.step.build import build
        from ssmc.syntax.printer import print_spec

        self.tree = spec
        self.text = source
        self.graph: StepGraph = build(spec, source)
        self.analysis: Analysis = analyse(self.graph)
        says = hashlib.sha256(print_spec(spec).encode()).hexdigest()[:16]
        self.schedule = wishes_of(schedule)
        axes = tuple(a.name for a in self.graph.axes)
        self.scheduling = Scheduling(f"{self.name}@{says}", axes, self.schedule)
        self._programs = Programs(self.name, self.analysis, scheduling=self.scheduling)
        self._runners: Recent[Any, Runner] = Recent(32)
        self._constants: Recent[Any, Any] = Recent(64)
        self._windows: Recent[Any, Compiled] = Recent(8)
        every, one = (MethodType(inspect.unwrap(f), self) for f in (Compiled.__call__, Compiled.step))
        self._quick = Known(self.graph, every, one, lambda: self._output_type)
        # what a traced graph calls the spec
        self.key = self.scheduling.key
        if self.schedule:
            self.key += f"@{hashlib.sha256(repr(self.schedule.told()).encode()).hexdigest()[:16]}"
        enter(self.key, self)

    # -- what it is --------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.graph.name

    def __repr__(self) -> str:
        inputs, params = ([p.name for p in ports] for ports in (self.graph.inputs, self.graph.params))
        takes = ", ".join([*inputs, *(["/", *params] if params and inputs else params)])
        return f"<ssmc {self.name}({takes}) -> {', '.join(o.name for o in self.graph.outputs)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # rebuilt from the tree: a graph of shared expressions is deep, and its arena is none of the receiver's business
        return Compiled, (self.tree, self.text, self.schedule)

    def __copy__(self) -> Compiled:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        return self

    # -- running -----------------------------------------------------------------------------------------------

    @_traceable(step=False)
    def __call__(self, /, *args: Any, **named: Any) -> Any:
        """Run over whole sequences.

        Arguments are the inputs, then the params, in the order of their declarations, or by name: tensors, numpy
        arrays, numbers or lists. An input is (batch…, L, axes…), a param (axes…). Batches are broadcast where they are
        1 or left out.

        state=          entries by name, (batch…, axes…); those left out are initial values; `t` is the steps done
        return_state=   True: give `(outputs, state)`
        form=           recurrent, scan, chunked, conv, or a dictionary from state to form; None chooses. A chunk
                        length may follow: "scan:128"
        backend=        what runs it: "torch"
        cu_seqlens=     [0, end of the first sequence, …, L]: sequences packed end to end in one row
        lengths=        packed (they add up to L, one row) or padded (one a row; outputs past the end are zero)
        sizes=          of axes that no tensor fixes
        length=         of a spec without inputs
        out=            a tensor, or a tuple of them, to copy the outputs into (no gradients)

        Gives one tensor (batch…, L, axes…), or a named tuple of them in the order of the outputs. With `cu_seqlens` or
        packed `lengths`, states are (sequences, axes…). Raises SpecError.
        """
        from ssmc.runtime import call
        from ssmc.runtime.arguments import split_options

        windowed = self._windowed(named.get("sizes"))
        if windowed is not self:
            return windowed(*args, **named)
        ports, options = split_options(self.graph, named, call.OPTIONS)
        bound = call.bind(
            self.graph, self.analysis.graph, args, ports, self._constants.get,
            state=options.get("state"), sizes=_sizes(options.get("sizes")),
        )  # fmt: skip
        runner = self.runner(options.get("form"), options.get("backend"))
        outputs, state = call.run_sequence(
            self.graph, runner, bound, bool(options.get("return_state")),
            length=options.get("length"), lengths=options.get("lengths"), cu_seqlens=options.get("cu_seqlens"),
        )  # fmt: skip
        self._quick.learn("sequence", runner, bound, _route(options))
        result = self.result_of(tuple(outputs.values()))
        if options.get("out") is not None:
            from ssmc.runtime.out import copy_into

            result = copy_into(options["out"], result)
        return (result, state) if options.get("return_state") else result

    @_traceable(step=True)
    def step(self, state: Mapping[str, Any] | None = None, /, *args: Any, **named: Any) -> tuple[Any, dict[str, Any]]:
        """One step: `state` as a call or `init_state` gives it (none: the initial one), inputs (batch…, axes…).

        Gives `(outputs, new state)`. Raises SpecError, also where a state runs in reverse.
        """
        from ssmc.runtime import call
        from ssmc.runtime.arguments import split_options

        if state is None:
            state = named.pop("state", None)
        if state is not None and not isinstance(state, Mapping):
            why = f"comes first and is a dictionary, or None: not of type {type(state).__name__}"
            raise SpecError([problems.BadOption(None, "state", why)])
        windowed = self._windowed(named.get("sizes"))
        if windowed is not self:
            return windowed.step(state, *args, **named)
        backwards = next((r for r in self.graph.registers if r.reverse), None)
        if backwards is not None:
            what = f"`{backwards.name}`" if backwards.origin == "state" else f"`{backwards.origin}`"
            raise SpecError([problems.NoStep(backwards.span, self.name, what)])
        known = ("form", "backend", "sizes")
        ports, options = split_options(self.graph, named, known)
        bound = call.bind(
            self.graph, self.analysis.graph, args, ports, self._constants.get,
            state=state, sizes=_sizes(options.get("sizes")), timed=False, options=known,
        )  # fmt: skip
        runner = self.runner(options.get("form"), options.get("backend"))
        outputs, after = call.run_step(self.graph, runner, bound)
        self._quick.learn("step", runner, bound, _route(options))
        return self.result_of(tuple(outputs.values())), after

    def init_state(self, batch: int | Sequence[int] = (), /, **named: Any) -> dict[str, Any]:
        """All entries of the state at the start, each (batch…, the entry's dimensions), and `t` = 0.

        Params by name, where initial values or sizes depend on them; `sizes=`, `dtype=`, `device=`. Raises SpecError.
        """
        from ssmc.runtime.initial import initial_state

        return initial_state(self._windowed(named.get("sizes")).graph, batch, named)

    @cached_property
    def _output_type(self) -> type[Any]:
        """The named tuple of the outputs. A pickle holds a plain tuple: the class is made here, and has no module."""
        made = namedtuple(f"{self.name}_outputs", [o.name for o in self.graph.outputs])  # type: ignore[misc]
        return type(made.__name__, (made,), {"__slots__": (), "__reduce__": lambda y: (tuple, (tuple(y),))})

    def result_of(self, values: Sequence[Tensor]) -> Any:
        """The outputs as a call gives them: one alone, several as a named tuple."""
        return values[0] if len(values) == 1 else self._output_type(*values)

    def _windowed(self, sizes: Any) -> Compiled:
        """The spec with what `sizes` says of axes along which a `past` grows as their declared size: the last steps."""
        from ssmc.step.sizes import growing_axes

        given = _sizes(sizes) or {}
        grown = {a: given[a] for a in growing_axes(self.graph) & given.keys()} if given else {}
        if not grown:
            return self
        key = tuple(sorted(grown.items()))
        return self._windows.get(key, lambda: Compiled(_with_sizes(self.tree, grown), self.text, self.schedule))

    def scheduled(self, schedule: Any) -> Compiled:
        """The same spec with what `schedule` asks of generated C++; None leaves it to ssmc. Raises SpecError."""
        return Compiled(self.tree, self.text, schedule)

    # -- planning and generating -------------------------------------------------------------------------------

    def plan(
        self,
        sizes: Mapping[str, int] | None = None,
        batch: int = 1,
        length: int = 2048,
        form: Form = "auto",
        target: str = "cpu",
        gradients: bool = False,
        threads: int | None = None,
        backend: str | None = None,
    ) -> Plan:
        """What each component runs as, and why; with `gradients`, where the backward is run too.

        `threads` of generated C++, for the estimates; as many as are of use where nothing is said. `backend` is what
        would run it, where that is not left open. Raises SpecError where `form` is illegal or `target` unknown.
        """
        checked_backend(backend)
        return self._plan(sizes, batch, length, form, machine_of(target, form, threads, backend), gradients)

    def _plan(
        self,
        sizes: Mapping[str, int] | None,
        batch: int,
        length: int,
        form: Form,
        machine: str | Machine,
        gradients: bool,
    ) -> Plan:
        from ssmc.plan.choose import choose

        batch, length = _count("batch", batch, 1), _count("length", length, 0)
        cores = getattr(machine, "cores", None)  # of a description; of a name, or what is none, choose tells
        chunk = 0 if cores is None else self.scheduling.chunk(_sizes(sizes) or {}, cores)
        with COMPILING:
            return choose(
                self._windowed(sizes).analysis, form=form or "auto", sizes=_sizes(sizes), batch=batch, length=length,
                machine=machine, formulas=True, gradients=gradients, chunk=chunk,
            )  # fmt: skip

    def runner(self, form: Form, backend: str | None) -> Runner:
        """What runs the calls with these options; kept for the next call with them."""
        route = Route(form, backend)
        return self._runners.get(route, lambda: self._made_runner(route))

    def _made_runner(self, route: Route) -> Runner:
        from ssmc.runtime.runner import Runner

        checked_backend(route.backend)
        return Runner(self.graph, self._programs, route, self.key)

    def source(
        self,
        backend: str = "torch",
        form: Form = None,
        sizes: Mapping[str, int] | None = None,
        *,
        batch: int = 1,
        length: int = 2048,
    ) -> str:
        """The generated module as text: sequence, step, initial state. It needs torch, not ssmc. Raises SpecError."""
        from ssmc.backends.torch.build import source
        from ssmc.kernel.lower import lower

        checked_backend(backend)
        with COMPILING:
            # the code is PyTorch's, so it is planned for that, whatever runs calls here
            plan = self._plan(_sizes(sizes), batch, length, form or "auto", "cpu", False)
            return source(lower(plan), formatted=True)

    def save(
        self,
        directory: str | Path,
        backend: str = "torch",
        form: Form = None,
        *,
        sizes: Mapping[str, int] | None = None,
    ) -> tuple[Path, ...]:
        """Write the generated module as `NAME.py` into `directory` (made where there is none); the files written.

        Raises SpecError where it cannot be generated or written; then nothing is.
        """
        from ssmc.files import write_texts

        path = Path(directory) / f"{self.name}.py"
        write_texts({path: self.source(backend, form, sizes)})
        return (path,)

    # -- saying ------------------------------------------------------------------------------------------------

    def explain(
        self,
        sizes: Mapping[str, int] | None = None,
        *,
        batch: int = 1,
        length: int = 2048,
        target: str = "cpu",
        form: Form = None,
        after: str | None = None,
        adjoint: bool = False,
        json: bool = False,
        threads: int | None = None,
    ) -> Any:
        """How the spec will run and why: text for a person, with `json` a dictionary for a program.

        Where it runs as generated C++, with the schedule of each pass; the estimates are for so many `threads`.

        `after` prints the program after that pass instead: the step graph, or the kernel program after `lower`;
        `adjoint` the derived backward, as the text of a spec. Raises SpecError.
        """
        from ssmc.plan import explain

        if adjoint:
            from ssmc.adjoint.explain import adjoint_text

            with COMPILING:
                return adjoint_text(self.graph).rstrip("\n")
        if after is not None and after != "lower":
            return explain.after_pass(self.graph, after)
        plan = self.plan(_sizes(sizes), batch, length, form or "auto", target, threads=threads)
        if after is not None:
            from ssmc.kernel.lower import lower
            from ssmc.kernel.printer import print_program

            return print_program(lower(plan)).rstrip("\n")
        request = explain.Request(sizes=_sizes(sizes) or {}, batch=int(batch), length=int(length))
        told = self._schedules(plan, request, machine_of(target, form, threads))
        if json:
            return explain.as_json(plan, request) | ({"schedule": told.json()} if told is not None else {})
        text = explain.as_text(plan, request)
        return "\n".join([text, "", *told.lines()]) if told is not None else text

    def _schedules(self, plan: Plan, request: Request, at: str | Machine) -> Told | None:
        """The schedule of each pass, where generated C++ runs a plan."""
        from ssmc.plan.work import numbers
        from ssmc.runtime.accounts import accounts

        if isinstance(at, str):
            return None
        known, _ = numbers(plan.analysis.graph, request.sizes, request.batch, request.length)
        with COMPILING:
            return accounts(plan, known.axes, request.batch, request.length, at, self.scheduling)

    def check(self) -> Analysis:
        """The analysis of the spec; a spec that came this far is right."""
        return self.analysis

    def self_test(self, sizes: Mapping[str, int] | None = None) -> tuple[Row, ...]:
        """Every legal form, forward and gradients, against the float64 oracle at awkward sizes and lengths."""
        from ssmc.runtime.selftest import self_test

        return self_test(self._windowed(sizes), _sizes(sizes))

    # -- parameters --------------------------------------------------------------------------------------------

    def init_params(
        self,
        sizes: Mapping[str, int] | None = None,
        *,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> dict[str, Tensor]:
        """A value for every param: its default, drawn where that is random; normal(0.02) where it has none.

        Bool and int params without a default are zero. `generator`, or `seed`, makes the draw repeatable. Raises
        SpecError where `sizes` leaves an axis of a param open.
        """
        from ssmc.runtime.initial import init_params

        return init_params(self._windowed(sizes).graph, _sizes(sizes), generator, seed, dtype, device)

    def module(
        self,
        sizes: Mapping[str, int] | None = None,
        *,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
        device: Any = None,
        **call: Any,
    ) -> torch.nn.Module:
        """A `torch.nn.Module` whose parameters are the spec's params, as `init_params` gives them.

        Bool and int params are buffers. It is called with the inputs, and the keywords of a call; `call` are keywords
        that every call gets (`form=`, `backend=`).
        """
        from ssmc.runtime.module import SpecModule

        params = self.init_params(sizes, generator=generator, seed=seed, dtype=dtype, device=device)
        return SpecModule(self._windowed(sizes), params, call)


def _route(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options.get(name) for name in ("form", "backend")}


def _with_sizes(spec: nodes.Spec, sizes: Mapping[str, int]) -> nodes.Spec:
    """The tree with sizes for axes that it declares without."""
    from ssmc.syntax.nodes import AxisDecl, Number

    statements = tuple(
        replace(s, size=Number(sizes[s.name.text], s.span)) if isinstance(s, AxisDecl) and s.name.text in sizes else s
        for s in spec.statements
    )
    return replace(spec, statements=statements)


def _count(option: str, value: object, least: int) -> int:
    """A batch or a length to plan for. Raises SpecError."""
    number = whole(value)
    if number is None or number < least:
        raise SpecError([problems.BadOption(None, option, f"is an integer from {least} on, not {value!r}")])
    return number


def _sizes(sizes: Any) -> dict[str, int] | None:
    """`sizes=` checked to be names and sizes. Raises SpecError."""
    if sizes is None:
        return None
    if not isinstance(sizes, Mapping):
        raise SpecError([problems.BadOption(None, "sizes", 'is a dictionary from axis to size, as {"N": 16}')])
    for axis, size in sizes.items():
        if not isinstance(axis, str):
            raise SpecError([problems.BadOption(None, "sizes", f"names its axes by text, not by {axis!r}")])
        if whole(size) is None:
            why = f"gives the axis `{axis}` the size {size!r}; a size is an integer that is not negative"
            raise SpecError([problems.BadOption(None, "sizes", why)])
    return {axis: operator.index(size) for axis, size in sizes.items()}
