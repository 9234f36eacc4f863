"""The course of a run: how much of its budget is used at a moment, what is due then, and how far it can read on.

A moment is given by the axes that the run stands at then: now, or after some more updates.
"""

from dataclasses import dataclass, replace

from rnnbptt.text.streams import Streams
from rnnbptt.training.config import TrainConfig
from rnnbptt.training.records import Axes, Standing
from rnnbptt.truncation.plan import Progress

VALIDATIONS = 20  # of a run, unless it says after how many characters
RECORDS_PER_VALIDATION = 10


@dataclass(frozen=True)
class Course:
    """Of a run with this configuration, which stands here in its streams.

    validation_chars  that a validation reads
    """

    config: TrainConfig
    streams: Streams
    standing: Standing
    validation_chars: int

    def later(self, updates: int, chars: int) -> Axes:
        """The moment after so many more updates of so many characters each."""
        axes = self.standing.axes
        return replace(axes, chars=axes.chars + updates * chars, updates=axes.updates + updates)

    def spent(self, axes: Axes) -> float:
        """The share of the budget that is used, 0 to 1."""
        return self.config.budget.spent(axes, self.streams.epoch_chars)

    def validations_due(self, axes: Axes) -> float:
        """How many validations should have been made."""
        every = self.config.eval_every
        return axes.chars / every if every else VALIDATIONS * self.spent(axes)

    def records_due(self, axes: Axes) -> int:
        """How many train records should have been made."""
        return int(self.validations_due(axes) * RECORDS_PER_VALIDATION)

    def affords_validation(self) -> bool:
        """Whether one more validation, now, leaves training with no less to read than all of them."""
        made = len(self.standing.validations.nats)
        return bool(self.config.eval_every) or (made + 1) * self.validation_chars <= self.standing.axes.chars

    @property
    def affordable_validations(self) -> int | None:
        """How many validations there will be before the last one where these are fewer than usual, because they would
        read more than training does; None: as many as usual, or the budget does not tell.
        """
        chars = self.config.budget.chars(self.streams.epoch_chars)
        if self.config.eval_every or chars is None or chars >= VALIDATIONS * self.validation_chars:
            return None
        return (VALIDATIONS - 1) * chars // (VALIDATIONS * self.validation_chars)

    def progress(self, axes: Axes) -> Progress:
        """What a strategy may look at, where no validation comes before."""
        standing = self.standing
        validations, measured = tuple(standing.validations.nats), tuple(standing.measured)
        in_updates, seed = self.config.budget.unit == "updates", self.config.seed
        return Progress(self.spent(axes), self.room(axes), axes.updates, seed, validations, measured, in_updates)

    def room(self, axes: Axes) -> int:
        """Characters a stream can read before one wraps or the budget ends."""
        chars, streams = self.config.budget.chars(self.streams.epoch_chars), self.config.streams
        room = self.streams.until_wrap() - (axes.chars - self.standing.axes.chars) // streams
        return room if chars is None else min(room, -(-(chars - axes.chars) // streams))
