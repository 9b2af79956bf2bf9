"""Options that several commands share, and the reading of a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ssmc.api import BACKENDS
from ssmc.cli.files import Target, read_target, target
from ssmc.plan.nodes import FORM_NAMES

if TYPE_CHECKING:
    from ssmc.api import Compiled

FORMS = ("auto", *FORM_NAMES)
DTYPES = ("float32", "float64", "float16", "bfloat16")


def _sizes(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    """`N=16`: an axis and a size that is not negative."""
    sizes: dict[str, int] = {}
    for value in values:
        axis, equals, number = (part.strip() for part in value.partition("="))
        if not equals or not axis.isidentifier():
            raise click.BadParameter(f"`{value}` is not of the form NAME=INT, for example N=16", param=parameter)
        if not number.isdecimal():
            message = f"the size of `{axis}` is an integer from 0 on, not `{number}`"
            raise click.BadParameter(message, param=parameter)
        if sizes.setdefault(axis, int(number)) != int(number):
            raise click.BadParameter(f"two sizes for `{axis}`", param=parameter)
    return sizes


def _schedule(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Any:
    """`lane=N,chunk=64`, `grid=D+H`, `backward:lane=N`, `forward.2:vectors=2`; `rules`."""
    if values == ("rules",):
        return "rules"
    asked: dict[str, Any] = {}
    for value in values:
        where, colon, rest = value.rpartition(":")
        own = asked.setdefault(where.strip(), {}) if colon else asked
        for pair in rest.split(","):
            key, equals, text = (part.strip() for part in pair.partition("="))
            if not equals or not key or not text:
                why = "is not of the form KEY=VALUE,…, for example lane=N,grid=D+H,chunk=64 or backward:lane=N"
                raise click.BadParameter(f"`{value}` {why}", param=parameter)
            made: Any = int(text) if text.isdecimal() else text
            if key == "grid":
                made = [] if text == "none" else text.split("+")
            if own.setdefault(key, made) != made:
                raise click.BadParameter(f"two values for `{key}`", param=parameter)
    return asked or None


def _target(_: click.Context, __: click.Parameter, value: str) -> Target:
    return target(value)


def _targets(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[Target, ...]:
    return tuple(target(value) for value in values)


spec_argument = click.argument("where", metavar="FILE[:NAME]", callback=_target)
specs_argument = click.argument("targets", nargs=-1, required=True, metavar="FILE[:NAME]…", callback=_targets)
size_option = click.option(
    "--size", "sizes", multiple=True, metavar="NAME=INT", callback=_sizes, help="The size of an axis; repeat for more."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
form_option = click.option(
    "--form", type=click.Choice(FORMS), default="auto", show_default=True, help="How a component is run over time."
)
schedule_option = click.option(
    "--schedule",
    multiple=True,
    metavar="[WHERE:]KEY=VALUE,…",
    callback=_schedule,
    help="What generated C++ is to do: lane=AXIS, grid=AXIS+AXIS, vectors=INT, chunk=INT; of forward:, backward:, or "
    "one pass of them, backward.2:. `rules` alone: what the compiler chooses, whatever was tuned.",
)
backend_option = click.option(
    "--backend", type=click.Choice(BACKENDS), default="torch", show_default=True, help="What prints and runs the code."
)


def load(where: Target, schedule: Any = None) -> Compiled:
    """The compiled spec of a target; `-` reads the standard input. `schedule` as in `ssmc.load`. Raises SpecError."""
    from ssmc.api import Compiled
    from ssmc.syntax.parser import parse
    from ssmc.syntax.reader import choose_spec

    source = read_target(where)
    return Compiled(choose_spec(parse(source), where.name, where.choice), source, schedule)


def chosen_form(form: str) -> str | None:
    """The `form=` of a call: None leaves the choice to the plan."""
    return None if form == "auto" else form
