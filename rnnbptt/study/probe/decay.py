"""How fast a gradient fades on its way back, as Aicher, Foti & Fox 2019 estimate it.

phi_j is the norm of the gradient of one loss with respect to the state j characters before it.
"""

import math
from collections.abc import Sequence

import numpy as np

FITTED = (0.3, 0.9)  # the part of the lags that the decay is fitted on


def fitted_lags(count: int) -> tuple[int, int]:
    """The first of the lags 0 to `count` - 1 that the decay is fitted on, and the one after the last."""
    first, last = (round(share * count) for share in FITTED)
    return first, last


def fit_decay(norms: Sequence[float]) -> float:
    """beta of phi_j ~ beta^j: least squares on log phi_j over the later lags; 0 where the norms vanish, nan for fewer
    than two of them.
    """
    first, last = fitted_lags(len(norms))
    if last - first < 2:
        return math.nan
    fitted = np.asarray(norms[first:last], dtype=float)
    if not (fitted > 0).all():
        return 0.0
    return float(np.exp(np.polynomial.polynomial.polyfit(np.arange(len(fitted)), np.log(fitted), 1)[1]))
