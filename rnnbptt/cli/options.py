"""What commands share: options of their own, and options that are made of the fields of dataclasses."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from annotated_doc import Doc

from rnnbptt.errors import UserError, check_file
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.options import HeldOut, TextOptions
from rnnbptt.training.config import MOST_THREADS, Budget

RUN = "Run"  # the panel of what is no matter of the model or its training

Text = Annotated[TextOptions, "Text"]
OwnTexts = Annotated[HeldOut, "Text"]
Threads = Annotated[
    int, typer.Option(help="Threads of torch; 0: one a core.", rich_help_panel=RUN, min=0, max=MOST_THREADS)
]
Device = Annotated[str, typer.Option(help="Any torch device.", rich_help_panel=RUN)]
CheckpointPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder (its best checkpoint) or a .safetensors file.")
]
JsonFile = Annotated[Path | None, typer.Option(metavar="FILE", help="All figures, as JSON; -: instead of the tables.")]
STANDARD_OUTPUT = Path("-")

# How some fields are shown otherwise than the rest of their dataclass.
SHOWN: dict[str, dict[str, Any]] = {
    "trunc": {"metavar": "SPEC", "rich_help_panel": None},
    "eval_every": {"rich_help_panel": RUN},
    "workers": {"min": 0, "max": 4096},
    "address": {"metavar": "HOST:PORT"},
    "json": {"metavar": "FILE"},
    "report": {"metavar": "DIR"},
    "claim": {"metavar": "FILE"},
    "threshold": {"metavar": "BPC"},
    "valid": {"metavar": "FILE"},
    "test": {"metavar": "FILE"},
    "epochs": {"show_default": f"{Budget.amount:g}"},
}

# Names that some have besides, as habit types them.
ALIASES = {"streams": ["--batch-size"], "length": ["-n"], "temperature": ["-t"]}

# What is no option and has no default: symbols are counted when the text is read.
KNOWN_LATER: dict[Any, dict[str, Any]] = {ModelConfig: {"vocabulary": 1}}


def with_fields(
    command: Callable[..., None],
    first: str = "",
    check: Callable[[Mapping[str, Any]], None] = lambda values: None,
) -> Callable[..., None]:
    """The command as Typer takes it, with an option for each documented field of the dataclasses among its parameters,
    which are all named ones.

    A parameter `text: Annotated[TextOptions, "Text"]` stands for all options of TextOptions, in the panel "Text"; the
    command is called with the instance. A field keeps its default where the command itself has a parameter of its name.
    `first` is the option that comes before all others, and `check` is given all values by name before an instance
    checks its own.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    kinds: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        kind, *panel = get_args(parameter.annotation) or (parameter.annotation,)
        if is_dataclass(kind):
            kinds[parameter.name] = kind
            options = _options(kind, *panel)
            parameters += (option for option in options if option.name not in signature.parameters)
        else:
            parameters.append(parameter)
    parameters.sort(key=lambda parameter: parameter.name != first)

    @wraps(command)
    def call(**values: Any) -> None:
        check(values)
        for name, kind in kinds.items():
            names = (field.name for field in fields(kind) if field.name not in signature.parameters)
            given = {name: values.pop(name) for name in names if name in values}
            values[name] = kind(**KNOWN_LATER.get(kind, {}), **given)
        command(**values)

    vars(call)["__signature__"] = signature.replace(parameters=parameters)
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _options(kind: Any, panel: str | None = None) -> Iterator[inspect.Parameter]:
    """An option for each documented field of a dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        plain, *notes = get_args(hints[field.name]) or (None,)
        for text in (note.documentation for note in notes if isinstance(note, Doc)):
            names = [as_typed(field.name), *ALIASES.get(field.name, ())]  # a flag with a name has no opposite
            shown = {"help": text, "rich_help_panel": panel, **SHOWN.get(field.name, {})}
            option = typer.Option(field.default, *names, **shown)
            yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=plain)


def given(ctx: typer.Context, *names: str) -> list[str]:
    """Which of these parameters stand on the command line, in their order there."""
    typed = [name for name in ctx.params if (source := ctx.get_parameter_source(name)) and source.name == "COMMANDLINE"]
    return [name for name in typed if name in names]


def refuse_two_splits(ctx: typer.Context) -> None:
    """Misuse where a text is split, and others are given for its parts."""
    if (named := given(ctx, *(field.name for field in fields(HeldOut)))) and given(ctx, "split"):
        raise typer.BadParameter(f"{as_typed(named[0])} is a text of its own, and --split shares out one; give one")


def as_typed(name: str) -> str:
    """The option of a parameter."""
    return f"--{name.replace('_', '-')}"


def check_results(plot: Path | None, **others: Path | None) -> None:
    """UserError where a result could not be written, or would take the place of another: before the work."""
    from rnnbptt.storage.files import check_place, through_link

    if plot:
        from rnnbptt.report.drawing import check_format

        check_format(plot)
    owners: dict[Path, str] = {}
    for option, path in {"plot": plot, **others}.items():
        if path == STANDARD_OUTPUT and option != "json":
            raise UserError(f"--{option} -: not to standard output; give a file")
        if path and path != STANDARD_OUTPUT:
            check_file(path, f"--{option} {path}", "give a file that can be written")  # it would be replaced by a file
            check_place(target := through_link(path))
            owner = owners.setdefault(target.resolve(), option)
            if owner != option:
                raise UserError(f"--{option} {path}: --{owner} writes this file; give another")
