"""What a run measures of its own gradient, and what an adaptive one makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnnbptt.bptt.window import create_network
from rnnbptt.model.config import ModelConfig
from rnnbptt.study.probe.fidelity import RECURRENT, fidelities
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.streams import gather
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.loop import Trainer
from rnnbptt.truncation.fixed import Fixed
from support.texts import make_corpus, prose


def make_trainer(
    corpus: Corpus, trunc: str, hidden: int = 6, layers: int = 1, epochs: float = 3, **config: Any
) -> Trainer:
    config = TrainConfig(trunc, Budget("epochs", epochs), eval_every=10**7, **{"streams": 3, **config})
    model = ModelConfig(len(corpus.vocabulary), "lstm", hidden, layers, dropout=0.0)
    return Trainer(create_network(model, "float32"), corpus, config)


@pytest.mark.parametrize("bias", [0.2, 0.3])
def test_the_gradient_of_an_adaptive_run_lacks_what_was_asked_for(tmp_path: Path, bias: float) -> None:
    """As a probe of the trained model has it, which goes back much further, and on other text."""
    text = Path(__file__).parents[2] / "data/shakespeare.txt"
    corpus = make_corpus(tmp_path, text.read_text(encoding="utf-8")[:300_000])
    trainer = make_trainer(corpus, f"adaptive:{bias}", hidden=48, epochs=1, lr=0.01, streams=16)
    list(trainer.run())
    depth = trainer.strategy.depth(tuple(trainer.standing.measured))
    start, stop = corpus.splits["valid"][0], corpus.splits["test"][1]
    lanes = torch.from_numpy(gather(corpus.ids, np.linspace(start, stop - 513, 16).astype(np.int64), 513))
    with torch.no_grad():
        (found,) = fidelities(trainer.model, lanes[:-1], lanes[1:], [Fixed(depth)], lambda chars: None)
    assert 1 / 1.5 < found.bias[RECURRENT] / bias < 1.5


def test_measuring_is_counted_as_operations(tmp_path: Path) -> None:
    """Twice more back from all losses through all characters, once with and once without the cuts into four pieces."""
    corpus = make_corpus(tmp_path, prose(3000))
    trainer = make_trainer(corpus, "adaptive:0.5", layers=2)
    list(trainer.run(lambda: trainer.standing.axes.updates == 1))
    assert (trainer.standing.k1, trainer.standing.k2) == (64, 16)
    w_hh, w_ih, head = 2 * 4 * 6 * 6, 4 * 6 * 6, 6 * len(corpus.vocabulary)
    forward, back = w_hh + w_ih + head, w_hh + 2 * w_ih + 2 * head
    carried = w_hh * (4 * 15 * 2 + 63)
    assert trainer.standing.axes.flops == 2 * 3 * (64 * (forward + 3 * back) + carried)


def test_where_there_is_no_gradient_the_depth_stays(tmp_path: Path) -> None:
    trainer = make_trainer(make_corpus(tmp_path, "a" * 9_000), "adaptive:0.5")
    list(trainer.run())
    assert trainer.standing.measured == [0] * 40
    assert trainer.strategy.depth(tuple(trainer.standing.measured)) == 16
