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
    """What it holds of its last `count` characters, (T, B, ...), the states one longer: its own. And their place, as
    that of a tape with no room for more, so that torch makes one of the size that it wants.
    """
    streams, first = tape.x.shape[1], len(tape.x) - count
    buffers = {"h": tape.h, "gates": tape.a}
    buffers |= {"c": tape.c} if network.config.sizes.parts > 1 else {}
    buffers |= {"memo": tape.memo} if network.cell.memo else {}
    buffers |= {"mask": tape.mask, "dropped": tape.out} if tape.mask.shape[1] else {}
    tensors = {"history.x": torch.from_numpy(tape.x[first:])}
    for name, layers in buffers.items():
        for index, rows in enumerate(layers):
            by_character = rows.reshape(-1, streams, rows.shape[-1])
            tensors[f"history.{index}.{name}"] = torch.from_numpy(by_character[first:])
    return tensors | {"history.place": torch.tensor([0, count])}


def hold(tape: Tape, network: CharRNN, tensors: Mapping[str, Tensor]) -> int:
    """Hold, as its last characters, what `history_of` gave of another tape, or what the other engine has left in a
    checkpoint; returns how many these are.

    KeyError where a tensor is missing, UserError where one does not fit.
    """
    count = len(tensors["history.x"])
    held = history_of(tape, network, count)
    for name in held.keys() - {"history.place"}:
        copy_checked(name, held[name], tensors)
    if network.config.cell == "rnn":  # whose activations torch does not keep beside the states that they are
        tape.a[:] = tape.h[:, tape.x.shape[1] :]
    return count
