"""The character model: one-hot input, stacked recurrent cells, dropout, a softmax over the vocabulary.

Axes: T characters of a segment, B streams, H hidden units, G = gates x H, V symbols, L layers, S tensors of a state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from rnnbptt.cells import CELLS, Carry
from rnnbptt.config import ModelConfig
from rnnbptt.layers import Head, RecurrentLayer, Scratch, drop
from rnnbptt.parameters import Parameters, Precision, choose_device, choose_precision
from rnnbptt.tape import Shape, Tape


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
        self._tapes: dict[int, Tape] = {}

    @classmethod
    def create(cls, config: ModelConfig, precision: str = "auto", device: str = "cpu", seed: int = 0) -> CharRNN:
        """A model with fresh weights: matrices uniform in +-1/sqrt(H) as torch.nn draws them, biases 0, the LSTM's
        forget bias 1.
        """
        place = choose_device(device)
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
        """This model with operands, as they are now, in another dtype. Weights are shared, tapes are its own.

        A float64 model stays one: its weights are float64, and so are its products.
        """
        precision = choose_precision(name, self.device)
        if self.precision.float == torch.float64:
            precision = self.precision
        parameters = _parameters(self.config, precision, self.device, self.parameters.flat)
        parameters.refresh_operands()
        return CharRNN(self.config, parameters, precision)

    def flops(self, chars: int, depth: int, carried: int) -> float:
        """Floating-point operations of an update's matrix products, 2 a weight and character in each.

        Forward and head: for the new `chars` of all streams. Weight gradients of the layers: for the `depth` characters
        gone back through. The product that carries the gradient one step back in time: for those `carried`, so that
        truncation 1 has none. The first layer's input is a look-up.
        """
        shapes = self.parameters.shapes
        recurrent = self.config.layers * math.prod(shapes["rnn.weight_hh_l0"])
        between = (self.config.layers - 1) * math.prod(shapes["rnn.weight_hh_l0"])  # as large: its input is H wide too
        head = math.prod(shapes["head.weight"])
        forward = chars * (recurrent + between + head)
        return 2.0 * (forward + 2 * chars * head + depth * (recurrent + 2 * between) + carried * recurrent)

    def tape_bytes(self, steps: int, streams: int) -> int:
        """Memory of the tape and the gradients of `steps` characters of `streams` streams; it is linear in both."""
        config, wide, narrow = self.config, self.precision.float.itemsize, self.precision.operand.itemsize
        gates = self.cell.gates * config.hidden
        converted = narrow if narrow != wide else 0  # copies for matrix products, where these read another dtype
        layer = wide * (gates + (self.cell.parts + self.cell.memo) * config.hidden) + converted * config.hidden
        if config.dropout:
            layer += (wide + narrow) * config.hidden
        gradients = wide * config.hidden + (wide + (narrow if self.cell.gated_product else converted)) * gates
        return steps * streams * (config.layers * layer + gradients + 2 * wide * config.vocabulary)

    def zero_state(self, streams: int) -> Tensor:
        """The state before any text: (L, S, B, H)."""
        shape = (self.config.layers, self.cell.parts, streams, self.config.hidden)
        return torch.zeros(shape, dtype=self.precision.float, device=self.device)

    def forward(
        self, x: Tensor, state: Tensor, dropout: torch.Generator | None = None, keep: int = 0
    ) -> tuple[Tensor, Tape]:
        """Read x (T, B) from `state` (L, S, B, H), which is moved on in place.

        `dropout` is the source of dropout masks; without it nothing is dropped. `keep` is how many of the characters
        read before `backward` may want to go back to. Returns the logits (T*B, V) and the tape; both live in buffers
        that the next call overwrites.
        """
        tape = self._tape(len(x), x.shape[1], keep)
        span = tape.append(x, keep, dropping=dropout is not None and self.config.dropout > 0)
        for index, layer in enumerate(self._layers):
            layer.forward(tape.input(index, span), state[index], tape.layers[index], span)
            if tape.dropping and dropout:
                drop(tape.layers[index].views(span), self.config.dropout, dropout)
        return self._head.forward(tape.input(len(self._layers), span)), tape

    def backward(self, tape: Tape, d_logits: Tensor, depth: int | None = None, carry: Carry | None = None) -> None:
        """Write the gradient of the characters just read into `parameters.grad`, given d_logits (T*B, V).

        `depth` is how many characters to go back from the last one, as far as the tape holds them: T, the segment,
        unless given. `carry` is the factor on the gradient at each step back (see cells.py), 1 unless given.
        """
        new, span = tape.segment, tape.last(depth or 0)
        carry = (1.0,) * (span.length - 1) if carry is None else carry
        d_h = tape.layers[-1].views(span).d_h  # one buffer, which the layers hand down in turn
        older = (new.start - span.start) * tape.streams
        d_h[:older].zero_()  # the losses of older characters had their update
        self._head.backward(tape.input(len(self._layers), new), d_logits, d_h[older:])
        for index in range(len(self._layers) - 1, -1, -1):
            if tape.dropping:
                d_h.mul_(tape.layers[index].views(span).mask.flatten(0, 1))
            self._layers[index].backward(tape.input(index, span), tape.layers[index], span, carry)

    def forget(self, streams: int) -> None:
        """Hold no character before the next one: no gradient goes back beyond it."""
        if streams in self._tapes:
            self._tapes[streams].forget()

    def remember(self, streams: int, keep: int) -> dict[str, Tensor]:
        """What the tape holds of the last `keep` characters, by name; empty where that is none."""
        tape = self._tapes.get(streams)
        return tape.held_tensors(tape.before(keep)) if tape and keep else {}

    def recall(self, streams: int, keep: int, tensors: Mapping[str, Tensor]) -> None:
        """Hold what `remember` gave."""
        self._tape(keep, streams, keep).restore(tensors)

    def _tape(self, steps: int, streams: int, keep: int) -> Tape:
        """The tape for this number of streams, with room for `steps` characters beside those to keep."""
        tape = self._tapes.get(streams)
        if tape is None or tape.capacity < steps + keep:
            cell, config, precision = self.cell, self.config, self.precision
            sizes = (streams, config.hidden, cell.gates, cell.parts, cell.memo)
            shape = Shape(*sizes, precision.float, precision.operand, self.device)
            longer = Tape(shape, keep + max(steps, keep), config.layers, cell.gated_product, config.dropout > 0)
            for layer in longer.layers:
                cell.bind(layer)
            if tape is not None:
                longer.restore(tape.held_tensors(tape.before(keep)))
            tape = self._tapes[streams] = longer
        return tape


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
