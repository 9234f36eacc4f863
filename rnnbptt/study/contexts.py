"""How well a model reads with only so many characters before: where the loss stops falling, its memory ends."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.inference.evaluation import LN2, PIECE
from rnnbptt.text.corpus import Corpus, Ids
from rnnbptt.text.streams import gather

Count = Callable[[int], None]

TARGETS = 1024  # characters whose loss is measured by context
BATCH = 64  # of these at a time


@dataclass(frozen=True)
class ContextLoss:
    """Bits per character where so many `characters` were read since the state was zero."""

    characters: int
    bpc: float


def spread_targets(corpus: Corpus, start: int, stop: int) -> NDArray[np.int64]:
    """Positions to predict, spread over those from start to stop that are scored; none where there are none."""
    if corpus.scored is None:
        first = max(1, start)
        return np.linspace(first, stop, min(TARGETS, max(0, stop - first)), endpoint=False).astype(np.int64)
    places = corpus.scored_places(start, stop)
    chosen = np.linspace(0, len(places), min(TARGETS, len(places)), endpoint=False)
    return places[chosen.astype(np.int64)]


def context_bpc(
    model: CharRNN, ids: Ids, targets: NDArray[np.int64], characters: int, count: Count = lambda chars: None
) -> float:
    """Mean bits per character of ids[targets], each given so many characters before it, from the zero state."""
    nats = 0.0
    for first in range(0, len(targets), BATCH):
        batch = targets[first : first + BATCH]
        logits = read_lanes(model, ids, batch - characters, characters, model.zero_state(len(batch)))
        y = torch.from_numpy(ids[batch].astype(np.int64))
        nats += float(cross_entropy(logits, y[None])[0].double().sum())
        count(characters * len(batch))
    return nats / len(targets) / LN2


def read_lanes(model: CharRNN, ids: Ids, starts: NDArray[np.int64], length: int, state: Tensor) -> Tensor:
    """Read so many characters of each lane from `state`, which is moved on; the logits after the last one, (B, V)."""
    x = torch.from_numpy(gather(ids, starts, length))
    for first in range(0, length, PIECE):  # memory does not grow with the length
        logits, _ = model.forward(x[first : first + PIECE], state)
    return logits[-len(starts) :]
