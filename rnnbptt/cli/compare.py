"""`rnnbptt compare`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnnbptt.cli.options import STANDARD_OUTPUT, JsonFile, Threads, check_results
from rnnbptt.cli.typed import typed
from rnnbptt.inference.config import SampleConfig

if TYPE_CHECKING:
    from rnnbptt.study.results import Comparison
    from rnnbptt.training.checkpoint import Checkpoint


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
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out of that text what a checkpoint has no symbol for.")
    ] = False,
    contexts: Annotated[
        bool, typer.Option("--contexts", help="Say too how well each reads with few characters before.")
    ] = False,
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
    if skip_unknown and text is None:
        raise typer.BadParameter("--skip-unknown leaves characters out of a text; give it with --text FILE")
    if contexts and text is not None:
        raise typer.BadParameter("--contexts is of the validation or test part; leave out --text, or it")

    from rnnbptt.report import progress
    from rnnbptt.study.comparing import compare as compare_checkpoints
    from rnnbptt.training.starting import set_up_torch

    check_results(plot, json=json, csv=csv)
    set_up_torch(threads)
    config = SampleConfig(prompt=prompt, length=sample_length, seed=seed)
    if prompt and sample_length:
        for path in checkpoints:  # what cannot be sampled is said before the work
            _open(path, config)
    with progress.counting_bar("compare", "char") as tell:
        comparison = compare_checkpoints(checkpoints, text, tell, skip_unknown, contexts)
    try:  # files first: standard output may be closed or full
        _write(comparison, plot, json, csv)
    finally:
        _show(comparison, json)
    if sample_length and json != STANDARD_OUTPUT:
        _show_samples(comparison, config)


def _write(comparison: "Comparison", plot: Path | None, json: Path | None, csv: Path | None) -> None:
    """The files that were asked for."""
    from rnnbptt.report.progress import say
    from rnnbptt.report.spreadsheet import write_csv
    from rnnbptt.storage.files import write_json

    if json and json != STANDARD_OUTPUT:
        write_json(comparison, json)
    if csv:
        write_csv(comparison, csv)
    if plot:
        from rnnbptt.report.curves import plot_curves

        say("note", plot_curves(comparison.rows, plot, comparison.yardsticks))


def _show(comparison: "Comparison", json: Path | None) -> None:
    """Tables, or JSON in their place, and what to know of them."""
    from rnnbptt.report.outlets import printing
    from rnnbptt.report.progress import say
    from rnnbptt.report.tables import show_comparison
    from rnnbptt.storage.files import json_text

    if json == STANDARD_OUTPUT:
        printing(print)(json_text(comparison))
    else:
        show_comparison(comparison)
    say("warning", comparison.warnings)
    say("note", comparison.notes)


def _show_samples(comparison: "Comparison", config: SampleConfig) -> None:
    """One of each checkpoint, from the same prompt and seed."""
    from rnnbptt.inference.sampling import sample
    from rnnbptt.report.progress import say
    from rnnbptt.report.samples import show_sample

    for row in comparison.rows:
        checkpoint, given, (read, notes) = _open(row.path, config)
        say("note", (f"{row.name}: {note}" for note in notes))
        pieces = sample(checkpoint.build_model(), checkpoint.vocabulary, read)
        show_sample(f"{row.name} ({row.trunc})", given, pieces)


def _open(path: Path, config: SampleConfig) -> tuple["Checkpoint", str, tuple[SampleConfig, list[str]]]:
    """A checkpoint, the prompt as it was given to it, and as it reads it. UserError where it cannot."""
    from rnnbptt.inference.prompts import as_trained
    from rnnbptt.training.checkpoint import find_checkpoint, load_checkpoint

    checkpoint = load_checkpoint(find_checkpoint(path))
    given = typed("--prompt", config.prompt, checkpoint.vocabulary.unit)
    options = checkpoint.document.corpus.options
    return checkpoint, given, as_trained(replace(config, prompt=given), checkpoint.vocabulary, options)
