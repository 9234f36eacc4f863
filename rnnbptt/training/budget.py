"""How long to train."""

import math
from dataclasses import dataclass

from rnnbptt.errors import UserError, check_option
from rnnbptt.training.records import Axes

UNITS = ("epochs", "chars", "updates", "minutes")
MOST = 1e15  # of any unit: more than that is not counted exactly


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

    def chars(self, epoch_chars: int) -> int | None:
        """The budget in characters, or None where the unit does not tell."""
        per_unit = {"epochs": epoch_chars, "chars": 1}.get(self.unit)
        return None if per_unit is None else math.ceil(self.amount * per_unit)

    def spent(self, axes: Axes, epoch_chars: int) -> float:
        """The share of it that is used, 0 to 1."""
        if (chars := self.chars(epoch_chars)) is not None:
            return min(1.0, axes.chars / chars)
        return min(1.0, (axes.updates if self.unit == "updates" else axes.seconds / 60) / self.amount)
