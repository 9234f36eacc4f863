"""Where one strategy overtakes another, how sure that is, and how long each takes to a threshold.

The crossing is the last one: from there on the second strategy stays ahead to the end of what both have done. Curves
are means over seeds, straight between validations. The interval covers the luck of the seeds on this validation text.

S is the number of seeds, k that of places.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnbptt.study.bootstrap import PIECE
from rnnbptt.study.race.curves import LearningCurve, heights, knots
from rnnbptt.study.race.differences import LEVEL
from rnnbptt.study.race.student import t_quantile

Floats = NDArray[np.float64]

RESAMPLES = 2000
SEED = 0
DIVERGED = 1e9  # bits per character that a diverged run counts as in a mean: worse than any, and still a number


@dataclass(frozen=True)
class Crossing:
    """Where the second of two strategies overtakes the first for good, in the unit of the axis.

    at          on the mean over all seeds; None where it does not: the second is behind at the end, or always ahead
    low, high   its 95 % interval: before it the first is ahead by more than luck, after it the second. None where that
                is so nowhere on that side: the interval is open; or without a crossing, or of a single seed
    never       share of resamples in which the second is not ahead at the end
    always      share of resamples in which it is ahead all the way
    start, end  what all curves have in common, and all that was looked at
    """

    at: float | None
    low: float | None
    high: float | None
    never: float
    always: float
    start: float
    end: float


def find_crossing(
    first: Sequence[LearningCurve], second: Sequence[LearningCurve], resamples: int = RESAMPLES, seed: int = SEED
) -> Crossing | None:
    """Of two strategies' curves, one a seed, in the same order of seeds. None where they have no place in common, or
    there are none.

    The interval is around `at` the places where the t interval of the S differences of second to first holds 0: where
    the true ones cross it does so with 95 %, however few the seeds (Fieller 1954), while percentiles of resampled seeds
    cover much less. The shares are of resamples of the seeds, in pairs.
    """
    places = knots([*first, *second]) if first else np.empty(0)
    if not len(places):
        return None
    with np.errstate(invalid="ignore"):  # both diverged: infinite less infinite
        apart = heights(second, places) - heights(first, places)
    apart = np.nan_to_num(apart, nan=0.0, posinf=DIVERGED, neginf=-DIVERGED)
    at = float(last_crossings(apart.mean(axis=0, keepdims=True), places)[0])
    drawn = np.concatenate([last_crossings(means, places) for means in _resampled(apart, resamples, seed)])
    crosses = math.isfinite(at)
    low, high = _edges(apart, places, at) if crosses and len(apart) > 1 else (None, None)
    return Crossing(
        at if crosses else None,
        low,
        high,
        never=float((drawn == np.inf).mean()),
        always=float((drawn == -np.inf).mean()),
        start=float(places[0]),
        end=float(places[-1]),
    )


def last_crossings(apart: Floats, places: Floats) -> Floats:
    """Where each row of second minus first, (rows, k), goes below 0 for good, (rows,).

    Infinite where it is not below 0 at the end, minus infinite where it is all the way.
    """
    behind = apart >= 0
    last = apart.shape[1] - 1 - behind[:, ::-1].argmax(axis=1)  # the last place where the second is not ahead
    rows, after = np.arange(len(apart)), np.minimum(last + 1, apart.shape[1] - 1)
    at = _zeros(apart[rows, last], apart[rows, after], places[last], places[after])
    return np.where(behind.any(axis=1), np.where(behind[:, -1], np.inf, at), -np.inf)


def _zeros(here: Floats, there: Floats, left: Floats, right: Floats) -> Floats:
    """Where straight lines from `here` at `left`, not below 0, down to `there` at `right` are 0."""
    drop = here - there
    return left + (right - left) * np.divide(here, drop, out=np.zeros_like(here), where=drop > 0)


def _edges(apart: Floats, places: Floats, at: float) -> tuple[float | None, float | None]:
    """The interval around a crossing from second minus first of each seed, (S, k)."""
    seeds = len(apart)
    mean = apart.mean(axis=0)
    half = t_quantile(LEVEL, seeds - 1) * apart.std(axis=0, ddof=1) / math.sqrt(seeds)
    least, most = mean - half, mean + half
    behind = np.flatnonzero((least > 0) & (places <= at))[-1:]  # empty where the interval is open
    ahead = np.flatnonzero((most < 0) & (places >= at))[:1]
    low = _zeros(least[behind], least[behind + 1], places[behind], places[behind + 1])
    high = _zeros(most[ahead - 1], most[ahead], places[ahead - 1], places[ahead])
    return low.item() if len(low) else None, high.item() if len(high) else None


def apart_at_end(first: Sequence[LearningCurve], second: Sequence[LearningCurve]) -> tuple[float, float] | None:
    """The t interval of second minus first over the seeds, at the last place that all have; None where it cannot be
    made: of fewer than two seeds, without a place in common, and where a run diverged.
    """
    places = knots([*first, *second]) if len(first) > 1 else np.empty(0)
    if not len(places):
        return None
    apart = heights(second, places[-1:])[:, 0] - heights(first, places[-1:])[:, 0]
    if not np.isfinite(apart).all():
        return None
    half = t_quantile(LEVEL, len(apart) - 1) * float(apart.std(ddof=1)) / math.sqrt(len(apart))
    return float(apart.mean()) - half, float(apart.mean()) + half


def _resampled(apart: Floats, resamples: int, seed: int) -> Iterator[Floats]:
    """Mean differences (rows, k) of seeds drawn with replacement from `apart` (S, k), so many rows in all."""
    seeds, k = apart.shape
    shares = np.random.default_rng(seed).multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    rows = max(1, PIECE // k)
    for start in range(0, resamples, rows):
        yield shares[start : start + rows] @ apart


@dataclass(frozen=True)
class Reached:
    """When the runs of a strategy came down to a threshold for the first time, in the unit of the axis.

    places            one a seed, None for a run that never did: that it takes longer than it ran is all that is known
    count             of runs that did
    median            over all runs; None where half of them or more never did
    fastest, slowest  None where none did, and where one never did. From 6 seeds on, the true median lies between them
                      with 95 % or more (1 - 2 / 2^S).
    """

    threshold: float
    places: tuple[float | None, ...]
    count: int
    median: float | None
    fastest: float | None
    slowest: float | None


def reach(curves: Sequence[LearningCurve], threshold: float) -> Reached:
    """When each came down to `threshold` bits per character, straight between validations; not before the first."""
    places = [_first_below(curve, threshold) for curve in curves]
    median, fastest, slowest = map(_known, (statistics.median(places), min(places), max(places)))
    return Reached(threshold, tuple(map(_known, places)), int(np.isfinite(places).sum()), median, fastest, slowest)


def _first_below(curve: LearningCurve, threshold: float) -> float:
    below = np.flatnonzero(curve.bpc <= threshold)
    if not len(below):
        return math.inf
    after = int(below[0])
    before = max(0, after - 1)
    # np.interp takes heights that increase, and these fall
    return float(np.interp(-threshold, -curve.bpc[[before, after]], curve.x[[before, after]]))


def _known(place: float) -> float | None:
    return place if math.isfinite(place) else None
