"""Random numbers of torch: a stream of its own for each purpose of a run, and their state in checkpoints."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from rnnbptt.errors import UserError
from rnnbptt.model.shapes import check_tensor

STATE_BYTES = (5056, 16)  # of a generator on a processor (Mersenne twister) and on a GPU (Philox)


def stream(seed: int, purpose: str) -> int:
    """The seed of the random numbers for one purpose of a run: the streams of two have nothing in common."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big")


def set_state(generator: torch.Generator, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Set a generator to the state of that name; KeyError where it is missing, UserError where it is none.

    With the state of another kind of device it cannot go on: that is all it is seeded by.
    """
    saved, own = tensors[name], generator.get_state()
    size = saved.numel() if saved.numel() in STATE_BYTES else own.numel()
    check_tensor(name, saved, (size,), own.dtype)
    if size != own.numel():
        generator.manual_seed(stream(0, saved.numpy().tobytes().hex()))
        return
    try:
        generator.set_state(saved)
    except RuntimeError:
        raise UserError(f"{name!r} is no state of a random generator") from None
