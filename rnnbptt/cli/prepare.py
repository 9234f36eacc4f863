"""`rnnbptt prepare`."""

from pathlib import Path
from typing import Annotated

import typer

from rnnbptt.cli.options import OwnTexts, Text, refuse_two_splits


def prepare(
    *,
    ctx: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(metavar="TEXT", help="Files: plain, .gz, .bz2, .xz; folders of them; or - for standard input."),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to make.", show_default="the text's name + .corpus")] = None,
    text: Text,
    held_out: OwnTexts,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder if it is a prepared corpus.")] = False,
) -> None:
    """Turn texts, joined in order, into a corpus: vocabulary, symbols and splits, ready for any number of runs."""
    from rnnbptt.report.progress import counting_bar
    from rnnbptt.report.tables import show_corpus
    from rnnbptt.text import preparing
    from rnnbptt.text.sources import name_of

    refuse_two_splits(ctx)
    with counting_bar("prepare", "B") as tell:
        folder = out or Path(f"{name_of(files)}.corpus")
        corpus = preparing.prepare(files, folder, text, held_out=held_out, force=force, tell=tell)
    show_corpus(corpus)
