"""The configuration of a training run: plain data, checked on construction, kept in the checkpoint.

No torch here: the command line takes its defaults from these classes, and its help must be instant.
"""

import math
import sys
from dataclasses import dataclass, field
from typing import Annotated

from annotated_doc import Doc

from rnnbptt.errors import UserError, check_option
from rnnbptt.training.records import Axes
from rnnbptt.truncation.plan import Strategy
from rnnbptt.truncation.specs import FORMS, parse_truncation

OPTIMIZER_NAMES = ("adam", "rmsprop", "sgd", "muon")
DECAYS = ("cosine", "linear")
UNITS = ("epochs", "chars", "updates", "minutes")
MOST = 1e15  # of any unit: more than that is not counted exactly
MOST_THREADS = 4096
STRONGEST = 1e6  # weight decay: long before, no weight is left


@dataclass(frozen=True)
class Budget:
    """Train for `amount` of `unit`: epochs, chars (of all streams together), updates, or minutes of training time."""

    unit: str = "epochs"
    amount: float = 3.5

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise UserError(f"a budget in {self.unit}: unknown; give it in {', '.join(UNITS)}")
        advice = f"must be a number above 0 and at most {MOST:g}"
        check_option(0 < self.amount <= MOST, self.unit, self.amount, advice)

    def __str__(self) -> str:
        """In words."""
        unit = self.unit.replace("chars", "characters")
        return f"{self.amount:,.10g} {unit if self.amount != 1 else unit[:-1]}"

    def chars(self, epoch_chars: int) -> int | None:
        """The budget in characters, or None where the unit does not tell."""
        per_unit = {"epochs": epoch_chars, "chars": 1}.get(self.unit)
        return None if per_unit is None else math.ceil(self.amount * per_unit)

    def spent(self, axes: Axes, epoch_chars: int) -> float:
        """The share of it that is used, 0 to 1."""
        if (chars := self.chars(epoch_chars)) is not None:
            return min(1.0, axes.chars / chars)
        return min(1.0, (axes.updates if self.unit == "updates" else axes.seconds / 60) / self.amount)


@dataclass(frozen=True)
class TrainConfig:
    """Everything about a training run but the model and the corpus: the `budget`, and the options of `train`.

    sgd has momentum 0.9. A horizon of `beta2_chars` means beta2 = exp(-characters / beta2_chars) for an update of so
    many characters. Clipped is the gradient of the mean loss. The 20 validations are at equal shares of the budget.
    """

    trunc: Annotated[
        str,
        Doc(
            "How back-propagation is cut. K: update after every K characters, through these K. A..B: K grows from"
            f" A to B by doubling. K1/K2: update every K1, through K2. All forms: {FORMS}."
        ),
    ] = "16..64"
    budget: Budget = field(default_factory=Budget)
    streams: Annotated[int, Doc("Places of the text read side by side; 1 is pure online learning.")] = 16
    reset_every: Annotated[
        int, Doc("Characters after which, in the mean, a stream's state is set to zero at random; 0: never.")
    ] = 0
    optimizer: Annotated[str, Doc("adam (AdamW), rmsprop, sgd, or muon: best with many characters an update.")] = "adam"
    lr: Annotated[float, Doc("Learning rate after the warm-up.")] = 6e-3
    warmup: Annotated[int, Doc("Characters over which it rises from 0.")] = 0
    decay: Annotated[str, Doc("How it falls over the budget: cosine or linear.")] = "cosine"
    final_lr: Annotated[float, Doc("Share of --lr where the decay ends; 1: no decay.")] = 0.01
    weight_decay: Annotated[float, Doc("Share of the weights, times --lr, taken off every 1,000 characters.")] = 0.1
    beta2: Annotated[float, Doc("Decay of the mean of squared gradients, per update.")] = 0.999
    beta2_chars: Annotated[float, Doc("Horizon of that mean in characters instead; 0: --beta2 holds.")] = 0.0
    clip: Annotated[float, Doc("Largest norm of the gradient; 0: no clipping.")] = 1.0
    seed: Annotated[int, Doc("Seed of weights, dropout, random truncations and resets.")] = 0
    eval_every: Annotated[int, Doc("Characters between validations; 0: 20 in all.")] = 0

    def __post_init__(self) -> None:
        strategy = parse_truncation(self.trunc)
        advice = f"there is no other stream to hand the state to, as --trunc {self.trunc} does; give at least 2"
        check_option(self.streams != 1 or not strategy.hands_on, "streams", self.streams, advice)
        if self.reset_every > 0:
            self._check_resets(strategy)
        known, advice = self.optimizer in OPTIMIZER_NAMES, f"unknown; give one of {', '.join(OPTIMIZER_NAMES)}"
        check_option(known, "optimizer", self.optimizer, advice)
        known, advice = self.decay in DECAYS, f"unknown; give one of {', '.join(DECAYS)}"
        check_option(known, "decay", self.decay, advice)
        check_option(0 < self.lr < math.inf, "lr", self.lr, "must be a number above 0")
        check_option(0 <= self.seed < 2**63, "seed", self.seed, "must be at least 0 and below 2^63")
        check_option(0 <= self.final_lr <= 1, "final_lr", self.final_lr, "must be between 0 and 1")
        check_option(0 <= self.beta2 < 1, "beta2", self.beta2, "must be at least 0 and below 1")
        most = dict.fromkeys(("warmup", "beta2_chars", "clip", "eval_every", "reset_every"), MOST)
        most["weight_decay"] = STRONGEST
        for name, limit in most.items():
            value = getattr(self, name)
            check_option(0 <= value <= limit, name, value, f"must be a number from 0 to {limit:g}")

    def _check_resets(self, strategy: Strategy) -> None:
        """They come between updates, so that those of long updates would be few, or all."""
        why, longest = "", strategy.longest(sys.maxsize)
        if strategy.resets:
            why = "sets every state to zero anyway"
        elif strategy.history:
            why = "keeps characters from before a reset"
        elif longest > self.reset_every:
            long = f"up to {longest:,} characters" if longest < sys.maxsize else "all there are"
            why = f"has updates of {long}, and states are set to zero only between them"
        advice = f"--trunc {self.trunc} {why}; leave it out, or give a plain K well below it"
        check_option(not why, "reset_every", self.reset_every, advice)

    def learning_rate(self, spent: float, chars: int) -> float:
        """The rate when the share `spent` of the budget is used and `chars` characters are read.

        Linear warm-up over `warmup` characters times the decay over the budget, from `lr` to `lr * final_lr`: half a
        cosine wave (Loshchilov & Hutter 2017), or a straight line.
        """
        left = 1 - spent if self.decay == "linear" else (1 + math.cos(math.pi * spent)) / 2
        rise = min(1.0, (chars + 1) / self.warmup) if self.warmup else 1.0
        return self.lr * (self.final_lr + (1 - self.final_lr) * left) * rise
