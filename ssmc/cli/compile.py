"""`ssmc compile`: write a spec as code that stands alone."""

from __future__ import annotations

from pathlib import Path

import click

from ssmc.cli.files import Target
from ssmc.cli.options import (
    backend_option,
    chosen_form,
    form_option,
    json_option,
    load,
    size_option,
    spec_argument,
)
from ssmc.cli.terminal import print_json


@click.command(
    "compile",
    short_help="Write a spec as PyTorch code.",
    epilog="Example: ssmc compile mamba.ssm --form scan -o build/mamba",
)
@spec_argument
@backend_option
@form_option
@size_option
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Where the files go.",
)
@json_option
def compile_(where: Target, backend: str, form: str, sizes: dict[str, int], out: Path, as_json: bool) -> None:
    """Write a self-contained module: the operator over a sequence, and the step function.

    The module needs torch, and not ssmc. Either all files are written or none.
    """
    compiled = load(where)
    made = compiled.save(out, backend, chosen_form(form), sizes=sizes or None)
    if as_json:
        print_json({"backend": backend, "form": form, "files": [str(path) for path in made]})
    else:
        for path in made:
            click.echo(path)
