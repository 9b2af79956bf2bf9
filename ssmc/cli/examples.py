"""`ssmc examples`: list, show and copy the specs that come with ssmc."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import click

from ssmc.cli.options import json_option
from ssmc.cli.problems import NoSuchExample, WouldOverwrite
from ssmc.cli.terminal import print_json, table
from ssmc.diagnostics import SpecError
from ssmc.files import write_texts


@dataclass(frozen=True)
class Example:
    """An example by the stem of its file; `about` is the comment that its file begins with."""

    name: str
    text: str

    @property
    def about(self) -> str:
        lines = itertools.takewhile(lambda line: line.startswith("#"), self.text.splitlines())
        return next((line.lstrip("# ").strip() for line in lines), "")


def all_examples() -> tuple[Example, ...]:
    """Every example of the installation, by name."""
    files = (f for f in resources.files("ssmc.examples").iterdir() if f.name.endswith(".ssm"))
    return tuple(sorted((Example(f.name[:-4], f.read_text("utf-8")) for f in files), key=lambda e: e.name))


@click.command(short_help="List, print and copy the examples.", epilog="Example: ssmc examples mamba gru -o my-specs")
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Copy them there: those named, or all.",
)
@click.option("--force", is_flag=True, help="Replace files that exist.")
@json_option
def examples(names: tuple[str, ...], out: Path | None, force: bool, as_json: bool) -> None:
    """List the examples; print those named; or copy them to a directory."""
    known = {example.name: example for example in all_examples()}
    wanted = [name.removesuffix(".ssm") for name in names]
    unknown = [NoSuchExample(None, name, tuple(known)) for name in wanted if name not in known]
    if unknown:
        raise SpecError(unknown)
    chosen = [known[name] for name in wanted] if wanted else list(known.values())
    if out is not None:
        copied = _copy(chosen, out, force)
        if as_json:
            print_json({"files": [str(path) for path in copied]})
        else:
            for path in copied:
                click.echo(path)
    elif as_json:
        print_json([{"name": e.name, "about": e.about, **({"text": e.text} if wanted else {})} for e in chosen])
    elif wanted:
        click.echo("\n".join(example.text for example in chosen), nl=False)
    else:
        click.echo(table([(e.name, e.about) for e in chosen], ("name", "about")))


def _copy(chosen: list[Example], out: Path, force: bool) -> list[Path]:
    paths = [out / f"{example.name}.ssm" for example in chosen]
    if not force:
        clashes = [
            WouldOverwrite(None, str(path))
            for path, example in zip(paths, chosen, strict=True)
            if path.exists() and path.read_bytes() != example.text.encode()
        ]
        if clashes:
            raise SpecError(clashes)
    write_texts({path: example.text for path, example in zip(paths, chosen, strict=True)})
    return paths
