"""`ssmc compile`: write a spec as code that stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssmc.cli.files import Target
from ssmc.cli.options import (
    backend_option,
    chosen_form,
    form_option,
    json_option,
    load,
    schedule_option,
    size_option,
    spec_argument,
)
from ssmc.cli.terminal import print_json
from ssmc.diagnostics import SpecError

if TYPE_CHECKING:
    from ssmc.api import Compiled
    from ssmc.backends.cpp.module import Real
    from ssmc.backends.cpp.signature import Printed
    from ssmc.kernel.nodes import Program

PRECISIONS: dict[str, Real] = {"float32": "float", "float64": "double"}
# What `--emit` writes, and the file it is in; without it, all but the machine code.
EMITTED = {"cpp": "{name}.cpp", "lib": "lib{name}.so", "module": "{name}.py", "asm": "{name}.s"}
TEXTS = ("cpp", "module", "asm")


def _emit(_: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    kinds = tuple(part.strip() for part in value.split(",")) if value else ()
    for kind in kinds:
        if kind not in EMITTED:
            raise click.BadParameter(f"`{kind}` is none of {', '.join(EMITTED)}", param=parameter)
    return kinds


@click.command(
    "compile",
    short_help="Write a spec as PyTorch or C++ code.",
    epilog="Example: ssmc compile mamba.ssm --form scan -o build/mamba; or "
    "ssmc compile mamba.ssm --backend cpp --size N=16 --emit asm",
)
@spec_argument
@backend_option
@form_option
@size_option
@schedule_option
@click.option(
    "--dtype",
    type=click.Choice(tuple(PRECISIONS)),
    help="The precision of the C++ [default: float32]; PyTorch code takes any.",
)
@click.option(
    "--emit",
    callback=_emit,
    metavar="KIND,…",
    help=f"With --backend cpp, what to write: {', '.join(EMITTED)} [default: all but asm]. "
    "One that is text is printed where there is no --out.",
)
@click.option(
    "-o", "--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where the files go."
)
@json_option
def compile_(
    where: Target,
    backend: str,
    form: str,
    sizes: dict[str, int],
    schedule: Any,
    dtype: str | None,
    emit: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Write a self-contained module: the operator over a sequence, and the step function.

    The module needs torch, and not ssmc. As C++ it goes with a library beside it, and with the source that the library
    is made from again on another machine; sizes that are given are fixed in it. Either all files are written or none.
    """
    if backend == "torch" and (emit or dtype or schedule):
        option = "--emit" if emit else "--dtype" if dtype else "--schedule"
        raise click.UsageError(f"{option} goes with --backend cpp")
    if out is None and (len(emit) != 1 or emit[0] not in TEXTS):
        raise click.UsageError("say where the files go: --out DIR")
    if backend == "torch" and out is not None:
        made = load(where).save(out, backend, chosen_form(form), sizes=sizes or None)
    else:
        found = _native(load(where, schedule), form, sizes, dtype or "float32", emit or ("cpp", "lib", "module"))
        if out is None:
            click.echo(next(iter(found.values())).decode("utf-8"), nl=False)
            return
        from ssmc.files import write_files

        files = {out / name: content for name, content in found.items()}
        write_files(files)
        made = tuple(files)
    if as_json:
        print_json({"backend": backend, "form": form, "files": [str(path) for path in made]})
    else:
        for path in made:
            click.echo(path)


def _native(
    compiled: Compiled, form: str, sizes: dict[str, int], dtype: str, kinds: tuple[str, ...]
) -> dict[str, bytes]:
    """The files of a spec in C++, by name. Raises SpecError."""
    from ssmc.backends.cpp import standalone
    from ssmc.backends.cpp.printer import print_program
    from ssmc.kernel.lower import lower

    real = PRECISIONS[dtype]

    def printed(form: str) -> tuple[Program, Printed]:
        program = lower(compiled.plan(sizes or None, form=chosen_form(form), target="cpp"))
        wishes = compiled.scheduling.passes
        return program, standalone.printed_for(program, print_program, real, sizes, wishes)

    try:
        program, text = printed(form)
    except SpecError:
        if form != "auto":
            raise
        # what the plan prefers may be a form that this backend has no code for; it has code for this one
        program, text = printed("recurrent")
    make = {
        "cpp": lambda: text.text.encode("utf-8"),
        "lib": lambda: standalone.library(text.text, program.name),
        "module": lambda: standalone.module_source(program, text, real, sizes).encode("utf-8"),
        "asm": lambda: standalone.assembly(text.text, program.name).encode("utf-8"),
    }
    return {EMITTED[kind].format(name=program.name): make[kind]() for kind in kinds}
