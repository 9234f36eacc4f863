"""The character model: one-hot input, stacked recurrent cells, dropout, a softmax over the vocabulary.

Axes: T characters of a segment, B streams, H hidden units, G = gates x H, V symbols, L layers, S tensors of a state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.cells import CELLS, FeedForward
from rnnbptt.bptt.layers import Head, RecurrentLayer, drop
from rnnbptt.bptt.recurrence import Boundary, Carry, Cell, PerStream
from rnnbptt.bptt.tape import Shape, Span, Tape
from rnnbptt.model.config import ModelConfig
from rnnbptt.model.parameters import Parameters
from rnnbptt.model.precision import Precision, choose_device, choose_precision


class CharRNN:
    """A character-level recurrent network whose gradient is written out.

    One update is `forward`, `cross_entropy` and `backward`; the gradient is then in `parameters.grad`. Run it under
    `torch.no_grad()`: autograd has no part in it.
    """

    def __init__(self, config: ModelConfig, parameters: Parameters, precision: Precision) -> None:
        self.config = config
        self.cell = cell_of(config)
        self.parameters = parameters
        self.precision = precision
        self.device = parameters.flat.device
        scratch = Scratch()
        self._layers = [RecurrentLayer(self.cell, parameters, index, scratch) for index in range(config.layers)]
        self._head = Head(parameters, scratch)
        self._tapes: dict[int, Tape] = {}

    @staticmethod
    def create(config: ModelConfig, precision: str = "auto", device: str = "cpu", seed: int = 0) -> CharRNN:
        """A model with fresh weights: all uniform in +-1/sqrt(H) as torch.nn draws them, but the biases, which are
        those that the cell wants.
        """
        place = choose_device(device)
        dtypes = choose_precision(precision, place)
        model = _network(config, _parameters(config, dtypes, place), dtypes)
        rng = torch.Generator().manual_seed(seed)
        bound = config.hidden**-0.5
        for name, value in model.parameters.values.items():
            if "weight" in name:
                value.copy_(torch.empty(value.shape, dtype=torch.float64).uniform_(-bound, bound, generator=rng))
            elif "bias_ih" in name:
                value.copy_(model.cell.initial_bias(config.hidden))
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
        return _network(self.config, parameters, precision)

    def flops(self, chars: int, depth: int, carried: int, again: int = 0) -> float:
        """Floating-point operations of an update's matrix products, 2 a weight and character in each.

        Forward and head: for the new `chars` of all streams; forward without the head: also for those gone through
        `again`. Gradients of the layers: for the `depth` characters gone back through. The product that carries the
        gradient one step back in time: for those `carried`, so that truncation 1 has none. The first layer's input is a
        look-up.
        """

        def size(*kinds: str) -> int:
            shapes = self.parameters.shapes.items()
            return sum(math.prod(shape) for name, shape in shapes if any(kind in name for kind in kinds))

        recurrent, head = size("weight_hh"), size("head.weight")
        layers = size("weight_ih", "weight_co") - size("weight_ih_l0")
        forward = chars * (recurrent + layers + head) + again * (recurrent + layers)
        return 2.0 * (forward + 2 * chars * head + depth * (recurrent + 2 * layers) + carried * recurrent)

    def tape_bytes(self, steps: int, streams: int) -> int:
        """Memory of the tape and the gradients of `steps` characters of `streams` streams; it is linear in both."""
        config, wide, narrow = self.config, self.precision.float.itemsize, self.precision.operand.itemsize
        gates = self.cell.gates * config.hidden
        converted = narrow if narrow != wide else 0  # copies for matrix products, where these read another dtype
        kept = max(1, self.cell.parts) + self.cell.memo  # the output, where there is no state
        layer = wide * (gates + kept * config.hidden) + converted * config.hidden
        if config.dropout:
            layer += (wide + narrow) * config.hidden
        gradients = wide * config.hidden + (wide + (narrow if self.cell.separate_hidden else converted)) * gates
        windows = torch.int64.itemsize * config.window
        return steps * streams * (config.layers * layer + gradients + windows + 2 * wide * config.vocabulary)

    def zero_state(self, streams: int) -> Tensor:
        """The state before any text: (L, S, B, H)."""
        shape = (self.config.layers, self.cell.parts, streams, self.config.hidden)
        return torch.zeros(shape, dtype=self.precision.float, device=self.device)

    def forward(
        self, x: Tensor, state: Tensor, dropout: torch.Generator | None = None, keep: int = 0, rerun: int = 0
    ) -> tuple[Tensor, Tape]:
        """Read x (T, B) from `state` (L, S, B, H), which is moved on in place.

        `dropout` is the source of dropout masks; without it nothing is dropped. `keep` is how many of the characters
        read before `backward` may want to go back to, `rerun` how many of these are read once more first, with the
        weights of now and from the state that was met there. Returns the logits of x (T*B, V) and the tape; both live
        in buffers that the next call overwrites.
        """
        tape = self._tape(len(x), x.shape[1], keep)
        new = tape.append(x, keep, dropping=dropout is not None and self.config.dropout > 0)
        span = tape.last(len(x) + rerun)
        for index, (layer, layer_tape) in enumerate(zip(self._layers, tape.layers, strict=True)):
            if span != new:
                layer_tape.leave(span.start, state[index])
            layer.forward(tape.input(index, span), state[index], layer_tape, span)
            if tape.dropping and dropout:
                drop(layer_tape.views(span), self.config.dropout, dropout)
        return self._head.forward(tape.input(len(self._layers), new)), tape

    def backward(
        self,
        tape: Tape,
        d_logits: Tensor,
        depth: int | None = None,
        carry: Carry | None = None,
        boundary: Boundary | None = None,
    ) -> None:
        """Write the gradient of the characters just read into `parameters.grad`, given d_logits (T*B, V).

        `depth` is how many characters to go back from the last one, as far as the tape holds them: T, the segment,
        unless given. `carry` is the factor on the gradient at each step back (see recurrence.py), 1 unless given.
        """
        new, span = tape.segment, tape.last(depth or 0)
        carry = (1.0,) * (span.length - 1) if carry is None else carry
        d_h = tape.layers[-1].views(span).d_h
        older = (new.start - span.start) * tape.streams
        d_h[:older].zero_()  # the losses of older characters had their update
        self._head.gradient(tape.input(len(self._layers), new), d_logits)
        self._head.down(d_logits, d_h[older:])
        for index in self._descend(tape, span, carry, None, boundary):
            self.gradients(tape, index, span)

    def backward_state(self, tape: Tape, span: Span, d_after: Tensor, d_before: Tensor) -> Iterator[int]:
        """Carry a gradient of the state after the characters of `span`, d_after (L, S, B, H), back to the state before
        them, d_before; it is whole when the iteration is at its end.

        Yields each layer from the last to the first when its `influences` can be read.
        """
        tape.layers[-1].views(span).d_h.zero_()
        return self._descend(tape, span, (1.0,) * (span.length - 1), d_after, Boundary(d_before))

    def gradient_norms(self, tape: Tape, d_logits: Tensor) -> list[float]:
        """Norms, means over the streams, of the gradient of the last character's loss, given by its d_logits (B, V),
        with respect to the state 0, 1, 2, ... characters before, as many as the segment has.

        It goes back one character at a time; `parameters.grad` is left alone.
        """
        state, norms = self.zero_state(tape.streams), []
        last = Span(tape.segment.stop - 1, tape.segment.stop)
        d_h = tape.layers[-1].views(last).d_h
        self._head.down(d_logits, d_h)
        for span in (Span(at, at + 1) for at in range(last.start, tape.segment.start - 1, -1)):
            if span != last:
                norms.append(float(state.square().sum((0, 1, 3)).sqrt().mean()))
                tape.layers[-1].views(span).d_h.zero_()
            for index in self._descend(tape, span, (), state if span != last else None, Boundary(state)):
                if span == last and index == len(self._layers) - 1:
                    norms.append(float(d_h.square().sum(1).sqrt().mean()))
        return norms

    def backward_units(self, tape: Tape, index: int, span: Span, d_after: Tensor, d_before: Tensor) -> None:
        """As `backward_state`, but in layer `index` alone, d_after and d_before (S, B, H), and from each unit to itself
        alone, through its own recurrence.
        """
        self._layers[index].backward_alone(tape.layers[index], span, d_after, d_before)

    def gradients(self, tape: Tape, index: int, span: Span) -> None:
        """Where `backward_state` or `backward_units` has come to layer `index`: write the gradient of its parameters as
        they were used in `span` into `parameters.grad`.
        """
        self._layers[index].gradients(tape.input(index, span), tape.layers[index], span)

    def influences(self, tape: Tape, index: int, span: Span) -> dict[str, PerStream]:
        """Where `backward_state` or `backward_units` has come to layer `index`: the gradient of its parameters as they
        were used in `span`, for each stream by itself, (B, ...), by name; of those that the layer's state depends on.
        """
        return self._layers[index].influences(tape.input(index, span), tape.layers[index], span)

    def output_influences(self, tape: Tape, index: int, span: Span) -> dict[str, PerStream]:
        """The same of its other parameters, which the layers above depend on."""
        return self._layers[index].output_influences(tape.layers[index], span)

    def _descend(
        self, tape: Tape, span: Span, carry: Carry, d_after: Tensor | None, boundary: Boundary | None
    ) -> Iterator[int]:
        """Back-propagate from the last layer to the first, given the gradient of the last one's output in `d_h`, which
        is one buffer that the layers hand down in turn. Yields each layer when it has its gradients.
        """
        for index in range(len(self._layers) - 1, -1, -1):
            layer, layer_tape = self._layers[index], tape.layers[index]
            if tape.dropping:
                layer_tape.views(span).d_h.mul_(layer_tape.views(span).mask.flatten(0, 1))
            layer.backward(
                *(layer_tape, span, carry),
                d_after=None if d_after is None else d_after[index],
                boundary=boundary and boundary._replace(d_before=boundary.d_before[index]),
            )
            yield index
            layer.down(layer_tape, span)

    def forget(self, streams: int) -> None:
        """Hold no character before the next one: no gradient goes back beyond it."""
        if streams in self._tapes:
            self._tapes[streams].forget()

    def remember(self, streams: int, keep: int) -> dict[str, Tensor]:
        """What the tape holds of the last `keep` characters, by name; empty where that is none."""
        tape = self._tapes.get(streams)
        if not tape or not keep:
            return {}
        span = tape.before(keep)
        return tape.held_tensors(span) | {"place": torch.tensor([span.start, tape.capacity])}

    def recall(self, streams: int, tensors: Mapping[str, Tensor]) -> None:
        """Hold what `remember` gave, in the same place of a tape as long: matrix products of operands that lie
        otherwise in memory may round otherwise.
        """
        start, capacity = (int(number) for number in tensors["place"])
        tape = self._tapes[streams] = self._new_tape(streams, capacity)
        tape.restore(tensors, start)

    def _tape(self, steps: int, streams: int, keep: int) -> Tape:
        """The tape for this number of streams, with room for `steps` characters beside those to keep."""
        tape = self._tapes.get(streams)
        if tape is None or tape.capacity < steps + keep:
            longer = self._new_tape(streams, keep + max(steps, keep))
            if tape is not None:
                longer.restore(tape.held_tensors(tape.before(keep)))
            tape = self._tapes[streams] = longer
        return tape

    def _new_tape(self, streams: int, capacity: int) -> Tape:
        cell, config, precision = self.cell, self.config, self.precision
        sizes = (streams, config.hidden, cell.gates, cell.parts, cell.memo, cell.window)
        shape = Shape(*sizes, precision.float, precision.operand, self.device)
        tape = Tape(shape, capacity, config.layers, cell.separate_hidden, config.dropout > 0)
        for layer in tape.layers:
            cell.bind(layer)
        return tape


class WindowNetwork(CharRNN):
    """Feed-forward layers on the last N characters. There is no hidden state: what is carried on as "the state" is the
    N - 1 characters before the next one, (N-1, 1, B, 1), the oldest first, as symbol + 1; 0 is no character at all.

    Those not there are one more symbol to the first layer, so that W_ih has a column for each symbol the newest
    character may be, then, for each older one, a column for none and one for each symbol.
    """

    def zero_state(self, streams: int) -> Tensor:
        """The state before any text: (N-1, 1, B, 1)."""
        return torch.zeros(self.config.window - 1, 1, streams, 1, dtype=self.precision.float, device=self.device)

    def forward(
        self, x: Tensor, state: Tensor, dropout: torch.Generator | None = None, keep: int = 0, rerun: int = 0
    ) -> tuple[Tensor, Tape]:
        """As that of `CharRNN`, from a `state` (N-1, 1, B, 1). The gradient is whole without any older character, so
        that none is kept or read once more.
        """
        no_states = state.new_empty(self.config.layers, 0, x.shape[1], self.config.hidden)
        return super().forward(self._columns(x, state), no_states, dropout)

    def _columns(self, x: Tensor, state: Tensor) -> Tensor:
        """The columns of W_ih for x (T, B) and the characters before, (T, B, N), the newest first; moves `state` on."""
        window, symbols = self.config.window, self.config.vocabulary + 1
        held = torch.cat([state[:, 0, :, 0].to(x.dtype), x + 1])
        state[:, 0, :, 0] = held[len(x) :]
        first = torch.arange(window, device=x.device) * symbols - 1  # column of each place for symbol + 1 = 0
        return held.unfold(0, window, 1).flip(2) + first

    def remember(self, streams: int, keep: int) -> dict[str, Tensor]:
        """Nothing."""
        return {}


def cell_of(config: ModelConfig) -> Cell:
    """What the layers are made of."""
    return FeedForward(config.window) if config.window else CELLS[config.cell]


def _network(config: ModelConfig, parameters: Parameters, precision: Precision) -> CharRNN:
    return (WindowNetwork if config.window else CharRNN)(config, parameters, precision)


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter; below "rnn." the names of torch.nn.RNN, GRU, LSTM (where they have one), below "head."
    those of Linear.
    """
    cell = cell_of(config)
    gates = cell.gates * config.hidden
    shapes: dict[str, tuple[int, ...]] = {}
    symbols = max(1, config.window) * (config.vocabulary + 1) - 1  # see WindowNetwork
    for layer in range(config.layers):
        width = config.hidden if layer else symbols
        kinds = {"weight_ih": (gates, width), "bias_ih": (gates,), **cell.shapes(config.hidden)}
        for kind in sorted(kinds, key=lambda kind: "bias" in kind):  # in torch's order, the biases last
            shapes[f"rnn.{kind}_l{layer}"] = kinds[kind]
    shapes["head.weight"] = (config.vocabulary, config.hidden)
    shapes["head.bias"] = (config.vocabulary,)
    return shapes


def _parameters(
    config: ModelConfig, precision: Precision, device: torch.device, flat: Tensor | None = None
) -> Parameters:
    transposed = frozenset({"rnn.weight_ih_l0"})  # see OneHotInput
    return Parameters(parameter_shapes(config), transposed, precision, device, flat)
