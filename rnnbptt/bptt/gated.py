"""A layer whose input gates the state before W_hh multiplies it, as a Mogrifier's does (see `Mogrifier` in cells.py).

Character t meets h and multiplies r_t h in its place, unit by unit, with r_t = 2 sigma(R x_t). R has no bias.
Axes as in tape.py: T characters, B streams, H hidden, S tensors of a state; N = T*B.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.layers import Boundary, Carry, DenseInput, OneHotInput, Way
from rnnbptt.bptt.recurrence import Back, Cell, RecurrentLayer
from rnnbptt.bptt.tape import Adjoint, LayerTape, Span
from rnnbptt.model.parameters import Parameters


class GatedLayer(RecurrentLayer):
    """A recurrent layer with such gates; its cell's `Step` has them as `read`."""

    def __init__(self, cell: Cell, parameters: Parameters, index: int, scratch: Scratch) -> None:
        super().__init__(cell, parameters, index, scratch)
        name = self.names["weight_r"]
        self._reads = DenseInput(parameters, name, scratch) if index else OneHotInput(parameters, name)

    def forward(self, x: Tensor, state: Tensor, tape: LayerTape, span: Span) -> None:
        """The gates of all characters, which depend on the input alone, then character after character."""
        read = tape.views(span).read
        self._reads.forward(x, read)
        read.sigmoid_().mul_(2)
        super().forward(x, state, tape, span)

    def _met(self, at: Any) -> Tensor:
        """r h."""
        return torch.mul(at.read, at.h, out=at.met)

    def backward(
        self,
        tape: LayerTape,
        span: Span,
        carry: Carry,
        d_after: Tensor | None = None,
        boundary: Boundary | None = None,
        way: Way = Way.WHOLE,
    ) -> None:
        """As of any layer; then the gates: d(R x) = d_r r (1 - r / 2)."""
        super().backward(tape, span, carry, d_after, boundary, way)
        if boundary is None and (back := self._back(tape, Way.WHOLE, 1)):
            self._d_met(back, tape.steps[span.start])
        views = tape.views(span)
        views.d_read.mul_(views.read).addcmul_(views.d_read, views.read, value=-0.5)

    def _d_met(self, back: Back, at: Any) -> Tensor:
        """From d(r h): d_r = d(r h) h, which is noted, and d_h = d(r h) r."""
        d_met = back(at.d_hidden)
        torch.mul(d_met, at.h, out=at.d_read)
        return d_met.mul_(at.read)

    def tangent(self, tape: LayerTape, span: Span, v_state: Tensor) -> None:
        """As of any layer, with v_r = r (1 - r / 2) R v_x."""
        views = tape.views(span)
        self._reads.tangent(views.d_h, views.d_read)
        views.d_read.mul_(views.read).addcmul_(views.d_read, views.read, value=-0.5)
        super().tangent(tape, span, v_state)

    def _v_met(self, at: Any, v_h: Tensor) -> Tensor:
        """r v_h + h v_r."""
        return torch.mul(at.read, v_h, out=at.spare).addcmul_(at.h, at.d_read)

    def write_gradients(self, x: Tensor, tape: LayerTape, span: Span) -> None:
        """That of R, too."""
        super().write_gradients(x, tape, span)
        self._reads.write_gradient(x, tape.views(span).d_read)

    def add_per_stream(self, out: Mapping[str, Tensor], x: Tensor, tape: LayerTape, span: Span, d: Adjoint) -> None:
        """That of R, too."""
        super().add_per_stream(out, x, tape, span, d)
        self._reads.add_per_stream(out[self.names["weight_r"]], x, d.read)

    def down(self, tape: LayerTape, span: Span) -> None:
        """What the input gets through both matrices."""
        super().down(tape, span)
        views = tape.views(span)
        self._reads.add_down(views.d_read, views.d_h)
