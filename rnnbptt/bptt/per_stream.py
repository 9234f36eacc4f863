"""Gradients for each stream by itself, added to a tensor that has an axis for the streams: (B, ...).

They are formed only where they are added: those of all streams at once may be too much for the memory.
"""

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.products import add_rows


def add_outer(out: Tensor, d: Tensor, x: Tensor, scratch: Scratch) -> None:
    """out[b] += sum_t d_tb x_tb^T: out (B, G, C), d (T, B, G), x (T, B, C). The products read the narrower dtype."""
    operand = min(d.dtype, x.dtype, key=lambda dtype: dtype.itemsize)
    for of_stream, d_b, x_b in zip(out, d.to(operand).unbind(1), x.to(operand).unbind(1), strict=True):
        if out.dtype == operand:
            of_stream.addmm_(d_b.t(), x_b)
        else:
            product = scratch.get("outer", tuple(of_stream.shape), out)
            scratch.product(product, d_b.t(), x_b)
            of_stream.add_(product)


def add_one_hot_outer(out: Tensor, d: Tensor, x: Tensor) -> None:
    """The same for the one-hot vectors of symbols x (T, B), to an `out` (B, G, V) that is stored as its transpose."""
    streams, rows, symbols = out.shape
    first = torch.arange(streams, device=out.device) * symbols  # row of each stream's symbol 0
    add_rows(out.transpose(1, 2).view(-1, rows), (first + x).flatten(), d.flatten(0, 1))
