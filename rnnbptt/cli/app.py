"""The command line: its commands, and the one place where errors become messages.

torch is imported inside the commands, so that help and refusals are instant.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from rnnbptt.cli.compare import compare
from rnnbptt.cli.hints import suggest
from rnnbptt.cli.info import info
from rnnbptt.cli.options import with_fields
from rnnbptt.cli.prepare import prepare, refuse_what_a_task_does_not_take
from rnnbptt.cli.probe import probe
from rnnbptt.cli.race import race, refuse_what_has_no_effect_on_a_race
from rnnbptt.cli.sample import refuse_two_prompts, sample
from rnnbptt.cli.train import refuse_what_has_no_effect, train
from rnnbptt.errors import UserError
from rnnbptt.report.outlets import printing
from rnnbptt.report.terminal import escaped, wrapped
from rnnbptt.version import __version__


class _Command(TyperCommand):
    """A command, with help that fits a narrow terminal."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        _print_help(self, ctx, formatter, super().format_help)


class _Boundary(TyperGroup):
    """The one place where errors become a line on standard error and an exit code."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        _print_help(self, ctx, formatter, super().format_help)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read what stands before the command."""
        with _errors_in_a_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        with _errors_in_a_line():
            return super().invoke(ctx)


def _print_help(command: Any, ctx: Any, formatter: Any, show: Callable[[Any, Any], None]) -> None:
    """Print the help with `show`, with no more of types than a reader needs."""
    for parameter in command.get_params(ctx):
        if parameter.param_type_name == "option" and parameter.metavar is None:
            if parameter.is_flag:
                parameter.metavar = ""  # it takes no value
            elif parameter.min is not None:
                parameter.metavar = "N"  # its range stands beside it
    printing(show)(ctx, formatter)


Misuse: Any = typer.BadParameter.__base__  # of click, which typer has in itself or beside it


@contextmanager
def _errors_in_a_line() -> Iterator[None]:
    """An error is said in one line, and ends the program with 1; misuse, which typer reports, ends it with 2."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except Misuse as error:
        suggest(error)
        error.message = escaped(error.message)  # what was typed is in it, and can be anything
        raise
    except (UserError, OSError, UnicodeEncodeError, MemoryError, RuntimeError) as error:
        if not (message := _message(error)):
            raise
        typer.echo(wrapped(f"error: {escaped(message)}", sys.stderr), err=True)
        raise typer.Exit(1) from None


def _message(error: Exception) -> str:
    """What a user is told of an error; empty where it is a fault of the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        lacking = f"{error.encoding}, which has no {error.object[error.start]!a}"
        return f"the output is in {lacking}; set PYTHONIOENCODING=utf-8"
    if isinstance(error, OSError):  # of a path that no file system bears, say
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return f"{where}{error.strerror or error}; give another path, or make room there"
    if "Symlink loop" in str(error):  # by pathlib, in a RuntimeError
        return f"{error}; give another path"
    told = ("allocate memory", "out of memory", "Storage size calculation overflowed")  # by torch, in a RuntimeError
    if isinstance(error, MemoryError) or any(words in str(error) for words in told):
        return "out of memory; give a shorter --trunc or --depth, fewer --streams or less --hidden"
    return ""


app = typer.Typer(
    cls=_Boundary,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train character-level recurrent networks with a chosen truncation of back-propagation through time (BPTT), "
    "generate text with them, and tell honestly which truncation was better.",
)


def _show_version(wanted: bool) -> None:
    """Print the version and end, where that is wanted."""
    if wanted:
        printing(typer.echo)(f"rnnbptt {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of no command; the help of all is that of `app`."""


for command in (
    with_fields(prepare, check=refuse_what_a_task_does_not_take),
    with_fields(train, first="trunc", check=refuse_what_has_no_effect),
    with_fields(sample, first="prompt", check=refuse_two_prompts),
    compare,
    probe,
    with_fields(race, first="trunc", check=refuse_what_has_no_effect_on_a_race),
    info,
):
    app.command(cls=_Command)(command)


def main() -> None:
    """The console script."""
    app()
