"""Strategies whose updates are all alike: as many new characters each time, and always cut in the same way."""

from dataclasses import dataclass

from rnnbptt.truncation.plan import Plan, Progress, Strategy, pieces


@dataclass(frozen=True)
class Fixed(Strategy):
    """Update every k characters and back-propagate through just these (k1 = k2 = k); k = 1: after every character.

    `prefix` is what stands before k in the `--trunc` that means it: "", "stateless:" and the like.
    """

    k: int

    prefix = ""
    steady = True

    @property
    def spec(self) -> str:
        """The prefix and k."""
        return f"{self.prefix}{self.k}"

    @property
    def reach(self) -> int:
        """k, which is the mean where lengths are drawn."""
        return self.k

    def next(self, progress: Progress) -> Plan:
        """k characters, or what room there is."""
        k = min(self.k, progress.room)
        return Plan(k, k, reset=self.resets)

    def longest(self, room: int) -> int:
        """Each reads k."""
        return min(self.k, room)


class Stateless(Fixed):
    """As `Fixed`, but the state is set to zero before each update: a model that never sees beyond k characters."""

    prefix = "stateless:"
    resets = True


@dataclass(frozen=True)
class Snap(Fixed):
    """SnAp-1, Menick et al. 2021: update after every character, and carry forward what each parameter owes to its own
    unit's past.
    """

    k: int = 1
    spec = "snap"
    influence = "snap"


@dataclass(frozen=True)
class Rflo(Fixed):
    """RFLO, Murray 2019, as e-prop has it, Bellec et al. 2020: as `Snap`, but what each parameter owes to its unit's
    past goes on through the unit's leak alone, through no recurrent weight.
    """

    k: int = 1
    spec = "rflo"
    influence = "rflo"


class SnapTail(Fixed):
    """As `Fixed`, exact inside the segment; across its boundary the influences of SnAp-1. Even k = 1 is more than
    `Snap`: the way through the new character is exact.
    """

    prefix = "snap:"
    influence = "tail"


class RealTime(Fixed):
    """As `Fixed`, exact inside the segment and across its boundary: Williams & Zipser 1989, in the blocks of
    Schmidhuber 1992. The gradient is never cut.
    """

    prefix = "rtrl:"
    influence = "rtrl"


class RankOne(Fixed):
    """UORO, Tallec & Ollivier 2017: as `Fixed`, exact inside the segment; across its boundary an estimate of all
    influences that is right in the mean. The gradient is unbiased, and noisy.
    """

    prefix = "uoro:"
    influence = "uoro"


@dataclass(frozen=True)
class Separate(Strategy):
    """Update every k1 characters with depth k2: BPTT(h; h') of Williams & Peng 1990.

    Each loss counts once. k2 above k1: the gradient goes on into older characters, as the tape remembers them, that is,
    with the states of their own time, or, with `rerun`, of the weights of now: then they are read once more. k2 below
    k1: the k1 characters are cut, from the last one back, into pieces of k2, so that K/1 has the gradient of k = 1 with
    a K-th of the updates.
    """

    k1: int
    k2: int
    rerun: bool = False

    steady = True

    @property
    def spec(self) -> str:
        """K1/K2, and whether older characters are read once more."""
        return f"{self.k1}/{self.k2}" + "@rerun" * self.rerun

    @property
    def history(self) -> int:
        """What k2 has beyond k1."""
        return max(0, self.k2 - self.k1)

    def next(self, progress: Progress) -> Plan:
        """k1 characters, or what room there is; no more older ones than `history` then, either."""
        k1 = min(self.k1, progress.room)
        if self.k2 < k1:
            return Plan(k1, self.k2, carry=pieces(k1, self.k2))
        older = min(self.k2 - k1, self.history)
        return Plan(k1, k1 + older, rerun=older if self.rerun else 0)

    def longest(self, room: int) -> int:
        """Each reads k1."""
        return min(self.k1, room)


@dataclass(frozen=True)
class Full(Strategy):
    """Never cut inside the training text: one update each time the streams have read all they can without a wrap."""

    spec = "full"
    reach = 0

    def next(self, progress: Progress) -> Plan:
        """All the room there is."""
        return Plan(progress.room, progress.room)

    def longest(self, room: int) -> int:
        """All of it."""
        return room
