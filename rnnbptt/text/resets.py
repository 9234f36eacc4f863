"""When the states of streams are set to zero at random, so that a network learns to begin from nothing, too."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1024  # places that are drawn at once; always as many, for they come of one row of random numbers


class Resets:
    """For each of B lanes places along what it reads, by chance (a Poisson process), `every` characters apart in the
    mean. They come of the seed alone: two runs that differ in truncation have the same ones.
    """

    def __init__(self, streams: int, every: float, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._streams, self._gap = streams, every / streams  # between places of any lane
        self._places, self._lanes = np.zeros(1), np.zeros(1, np.int64)  # where all begin, which is no place
        self._pass(0)

    def _draw(self) -> None:
        """More of them, behind the last one."""
        places = self._places[-1] + np.cumsum(self._rng.exponential(self._gap, CHUNK))
        self._places = np.concatenate([self._places, places])
        self._lanes = np.concatenate([self._lanes, self._rng.integers(self._streams, size=CHUNK)])

    def _pass(self, position: int) -> None:
        """Forget those up to there, and see that there is one behind it."""
        while True:
            passed = int(np.searchsorted(self._places, position, "right"))
            if passed < len(self._places):
                break
            self._places, self._lanes = self._places[-1:], self._lanes[-1:]
            self._draw()
        self._places, self._lanes = self._places[passed:], self._lanes[passed:]

    def next(self, position: int) -> int:
        """The first count of characters behind `position` by which a place has come; earlier ones are forgotten."""
        self._pass(position)
        return math.ceil(float(self._places[0]))

    def between(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Lanes (B,) with a place behind `start`, and not behind `stop`; earlier ones are forgotten."""
        self._pass(start)
        while self._places[-1] <= stop:
            self._draw()
        found: NDArray[Any] = np.zeros(self._streams, np.bool_)
        found[self._lanes[: np.searchsorted(self._places, stop, "right")]] = True
        return found
