"""`rnnbptt probe`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rnnbptt.cli.options import STANDARD_OUTPUT, CheckpointPath, JsonFile, Threads, check_results
from rnnbptt.truncation.specs import parse_truncation


def probe(
    checkpoint: CheckpointPath,
    depth: Annotated[int, typer.Option(metavar="R", min=2, help="Characters that the full gradient goes back.")] = 512,
    streams: Annotated[int, typer.Option(min=1, help="Places of the held-out text, read side by side.")] = 16,
    trunc: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC", help="Another truncation to probe, as for train; may be repeated.", show_default=False
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="First hold the gradient against autograd and finite differences.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Show all tables, not only how near each truncation comes.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="The figures drawn, as .png or .svg.")] = None,
    json: JsonFile = None,
    threads: Threads = 0,
) -> None:
    """Measure what truncation does to the gradient of a trained model, and how much memory the model really uses."""
    more = [parse_truncation(spec) for spec in trunc or ()]

    from rnnbptt.report import probe_tables, progress
    from rnnbptt.report.outlets import printing
    from rnnbptt.storage.files import json_text, write_json
    from rnnbptt.study.probe.probing import probe as probe_subject
    from rnnbptt.study.probe.subject import check_subject, open_subject
    from rnnbptt.training.starting import set_up_torch

    check_results(plot, json=json)
    set_up_torch(threads)
    subject = open_subject(checkpoint, depth, streams, more)
    checks = check_subject(subject) if check else ()
    progress.say_subject(subject)
    with progress.counting_bar("probe", "char") as tell:
        found = replace(probe_subject(subject, tell), checks=checks)
    try:  # files first: standard output may be closed or full
        if json and json != STANDARD_OUTPUT:
            write_json(found, json)
        if plot:
            from rnnbptt.report.probe_picture import plot_probe

            plot_probe(found, plot)
    finally:
        if json == STANDARD_OUTPUT:
            printing(print)(json_text(found))
        else:
            probe_tables.show_checks(checks)
            probe_tables.show_probe(found, full)
            progress.say_meaning(found, full)
