"""What a recurrence has to offer, and what those with a dense product of the state have in common.

No autograd anywhere: what is called *back-propagation through time* is the reversed loop of each cell's `backward`, and
where it starts and stops is the truncation. Given `own_back` instead of `back`, the same loop follows each unit through
itself alone, which is the influence that SnAp-1 keeps (see influence.py).

Axes and dtypes as in tape.py: T characters, B streams, H hidden, G = gates x H, S tensors of a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.tape import LayerTape, Span

Carry = Sequence[float]  # the factor on the gradient that passes from character t + 1 of a span to t
Back = Callable[[Tensor], Tensor]  # from the gradient of one character's pre-activations, (B, G), to that of its state
Multiply = Callable[[Tensor, Tensor, Tensor], None]  # out, a, b: out = a @ b, whatever the dtype of out


class Weights(NamedTuple):
    """The recurrent parameters of one layer by kind, such as "weight_hh": as they are, and in operand dtype."""

    values: Mapping[str, Tensor]
    operands: Mapping[str, Tensor]


class Boundary(NamedTuple):
    """Where a backward pass is to write the gradient of the state before its first character.

    d_before  (L, S, B, H) for a model, (S, B, H) for a layer
    alone     through that character from each unit to itself alone
    """

    d_before: Tensor
    alone: bool = False


class PerStream(Protocol):
    """A gradient for each stream by itself, (B, ...), formed only where it is added: all streams at once may be too
    much for the memory.
    """

    def add_to(self, out: Tensor, scratch: Scratch) -> None:
        """Add it to `out`, (B, ...); what it takes for that is in buffers of `scratch`."""

    def keep(self, scratch: Scratch, name: str) -> None:
        """Stay as it is when the tape goes through another backward pass, in buffers of that name."""


class Each:
    """Given as a tensor (B, ...)."""

    def __init__(self, gradients: Tensor) -> None:
        self._gradients = gradients

    def add_to(self, out: Tensor, scratch: Scratch) -> None:
        """See PerStream."""
        out.add_(self._gradients)

    def keep(self, scratch: Scratch, name: str) -> None:
        """It is a sum, and its own tensor."""


class Outer:
    """sum_t d_t x_t^T, (B, G, C), from d (T, B, G) and x (T, B, C)."""

    def __init__(self, d: Tensor, x: Tensor) -> None:
        self._operand = min(d.dtype, x.dtype, key=lambda dtype: dtype.itemsize)  # what matrix products read
        self._shared = d.dtype == self._operand
        self._d, self._x = d.to(self._operand), x.to(self._operand)

    def add_to(self, out: Tensor, scratch: Scratch) -> None:
        """See PerStream."""
        shape = tuple(out.shape[1:])
        for of_stream, d, x in zip(out, self._d.unbind(1), self._x.unbind(1), strict=True):
            if out.dtype == self._operand:
                of_stream.addmm_(d.t(), x)
            else:
                product = scratch.get("outer", shape, out)
                scratch.product(product, d.t(), x)
                of_stream.add_(product)

    def keep(self, scratch: Scratch, name: str) -> None:
        """x is of the forward pass, and d a copy where it had another dtype."""
        if self._shared:
            self._d = scratch.get(name, tuple(self._d.shape), self._d).copy_(self._d)


class OneHotOuter:
    """The same for symbols x (T, B), into an `out` stored as its transpose."""

    def __init__(self, d: Tensor, x: Tensor) -> None:
        self._d, self._x = d, x

    def add_to(self, out: Tensor, scratch: Scratch) -> None:
        """See PerStream."""
        streams, rows, symbols = out.shape
        first = torch.arange(streams, device=out.device) * symbols  # row of each stream's symbol 0
        out.transpose(1, 2).view(-1, rows).index_add_(0, (first + self._x).flatten(), self._d.flatten(0, 1))

    def keep(self, scratch: Scratch, name: str) -> None:
        """x is of the forward pass."""
        self._d = scratch.get(name, tuple(self._d.shape), self._d).copy_(self._d)


class Cell(Protocol):
    """A recurrence."""

    name: str
    gates: int  # G / H
    parts: int  # S, tensors of the state: 1 (h), 2 (h and c), or 0 (nothing recurs)
    memo: bool  # whether it remembers anything but states and gates
    separate_hidden: bool  # whether W_ih x and W_hh h have different gradients, because a gate multiplies the latter
    window: int  # characters that the first layer reads at a time; 0: one, the recurrence remembers the others

    @property
    def carried(self) -> tuple[int, ...]:
        """The parts of the state that the next character reads, so that a gradient comes back through them."""

    def shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the recurrent parameters, by kind."""

    def initial_bias(self, hidden: int) -> Tensor:
        """b_ih of a fresh layer, (G,)."""

    def bind(self, tape: LayerTape) -> None:
        """Make the tape's `forward_steps` and `backward_steps`, one tuple of views a character."""

    def folded_bias(self, b_ih: Tensor, weights: Weights) -> Tensor:
        """The part of all biases that does not depend on the state, (G,): it is added to the input's share."""

    def forward(self, weights: Weights, tape: LayerTape, span: Span) -> None:
        """Run the recurrence over the characters of `span`, from the state the tape entered with."""

    def back(self, weights: Weights, tape: LayerTape) -> Back:
        """What carries a gradient one character back through the recurrent weights."""

    def own_back(self, weights: Weights, tape: LayerTape) -> Back:
        """The same, but from each unit to itself alone."""

    def backward(self, weights: Weights, back: Back, tape: LayerTape, span: Span, carry: Carry) -> None:
        """Back-propagate through the characters of `span`.

        On entry `tape.gradients` holds in `h` the gradient with respect to each h through everything but this
        recurrence, and in the first half of `d_c` that with respect to the last c. Fills `inputs` and `hidden`, the
        gradients of the pre-activations, and leaves in `d_c` what passes on to the state before the span directly. The
        gradient that passes from character t + 1 of the span to t is multiplied by carry[t], T - 1 factors: 1 is
        back-propagation, 0 a cut.
        """

    def before(self, back: Back, tape: LayerTape, span: Span) -> tuple[Tensor | None, ...]:
        """After `backward`: the gradient of each part of the state before the span, (B, H); None where it is 0."""

    def gradients(self, tape: LayerTape, span: Span, grads: Mapping[str, Tensor], multiply: Multiply) -> None:
        """After `backward`: write the gradients of the biases and recurrent parameters, by kind."""

    def influences(self, tape: LayerTape, span: Span) -> dict[str, PerStream]:
        """The same for each stream by itself, of those that the layer's own state depends on."""

    def output_influences(self, tape: LayerTape, span: Span) -> dict[str, PerStream]:
        """The same of the others, which matter to the layers above alone."""


def later(steps: list[Any], span: Span, carry: Carry) -> Iterator[tuple[float | None, Any]]:
    """The steps of a span from the last to the first, each with the factor on the gradient from the next: None at the
    last.
    """
    return zip((None, *reversed(carry)), reversed(steps[slice(*span)]), strict=True)


class Dense:
    """Recurrences with a product W_hh h + b_hh, one block of W_hh a gate."""

    gates: int
    separate_hidden, window = False, 0

    def shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """As torch.nn has them."""
        return {"weight_hh": (self.gates * hidden, hidden), "bias_hh": (self.gates * hidden,)}

    def initial_bias(self, hidden: int) -> Tensor:
        """Zero."""
        return torch.zeros(self.gates * hidden)

    def folded_bias(self, b_ih: Tensor, weights: Weights) -> Tensor:
        """Both are simply added."""
        return b_ih + weights.values["bias_hh"]

    def back(self, weights: Weights, tape: LayerTape) -> Back:
        """d W_hh."""
        w_hh, product = weights.operands["weight_hh"], tape.gradients.product
        return lambda d: product(d, w_hh)

    def own_back(self, weights: Weights, tape: LayerTape) -> Back:
        """As `back`, with the diagonal of each block of W_hh."""
        hidden = tape.h.shape[-1]
        diagonals = weights.values["weight_hh"].view(self.gates, hidden, hidden).diagonal(dim1=1, dim2=2).contiguous()
        return lambda d: d.to(diagonals.dtype, copy=True).view(-1, self.gates, hidden).mul_(diagonals).sum(1)

    def gradients(self, tape: LayerTape, span: Span, grads: Mapping[str, Tensor], multiply: Multiply) -> None:
        """One product for the whole span."""
        views = tape.views(span)
        multiply(grads["weight_hh"], views.d_hidden.t(), views.h_before)
        d_inputs = views.d_inputs
        torch.mv(d_inputs.t(), d_inputs.new_ones(len(d_inputs)), out=grads["bias_ih"])  # a third of the time of a sum
        grads["bias_hh"].copy_(self.hidden_bias_gradient(views.d_hidden, grads["bias_ih"]))

    def influences(self, tape: LayerTape, span: Span) -> dict[str, PerStream]:
        """One product for each stream."""
        views = tape.views(span)
        d_inputs, d_hidden, h = (
            tensor.view(span.length, -1, tensor.shape[-1])
            for tensor in (views.d_inputs, views.d_hidden, views.h_before)
        )
        d_bias = d_inputs.sum(0)
        return {
            "weight_hh": Outer(d_hidden, h),
            "bias_ih": Each(d_bias),
            "bias_hh": Each(self.hidden_bias_gradient(d_hidden, d_bias)),
        }

    def output_influences(self, tape: LayerTape, span: Span) -> dict[str, PerStream]:
        """The output is the state."""
        return {}

    def hidden_bias_gradient(self, d_hidden: Tensor, d_bias_ih: Tensor) -> Tensor:
        """The gradient of b_hh, (..., G), from those of W_hh h, (T, ..., G), and of b_ih: both are simply added."""
        return d_bias_ih
