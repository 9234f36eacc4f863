"""What a tape of the kernels holds of older characters, as a checkpoint keeps it: by the names and in the shapes of
`Tape.history` in tape.py, so that either engine can go on from what the other one has read.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from rnnbptt.bptt.kernels import Tape
from rnnbptt.bptt.network import CharRNN
from rnnbptt.model.shapes import copy_checked


def history_of(tape: Tape, network: CharRNN, count: int) -> dict[str, Tensor]:
    """What it holds of its last `count` characters, (T, B, ...), the states one longer, and their place: its own."""
    capacity, streams = tape.x.shape
    first = capacity - count
    buffers = {"h": tape.h, "gates": tape.a}
    buffers |= {"c": tape.c} if network.config.sizes.parts > 1 else {}
    buffers |= {"memo": tape.memo} if network.cell.memo else {}
    buffers |= {"mask": tape.mask, "dropped": tape.out} if tape.mask.shape[1] else {}
    tensors = {"history.x": torch.from_numpy(tape.x[first:])}
    for name, layers in buffers.items():
        for index, rows in enumerate(layers):
            by_character = rows.reshape(-1, streams, rows.shape[-1])
            tensors[f"history.{index}.{name}"] = torch.from_numpy(by_character[first:])
    return tensors | {"history.place": torch.tensor([first, capacity])}


def hold(tape: Tape, network: CharRNN, tensors: Mapping[str, Tensor]) -> int:
    """Hold what `history_of` another tape gave, as its last characters; returns how many these are.

    KeyError where a tensor is missing, UserError where one does not fit.
    """
    count = len(tensors["history.x"])
    held = history_of(tape, network, count)
    for name in held.keys() - {"history.place"}:
        copy_checked(name, held[name], tensors)
    if network.config.cell == "rnn":  # whose activations torch does not keep beside the states that they are
        tape.a[:] = tape.h[:, tape.x.shape[1] :]
    return count
