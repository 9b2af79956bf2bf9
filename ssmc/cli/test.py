"""`ssmc test`: every legal form against the oracle, here."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from ssmc.cli.files import Target
from ssmc.cli.options import json_option, load, size_option, spec_argument
from ssmc.cli.terminal import plural, print_json, table, working


@click.command(
    short_help="Every legal form against the oracle, here.", epilog="Example: ssmc test mamba.ssm --size N=3"
)
@spec_argument
@size_option
@json_option
@click.pass_context
def test(ctx: click.Context, where: Target, sizes: dict[str, int], as_json: bool) -> None:
    """Run every legal form on every backend here, forward and gradients, against the float64 oracle.

    The lengths are the awkward ones: 0, 1, 2, primes, one more and one less than a chunk. Exit 1 where one misses.
    """
    compiled = load(where)
    with working("testing"):
        rows = compiled.self_test(sizes=sizes)
    missed = sum(not row.ok for row in rows)
    if as_json:
        print_json({"rows": [dataclasses.asdict(row) for row in rows], "ok": not missed})
    else:
        header = [field.name for field in dataclasses.fields(rows[0])] if rows else []
        click.echo(table([[_cell(getattr(row, name)) for name in header] for row in rows], header))
        click.echo(f"{plural(len(rows), 'case')}, {missed or 'none'} missed")
    if missed:
        ctx.exit(1)


def _cell(value: Any) -> str:
    match value:
        case bool():
            return "ok" if value else "MISS"
        case float():
            return f"{value:.1e}"
        case None:
            return ""
        case _:
            return str(value)
