"""What a race has found: plain values, to be shown, drawn or written as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnnbptt.study.race.crossings import Crossing, Reached
from rnnbptt.study.race.grid import Tuned
from rnnbptt.study.race.verdicts import Against
from rnnbptt.study.results import Yardstick

AXES = ("chars", "updates", "seconds", "flops")


@dataclass(frozen=True)
class Run:
    """One run: a strategy with a seed.

    axes  where each validation was made, on each of AXES
    bpc   its bits per character
    cost  of all of its training, on each of AXES
    test  bits per character of the test text by its best checkpoint; infinite where it diverged
    """

    seed: int
    folder: Path
    diverged: bool
    axes: Mapping[str, tuple[float, ...]]
    bpc: tuple[float, ...]
    cost: Mapping[str, float]
    test: float


@dataclass(frozen=True)
class Spread:
    """Over the runs of a strategy: mean and standard deviation, None where one diverged, and `sd` also for one run."""

    mean: float | None
    sd: float | None


@dataclass(frozen=True)
class Contestant:
    """A strategy with all its seeds.

    last, best  validation of each run, bits per character
    test        of the checkpoints chosen on validation
    cost        the mean over runs, on each of AXES
    against     the reference; None for the reference itself
    """

    label: str
    runs: tuple[Run, ...]
    last: Spread
    best: Spread
    test: Spread
    cost: Mapping[str, float]
    against: Against | None = None

    @property
    def diverged(self) -> int:
        """How many of its runs did."""
        return sum(run.diverged for run in self.runs)


@dataclass(frozen=True)
class Overtaking:
    """Where `second`, which is ahead of `first` at the end, came to be so, on an axis."""

    first: str
    second: str
    axis: str
    crossing: Crossing


@dataclass(frozen=True)
class Threshold:
    """When the runs of a strategy came down to so many bits per character, on each of AXES."""

    label: str
    bpc: float
    reached: Mapping[str, Reached]


Word = Literal["held", "not held", "not shown"]


@dataclass(frozen=True)
class Judgement:
    """What a race says of a claim, and the figures that it is taken from."""

    says: str
    word: Word
    figures: str


@dataclass(frozen=True)
class RaceResult:
    """The first of the contestants is the reference.

    again       the reference again, with other seeds: A/A, whose true difference is none
    split       what test figures are of: "test", or "valid" where the test split is empty
    characters  of that text
    yardsticks  what is reached without a network, on the validation split and on that one
    notes       what to know of the figures
    tuning      of the learning rates of each contestant, where they were tuned
    """

    text: str
    split: str
    characters: int
    contestants: tuple[Contestant, ...]
    again: Contestant
    overtakings: tuple[Overtaking, ...]
    thresholds: tuple[Threshold, ...]
    judgements: tuple[Judgement, ...]
    yardsticks: tuple[Yardstick, ...]
    notes: tuple[str, ...]
    tuning: tuple[Tuned, ...] = ()
