"""`ssmc bench`: how fast a spec is here, each form and backend beside the others."""

from __future__ import annotations

import dataclasses
import os
import platform
from typing import TYPE_CHECKING, Any

import click

from ssmc.api import BACKENDS
from ssmc.cli.files import Target
from ssmc.cli.options import json_option, load, size_option, spec_argument
from ssmc.cli.terminal import note, print_json, table, working
from ssmc.plan.nodes import FORM_NAMES

if TYPE_CHECKING:
    from ssmc.runtime.bench import Report

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
    default=5.0,
    show_default=True,
    help="That each table's runs take, about.",
)
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
    seconds: float,
    as_json: bool,
) -> None:
    """Time every legal form on every backend: forward, forward and backward, and a step, in float32.

    Each is compared with the float64 oracle first. They take turns, a run each, so that they meet the same
    disturbance; what counts are the ratios. Axes without a size get one. Exit 1 where a result is wrong.
    """
    compiled = load(where)
    import torch

    from ssmc.runtime.bench import bench as measured

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with working("measuring"):
            report = measured(
                compiled, sizes=sizes, batch=batch, length=length, backends=tuple(dict.fromkeys(backends)) or BACKENDS,
                forms=tuple(dict.fromkeys(forms)), only=[WHAT[word] for word in dict.fromkeys(only or WHAT)],
                all_must_run=bool(backends), rounds=rounds, budget=seconds,
            )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    wrong = any(row.wrong for row in report.rows)
    if as_json:
        print_json(_as_json(compiled.name, report, threads or before, not wrong))
    else:
        click.echo(_as_text(report))
        for text in report.left_out:
            note(f"left out: {text}")
    if wrong:
        ctx.exit(1)


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
            f"{row.error:.0e}{' WRONG' if row.wrong else ''}",
            f"{row.first:.2f}",
        ]
        for row in report.rows
    ]
    header = ("", "form", "backend", "median ms", "spread", "best ms", "ratio", "error", "first s")
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
