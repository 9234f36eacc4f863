"""All parameters of a model in one flat tensor, with named views into it.

One buffer makes the optimizer one fused call, the gradient norm one reduction and the operand copy one conversion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnbptt.errors import UserError

PRECISIONS = ("auto", "float32", "bfloat16", "float64")


@dataclass(frozen=True)
class Precision:
    """`float`: parameters, state, sums, optimizer. `operand`: what matrix products read."""

    float: torch.dtype
    operand: torch.dtype


def choose_precision(name: str, device: torch.device) -> Precision:
    """The dtypes for a `--precision`; "auto" takes bfloat16 operands where the processor multiplies them natively."""
    if name not in PRECISIONS:
        raise UserError(f"--precision {name}: unknown; give one of {', '.join(PRECISIONS)}")
    if name == "auto":
        name = "bfloat16" if _has_bfloat16(device) else "float32"
    if name == "bfloat16":
        return Precision(torch.float32, torch.bfloat16)
    dtype = torch.float64 if name == "float64" else torch.float32
    return Precision(dtype, dtype)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # torch emulates bfloat16 products on older processors, slower than float32: only the instruction itself counts
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())


def choose_device(name: str) -> torch.device:
    """The torch device of that name; UserError where there is none here."""
    try:
        torch.Generator(device=torch.device(name))  # some devices hold tensors, but no numbers
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):  # torch says it in either way
        raise UserError(f"--device {name}: torch has no such device here; give cpu") from None


class Parameters:
    """Named tensors of given shapes inside flat buffers.

    Names in `transposed` are stored the other way round, so that the rows of their transpose are contiguous; their view
    still has the shape given.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        transposed: frozenset[str],
        precision: Precision,
        device: torch.device,
        flat: Tensor | None = None,
    ) -> None:
        self.shapes = dict(shapes)
        self.transposed = transposed
        size = sum(math.prod(shape) for shape in shapes.values())
        self.flat = torch.zeros(size, dtype=precision.float, device=device) if flat is None else flat
        self.grad = torch.zeros_like(self.flat)
        same = precision.operand == self.flat.dtype
        self._operands = self.flat if same else torch.empty_like(self.flat, dtype=precision.operand)
        self.values = self.views(self.flat)
        self.grads = self.views(self.grad)
        self.operands = self.views(self._operands)
        self.weights = [value for name, value in self.values.items() if "bias" not in name]

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Named views, of the given shapes, into any buffer laid out like this one (an optimizer's moments, say)."""
        views, offset = {}, 0
        for name, shape in self.shapes.items():
            piece = flat[offset : offset + math.prod(shape)]
            views[name] = piece.view(shape[::-1]).t() if name in self.transposed else piece.view(shape)
            offset += math.prod(shape)
        return views

    def zeros(self, name: str, *more: int) -> Tensor:
        """(*more, ...): zeros like a parameter, laid out as it is, with axes before its own."""
        shape = self.shapes[name]
        if name in self.transposed:
            return self.flat.new_zeros(*more, *shape[::-1]).transpose(-1, -2)
        return self.flat.new_zeros(*more, *shape)

    def refresh_operands(self) -> None:
        """Bring the operand copy up to date; call it after every change of `flat`."""
        if self._operands is not self.flat:
            self._operands.copy_(self.flat)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the values of `tensors`; UserError when a name is missing, unknown or of another shape."""
        if missing := self.shapes.keys() - tensors.keys():
            raise UserError(f"the weights lack {sorted(missing)[0]!r}: they belong to another model")
        if unknown := tensors.keys() - self.shapes.keys():
            raise UserError(f"the weights hold an unknown {sorted(unknown)[0]!r}: they belong to another model")
        for name, view in self.values.items():
            if tensors[name].shape != view.shape:
                given, wanted = tuple(tensors[name].shape), tuple(view.shape)
                raise UserError(f"the weights {name!r} have shape {given}, the model wants {wanted}")
        for name, view in self.values.items():
            view.copy_(tensors[name])
        self.refresh_operands()
