"""Runs of two strategies, seed by seed."""

from collections.abc import Sequence

import numpy as np

from rnnbptt.errors import UserError
from rnnbptt.study.race.differences import PairedDifference, paired_difference
from rnnbptt.study.race.reading import Examined

Pairs = Sequence[tuple[Examined, Examined]]


def common_seeds(runs: Sequence[Examined], others: Sequence[Examined]) -> Pairs:
    """Of the seeds that both have: a run that failed, for a reason that is not its strategy's, is in no pair."""
    ours, theirs = ({each.run.seed: each for each in group} for group in (runs, others))
    return [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]


def pairs_of(runs: Sequence[Examined], others: Sequence[Examined]) -> Pairs:
    """`common_seeds`; UserError where there are none."""
    if pairs := common_seeds(runs, others):
        return pairs
    raise UserError("two strategies have no seed in common that is finished; nothing can be compared")


def difference_of(pairs: Pairs) -> PairedDifference:
    """First minus second, on the test text."""
    first, second = ([each.run.test for each in group] for group in zip(*pairs, strict=True))
    apart = [one.stretches - other.stretches for one, other in pairs if not (one.run.diverged or other.run.diverged)]
    return paired_difference(first, second, np.array(apart))
