"""Trainers of tiny networks, what can be seen of them as they go on, and checkpoints of them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from rnnbptt.bptt.window import create_network
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import Checkpoint
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.document import Document
from rnnbptt.training.loop import Trainer
from rnnbptt.training.records import Record
from rnnbptt.training.state import snapshot
from rnnbptt.truncation.plan import Plan, Progress

FROZEN = 1e-300  # a learning rate that no weight notices


def make_trainer(
    corpus: Corpus,
    cell: str = "gru",
    hidden: int = 6,
    layers: int = 1,
    dropout: float = 0.0,
    precision: str = "float32",
    device: str = "cpu",
    **config: Any,
) -> Trainer:
    config = TrainConfig(**{"streams": 3, "budget": Budget("epochs", 1), "trunc": "4", **config})
    model_config = ModelConfig(len(corpus.vocabulary), cell, hidden, layers, dropout)
    return Trainer(create_network(model_config, precision, device, config.seed), corpus, config)


def train(*args: Any, **kwargs: Any) -> tuple[Trainer, list[Record]]:
    trainer = make_trainer(*args, **kwargs)
    return trainer, list(trainer.run())


def of_kind(kind: str, records: Iterable[Record]) -> Iterator[Record]:
    return (record for record in records if record["kind"] == kind)


class Step(NamedTuple):
    """What an optimizer is given beside the gradient, of which only the norm is kept."""

    norm: float
    lr: float
    beta2: float


def carried(trainer: Trainer) -> Tensor:
    """The state that training carries along."""
    return trainer.engine.state_dict()["state.carried"]


class Plans:
    """A strategy that notes what it plans."""

    def __init__(self, trainer: Trainer) -> None:
        self._strategy, trainer.strategy = trainer.strategy, self
        self.made: list[Plan] = []

    def next(self, progress: Progress) -> Plan:
        self.made.append(self._strategy.next(progress))
        return self.made[-1]


class Spy:
    """An optimizer that notes what it is given, and passes it on."""

    def __init__(self, trainer: Trainer) -> None:
        self._optimizer, self.grads = trainer.optimizer, []
        self.steps: list[Step] = []
        self.state, trainer.optimizer = trainer.optimizer.state, self

    def step(self, flat: Tensor, grad: Tensor, lr: float, beta2: float) -> None:
        self.steps.append(Step(float(grad.norm()), lr, beta2))
        self.grads.append(grad.clone())
        self._optimizer.step(flat, grad, lr, beta2)


def some_updates(trainer: Trainer, updates: int) -> list[Record]:
    """The records of that many updates, and of the validations before the last one is done."""
    axes = trainer.standing.axes
    last = axes.updates + updates
    return list(trainer.run(lambda: axes.updates >= last))


def frozen_copy(trainer: Trainer) -> Checkpoint:
    """A checkpoint in memory, its document once through JSON."""
    tensors, document = snapshot(trainer)
    return Checkpoint(
        Path("memory"), {n: t.clone() for n, t in tensors.items()}, Document.from_json(document.to_json())
    )
