"""Options that several commands share, and the reading of a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ssmc.cli.files import Target, target

if TYPE_CHECKING:
    from ssmc.api import Compiled

F = TypeVar("F", bound=Callable[..., Any])

FORMS = ("auto", "recurrent", "scan", "chunked", "conv", "newton")
# Every backend the language of this command line knows; those that are installed are told by `available_backends`.
BACKENDS = ("torch", "cpp", "triton")
DTYPES = ("float32", "float64", "float16", "bfloat16")


class SizeType(click.ParamType):
    """`N=16`: an axis and a size that is not negative."""

    name = "NAME=INT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        axis, equals, number = str(value).partition("=")
        if not equals or not axis.strip().isidentifier():
            self.fail(f"`{value}` is not of the form NAME=INT, for example N=16", param, ctx)
        try:
            size = int(number)
        except ValueError:
            self.fail(f"the size of `{axis.strip()}` is an integer, not `{number}`", param, ctx)
        if size < 0:
            self.fail(f"the size of `{axis.strip()}` cannot be negative", param, ctx)
        return axis.strip(), size


class TargetType(click.ParamType):
    """`FILE` or `FILE:NAME`."""

    name = "FILE[:NAME]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Target:
        return value if isinstance(value, Target) else target(str(value))


spec_argument = click.argument("where", type=TargetType(), metavar="FILE[:NAME]")
size_option = click.option(
    "--size", "sizes", type=SizeType(), multiple=True, metavar="NAME=INT", help="The size of an axis; repeat for more."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
form_option = click.option(
    "--form", type=click.Choice(FORMS), default="auto", show_default=True, help="How a component is run over time."
)
backend_option = click.option(
    "--backend", type=click.Choice(BACKENDS), default="torch", show_default=True, help="What prints and runs the code."
)


def available_backends() -> tuple[str, ...]:
    """The backends that this installation has."""
    import importlib.util

    return tuple(name for name in BACKENDS if importlib.util.find_spec(f"ssmc.backends.{name}") is not None)


def require_backend(name: str) -> None:
    """Raise SpecError where the backend is not in this installation."""
    from ssmc.cli.problems import NoSuchBackend
    from ssmc.diagnostics import SpecError

    available = available_backends()
    if name not in available:
        raise SpecError([NoSuchBackend(None, name, available)])


def load(where: Target) -> Compiled:
    """The compiled spec of a target; `-` reads the standard input. Raises SpecError."""
    from ssmc import api

    if where.is_stdin:
        return api.compile(click.get_text_stream("stdin").read(), name=where.name)
    return api.load(where.path, where.name)


def chosen_form(form: str) -> str | None:
    """The `form=` of a call: None leaves the choice to the plan."""
    return None if form == "auto" else form
