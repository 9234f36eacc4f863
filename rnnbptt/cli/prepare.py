"""`rnnbptt prepare`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnbptt.cli.options import OwnTexts, Text, as_typed, given, refuse_two_splits
from rnnbptt.text.options import TASKS, parse_size


def prepare(
    *,
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Files: plain, .gz, .bz2, .xz; folders of them; or - for standard input."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make.", show_default="the text's name + .corpus")] = None,
    task: Annotated[
        str | None, typer.Option(metavar="SPEC", help=f"Make a text that poses a standard problem: {TASKS}.")
    ] = None,
    size: Annotated[str, typer.Option(help="Characters of that text, as in --split.")] = "1M",
    seed: Annotated[int, typer.Option(min=0, help="Seed of that text.")] = 0,
    text: Text,
    held_out: OwnTexts,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder if it is a prepared corpus.")] = False,
) -> None:
    """Turn texts, joined in order, into a corpus: vocabulary, symbols and splits, ready for any number of runs."""
    from rnnbptt.report.progress import counting_bar
    from rnnbptt.report.tables import show_corpus
    from rnnbptt.text import preparing
    from rnnbptt.text.sources import name_of
    from rnnbptt.text.tasks import parse_task

    refuse_two_splits(ctx)
    with counting_bar("prepare", "B") as tell:
        if task is None:
            sources = files or ()
            folder = out or Path(f"{name_of(sources)}.corpus")
            corpus = preparing.prepare(sources, folder, text, held_out=held_out, force=force, tell=tell)
        else:
            posed = parse_task(task, parse_size(size), seed)
            folder = out or Path(f"{posed.name}.corpus")
            corpus = preparing.prepare_task(posed, folder, text, force=force, tell=tell)
    show_corpus(corpus)


def refuse_what_a_task_does_not_take(values: Mapping[str, Any]) -> None:
    """Misuse where there is no text or two, or an option would change nothing."""
    ctx, task, files = values["ctx"], values["task"], values["files"]
    if task is None:
        if named := given(ctx, "size", "seed"):
            raise typer.BadParameter(f"{as_typed(named[0])} is for a text that is made; give it with --task SPEC")
        if not files:
            raise typer.BadParameter("no text was given; give one, such as data/shakespeare.txt, or --task SPEC")
        return
    if files:
        raise typer.BadParameter(f"--task {task} makes a text of its own; leave out {files[0]}, or --task")
    if named := given(ctx, "unit", "encoding", "nfc", "min_count", "valid", "test"):
        raise typer.BadParameter(f"{as_typed(named[0])} is for a text that is read; leave it out, or --task")
    if task.startswith("updown:") and (named := given(ctx, "size", "seed")):
        raise typer.BadParameter(f"{as_typed(named[0])} is for a text that is drawn: {task} is of a file; leave it out")
