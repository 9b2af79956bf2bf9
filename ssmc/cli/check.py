"""`ssmc check`: parse, type and classify; every diagnostic of every file at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from ssmc.cli.files import Target, read_target
from ssmc.cli.options import json_option, specs_argument
from ssmc.cli.terminal import note, plural, print_json, show
from ssmc.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    from ssmc.recurrence.nodes import Analysis, Component


@dataclass
class Checked:
    """What was found in one file: a line for each good spec, and the diagnostics of the others."""

    path: str
    good: list[tuple[str, Analysis]] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    @property
    def errors(self) -> int:
        return sum(d.severity == "error" for d in self.diagnostics)


@click.command(short_help="Say all that is wrong with specs.", epilog="Example: ssmc check examples/*.ssm")
@specs_argument
@json_option
@click.pass_context
def check(ctx: click.Context, targets: tuple[Target, ...], as_json: bool) -> None:
    """Read specs and say all that is wrong with them, or one line for each that is right.

    `-` reads the standard input.
    """
    found = [check_target(where) for where in targets]
    if as_json:
        print_json({"files": [_as_json(checked) for checked in found]})
    else:
        for checked in found:
            for name, analysis in checked.good:
                click.echo(f"{checked.path}:{name}  {summary(analysis)}")
        show(d for checked in found for d in checked.diagnostics)
    errors = sum(checked.errors for checked in found)
    if errors:
        if not as_json:
            bad = sum(checked.errors > 0 for checked in found)
            note(f"\n{plural(errors, 'error')} in {bad} of {plural(len(found), 'file')}")
        ctx.exit(1)


def check_target(where: Target) -> Checked:
    """Check one file, or the one spec of it that the target names."""
    from ssmc.recurrence.analyse import analyse
    from ssmc.step.build import build_with_warnings
    from ssmc.syntax.parser import parse
    from ssmc.syntax.reader import choose_spec

    checked = Checked("<stdin>" if where.is_stdin else where.path)
    try:
        file = parse(read_target(where))
        specs = file.specs if where.name is None else (choose_spec(file, where.name, where.choice),)
    except SpecError as error:
        checked.diagnostics.extend(error.diagnostics)
        return checked
    for spec in specs:
        try:
            graph, warnings = build_with_warnings(spec, file.source)
            checked.diagnostics.extend(warnings)
            checked.good.append((spec.name.text, analyse(graph)))
        except SpecError as error:
            checked.diagnostics.extend(error.diagnostics)
    return checked


def summary(analysis: Analysis) -> str:
    """`h[D, N]: affine, diagonal, data-dependent (K3); …`: a clause a component; delay lines in one."""
    clauses = [_clause(analysis, c) for c in analysis.components if c.recurrent]
    delays = [name for c in analysis.components if not c.recurrent for name in c.registers]
    if delays:
        clauses.append(f"delays {', '.join(delays)}")
    return "; ".join(clauses) or "no state"


def _clause(analysis: Analysis, component: Component) -> str:
    registers = [analysis.graph.register[name] for name in component.registers]
    states = ", ".join(f"{r.name}[{', '.join(r.axes)}]" if r.axes else r.name for r in registers)
    time = {"invariant": "time-invariant", "index": "index-dependent", "data": "data-dependent"}[component.time]
    parts = [component.algebra, component.structure, time, *(["reverse"] if component.reverse else [])]
    return f"{states}: {', '.join(parts)} ({component.kclass})"


def _as_json(checked: Checked) -> dict[str, Any]:
    from ssmc.render import to_json

    return {
        "file": checked.path,
        "specs": [
            {
                "spec": name,
                "components": [
                    {
                        "states": list(c.registers),
                        "algebra": c.algebra,
                        "time": c.time,
                        "structure": c.structure,
                        "class": c.kclass,
                        "reverse": c.reverse,
                    }
                    for c in analysis.components
                ],
            }
            for name, analysis in checked.good
        ],
        "diagnostics": [to_json(d) for d in checked.diagnostics],
    }
