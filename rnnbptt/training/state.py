"""A run as a checkpoint holds it, to go on bit for bit elsewhere: each owner of state saves and restores its own."""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from rnnbptt.errors import UserError
from rnnbptt.model.shapes import copy_checked
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import Checkpoint
from rnnbptt.training.config import Budget
from rnnbptt.training.document import Document, TrainedOn, Versions
from rnnbptt.training.lanes import streams_of, tensors_of
from rnnbptt.training.loop import Trainer
from rnnbptt.version import __version__


def snapshot(trainer: Trainer) -> tuple[dict[str, Tensor], Document]:
    """Tensors and document of a checkpoint. The tensors are the run's own: save or copy them before it goes on."""
    model, corpus = trainer.model, trainer.corpus
    tensors = {f"model.{name}": value for name, value in model.parameters.values.items()}
    tensors |= {f"optimizer.{name}": value for name, value in trainer.optimizer.state.items()}
    tensors |= trainer.engine.state_dict() | tensors_of(trainer.streams, trainer.config)
    document = Document(
        model=model.config,
        train=trainer.config,
        vocabulary=corpus.vocabulary,
        corpus=TrainedOn(str(corpus.path.resolve()), corpus.fingerprint, corpus.splits, corpus.options),
        standing=replace(deepcopy(trainer.standing), position=trainer.streams.position),
        device=str(model.device),
        precision=str(model.precision.operand).removeprefix("torch."),
        engine=trainer.engine.name,
        threads=torch.get_num_threads(),
        initial=trainer.initial,
        versions=Versions(__version__, str(torch.__version__)),
    )
    return tensors, document


def restore(
    checkpoint: Checkpoint,
    corpus: Corpus,
    precision: str = "auto",
    device: str = "cpu",
    budget: Budget | None = None,
    engine: str = "torch",
) -> Trainer:
    """The run that left this checkpoint, where it left off.

    With another `budget` its schedules stretch to that; the precision "auto" is the one it was trained in. UserError
    where the corpus is another one or split otherwise, and where a part is missing or does not fit.
    """
    document = checkpoint.document
    if corpus.fingerprint != document.corpus.fingerprint:
        raise UserError(f"{corpus.path}: not the text that {checkpoint.path} was trained on; give that one to resume")
    if corpus.splits != document.corpus.splits:
        raise UserError(f"{corpus.path}: split otherwise than for {checkpoint.path}; prepare it with the same --split")
    config, standing = document.train, document.standing
    if standing.position * config.streams != standing.axes.chars:
        where = f"character {standing.position:,} of each of {config.streams:,} streams"
        raise UserError(
            f"{checkpoint.path}: damaged: {standing.axes.chars:,} characters do not end at {where}; begin a new run"
        )
    config = replace(config, budget=budget) if budget else config
    precision = document.precision if precision == "auto" else precision
    trainer = Trainer(checkpoint.build_model(precision, device), corpus, config, engine)
    trainer.standing, trainer.initial = deepcopy(standing), document.initial
    with checkpoint.read("begin a new run"):
        trainer.streams = streams_of(corpus.split("train"), config, standing.position, checkpoint.tensors)
        for name, tensor in trainer.optimizer.state.items():
            copy_checked(f"optimizer.{name}", tensor, checkpoint.tensors)
        trainer.engine.load_state_dict(checkpoint.tensors)
    return trainer
