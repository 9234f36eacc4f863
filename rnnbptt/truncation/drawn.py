"""Strategies that draw the length of each update at random."""

from rnnbptt.truncation.fixed import Fixed
from rnnbptt.truncation.plan import Plan, Progress


class RandomLength(Fixed):
    """The segments of AWD-LSTM (Merity et al. 2018): a length near k drawn for each update, and a learning rate in
    proportion, so that every character weighs the same. The place of the cuts moves from epoch to epoch.
    """

    prefix = "random:"
    steady = False

    rarely = 0.05  # how often the mean length is k / 2
    deviation = 5.0
    shortest = 5

    def next(self, progress: Progress) -> Plan:
        """A normal number of characters, its mean k or, rarely, k / 2; or what room there is."""
        rng = progress.rng("length")
        mean = self.k / 2 if rng.random() < self.rarely else self.k
        length = min(max(self.shortest, int(rng.gauss(mean, self.deviation))), progress.room)
        return Plan(length, length, lr_scale=length / self.k)

    def longest(self, room: int) -> int:
        """Ten deviations above k: one update in 10^23 is longer, and merely takes more memory."""
        return min(max(self.shortest, self.k + round(10 * self.deviation)), room)


class Unbiased(Fixed):
    """ARTBP, Tallec & Ollivier 2017: cuts at random, and the gradient that passes where no cut fell is scaled up by
    1 / (1 - c), so that its expectation is that of no truncation at all. The mean length is k.

    d steps after a cut the next comes with the probability c = (alpha - 1) / ((alpha - 2) k + d), alpha = 6. The
    gradient is the sum over the characters divided by k, not by the length that came, which would bring a bias back. A
    segment ends at the end of the text and at 10 k characters too, which makes the estimate only nearly unbiased.
    """

    prefix = "artbp:"
    steady = False

    alpha = 6.0
    cap = 10

    def cut_probability(self, since: int) -> float:
        """Of a cut right after the `since`-th character since the last one."""
        return min(1.0, (self.alpha - 1) / ((self.alpha - 2) * self.k + since))

    def next(self, progress: Progress) -> Plan:
        """The characters up to the next cut."""
        rng, longest = progress.rng("cuts"), self.longest(progress.room)
        carry: list[float] = []
        while len(carry) + 1 < longest:
            cut = self.cut_probability(len(carry) + 1)
            if rng.random() < cut:
                break
            carry.append(1 / (1 - cut))
        length = len(carry) + 1
        return Plan(length, length, carry=tuple(carry), scale=length / self.k)

    def longest(self, room: int) -> int:
        """10 k."""
        return min(self.cap * self.k, room)
