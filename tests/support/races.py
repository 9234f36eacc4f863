"""Small races, that cost no process where a test needs none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rnnbptt.model.config import ModelConfig
from rnnbptt.study.race.checking import alike
from rnnbptt.study.race.config import RaceConfig
from rnnbptt.study.race.folder import Race, beginning, racing_in
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.pool import Work
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.starting import RunConfig

T = TypeVar("T")


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


def breaking(config: RunConfig, stop: Callable[[], bool]) -> Outcome:
    """In the place of `finish_run`: 4 breaks, 8 diverges, and all others are done at once."""
    arm = config.folder.parent.name
    if arm == "4":
        raise RuntimeError("boom")
    return Outcome("diverged", "the loss is not finite") if arm == "8" else Outcome("done")


def in_process(
    tasks: Sequence[T], work: Work, workers: int, stop: Callable[[], bool]
) -> Iterator[list[tuple[T, Outcome]]]:
    """In the place of `finish_all`, where it need not be other processes that do it."""
    for task in tasks:
        yield [(task, work(task, stop))]
