"""A strategy whose depth follows the gradient: what the cut takes from it is measured in the course of training."""

import math
from dataclasses import dataclass

from rnnbptt.truncation.fixed import Fixed
from rnnbptt.truncation.plan import Plan, Progress, Strategy, pieces


@dataclass(frozen=True)
class Adaptive(Strategy):
    """Segments such that the gradient lacks about the share `bias` of itself, the aim of Aicher, Foti & Fox 2019.

    They estimate the bias from the norms of the gradient by lag. That is far off where gradients of many losses cancel
    out or add up, so here it is measured: 40 times a run, on an update of 4 k new characters that is cut into pieces
    of k, the gradient of the later half is held against the uncut one. Too much bias makes k longer, too little
    shorter, by the root of the factor, and at most by 2.
    """

    bias: float

    needs_state = True
    measures = True
    reach = None

    first = 16
    deepest = 256
    measurements = 40
    shortest = 64  # characters of a measurement

    @property
    def spec(self) -> str:
        """With no more decimals than the bias has."""
        return f"adaptive:{self.bias:.9f}".rstrip("0")

    def next(self, progress: Progress) -> Plan:
        """k characters, or 4 k of them in pieces of k when it is time to measure."""
        k = self.depth(progress.measured)
        length = max(self.shortest, 4 * k)
        if length > progress.room or len(progress.measured) > int(progress.spent * self.measurements):
            return Fixed(k).next(progress)
        return Plan(length, k, carry=pieces(length, k), measure=True)

    def depth(self, measured: tuple[float, ...]) -> int:
        """k after so many measurements; 0 is that of no gradient, and says nothing."""
        k = float(self.first)
        for bias in filter(None, measured):
            k = min(max(k * min(max(math.sqrt(bias / self.bias), 0.5), 2.0), 1.0), self.deepest)
        return round(k)

    def longest(self, room: int) -> int:
        """That of a measurement: k is less."""
        return min(4 * self.deepest, room)
