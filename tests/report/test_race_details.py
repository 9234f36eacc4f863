"""race_details.py: the command that makes a race again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rnnbptt.report.race_details import command, details
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.config import Budget, TrainConfig
from support.races import begun, race_config
from support.texts import task_corpus


def test_the_text_of_a_task_can_be_made_again(tmp_path: Path) -> None:
    race = begun(tmp_path / "race", task_corpus(tmp_path, "copy:2", 1000, seed=3).path, race_config())
    made = "rnnbptt prepare --task copy:2 --size 1000 --seed 3 --split 0.8/0.1/0.1"
    assert dict(details(race))["Text"].splitlines()[1] == made


@pytest.mark.parametrize(
    ("options", "typed"),
    [
        ({}, "--trunc 1 --trunc 8 --hidden 6 --dropout 0.2 --streams 4"),
        ({"rates": (0.1, 0.25)}, "--trunc 1 --trunc 8 --lr 0.1 --lr 0.25 --hidden 6 --dropout 0.2 --streams 4"),
        (
            {"tune": 5, "train": TrainConfig(budget=Budget("chars", 800), streams=4, lr=0.1)},
            "--trunc 1 --trunc 8 --tune 5 --hidden 6 --dropout 0.2 --streams 4 --lr 0.1",
        ),
    ],
)
def test_the_rates_are_in_the_command(text_corpus: Corpus, tmp_path: Path, options: dict[str, Any], typed: str) -> None:
    race = begun(tmp_path / "race", text_corpus.path, race_config(**options))
    how = f"--chars 800 --seeds 2 --precision {race.config.precision} --engine torch"
    assert command(race) == f"rnnbptt race {text_corpus.path} {typed} {how}"
