"""`ssmc run`: a spec over arrays in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssmc.cli.files import Target
from ssmc.cli.options import (
    DTYPES,
    backend_option,
    chosen_form,
    form_option,
    json_option,
    load,
    size_option,
    spec_argument,
)
from ssmc.cli.terminal import note, print_json, table, working

if TYPE_CHECKING:
    import torch

    from ssmc.api import Compiled
    from ssmc.cli.data import Names


@click.command(
    short_help="Run a spec on data.",
    epilog="Example: ssmc run ema.ssm --input x=series.csv:price --input a=a.npy -o smooth.npz",
)
@spec_argument
@click.option(
    "--input",
    "given",
    multiple=True,
    metavar="FILE | NAME=FILE[:KEY]",
    help="Arrays by the spec's names (.npz, .npy, .safetensors, .csv, .wav); `state.h` is the initial state of `h`. "
    "With NAME=, one array; with :KEY, that array, column or channel of the file. Repeat for more.",
)
@backend_option
@form_option
@click.option("--dtype", type=click.Choice(DTYPES), help="Convert floating-point (and complex) arrays to this.")
@size_option
@click.option("--length", type=click.IntRange(min=0), help="Time steps, for a spec without inputs.")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where outputs and final states go (.npz or .safetensors).",
)
@json_option
def run(
    where: Target,
    given: tuple[str, ...],
    backend: str,
    form: str,
    dtype: str | None,
    sizes: dict[str, int],
    length: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run a spec on data, and print what came out.

    A table (.csv) has a line for each time step: the column `u` is the input `u`, the columns `x_0`, `x_1`, … are the
    input `x` along its axis. A sound (.wav) has a column a channel, `--input x=a.wav:0` is its first. The final states
    are written as `state.h`; the next run goes on from them where that file is an --input too.
    """
    from ssmc.cli.data import STATE_PREFIX, check_writable, read_inputs, write_arrays

    if out is not None:
        check_writable(out)
    compiled = load(where)
    names = names_of(compiled)
    arrays = read_inputs(given, names)
    for text in arrays.notes:
        note(text)
    options: dict[str, Any] = {"backend": backend, "form": chosen_form(form), "sizes": sizes or None}
    if length is not None:
        options["length"] = length
    if arrays.state:
        options["state"] = {name: _converted(array, dtype) for name, array in arrays.state.items()}
    arguments = {name: _converted(array, dtype) for name, array in arrays.arguments.items()}
    with working("running"):
        results = call(compiled, arguments, {name: value for name, value in options.items() if value is not None})
    if out is not None:
        for text in write_arrays(out, results):
            note(text)
    summaries = {name: _summary(array) for name, array in results.items()}
    if as_json:
        print_json({"out": None if out is None else str(out), "arrays": summaries})
    else:
        header = ("name", "shape", "kind", "min", "mean", "max")
        rows = [[name, *map(_cell, summary.values())] for name, summary in summaries.items()]
        click.echo(table(rows, header, right=(3, 4, 5)))
        if out is not None:
            count = len([n for n in results if not n.startswith(STATE_PREFIX)])
            click.echo(f"written to {out} ({count} output{'' if count == 1 else 's'})")


def names_of(compiled: Compiled) -> Names:
    """The names a call takes."""
    from ssmc.cli.data import Names

    graph = compiled.graph
    return Names(
        inputs={port.name: len(port.axes) for port in graph.inputs},
        params={port.name: len(port.axes) for port in graph.params},
        states=("t", *(register.name for register in graph.registers)),
        outputs=tuple(port.name for port in graph.outputs),
    )


def call(compiled: Compiled, arguments: dict[str, Any], options: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The outputs by name, then the final states as `state.NAME`."""
    import torch

    from ssmc.cli.data import STATE_PREFIX

    with torch.no_grad():
        outputs, state = compiled(**arguments, **options, return_state=True)
    ports = compiled.graph.outputs
    values = (outputs,) if len(ports) == 1 else tuple(outputs)
    results = {port.name: value for port, value in zip(ports, values, strict=True)}
    for name, value in state.items():
        results[STATE_PREFIX + name] = torch.as_tensor(value)
    return results


def _converted(array: torch.Tensor, dtype: str | None) -> torch.Tensor:
    """Floats in the dtype asked for; complex numbers in the one whose parts they are. Integers become what a call
    takes: they stay, unless the spec wants reals."""
    import torch

    if dtype is None:
        return array
    wanted = getattr(torch, dtype)
    if array.is_complex():
        return array.to(torch.complex128 if wanted == torch.float64 else torch.complex64)
    return array.to(wanted) if array.is_floating_point() else array


def _summary(array: torch.Tensor) -> dict[str, Any]:
    import torch

    numbers = array.abs() if array.is_complex() else array
    real = numbers.to(torch.float64)
    some = real.numel() > 0
    whole = not array.is_complex() and not array.is_floating_point()
    as_it_is = int if whole else float
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype).removeprefix("torch."),
        "min": as_it_is(real.min().item()) if some else None,
        "mean": real.mean().item() if some else None,
        "max": as_it_is(real.max().item()) if some else None,
    }


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case list():
            return str(tuple(value))
        case float():
            return f"{value:.5g}"
        case _:
            return str(value)
