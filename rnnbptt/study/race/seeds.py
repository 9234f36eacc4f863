"""How many seeds the sign-flip test takes to show anything. No numpy here: it is said before a race begins."""

import math
from collections.abc import Iterator

ALPHA = 0.05  # a p of at most this is more than luck


def least_p(seeds: int) -> float:
    """The p of `seeds` differences that all have the same sign, the smallest there can be."""
    return 2.0 ** (1 - seeds)


def seeds_needed(comparisons: int, alpha: float = ALPHA) -> int:
    """The fewest seeds with which each of so many comparisons can reach `alpha` after Holm's correction."""
    return math.ceil(1 - math.log2(alpha / comparisons))


def too_few(seeds: int, tests: int, what: str, of: str) -> Iterator[str]:
    """What there is to say where so many seeds can show nothing in so many tests, of comparisons or of claims."""
    needed = seeds_needed(tests)
    if seeds < needed:
        them = f"{seeds} seed{'s' * (seeds > 1)}"
        with_them = f"with {tests} {of}{'s' * (tests > 1)} {needed} are needed"
        yield f"{them} cannot show {what}: {with_them} (the p of {them} is {least_p(seeds):.2g} or more)"
