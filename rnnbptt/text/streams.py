"""Streams: contiguous lanes of a text, read side by side.

A text of N symbols has P = N-1 predictions, the pairs (ids[p], ids[p+1]). Lane b of B starts at pair floor(b P / B).
At the end of its share a lane simply goes on into the next lane's text, so a state carried along it stays true; only
a lane at the end of the whole text wraps to pair 0, and there its state has to be reset. Random resets come on top,
where they are asked for: a segment begins with those whose place lies in the segment before.

Axes: T symbols of a segment, B lanes.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnbptt.errors import check_option
from rnnbptt.text.resets import Resets

READ_AHEAD = 512  # steps gathered at once: one call to numpy then serves hundreds of small segments
READ_AHEAD_BYTES = 1 << 20


def gather(ids: NDArray[np.integer[Any]], starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """So many symbols from each start (B,) on, side by side: (length, B)."""
    return np.asarray(ids[starts + np.arange(length)[:, None]], np.int64)


class Segment(NamedTuple):
    """What to read and what to predict. The arrays are views of shared buffers: read them, do not write.

    x      (T, B) int64  symbols
    y      (T, B) int64  the symbol after each of them
    reset  (B,) bool     lanes whose state must be zero before this segment: they have just wrapped, or by chance
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    reset: NDArray[np.bool_]


class Streams:
    """Reads `ids` (N,) in B lanes.

    epoch_chars  P, the predictions of one epoch
    position     symbols per lane read so far
    since        (B,) of these, since the lane's state was zero
    due          (B,) lanes whose state must be zero before the next segment

    Without random resets the position is all there is to save, and to give again to go on from there.
    """

    def __init__(self, ids: NDArray[Any], streams: int, position: int = 0, resets: Resets | None = None) -> None:
        """UserError unless there is at least 1 stream, and each has at least 2 pairs."""
        self.epoch_chars = len(ids) - 1
        check_option(streams >= 1, "streams", streams, "must be at least 1")
        most = self.epoch_chars // 2
        advice = f"give at most {most:,}" if most > 0 else "which is too short even for 1; give more text"
        too_many = f"too many for the {len(ids):,} symbols of the training text, {advice}"
        check_option(streams <= most, "streams", streams, too_many)
        self.position = position
        self._ids, self._resets = ids, resets
        self._starts = np.arange(streams, dtype=np.int64) * self.epoch_chars // streams
        self._ahead = max(1, min(READ_AHEAD, READ_AHEAD_BYTES // (8 * streams)))
        self._block = np.empty((0, streams), dtype=np.int64)  # the symbols of positions _origin, _origin + 1, ...
        self._origin = position
        behind = self._starts + position
        self.since = np.where(behind > self.epoch_chars, (behind - 1) % self.epoch_chars + 1, position)
        self._no_reset = np.zeros(streams, dtype=np.bool_)
        self.due = self._find_wrap()

    def _find_wrap(self) -> NDArray[np.bool_]:
        """See at which position the next lane will wrap; those that have just done so."""
        pairs = (self._starts + self.position) % self.epoch_chars
        self._wrap = self.position + self.epoch_chars - int(pairs.max())
        wrapped: NDArray[np.bool_] = (pairs == 0) & (self.position > 0)  # at the very start all are zero already
        return wrapped

    def until_wrap(self) -> int:
        """Symbols per lane until some lane wraps, at least 1: no segment is longer."""
        return self._wrap - self.position

    def segments_until_reset(self, length: int) -> int:
        """How many segments of that length can be read in one, 1 at least: some state must be zero before the next."""
        count = self.until_wrap() // length
        if self._resets:
            count = min(count, -((self.position - self._resets.next(self.position)) // length))
        return max(1, count)

    def ends(self) -> NDArray[np.int64]:
        """For each lane, (B,), the symbol at which it stops having read."""
        return (self._starts + self.position - 1) % self.epoch_chars + 1

    def take(self, k: int) -> Segment:
        """The next k symbols of every lane, or fewer where a lane reaches the end of the text."""
        steps = min(k, self.until_wrap())
        row = self.position - self._origin
        if row + steps >= len(self._block):
            # Read on from here, never past a wrap; one symbol more, which is the last target.
            pairs = (self._starts + self.position) % self.epoch_chars
            self._block = gather(self._ids, pairs, max(steps, min(self._ahead, self.until_wrap())) + 1)
            self._origin, row = self.position, 0
        stop = row + steps
        # x and y overlap in the block: y is x, one symbol later.
        segment = Segment(self._block[row:stop], self._block[row + 1 : stop + 1], self.due)
        if self.due is not self._no_reset:
            self.since[self.due] = 0
        self.since += steps
        self.position += steps
        self.due = self._find_wrap() if self.position == self._wrap else self._no_reset
        if self._resets:
            self.due = self.due | self._resets.between(self.position - steps, self.position)
        return segment
