"""From the tree of a spec to its step graph.

The tree is well-formed (ssmc.syntax): reserved names, kinds and misplaced parts were reported with it. What is wrong
with names, axes, kinds and time is reported here, all at once.

A delayed expression may depend on what is read of it (`y = x + 0.5*prev(y)`), so its axes and kind are not known where
they are first needed. The spec is elaborated in rounds: each takes the registers and types that the one before found,
from none at all, until a round finds what it assumed. Its graph, or its mistakes, count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ssmc.diagnostics import Diagnostic, Report
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Node, postorder
from ssmc.expr.ops import join_kinds
from ssmc.source import Source
from ssmc.step import errors_names, errors_time, statements
from ssmc.step.axis_sizes import axes_of
from ssmc.step.circles import circles, path_to
from ssmc.step.declarations import Declarations, collect
from ssmc.step.delays import Assumed, Site, SiteKey
from ssmc.step.elaborate import Elaborator, unique
from ssmc.step.nodes import Axis, Depth, Port, Register, StepGraph
from ssmc.step.statements import Round
from ssmc.step.warnings import warnings_of
from ssmc.syntax import nodes as syn


def build(spec: syn.Spec, source: Source) -> StepGraph:
    """The step graph of a spec; raises `SpecError` with everything that is wrong with it."""
    return build_with_warnings(spec, source)[0]


def build_with_warnings(spec: syn.Spec, source: Source) -> tuple[StepGraph, tuple[Diagnostic, ...]]:
    """The step graph, and what is legal but looks like a mistake (things that are never used)."""
    report = Report()
    d = collect(spec, report)
    arena = Arena(tuple(d.axes))
    axes = axes_of(d, arena, report)
    found = _settle(d, arena)
    last = found.round
    for diagnostic in last.el.report.diagnostics:
        report.add(diagnostic)
    registers: tuple[Register, ...] = ()
    if not report.has_errors:
        _default_cycles(d, last, report)
        registers = tuple(_registers(d, found))
        _directions(registers, report)
    report.raise_errors()
    graph = StepGraph(
        name=spec.name.text,
        source=source,
        axes=(*axes, *(Axis(name, arena.product(map(arena.size, of)), False) for of, name in last.el.flat.items())),
        inputs=tuple(_port(d, p.name, last) for p in d.of_role("input")),
        params=tuple(_port(d, p.name, last) for p in d.of_role("param")),
        registers=registers,
        outputs=tuple(last.found_outputs.values()),
        equations=tuple(last.el.equations),
        arena=arena,
        names=tuple((name, v.node) for name, v in last.el.values.items() if v is not None),
    )
    return graph, warnings_of(d, last.el)


# -- rounds ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settled:
    """The last round, with the register that each site of it reads."""

    round: Round
    assumed: dict[SiteKey, Assumed]


def _settle(d: Declarations, arena: Arena) -> Settled:
    """Rounds until one finds what it assumed."""
    assumed: dict[SiteKey, Assumed] = {}
    growing: frozenset[str] = frozenset()
    guessed = False
    turns = 0
    while True:
        r = _round(d, arena, assumed, growing, absorbing=False)
        el = r.el
        found = _found(el)
        turns += 1
        if (found, frozenset(el.grows)) != (assumed, growing):
            before, assumed, growing = assumed, found, frozenset(el.grows)
            if turns > 16 + 2 * len(el.sites):
                site = next(s for k, s in el.sites.items() if found.get(k) != before.get(k))
                el.report.add(errors_time.Undetermined(site.span, site.origin))
                return Settled(r, assumed)
            continue
        unknown = [k for k in el.sites if k not in found]
        if el.report.has_errors:
            # once more, so that a mistake silences what is computed from it
            strict = _round(d, arena, assumed, growing, absorbing=True)
            return Settled(strict if strict.el.report.has_errors else r, assumed)
        if not unknown or guessed:
            return Settled(r, assumed)
        # `y = prev(y)`: nothing gives these a type, so they are real numbers without axes
        guessed = True
        assumed = {**assumed, **{k: Assumed(f"#{i}", (), "real", (), True) for i, k in enumerate(unknown)}}


def _round(
    d: Declarations, arena: Arena, assumed: dict[SiteKey, Assumed], growing: frozenset[str], absorbing: bool
) -> Round:
    return statements.run(Elaborator(arena, d, Report(), assumed, growing, absorbing))


def _found(el: Elaborator) -> dict[SiteKey, Assumed]:
    """The register of each site: one for all that delay the same expression from the same initial value."""
    names: dict[tuple[object, ...], str] = {}
    taken: set[str] = set()
    found: dict[SiteKey, Assumed] = {}
    for key, site in el.sites.items():
        if site.source is None or site.start is None:
            continue
        axes = el.arena.union([site.source.axes, site.start.axes])
        kind = join_kinds(site.source.kind, site.start.kind)
        group = _group(el, site)
        if group not in names:
            names[group] = unique(f"{site.origin}.{site.name}", taken)
            taken.add(names[group])
        same = site.here is None or site.here is site.source.node
        found[key] = Assumed(names[group], axes, kind, site.source.past, same)
    return found


def _group(el: Elaborator, site: Site) -> tuple[object, ...]:
    assert site.source is not None
    assert site.start is not None
    kind = join_kinds(site.source.kind, site.start.kind)
    start = el.arena.cast(site.start, kind)
    return site.origin, site.reverse, site.depth.axis, site.source.node, site.source.axes, start


# -- registers -------------------------------------------------------------------------------------------------------


def _registers(d: Declarations, found: Settled) -> list[Register]:
    """Declared states, then delay lines in the order of the text that asks for them."""
    r, el = found.round, found.round.el
    ar = el.arena
    ar.span = None
    registers: list[Register] = []
    for s in d.of_role("state"):
        assert s.axes is not None
        registers.append(Register(s.name, s.axes, s.kind, r.inits[s.name], r.sources[s.name], s.reverse, Depth(1),
                                  "state", s.span))  # fmt: skip
    lines: dict[str, Register] = {}
    for key, site in el.sites.items():
        known = found.assumed[key]
        assert site.source is not None
        assert site.start is not None
        first = lines.get(known.register)
        if first is None:
            lines[known.register] = Register(
                known.register, known.axes, known.kind, ar.cast(site.start, known.kind),
                ar.cast(site.source.node, known.kind), site.reverse, site.depth, site.origin, site.span,
            )  # fmt: skip
        elif site.depth.steps > first.depth.steps:
            lines[known.register] = replace(first, depth=site.depth)
    for line in el.lines.values():
        zero = statements.zero(el, line.kind)
        lines[line.name] = Register(line.name, line.axes, line.kind, zero, line.source, False, line.depth, line.origin,
                                    line.span)  # fmt: skip
    return registers + [lines[name] for name in sorted(lines, key=lambda x: _place(lines[x]))]


def _place(r: Register) -> tuple[int, str]:
    return (r.span.start if r.span is not None else -1), r.name


def _port(d: Declarations, name: str, last: Round) -> Port:
    p = d.values[name]
    assert p.axes is not None
    return Port(p.name, p.axes, p.kind, last.param_defaults.get(name), p.span)


def _default_cycles(d: Declarations, last: Round, report: Report) -> None:
    edges = {
        name: [x.name for x in postorder([node]) if isinstance(x, n.Param)]
        for name, node in last.param_defaults.items()
    }
    told: set[str] = set()
    for name in edges:
        path = path_to(name, name, edges)
        if path is not None and name not in told:
            told.update(path)
            init = d.values[name].init
            assert init is not None
            report.add(errors_names.DefaultCycle(init.span, name, " → ".join(f"`{p}`" for p in path)))


def _directions(registers: tuple[Register, ...], report: Report) -> None:
    """A forward register and a reverse one that depend on each other have no order to be computed in."""
    by_name = {r.name: r for r in registers}
    edges = {r.name: _reads(r.source) for r in registers}
    for circle in circles(edges):
        members = [r for r in registers if r.name in circle]
        back = [r for r in members if r.reverse]
        forth = [r for r in members if not r.reverse]
        if back and forth:
            names = path_to(forth[0].name, forth[0].name, {n: [m for m in edges[n] if m in circle] for n in circle})
            assert names is not None
            shown = names[:-1] if any(by_name[n].reverse for n in names) else [r.name for r in members]
            report.add(errors_time.DirectionCycle(forth[0].span, tuple(shown), back[0].span))


def _reads(source: Node) -> list[str]:
    found: dict[str, None] = {}
    for x in postorder([source]):
        if isinstance(x, n.Read | n.Window | n.History):
            found[x.register] = None
    return list(found)
