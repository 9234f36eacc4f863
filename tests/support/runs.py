"""Runs of the library, and what must be the same of two of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnnbptt.bptt.window import create_network
from rnnbptt.inference.evaluation import Score
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import TextOptions
from rnnbptt.text.vocabulary import Vocabulary
from rnnbptt.training.checkpoint import Checkpoint
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.document import Document, Standing, TrainedOn
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.loop import Trainer
from rnnbptt.training.starting import RunConfig, begin


def without_time(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: without_time(v) for k, v in data.items() if k not in ("seconds", "chars_per_second")}
    return [without_time(item) for item in data] if isinstance(data, list) else data


def make_document(config: ModelConfig, vocabulary: Vocabulary | None = None, **parts: Any) -> Document:
    """Of a checkpoint of a model of this shape that nobody has trained."""
    symbols = tuple(chr(ord("a") + number) for number in range(config.vocabulary))
    trained_on = TrainedOn("nowhere", "0" * 64, {"train": (0, 90), "valid": (90, 95), "test": (95, 100)}, TextOptions())
    return Document(config, TrainConfig(), vocabulary or Vocabulary("char", symbols), trained_on, Standing(), **parts)


def a_score(nats: float) -> Score:
    """What a validation may find."""
    return Score(nats, np.array([nats]), settled=True)


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    """Bit for bit but for time."""
    assert without_time(asdict(a.document)) == without_time(asdict(b.document))
    assert a.tensors.keys() == b.tensors.keys()
    for name, tensor in a.tensors.items():
        assert torch.equal(tensor, b.tensors[name]), name


def make_room(folder: RunFolder) -> None:
    """Begin in it, by force, a run without a corpus of its own."""
    with folder.beginning(force=True):
        pass
    folder.release()


def train_run(
    folder: Path,
    corpus: Corpus,
    chars: int = 400,
    hidden: int = 6,
    cell: str = "lstm",
    precision: str = "float64",
    **options: Any,
) -> Path:
    """A run folder; of four validations unless told otherwise, as each saves a checkpoint, which costs more than it."""
    settings = {"trunc": "4", "streams": 4, "eval_every": max(1, chars // 4), **options}
    config = TrainConfig(budget=Budget("chars", chars), **settings)
    model_config = ModelConfig(len(corpus.vocabulary), cell, hidden, dropout=0.0)
    model = create_network(model_config, precision, seed=config.seed)
    run = RunFolder(folder)
    make_room(run)
    list(run.follow(Trainer(model, corpus, config)))
    return folder


def follow(config: RunConfig) -> None:
    """A new run to its end; at this place a process of its own can find it."""
    trainer = begin(config)
    for _ in RunFolder(config.folder).follow(trainer):
        pass
