"""`ssmc explain`: how a spec will run, and why."""

from __future__ import annotations

from typing import Any

import click

from ssmc.cli.files import Target
from ssmc.cli.options import json_option, load, schedule_option, size_option, spec_argument
from ssmc.cli.terminal import print_json


@click.command(
    short_help="How a spec will run, and why.",
    epilog="Example: ssmc explain mamba.ssm --size D=1536 --size N=16 --length 4096",
)
@spec_argument
@size_option
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Sequences at once.")
@click.option("--length", type=click.IntRange(min=0), default=2048, show_default=True, help="Time steps.")
@click.option(
    "--target", default="cpu", show_default=True, metavar="cpu|cuda:CC|hip:GFX", help="The machine to choose for."
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Of generated C++, for the estimates. [default: as many as are of use here]",
)
@schedule_option
@click.option(
    "--after", metavar="PASS", help="Print the program after a pass (build, expand, adjoint, lower), and nothing else."
)
@click.option("--adjoint", is_flag=True, help="Print the derived backward, as a spec that compiles, and nothing else.")
@json_option
def explain(
    where: Target,
    sizes: dict[str, int],
    batch: int,
    length: int,
    target: str,
    threads: int | None,
    schedule: Any,
    after: str | None,
    adjoint: bool,
    as_json: bool,
) -> None:
    """Print the components of a spec, the algebra of each, its legal forms with their costs, and the choice.

    A form that is not legal stands there with the reason. The combine operator of an associative component is printed
    with its proof; where generated C++ runs the spec, the schedule of each pass: what is threads, lanes, registers and
    loops.
    """
    compiled = load(where, schedule)
    if adjoint and after is not None:
        raise click.UsageError("--adjoint and --after print different things: take one of them")
    told = compiled.explain(
        sizes=sizes, batch=batch, length=length, target=target, after=after, adjoint=adjoint, json=as_json,
        threads=threads,
    )  # fmt: skip
    if not as_json:
        click.echo(told)
    elif adjoint:
        print_json({"spec": compiled.name, "adjoint": told})
    else:
        print_json({"spec": compiled.name, "after": after, "program": told} if after is not None else told)
