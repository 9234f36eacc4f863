"""Whether paired differences are more than luck: the sign-flip test, and Holm's correction for several of them.

Had the two strategies been the same, each seed's difference could as well have had the other sign. So the sum of the
differences is compared with that under every choice of signs (Fisher 1935). It assumes nothing of how they are spread
but that they are as likely to lie above 0 as below.

S is the number of seeds, one difference each.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_EXACT = 20  # seeds up to which all 2^S choices of signs are tried; beyond, as many are drawn
SEED = 0
ROUNDING = 1e-12  # relative to the sum of all sizes: sums as close as this are equal


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of S differences: the share of all 2^S choices of signs whose sum is at least as far from 0.

    The signs as they are count among them, so p is never below `least_p(S)`.

    A difference may be infinite, of a run that diverged: then each stands for its rank by size, equal ones for the mean
    of theirs (Wilcoxon's signed ranks, with an exact p), since that a run is worse than any is all that is known of it.
    """
    values = np.asarray(differences, np.float64)
    sizes = np.abs(values) if np.isfinite(values).all() else _ranks(np.abs(values))
    observed = abs(float((np.sign(values) * sizes).sum()))
    far = np.abs(_sums(sizes)) >= observed - ROUNDING * sizes.sum()
    if len(sizes) <= MOST_EXACT:
        return float(far.mean())
    return float((1 + far.sum()) / (1 + len(far)))


def direction(differences: Sequence[float]) -> float:
    """Where the sum that `sign_flip` tests points to: below 0, above, or 0."""
    values = np.asarray(differences, np.float64)
    sizes = np.abs(values) if np.isfinite(values).all() else _ranks(np.abs(values))
    return float(np.sign((np.sign(values) * sizes).sum()))


def _ranks(sizes: Floats) -> Floats:
    """1 for the smallest to S for the largest, (S,); equal ones share the mean of theirs."""
    below = (sizes < sizes[:, None]).sum(axis=1)
    up_to = (sizes <= sizes[:, None]).sum(axis=1)
    return np.asarray(below + 1 + up_to, np.float64) / 2


def _sums(sizes: Floats) -> Floats:
    """The sum under every choice of signs for all but the first, which stays: its other sign only mirrors the sums."""
    if len(sizes) > MOST_EXACT:
        signs = np.random.default_rng(SEED).integers(2, size=(1 << MOST_EXACT, len(sizes)), dtype=np.int8)
        return (2.0 * signs - 1) @ sizes
    sums = sizes[:1]
    for size in sizes[1:]:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def holm(ps: Sequence[float]) -> list[float]:
    """The p of each of m comparisons, corrected for there being m (Holm 1979), in the order given.

    The smallest is multiplied by m, the next by m - 1, and so on, none made smaller than the one before it. Calling
    those of at most 0.05 more than luck, one is wrong about any of the m with a probability of at most 0.05.
    """
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = largest
    return corrected
