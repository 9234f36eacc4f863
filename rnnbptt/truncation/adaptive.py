"""A strategy whose depth follows the gradient: how fast that fades is measured in the course of training."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rnnbptt.truncation.decay import sufficient_depth
from rnnbptt.truncation.fixed import Fixed
from rnnbptt.truncation.plan import Plan, Progress, Strategy, pieces


@dataclass(frozen=True)
class Adaptive(Strategy):
    """A depth such that the gradient lacks about the share `bias` of itself: Aicher, Foti & Fox 2019.

    40 times a run, the norms of one loss's gradient by lag are measured on an update of 4 k new characters, still cut
    into pieces of k. The depth that follows is the smallest power of two beyond which at most `bias` of their sum lies
    (decay.py); of the last five such depths k takes the median, but at most doubles or halves. `bias` is an estimate
    and no bound: how far it is from the true one, `rnnbptt probe` measures.
    """

    bias: float

    needs_state = True
    reach = None

    first = 16
    deepest = 256
    measurements = 40
    shortest = 64  # characters of a measurement, and the longest
    furthest = 512

    @property
    def spec(self) -> str:
        """With no more decimals than the bias has."""
        return f"adaptive:{self.bias:.9f}".rstrip("0")

    def next(self, progress: Progress) -> Plan:
        """k characters, or 4 k of them in pieces of k when it is time to measure."""
        k = self.depth(progress.measured)
        if len(progress.measured) > int(progress.spent * self.measurements):
            return Fixed(k).next(progress)
        length = self.longest(min(max(self.shortest, 4 * k), progress.room))
        return Plan(length, min(k, length), carry=pieces(length, k), measure=self.choose)

    def choose(self, norms: Sequence[float]) -> int:
        """The depth that one measurement asks for; 0, none, where the text has wrapped before it could be made."""
        if len(norms) < self.shortest:
            return 0
        return min(self.deepest, 1 << (sufficient_depth(norms, self.bias) - 1).bit_length())

    def depth(self, measured: tuple[int, ...]) -> int:
        """The depth after so many measurements."""
        k, asked = self.first, [depth for depth in measured if depth]
        for count in range(1, len(asked) + 1):
            k = min(max(statistics.median_low(asked[max(0, count - 5) : count]), k // 2, 1), 2 * k)
        return k

    def longest(self, room: int) -> int:
        """That of a measurement: k is less."""
        return min(self.furthest, room)
