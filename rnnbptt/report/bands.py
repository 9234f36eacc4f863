"""Learning curves as numbers to be drawn: mean and band over seeds, what is cut off, which axes are logarithmic.

A line is its places, increasing, and its bits per character there.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from rnnbptt.report.page import Level

Line = tuple[Sequence[float], Sequence[float]]
Floats = NDArray[np.float64]

AXES = {
    "chars": "characters seen",
    "updates": "updates",
    "seconds": "training time (seconds)",
    "flops": "operations (floating point)",
}
DECADES = 2  # an axis that spans more is logarithmic
SETTLED = 0.1  # of a run: what it lost before that would squeeze all the rest
MOST = 200  # places at which means are drawn, and the ends of each strategy


@dataclass(frozen=True)
class Band:
    """Mean, lowest and highest of a strategy's seeds at the places of a grid, each (n,); nan where one is missing."""

    mean: Floats
    low: Floats
    high: Floats


def finite(places: Sequence[float], bpc: Sequence[float]) -> Line:
    """The line as far as it is finite: a run that diverged ends there, which may be at once."""
    values = list(takewhile(math.isfinite, bpc))
    return places[: len(values)], values


def common(lines: Sequence[Line]) -> tuple[float, float]:
    """The first and the last place that all of them reach; the last is before the first where there is none."""
    if not all(places for places, _ in lines):
        return math.inf, -math.inf
    return max(places[0] for places, _ in lines), min(places[-1] for places, _ in lines)


def grid_of(groups: Sequence[Sequence[Line]]) -> Floats:
    """Places (n,) for the means of all groups: those of their lines, or as many of them as are wanted, spread alike,
    and always the ends of each group's mean. Between all the places of lines a mean is straight, so none are missed.
    """
    places = np.unique(np.concatenate([places for lines in groups for places, _ in lines]).astype(float))
    if len(places) > MOST:
        places = places[np.linspace(0, len(places) - 1, MOST).round().astype(int)]
    return np.union1d(places, [end for lines in groups for end in common(lines) if math.isfinite(end)])


def band_of(lines: Sequence[Line], grid: Floats) -> Band:
    """Mean and band of the lines, which are interpolated straight; where not all of them reach there is neither."""
    first, last = common(lines)
    values = np.stack([np.interp(grid, places or [0], bpc or [0]) for places, bpc in lines])
    values[:, (grid < first) | (grid > last)] = np.nan
    return Band(values.mean(0), values.min(0), values.max(0))


def limits(lines: Sequence[Line], levels: Sequence[Level] = ()) -> tuple[float, float]:
    """What the axis of bits per character shows: from the best value of all to the worst that any line had once a
    tenth of it was done, the levels that are an optimum or lie no farther off than half of that, and a margin.
    """
    low = min(min(bpc) for _, bpc in lines)
    high = max(max(bpc[bisect_left(places, SETTLED * places[-1]) :]) for places, bpc in lines)
    reach = 0.5 * (high - low)
    near = [level.bpc for level in levels if level.optimum or low - reach <= level.bpc <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.05 * (high - low) or 0.05
    return low - margin, high + margin


def is_logarithmic(axis: str, values: Iterable[float]) -> bool:
    """Whether these values are drawn on a logarithmic axis, unless a reader wants another."""
    positive = [value for value in values if value > 0]
    # Updates always: between truncations they differ by factors, and the lines would lie on the axis.
    return bool(positive) and (axis == "updates" or math.log10(max(positive) / min(positive)) > DECADES)
