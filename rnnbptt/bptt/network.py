"""The character-level recurrent network: one-hot input, stacked recurrent layers, dropout, a softmax over the symbols.

Axes: T characters of a segment, B streams, H hidden units, G = gates x H, V symbols, L layers, S tensors of a state.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Self

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.gated import GatedLayer
from rnnbptt.bptt.layers import Boundary, Carry, Head, Layer, drop
from rnnbptt.bptt.recurrence import Cell, RecurrentLayer
from rnnbptt.bptt.tape import Adjoint, Span, Tape, Tapes, TapeShape
from rnnbptt.model.config import ModelConfig
from rnnbptt.model.parameters import Parameters
from rnnbptt.model.precision import Precision, choose_precision
from rnnbptt.model.shapes import OF_SYMBOLS, parameter_shapes


class CharRNN:
    """A character-level recurrent network whose gradient is written out.

    One update is `forward`, `cross_entropy` and `backward`; the gradient is then in `parameters.grad`. Run it under
    `torch.no_grad()`: autograd has no part in it.

    cell    what its layers are made of; of a window nothing
    layers  from the first to the last
    tapes   what it remembers of the characters it has read
    """

    def __init__(
        self, config: ModelConfig, precision: Precision, device: torch.device, flat: Tensor | None = None
    ) -> None:
        """With parameters in `flat`, zeros unless given."""
        self.config, self.precision, self.device = config, precision, device
        self.parameters = Parameters(parameter_shapes(config), OF_SYMBOLS, precision, device, flat)
        self.parameters.refresh_operands()
        self._scratch = Scratch()
        self.cell = CELLS.get(config.cell, Cell())
        self.layers = self._make_layers()
        self._head = Head(self.parameters, self._scratch)
        self._tape_shape = partial(_tape_shape, config, self.cell, precision, device)
        self.tapes = Tapes(self._tape_shape, config.layers)

    def _make_layers(self) -> list[Layer]:
        layer, layers = GatedLayer if self.cell.gates_state else RecurrentLayer, range(self.config.layers)
        return [layer(self.cell, self.parameters, index, self._scratch) for index in layers]

    def at_precision(self, name: str) -> Self:
        """This network with operands, as they are now, in another dtype. Weights are shared, tapes are its own.

        A float64 network stays one: its weights are float64, and so are its products.
        """
        same = self.precision.float == torch.float64
        precision = self.precision if same else choose_precision(name, self.device)
        return type(self)(self.config, precision, self.device, self.parameters.flat)

    def apart(self) -> Self:
        """This network with operands, as they are now, and tapes of its own: reading with it disturbs nothing."""
        return type(self)(self.config, self.precision, self.device, self.parameters.flat)

    def zero_state(self, streams: int) -> Tensor:
        """The state before any text: (L, S, B, H)."""
        shape = (self.config.layers, self.config.sizes.parts, streams, self.config.hidden)
        return torch.zeros(shape, dtype=self.precision.float, device=self.device)

    def forward(
        self, x: Tensor, state: Tensor, dropout: torch.Generator | None = None, history: int = 0, rerun: int = 0
    ) -> tuple[Tensor, Tape]:
        """Read x (T, B) from `state` (L, S, B, H), which is moved on in place.

        `dropout` is the source of dropout masks; without it nothing is dropped. `history` is how many of the characters
        read before `backward` may want to go back to, `rerun` how many of these are read once more first, with the
        weights of now and from the state that was met there. Returns the logits of x (T*B, V) and the tape; both live
        in buffers that the next call overwrites.
        """
        tape = self.tapes.get(x.shape[1], len(x), history)
        new = tape.append(x, history, dropping=dropout is not None and self.config.dropout > 0)
        span = tape.last(len(x) + rerun)
        for index, (layer, layer_tape) in enumerate(zip(self.layers, tape.layers, strict=True)):
            if span != new:
                layer_tape.leave(span.start, state[index])
            layer.forward(tape.input(index, span), state[index], layer_tape, span)
            if tape.dropping and dropout:
                drop(layer_tape.views(span), self.config.dropout, dropout)
        return self._head.forward(tape.input(len(self.layers), new)), tape

    def backward(
        self,
        tape: Tape,
        d_logits: Tensor,
        depth: int | None = None,
        carry: Carry | None = None,
        boundary: Boundary | None = None,
    ) -> None:
        """Write the gradient of the characters just read into `parameters.grad`, given d_logits (T*B, V), or those of
        the last ones alone, (n*B, V), where the others have no loss.

        `depth` is how many characters to go back from the last one, as far as the tape holds them: T, the segment,
        unless given. `carry` is the factor on the gradient at each step back (see recurrence.py), 1 unless given. Where
        there is a `boundary`, the gradient of the state before them goes there.
        """
        span, stop = tape.last(depth or 0), tape.segment.stop
        scored = Span(stop - len(d_logits) // tape.streams, stop)
        carry = (1.0,) * (span.length - 1) if carry is None else carry
        d_h = tape.layers[-1].views(span).d_h
        before = (scored.start - span.start) * tape.streams
        d_h[:before].zero_()  # the losses of older characters had their update
        self._head.write_gradient(tape.input(len(self.layers), scored), d_logits)
        self._head.down(d_logits, d_h[before:])
        for index in range(len(self.layers) - 1, -1, -1):
            self._back_through_time(tape, index, span, carry, None, boundary)
            self.write_gradients(tape, index, span)
            self.layers[index].down(tape.layers[index], span)

    def write_gradients(self, tape: Tape, index: int, span: Span) -> None:
        """Where a backward pass has come to layer `index`: write the gradient of its parameters as they were used in
        `span` into `parameters.grad`.
        """
        self.layers[index].write_gradients(tape.input(index, span), tape.layers[index], span)

    def _back_through_time(
        self, tape: Tape, index: int, span: Span, carry: Carry, d_after: Tensor | None, boundary: Boundary | None
    ) -> None:
        """From the gradient of what layer `index` passes upwards, in the buffer `d_h` that the layers hand down, to
        those of its pre-activations.
        """
        layer_tape = tape.layers[index]
        if tape.dropping:
            layer_tape.views(span).d_h.mul_(layer_tape.views(span).mask.flatten(0, 1))
        here = boundary and boundary._replace(d_before=boundary.d_before[index])
        self.layers[index].backward(layer_tape, span, carry, None if d_after is None else d_after[index], here)

    def backward_state(
        self,
        tape: Tape,
        span: Span,
        d_after: Tensor,
        d_before: Tensor,
        d_logits: Tensor | None = None,
        visit: Callable[[int], None] = lambda index: None,
    ) -> None:
        """Carry a gradient of the state after the characters of `span`, d_after (L, S, B, H), and one of their logits,
        d_logits (T*B, V), none unless given, back to the state before them, d_before.

        `visit` is told of each layer, the last one first, when its gradients can be read.
        """
        d_h = tape.layers[-1].views(span).d_h
        if d_logits is None:
            d_h.zero_()
        else:
            self._head.down(d_logits, d_h)
        for index in range(len(self.layers) - 1, -1, -1):
            self._back_through_time(tape, index, span, (1.0,) * (span.length - 1), d_after, Boundary(d_before))
            visit(index)
            self.layers[index].down(tape.layers[index], span)

    def tangent_state(self, tape: Tape, span: Span, v_state: Tensor) -> None:
        """The other way round: where the state before the characters of `span` moves along v_state (L, S, B, H), that
        becomes how the state after them moves, to first order: the product with the Jacobian of the one by the other.
        """
        for index, (layer, layer_tape) in enumerate(zip(self.layers, tape.layers, strict=True)):
            layer.tangent(layer_tape, span, v_state[index])
            if tape.dropping:
                views = layer_tape.views(span)
                views.d_h.mul_(views.mask.flatten(0, 1))

    def add_per_stream(self, out: Mapping[str, Tensor], tape: Tape, index: int, span: Span, d: Adjoint) -> None:
        """Where a backward pass has come to layer `index` and left the gradients `d`: add those of its parameters as
        they were used in `span`, for each stream by itself, to `out`, (B, ...) by name; only to those that are there.
        """
        self.layers[index].add_per_stream(out, tape.input(index, span), tape.layers[index], span, d)

    def tape_bytes(self, steps: int, streams: int) -> int:
        """Memory of the tape and the gradients of `steps` characters of `streams` streams; it is linear in both."""
        return steps * self._tape_shape(streams).bytes_per_step(self.config.layers, self.config.vocabulary)


def _tape_shape(config: ModelConfig, cell: Cell, precision: Precision, device: torch.device, streams: int) -> TapeShape:
    """No method: a network that its own tapes refer to would stay in memory until garbage is collected."""
    return TapeShape(
        *(streams, config.hidden, *config.sizes, cell.memo, cell.separate_hidden, cell.gates_state),
        *(config.dropout > 0, config.window, precision.float, precision.operand, device),
    )
