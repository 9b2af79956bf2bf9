"""`ssmc bench`: how fast a spec is here, each form and backend beside the others."""

from __future__ import annotations

import dataclasses
import os
import platform
from typing import TYPE_CHECKING, Any

import click

from ssmc.api import BACKENDS
from ssmc.cli.files import Target
from ssmc.cli.options import json_option, load, schedule_option, size_option, spec_argument
from ssmc.cli.terminal import note, plural, print_json, table, working
from ssmc.plan.nodes import FORM_NAMES

if TYPE_CHECKING:
    from ssmc.api import Compiled
    from ssmc.runtime.bench import Report
    from ssmc.runtime.tune import Outcome

# the word on the command line, and what a row calls it
WHAT = {"forward": "forward", "backward": "forward + backward", "step": "step"}


@click.command(
    short_help="How fast a spec is here.",
    epilog="Example: ssmc bench mamba.ssm --size D=256 --size N=16 --size R=16 --length 2048",
)
@spec_argument
@size_option
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Sequences at once.")
@click.option("--length", type=click.IntRange(min=1), default=1024, show_default=True, help="Time steps.")
@click.option(
    "--backend", "backends", type=click.Choice(BACKENDS), multiple=True, help="Repeat for more. [default: all]"
)
@click.option(
    "--form", "forms", type=click.Choice(("auto", *FORM_NAMES)), multiple=True, help="Repeat. [default: all legal]"
)
@click.option("--only", type=click.Choice(tuple(WHAT)), multiple=True, help="Repeat for more. [default: all three]")
@click.option("--threads", type=click.IntRange(min=1), help="Of every form and backend. [default: torch's]")
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True, help="Runs of each, in turn.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    help="That each table's runs take, about [default: 5], or that --tune searches [default: 60].",
)
@schedule_option
@click.option("--tune", is_flag=True, help="Search for the quickest schedule of generated C++, and keep it.")
@click.option("--forget", is_flag=True, help="Remove what --tune kept of this spec: at the sizes given, or at all.")
@json_option
@click.pass_context
def bench(
    ctx: click.Context,
    where: Target,
    sizes: dict[str, int],
    batch: int,
    length: int,
    backends: tuple[str, ...],
    forms: tuple[str, ...],
    only: tuple[str, ...],
    threads: int | None,
    rounds: int,
    seconds: float | None,
    schedule: Any,
    tune: bool,
    forget: bool,
    as_json: bool,
) -> None:
    """Time every legal form on every backend: forward, forward and backward, and a step, in float32.

    Each is compared with the float64 oracle first. They take turns, a run each, so that they meet the same
    disturbance; what counts are the ratios. Axes without a size get one. Exit 1 where a result is wrong.

    With --tune nothing of this, but a search for the schedule of generated C++ that is quickest at these sizes, on this
    machine. Later calls of the spec at these sizes use what was found, until --forget.
    """
    compiled = load(where, schedule)
    if forget or tune:
        if (forget and tune) or schedule or backends or forms or only:
            raise click.UsageError("--tune and --forget take sizes, batch, length, threads and seconds only")
        if forget:
            _forget(compiled, sizes, as_json)
        else:
            _tune(compiled, sizes, batch, length, threads, 60.0 if seconds is None else seconds, as_json)
        return
    import torch

    from ssmc.runtime.bench import bench as measured

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with working("measuring"):
            report = measured(
                compiled, sizes=sizes, batch=batch, length=length, backends=tuple(dict.fromkeys(backends)) or BACKENDS,
                forms=tuple(dict.fromkeys(forms)), only=[WHAT[word] for word in dict.fromkeys(only or WHAT)],
                all_must_run=bool(backends), rounds=rounds, budget=5.0 if seconds is None else seconds,
            )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    wrong = any(row.wrong for row in report.rows)
    asked = compiled.scheduling.wishes(report.sizes)
    if as_json:
        print_json(_as_json(compiled.name, report, threads or before, not wrong) | {"schedule": asked.told() or None})
    else:
        click.echo(_as_text(report))
        if asked:
            note(f"schedule of C++: {asked.why}")
        for text in report.left_out:
            note(f"left out: {text}")
    if wrong:
        ctx.exit(1)


def _forget(compiled: Compiled, sizes: dict[str, int], as_json: bool) -> None:
    from ssmc.backends.cpp import tuned

    count = tuned.forget(compiled.scheduling.key, sizes or None)
    if as_json:
        print_json({"spec": compiled.name, "forgotten": count})
    else:
        click.echo(f"{plural(count, 'tuned schedule')} of {compiled.name} removed")


def _tune(
    compiled: Compiled,
    sizes: dict[str, int],
    batch: int,
    length: int,
    threads: int | None,
    seconds: float,
    as_json: bool,
) -> None:
    import torch

    from ssmc.runtime.tune import tune

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with working("tuning") as tell:
            done = tune(
                compiled, sizes=sizes, batch=batch, length=length, threads=threads or before, seconds=seconds, tell=tell
            )
    finally:
        torch.set_num_threads(before)
    if as_json:
        found = None if done.found is None else done.found.wishes.told()
        trials = [dataclasses.asdict(t) for t in done.trials]
        print_json({
            "spec": compiled.name, "sizes": done.sizes, "batch": batch, "length": length, "schedule": found,
            "kept": done.kept or None, "trials": trials, "left": done.left,
        })  # fmt: skip
        return
    click.echo(_tuned_text(compiled.name, done, batch, length))


def _tuned_text(name: str, done: Outcome, batch: int, length: int) -> str:
    from ssmc.runtime.timing import milliseconds

    at = ", ".join([f"batch {batch}", f"length {length}", *(f"{a} = {s}" for a, s in done.sizes.items())])
    rows = [
        [
            t.what,
            t.schedule,
            milliseconds(t.seconds) if t.seconds else "",
            f"{t.best / t.seconds:.2f}" if t.seconds else "",
            t.verdict,
        ]
        for t in done.trials
    ]
    lines = [at, table(rows, ("", "schedule", "ms", "quicker by", ""), right=(2, 3))] if rows else [at]
    if done.left:
        lines.append(f"time was up before {plural(done.left, 'more choice')}: --seconds gives more")
    if done.found is None:
        lines.append(f"{name}: nothing is clearly quicker than what the compiler chooses; nothing is kept")
    else:
        lines += [done.found.told(), f"kept in {done.kept}"]
    return "\n".join(lines)


def _as_text(report: Report) -> str:
    from ssmc.runtime.timing import milliseconds

    sizes = ", ".join(f"{axis} = {size}" for axis, size in report.sizes.items())
    compared = "" if report.compared == report.length else f"; compared with the oracle in {report.compared} steps"
    lines = [f"batch {report.batch}, length {report.length}{', ' if sizes else ''}{sizes}; float32{compared}"]
    rows = [
        [
            row.what,
            row.form + ("*" if row.chosen else ""),
            row.backend,
            milliseconds(row.median),
            f"{row.spread:.0%}",
            milliseconds(row.best),
            f"{report.slower(row):.2f}",
            milliseconds(row.estimate) if row.estimate is not None else "",
            f"{row.error:.0e}{' WRONG' if row.wrong else ''}",
            f"{row.first:.2f}",
        ]
        for row in report.rows
    ]
    header = ("", "form", "backend", "median ms", "spread", "best ms", "ratio", "estimate", "error", "first s")
    lines.append(table(rows, header, right=range(3, len(header))))
    if any(row.chosen for row in report.rows):
        lines.append("* what the plan chooses")
    return "\n".join(lines)


def _as_json(name: str, report: Report, threads: int, ok: bool) -> dict[str, Any]:
    rows = [dataclasses.asdict(row) | {"ratio": report.slower(row)} for row in report.rows]
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "threads": threads}
    return {
        "spec": name, "sizes": report.sizes, "batch": report.batch, "length": report.length,
        "compared": report.compared, "machine": machine, "rows": rows, "left_out": list(report.left_out), "ok": ok,
    }  # fmt: skip
