"""How far a run goes on its budget, and when it is validated."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnbptt.bptt.window import create_network
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.loop import Trainer
from support.runs import a_score
from support.texts import make_corpus, prose
from support.trainers import of_kind, train


@pytest.mark.parametrize("trunc", ["1", "7", "full", "1..8", "random:8"])
@pytest.mark.parametrize(
    ("budget", "chars"),
    [(Budget("epochs", 1), 199), (Budget("epochs", 0.5), 100), (Budget("chars", 500), 500), (Budget("chars", 1), 1)],
)
def test_a_budget_of_characters_is_met_within_a_row(small: Corpus, trunc: str, budget: Budget, chars: int) -> None:
    trainer, records = train(small, trunc=trunc, budget=budget, eval_every=150)
    assert chars <= trainer.standing.axes.chars < chars + 3
    assert trainer.standing.axes.chars == 3 * trainer.streams.position
    assert records[-1]["chars"] == trainer.standing.axes.chars
    assert trainer.spent == 1


@pytest.mark.parametrize("trunc", ["1", "7", "full", "1..8"])
def test_a_budget_of_updates_is_met_exactly(small: Corpus, trunc: str) -> None:
    trainer, records = train(small, trunc=trunc, budget=Budget("updates", 9))
    assert trainer.standing.axes.updates == records[-1]["updates"] == 9


def test_a_budget_of_minutes_counts_training_alone(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))  # each look takes a second
    trainer, records = train(small, budget=Budget("minutes", 0.2))
    assert trainer.standing.axes.seconds == trainer.standing.axes.updates == 12
    assert list(of_kind("train", records))[-1]["chars_per_second"] == 12


@pytest.mark.parametrize(
    ("budget", "updates"),
    [
        (Budget("chars", 1200), 400),
        (Budget("epochs", 2), 133),
        (Budget("updates", 100), 100),
        (Budget("minutes", 2), 120),
    ],
)
def test_validation_comes_twenty_times_at_equal_shares_of_any_budget(
    tmp_path: Path, budget: Budget, updates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, clock = make_corpus(tmp_path, prose(203), "200/3/0"), iter(range(10**6))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))  # each look takes a second
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(3.0))
    trainer, records = train(small, trunc="1", budget=budget)
    assert trainer.standing.axes.updates == updates
    evals = [record["updates"] for record in of_kind("eval", records)]
    assert len(evals) == 20
    assert all(abs(seen - updates * share / 20) < 1 for share, seen in enumerate(evals, 1))
    assert len(list(of_kind("train", records))) == min(200, updates)
    _, records = train(small, trunc="1", budget=budget, eval_every=90)
    evals = [record["chars"] for record in of_kind("eval", records)]
    assert evals == sorted({*range(90, 3 * updates, 90), 3 * updates})


def test_a_run_of_few_updates_is_validated_after_each(tmp_path: Path) -> None:
    _, records = train(make_corpus(tmp_path, prose(203), "200/3/0"), budget=Budget("updates", 7))
    assert [record["updates"] for record in of_kind("eval", records)] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("budget", [Budget("chars", 150), Budget("updates", 50), Budget("epochs", 0.75)])
def test_validations_read_no_more_than_training_unless_they_are_asked_for(
    small: Corpus, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 of 20 characters each would read 400, and training reads 150; the last one is made in any case."""
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(3.0))
    trainer, records = train(small, trunc="1", budget=budget)
    assert trainer.course.validation_chars == 20
    seen = [record["chars"] for record in of_kind("eval", records)]
    assert len(seen) == 8
    assert all(20 * number <= chars for number, chars in enumerate(seen[:-1], 1))
    assert seen[-1] == trainer.standing.axes.chars
    _, records = train(small, trunc="1", budget=budget, eval_every=6)
    assert len(list(of_kind("eval", records))) == 25


@pytest.mark.parametrize("share", [0.7, 1.0, 1.06, 2.5, 10.0, 19.5])
def test_as_many_validations_are_made_as_are_announced(
    tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a budget of so many times what a validation reads."""
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(3.0))
    corpus = make_corpus(tmp_path, prose(400), split="300/100/0")
    config = TrainConfig("4", Budget("chars", round(100 * share)), streams=1)
    trainer = Trainer(create_network(ModelConfig(len(corpus.vocabulary), "rnn", 3), "float32"), corpus, config)
    announced = trainer.course.affordable_validations
    made = sum(record["kind"] == "eval" for record in trainer.run())
    assert made == announced + 1
