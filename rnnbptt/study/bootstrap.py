"""How far a mean difference could be off because the text is what it is: a paired block bootstrap.

Two models that read the same text are compared by their differences character by character. These are not independent:
a model that is worse at a name is worse wherever the name comes again. So what is resampled is not characters but
contiguous blocks of them, long enough to hold what belongs together.

n is the number of characters, m the number of blocks.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIRST_BLOCK = 2000  # characters; doubled until that changes nothing
SHORTEST_BLOCK = 200  # for short texts: still several sentences
WANTED_BLOCKS = 20  # for which a short text gets shorter blocks
FEWEST_BLOCKS = 10  # with fewer, the spread between blocks is itself a guess
FLAT = 1.05  # a standard error that grows by less when blocks are doubled has seen all the dependence there is
SHORTEST_TEXT = FEWEST_BLOCKS * SHORTEST_BLOCK

RESAMPLES = 10_000
SEED = 0

PIECE = 1 << 20  # numbers resampled at a time: bounds memory, not the result


@dataclass(frozen=True)
class Interval:
    """A symmetric confidence interval for the mean difference, in the unit of the differences.

    level         probability that it covers the true mean
    blocks        number of blocks, m
    block_length  characters in each, or one more
    flat          whether longer blocks were tried and did not widen it; otherwise the text was too short to try
    """

    low: float
    high: float
    level: float
    blocks: int
    block_length: int
    flat: bool
    resamples: int
    seed: int

    @property
    def half_width(self) -> float:
        """How far the mean could be off, to either side."""
        return (self.high - self.low) / 2

    @property
    def digits(self) -> int:
        """Decimals to show it with: 3, or as many as show one of the half-width."""
        half = self.half_width
        return 3 if half >= 0.001 or not half else min(9, -math.floor(math.log10(half)))

    def shows(self, difference: float) -> bool:
        """Whether this difference, which it is the interval of, is more than chance."""
        return abs(difference) > self.half_width


def paired_interval(
    differences: Floats, level: float = 0.95, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval | None:
    """The interval for the mean of `differences` (n,), two models' losses at each character, one minus the other.

    It covers the randomness of the text for two given models, not that of training them. None where no honest interval
    can be made: of a text below 2,000 characters, or when all the differences lie in a block or two.

    Blocks follow one another (Carlstein 1986; the blockwise bootstrap is Kuensch's, 1989) and both losses of a
    character stay together (Koehn 2004). What is bootstrapped is the studentized mean, |mean* - mean| / standard error*
    (Goetze & Kuensch 1996; symmetric: Hall 1988): with the few dozen blocks of a usual validation text, the quantiles
    of the plain means give an interval that is 5 to 20 % too narrow.
    """
    n = len(differences)
    if n < SHORTEST_TEXT:
        return None
    length, flat = choose_block_length(differences)
    blocks = n // length
    residuals, sizes = block_residuals(differences, blocks)
    errors = studentized_errors(residuals, sizes, resamples, np.random.default_rng(seed))
    half = float(np.quantile(errors, level, method="higher")) * standard_error(residuals, n)
    if half > np.ptp(differences):  # wider than the differences themselves: nothing was learnt about their mean
        return None
    mean = float(differences.mean())
    return Interval(mean - half, mean + half, level, blocks, n // blocks, flat, resamples, seed)


def choose_block_length(differences: Floats) -> tuple[int, bool]:
    """The shortest block length, 2,000 doubled again and again, at which the standard error has stopped growing.

    Also whether that was seen: not so when doubling once more would leave fewer than 10 blocks.
    """
    n = len(differences)
    length = min(FIRST_BLOCK, max(SHORTEST_BLOCK, n // WANTED_BLOCKS))
    error = standard_error(block_residuals(differences, n // length)[0], n)
    while n // (2 * length) >= FEWEST_BLOCKS:
        doubled = standard_error(block_residuals(differences, n // (2 * length))[0], n)
        if doubled <= FLAT * error:
            return length, True
        length, error = 2 * length, doubled
    return length, False


def block_residuals(differences: Floats, blocks: int) -> tuple[Floats, NDArray[np.int64]]:
    """Each block's sum less what the overall mean makes of its size, (m,), and the sizes, (m,).

    The sizes differ by at most 1, so no short block is left over at the end of the text; that they differ at all is why
    they go on as weights.
    """
    edges = np.arange(blocks + 1) * len(differences) // blocks
    sizes = np.diff(edges)
    return np.add.reduceat(differences, edges[:-1]) - differences.mean() * sizes, sizes


def standard_error(residuals: Floats, n: int) -> float:
    """Standard error of the mean of n characters from the residuals (m,) of its blocks."""
    blocks = len(residuals)
    return float(np.sqrt(blocks / (blocks - 1) * (residuals**2).sum())) / n


def studentized_errors(residuals: Floats, sizes: NDArray[np.int64], resamples: int, rng: np.random.Generator) -> Floats:
    """|mean* - mean| / standard error* of each resample, (resamples,); each draws m of the m blocks, with replacement.

    A resample's mean is weighted by characters, and its standard error is made from it as that of the text is.
    """
    blocks = len(residuals)
    rows = max(1, PIECE // blocks)
    errors = np.empty(resamples)
    for start in range(0, resamples, rows):
        drawn = rng.integers(blocks, size=(min(rows, resamples - start), blocks))
        sums, weights = residuals[drawn], sizes[drawn]
        count = weights.sum(axis=1, keepdims=True)
        shift = sums.sum(axis=1, keepdims=True) / count  # mean* - mean
        spread = np.sqrt(blocks / (blocks - 1) * ((sums - shift * weights) ** 2).sum(axis=1, keepdims=True)) / count
        # No spread: of two models that never differ, an error of 0; of any others, one that cannot be bounded.
        ratio = np.divide(np.abs(shift), spread, out=np.where(shift == 0, 0.0, np.inf), where=spread > 0)
        errors[start : start + rows] = ratio[:, 0]
    return errors
