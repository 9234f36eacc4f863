"""How a run begins, and how it goes on after a stop: all that comes before its next update. It prints nothing.

A worker process needs no more than this:

    trainer = begin(config)
    for record in RunFolder(config.folder).follow(trainer):
        ...
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from rnnbptt.bptt.engines import Choice, choose_engine, supports
from rnnbptt.bptt.window import create_network
from rnnbptt.errors import UserError, check_option
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import ONE_TEXT, HeldOut, TextOptions
from rnnbptt.text.preparing import prepare
from rnnbptt.text.reading import Reader, Tell
from rnnbptt.text.sources import files_by_part, is_prepared, name_of
from rnnbptt.training.checkpoint import RUNS, Checkpoint, load_checkpoint
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.corpora import corpus_of
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.initial import take_weights
from rnnbptt.training.loop import Trainer
from rnnbptt.training.state import restore
from rnnbptt.truncation.specs import parse_truncation


@dataclass(frozen=True)
class RunConfig:
    """All that a new run needs: plain data, which can be sent to another process.

    sources    the folder of a prepared corpus, or text files and folders of them
    folder     where the run leaves its files
    model      of any vocabulary: it is set to that of the text
    initial    the checkpoint file whose weights it begins with; None: fresh ones
    text       how a text file becomes symbols
    held_out   texts of their own for validation and test
    precision  auto, float32, bfloat16 or float64
    engine     auto, torch or compiled
    threads    of torch; 0: leave it as it is
    force      whether a run that is in the folder may be replaced
    """

    sources: Sequence[Path]
    folder: Path
    train: TrainConfig = field(default_factory=TrainConfig)
    model: ModelConfig = field(default=ModelConfig(vocabulary=1))
    text: TextOptions = field(default_factory=TextOptions)
    precision: str = "auto"
    engine: str = "auto"
    device: str = "cpu"
    threads: int = 0
    force: bool = False
    initial: Path | None = None
    held_out: HeldOut = ONE_TEXT


def default_folder(sources: Sequence[Path], trunc: str) -> Path:
    """Where the run of a text goes unless told otherwise: runs/TEXT-SPEC, in letters that any file system bears."""
    return RUNS / f"{name_of(sources)}-{re.sub('[/:]', '-', parse_truncation(trunc).spec)}"


def prepared(sources: Sequence[Path]) -> Path | None:
    """The prepared corpus that is named; None where texts are."""
    return sources[0] if len(sources) == 1 and is_prepared(sources[0]) else None


def set_up_torch(threads: int) -> None:
    """The number of threads, 0 to leave it as it is, and what makes small numbers no slower than others."""
    torch.set_flush_denormal(True)  # vanishing gradients reach the denormal numbers, which are a hundred times slower
    if threads:
        torch.set_num_threads(threads)


def engine_of(config: RunConfig) -> Choice:
    """What computes such a run; UserError where what it asks for cannot."""
    strategy = parse_truncation(config.train.trunc)
    wanted = (config.model, config.precision, config.device, strategy, config.train.optimizer, config.train.streams)
    return choose_engine(config.engine, *wanted)


def fresh(config: RunConfig, corpus: Corpus, chosen: Choice) -> Trainer:
    """A new run on a corpus, with fresh weights and without a folder; UserError where there can be no such run."""
    shape = replace(config.model, vocabulary=len(corpus.vocabulary))
    model = create_network(shape, chosen.precision, config.device, config.train.seed)
    trainer = Trainer(model, corpus, config.train, chosen.engine)
    trainer.notes += filter(None, [chosen.note])
    return trainer


def begin(config: RunConfig, tell: Tell | None = None) -> Trainer:
    """A new run in its folder; texts are prepared into `corpus` there first, of which `tell` hears.

    UserError, before that, where its engine cannot train such a model in such a way.

    Where anything goes wrong, an interrupt included, the folder stays as it was.
    """
    set_up_torch(config.threads)
    chosen = engine_of(config)
    folder = RunFolder(config.folder)
    with folder.beginning(config.force) as new:
        if folder_of_corpus := prepared(config.sources):
            corpus = Corpus.open(folder_of_corpus)
        else:
            new_corpus = new / folder.corpus.name
            corpus = prepare(config.sources, new_corpus, config.text, held_out=config.held_out, tell=tell)
        trainer = fresh(config, corpus, chosen)
        trainer.notes += filter(None, [chosen.hint])
        if config.initial:
            trainer.initial = take_weights(trainer.model, corpus.vocabulary, load_checkpoint(config.initial))
    if not folder_of_corpus:
        trainer.corpus = replace(corpus, path=folder.corpus)  # the same files, which have moved
    return trainer


def saved_run(folder: Path) -> Checkpoint:
    """What the run in the folder goes on from; UserError where there is none."""
    if path := RunFolder(folder).checkpoint:
        return load_checkpoint(path)
    raise UserError(f"{folder}: no run to resume; give the folder of one, or leave --resume out to begin one")


def resume(
    folder: Path,
    sources: Sequence[Path] = (),
    budget: Budget | None = None,
    device: str | None = None,
    threads: int | None = None,
    tell: Tell | None = None,
    engine: str | None = None,
    held_out: HeldOut = ONE_TEXT,
) -> Trainer:
    """The run in the folder, where its last checkpoint left it, on the device, with the threads and by the engine that
    it had unless given.

    Where `sources` or texts `held_out` are given they must be what it was begun with; texts are read again to be sure,
    of which `tell` hears. Another `budget` stretches the schedules.
    """
    run = RunFolder(folder)
    document = saved_run(folder).document
    set_up_torch(document.threads if threads is None else threads)
    with run.starting():
        checkpoint = saved_run(folder)  # again, now that nobody else can write it
        if folder_of_corpus := prepared(sources):
            corpus = Corpus.open(folder_of_corpus)
        else:
            corpus = corpus_of(checkpoint)
            texts = [*sources, *filter(None, vars(held_out).values())]
            if texts and not are_texts_of(corpus, sources, tell, held_out):
                given, whose = " ".join(map(str, texts)), checkpoint.path
                raise UserError(f"{given}: not the text that {whose} was trained on; leave it out, or give that one")
        trainer = _restored(checkpoint, corpus, budget, device, engine)
        done = trainer.standing.axes
        advice = f"no more than the run has done ({done.chars:,} characters, {done.updates:,} updates); give more"
        if budget and budget != checkpoint.document.train.budget:
            check_option(trainer.spent < 1, budget.unit, f"{budget.amount:.15g}", f"{advice}, or leave it out")
        run.rewind(trainer.standing)
    return trainer


def _restored(
    checkpoint: Checkpoint, corpus: Corpus, budget: Budget | None, device: str | None, engine: str | None
) -> Trainer:
    """The run on its device and by its engine, or on those that are given; it notes where the engine is another."""
    document = checkpoint.document
    device, strategy = device or document.device, parse_truncation(document.train.trunc)
    wanted = (document.model, document.precision, device, strategy, document.train.optimizer, document.train.streams)
    own = document.engine if document.engine == "torch" or supports(*wanted[:-1]) else "torch"
    chosen = choose_engine(engine or own, *wanted)
    trainer = restore(checkpoint, corpus, "auto", device, budget, chosen.engine)
    trainer.notes += filter(None, [chosen.note])
    if chosen.engine != document.engine:
        how = f"computed by --engine {document.engine} so far, by {chosen.engine} from here on"
        trainer.notes.append(f"{how}: these round otherwise")
    return trainer


def are_texts_of(
    corpus: Corpus, sources: Sequence[Path], tell: Tell | None = None, held_out: HeldOut = ONE_TEXT
) -> bool:
    """Whether these are what the corpus was made from, or another copy of it; texts are read, of which `tell` hears."""
    if folder := prepared(sources):
        other = Corpus.open(folder)
        return (other.fingerprint, other.splits) == (corpus.fingerprint, corpus.splits)
    parts = files_by_part(sources, held_out)
    reader = Reader([name for names in parts.values() for name in names], tell)
    for name in reader.names:
        for _ in reader.pieces(name):
            pass  # only its hash is wanted
    labels = [part for part, names in parts.items() for _ in names]
    read = zip((text.sha256 for text in reader.finished), labels, strict=True)
    return list(read) == [(text.sha256, text.part) for text in corpus.sources]
