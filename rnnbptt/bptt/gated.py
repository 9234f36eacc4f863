"""A layer whose input gates the state before W_hh multiplies it, as a Mogrifier's does (see `Mogrifier` in cells.py).

Character t meets h and multiplies r_t h in its place, unit by unit, with r_t = 2 sigma(R x_t). R has no bias.
Axes as in tape.py: T characters, B streams, H hidden, S tensors of a state.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.layers import Boundary, Carry, DenseInput, OneHotInput, Way
from rnnbptt.bptt.recurrence import Back, Cell, RecurrentLayer
from rnnbptt.bptt.tape import Adjoint, LayerTape, Span, Views
from rnnbptt.model.parameters import Parameters


class GatedLayer(RecurrentLayer):
    """A recurrent layer with such gates; its cell's `Step` has them as `state_gate`."""

    def __init__(self, cell: Cell, parameters: Parameters, index: int, scratch: Scratch) -> None:
        super().__init__(cell, parameters, index, scratch)
        name = self.names["weight_r"]
        self._gate_input = DenseInput(parameters, name, scratch) if index else OneHotInput(parameters, name)

    def forward(self, x: Tensor, state: Tensor, tape: LayerTape, span: Span) -> None:
        """The gates of all characters, which depend on the input alone, then character after character."""
        gate = tape.views(span).state_gate
        self._gate_input.forward(x, gate)
        gate.sigmoid_().mul_(2)
        super().forward(x, state, tape, span)

    def _met(self, at: Any) -> Tensor:
        """r h."""
        return torch.mul(at.state_gate, at.h, out=at.met)

    def backward(
        self,
        tape: LayerTape,
        span: Span,
        carry: Carry,
        d_after: Tensor | None = None,
        boundary: Boundary | None = None,
        way: Way = Way.WHOLE,
    ) -> None:
        """As of any layer, and to the state before the span even where nobody asks for that, for the gates that the
        first character sets; then those of all: d(R x) = d_r r (1 - r / 2).
        """
        shape = (len(self._cell.carried), *tape.gradients.direct.shape)
        nowhere = Boundary(self._scratch.get("before the span", shape, tape.gradients.direct))
        super().backward(tape, span, carry, d_after, boundary or nowhere, way)
        self._through_sigmoid(tape.views(span))

    def _through_sigmoid(self, views: Views) -> None:
        """From a derivative of r, or by it, to that of R x, or the other way round: times r (1 - r / 2)."""
        r, d = views.state_gate, views.d_state_gate
        d.mul_(r).addcmul_(d, r, value=-0.5)

    def _forms_d_met(self, factor: float | None) -> bool:
        """Of all characters: gates have a gradient even where the state's is cut."""
        return factor is not None

    def _d_met(self, back: Back, at: Any) -> Tensor:
        """From d(r h): d_r = d(r h) h, which is noted, and d_h = d(r h) r."""
        d_met = back(at.d_hidden)
        torch.mul(d_met, at.h, out=at.d_state_gate)
        return d_met.mul_(at.state_gate)

    def tangent(self, tape: LayerTape, span: Span, v_state: Tensor) -> None:
        """As of any layer, with v_r = r (1 - r / 2) R v_x."""
        views = tape.views(span)
        self._gate_input.tangent(views.d_h, views.d_state_gate)
        self._through_sigmoid(views)
        super().tangent(tape, span, v_state)

    def _v_met(self, at: Any, v_h: Tensor) -> Tensor:
        """r v_h + h v_r."""
        return torch.mul(at.state_gate, v_h, out=at.spare).addcmul_(at.h, at.d_state_gate)

    def write_gradients(self, x: Tensor, tape: LayerTape, span: Span) -> None:
        """That of R, too."""
        super().write_gradients(x, tape, span)
        self._gate_input.write_gradient(x, tape.views(span).d_state_gate)

    def add_per_stream(self, out: Mapping[str, Tensor], x: Tensor, tape: LayerTape, span: Span, d: Adjoint) -> None:
        """That of R, too."""
        super().add_per_stream(out, x, tape, span, d)
        self._gate_input.add_per_stream(out[self.names["weight_r"]], x, d.state_gate)

    def down(self, tape: LayerTape, span: Span) -> None:
        """What the input gets through both matrices."""
        super().down(tape, span)
        views = tape.views(span)
        self._gate_input.add_down(views.d_state_gate, views.d_h)
