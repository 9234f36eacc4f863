"""`rnnbptt info`."""

from pathlib import Path
from typing import Annotated

import typer


def info(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN|CORPUS|CHECKPOINT...", help="What to describe; without any, the runs in runs/."),
    ] = None,
) -> None:
    """Say what runs, prepared texts and checkpoints are: options, progress, best figures, files, versions."""
    from rnnbptt.report.inventory import show_prepared, show_runs, show_trained
    from rnnbptt.report.outlets import printing
    from rnnbptt.report.progress import say
    from rnnbptt.text.corpus import Corpus
    from rnnbptt.text.sources import is_prepared
    from rnnbptt.training.checkpoint import RUNS, find_checkpoint, load_checkpoint
    from rnnbptt.training.folder import saved_runs

    for number, path in enumerate(paths or ()):
        if number:
            printing(print)()
        if is_prepared(path):
            show_prepared(Corpus.open(path))
        elif runs := saved_runs(path)[0]:
            show_runs(path, runs)
        else:
            show_trained(path, load_checkpoint(find_checkpoint(path, "last")))
    if not paths:
        runs, damaged = saved_runs(RUNS)
        say("warning", damaged)
        if runs:
            show_runs(RUNS, runs)
        else:
            say("note", [f"no run is in {RUNS}/ yet; begin one with: rnnbptt train TEXT"])
