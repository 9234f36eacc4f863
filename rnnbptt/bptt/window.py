"""The rival without a state: feed-forward layers on the last N characters, as in Bengio et al. 2003 but without their
shared embedding. All that differs from a recurrent network is here.

h' = tanh(W_ih x + b_ih), and nothing recurs: each character's gradient is whole without the characters before it,
whatever the truncation. Axes as in tape.py; M = T*B, N the characters of a window.
"""

import torch
from torch import Tensor

from rnnbptt.bptt.cells import tanh_, tanh_backward
from rnnbptt.bptt.layers import Boundary, Carry, Layer, OneHotInput
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.products import add_rows
from rnnbptt.bptt.tape import LayerTape, Span, Tape
from rnnbptt.model.config import ModelConfig
from rnnbptt.model.precision import choose_device, choose_precision
from rnnbptt.model.shapes import check_size


class WindowInput(OneHotInput):
    """W_ih x for the one-hot vectors of a whole window side by side: the sum of as many rows of W_ih's transpose."""

    def forward(self, x: Tensor, out: Tensor) -> None:
        """x (M, N) columns of W_ih -> out (M, G)."""
        newest, *older = x.unbind(1)
        super().forward(newest, out)
        for rows in older:
            out.add_(self._rows.index_select(0, rows))

    def write_gradient(self, x: Tensor, d_out: Tensor) -> None:
        """Gradient of W_ih from d_out (M, G)."""
        self._d_rows.zero_()
        for rows in x.unbind(1):
            add_rows(self._d_rows, rows, d_out)


class FeedForwardLayer(Layer):
    """h' = tanh(W_ih x + b_ih) for all characters at once."""

    def forward(self, x: Tensor, state: Tensor, tape: LayerTape, span: Span) -> None:
        """x: columns of W_ih (M, N), or (M, H) operand; there is no state."""
        gates = tape.views(span).gates
        self._input.forward(x, gates)
        gates.add_(self._weights.values["bias_ih"])
        tanh_(tape.h[span.after].copy_(tape.gates[span.here]))
        if tape.narrow:
            tape.h_op[span.after].copy_(tape.h[span.after])

    def backward(
        self,
        tape: LayerTape,
        span: Span,
        carry: Carry,
        d_after: Tensor | None = None,
        boundary: Boundary | None = None,
    ) -> None:
        """d_inputs = d_h (1 - h'^2)."""
        d = tape.gradients
        tanh_backward(d.h[span.here], tape.h[span.after], grad_input=d.inputs[span.here])

    def write_gradients(self, x: Tensor, tape: LayerTape, span: Span) -> None:
        """After `backward`: write those of W_ih and b_ih."""
        torch.sum(tape.views(span).d_inputs, 0, out=self._weights.grads["bias_ih"])
        super().write_gradients(x, tape, span)


class WindowNetwork(CharRNN):
    """There is no hidden state: what is carried on as "the state" is the N - 1 characters before the next one,
    (N-1, 1, B, 1), the oldest first, as symbol + 1; 0 is no character at all.

    Those not there are one more symbol to the first layer, see `input_columns` in model/shapes.py.
    """

    def _make_layers(self) -> list[Layer]:
        layers = range(self.config.layers)
        return [FeedForwardLayer(self.parameters, index, self._scratch, WindowInput) for index in layers]

    def zero_state(self, streams: int) -> Tensor:
        """The state before any text: (N-1, 1, B, 1)."""
        return torch.zeros(self.config.window - 1, 1, streams, 1, dtype=self.precision.float, device=self.device)

    def forward(
        self, x: Tensor, state: Tensor, dropout: torch.Generator | None = None, history: int = 0, rerun: int = 0
    ) -> tuple[Tensor, Tape]:
        """As that of `CharRNN`, from a `state` (N-1, 1, B, 1). The gradient is whole without any older character, so
        that none is held or read once more.
        """
        no_states = state.new_empty(self.config.layers, 0, x.shape[1], self.config.hidden)
        return super().forward(self._columns(x, state), no_states, dropout)

    def _columns(self, x: Tensor, state: Tensor) -> Tensor:
        """The columns of W_ih for x (T, B) and the characters before, (T, B, N), the newest first; moves `state` on."""
        window, symbols = self.config.window, self.config.vocabulary + 1
        characters = torch.cat([state[:, 0, :, 0].to(x.dtype), x + 1])
        state[:, 0, :, 0] = characters[len(x) :]
        first = torch.arange(window, device=x.device) * symbols - 1  # column of each place for symbol + 1 = 0
        return characters.unfold(0, window, 1).flip(2) + first


def create_network(config: ModelConfig, precision: str = "auto", device: str = "cpu", seed: int = 0) -> CharRNN:
    """A network of that configuration with fresh weights; UserError where the machine cannot hold it."""
    place = choose_device(device)
    kind = WindowNetwork if config.window else CharRNN
    dtypes = choose_precision(precision, place)
    check_size(config, dtypes)
    network = kind(config, dtypes, place)
    network.parameters.draw(config, seed)
    return network
