"""Which runs a race has: truncations, seeds and what else is varied. Plain data, checked on construction, kept in
race.json. No torch here: what is wrong with it is to be said at once.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

from rnnbptt.errors import UserError, check_option
from rnnbptt.model.config import ModelConfig
from rnnbptt.study.race.grid import EXTENSIONS, MOST_RATES, SHARE, Tuned, centred, share_of
from rnnbptt.study.race.seeds import too_few
from rnnbptt.study.race.varied import VARIED, check_effective, check_values, contestant, one_spelling, spelled, worded
from rnnbptt.text.options import TextOptions
from rnnbptt.training.config import TrainConfig

MOST_SEEDS = 1000


@dataclass(frozen=True)
class Arm:
    """One contestant: a truncation, with what else is varied, and its seeds.

    label  in words, which no other arm has
    train  with the first of its seeds
    """

    label: str
    train: TrainConfig
    model: ModelConfig
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """The label in letters that any file system bears."""
        return re.sub("[/: ]", "-", self.label)

    @property
    def cells(self) -> tuple["Cell", ...]:
        """Its runs."""
        return tuple(Cell(self, seed) for seed in self.seeds)


@dataclass(frozen=True)
class Cell:
    """One run of a race."""

    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.arm.label}, seed {self.seed}"

    @property
    def train(self) -> TrainConfig:
        """As it is trained."""
        return replace(self.arm.train, seed=self.seed)

    @property
    def place(self) -> str:
        """Its folder, below that of the race."""
        return f"{self.arm.name}/seed-{self.seed}"


@dataclass(frozen=True)
class RaceConfig:
    """What is raced.

    truncs     the first is the reference; each may have settings of its own, see varied.py
    seeds      of each arm; the first is that of `train`
    vary       values, as text, of more options: every truncation runs with every combination of them
    train      what all have in common; its truncation is that of none
    model      of any vocabulary
    precision  auto, float32, bfloat16 or float64
    engine     auto, torch or compiled
    tune       learning rates around that of `train`, from which each contestant is given its best first; 0: none
    rates      such rates themselves, from the lowest to the highest
    tuning     what they have shown, once they have
    """

    truncs: tuple[str, ...]
    seeds: int = 7
    vary: dict[str, tuple[str, ...]] = field(default_factory=dict)
    train: TrainConfig = field(default_factory=TrainConfig)
    model: ModelConfig = field(default=ModelConfig(vocabulary=1))
    text: TextOptions = field(default_factory=TextOptions)
    precision: str = "auto"
    engine: str = "auto"
    tune: int = 0
    rates: tuple[float, ...] = ()
    tuning: tuple[Tuned, ...] = ()

    def __post_init__(self) -> None:
        check_option(1 <= self.seeds <= MOST_SEEDS, "seeds", self.seeds, f"must be between 1 and {MOST_SEEDS:,}")
        for number, trunc in enumerate(self.truncs):
            same = [other for other in self.truncs[:number] if one_spelling(other) == one_spelling(trunc)]
            check_option(not same, "trunc", trunc, f"the same as --trunc {' '.join(same)}; give each of them once")
            self._check_own(trunc)
        for name, values in self.vary.items():
            check_values(name, values)
        contestants = self.contestants
        for number, arm in enumerate(contestants):
            same = [
                other.label for other in contestants[:number] if (other.train, other.model) == (arm.train, arm.model)
            ]
            check_option(not same, "trunc", arm.label, f"the same as {' '.join(same)}; give each of them once")
        if len(contestants) < 2:
            raise UserError("a race is of two or more; give --trunc more than once, or once and --vary NAME=A,B")
        replace(self.train, seed=self.tuning_seed - (not self.grid))  # the last one must be a seed, too
        self._check_rates()

    def _check_own(self, trunc: str) -> None:
        for name in contestant(trunc)[1]:
            twice = name in self.vary or (name == "lr" and self.grid)
            by = "--vary" if name in self.vary else "--tune or --lr"
            check_option(not twice, "trunc", trunc, f"has {worded(name)} of its own, and {by} gives it others")

    def _check_rates(self) -> None:
        advice = f"must be between 2 and {MOST_RATES}, or 0 for one rate that serves all"
        check_option(self.tune == 0 or 2 <= self.tune <= MOST_RATES, "tune", self.tune, advice)
        advice = f"--lr gives {len(self.rates)} learning rates to choose from; give one, or leave --tune out"
        check_option(not (self.tune and self.rates), "tune", self.tune, advice)
        advice = "these race, and --tune chooses from such rates; give one of the two"
        check_option(not (self.grid and "lr" in self.vary), "vary", f"lr={','.join(self.vary.get('lr', ()))}", advice)
        for number, rate in enumerate(self.rates):
            check_option(rate not in self.rates[:number], "lr", rate, "given twice; give each of them once")
        for rate in self.candidates:
            replace(self.train, lr=rate)

    @property
    def grid(self) -> tuple[float, ...]:
        """The learning rates that tuning begins with; none where nothing is tuned."""
        return self.rates or centred(self.train.lr, self.tune)

    @property
    def candidates(self) -> tuple[float, ...]:
        """Those that it may come to. A grid that was given stays as it is."""
        return self.rates or centred(self.train.lr, self.tune and self.tune + 2 * EXTENSIONS)

    @property
    def tuning_seed(self) -> int:
        """One that no run of the race has: a rate that suits a seed by chance would flatter it there."""
        return self.train.seed + 2 * self.seeds

    @property
    def contestants(self) -> tuple[Arm, ...]:
        """The reference, and those that are compared with it. All have the same seeds: equal ones begin with the same
        weights and read the same text in the same order, whatever their truncation, for the weights are drawn from the
        seed and their shape alone. Which units dropout leaves out comes of the seed too, but of the truncation as well.
        """
        seeds = tuple(range(self.train.seed, self.train.seed + self.seeds))
        combinations = [dict(zip(self.vary, values, strict=True)) for values in product(*self.vary.values())]
        named = map(contestant, self.truncs)
        return tuple(self._arm(spec, own | varied, seeds) for spec, own in named for varied in combinations)

    @property
    def again(self) -> Arm:
        """A/A: the reference once more, with other seeds. What differs between the two is luck."""
        reference = self.contestants[0]
        seeds = tuple(seed + self.seeds for seed in reference.seeds)
        label = f"{reference.label} again"
        return replace(reference, label=label, train=replace(reference.train, seed=seeds[0]), seeds=seeds)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All: the reference first, and itself again last."""
        return (*self.contestants, self.again)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All runs, by arm and seed."""
        return tuple(cell for arm in self.arms for cell in arm.cells)

    def _arm(self, spec: str, varied: Mapping[str, str], seeds: tuple[int, ...]) -> Arm:
        """UserError where a value is not allowed."""
        values = {name: VARIED[name](value) for name, value in varied.items()}
        of_model = {name: value for name, value in values.items() if name in ModelConfig.__dataclass_fields__}
        label = " ".join([spec, *(f"{worded(name)}={value}" for name, value in varied.items())])
        chosen = {each.label: each.chosen for each in self.tuning}
        of_training: dict[str, Any] = {"lr": chosen.get(label, self.train.lr)}
        of_training |= {name: value for name, value in values.items() if name not in of_model}
        train = replace(self.train, trunc=spec, **of_training)
        check_effective(label, values, train.optimizer, train.final_lr)
        return Arm(label, train, replace(self.model, **of_model), tuple(seeds))

    def settings(self) -> dict[str, Any]:
        """All of it, by the names of the options."""
        common = {
            each.name: getattr(config, each.name)
            for config in (self.text, self.model, self.train)
            for each in fields(config)
            if each.name not in ("vocabulary", "budget")
        }
        own = {"trunc": tuple(map(one_spelling, self.truncs)), "vary": spelled(self.vary), "seeds": self.seeds}
        own |= {"lr": self.rates or (self.train.lr,), "tune": self.tune}
        return common | own | {"precision": self.precision, "engine": self.engine}

    def remarks(self) -> Iterator[str]:
        """What cannot be found out in this way."""
        yield from too_few(self.seeds, len(self.contestants) - 1, "a difference", "comparison")
        if self.grid:
            rates = f"{len(self.grid)} learning rates from {self.grid[0]!r} to {self.grid[-1]!r}"
            share = f"{share_of(self.train.budget)}, {SHARE:.0%} of the budget"
            yield f"first each is given the best of {rates}, by seed {self.tuning_seed} on {share}"
        if self.train.budget.unit == "minutes":
            yield (
                "a budget of minutes gives runs as much text as they come to beside the others at work; give --chars or"
                " --epochs for a race that comes out the same again"
            )
