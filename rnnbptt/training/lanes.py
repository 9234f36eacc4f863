"""The streams of a run: at its start, or where a checkpoint has left them."""

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbptt.bptt.generators import stream
from rnnbptt.errors import UserError
from rnnbptt.model.shapes import check_tensor
from rnnbptt.text.resets import Resets
from rnnbptt.text.streams import Streams
from rnnbptt.training.config import TrainConfig

SINCE, DUE = "streams.since", "streams.due"


def streams_of(
    ids: NDArray[Any], config: TrainConfig, position: int = 0, tensors: Mapping[str, Tensor] | None = None
) -> Streams:
    """Of a run that has read so many characters of each; after random resets the `tensors` of its checkpoint say since
    when. KeyError where one is missing, UserError where one does not fit.
    """
    if not config.reset_every:
        return Streams(ids, config.streams, position)
    resets = Resets(config.streams, config.reset_every, stream(config.seed, "resets"))
    streams = Streams(ids, config.streams, position, resets)
    if tensors is not None:
        since, due = tensors[SINCE], tensors[DUE]
        check_tensor(SINCE, since, (config.streams,), torch.int64)
        check_tensor(DUE, due, (config.streams,), torch.bool)
        if not 0 <= int(since.min()) <= int(since.max()) <= position:
            raise UserError(f"{SINCE!r} has numbers below 0, or above the {position:,} that were read")
        streams.since, streams.due = since.numpy().copy(), due.numpy().copy()
    return streams


def tensors_of(streams: Streams, config: TrainConfig) -> dict[str, Tensor]:
    """What the position does not tell, for a checkpoint."""
    if not config.reset_every:
        return {}
    return {SINCE: torch.from_numpy(streams.since.copy()), DUE: torch.from_numpy(streams.due.copy())}
