"""Truncation strategies: how many new characters the next update reads, and how far back it propagates.

A strategy is an immutable object. The training loop asks it for the next `Plan` and knows no strategy by name; what a
strategy needs to know, it reads from `Progress`. The state is always carried from update to update and cut from the
gradient, never reset.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from rnnbptt.errors import UserError

FORMS = "K (such as 1 or 64), A..B (such as 1..64, also 1..64@linear or 1..64@plateau), full"


@dataclass(frozen=True)
class Progress:
    """What a strategy may look at.

    spent        share of the budget used, 0 to 1
    until_wrap   characters each stream still has before one reaches the end of the training text
    validations  losses of the validations so far, nats per character, oldest first
    """

    spent: float
    until_wrap: int
    validations: tuple[float, ...] = ()


@dataclass(frozen=True)
class Plan:
    """One update: read `advance` new characters in each stream, and back-propagate through these."""

    advance: int


class Strategy(Protocol):
    """How back-propagation is cut."""

    @property
    def spec(self) -> str:
        """The `--trunc` that means this strategy."""

    @property
    def final(self) -> Strategy:
        """The strategy it ends as; a strategy that does not change is its own."""

    def next(self, progress: Progress) -> Plan:
        """The next update. A pure function of progress: a resumed run continues the same way."""

    def longest(self, until_wrap: int) -> int:
        """The most characters one update can hold, which memory must bear."""


@dataclass(frozen=True)
class Fixed:
    """Update every k characters and back-propagate through just these (k1 = k2 = k); k = 1: after every character."""

    k: int

    @property
    def spec(self) -> str:
        return str(self.k)

    @property
    def final(self) -> Strategy:
        return self

    def next(self, progress: Progress) -> Plan:
        return Plan(self.k)

    def longest(self, until_wrap: int) -> int:
        return min(self.k, until_wrap)


@dataclass(frozen=True)
class Full:
    """Never cut inside the training text: one update each time the streams have read all they can without a wrap."""

    spec: ClassVar[str] = "full"

    @property
    def final(self) -> Strategy:
        return self

    def next(self, progress: Progress) -> Plan:
        return Plan(progress.until_wrap)

    def longest(self, until_wrap: int) -> int:
        return until_wrap


FINAL_SHARE = 0.4  # of the budget that a progressive strategy spends at its last rung, at least


@dataclass(frozen=True)
class Progressive:
    """Grow k from `first` to `last`.

    "doubling": the rungs first, 2 first, 4 first, ..., last, each for the same share of the budget, except that the
    last has at least 40 % of it, so that runs which end at the same k are compared at that k.
    "linear": k grows by equal steps over the first 60 % of the budget.
    "plateau": one rung of the doubling ladder up whenever a validation improves on the best so far by less than 0.01
    nats; from 60 % of the budget on, the last rung in any case.
    """

    first: int
    last: int
    growth: str = "doubling"

    min_gain: ClassVar[float] = 0.01

    @property
    def spec(self) -> str:
        suffix = "" if self.growth == "doubling" else f"@{self.growth}"
        return f"{self.first}..{self.last}{suffix}"

    @property
    def final(self) -> Strategy:
        return Fixed(self.last)

    @property
    def ladder(self) -> tuple[int, ...]:
        """first, 2 first, 4 first, ... below last, then last."""
        rungs = math.ceil(math.log2(self.last / self.first))
        return (*(self.first << rung for rung in range(rungs)), self.last)

    def next(self, progress: Progress) -> Plan:
        k = _GROWTH[self.growth](self, progress)
        return Plan(k)

    def longest(self, until_wrap: int) -> int:
        return min(self.last, until_wrap)

    def by_doubling(self, progress: Progress) -> int:
        """The rung at this share of the budget."""
        *below, last = self.ladder
        share = min(1 - FINAL_SHARE, len(below) / (len(below) + 1))
        rung = int(progress.spent / share * len(below)) if below else 0
        return self.ladder[rung] if rung < len(below) else last

    def by_line(self, progress: Progress) -> int:
        """k on the straight line from first to last; each k for the same share."""
        k = self.first + int(progress.spent / (1 - FINAL_SHARE) * (self.last - self.first + 1))
        return min(k, self.last)

    def by_plateau(self, progress: Progress) -> int:
        """The rung after all the stalls so far."""
        if progress.spent >= 1 - FINAL_SHARE:
            return self.last
        best, stalls = math.inf, 0
        for loss in progress.validations:
            stalls += loss > best - self.min_gain
            best = min(best, loss)
        return self.ladder[min(stalls, len(self.ladder) - 1)]


_GROWTH: dict[str, Callable[[Progressive, Progress], int]] = {
    "doubling": Progressive.by_doubling,
    "linear": Progressive.by_line,
    "plateau": Progressive.by_plateau,
}


def parse_truncation(spec: str) -> Strategy:
    """The strategy a `--trunc` names; UserError for anything else."""
    if spec == "full":
        return Full()
    if re.fullmatch(r"[0-9]{1,9}", spec):
        return Fixed(_length(spec, spec))
    if match := re.fullmatch(r"([0-9]{1,9})\.\.([0-9]{1,9})(?:@([a-z]+))?", spec):
        first, last, growth = _length(match[1], spec), _length(match[2], spec), match[3] or "doubling"
        if growth not in _GROWTH:
            raise UserError(f"--trunc {spec}: unknown growth @{growth}; give one of @{', @'.join(_GROWTH)}")
        if first > last:
            raise UserError(f"--trunc {spec}: it must not shrink; give {last}..{first} or the fixed {last}")
        return Progressive(first, last, growth)
    raise UserError(f"--trunc {spec!r}: not a truncation; give one of {FORMS}")


def _length(digits: str, spec: str) -> int:
    if int(digits) < 1:
        raise UserError(f"--trunc {spec}: at least 1 character is read for an update; give 1 or more")
    return int(digits)
