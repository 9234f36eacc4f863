"""What a truncation strategy is: asked for the next update, it says how many new characters are read and how the
gradient is cut.

A strategy is an immutable object. Nobody outside this folder knows one by its name: the training loop asks it for the
next `Plan`, and whoever needs to know something about it asks for a property of `Strategy`. What a strategy has to know
itself it reads from `Progress`, so that a resumed run goes on the same way. Parsing is in specs.py.
"""

import random
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What a strategy may look at.

    spent        share of the budget used, 0 to 1
    room         characters each stream can still read before the text wraps or the budget ends
    updates      optimizer steps so far
    seed         of the run
    validations  losses of the validations so far, nats per character, oldest first
    measured     the relative biases that plans asked for so far
    in_updates   whether the budget counts updates, each of which spends as much as any other
    """

    spent: float
    room: int
    updates: int = 0
    seed: int = 0
    validations: tuple[float, ...] = ()
    measured: tuple[float, ...] = ()
    in_updates: bool = False

    def rng(self, purpose: str) -> random.Random:
        """The random numbers of this update, others for each purpose: the same ones whenever they are asked for."""
        return random.Random(f"{self.seed}/{self.updates}/{purpose}")


@dataclass(frozen=True)
class Plan:
    """One update.

    advance   k1: new characters read in each stream
    depth     k2: how many characters a gradient goes back, at most
    carry     factors on the gradient at each step back (see recurrence.py), advance - 1 of them; None: 1 throughout
    reset     whether the state is set to zero first, before what is read once more
    rerun     characters before the new ones that are read once more, with the weights of now
    losses    how many of the new characters, the last ones, have a loss, which counts once; None: all
    hand_on   first, each stream takes the state of the stream so many before it
    scale     factor on the gradient
    lr_scale  factor on the learning rate
    measure   whether to measure what `carry` takes from the gradient of the later half of the new characters
    """

    advance: int
    depth: int
    carry: tuple[float, ...] | None = None
    reset: bool = False
    rerun: int = 0
    losses: int | None = None
    hand_on: int = 0
    scale: float = 1.0
    lr_scale: float = 1.0
    measure: bool = False

    @property
    def scored(self) -> int:
        """The new characters that have a loss."""
        return self.advance if self.losses is None else self.losses


def pieces(length: int, piece: int) -> tuple[float, ...]:
    """The `carry` of a plan that cuts its characters into pieces of equal length, counted from the last one back."""
    return tuple(float((length - 1 - t) % piece != 0) for t in range(length - 1))


class Strategy(ABC):
    """How back-propagation is cut.

    The hidden state is carried on from update to update, and beyond the cut the gradient takes it for a constant. Of
    strategies only one that `resets` sets it to zero, and one that `hands_on` gives it to another stream.
    """

    @property
    @abstractmethod
    def spec(self) -> str:
        """The `--trunc` that means this strategy."""

    @property
    def history(self) -> int:
        """The most characters before the new ones that it goes back to."""
        return 0

    @property
    def influence(self) -> str:
        """What carries credit past the cut: a name of influence.py, "none" for nothing."""
        return "none"

    @property
    def measures(self) -> bool:
        """Whether any of its plans asks for a measurement."""
        return False

    @property
    def steady(self) -> bool:
        """Whether two equal plans have only the same plan between them, where no validation comes in between."""
        return False

    @property
    def resets(self) -> bool:
        """Whether the state is set to zero before each update."""
        return False

    @property
    def hands_on(self) -> bool:
        """Whether each stream goes on from the state of another one, of which there must be one."""
        return False

    @property
    def needs_state(self) -> bool:
        """Whether it is about what goes back through the state, so that a model without one cannot follow it."""
        return self.influence != "none"

    @property
    def reach(self) -> int | None:
        """The characters, new or older ones, whichever are more, that an update takes in at the end of training: their
        mean where they are drawn, 0 where it takes whatever there is, None where that comes of training.
        """
        return max(self.longest(sys.maxsize), self.history)

    @abstractmethod
    def next(self, progress: Progress) -> Plan:
        """The next update, of at most `progress.room` characters. A pure function."""

    @abstractmethod
    def longest(self, room: int) -> int:
        """The most new characters that one update can hold where there are so many: memory must bear them."""
