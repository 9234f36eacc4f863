"""How fast a gradient fades on its way back: the arithmetic of adaptive truncation, Aicher, Foti & Fox 2019.

phi_j is the norm of the gradient of one loss with respect to the state j characters before it. Beyond the lags that
were measured it is taken to go on falling by the same factor a character.
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


def share_beyond(norms: Sequence[float], depth: int, beta: float) -> float:
    """Of the sum of all norms, what lies at lag `depth` and beyond: the relative bias of that truncation as Aicher et
    al. estimate it, with the sum of the norms in the place of the gradient's (`cum_grad_norm_approx` of their code).
    Of no gradient at all, nothing.
    """
    if beta >= 1:
        return 1.0
    tail = norms[-1] * beta / (1 - beta)
    whole = math.fsum(norms) + tail
    return (math.fsum(norms[depth:]) + tail) / whole if whole else 0.0


def sufficient_depth(norms: Sequence[float], share: float) -> int:
    """The least depth beyond which at most `share` lies; the number of norms where none of these depths is enough."""
    beta = fit_decay(norms)
    depths = range(1, len(norms))
    return next((depth for depth in depths if share_beyond(norms, depth, beta) <= share), len(norms))
