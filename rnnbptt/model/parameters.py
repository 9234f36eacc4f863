"""All parameters of a model in one flat tensor, with named views into it.

One buffer makes the optimizer one fused call, the gradient norm one reduction and the operand copy one conversion.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from rnnbptt.errors import UserError
from rnnbptt.model.config import ModelConfig
from rnnbptt.model.precision import Precision
from rnnbptt.model.shapes import Shapes, check_tensor, initial_bias


class Parameters:
    """Named tensors of given shapes inside flat buffers.

    Names in `transposed` are stored the other way round, so that the rows of their transpose are contiguous; their view
    still has the shape given.
    """

    def __init__(
        self,
        shapes: Shapes,
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
        self.operand = precision.operand
        self._operands = self.flat if same else torch.empty_like(self.flat, dtype=precision.operand)
        self.values = self.views(self.flat)
        self.grads = self.views(self.grad)
        self.operands = self.views(self._operands)
        self.weights = [value for name, value in self.values.items() if "bias" not in name]

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Named views, of the given shapes, into any buffer laid out like this one (an optimizer's moments, say), and
        of (..., *shape) where it has axes before that.
        """
        views, offset = {}, 0
        for name, shape in self.shapes.items():
            piece, across = flat[..., offset : offset + math.prod(shape)], name in self.transposed
            view = piece.view(*flat.shape[:-1], *(shape[::-1] if across else shape))
            views[name] = view.transpose(-1, -2) if across else view
            offset += math.prod(shape)
        return views

    def zeros(self, name: str, *more: int) -> Tensor:
        """(*more, ...): zeros like a parameter, laid out as it is, with axes before its own."""
        shape = self.shapes[name]
        if name in self.transposed:
            return self.flat.new_zeros(*more, *shape[::-1]).transpose(-1, -2)
        return self.flat.new_zeros(*more, *shape)

    def draw(self, config: ModelConfig, seed: int) -> None:
        """Fresh weights: all uniform in +-1/sqrt(H) as torch.nn draws them, but for the biases, see `initial_bias`."""
        rng = torch.Generator().manual_seed(seed)
        bound = config.hidden**-0.5
        for name, value in self.values.items():
            if "weight" in name:
                value.copy_(torch.empty(value.shape, dtype=torch.float64).uniform_(-bound, bound, generator=rng))
            elif "bias_ih" in name:
                value.copy_(initial_bias(config))
        self.refresh_operands()

    def refresh_operands(self) -> None:
        """Bring the operand copy up to date; call it after every change of `flat`."""
        if self._operands is not self.flat:
            self._operands.copy_(self.flat)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the values of `tensors`; UserError, and nothing is changed, where `check_weights` refuses them."""
        check_weights(self.shapes, tensors)
        for name, view in self.values.items():
            view.copy_(tensors[name])
        self.refresh_operands()


def check_weights(shapes: Shapes, tensors: Mapping[str, Tensor]) -> None:
    """UserError when a name is missing or unknown, or a tensor of another shape, no floats or not finite."""
    if missing := shapes.keys() - tensors.keys():
        raise UserError(f"the weights lack {min(missing)!r}: they belong to another model")
    if unknown := tensors.keys() - shapes.keys():
        raise UserError(f"the weights hold an unknown {min(unknown)!r}: they belong to another model")
    for name, shape in shapes.items():
        check_tensor(name, tensors[name], shape, torch.float32, torch.float64)
