"""What is looked at before any run of a race begins: whether each can be trained, alike, and how long it may take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rnnbptt.errors import UserError, check_option
from rnnbptt.model.precision import choose_precision
from rnnbptt.study.race.config import Arm, Cell, RaceConfig
from rnnbptt.study.race.folder import Race
from rnnbptt.study.race.grid import SHARE
from rnnbptt.study.race.tuning import first_trials
from rnnbptt.training.course import Course
from rnnbptt.training.loop import Trainer
from rnnbptt.training.starting import RunConfig, engine_of, fresh, set_up_torch
from rnnbptt.truncation.plan import Progress

MOMENTS = 20  # of a run, at which its plans are looked at
# Seconds: what an update takes beside its arithmetic, and an operation. Rough: only their order counts.
UPDATE = {"torch": 5e-4, "compiled": 1e-5}
OPERATION = 3e-11


@dataclass(frozen=True)
class Prospect:
    """What is known of a race beforehand.

    seconds  that a run of each arm may take, by label; rough
    course   of a run of the reference
    notes    what to know
    """

    seconds: dict[str, float]
    course: Course
    notes: tuple[str, ...]


def alike(config: RaceConfig) -> tuple[RaceConfig, list[str]]:
    """The race with one engine and precision for all of its runs, and what there is to say of that.

    Where one of them cannot be computed by the compiled engine, or is faster without it, torch computes all: the two
    round otherwise, and differ in speed for reasons that have nothing to do with truncation. UserError where one cannot
    be computed by the engine that was asked for.
    """
    choices = [engine_of(_as_run(config, arm)) for arm in config.contestants]
    engines = [choice.engine for choice in choices]
    engine = engines[0] if len(set(engines)) == 1 else "torch"
    notes = list(dict.fromkeys(choice.note for choice in choices if choice.note))
    if len(set(engines)) > 1 and not notes:
        able = next(arm.label for arm, each in zip(config.contestants, engines, strict=True) if each == "torch")
        notes.append(f"all are computed by --engine torch: {able} would not be by the compiled one")
    return replace(config, engine=engine, precision=_precision(config, engine)), notes


def _precision(config: RaceConfig, engine: str) -> str:
    """By name: what "auto" means is not to depend on where a race goes on."""
    if engine == "compiled":
        return "float32"
    return str(choose_precision(config.precision, torch.device("cpu")).operand).removeprefix("torch.")


def _as_run(config: RaceConfig, arm: Arm) -> RunConfig:
    return RunConfig([], Path(), arm.train, arm.model, precision=config.precision, engine=config.engine)


def look_over(race: Race) -> Prospect:
    """Make the first run of each arm, without training it. UserError where it cannot be."""
    set_up_torch(1)
    for part, why in (
        ("valid", "validation part, which chooses checkpoints"),
        ("test", "test part, which decides a race"),
    ):
        if not len(race.corpus.split(part)):
            split = race.corpus.options.split
            raise UserError(f"--split {split}: leaves no {why}; give it one, as 0.9/0.05/0.05")
    seconds: dict[str, float] = {}
    notes: dict[str, None] = {}
    courses: list[Course] = []
    for arm in race.config.arms:
        trainer = _trainer(race, arm.cells[0])
        _check_length(trainer)
        seconds[arm.label] = sum(_seconds(trainer)) / MOMENTS
        notes |= dict.fromkeys(trainer.notes)
        courses.append(trainer.course)
    for trial in {trial.arm: trial for trial in first_trials(race.config)}.values():
        _check_length(_trainer(race, trial), f" in tuning, on {SHARE:.0%} of the budget")
    return Prospect(seconds, courses[0], tuple(notes))


def compile_for(race: Race) -> None:
    """Compile what its runs call, or see that it is there: otherwise every process would do it at the same time."""
    for arm in race.config.contestants:
        _trainer(race, arm.cells[0]).engine.prepare()


def _trainer(race: Race, cell: Cell) -> Trainer:
    config = race.run_of(cell)
    return fresh(config, race.corpus, engine_of(config))


def _check_length(trainer: Trainer, where: str = "") -> None:
    """UserError where no update could be as long as the truncation says."""
    reach, room = trainer.strategy.reach, trainer.course.room(trainer.standing.axes)
    advice = (
        f"a stream has {room:,} characters to read{where}, fewer than an update takes in; give more text or budget,"
        " fewer --streams, or a shorter one"
    )
    check_option(not reach or reach <= room, "trunc", trainer.config.trunc, advice)


def _seconds(trainer: Trainer) -> Iterator[float]:
    """What a run would take if it went on all the way as it does at each of some moments."""
    budget, streams, engine = trainer.config.budget, trainer.config.streams, trainer.engine
    room = trainer.course.room(trainer.standing.axes)
    for moment in range(MOMENTS):
        plan = trainer.strategy.next(Progress(moment / MOMENTS, room))
        update = UPDATE[engine.name] + OPERATION * engine.flops(plan)
        chars = budget.chars(trainer.streams.epoch_chars)
        if chars is not None:
            yield update * chars / (plan.advance * streams)
        else:
            yield budget.amount * (60 if budget.unit == "minutes" else update)
