"""Student's t: how many standard errors a mean may be off when the standard error is itself a guess."""

import math

import numpy as np

NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
HALVINGS = 60


def t_quantile(level: float, freedom: float) -> float:
    """The t between whose negative and which Student's t lies with probability `level`, for 1 to 1,000 degrees of
    freedom, whole or not.

    With t = sqrt(freedom) * tan(angle) the density over the angle is cos(angle)^(freedom - 1), which is smooth on a
    bounded range, so that Gauss's rule integrates it.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(HALVINGS):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, freedom) < level else (low, angle)
    return math.sqrt(freedom) * math.tan(high)


def _within(angle: float, freedom: float) -> float:
    """The probability that the angle of t lies between the negative of this one and this one."""
    density = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    return density * angle * float(WEIGHTS @ np.cos((NODES + 1) / 2 * angle) ** (freedom - 1))
