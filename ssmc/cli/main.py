"""`ssmc`: the table of commands, and how a command ends.

Exit 0: done. 1: the spec or the data is at fault (diagnostics on stderr, nothing written). 2: wrong usage.
70: a bug of ssmc. 130: interrupted. A traceback is never shown, except after `--debug`.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from ssmc.cli.terminal import Settings, show
from ssmc.diagnostics import SpecError

# name of the command: (module, attribute). The modules are imported when the command is named, or for `--help`.
COMMANDS = {
    "check": ("ssmc.cli.check", "check"),
    "explain": ("ssmc.cli.explain", "explain"),
    "compile": ("ssmc.cli.compile", "compile_"),
    "run": ("ssmc.cli.run", "run"),
    "test": ("ssmc.cli.test", "test"),
    "bench": ("ssmc.cli.bench", "bench"),
    "fmt": ("ssmc.cli.fmt", "fmt"),
    "examples": ("ssmc.cli.examples", "examples"),
    "doctor": ("ssmc.cli.doctor", "doctor"),
}

SPEC_AT_FAULT, WRONG_USAGE, BUG, INTERRUPTED = 1, 2, 70, 130


def version() -> str:
    """The version that is installed."""
    from importlib.metadata import version as installed

    return installed("ssmc")


class Commands(click.Group):
    """A group that imports a command when it is asked for, and turns every ending into an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        _add_common_options(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from ssmc.diagnostics import did_you_mean

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hints = did_you_mean(args[0], COMMANDS) or (f"the commands are {', '.join(COMMANDS)}",)
            ctx.fail(f"there is no command `{args[0]}`; {hints[0]}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command line and exit; click's arguments, of which `standalone_mode` is always as here."""
        config = Settings()
        extra |= {"standalone_mode": False, "obj": config, "prog_name": extra.get("prog_name") or "ssmc"}

        def run() -> int:
            result = super(Commands, self).main(*args, **extra)
            if sys.stdout is not None:  # None where the process was started without one
                sys.stdout.flush()
            # In this mode click hands back the status of `ctx.exit(n)`; commands themselves return None.
            return result if isinstance(result, int) else 0

        sys.exit(ending(run, config))


def ending(run: Callable[[], int], config: Settings) -> int:
    """The exit status of a command, after saying what is to be said of how it ended."""
    try:
        return run()
    except SpecError as error:
        show(error.diagnostics, config)
        if config.debug:
            _traceback()
        return SPEC_AT_FAULT
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`ssmc … | head`): not an error, and Python must not complain when it flushes at exit.
        _silence()
        return 0
    except OSError as error:
        # What is written to a file names it, and was told: without a name it is the standard output that is refused.
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            report_bug(error, config)
            return BUG
        _silence()
        click.echo(f"error: cannot write to the standard output: {error.strerror}", err=True)
        return SPEC_AT_FAULT
    except MemoryError:
        click.echo("error: not enough memory for this; smaller sizes or another form may do", err=True)
        return SPEC_AT_FAULT
    except Exception as error:
        report_bug(error, config)
        return BUG


def _silence() -> None:
    """Nothing more goes to the standard output, also not what Python writes when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report_bug(error: Exception, config: Settings) -> None:
    """The one message for what is nobody's fault but ours."""
    first = (str(error).strip().splitlines() or [""])[0]
    click.echo(
        f"error: this is a bug in ssmc, not in your spec: {type(error).__name__}{': ' if first else ''}{first}\n"
        f"  please report it with the spec, the command line and ssmc {version()}"
        + ("" if config.debug else "; --debug shows where it happened"),
        err=True,
    )
    if config.debug:
        _traceback()


def _traceback() -> None:
    import traceback

    click.echo(traceback.format_exc(), err=True, nl=False)


def _set_color(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().obj.color = {"always": True, "never": False, "auto": None}[value]


def _set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().obj.debug = True


def _common_options() -> list[click.Option]:
    return [
        click.Option(
            ["--color"],
            type=click.Choice(["auto", "always", "never"]),
            expose_value=False,
            callback=_set_color,
            help="Colour in diagnostics. [default: auto]",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            envvar="SSMC_DEBUG",
            expose_value=False,
            callback=_set_debug,
            help="Show the traceback of an error.",
        ),
    ]


def _add_common_options(command: click.Command) -> None:
    if not any(option.name == "debug" for option in command.params):
        command.params.extend(_common_options())


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"ssmc {version()}")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Example: ssmc explain examples/mamba.ssm --size D=1536 --size N=16",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def cli() -> None:
    """Compile recurrences: check a spec, see how it will run, run it, write it as PyTorch code.

    Exit status: 0 done, 1 the spec or the data is at fault, 2 wrong usage, 70 a bug of ssmc.
    """


_add_common_options(cli)


def main() -> NoReturn:
    """The console script."""
    cli.main()
    raise AssertionError("Commands.main exits")
