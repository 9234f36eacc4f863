"""Buffers that are made once and used again: fresh memory costs more than most of what is written into it."""

import math

import torch
from torch import Tensor

from rnnbptt.bptt.products import product


class Scratch:
    """Buffers by name that grow to the largest size asked for: once warm, nothing is allocated."""

    def __init__(self) -> None:
        self._store: dict[tuple[str, torch.dtype], Tensor] = {}

    def get(self, name: str, shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """A buffer of that shape, on the device of `like` and of its dtype unless given; the next call of the same
        name may give the same memory.
        """
        size, dtype = math.prod(shape), dtype or like.dtype
        buffer = self._store.get((name, dtype))
        if buffer is None or buffer.numel() < size:
            buffer = self._store[name, dtype] = torch.empty(size, dtype=dtype, device=like.device)
        return buffer[:size].view(shape)

    def product(self, out: Tensor, a: Tensor, b: Tensor) -> None:
        """out = a @ b, also where out has a wider dtype than the operands."""
        product(out, a, b, None if out.dtype == a.dtype else self.get("product", tuple(out.shape), a))

    def add_product(self, out: Tensor, a: Tensor, b: Tensor) -> None:
        """out += a @ b, likewise."""
        if out.dtype == a.dtype:
            torch.addmm(out, a, b, out=out)
        else:
            out.add_(torch.mm(a, b, out=self.get("product", tuple(out.shape), a)))

    def operand(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """The tensor as a matrix product wants it."""
        if tensor.dtype == dtype:
            return tensor
        return self.get("operand", tuple(tensor.shape), tensor, dtype).copy_(tensor)

    def copy(self, name: str, tensor: Tensor) -> Tensor:
        """A copy that stays when the tensor's own buffer is written again."""
        return self.get(name, tuple(tensor.shape), tensor).copy_(tensor)
