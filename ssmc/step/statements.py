"""One round over the statements of a spec, top to bottom, as the body of the loop over time."""

from __future__ import annotations

from dataclasses import replace

from ssmc.expr.nodes import KINDS, Axes, Kind, Node, children
from ssmc.source import Span
from ssmc.step import delays, errors_axes, errors_kinds, errors_names, values
from ssmc.step.declarations import Declared, declared_axes
from ssmc.step.elaborate import Elaborator, Filling
from ssmc.step.errors_axes import show
from ssmc.step.nodes import Output
from ssmc.step.values import Result, Value
from ssmc.syntax import nodes as syn
from ssmc.syntax.walk import walk


def run(el: Elaborator) -> Round:
    """Elaborate every statement, then what needs the names' final values: outputs, initial values, delays."""
    r = Round(el)
    for number, s in enumerate(el.d.spec.statements):
        el.statement = number
        match s:
            case syn.Assign(name, expr):
                el.owner = name.text
                r.assign(number, name.text, el.eval(expr, None), expr.span)
            case syn.Equation(name):
                el.owner = name.text
                r.equation(number, s)
            case syn.Declaration("output", name, init=init) if init is not None:
                el.owner = name.text
                r.define_output(number, s, init)
            case _:
                pass
    el.owner, el.final = "", True
    r.outputs()
    r.defaults()
    r.settle_sites()
    return r


def fits(kind: Kind, wanted: Kind) -> bool:
    return KINDS.index(kind) <= KINDS.index(wanted)


class Round:
    """What one elaborator finds of its spec."""

    def __init__(self, el: Elaborator) -> None:
        self.el = el
        self.sources: dict[str, Node] = {}  # of states
        self.inits: dict[str, Node] = {}  # of states
        self.param_defaults: dict[str, Node] = {}
        self.found_outputs: dict[str, Output] = {}
        self.output_values: dict[str, Value] = {}

    # -- assignments ---------------------------------------------------------------------------------------------

    def assign(self, number: int, name: str, v: Result, span: Span) -> None:
        el = self.el
        if number in el.d.skipped:
            return
        state = el.d.state(name)
        if state is not None:
            self.assign_state(state, v, span)
            return
        el.values[name] = v
        if v is not None:
            self.label(v.node, name)

    def label(self, node: Node, name: str) -> None:
        """The user's name for an expression; inputs, params and the like have one."""
        if children(node):
            self.el.arena.labels.setdefault(node, name)

    def assign_state(self, state: Declared, v: Result, span: Span) -> None:
        el, name = self.el, state.name
        el.values[name] = None
        if v is None or state.axes is None:
            return
        extra = tuple(a for a in v.axes if a not in state.axes)
        if extra:
            if not any(a.endswith("'") for a in extra):
                el.error(errors_axes.StateAxes(span, name, extra, v.axes, state.axes, state.span))
            else:
                el.error(errors_axes.SquareOperation(span, extra[0].rstrip("'"), f"the state `{name}` over"))
            return
        if not fits(v.kind, state.kind):
            what = f"the state `{name}`"
            el.error(errors_kinds.Narrowing(span, what, state.kind, v.kind, state.span, written_as(state)))
            return
        ar = el.at(span)
        source = ar.cast(v.node, state.kind)
        self.sources[name] = source
        self.label(source, name)
        el.values[name] = Value(ar.broadcast(source, state.axes), state.axes)

    def equation(self, number: int, s: syn.Equation) -> None:
        from ssmc.step import equations

        state = self.el.d.state(s.state.text)
        result = equations.update(self.el, s, state if number not in self.el.d.skipped else None)
        self.assign(number, s.state.text, result, s.right.span)

    # -- outputs -------------------------------------------------------------------------------------------------

    def define_output(self, number: int, s: syn.Declaration, init: syn.Expr) -> None:
        el = self.el
        v = el.eval(init, None)
        if number in el.d.skipped:
            return
        name = s.name.text
        el.values[name] = None
        if v is None:
            return
        written = declared_axes(el.d, s.axes, el.report) if s.axes is not None else v.axes
        if written is None:
            return
        if set(written) != set(v.axes):
            el.error(errors_axes.OutputAxes(s.name.span.to(s.axes[-1].span) if s.axes else s.name.span, name, written,
                                            v.axes, init.span))  # fmt: skip
            return
        kind = output_kind(s)
        if not fits(v.kind, kind):
            shown = f"output {name}{show(written) if written else ''}"
            what = f"the output `{name}`"
            el.error(errors_kinds.Narrowing(init.span, what, kind, v.kind, s.name.span, shown))
            return
        el.at(init.span)
        v = replace(el.cast(v, kind), axes=written)
        self.label(v.node, name)
        el.values[name] = v

    def outputs(self) -> None:
        """Every output by its name's final value."""
        el = self.el
        for s in el.d.outputs:
            name = s.name.text
            if name not in el.d.first:
                el.error(errors_names.OutputUnknown(s.name.span, name, tuple(el.d.first)))
                continue
            v = el.name(name, s.name.span, None)
            if s.axes is None:
                written: Axes | None = el.arena.sorted_axes(v.axes) if v is not None else None
            else:
                written = declared_axes(el.d, s.axes, el.report)
            if v is None or written is None or (s.init is not None and set(written) != set(v.axes)):
                continue
            span = s.name.span if not s.axes else s.name.span.to(s.axes[-1].span)
            state = el.d.state(name)
            missing = set(v.axes) - set(written)
            if missing or (state is None and set(written) != set(v.axes)):
                at = el.d.first[name]
                el.error(errors_axes.OutputAxes(span, name, written, v.axes, at))
                continue
            kind = "complex" if s.inferred and v.kind == "complex" else output_kind(s)
            if not fits(v.kind, kind):
                shown = f"output {name}{show(written) if s.axes else ''}"
                what = f"the output `{name}`"
                el.error(errors_kinds.OutputNarrowing(s.name.span, what, kind, v.kind, el.d.first[name], shown))
                continue
            if delays.grows(el, v, s.name.span, f"the output `{name}`"):
                continue
            node = v.node
            if state is not None:
                if name not in self.sources:
                    continue  # never assigned, which has been reported
                node = self.sources[name]
                if kind != state.kind:  # a state's own value may lack axes of the layout; a converted one has them
                    node = el.arena.broadcast(el.arena.cast(node, kind), written)
            node = el.arena.cast(node, kind)
            self.found_outputs[name] = Output(name, written, kind, node, s.name.span)

    # -- initial values and defaults -----------------------------------------------------------------------------

    def defaults(self) -> None:
        for p in self.el.d.of_role("param"):
            if p.init is not None and (found := self.constant(p, p.init, f"the default of `{p.name}`")) is not None:
                self.param_defaults[p.name] = found
        for s in self.el.d.of_role("state"):
            if s.init is None:
                self.inits[s.name] = zero(self.el, s.kind)
            elif (found := self.constant(s, s.init, f"the initial value of `{s.name}`")) is not None:
                self.inits[s.name] = found

    def constant(self, of: Declared, e: syn.Expr, what: str) -> Node | None:
        """An expression of params, sizes and constants, within the axes and kind declared."""
        el = self.el
        if of.axes is None:
            return None
        el.owner, el.filling, el.draws = of.name, Filling(of.role, of.name, of.axes, of.span), 0
        v = el.eval(e, None)
        el.filling = None
        if v is None or not self.is_constant(e, v, what):
            return None
        extra = tuple(a for a in v.axes if a not in of.axes)
        if extra:
            el.error(errors_axes.InitAxes(e.span, what, f"`{of.name}`", extra, of.span, of.axes))
            return None
        for axis in v.axes:
            if f"{axis}'" in of.axes and f"{axis}'" not in v.axes:
                el.error(errors_axes.SquareMixed(e.span, axis, of.span))
                return None
        if not fits(v.kind, of.kind):
            el.error(errors_kinds.Narrowing(e.span, what, of.kind, v.kind, of.span, written_as(of)))
            return None
        return el.at(e.span).cast(v.node, of.kind)

    def is_constant(self, e: syn.Expr, v: Value, what: str) -> bool:
        """Whether a value is the same at every step; if not, the smallest part that is not is reported."""
        el = self.el
        why = delays.varying(el, v)
        if why is None:
            return True
        at, inner = e.span, why
        for x, _ in walk(e):
            if isinstance(x, syn.Name) and (part := el.name(x.text, x.span, None)) is not None:
                reason = delays.varying(el, part)
                if reason is not None:
                    at = x.span
                    inner = reason if f"`{x.text}`" in reason else f"`{x.text}` depends on it: {reason}"
                    break
        el.error(errors_names.NotConstant(at, what, inner))
        return False

    # -- delays --------------------------------------------------------------------------------------------------

    def settle_sites(self) -> None:
        """The sources and initial values of all sites; looking at one may find more of them."""
        el = self.el
        done: set[delays.SiteKey] = set()
        while todo := [s for k, s in el.sites.items() if k not in done]:
            for site in todo:
                done.add(site.key)
                el.owner = site.name
                self.settle(site)

    def settle(self, site: delays.Site) -> None:
        el = self.el
        if site.own:
            state = site.state
            assert state is not None
            assert state.axes is not None
            el.at(site.span)
            site.source = values.value(el.arena.read(state.name, state.axes, state.kind))
            site.start = self.inits.get(state.name)
            return
        v = el.eval(site.arg, site.scope)
        if v is None or delays.grows(el, v, site.arg.span, f"the line that `{site.origin}` holds"):
            return
        site.source = v
        if site.init is None:
            site.start = zero(el, v.kind)
        else:
            what = f"the initial value of this `{site.origin}`"
            started = el.eval(site.init, site.scope)
            if started is not None and self.is_constant(site.init, started, what):
                site.start = started.node


def zero(el: Elaborator, kind: Kind) -> Node:
    return el.arena.const({"bool": False, "int": 0, "real": 0.0, "complex": 0j}[kind], kind)


def written_as(of: Declared) -> str:
    """The declaration without its kind: `state h[D]`."""
    return f"{of.role} {of.name}{show(of.axes) if of.axes else ''}"


def output_kind(s: syn.Declaration) -> Kind:
    return s.kind.text if s.kind is not None and s.kind.text in ("complex", "bool", "int") else "real"  # type: ignore[return-value]
