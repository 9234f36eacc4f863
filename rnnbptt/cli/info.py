"""`rnnbptt info`."""

from pathlib import Path
from typing import Annotated

import typer

from rnnbptt.errors import UserError


def info(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN|CORPUS|CHECKPOINT...", help="What to describe; without any, the runs in runs/."),
    ] = None,
) -> None:
    """Say what runs, prepared texts and checkpoints are: options, progress, best figures, files, versions."""
    from rnnbptt.report.outlets import printing
    from rnnbptt.report.progress import say
    from rnnbptt.training.checkpoint import RUNS

    for number, path in enumerate(paths or ()):
        if number:
            printing(print)()
        _describe(path)
    if not paths and not _list_runs(RUNS):
        say("note", [f"no run is in {RUNS}/ yet; begin one with: rnnbptt train TEXT"])


def _describe(path: Path) -> None:
    """A prepared text, a run, a checkpoint, or the runs in a folder."""
    from rnnbptt.report.inventory import show_prepared, show_trained
    from rnnbptt.text.corpus import Corpus
    from rnnbptt.text.sources import is_prepared
    from rnnbptt.training.checkpoint import find_checkpoint, load_checkpoint
    from rnnbptt.training.folder import RunFolder

    if is_prepared(path):
        show_prepared(Corpus.open(path))
    elif not path.is_dir() or RunFolder(path).checkpoint:
        show_trained(path, load_checkpoint(find_checkpoint(path, "last")))
    elif not _list_runs(path):
        raise UserError(f"{path}: no run, and no folder of runs; rnnbptt info lists those in runs/")


def _list_runs(folder: Path) -> bool:
    """The runs in a folder, with a warning of each that cannot be read; False where there are none that can."""
    from rnnbptt.report.inventory import show_runs
    from rnnbptt.report.progress import say
    from rnnbptt.training.folder import saved_runs

    runs, damaged = saved_runs(folder)
    say("warning", damaged)
    if runs:
        show_runs(folder, runs)
    return bool(runs)
