"""The character model: one-hot input, stacked recurrent cells, dropout, a softmax over the vocabulary.

Axes: T characters of a segment, B streams, H hidden units, G = gates x H, V symbols, L layers, S tensors of a state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnbptt.cells import CELLS
from rnnbptt.config import ModelConfig
from rnnbptt.layers import Head, RecurrentLayer, Scratch, drop
from rnnbptt.parameters import Parameters, Precision, choose_precision
from rnnbptt.tape import Gradients, LayerTape, Shape


@dataclass(frozen=True)
class Tape:
    """What `forward` hands to `backward`, for T characters of B streams.

    inputs  what each layer read and, last, what the head read: x (T*B,), then (T*B, H) operand
    layers  one LayerTape a layer
    """

    steps: int
    inputs: list[Tensor]
    layers: list[LayerTape]
    dropped: bool


class CharRNN:
    """A character-level recurrent network whose gradient is written out.

    One update is `forward`, `cross_entropy` and `backward`; the gradient is then in `parameters.grad`. Run it under
    `torch.no_grad()`: autograd has no part in it.
    """

    def __init__(self, config: ModelConfig, parameters: Parameters, precision: Precision) -> None:
        self.config = config
        self.cell = CELLS[config.cell]
        self.parameters = parameters
        self.precision = precision
        self.device = parameters.flat.device
        scratch = Scratch()
        self._layers = [RecurrentLayer(self.cell, parameters, index, scratch) for index in range(config.layers)]
        self._head = Head(parameters, scratch)
        self._tapes: dict[int, tuple[int, list[LayerTape]]] = {}

    @classmethod
    def create(cls, config: ModelConfig, precision: str = "auto", device: str = "cpu", seed: int = 0) -> CharRNN:
        """A model with fresh weights: matrices uniform in +-1/sqrt(H) as torch.nn draws them, biases 0, the LSTM's
        forget bias 1.
        """
        place = torch.device(device)
        dtypes = choose_precision(precision, place)
        model = cls(config, _parameters(config, dtypes, place), dtypes)
        rng = torch.Generator().manual_seed(seed)
        bound = config.hidden**-0.5
        for name, value in model.parameters.values.items():
            if "weight" in name:
                value.copy_(torch.empty(value.shape, dtype=torch.float64).uniform_(-bound, bound, generator=rng))
            elif config.cell == "lstm" and "bias_ih" in name:
                value[config.hidden : 2 * config.hidden] = 1  # the forget gates start open: Gers et al. 2000
        model.parameters.refresh_operands()
        return model

    def at_precision(self, name: str) -> CharRNN:
        """This model, its weights shared and not copied, with operands as they are now in another dtype."""
        if self.precision.float == torch.float64:
            return self  # its weights are float64, and so are its products
        precision = choose_precision(name, self.device)
        parameters = _parameters(self.config, precision, self.device, self.parameters.flat)
        parameters.refresh_operands()
        return CharRNN(self.config, parameters, precision)

    @property
    def flops_per_character(self) -> float:
        """Floating-point operations of the matrix products for one character of training: 2 a weight forward, 4
        backward. The first layer's input is a look-up, and the cut costs nothing, whatever its depth.
        """
        shapes = {name: shape for name, shape in parameter_shapes(self.config).items() if name != "rnn.weight_ih_l0"}
        return 6.0 * sum(math.prod(shape) for shape in shapes.values() if len(shape) == 2)

    def tape_bytes(self, steps: int, streams: int) -> int:
        """Memory of the tape and the gradients of `steps` characters of `streams` streams; it is linear in both."""
        config, wide, narrow = self.config, self.precision.float.itemsize, self.precision.operand.itemsize
        gates = self.cell.gates * config.hidden
        converted = narrow if narrow != wide else 0  # copies for matrix products, where these read another dtype
        layer = wide * (gates + 3 * config.hidden) + converted * config.hidden
        if config.dropout:
            layer += (wide + narrow) * config.hidden
        gradients = wide * config.hidden + (wide + (narrow if self.cell.gated_product else converted)) * gates
        return steps * streams * (config.layers * layer + gradients + 2 * wide * config.vocabulary)

    def zero_state(self, streams: int) -> Tensor:
        """The state before any text: (L, S, B, H)."""
        shape = (self.config.layers, self.cell.parts, streams, self.config.hidden)
        return torch.zeros(shape, dtype=self.precision.float, device=self.device)

    def forward(self, x: Tensor, state: Tensor, dropout: torch.Generator | None = None) -> tuple[Tensor, Tape]:
        """Read x (T, B) from `state` (L, S, B, H), which is moved on in place.

        `dropout` is the source of dropout masks; without it nothing is dropped. Returns the logits (T*B, V) and the
        tape; both live in buffers that the next call overwrites.
        """
        steps, streams = x.shape
        dropping = dropout is not None and self.config.dropout > 0
        tape = Tape(steps, [x.reshape(-1)], self._layer_tapes(steps, streams), dropping)
        for layer, layer_tape, layer_state in zip(self._layers, tape.layers, state, strict=True):
            layer.forward(tape.inputs[-1], layer_state, layer_tape, steps)
            views = layer_tape.views(steps)
            tape.inputs.append(drop(views, self.config.dropout, dropout) if dropping and dropout else views.out)
        return self._head.forward(tape.inputs[-1]), tape

    def backward(self, tape: Tape, d_logits: Tensor) -> None:
        """Write the gradient of the tape's characters into `parameters.grad`, given d_logits (T*B, V)."""
        d_h = tape.layers[-1].views(tape.steps).d_h  # one buffer, which the layers hand down in turn
        self._head.backward(tape.inputs[-1], d_logits, d_h)
        for layer, layer_tape, x in zip(self._layers[::-1], tape.layers[::-1], tape.inputs[-2::-1], strict=True):
            if tape.dropped:
                d_h.mul_(layer_tape.views(tape.steps).mask.flatten(0, 1))
            layer.backward(x, layer_tape, tape.steps)

    def _layer_tapes(self, steps: int, streams: int) -> list[LayerTape]:
        """Tapes with room for `steps` characters: the longest made so far for this number of streams."""
        capacity, tapes = self._tapes.get(streams, (0, []))
        if capacity < steps:
            cell, config, precision = self.cell, self.config, self.precision
            shape = Shape(streams, config.hidden, cell.gates, precision.float, precision.operand, self.device)
            gradients = Gradients(shape, steps, cell.gated_product)
            tapes = [LayerTape(shape, steps, gradients, config.dropout > 0) for _ in range(config.layers)]
            for tape in tapes:
                cell.bind(tape)
            self._tapes[streams] = (steps, tapes)
        return tapes


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter; below "rnn." the names of torch.nn.RNN, GRU, LSTM, below "head." those of Linear."""
    gates = CELLS[config.cell].gates * config.hidden
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(config.layers):
        shapes[f"rnn.weight_ih_l{layer}"] = (gates, config.hidden if layer else config.vocabulary)
        shapes[f"rnn.weight_hh_l{layer}"] = (gates, config.hidden)
        shapes[f"rnn.bias_ih_l{layer}"] = (gates,)
        shapes[f"rnn.bias_hh_l{layer}"] = (gates,)
    shapes["head.weight"] = (config.vocabulary, config.hidden)
    shapes["head.bias"] = (config.vocabulary,)
    return shapes


def _parameters(
    config: ModelConfig, precision: Precision, device: torch.device, flat: Tensor | None = None
) -> Parameters:
    transposed = frozenset({"rnn.weight_ih_l0"})  # see OneHotInput
    return Parameters(parameter_shapes(config), transposed, precision, device, flat)
