"""`rnnbptt sample`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnbptt.cli.options import CheckpointPath, Device, Threads
from rnnbptt.errors import UserError, check_file
from rnnbptt.inference.config import SampleConfig


def sample(
    *,
    checkpoint: CheckpointPath,
    prompt_file: Annotated[Path | None, typer.Option(help="File with the prompt, in UTF-8.")] = None,
    config: SampleConfig,
    threads: Threads = 1,
    device: Device = "cpu",
) -> None:
    """Generate text, streamed to standard output as it is made."""
    if prompt_file:
        config = replace(config, prompt=_read_prompt(prompt_file))

    from rnnbptt.inference import sampling
    from rnnbptt.report.outlets import OutputError
    from rnnbptt.report.tables import show_samples, stream
    from rnnbptt.training.checkpoint import find_checkpoint, load_checkpoint
    from rnnbptt.training.starting import set_up_torch

    set_up_torch(threads)
    loaded = load_checkpoint(find_checkpoint(checkpoint))
    model, vocabulary = loaded.build_model(device=device), loaded.vocabulary
    try:
        if config.count == 1:
            stream(config.prompt, sampling.sample(model, vocabulary, config))
        else:
            show_samples(config.prompt, sampling.sample_many(model, vocabulary, config))
    except OutputError as error:
        if not error.closed:  # otherwise the reader has seen enough, and all is well
            raise


def refuse_two_prompts(values: Mapping[str, Any]) -> None:
    """Misuse where the prompt is given twice."""
    if values["prompt"] and values["prompt_file"]:
        raise typer.BadParameter("--prompt and --prompt-file both give a prompt; give one of them")


def _read_prompt(path: Path) -> str:
    """The content of a UTF-8 file."""
    check_file(path, f"--prompt-file {path}", "give a readable UTF-8 text")
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 (byte {error.start})"
        raise UserError(f"--prompt-file {path}: {reason}; give a readable UTF-8 text") from None
