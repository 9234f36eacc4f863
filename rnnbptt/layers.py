"""The parts a model is made of, each with a forward pass and a written-out backward pass.

Shapes as in tape.py; N = T*B is time and streams in one axis, V the vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnnbptt.cells import Carry, Cell
from rnnbptt.parameters import Parameters
from rnnbptt.tape import LayerTape, Span, Views


class Scratch:
    """Buffers by name that grow to the largest size asked for: once warm, nothing is allocated."""

    def __init__(self) -> None:
        self._store: dict[tuple[str, torch.dtype], Tensor] = {}

    def get(self, name: str, shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        size, dtype = math.prod(shape), dtype or like.dtype
        buffer = self._store.get((name, dtype))
        if buffer is None or buffer.numel() < size:
            buffer = self._store[name, dtype] = torch.empty(size, dtype=dtype, device=like.device)
        return buffer[:size].view(shape)

    def product(self, out: Tensor, a: Tensor, b: Tensor) -> None:
        """out = a @ b, also where out has a wider dtype than the operands."""
        if out.dtype == a.dtype:
            torch.mm(a, b, out=out)
        else:
            out.copy_(torch.mm(a, b, out=self.get("product", tuple(out.shape), a)))

    def operand(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """The tensor as a matrix product wants it."""
        if tensor.dtype == dtype:
            return tensor
        return self.get("operand", tuple(tensor.shape), tensor, dtype).copy_(tensor)


class OneHotInput:
    """W_ih x for one-hot x: character v picks column v of W_ih, a contiguous row of its transpose (V, G)."""

    def __init__(self, parameters: Parameters, name: str) -> None:
        self._rows = parameters.values[name].t()
        self._d_rows = parameters.grads[name].t()

    def forward(self, x: Tensor, out: Tensor) -> None:
        """x (N,) int64 -> out (N, G)."""
        torch.index_select(self._rows, 0, x, out=out)

    def backward(self, x: Tensor, d_out: Tensor, d_x: Tensor) -> None:
        """Gradient of W_ih from d_out (N, G); a symbol has no gradient, so d_x is left alone."""
        self._d_rows.zero_().index_add_(0, x, d_out)


class DenseInput:
    """W_ih x for the output x of the layer below."""

    def __init__(self, parameters: Parameters, name: str, scratch: Scratch) -> None:
        self._weight, self._d_weight = parameters.operands[name], parameters.grads[name]
        self._scratch = scratch

    def forward(self, x: Tensor, out: Tensor) -> None:
        """x (N, H) operand -> out (N, G)."""
        self._scratch.product(out, x, self._weight.t())

    def backward(self, x: Tensor, d_out: Tensor, d_x: Tensor) -> None:
        """Gradients of W_ih and, into d_x (N, H), of x, from d_out (N, G)."""
        d_op = self._scratch.operand(d_out, x.dtype)
        self._scratch.product(self._d_weight, d_op.t(), x)
        self._scratch.product(d_x, d_op, self._weight)


class RecurrentLayer:
    """A cell over the characters of a segment, with the input below it."""

    def __init__(self, cell: Cell, parameters: Parameters, index: int, scratch: Scratch) -> None:
        self._cell, self._scratch = cell, scratch
        name = f"rnn.weight_ih_l{index}"
        self._input = DenseInput(parameters, name, scratch) if index else OneHotInput(parameters, name)
        self._w_hh, self._d_w_hh = (p[f"rnn.weight_hh_l{index}"] for p in (parameters.operands, parameters.grads))
        self._b_ih, self._d_b_ih = (p[f"rnn.bias_ih_l{index}"] for p in (parameters.values, parameters.grads))
        self._b_hh, self._d_b_hh = (p[f"rnn.bias_hh_l{index}"] for p in (parameters.values, parameters.grads))

    def forward(self, x: Tensor, state: Tensor, tape: LayerTape, span: Span) -> None:
        """Read x, (N,) symbols or (N, H) operand, from `state` (S, B, H), which is moved on in place."""
        gates = tape.views(span).gates
        self._input.forward(x, gates)
        gates.add_(self._cell.fold_bias(self._b_ih, self._b_hh))
        tape.enter(span.start, state)
        self._cell.forward(self._w_hh, self._b_hh, tape, span)
        tape.leave(span.stop, state)

    def backward(self, x: Tensor, tape: LayerTape, span: Span, carry: Carry) -> None:
        """Write this layer's gradients; the gradient of its output, `d_h` of the tape, becomes that of its input."""
        views = tape.views(span)
        self._cell.backward(self._w_hh, tape, span, carry)
        self._scratch.product(self._d_w_hh, views.d_hidden.t(), views.h_before)
        d_b_ih, d_b_hh = self._cell.bias_gradients(views.d_inputs, views.d_hidden)
        self._d_b_ih.copy_(d_b_ih)
        self._d_b_hh.copy_(d_b_hh)
        self._input.backward(x, views.d_inputs, views.d_h)


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

    def backward(self, x: Tensor, d_logits: Tensor, d_x: Tensor) -> None:
        """Gradients of the weights and, into d_x (N, H), of x, from d_logits (N, V)."""
        torch.sum(d_logits, 0, out=self._d_bias)
        d_op = self._scratch.operand(d_logits, x.dtype)
        self._scratch.product(self._d_weight, d_op.t(), x)
        self._scratch.product(d_x, d_op, self._weight)


def drop(views: Views, probability: float, rng: torch.Generator) -> Tensor:
    """Dropout on a layer's output: each unit 0 with the probability given (in steps of 1/65536), else / (1 - p).

    16 random bits an element: `bernoulli_` takes ten times as long, a sixth of a whole update.
    """
    mask = views.mask
    words = torch.empty(-(-mask.numel() // 4), dtype=torch.int64, device=mask.device)
    words.random_(-(2**63), None, generator=rng)
    threshold = min(round(probability * 65536), 65535)
    kept = words.view(torch.int16)[: mask.numel()].view(mask.shape) >= threshold - 32768
    mask.copy_(kept).mul_(65536 / (65536 - threshold))
    torch.mul(views.h_after, mask, out=views.dropped.view(mask.shape))
    return views.dropped


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
