"""The parts a model is made of, each with a forward pass and a written-out backward pass.

Shapes as in tape.py; N = T*B is time and streams in one axis, V the vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.recurrence import Back, Boundary, Carry, Cell, OneHotOuter, Outer, PerStream, Weights
from rnnbptt.bptt.tape import LayerTape, Span, Views
from rnnbptt.model.parameters import Parameters


class OneHotInput:
    """W_ih x for a one-hot x: a look-up of rows of W_ih's transpose, which is how that matrix is stored."""

    def __init__(self, parameters: Parameters, name: str) -> None:
        self._rows, self._d_rows = parameters.values[name].t(), parameters.grads[name].t()

    def forward(self, x: Tensor, out: Tensor) -> None:
        """x (N,) symbols -> out (N, G)."""
        torch.index_select(self._rows, 0, x, out=out)

    def gradient(self, x: Tensor, d_out: Tensor) -> None:
        """Gradient of W_ih from d_out (N, G)."""
        self._d_rows.zero_().index_add_(0, x, d_out)

    def influence(self, x: Tensor, d_out: Tensor) -> PerStream:
        """The same for each stream by itself, (B, G, V), from x (T*B,) and d_out (T, B, G)."""
        return OneHotOuter(d_out, x.view(d_out.shape[:2]))

    def down(self, d_out: Tensor, d_x: Tensor) -> None:
        """A symbol has no gradient: d_x is left alone."""


class WindowInput(OneHotInput):
    """The same for the one-hot vectors of a whole window side by side: the sum of as many rows."""

    def forward(self, x: Tensor, out: Tensor) -> None:
        """x (M, N) rows of W_ih's transpose -> out (M, G)."""
        newest, *older = x.unbind(1)
        super().forward(newest, out)
        for rows in older:
            out.add_(self._rows.index_select(0, rows))

    def gradient(self, x: Tensor, d_out: Tensor) -> None:
        """Gradient of W_ih from d_out (M, G)."""
        self._d_rows.zero_()
        for rows in x.unbind(1):
            self._d_rows.index_add_(0, rows, d_out)


class DenseInput:
    """W_ih x for the output x of the layer below."""

    def __init__(self, parameters: Parameters, name: str, scratch: Scratch) -> None:
        self._weight, self._d_weight = parameters.operands[name], parameters.grads[name]
        self._scratch = scratch

    def forward(self, x: Tensor, out: Tensor) -> None:
        """x (N, H) operand -> out (N, G)."""
        self._scratch.product(out, x, self._weight.t())

    def gradient(self, x: Tensor, d_out: Tensor) -> None:
        """Gradient of W_ih from d_out (N, G)."""
        self._scratch.product(self._d_weight, self._scratch.operand(d_out, x.dtype).t(), x)

    def influence(self, x: Tensor, d_out: Tensor) -> PerStream:
        """The same for each stream by itself, (B, G, H), from x (T*B, H) and d_out (T, B, G)."""
        return Outer(d_out, x.view(*d_out.shape[:2], -1))

    def down(self, d_out: Tensor, d_x: Tensor) -> None:
        """Gradient of x, into d_x (N, H), from d_out (N, G)."""
        self._scratch.product(d_x, self._scratch.operand(d_out, self._weight.dtype), self._weight)


class RecurrentLayer:
    """A cell over the characters of a segment, with the input below it."""

    def __init__(self, cell: Cell, parameters: Parameters, index: int, scratch: Scratch) -> None:
        self._cell, self._scratch = cell, scratch
        names = {kind: f"rnn.{kind}_l{index}" for kind in ("weight_ih", "bias_ih", *cell.shapes(0))}
        values, operands, self._grads = (
            {kind: tensors[name] for kind, name in names.items()}
            for tensors in (parameters.values, parameters.operands, parameters.grads)
        )
        self._weights, self._names = Weights(values, operands), names
        name = names["weight_ih"]
        lookup = WindowInput if cell.window else OneHotInput
        self._input = DenseInput(parameters, name, scratch) if index else lookup(parameters, name)

    def forward(self, x: Tensor, state: Tensor, tape: LayerTape, span: Span) -> None:
        """Read x, (N,) symbols or (N, H) operand, from `state` (S, B, H), which is moved on in place."""
        gates = tape.views(span).gates
        self._input.forward(x, gates)
        gates.add_(self._cell.folded_bias(self._weights.values["bias_ih"], self._weights))
        tape.enter(span.start, state)
        self._cell.forward(self._weights, tape, span)
        tape.leave(span.stop, state)

    def backward(
        self,
        tape: LayerTape,
        span: Span,
        carry: Carry,
        d_after: Tensor | None = None,
        boundary: Boundary | None = None,
    ) -> None:
        """From the gradient of its output, `d_h` of the tape, to those of its pre-activations.

        d_after (S, B, H) is a gradient of the state after the span that comes from beyond, none unless given.
        """
        self._through(self._cell.back(self._weights, tape), tape, span, carry, d_after, boundary)

    def backward_alone(self, tape: LayerTape, span: Span, d_after: Tensor, d_before: Tensor) -> None:
        """As `backward`, but through each unit's own recurrence alone, and from d_after alone."""
        tape.views(span).d_h.zero_()
        back = self._cell.own_back(self._weights, tape)
        self._through(back, tape, span, (1.0,) * (span.length - 1), d_after, Boundary(d_before, alone=True))

    def _through(
        self,
        back: Back,
        tape: LayerTape,
        span: Span,
        carry: Carry,
        d_after: Tensor | None,
        boundary: Boundary | None,
    ) -> None:
        d_c = tape.gradients.d_c.zero_()
        if d_after is not None:
            tape.gradients.h[span.stop - 1].add_(d_after[0])
            if len(d_after) > 1:
                d_c[0].copy_(d_after[1])
        self._cell.backward(self._weights, back, tape, span, carry)
        if boundary is not None:
            last_back = self._cell.own_back(self._weights, tape) if boundary.alone else back
            for d_part, d in zip(boundary.d_before, self._cell.before(last_back, tape, span), strict=True):
                d_part.zero_() if d is None else d_part.copy_(d)

    def gradients(self, x: Tensor, tape: LayerTape, span: Span) -> None:
        """After `backward`: write the gradients of this layer's parameters. x as in `forward`."""
        self._cell.gradients(tape, span, self._grads, self._scratch.product)
        self._input.gradient(x, tape.views(span).d_inputs)

    def influences(self, x: Tensor, tape: LayerTape, span: Span) -> dict[str, PerStream]:
        """The same for each stream by itself, (B, ...), of the parameters that the layer's own state depends on, by
        their full names.
        """
        by_kind = self._cell.influences(tape, span)
        by_kind["weight_ih"] = self._input.influence(x, tape.gradients.inputs[slice(*span)])
        return self._named(by_kind)

    def output_influences(self, tape: LayerTape, span: Span) -> dict[str, PerStream]:
        """The same of the other parameters, which the state of the layers above depends on."""
        return self._named(self._cell.output_influences(tape, span))

    def _named(self, by_kind: dict[str, PerStream]) -> dict[str, PerStream]:
        return {self._names[kind]: tensor for kind, tensor in by_kind.items()}

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

    def gradient(self, x: Tensor, d_logits: Tensor) -> None:
        """Gradients of the weights from d_logits (N, V). x as in `forward`."""
        torch.sum(d_logits, 0, out=self._d_bias)
        self._scratch.product(self._d_weight, self._scratch.operand(d_logits, x.dtype).t(), x)

    def down(self, d_logits: Tensor, d_x: Tensor) -> None:
        """Gradient of x, into d_x (N, H), from d_logits (N, V)."""
        self._scratch.product(d_x, self._scratch.operand(d_logits, self._weight.dtype), self._weight)


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
