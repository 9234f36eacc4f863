"""What stands below and above a recurrence: inputs, dropout, the head and the loss, each with its backward pass.

Shapes as in tape.py; N = T*B is time and streams in one axis, V the vocabulary.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.per_stream import add_one_hot_outer, add_outer
from rnnbptt.bptt.products import add_rows
from rnnbptt.bptt.tape import Adjoint, LayerTape, Span, Views
from rnnbptt.model.parameters import Parameters

Carry = Sequence[float]  # the factor on the gradient that passes from character t + 1 of a span to t, T - 1 of them


class Way(Enum):
    """How a gradient goes back through a recurrence, from a character to the one before it."""

    WHOLE = "from every unit to all"
    OWN = "from each unit to itself alone"
    LEAK = "from each unit to what it keeps of its own state, through no recurrent weight"


class Boundary(NamedTuple):
    """Where a backward pass is to write the gradient of the state before its first character.

    d_before  (L, S, B, H) for a network, (S, B, H) for a layer
    way       through that character
    """

    d_before: Tensor
    way: Way = Way.WHOLE


class OneHotInput:
    """W_ih x for a one-hot x: a look-up of rows of W_ih's transpose, which is how that matrix is stored."""

    def __init__(self, parameters: Parameters, name: str) -> None:
        self._rows, self._d_rows = parameters.values[name].t(), parameters.grads[name].t()  # (V, G)

    def forward(self, x: Tensor, out: Tensor) -> None:
        """x (N,) symbols -> out (N, G)."""
        torch.index_select(self._rows, 0, x, out=out)

    def write_gradient(self, x: Tensor, d_out: Tensor) -> None:
        """Gradient of W_ih from d_out (N, G)."""
        add_rows(self._d_rows.zero_(), x, d_out)

    def add_per_stream(self, out: Tensor, x: Tensor, d_out: Tensor) -> None:
        """Add the same for each stream by itself to out (B, G, V), from x (T*B,) and d_out (T, B, G)."""
        add_one_hot_outer(out, d_out, x.view(d_out.shape[:2]))

    def down(self, d_out: Tensor, d_x: Tensor) -> None:
        """A symbol has no gradient: d_x is left alone."""

    def add_down(self, d_out: Tensor, d_x: Tensor) -> None:
        """Nor is anything added to it."""

    def tangent(self, v_x: Tensor, v_out: Tensor) -> None:
        """Nor does it move: v_out is 0."""
        v_out.zero_()


class DenseInput:
    """W_ih x for the output x of the layer below."""

    def __init__(self, parameters: Parameters, name: str, scratch: Scratch) -> None:
        self._weight, self._d_weight = parameters.operands[name], parameters.grads[name]
        self._scratch = scratch

    def forward(self, x: Tensor, out: Tensor) -> None:
        """x (N, H) operand -> out (N, G)."""
        self._scratch.product(out, x, self._weight.t())

    def write_gradient(self, x: Tensor, d_out: Tensor) -> None:
        """Gradient of W_ih from d_out (N, G)."""
        self._scratch.product(self._d_weight, self._scratch.operand(d_out, x.dtype).t(), x)

    def add_per_stream(self, out: Tensor, x: Tensor, d_out: Tensor) -> None:
        """Add the same for each stream by itself to out (B, G, H), from x (T*B, H) and d_out (T, B, G)."""
        add_outer(out, d_out, x.view(*d_out.shape[:2], -1), self._scratch)

    def down(self, d_out: Tensor, d_x: Tensor) -> None:
        """Gradient of x, into d_x (N, H), from d_out (N, G)."""
        self._scratch.product(d_x, self._scratch.operand(d_out, self._weight.dtype), self._weight)

    def add_down(self, d_out: Tensor, d_x: Tensor) -> None:
        """Add it to d_x."""
        self._scratch.add_product(d_x, self._scratch.operand(d_out, self._weight.dtype), self._weight)

    def tangent(self, v_x: Tensor, v_out: Tensor) -> None:
        """How W_ih x moves, into v_out (N, G), where x moves along v_x (N, H)."""
        self.forward(self._scratch.operand(v_x, self._weight.dtype), v_out)


class Weights(NamedTuple):
    """The parameters of one layer by kind, such as "weight_hh": as they are, as operands, and their gradients."""

    values: Mapping[str, Tensor]
    operands: Mapping[str, Tensor]
    grads: Mapping[str, Tensor]


class Layer:
    """An input and what is made of it, character after character or all at once: recurrence.py, window.py.

    names  of its parameters, by kind
    """

    def __init__(
        self, parameters: Parameters, index: int, scratch: Scratch, first: type[OneHotInput] = OneHotInput
    ) -> None:
        """Layer `index`; layer 0 has an input of the kind `first`, the others read the layer below."""
        suffix = f"_l{index}"
        self.names = {name[len("rnn.") : -len(suffix)]: name for name in parameters.shapes if name.endswith(suffix)}
        tables = (parameters.values, parameters.operands, parameters.grads)
        self._weights = Weights(*({kind: table[name] for kind, name in self.names.items()} for table in tables))
        self._scratch, below = scratch, self.names["weight_ih"]
        self._input = DenseInput(parameters, below, scratch) if index else first(parameters, below)

    def forward(self, x: Tensor, state: Tensor, tape: LayerTape, span: Span) -> None:
        """Read x, symbols (N,) or (N, H) operand, from `state` (S, B, H), which is moved on in place."""

    def backward(
        self,
        tape: LayerTape,
        span: Span,
        carry: Carry,
        d_after: Tensor | None = None,
        boundary: Boundary | None = None,
    ) -> None:
        """From the gradient of its output, `d_h` of the tape, to those of its pre-activations.

        The gradient that passes from character t + 1 of the span to t is multiplied by carry[t]. d_after (S, B, H) is a
        gradient of the state after the span that comes from beyond, none unless given.
        """

    def write_gradients(self, x: Tensor, tape: LayerTape, span: Span) -> None:
        """After `backward`: write the gradients of this layer's parameters. x as in `forward`."""
        self._input.write_gradient(x, tape.views(span).d_inputs)

    def backward_alone(self, tape: LayerTape, span: Span, d_after: Tensor, d_before: Tensor, way: Way) -> None:
        """From d_after to d_before, (S, B, H) each, in no unit's way but its own: OWN or LEAK."""

    def tangent(self, tape: LayerTape, span: Span, v_state: Tensor) -> None:
        """The derivative of `forward`: from how the state before moves, v_state (S, B, H), and the input, in `d_h` of
        the tape, to how the state after moves and the output, in the same places.

        All of it lies in buffers of the gradients, which the next backward pass overwrites.
        """

    def add_per_stream(self, out: Mapping[str, Tensor], x: Tensor, tape: LayerTape, span: Span, d: Adjoint) -> None:
        """After `backward`, which left the gradients `d`: add those of this layer's parameters, for each stream by
        itself, to `out`, (B, ...) by full name, for those that it has.
        """

    def down(self, tape: LayerTape, span: Span) -> None:
        """After `backward`: the gradient of its output, `d_h` of the tape, becomes that of its input."""
        views = tape.views(span)
        self._input.down(views.d_inputs, views.d_h)


class Head:
    """Logits over the vocabulary: W x + b."""

    def __init__(self, parameters: Parameters, scratch: Scratch) -> None:
        self._weight, self._d_weight = parameters.operands["head.weight"], parameters.grads["head.weight"]
        self._bias, self._d_bias = parameters.values["head.bias"], parameters.grads["head.bias"]
        self._scratch = scratch

    def forward(self, x: Tensor) -> Tensor:
        """x (N, H) operand -> logits (N, V), in a buffer that the next call overwrites."""
        out = self._scratch.get("logits", (len(x), len(self._bias)), self._bias)
        self._scratch.product(out, x, self._weight.t())
        return out.add_(self._bias)

    def write_gradient(self, x: Tensor, d_logits: Tensor) -> None:
        """Gradients of the weights from d_logits (N, V). x as in `forward`."""
        torch.sum(d_logits, 0, out=self._d_bias)
        self._scratch.product(self._d_weight, self._scratch.operand(d_logits, x.dtype).t(), x)

    def down(self, d_logits: Tensor, d_x: Tensor) -> None:
        """Gradient of x, into d_x (N, H), from d_logits (N, V)."""
        self._scratch.product(d_x, self._scratch.operand(d_logits, self._weight.dtype), self._weight)


def drop(views: Views, probability: float, rng: torch.Generator) -> Tensor:
    """Dropout on a layer's output: each unit 0 with the probability given, else / (1 - p)."""
    mask = views.mask
    draw_masks(mask.view(1, -1), probability, rng)
    torch.mul(views.h_after, mask, out=views.dropped.view(mask.shape))
    return views.dropped


def draw_masks(masks: Tensor, probability: float, rng: torch.Generator) -> None:
    """Dropout masks, (n, elements): each element 0 with the probability given (in steps of 1/65536), else 1 / (1 - p).

    16 random bits an element: `bernoulli_` takes ten times as long, a sixth of a whole update. Each mask begins with a
    number of its own, so that n at once are the same as one after the other.
    """
    words = torch.empty(len(masks), -(-masks.shape[1] // 4), dtype=torch.int64, device=masks.device)
    words.random_(-(2**63), None, generator=rng)
    threshold = min(round(probability * 65536), 65535)
    kept = words.view(torch.int16)[:, : masks.shape[1]] >= threshold - 32768
    masks.copy_(kept).mul_(65536 / (65536 - threshold))


def cross_entropy(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of y (T, B), in nats, (T, B), and the gradient of its mean over all N characters with
    respect to the logits (N, V), in the place of the logits.
    """
    targets = y.reshape(-1, 1)
    log_probabilities = torch.log_softmax(logits, dim=1)
    nats = log_probabilities.gather(1, targets).neg_().view(y.shape)
    d_logits = torch.exp(log_probabilities, out=logits)
    d_logits.scatter_add_(1, targets, torch.full_like(targets, -1, dtype=logits.dtype))
    return nats, d_logits.div_(len(targets))
