"""Truncation strategies: how many new characters the next update reads, and how its gradient is cut.

A strategy is an immutable object. The training loop asks it for the next `Plan` and knows no strategy by name; what a
strategy needs to know it reads from `Progress`, so that a resumed run goes on the same way. Parsing is in specs.py.

The state is always carried from update to update and cut from the gradient, never reset, but in `Stateless`.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from rnnbptt.truncation.decay import sufficient_depth


@dataclass(frozen=True)
class Progress:
    """What a strategy may look at.

    spent        share of the budget used, 0 to 1
    room         characters each stream can still read before the text wraps or the budget ends
    updates      optimizer steps so far
    seed         of the run
    validations  losses of the validations so far, nats per character, oldest first
    measured     what the plans' `measure` returned so far
    in_updates   whether the budget counts updates, each of which spends as much as any other
    """

    spent: float
    room: int
    updates: int = 0
    seed: int = 0
    validations: tuple[float, ...] = ()
    measured: tuple[int, ...] = ()
    in_updates: bool = False

    def rng(self, purpose: str) -> random.Random:
        """The random numbers of this update, others for each purpose: the same ones whenever they are asked for."""
        return random.Random(f"{self.seed}/{self.updates}/{purpose}")


@dataclass(frozen=True)
class Plan:
    """One update.

    advance   k1: new characters read in each stream; each of their losses counts once
    depth     k2: how many characters a gradient goes back, at most
    carry     factors on the gradient at each step back (see recurrence.py), advance - 1 of them; None: 1 throughout
    reset     whether the state is set to zero first
    rerun     characters before the new ones that are read once more, with the weights of now
    scale     factor on the gradient
    lr_scale  factor on the learning rate
    measure   asks for the norms of the last loss's gradient by lag, one a new character, and makes of them what
              `Progress.measured` will hold
    """

    advance: int
    depth: int
    carry: tuple[float, ...] | None = None
    reset: bool = False
    rerun: int = 0
    scale: float = 1.0
    lr_scale: float = 1.0
    measure: Callable[[Sequence[float]], int] | None = None


class Strategy(Protocol):
    """How back-propagation is cut."""

    @property
    def spec(self) -> str:
        """The `--trunc` that means this strategy."""

    @property
    def keep(self) -> int:
        """The most characters before the new ones that it goes back to."""

    @property
    def influence(self) -> str:
        """What carries credit past the cut: a name of influence.py, "none" for nothing."""

    @property
    def needs_state(self) -> bool:
        """Whether it is about what goes back through the state, so that a model without one cannot follow it."""

    def next(self, progress: Progress) -> Plan:
        """The next update, of at most `progress.room` characters. A pure function."""

    def longest(self, room: int) -> int:
        """The most new characters one update can hold, which memory must bear."""


class _Plain:
    """What most strategies are."""

    influence: ClassVar[str] = "none"
    needs_state: ClassVar[bool] = False

    @property
    def keep(self) -> int:
        return 0


@dataclass(frozen=True)
class Fixed(_Plain):
    """Update every k characters and back-propagate through just these (k1 = k2 = k); k = 1: after every character.

    `prefix` is what stands before k in the `--trunc` that means it: "", "stateless:" and the like.
    """

    k: int

    prefix: ClassVar[str] = ""

    @property
    def spec(self) -> str:
        return f"{self.prefix}{self.k}"

    def next(self, progress: Progress) -> Plan:
        k = min(self.k, progress.room)
        return Plan(k, k)

    def longest(self, room: int) -> int:
        return min(self.k, room)


@dataclass(frozen=True)
class Stateless(Fixed):
    """As `Fixed`, but the state is set to zero before each update: a model that never sees beyond k characters."""

    prefix: ClassVar[str] = "stateless:"

    def next(self, progress: Progress) -> Plan:
        return replace(super().next(progress), reset=True)


@dataclass(frozen=True)
class Snap(Fixed):
    """SnAp-1, Menick et al. 2021: update after every character, and carry forward what each parameter owes to its own
    unit's past.
    """

    k: int = 1
    spec: ClassVar[str] = "snap"
    influence: ClassVar[str] = "snap"
    needs_state: ClassVar[bool] = True


@dataclass(frozen=True)
class SnapTail(Fixed):
    """As `Fixed`, exact inside the segment; across its boundary the influences of SnAp-1. Even k = 1 is more than
    `Snap`: the way through the new character is exact.
    """

    prefix: ClassVar[str] = "snap:"
    influence: ClassVar[str] = "tail"
    needs_state: ClassVar[bool] = True


@dataclass(frozen=True)
class RealTime(Fixed):
    """As `Fixed`, exact inside the segment and across its boundary: Williams & Zipser 1989, in the blocks of
    Schmidhuber 1992. The gradient is never cut.
    """

    prefix: ClassVar[str] = "rtrl:"
    influence: ClassVar[str] = "rtrl"
    needs_state: ClassVar[bool] = True


@dataclass(frozen=True)
class Separate(_Plain):
    """Update every k1 characters with depth k2: BPTT(h; h') of Williams & Peng 1990.

    Each loss counts once. k2 above k1: the gradient goes on into older characters, as the tape remembers them, that is,
    with the states of their own time, or, with `rerun`, of the weights of now: then they are read once more. k2 below
    k1: the k1 characters are cut, from the last one back, into pieces of k2, so that K/1 has the gradient of k = 1 with
    a K-th of the updates.
    """

    k1: int
    k2: int
    rerun: bool = False

    @property
    def spec(self) -> str:
        return f"{self.k1}/{self.k2}" + "@rerun" * self.rerun

    @property
    def keep(self) -> int:
        return max(0, self.k2 - self.k1)

    def next(self, progress: Progress) -> Plan:
        k1 = min(self.k1, progress.room)
        if self.k2 >= k1:
            older = min(self.k2 - k1, self.keep)
            return Plan(k1, k1 + older, rerun=older if self.rerun else 0)
        return Plan(k1, self.k2, carry=_pieces(k1, self.k2))

    def longest(self, room: int) -> int:
        return min(self.k1, room)


def _pieces(length: int, piece: int) -> tuple[float, ...]:
    """The carry that cuts so many characters, from the last one back, into pieces."""
    return tuple(float((length - 1 - t) % piece != 0) for t in range(length - 1))


@dataclass(frozen=True)
class Full(_Plain):
    """Never cut inside the training text: one update each time the streams have read all they can without a wrap."""

    spec: ClassVar[str] = "full"

    def next(self, progress: Progress) -> Plan:
        return Plan(progress.room, progress.room)

    def longest(self, room: int) -> int:
        return room


@dataclass(frozen=True)
class RandomLength(Fixed):
    """The segments of AWD-LSTM (Merity et al. 2018): a length near k drawn for each update, and a learning rate in
    proportion, so that every character weighs the same. The place of the cuts moves from epoch to epoch.
    """

    prefix: ClassVar[str] = "random:"

    rarely: ClassVar[float] = 0.05  # how often the mean length is k / 2
    deviation: ClassVar[float] = 5.0
    shortest: ClassVar[int] = 5

    def next(self, progress: Progress) -> Plan:
        rng = progress.rng("length")
        mean = self.k / 2 if rng.random() < self.rarely else self.k
        length = min(max(self.shortest, int(rng.gauss(mean, self.deviation))), progress.room)
        return Plan(length, length, lr_scale=length / self.k)

    def longest(self, room: int) -> int:
        """Ten deviations above k: one update in 10^23 is longer, and merely takes more memory."""
        return min(max(self.shortest, self.k + round(10 * self.deviation)), room)


@dataclass(frozen=True)
class Unbiased(Fixed):
    """ARTBP, Tallec & Ollivier 2017: cuts at random, and the gradient that passes where no cut fell is scaled up by
    1 / (1 - c), so that its expectation is that of no truncation at all. The mean length is k.

    d steps after a cut the next comes with the probability c = (alpha - 1) / ((alpha - 2) k + d), alpha = 6. The
    gradient is the sum over the characters divided by k, not by the length that came, which would bring a bias back. A
    segment ends at the end of the text and at 10 k characters too, which makes the estimate only nearly unbiased.
    """

    prefix: ClassVar[str] = "artbp:"

    alpha: ClassVar[float] = 6.0
    cap: ClassVar[int] = 10

    def cut_probability(self, since: int) -> float:
        """Of a cut right after the `since`-th character since the last one."""
        return min(1.0, (self.alpha - 1) / ((self.alpha - 2) * self.k + since))

    def next(self, progress: Progress) -> Plan:
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
        return min(self.cap * self.k, room)


@dataclass(frozen=True)
class Adaptive(_Plain):
    """A depth such that the gradient lacks about the share `bias` of itself: Aicher, Foti & Fox 2019.

    40 times a run, the norms of one loss's gradient by lag are measured on an update of 4 k new characters, still cut
    into pieces of k. The depth that follows is the smallest power of two beyond which at most `bias` of their sum lies
    (decay.py); of the last five such depths k takes the median, but at most doubles or halves. `bias` is an estimate
    and no bound: how far it is from the true one, `rnnbptt probe` measures.
    """

    bias: float
    needs_state: ClassVar[bool] = True

    first: ClassVar[int] = 16
    deepest: ClassVar[int] = 256
    measurements: ClassVar[int] = 40
    shortest: ClassVar[int] = 64  # characters of a measurement, and the longest
    furthest: ClassVar[int] = 512

    @property
    def spec(self) -> str:
        return f"adaptive:{self.bias:.9f}".rstrip("0")

    def next(self, progress: Progress) -> Plan:
        k = self.depth(progress.measured)
        if len(progress.measured) > int(progress.spent * self.measurements):
            k = min(k, progress.room)
            return Plan(k, k)
        length = min(max(self.shortest, 4 * k), self.furthest, progress.room)
        return Plan(length, min(k, length), carry=_pieces(length, k), measure=self.choose)

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
        return min(self.furthest, room)


FINAL_SHARE = 0.4  # of the budget that a progressive strategy spends at its last rung, at least


@dataclass(frozen=True)
class Progressive:
    """One strategy after another, `rungs`.

    "doubling": each rung for the same share of the budget, except that the last has at least 40 % of it, so that runs
    which end alike are compared alike. "linear": the same, over all lengths in between. "plateau": one rung on whenever
    a validation improves on the best so far by less than 0.01 nats; from 60 % of the budget on, the last in any case.
    """

    rungs: tuple[Strategy, ...]
    growth: str = "doubling"

    min_gain: ClassVar[float] = 0.01

    @property
    def spec(self) -> str:
        suffix = "" if self.growth == "doubling" else f"@{self.growth}"
        return f"{self.rungs[0].spec}..{self.rungs[-1].spec}{suffix}"

    @property
    def keep(self) -> int:
        return max(rung.keep for rung in self.rungs)

    @property
    def influence(self) -> str:
        return self.rungs[0].influence

    @property
    def needs_state(self) -> bool:
        return self.rungs[0].needs_state

    def next(self, progress: Progress) -> Plan:
        rung = self._by_stalls(progress) if self.growth == "plateau" else self._by_share(progress)
        return self.rungs[rung].next(progress)

    def longest(self, room: int) -> int:
        return max(rung.longest(room) for rung in self.rungs)

    def _by_share(self, progress: Progress) -> int:
        last = len(self.rungs) - 1
        share = min(1 - FINAL_SHARE, last / (last + 1))
        return min(int(progress.spent / share * last), last) if last else 0

    def _by_stalls(self, progress: Progress) -> int:
        if progress.spent >= 1 - FINAL_SHARE:
            return len(self.rungs) - 1
        best, stalls = math.inf, 0
        for loss in progress.validations:
            stalls += loss > best - self.min_gain
            best = min(best, loss)
        return min(stalls, len(self.rungs) - 1)


@dataclass(frozen=True)
class Shuffled:
    """The control of a curriculum of fixed lengths: these, each with the same share of the budget, but in random
    order. Of a budget in minutes the share is one of the characters: how long an update takes is not known before.
    """

    curriculum: Progressive

    @property
    def spec(self) -> str:
        return f"shuffle({self.curriculum.spec})"

    @property
    def keep(self) -> int:
        return self.curriculum.keep

    @property
    def influence(self) -> str:
        return self.curriculum.influence

    @property
    def needs_state(self) -> bool:
        return self.curriculum.needs_state

    def next(self, progress: Progress) -> Plan:
        last = len(self.curriculum.rungs) - 1
        final = max(FINAL_SHARE, 1 / (last + 1))
        shares = [(1 - final) / last] * last + [final] if last else [1.0]
        if not progress.in_updates:  # an update of a long rung spends more, so it must come less often
            shares = [share / rung.longest(1 << 62) for share, rung in zip(shares, self.curriculum.rungs, strict=True)]
        rung = progress.rng("rung").choices(self.curriculum.rungs, shares)[0]
        return rung.next(progress)

    def longest(self, room: int) -> int:
        return self.curriculum.longest(room)


def ladder(first: int, last: int) -> tuple[int, ...]:
    """first, 2 first, 4 first, ..., last; downwards when last is below first."""
    low, high = sorted((first, last))
    rungs = (*(low << rung for rung in range(math.ceil(math.log2(high / low)))), high)
    return rungs if first <= last else rungs[::-1]


def line(first: int, last: int) -> tuple[int, ...]:
    """first, first + 1, ..., last, or down to it; where that is more than 1,000 rungs, 1,000 at even distances."""
    rungs = min(abs(last - first) + 1, 1000)
    return tuple(first + round((last - first) * rung / max(1, rungs - 1)) for rung in range(rungs))


GROWTHS: dict[str, Callable[[int, int], tuple[int, ...]]] = {"doubling": ladder, "linear": line, "plateau": ladder}
