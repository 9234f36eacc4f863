"""Which learning rates tuning tries, one after the other, and what they have shown. Plain data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rnnbptt.training.config import Budget

STEP = 2.0  # from one rate to the next
MOST_RATES = 25
EXTENSIONS = 4  # rates beyond either end of a grid, at most
SHARE = 0.25  # of the budget of a run of the race, for one of tuning

Scores = Mapping[float, float | None]  # by rate: bits per character, the best validation; None where it diverged


@dataclass(frozen=True)
class Tuned:
    """What the learning rates of a contestant have shown.

    rates    from the lowest to the highest
    bpc      bits per character, the best validation of each; None where it diverged
    chosen   the rate of the best, of equal ones the lowest
    at_edge  whether that is the lowest or the highest, and a better one may lie beyond
    """

    label: str
    rates: tuple[float, ...]
    bpc: tuple[float | None, ...]
    chosen: float
    at_edge: bool


def centred(lr: float, number: int) -> tuple[float, ...]:
    """So many rates around this one; of an even number, one more lies below it than above."""
    return tuple(lr * STEP ** (place - number // 2) for place in range(number))


def share_of(budget: Budget) -> Budget:
    """What a run of tuning may spend."""
    amount = budget.amount * SHARE
    return replace(budget, amount=math.ceil(amount) if budget.unit in ("chars", "updates") else amount)


def explore(grid: Sequence[float], candidates: Sequence[float], known: Scores) -> tuple[Scores, list[float]]:
    """What is known of the rates that are tried, and which of these are still to be run; none at the end.

    The `grid` comes first. As long as the best lies at one end of all that were tried, the next one of the `candidates`
    beyond it comes, too, if there is one.
    """
    found: dict[float, float | None] = {}
    rates = list(grid)
    while rates:
        found |= {rate: known[rate] for rate in rates if rate in known}
        if lacking := [rate for rate in rates if rate not in known]:
            return found, lacking
        rates = _beyond(candidates, found)
    return found, []


def _beyond(candidates: Sequence[float], found: Scores) -> list[float]:
    best = _best(found)
    if best == min(found):
        return [rate for rate in candidates if rate < best][-1:]
    return [rate for rate in candidates if rate > best][:1] if best == max(found) else []


def _best(found: Scores) -> float:
    def score(rate: float) -> float:
        return math.inf if (bpc := found[rate]) is None else bpc

    return min(sorted(found), key=score)


def tuned(label: str, found: Scores) -> Tuned:
    """What all of these rates have shown."""
    rates, best = tuple(sorted(found)), _best(found)
    return Tuned(label, rates, tuple(found[rate] for rate in rates), best, best in (rates[0], rates[-1]))
