"""`rnnbptt sample`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnbptt.cli.options import CheckpointPath, Device, Threads
from rnnbptt.cli.typed import typed
from rnnbptt.errors import UserError, check_file
from rnnbptt.inference.config import SampleConfig
from rnnbptt.text.raw import text_of


def sample(
    *,
    checkpoint: CheckpointPath,
    prompt_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File with the prompt, in UTF-8 (any bytes for a model of them); -: standard input."
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="The very text on a terminal too, control characters and bytes as they are.")
    ] = False,
    config: SampleConfig,
    threads: Threads = 1,
    device: Device = "cpu",
) -> None:
    """Generate text, streamed to standard output as it is made."""
    from rnnbptt.inference import sampling
    from rnnbptt.inference.prompts import as_trained
    from rnnbptt.report.outlets import OutputError
    from rnnbptt.report.progress import say, slow
    from rnnbptt.report.samples import show_samples, stream
    from rnnbptt.training.checkpoint import find_checkpoint, load_checkpoint
    from rnnbptt.training.starting import set_up_torch

    set_up_torch(threads)
    loaded = load_checkpoint(find_checkpoint(checkpoint))
    model, vocabulary = loaded.build_model(device=device), loaded.vocabulary
    unit = vocabulary.unit
    if prompt_file:
        prompt = _content(prompt_file, unit)
    else:
        prompt = typed("--prompt", config.prompt, unit, "give a --prompt-file in UTF-8")
    config = replace(config, prompt=prompt, stop=typed("--stop", config.stop, unit))
    read, notes = as_trained(config, vocabulary, loaded.document.corpus.options)
    say("note", notes)
    try:
        if config.count == 1:
            with slow("compiling, once: it takes some 5 seconds"):
                pieces = sampling.sample(model, vocabulary, read)
            stream(prompt, pieces, unit, raw)
        else:
            show_samples(prompt, sampling.sample_many(model, vocabulary, read), unit, raw)
    except OutputError as error:
        if not error.closed:  # otherwise the reader has seen enough, and all is well
            raise


def refuse_two_prompts(values: Mapping[str, Any]) -> None:
    """Misuse where the prompt is given twice."""
    if values["prompt"] and values["prompt_file"]:
        raise typer.BadParameter("--prompt and --prompt-file both give a prompt; give one of them")


def _content(path: Path, unit: str) -> str:
    """The text of a file or of standard input, unpacked as `prepare` does: for unit byte any, otherwise UTF-8."""
    from rnnbptt.text.reading import Reader

    option, advice = f"--prompt-file {path}", "give a readable UTF-8 text"
    check_file(path, option, advice)
    data = b"".join(Reader([str(path)]).pieces(str(path)))
    try:
        return text_of(data) if unit == "byte" else data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{option}: not UTF-8 (byte {error.start}); {advice}") from None
