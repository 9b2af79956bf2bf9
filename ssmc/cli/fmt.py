"""`ssmc fmt`: write specs the one way."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from ssmc.cli.files import Target, read_target
from ssmc.cli.terminal import note, plural, show
from ssmc.diagnostics import Diagnostic, SpecError
from ssmc.files import write_texts
from ssmc.source import Source


@click.command(short_help="Format specs.", epilog="Example: ssmc fmt --diff examples/*.ssm")
@click.argument("paths", nargs=-1, required=True, metavar="FILE…")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 1 where a file would change.")
@click.option("--diff", "only_diff", is_flag=True, help="Write nothing; print what would change.")
@click.pass_context
def fmt(ctx: click.Context, paths: tuple[str, ...], only_check: bool, only_diff: bool) -> None:
    """Format files in place; `-` formats the standard input to the standard output.

    Comments stay, the meaning stays, and formatting twice changes nothing more. A file with a syntax error is left as
    it is.
    """
    faults: list[Diagnostic] = []
    changed = []
    for path in paths:
        try:
            source = read_target(Target(path))
            text = _formatted(source)
            in_place = text != source.text and path != "-" and not (only_check or only_diff)
            if in_place:
                write_texts({Path(path): text})
        except SpecError as error:  # the other files are formatted all the same
            faults.extend(error.diagnostics)
            continue
        if text != source.text:
            changed.append(path)
        if only_diff:
            click.echo(_diff(source, text), nl=False)
        elif path == "-" and not only_check:
            click.echo(text, nl=False)
        elif only_check:
            if text != source.text:
                click.echo(f"would format {source.name}")
        elif in_place:
            click.echo(f"formatted {path}")
    show(faults)
    if only_check and changed:
        note(f"{plural(len(changed), 'file')} of {len(paths)} would change")
    if faults or (only_check and changed):
        ctx.exit(1)


def _formatted(source: Source) -> str:
    from ssmc.syntax.format import format_source

    return format_source(source)


def _diff(source: Source, text: str) -> str:
    before, after = source.text.splitlines(keepends=True), text.splitlines(keepends=True)
    lines = difflib.unified_diff(before, after, source.name, f"{source.name} (formatted)")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ no newline at the end\n" for line in lines)
