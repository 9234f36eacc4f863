"""Learning curves of the same strategy with several seeds, on one axis: characters, updates, seconds or operations.

S is the number of seeds, k that of knots: the places where any of the curves was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LearningCurve:
    """The validations of one run: bits per character, (n,), at the places x, (n,), which increase.

    A run that `diverged` has its validations until then; after the last it is worse than any that did not.
    """

    x: Floats
    bpc: Floats
    diverged: bool = False


def knots(curves: Sequence[LearningCurve]) -> Floats:
    """All the places, (k,), at which any curve was measured, from where the last begins to where the first ends.

    Where a run diverged is no end, unless all did. Empty where they have nothing in common.
    """
    start = max(curve.x[0] for curve in curves)
    end = min([curve.x[-1] for curve in curves if not curve.diverged] or [curve.x[-1] for curve in curves])
    inside = [curve.x[(start <= curve.x) & (curve.x <= end)] for curve in curves]
    return np.unique(np.concatenate([*inside, [start, end]])) if start <= end else np.empty(0)


def heights(curves: Sequence[LearningCurve], places: Floats) -> Floats:
    """Bits per character of S curves at k places, (S, k): linear in between, infinite once a run has diverged."""
    rows = [np.interp(places, curve.x, curve.bpc, right=np.inf if curve.diverged else None) for curve in curves]
    return np.array(rows)
