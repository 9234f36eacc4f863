"""Evaluation: the loss of every character of a stretch of text, as one continuous reading of the text has it; or only
of those whose symbols are scored.

Read one character after the other, a split of a megabyte would take minutes. So the stretch is cut into lanes that are
read side by side, each from a zero state some way before its own first character. What a state came from is soon
forgotten, most of the time; but a zero state in the wrong place can send a model astray for good. So it is not trusted:
the lane before reads on into the lane until both states agree, and up to there its losses count; where they do not
agree before the lane ends, it goes on into the next one. The state that the stretch begins with is read from two places
before it, further and further back, until these agree. Some models keep something for good; with these nothing agrees,
and the stretch is read in one after all, by a compiled kernel in float32, where there is one for the model.

How many lanes there are, and the length of the pieces they are read in, changes how long it takes, not what comes out.
How a model was trained has no part in it; it is read with the precision that it has, but by a kernel in float32: so are
the thousands of characters before a stretch, where the state comes from so far.

Axes: T characters of a piece, B lanes; states (L, S, B, H).
"""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbptt.bptt.engines import runs_compiled, unavailable
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.errors import UserError
from rnnbptt.text.corpus import count_scored

LANES = 64
WARM_UP = 256  # characters read before each lane, and before the stretch at first
SHORTEST_LANE = 500  # below this the warm-up would cost more than the lane
FURTHEST = 1 << 16  # characters that are read to make states agree, before the stretch and in it
FURTHER = 4  # times as far back with each try
LONG = 1 << 12  # characters for which a kernel is worth its loading, or compiling
HEARD = 1 << 10  # characters read in one call of a kernel, at most,
HEARD_WORK = 1 << 31  # and these times parameters: a tenth of a second, till it is asked whether to give up
TRIES = 3  # to correct lanes, before they are read in one
PIECE = 64  # characters read at a time: bounds memory, not the result
STRETCH = 1000  # characters whose losses are summed
AGREE = 1e-4  # largest distance of two states that agree, relative to the length of one; where operands are rounded
ROUNDED = 2  # to fewer digits than that, so many times the distance of a number to the next: states come no nearer

LN2 = float(np.log(2))

Ids = NDArray[np.integer]
Targets = NDArray[np.int64]  # positions of characters that are predicted
Nats = NDArray[np.floating]
Scored = NDArray[np.bool_] | None  # whether a loss of each symbol counts, (V,); None: of all


class Score(NamedTuple):
    """How a model reads a stretch of text.

    nats       mean negative log-likelihood per scored character
    stretches  its sums over each STRETCH characters of text, the last one may be shorter
    settled    see Reading
    """

    nats: float
    stretches: NDArray[np.float64]
    settled: bool


class GivenUpError(Exception):
    """Somebody has asked to end before the end."""


def _never() -> bool:
    return False


@torch.no_grad()
def score(
    model: CharRNN,
    ids: Ids,
    start: int,
    stop: int,
    piece: int = PIECE,
    give_up: Callable[[], bool] = _never,
    scored: Scored = None,
) -> Score:
    """Of ids[start:stop], each character given all the text before it. Memory grows by a number a stretch.

    The very first character of a text has no text before it and is not scored. `GivenUpError` where `give_up()`, asked
    between pieces, says so; UserError where no character is of the symbols that are `scored`.
    """
    reading = Reading(model, ids, start, stop, STRETCH, piece, give_up, scored)
    total = max(float(reading.sums.sum()), 0.0)  # sums that were corrected may be rounded below 0; nan stays
    return Score(total / reading.count, reading.sums, reading.settled)


@torch.no_grad()
def character_nats(
    model: CharRNN, ids: Ids, start: int, stop: int, piece: int = PIECE, scored: Scored = None
) -> tuple[NDArray[np.float64], bool]:
    """The negative log-likelihood of each scored character of ids[max(start, 1):stop] in nats, in the order of the
    text; and whether these are `Reading.settled`. UserError where there is none.
    """
    reading = Reading(model, ids, start, stop, 1, piece, scored=scored)
    losses = np.maximum(reading.sums, 0, out=reading.sums)  # what was taken back may be rounded below
    return losses if scored is None else losses[scored[ids[max(start, 1) : stop]]], reading.settled


def remarks(nats: float, stretches: NDArray[np.float64], settled: bool, symbols: int) -> list[str]:
    """What to know of a score by a model of so many symbols: whether guessing would do better, the stretches that
    dominate it where a few do, and whether it is not settled.

    A few: a tenth of them at most, each with more than three times the usual loss, and a tenth of all loss together.
    Those without a loss have nothing that is scored, and do not count.
    """
    lossy = stretches[stretches > 0]
    said, heavy = [], np.flatnonzero(stretches > 3 * np.median(lossy)) if lossy.size else lossy
    if 0 < len(heavy) <= len(lossy) / 10 and (share := stretches[heavy].sum() / stretches.sum()) >= 0.1:
        heaviest = heavy[np.argsort(-stretches[heavy], kind="stable")][:5]
        places = ", ".join(f"{STRETCH * number:,}" for number in heaviest) + ", ..." * (len(heavy) > 5)
        few = f"{len(heavy)} of {len(lossy)} stretches of {STRETCH:,} characters"
        said.append(f"{few} make {share:.0%} of this loss: at {places}")
    if nats > math.log(symbols):
        said.append(f"worse than guessing among {symbols:,} symbols, which takes {math.log2(symbols):.4f} bits each")
    if not settled:
        off = "this loss may be off by more than 0.001 bits per character"
        said.append(f"the state depends on more than {FURTHEST:,} characters before, so that {off}")
    return said


class Pending(NamedTuple):
    """Lanes (B,) that were read from the states `old` (L, S, B, H), and should have been from `new`."""

    lanes: NDArray[np.int64]
    old: Tensor
    new: Tensor


class Reading:
    """Reads ids[start:stop] with a model.

    sums     the losses in nats of each `stretch` characters of it, the last ones may be fewer
    count    characters that are scored
    settled  whether all states came to agree; otherwise the losses may differ from those of one continuous reading
    """

    def __init__(
        self,
        model: CharRNN,
        ids: Ids,
        start: int,
        stop: int,
        stretch: int,
        piece: int = PIECE,
        give_up: Callable[[], bool] = _never,
        scored: Scored = None,
    ) -> None:
        self._model, self._lanes, self._ids, self._piece = model.apart(), 1, ids, piece
        self._give_up, self._scored = give_up, scored
        self._near = max(AGREE, ROUNDED * torch.finfo(model.precision.operand).eps)
        start = max(start, 1)
        self.count, self._start, self._stop = count_scored(ids, start, stop, scored), start, stop
        self.sums, self._stretch = np.zeros(-(-(stop - start) // stretch)), stretch
        if not self.count:
            raise UserError(f"of the characters {start + 1:,} to {stop:,} of the text none is scored; prepare it again")
        first, self.settled = self._first_state(start)
        if not self.settled and self._ear:  # nor would lanes come to agree
            self._in_one(self._ear, first)
            return
        lanes = min(LANES, max(1, (stop - start) // SHORTEST_LANE))
        self._length = -(-(stop - start) // lanes)  # of each lane, but for the last, which ends at `stop`
        self._begins = start + np.arange(lanes) * self._length
        pending, tried = self._side_by_side(first), 0
        while pending.lanes.size and tried * self._length < FURTHEST and not (tried == TRIES and self._ear):
            pending, tried = self._corrected(pending), tried + 1
        if pending.lanes.size and self._ear:
            self._in_one(self._ear, first)
        elif pending.lanes.size:
            self.settled = False

    @cached_property
    def _ear(self) -> CharRNN | None:
        """The model for a kernel to read with, in float32; None where none can."""
        model = self._model.at_precision("float32")
        return model if runs_compiled(model) and not unavailable() else None

    def _in_one(self, ear: CharRNN, state: Tensor) -> None:
        """Read the whole stretch from this state, character after character."""
        self.sums[:] = 0
        for targets, nats in self._heard(ear, self._start, self._stop, state, losses=True):
            self._give(targets, nats)

    def _heard(self, ear: CharRNN, begin: int, end: int, state: Tensor, losses: bool) -> Iterator[tuple[Targets, Nats]]:
        """Read the targets from `begin` to `end` with a kernel, in pieces: the targets, and their losses where wanted.
        `state` (L, S, 1, H) is moved on.
        """
        from rnnbptt.bptt.compiled import listen_on

        at_once = max(1, min(HEARD, HEARD_WORK // ear.parameters.flat.numel()))
        for first in range(begin, end, at_once):
            if self._give_up():
                raise GivenUpError
            last = min(first + at_once, end)
            yield np.arange(first, last), listen_on(ear, state, self._ids[first - 1 : last].astype(np.int64), losses)

    def _first_state(self, start: int) -> tuple[Tensor, bool]:
        """What the text before the stretch leaves, (L, S, 1, H), and whether it is settled."""
        reach = WARM_UP
        near = self._state_after(max(1, start - reach), start)
        while reach < min(FURTHEST, start - 1):
            reach *= FURTHER
            far = self._state_after(max(1, start - reach), start)
            if bool(agree(near, far, self._near)):
                return far, True
            near = far
        return near, start - 1 <= reach  # from the first character on it is what it should be

    def _state_after(self, begin: int, end: int) -> Tensor:
        """Of the text before the target `end`, read from the zero state at the target `begin`: (L, S, 1, H)."""
        ear = self._ear if end - begin >= LONG else None
        if ear:
            state = ear.zero_state(1)
            for _ in self._heard(ear, begin, end, state, losses=False):
                pass  # only the state is wanted
            return state
        state = self._model.zero_state(1)
        for _ in self._read(np.array([begin]), 0, end - begin, state):
            pass
        return state

    def _side_by_side(self, first: Tensor) -> Pending:
        """Read all lanes, the first from the state `first`, the others after a warm-up from zero: what each should have
        been read from, the one before it tells.
        """
        state = self._model.zero_state(len(self._begins))
        for _ in self._read(self._begins, -WARM_UP, 0, state):
            pass
        state[:, :, :1] = first
        entered = state.clone()
        for targets, nats in self._read(self._begins, 0, self._length, state):
            self._give(targets, nats)
        return Pending(np.arange(1, len(self._begins)), entered[:, :, 1:], state[:, :, :-1])

    def _corrected(self, pending: Pending) -> Pending:
        """Read lanes once more from both states, until these agree, and hand over by how much the losses differ; the
        lanes that follow those where they do not agree to the end.
        """
        lanes, old, new = pending
        for step in range(0, self._length, self._piece):
            differ = ~agree(old, new, self._near)
            lanes = lanes[differ.cpu().numpy()]
            if not lanes.size:
                return Pending(lanes, old, new)
            both, count = torch.cat([old[:, :, differ], new[:, :, differ]], 2), len(lanes)
            begins = np.tile(self._begins[lanes], 2)
            for targets, nats in self._read(begins, step, min(step + self._piece, self._length), both):
                self._give(targets[:, :count], nats[:, count:] - nats[:, :count])
            old, new = both[:, :, :count], both[:, :, count:]
        follow = lanes + 1 < len(self._begins)
        return Pending(lanes[follow] + 1, old[:, :, follow], new[:, :, follow])

    def _reader(self, lanes: int) -> CharRNN:
        """The model to read so many lanes with. It makes a tape for each number of them, and as lanes come to agree
        there are a hundred numbers, together gigabytes: so only the last one is kept.
        """
        if lanes != self._lanes:
            self._model, self._lanes = self._model.apart(), lanes
        return self._model

    def _give(self, targets: Targets, nats: Nats) -> None:
        """Add up what is within the stretch, and scored."""
        within = targets < self._stop
        if self._scored is not None:
            within &= self._scored[self._ids[np.minimum(targets, self._stop - 1)]]
        np.add.at(self.sums, (targets[within] - self._start) // self._stretch, nats[within])

    def _read(self, begins: Targets, first: int, last: int, state: Tensor) -> Iterator[tuple[Targets, Nats]]:
        """Read steps `first` to `last` of lanes that begin at the targets `begins` (B,), piece by piece: the targets
        and their losses, (T, B) each. `state` is moved on.
        """
        for step in range(first, last, self._piece):
            if self._give_up():
                raise GivenUpError
            steps = np.arange(step, min(step + self._piece, last))
            targets = begins + steps[:, None]
            known = np.clip(targets, 1, self._stop - 1)
            ids = (self._ids[at].astype(np.int64) for at in (known - 1, known))
            x, y = (torch.from_numpy(symbols).to(self._model.device) for symbols in ids)
            logits, _ = self._reader(len(begins)).forward(x, state)
            yield targets, cross_entropy(logits, y)[0].cpu().numpy()


def agree(old: Tensor, new: Tensor, near: float) -> Tensor:
    """Whether two states (L, S, B, H) are the same for what follows, (B,): their distance is at most `near` times the
    length of one. What is no number agrees with anything: it will not get any better.
    """
    distance, length = ((state).square().sum((1, 3)) for state in (old - new, new))
    return ~(distance > near**2 * length).any(0)
