"""How many seeds the sign-flip test takes to show anything. No numpy here: it is said before a race begins."""

import math

ALPHA = 0.05  # a p of at most this is more than luck


def least_p(seeds: int) -> float:
    """The p of `seeds` differences that all have the same sign, the smallest there can be."""
    return 2.0 ** (1 - seeds)


def seeds_needed(comparisons: int, alpha: float = ALPHA) -> int:
    """The fewest seeds with which each of so many comparisons can reach `alpha` after Holm's correction."""
    return math.ceil(1 - math.log2(alpha / comparisons))
