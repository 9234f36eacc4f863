"""Streams: contiguous lanes of a text, read side by side.

A text of N symbols has P = N-1 predictions, the pairs (ids[p], ids[p+1]). Lane b of B starts at pair floor(b P / B).
At the end of its share a lane simply goes on into the next lane's text, so a state carried along it stays true; only
a lane at the end of the whole text wraps to pair 0, and there its state has to be reset.

Axes: T symbols of a segment, B lanes.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnbptt.errors import check_option

READ_AHEAD = 512  # steps gathered at once: one call to numpy then serves hundreds of small segments
READ_AHEAD_BYTES = 1 << 20


def gather(ids: NDArray[np.integer[Any]], starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """So many symbols from each start (B,) on, side by side: (length, B)."""
    return np.asarray(ids[starts + np.arange(length)[:, None]], np.int64)


class Segment(NamedTuple):
    """What to read and what to predict. The arrays are views of shared buffers: read them, do not write.

    x      (T, B) int64  symbols
    y      (T, B) int64  the symbol after each of them
    reset  (B,) bool     lanes whose state must be zero before this segment, because they have just wrapped
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    reset: NDArray[np.bool_]


class Streams:
    """Reads `ids` (N,) in B lanes.

    epoch_chars  P, the predictions of one epoch
    position     symbols per lane read so far: all there is to save, and to give again to go on from there
    """

    def __init__(self, ids: NDArray[Any], streams: int, position: int = 0) -> None:
        """UserError unless there is at least 1 stream, and each has at least 2 pairs."""
        self.epoch_chars = len(ids) - 1
        check_option(streams >= 1, "streams", streams, "must be at least 1")
        most = self.epoch_chars // 2
        advice = f"give at most {most:,}" if most > 0 else "which is too short even for 1; give more text"
        too_many = f"too many for the {len(ids):,} symbols of the training text, {advice}"
        check_option(streams <= most, "streams", streams, too_many)
        self.position = position
        self._ids = ids
        self._starts = np.arange(streams, dtype=np.int64) * self.epoch_chars // streams
        self._ahead = max(1, min(READ_AHEAD, READ_AHEAD_BYTES // (8 * streams)))
        self._no_reset = np.zeros(streams, dtype=np.bool_)
        self._block = np.empty((0, streams), dtype=np.int64)  # the symbols of positions _origin, _origin + 1, ...
        self._origin = position
        self._find_wrap()

    def _find_wrap(self) -> None:
        """See which lanes have just wrapped, and at which position the next one will."""
        pairs = (self._starts + self.position) % self.epoch_chars
        self._reset = (pairs == 0) & (self.position > 0)  # at the very start every state is zero already
        self._wrap = self.position + self.epoch_chars - int(pairs.max())

    def until_wrap(self) -> int:
        """Symbols per lane until some lane wraps, at least 1: no segment is longer."""
        return self._wrap - self.position

    def history(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each lane, (B,): the symbol at which it stops having read, and how many it has read since its state was
        zero.
        """
        behind = self._starts + self.position
        ends = (behind - 1) % self.epoch_chars + 1
        return ends, np.where(behind > self.epoch_chars, ends, self.position)

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
        segment = Segment(self._block[row:stop], self._block[row + 1 : stop + 1], self._reset)
        self._reset = self._no_reset
        self.position += steps
        if self.position == self._wrap:
            self._find_wrap()
        return segment
