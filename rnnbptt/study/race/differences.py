"""How much better a contestant is than the reference, with an interval for both kinds of luck: seeds and text.

All seeds of both are scored on one test text. So there are two sources of error, crossed: each seed has an error of its
own, which averages out over seeds; the text has one that all seeds share, and more seeds do not help against it. An
interval from the seeds alone leaves that out; one from the text alone leaves out the seeds.

    variance = seeds' + max(0, text's - both's)

"seeds'" is that of the mean of the S differences, the usual one, of S - 1 degrees of freedom. "text's" is that of the
mean over seeds, from 10 blocks of the text, 9 degrees of freedom. Both hold what a seed makes of a block of its own
("both's", from what is left in the table of seeds by blocks), so it is taken off once (Cameron, Gelbach & Miller 2011).
The degrees of freedom of the sum are Satterthwaite's (1946). tests/benchmarks/intervals.py chose this by simulation.

The text's part speaks for other text like this passage only, not for all of the book: see bootstrap.py.

S is the number of seeds, n that of stretches of the text, m that of blocks.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnbptt.study.bootstrap import SHORTEST_TEXT
from rnnbptt.study.race.signflip import sign_flip
from rnnbptt.study.race.student import t_quantile

Floats = NDArray[np.float64]

LEVEL = 0.95
# As few and long as can be: what belongs together in a text has no end (a scene, a chapter), and 9 degrees of freedom
# make an interval only a seventh wider than endlessly many.
BLOCKS = 10
FEWEST_SEEDS = 3  # of two, a 95 % interval was found to cover 88 %
STRETCH = 1000  # characters, whose mean loss is one number of n


def stretches_of(bits: Floats) -> Floats:
    """The means over equal stretches of a text's characters, without a shorter one at the end; shorter stretches where
    there would be fewer than an interval takes; none where the text is too short for one.
    """
    if len(bits) < SHORTEST_TEXT:
        return np.empty(0)
    length = min(STRETCH, len(bits) // BLOCKS)
    count = len(bits) // length
    stretches: Floats = bits[: count * length].reshape(count, length).mean(axis=1)
    return stretches


@dataclass(frozen=True)
class SpreadInterval:
    """A symmetric confidence interval for the mean difference over seeds and text, in bits per character.

    level       probability that it covers the true mean
    error       standard error of the mean
    freedom     degrees of freedom of its t
    text_share  of its variance, what the text adds to the seeds: 0 to 1
    """

    mean: float
    level: float
    error: float
    freedom: float
    text_share: float
    low: float
    high: float

    def holds_zero(self, level: float) -> bool:
        """Whether there may be no difference at all, at another level than its own."""
        return abs(self.mean) <= t_quantile(level, self.freedom) * self.error


@dataclass(frozen=True)
class PairedDifference:
    """A contestant minus the reference, bits per character of test text, seed by seed: below 0 it is better.

    differences         one a seed, (S,): infinite where one of the two diverged, 0 where both did
    diverged            runs of the contestant that did
    reference_diverged  runs of the reference that did
    mean, sd            over seeds; None where a run diverged, sd also of one seed
    median              over seeds, infinite or not a number where so many are infinite
    interval            of the mean; None without a mean, of fewer than 3 seeds, or of a text of fewer than 10 stretches
    p                   of the sign-flip test, not corrected for other contestants
    """

    differences: tuple[float, ...]
    diverged: int
    reference_diverged: int
    mean: float | None
    sd: float | None
    median: float
    interval: SpreadInterval | None
    p: float


def paired_difference(contestant: Sequence[float], reference: Sequence[float], stretches: Floats) -> PairedDifference:
    """Of test bits per character, one a seed and infinite for a run that diverged, in the same order of seeds (S,).

    `stretches` (S, n) are contestant minus reference too, the means over equal stretches of the test text, in the order
    of the text and without a shorter one at its end. Those of a run that diverged are not looked at.

    A run that diverged is not dropped: it is worse than any that did not. That leaves no mean and no interval; the
    sign-flip test then takes the differences by their ranks.
    """
    pairs = list(zip(contestant, reference, strict=True))
    differences = tuple(0.0 if mine == its else float(mine - its) for mine, its in pairs)
    values = np.array(differences)
    finite = bool(np.isfinite(contestant).all() and np.isfinite(reference).all())
    mean = float(values.mean()) if finite else None
    return PairedDifference(
        differences,
        diverged=int(np.isinf(contestant).sum()),
        reference_diverged=int(np.isinf(reference).sum()),
        mean=mean,
        sd=float(values.std(ddof=1)) if finite and len(values) > 1 else None,
        median=statistics.median(differences),
        interval=None if mean is None else spread_interval(mean, stretches),
        p=sign_flip(differences),
    )


def spread_interval(mean: float, stretches: Floats, level: float = LEVEL) -> SpreadInterval | None:
    """The interval around `mean` from the differences of each seed on each stretch, (S, n).

    None for fewer than 3 seeds or 10 stretches: then one of the two kinds of luck cannot be seen well enough.
    """
    seeds, n = stretches.shape
    if seeds < FEWEST_SEEDS or n < BLOCKS:
        return None
    of_seeds, of_text = variances(stretches)
    variance = of_seeds + of_text
    # without any variance, of two that never differ, whatever it is
    freedom = variance**2 / (of_seeds**2 / (seeds - 1) + of_text**2 / (BLOCKS - 1)) if variance else seeds - 1.0
    error, share = variance**0.5, of_text / variance if variance else 0.0
    half = t_quantile(level, freedom) * error
    return SpreadInterval(mean, level, error, freedom, share, mean - half, mean + half)


def variances(stretches: Floats) -> tuple[float, float]:
    """Of the mean of differences (S, n): what the seeds make, with what a seed makes of a block; what the text adds."""
    seeds, n = stretches.shape
    edges = np.arange(BLOCKS + 1) * n // BLOCKS
    table = np.add.reduceat(stretches, edges[:-1], axis=1) / np.diff(edges)  # (S, m)
    table = table - table.mean()
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    rest = table - rows[:, None] - columns
    of_seeds = float((rows**2).sum()) / (seeds - 1) / seeds
    of_both = float((rest**2).sum()) / ((seeds - 1) * (BLOCKS - 1)) / (seeds * BLOCKS)
    squares = float((columns**2).sum())
    # Neighbours that are alike: their covariance counts twice. Independent ones have -squares / m in the mean.
    alike = max(0.0, float(columns[1:] @ columns[:-1]) + squares / BLOCKS)
    of_text = (squares + 2 * alike) / (BLOCKS - 1) / BLOCKS
    return of_seeds, max(0.0, of_text - of_both)
