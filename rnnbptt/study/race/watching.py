"""How far the runs of a race have come, as their records tell: wherever and by whomever they are trained."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnbptt.study.race.checking import Prospect
from rnnbptt.study.race.config import Arm, Cell
from rnnbptt.study.race.folder import Race
from rnnbptt.training.config import Budget
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.records import Axes, Record


@dataclass
class Watched:
    """What is known of a run.

    spent    share of its budget, 0 to 1
    seconds  of training, for that share
    speed    characters a second, of late
    best     bits per character, the best validation so far; None before the first
    """

    spent: float = 0.0
    seconds: float = 0.0
    speed: float = 0.0
    best: float | None = None


class Watch:
    """Reads the records of a run as they come."""

    def __init__(self, folder: Path, budget: Budget, epoch_chars: int) -> None:
        self._path, self._budget, self._epoch_chars = RunFolder(folder).metrics, budget, epoch_chars
        self._read = 0
        self.run = Watched()

    def look(self) -> Watched:
        """What is known by now."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._read:  # what was recorded after the last checkpoint has been dropped
                    self._read, self.run = 0, Watched()
                file.seek(self._read)
                lines = file.read()
        except OSError:
            return self.run
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue  # a line that was being written anew; the next one tells as much
        return self.run

    def _take(self, record: Record) -> None:
        axes = Axes(record["chars"], record["updates"], record["seconds"])
        self.run.spent, self.run.seconds = self._budget.spent(axes, self._epoch_chars), axes.seconds
        if record["kind"] == "train":
            self.run.speed = record["chars_per_second"]
        elif self.run.best is None or record["bpc"] < self.run.best:
            self.run.best = record["bpc"]


@dataclass(frozen=True)
class ArmView:
    """What is known of an arm.

    ended   of its runs: done, diverged, failed
    spent   share of all its runs, 0 to 1
    bpc     bits per character, the mean over runs of the best so far, in tuning the best of all; None before any
    speed   characters a second, the mean of what its runs had of late; None before any record
    """

    arm: Arm
    ended: dict[str, int]
    spent: float
    bpc: float | None
    speed: float | None


class Overview:
    """How far a race has come, and how long it may still take."""

    def __init__(self, race: Race, prospect: Prospect) -> None:
        self._race, self._prospect = race, prospect
        chars = prospect.course.streams.epoch_chars
        self._watches = {cell: Watch(race.folder / cell.place, cell.train.budget, chars) for cell in race.cells}
        self._cells: dict[Arm, list[Cell]] = {}
        for cell in race.cells:
            self._cells.setdefault(cell.arm, []).append(cell)
        self._over_runs = min if race.trials else statistics.fmean  # of learning rates, only the best one counts
        self._seconds = sum(run.seconds for run in self._runs())
        self._started = time.monotonic()

    def run(self, cell: Cell) -> Watched:
        """What is known of a run by now."""
        return self._watches[cell].look()

    def _runs(self, arm: Arm | None = None) -> list[Watched]:
        return [watch.look() for cell, watch in self._watches.items() if arm is None or cell.arm == arm]

    def arms(self) -> list[ArmView]:
        """All that have runs, in their order."""
        return [self._view(arm) for arm in self._cells]

    def _view(self, arm: Arm) -> ArmView:
        runs = self._runs(arm)
        states = [outcome.state for cell in self._cells[arm] if (outcome := self._race.outcome(cell))]
        bests = [run.best for run in runs if run.best is not None]
        speeds = [run.speed for run in runs if run.speed]
        return ArmView(
            arm,
            {state: states.count(state) for state in ("done", "diverged", "failed")},
            statistics.fmean(self._spent(arm, runs)),
            self._over_runs(bests) if bests else None,
            statistics.fmean(speeds) if speeds else None,
        )

    def _spent(self, arm: Arm, runs: Sequence[Watched]) -> list[float]:
        """Of each run; one that has ended before its time has nothing left to do."""
        ended = [self._race.outcome(cell) is not None for cell in self._cells[arm]]
        return [1.0 if over else run.spent for over, run in zip(ended, runs, strict=True)]

    def left(self) -> float | None:
        """Seconds that the rest will take, at the pace since this was made; None as long as that cannot be told."""
        elapsed = time.monotonic() - self._started
        trained = sum(run.seconds for run in self._runs()) - self._seconds
        whole = self._whole()
        if trained <= 0 or not whole:
            return None
        rest = sum(whole[arm.label] * (1 - spent) for arm in self._cells for spent in self._spent(arm, self._runs(arm)))
        return elapsed * rest / trained

    def _whole(self) -> dict[str, float]:
        """Seconds of training of a whole run of each arm: as measured, or else in proportion to what was foreseen."""
        measured: dict[str, float] = {}
        for arm in self._cells:
            runs = self._runs(arm)
            if spent := sum(run.spent for run in runs):
                measured[arm.label] = sum(run.seconds for run in runs) / spent
        foreseen = self._prospect.seconds
        known = sum(foreseen[label] for label in measured)
        scale = sum(measured.values()) / known if known else 0.0
        return {label: measured.get(label, scale * seconds) for label, seconds in foreseen.items()} if known else {}
