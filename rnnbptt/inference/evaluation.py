"""Evaluation: the loss of every character of a stretch of text, whatever way the model was trained.

The text is read in fixed lanes, side by side for speed, each warmed by the text before it (also where that belongs to
another split: it is only read, not scored). Number of lanes and warm-up depend on the length of the text alone, so two
checkpoints are always given exactly the same task; the length of the pieces it is read in changes nothing.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN

LANES = 64
WARM_UP = 256  # characters read, not scored, before each lane
SHORTEST_LANE = 500  # below this the warm-up would cost more than the lane
PIECE = 64  # characters read at a time: bounds memory, not the result

LN2 = float(np.log(2))


@torch.no_grad()
def mean_nats(model: CharRNN, ids: NDArray[np.integer], start: int, stop: int, piece: int = PIECE) -> float:
    """Mean negative log-likelihood, nats per character, of ids[start:stop], each given all the text before it.

    The very first character of a text has no text before it and is not scored. Memory does not grow with the text.
    """
    lanes = _Lanes(start, stop)
    total = 0.0
    for first, nats in _read(model, ids, lanes, piece):
        total += float(nats[lanes.scored(first, len(nats))].sum(dtype=np.float64))
    return total / lanes.count


@torch.no_grad()
def character_nats(
    model: CharRNN, ids: NDArray[np.integer], start: int, stop: int, piece: int = PIECE
) -> NDArray[np.float64]:
    """The negative log-likelihood of each character of ids[max(start, 1):stop] in nats, in the order of the text."""
    lanes = _Lanes(start, stop)
    out = np.empty(lanes.count)
    for first, nats in _read(model, ids, lanes, piece):
        scored = lanes.scored(first, len(nats))
        out[lanes.positions(first, len(nats))[scored] - lanes.starts[0]] = nats[scored]
    return out


class _Lanes:
    """Targets [start, stop) cut into lanes; step s of lane j is the target at starts[j] + s, negative s the warm-up."""

    def __init__(self, start: int, stop: int) -> None:
        start = max(start, 1)
        self.count = stop - start
        lanes = min(LANES, max(1, self.count // SHORTEST_LANE))
        edges = start + np.arange(lanes + 1) * self.count // lanes
        self.starts, self._stops = edges[:-1], edges[1:]
        self.steps = int((self._stops - self.starts).max())
        self.stop = stop
        # A lane too near the start of the text for a whole warm-up begins, from the zero state, where the text does.
        self.resets = {int(1 - s): j for j, s in enumerate(self.starts) if 1 - s > -WARM_UP}

    def positions(self, first: int, steps: int) -> NDArray[np.int64]:
        """Targets of `steps` steps from step `first` on, (T, lanes)."""
        return self.starts + np.arange(first, first + steps)[:, None]

    def scored(self, first: int, steps: int) -> NDArray[np.bool_]:
        """Which of them count: neither warm-up nor beyond the lane, (T, lanes)."""
        positions = self.positions(first, steps)
        return (positions >= self.starts) & (positions < self._stops)


def _read(
    model: CharRNN, ids: NDArray[np.integer], lanes: _Lanes, piece: int
) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Yield (first step, nats (T, lanes)) piece by piece, the warm-up too."""
    model = model.at_precision("float32")
    state = model.zero_state(len(lanes.starts))
    edges = {-WARM_UP, 0, lanes.steps, *lanes.resets, *range(-WARM_UP, 0, piece), *range(0, lanes.steps, piece)}
    ordered = sorted(edges)
    for first, end in pairwise(ordered):
        if first in lanes.resets:
            state[:, :, lanes.resets[first]] = 0
        targets = np.clip(lanes.positions(first, end - first), 1, lanes.stop - 1)
        x = torch.from_numpy(ids[targets - 1].astype(np.int64)).to(model.device)
        y = torch.from_numpy(ids[targets].astype(np.int64)).to(model.device)
        logits, _ = model.forward(x, state)
        nats, _ = cross_entropy(logits, y)
        yield first, nats.cpu().numpy()
