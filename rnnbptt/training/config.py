"""The configuration of a model and of a training run: plain data, checked on construction, kept in the checkpoint.

No torch here: the command line takes its defaults from these classes, and its help must be instant.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from rnnbptt.errors import UserError
from rnnbptt.training.budget import Budget
from rnnbptt.truncation.specs import parse_truncation

CELL_NAMES = ("rnn", "gru", "lstm", "elstm")
WIDEST_WINDOW = 256
LARGEST = 2_000_000  # of units, layers and symbols: there are 1,114,112 Unicode characters
OPTIMIZER_NAMES = ("adam", "rmsprop", "sgd")


@dataclass(frozen=True)
class ModelConfig:
    """What fixes the shapes of a model.

    vocabulary  number of symbols, V
    cell        "rnn" (tanh), "gru", "lstm", "elstm" (element-wise), or "window:N": no recurrence, a feed-forward
                network on the last N characters
    hidden      units of each layer, H
    layers      stacked layers, L
    dropout     probability of dropping each unit between layers and before the output, in training only
    """

    vocabulary: int
    cell: str = "lstm"
    hidden: int = 512
    layers: int = 1
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if self.cell not in CELL_NAMES and not re.fullmatch("window:(0|[1-9][0-9]{0,8})", self.cell):
            raise UserError(f"--cell {self.cell}: unknown; give one of {', '.join(CELL_NAMES)}, window:N")
        if self.cell not in CELL_NAMES and not 1 <= self.window <= WIDEST_WINDOW:
            raise UserError(f"--cell {self.cell}: a window has 1 to {WIDEST_WINDOW} characters; give window:2, say")
        for name in ("vocabulary", "hidden", "layers"):
            if not 1 <= getattr(self, name) <= LARGEST:
                raise UserError(f"--{name} {getattr(self, name)}: must be between 1 and {LARGEST:,}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"--dropout {self.dropout:g}: must be at least 0 and below 1")

    @property
    def window(self) -> int:
        """N of "window:N"; 0: the network is recurrent."""
        kind, _, size = self.cell.partition(":")
        return int(size) if kind == "window" else 0


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

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> TrainConfig:
        """The configuration a checkpoint holds."""
        return cls(**{**document, "budget": Budget(**document["budget"])})
