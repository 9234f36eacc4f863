"""Evaluation: the loss of every character of a stretch of text, whatever way the model was trained.

The stretch is cut into lanes, which are read side by side for speed. Before its own characters each lane reads up to
`WARM_UP` characters that come before them, of another split too, without scoring them. Number of lanes and warm-up
depend on the length of the text alone, so two checkpoints are always given exactly the same task; the length of the
pieces it is read in changes nothing.
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
    start, total = max(start, 1), 0.0
    for _, nats in _score(model, ids, start, stop, piece):
        total += float(nats.sum(dtype=np.float64))
    return total / (stop - start)


@torch.no_grad()
def character_nats(
    model: CharRNN, ids: NDArray[np.integer], start: int, stop: int, piece: int = PIECE
) -> NDArray[np.float64]:
    """The negative log-likelihood of each character of ids[max(start, 1):stop] in nats, in the order of the text."""
    start = max(start, 1)
    out = np.empty(stop - start)
    for positions, nats in _score(model, ids, start, stop, piece):
        out[positions - start] = nats
    return out


def _score(
    model: CharRNN, ids: NDArray[np.integer], start: int, stop: int, piece: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating]]]:
    """Yield positions in the text and the nats of the characters there, of all from `start`, at least 1, to `stop`.

    At step s lane j predicts the character at starts[j] + s; steps below 0 are the warm-up.
    """
    count = stop - start
    lanes = min(LANES, max(1, count // SHORTEST_LANE))
    borders = start + np.arange(lanes + 1) * count // lanes
    starts, stops = borders[:-1], borders[1:]
    steps = int((stops - starts).max())
    # A lane too near the start of the text for a whole warm-up begins, from the zero state, where the text does.
    resets = {int(1 - s): j for j, s in enumerate(starts) if 1 - s > -WARM_UP}
    cuts = {-WARM_UP, 0, steps, *resets, *range(-WARM_UP, 0, piece), *range(0, steps, piece)}
    model = model.at_precision("float32")
    state = model.zero_state(lanes)
    for first, end in pairwise(sorted(cuts)):
        if first in resets:
            state[:, :, resets[first]] = 0
        positions = starts + np.arange(first, end)[:, None]  # (T, lanes)
        targets = np.clip(positions, 1, stop - 1)
        x = torch.from_numpy(ids[targets - 1].astype(np.int64)).to(model.device)
        y = torch.from_numpy(ids[targets].astype(np.int64)).to(model.device)
        logits, _ = model.forward(x, state)
        nats, _ = cross_entropy(logits, y)
        scored = (positions >= starts) & (positions < stops)  # neither warm-up nor beyond the lane
        yield positions[scored], nats.cpu().numpy()[scored]
