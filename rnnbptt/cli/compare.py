"""`rnnbptt compare`."""

from pathlib import Path
from typing import Annotated

import typer

from rnnbptt.cli.options import JsonFile, Threads, check_results


def compare(
    checkpoints: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Run folders (their best checkpoints) or .safetensors files.")
    ],
    text: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Compare on this text.", show_default="validation and test part of the corpus"
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Learning curves, as .png or .svg.")] = None,
    json: JsonFile = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A row for each checkpoint and text, as CSV.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="What the samples go on from.")] = "",
    sample_length: Annotated[int, typer.Option(min=0, help="Characters of each sample; 0: none.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the samples.")] = 0,
    threads: Threads = 0,
) -> None:
    """Compare checkpoints on the same text: bits per character, with intervals for the differences."""
    from rnnbptt.inference.config import SampleConfig
    from rnnbptt.inference.sampling import sample
    from rnnbptt.report import progress, tables
    from rnnbptt.report.spreadsheet import write_csv
    from rnnbptt.storage.files import write_json
    from rnnbptt.study.comparing import compare as compare_checkpoints
    from rnnbptt.training.checkpoint import find_checkpoint, load_checkpoint
    from rnnbptt.training.starting import set_up_torch

    check_results(plot, json=json, csv=csv)
    set_up_torch(threads)
    config = SampleConfig(prompt=prompt, length=sample_length, seed=seed)
    if prompt and sample_length:
        for path in checkpoints:  # what cannot be sampled is said before the work
            load_checkpoint(find_checkpoint(path)).vocabulary.encode(prompt)
    with progress.counting_bar("compare", "char") as tell:
        comparison = compare_checkpoints(checkpoints, text, tell)
    try:  # files first: standard output may be closed or full
        if json:
            write_json(comparison, json)
        if csv:
            write_csv(comparison, csv)
        if plot:
            from rnnbptt.report.curves import plot_curves

            progress.say("note", plot_curves(comparison.rows, plot))
    finally:
        tables.show_comparison(comparison)
        progress.say("warning", comparison.warnings)
        progress.say("note", comparison.notes)
    for row in comparison.rows if sample_length else ():
        checkpoint = load_checkpoint(row.path)
        tables.show_name(row)
        tables.stream(prompt, sample(checkpoint.build_model(), checkpoint.vocabulary, config))
