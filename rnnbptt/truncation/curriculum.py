"""Strategies that follow one another in the course of a run: the rungs of a curriculum, and how they are laid out."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

from rnnbptt.truncation.plan import Plan, Progress, Strategy

FINAL_SHARE = 0.4  # of the budget that the last rung of a curriculum gets, at least


@dataclass(frozen=True)
class Curriculum(Strategy):
    """Several strategies of one kind, `rungs`, from the first to the last; `growth` is a name of GROWTHS."""

    rungs: tuple[Strategy, ...]
    growth: str = "doubling"

    @property
    def spec(self) -> str:
        """Its ends, and how it gets from one to the other."""
        suffix = "" if self.growth == "doubling" else f"@{self.growth}"
        return f"{self.rungs[0].spec}..{self.rungs[-1].spec}{suffix}"

    @property
    def history(self) -> int:
        """The longest of any rung."""
        return max(rung.history for rung in self.rungs)

    @property
    def influence(self) -> str:
        """That of every rung."""
        return self.rungs[0].influence

    @property
    def resets(self) -> bool:
        """As every rung does."""
        return self.rungs[0].resets

    @property
    def hands_on(self) -> bool:
        """As every rung does."""
        return self.rungs[0].hands_on

    @property
    def needs_state(self) -> bool:
        """As soon as a rung does."""
        return any(rung.needs_state for rung in self.rungs)

    def longest(self, room: int) -> int:
        """The longest of any rung."""
        return max(rung.longest(room) for rung in self.rungs)


class Progressive(Curriculum):
    """One rung after another.

    "doubling": each rung for the same share of the budget, except that the last has at least 40 % of it, so that runs
    which end alike are compared alike. "linear": the same, over all lengths in between. "plateau": one rung on whenever
    a validation improves on the best so far by less than 0.01 nats; from 60 % of the budget on, the last in any case.
    """

    min_gain = 0.01

    @property
    def steady(self) -> bool:
        """It goes on from rung to rung, and never back."""
        return all(rung.steady for rung in self.rungs)

    @property
    def reach(self) -> int | None:
        """That of the last rung, which it ends with."""
        return self.rungs[-1].reach

    def next(self, progress: Progress) -> Plan:
        """Of the rung that is reached by the share of the budget spent, or by the validations that have stalled."""
        last = len(self.rungs) - 1
        reached = self._stalls(progress) if self.growth == "plateau" else self._shares(progress, last)
        return self.rungs[min(reached, last)].next(progress)

    def _shares(self, progress: Progress, last: int) -> int:
        share = min(1 - FINAL_SHARE, last / (last + 1))
        return int(progress.spent / share * last) if last else 0

    def _stalls(self, progress: Progress) -> int:
        if progress.spent >= 1 - FINAL_SHARE:
            return len(self.rungs)
        best, stalls = math.inf, 0
        for loss in progress.validations:
            stalls += loss > best - self.min_gain
            best = min(best, loss)
        return stalls


class Shuffled(Curriculum):
    """The control of a curriculum of fixed lengths: the same ones, each with the same share of the budget, but in
    random order. Of a budget in minutes the share is one of the characters: how long an update takes is not known
    before.
    """

    @property
    def spec(self) -> str:
        """That of the curriculum, marked as shuffled."""
        return f"shuffle({super().spec})"

    def next(self, progress: Progress) -> Plan:
        """Of any rung, each as often as its share of the budget wants."""
        last = len(self.rungs) - 1
        final = max(FINAL_SHARE, 1 / (last + 1))
        shares = [(1 - final) / last] * last + [final] if last else [1.0]
        if not progress.in_updates:  # an update of a long rung spends more, so it must come less often
            shares = [share / rung.longest(sys.maxsize) for share, rung in zip(shares, self.rungs, strict=True)]
        return progress.rng("rung").choices(self.rungs, shares)[0].next(progress)


def ladder(first: int, last: int) -> tuple[int, ...]:
    """first, 2 first, 4 first, ..., last; downwards when last is below first."""
    low, high = sorted((first, last))
    rungs = (*(low << rung for rung in range(math.ceil(math.log2(high / low)))), high)
    return rungs if first <= last else rungs[::-1]


def line(first: int, last: int) -> tuple[int, ...]:
    """first, first + 1, ..., last, or down to it; where that is more than 1,000 rungs, 1,000 at even distances."""
    rungs = min(abs(last - first) + 1, 1000)
    return tuple(first + round((last - first) * rung / max(1, rungs - 1)) for rung in range(rungs))


GROWTHS: dict[str, Callable[[int, int], tuple[int, ...]]] = {"doubling": ladder, "linear": line, "plateau": ladder}
