"""Strategies whose updates are all alike: as many new characters each time, and always cut in the same way."""

from dataclasses import dataclass, replace

from rnnbptt.truncation.plan import Plan, Progress, Strategy, pieces


@dataclass(frozen=True)
class Fixed(Strategy):
    """Update every k characters and back-propagate through just these (k1 = k2 = k); k = 1: after every character.

    Of the four training schemes of De Boom et al. 2018 this is the one with all losses and the state carried.

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
    """As `Fixed`, but the state is set to zero before each update: a model that never sees beyond k characters.

    Of the four schemes of De Boom et al. 2018 the one with all losses and a zero state.
    """

    prefix = "stateless:"
    resets = True


class ShuffledState(Fixed):
    """As `Fixed`, but the state is carried into an unrelated place of the text: each stream goes on from that of the
    stream before it. A control: what stateful networks come to whose batches are shuffled (tensorflow/tensorflow,
    issues 28766 and 40067).
    """

    prefix = "shuffled-state:"
    hands_on = True

    def next(self, progress: Progress) -> Plan:
        """That of `Fixed`, after the states have gone round by one stream."""
        return replace(super().next(progress), hand_on=1)


class LastCarried(Fixed):
    """As `Fixed`, but only the last of the k characters has a loss.

    Of the four schemes of De Boom et al. 2018 the one with the last loss and the state carried.
    """

    prefix = "last-carried:"

    def next(self, progress: Progress) -> Plan:
        """That of `Fixed`, for one loss."""
        return replace(super().next(progress), losses=1)


@dataclass(frozen=True)
class Last(Strategy):
    """Windows of k characters, each `stride` of 1 to k further on, from a zero state, whose last character alone has a
    loss: what most tutorials do. What a window shares with the one before is read once more.

    Of the four schemes of De Boom et al. 2018 the one with the last loss and a zero state.
    """

    k: int
    stride: int = 1

    steady = True
    resets = True

    @property
    def spec(self) -> str:
        """The stride only where it is another than 1."""
        return f"last:{self.k}" + f"/{self.stride}" * (self.stride > 1)

    @property
    def history(self) -> int:
        """What a window has beyond its new characters."""
        return self.k - self.stride

    @property
    def needs_state(self) -> bool:
        """A model without one keeps no older characters that it could read once more."""
        return self.history > 0

    def next(self, progress: Progress) -> Plan:
        """`stride` characters, or what room there is, after those that are read once more."""
        new = min(self.stride, progress.room)
        return Plan(new, new + self.history, reset=True, rerun=self.history, losses=1)

    def longest(self, room: int) -> int:
        """Each reads `stride`."""
        return min(self.stride, room)


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
