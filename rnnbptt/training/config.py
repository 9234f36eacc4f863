"""The configuration of a training run: plain data, checked on construction, kept in the checkpoint.

No torch here: the command line takes its defaults from this class, and its help must be instant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rnnbptt.errors import UserError
from rnnbptt.training.budget import Budget
from rnnbptt.truncation.specs import parse_truncation

OPTIMIZER_NAMES = ("adam", "rmsprop", "sgd")


@dataclass(frozen=True)
class TrainConfig:
    """Everything about a training run but the model and the corpus.

    trunc         truncation, see specs.py
    budget        how long
    streams       lanes of the training text read side by side, B
    optimizer     "adam" (AdamW), "rmsprop" or "sgd" (momentum 0.9)
    lr            learning rate after the warm-up
    warmup        characters over which it rises from 0
    final_lr      share of lr that the cosine decay ends at; 1: no decay
    weight_decay  share of the weights, times the learning rate, that is taken off every 1,000 characters; 0: none
    beta2         decay of the optimizer's mean of squared gradients, per update
    beta2_chars   if above 0, the horizon of that mean in characters instead: beta2 = exp(-characters / beta2_chars)
    clip          largest norm of the gradient of the mean loss; 0: no clipping
    seed          of the initial weights, of the dropout masks, and of truncations that are random
    eval_every    characters between validations; 0: 20 validations, at equal shares of the budget
    """

    trunc: str = "16..64"
    budget: Budget = field(default_factory=Budget)
    streams: int = 16
    optimizer: str = "adam"
    lr: float = 6e-3
    warmup: int = 0
    final_lr: float = 0.01
    weight_decay: float = 0.1
    beta2: float = 0.999
    beta2_chars: float = 0.0
    clip: float = 1.0
    seed: int = 0
    eval_every: int = 0

    def __post_init__(self) -> None:
        parse_truncation(self.trunc)
        if self.optimizer not in OPTIMIZER_NAMES:
            raise UserError(f"--optimizer {self.optimizer}: unknown; give one of {', '.join(OPTIMIZER_NAMES)}")
        if not 0 < self.lr < math.inf:
            raise UserError(f"--lr {self.lr:g}: must be a number above 0")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed}: must be at least 0 and below 2^63")
        if not 0 <= self.final_lr <= 1:
            raise UserError(f"--final-lr {self.final_lr:g}: must be between 0 and 1")
        if not 0 <= self.beta2 < 1:
            raise UserError(f"--beta2 {self.beta2:g}: must be at least 0 and below 1")
        for name in ("warmup", "weight_decay", "beta2_chars", "clip", "eval_every"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name):g}: must be a number, 0 or more")
