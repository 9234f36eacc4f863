"""Small races, that cost no process where a test needs none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnnbptt.model.config import ModelConfig
from rnnbptt.study.race.checking import alike
from rnnbptt.study.race.config import RaceConfig
from rnnbptt.study.race.folder import Race, beginning, racing_in
from rnnbptt.training.config import Budget, TrainConfig


def race_config(*truncs: str, **options: Any) -> RaceConfig:
    """Of a small model, on few characters."""
    kind = {"seeds": 2, "train": TrainConfig(budget=Budget("chars", 800), streams=4), "engine": "torch"}
    model = ModelConfig(1, hidden=6, dropout=0.2)
    return RaceConfig(truncs or ("1", "8"), **{**kind, "model": model, **options})


def begun(folder: Path, source: Path, config: RaceConfig) -> Race:
    """A race that nobody runs."""
    with racing_in(folder), beginning([source], folder, alike(config)[0]) as race:
        pass
    return race
