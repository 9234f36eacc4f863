"""How a run begins, and how it goes on after a stop: all that comes before its next update. It prints nothing.

A worker process needs no more than this:

    trainer = begin(config)
    for record in RunFolder(config.folder).follow(trainer):
        ...
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from rnnbptt.bptt.window import create_network
from rnnbptt.errors import UserError
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import TextOptions
from rnnbptt.text.preparing import name_of, prepare
from rnnbptt.text.reading import Reader, Tell
from rnnbptt.training.checkpoint import load_checkpoint
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.loop import Trainer
from rnnbptt.training.state import restore
from rnnbptt.truncation.specs import parse_truncation


@dataclass(frozen=True)
class RunConfig:
    """All that a new run needs: plain data, which can be sent to another process.

    source     a text file, or the folder of a prepared corpus
    folder     where the run leaves its files
    model      of any vocabulary: it is set to that of the text
    text       how a text file becomes symbols
    precision  auto, float32, bfloat16 or float64
    threads    of torch; 0: leave it as it is
    force      whether a run that is in the folder may be replaced
    """

    source: Path
    folder: Path
    train: TrainConfig = field(default_factory=TrainConfig)
    model: ModelConfig = field(default=ModelConfig(vocabulary=1))
    text: TextOptions = field(default_factory=TextOptions)
    precision: str = "auto"
    device: str = "cpu"
    threads: int = 0
    force: bool = False


def default_folder(source: Path, trunc: str) -> Path:
    """Where the run of a text goes unless told otherwise: runs/TEXT-SPEC, in letters that any file system bears."""
    return Path("runs", f"{name_of(str(source))}-{re.sub('[/:]', '-', parse_truncation(trunc).spec)}")


def set_up_torch(threads: int) -> None:
    """The number of threads, 0 to leave it as it is, and what makes small numbers no slower than others."""
    torch.set_flush_denormal(True)  # vanishing gradients reach the denormal numbers, which are a hundred times slower
    if threads:
        torch.set_num_threads(threads)


def begin(config: RunConfig, tell: Tell | None = None) -> Trainer:
    """A new run in its folder; a text file is prepared into `corpus` there first, of which `tell` hears.

    Where anything goes wrong, an interrupt included, the folder stays as it was.
    """
    set_up_torch(config.threads)
    folder = RunFolder(config.folder)
    with folder.beginning(config.force) as new:
        if config.source.is_dir():
            corpus = Corpus.open(config.source)
        else:
            corpus = prepare([config.source], new / folder.corpus.name, config.text, tell=tell)
        shape = replace(config.model, vocabulary=len(corpus.vocabulary))
        model = create_network(shape, config.precision, config.device, config.train.seed)
        trainer = Trainer(model, corpus, config.train)
    if not config.source.is_dir():
        trainer.corpus = replace(corpus, path=folder.corpus)  # the same files, which have moved
    return trainer


def resume(
    source: Path,
    folder: Path,
    budget: Budget | None = None,
    device: str | None = None,
    threads: int = 0,
    tell: Tell | None = None,
) -> Trainer:
    """The run in the folder, where its last checkpoint left it, on the device it was on unless given.

    `source` is what it was begun with; a text file is read again to be sure, of which `tell` hears. Another `budget`
    stretches the schedules.
    """
    set_up_torch(threads)
    run = RunFolder(folder)
    if not run.checkpoint:
        raise UserError(f"{run.path}: no run to resume; name its folder with --run, or leave --resume out to begin one")
    with run.starting():
        checkpoint = load_checkpoint(run.checkpoint)
        if source.is_dir():
            corpus = Corpus.open(source)
        elif run.corpus.exists():
            corpus = Corpus.open(run.corpus)
            _check_text(source, corpus, checkpoint.path, tell)
        else:
            trained_on = checkpoint.document.corpus.path
            raise UserError(
                f"{source}: {checkpoint.path} was trained on the prepared {trained_on}; give that to resume"
            )
        trainer = restore(checkpoint, corpus, "auto", device or checkpoint.document.device, budget)
        run.rewind(trainer.standing.axes.updates)
    return trainer


def _check_text(source: Path, corpus: Corpus, checkpoint: Path, tell: Tell | None) -> None:
    """UserError unless the text is still the one that the run's own corpus was made from."""
    reader = Reader([str(source)], tell)
    for _ in reader.pieces(str(source)):
        pass  # only its hash is wanted
    if [text.sha256 for text in reader.finished] != [text.sha256 for text in corpus.sources]:
        raise UserError(f"{source}: not the text that {checkpoint} was trained on; give that one to resume")
