"""Tuning: before the race, a learning rate for each contestant, by runs that decide nothing else.

They have a seed of their own, for a rate must not be chosen by the runs that are judged then, and a share of the
budget, to which the schedules are stretched. They lie in `tuning/`, below the folder of the race.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rnnbptt.inference.evaluation import LN2
from rnnbptt.study.race.config import Arm, Cell, RaceConfig
from rnnbptt.study.race.folder import NAME, Race
from rnnbptt.study.race.grid import Scores, explore, share_of, tuned
from rnnbptt.study.race.work import check_saved
from rnnbptt.training.checkpoint import load_checkpoint
from rnnbptt.training.config import TrainConfig
from rnnbptt.training.folder import RunFolder


@dataclass(frozen=True)
class Trial(Cell):
    """A run of tuning."""

    lr: float

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.arm.label}, lr {self.lr!r}"

    @property
    def place(self) -> str:
        """Its folder, below that of the race."""
        return f"tuning/{self.arm.name}/lr-{self.lr!r}"

    @property
    def train(self) -> TrainConfig:
        """As it is trained."""
        return replace(super().train, lr=self.lr, budget=share_of(self.arm.train.budget))


def first_trials(config: RaceConfig) -> tuple[Trial, ...]:
    """Those that are run in any case; none where nothing is tuned, or all is."""
    return () if config.tuning else tuple(_trial(config, arm, lr) for arm in config.contestants for lr in config.grid)


def _trial(config: RaceConfig, arm: Arm, lr: float) -> Trial:
    return Trial(arm, config.tuning_seed, lr)


def rounds(race: Race, stop: Callable[[], bool]) -> Iterator[list[str]]:
    """Before each round, with what there is to say of it: those of tuning, each with the open runs of all contestants,
    and then the race. It ends when nothing is open, or `stop()` says so.
    """
    while True:
        notes = advance(race)
        if not race.open or stop():
            return
        yield notes


def advance(race: Race) -> list[str]:
    """Let the race know which runs are next, as its finished ones show: more of tuning, or, once each contestant has
    its learning rate, which race.json keeps, those of the race. Returns what to say of it.

    A trial that has failed keeps its contestant from a rate, and the race from its beginning, until it is mended.
    """
    config = race.config
    if config.tuning or not config.grid:
        return []
    searches = [(arm, *explore(config.grid, config.candidates, _scores(race, arm))) for arm in config.contestants]
    if any(lacking for _, _, lacking in searches):
        tried = [(arm, lr) for arm, found, lacking in searches for lr in sorted([*found, *lacking])]
        race.trials = tuple(_trial(config, arm, lr) for arm, lr in tried)
        beyond = [(arm, lr) for arm, _, lacking in searches for lr in lacking if lr not in config.grid]
        return [f"{arm.label}: the best learning rate lies at the edge; {lr!r} is tried, too" for arm, lr in beyond]
    race.config = replace(config, tuning=tuple(tuned(arm.label, found) for arm, found, _ in searches))
    race.trials = ()
    race.write(race.folder / NAME)
    return [f"learning rates: {', '.join(f'{each.chosen!r} for {each.label}' for each in race.config.tuning)}"]


def _scores(race: Race, arm: Arm) -> Scores:
    """Of the trials that have ended. UserError where one cannot be read, or has become another run."""
    trials = [_trial(race.config, arm, lr) for lr in race.config.candidates]
    ended = [(trial, outcome.state) for trial in trials if (outcome := race.outcome(trial)) and outcome.final]
    for trial, _ in ended:
        check_saved(race.run_of(trial))
    return {
        trial.lr: best_validation(RunFolder(race.folder / trial.place)) if state == "done" else None
        for trial, state in ended
    }


def best_validation(folder: RunFolder) -> float:
    """Bits per character, of a run that is finished."""
    return min(load_checkpoint(folder.last).document.standing.validations.nats) / LN2
