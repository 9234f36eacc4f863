"""The tape: what a forward pass leaves for the backward pass, in buffers that are made once and used again.

Axes: T characters of a segment, B streams, H hidden units, G = gates x H pre-activations.
Dtypes: "float" is the dtype of parameters, state and sums; "operand" is that of the matrix products (bfloat16 where
the processor has it, otherwise the same as float).

At truncation 1 an update is some sixty small operations, and making the views they work on would cost as much as the
operations. So each tape keeps its views: by character (`steps`) and by segment (`views`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnbptt.model.shapes import check_tensor


@dataclass(frozen=True)
class TapeShape:
    """The sizes and dtypes of one layer's tape.

    streams          B
    hidden           H
    gates            G / H
    parts            tensors of the state: none, h, or h and c
    memo             whether the cell remembers anything else
    separate_hidden  whether W_ih x and W_hh h have different gradients
    gates_state      whether the input gates h before W_hh multiplies it
    dropout          whether the layer's output goes through dropout in training
    window           characters that the first layer reads at a time, where it is not just one: N
    """

    streams: int
    hidden: int
    gates: int
    parts: int
    memo: bool
    separate_hidden: bool
    gates_state: bool
    dropout: bool
    window: int
    float: torch.dtype
    operand: torch.dtype
    device: torch.device

    def empty(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """A buffer, of float dtype unless given."""
        return torch.empty(shape, dtype=dtype or self.float, device=self.device)

    @property
    def narrow(self) -> bool:
        """Whether matrix products read another dtype than the state has."""
        return self.operand != self.float

    def bytes_per_step(self, layers: int, vocabulary: int) -> int:
        """Memory of the tape, the gradients and the logits that one character of each stream takes."""
        wide, narrow = self.float.itemsize, self.operand.itemsize
        gates = self.gates * self.hidden
        converted = narrow if self.narrow else 0  # copies for matrix products
        kept = max(1, self.parts) + self.memo  # the output, where there is no state
        layer = wide * (gates + kept * self.hidden) + converted * self.hidden
        layer += (self.gates_state + self.dropout) * (wide + narrow) * self.hidden
        d_gates = wide + (narrow if self.separate_hidden else converted)
        gradients = wide * (1 + self.gates_state) * self.hidden + d_gates * gates
        windows = torch.int64.itemsize * self.window
        return self.streams * (layers * layer + gradients + windows + 2 * wide * vocabulary)


class Span(NamedTuple):
    """Characters [start, stop) of a tape."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """T."""
        return self.stop - self.start

    @property
    def here(self) -> slice:
        """Of buffers by character; of states: those that the characters meet."""
        return slice(self.start, self.stop)

    @property
    def after(self) -> slice:
        """Of states: those that the characters leave."""
        return slice(self.start + 1, self.stop + 1)


@dataclass(frozen=True)
class Views:
    """T characters of one layer's tape, time and streams in one axis where products want it so.

    gates         (T*B, G)   float    the input's share of the pre-activations, then the activations
    met           (T*B, H)   operand  the hidden states the characters met, as W_hh multiplies them
    state_gate    (T*B, H)   float    the gates that they went through before that, of no width where there are none
    h_after       (T, B, H)  float    the hidden states they left
    out           (T*B, H)   operand  the same as operand
    mask          (T, B, H)  float    dropout mask of what is passed upwards
    dropped       (T*B, H)   operand  `out` under the mask
    d_h           (T*B, H)   float    gradient with respect to what is passed upwards, then with respect to h in all
    d_inputs      (T*B, G)   float    gradient with respect to W_ih x + b_ih
    d_hidden      (T*B, G)   operand  gradient with respect to W_hh h + b_hh
    d_state_gate  (T*B, H)   float    gradient with respect to these, then with respect to their pre-activations
    """

    gates: Tensor
    met: Tensor
    state_gate: Tensor
    h_after: Tensor
    out: Tensor
    mask: Tensor
    dropped: Tensor
    d_h: Tensor
    d_inputs: Tensor
    d_hidden: Tensor
    d_state_gate: Tensor


MOST_VIEWS = 4096  # spans for which a layer keeps its views: a curriculum of many depths has no end of them


class Adjoint(NamedTuple):
    """The gradients of a span's pre-activations: inputs (T, B, G) float, hidden (T, B, G) operand, and those of the
    gates of the state, state_gate (T, B, H) float, of no width where there are none.
    """

    inputs: Tensor
    hidden: Tensor
    state_gate: Tensor


class GradientBuffers:
    """Gradients of up to `capacity` characters, C; the layers of a model use the same buffers in turn.

    h           (C, B, H)  float    with respect to the hidden states that the characters leave
    inputs      (C, B, G)  float    with respect to W_ih x + b_ih
    hidden      (C, B, G)  operand  with respect to W_hh h + b_hh; the same tensor as `inputs` where nothing differs
    state_gate  (C, B, H)  float    with respect to the gates of the state; no width where there are none
    direct      (B, H)     float    what passes to the state before a character by no matrix product
    spare       (B, H)     float    for one character's arithmetic
    back        (B, H)     float    what passes to the state before through W_hh, and `back_narrow` the same as operand
    """

    def __init__(self, shape: TapeShape, capacity: int) -> None:
        streams, hidden, width = shape.streams, shape.hidden, shape.gates * shape.hidden
        self.h, self.inputs = shape.empty(capacity, streams, hidden), shape.empty(capacity, streams, width)
        separate = shape.narrow or shape.separate_hidden
        self.hidden = shape.empty(capacity, streams, width, dtype=shape.operand) if separate else self.inputs
        self.state_gate = shape.empty(capacity, streams, hidden if shape.gates_state else 0)
        self.direct, self.spare, self.back = (shape.empty(streams, hidden) for _ in range(3))
        self.back_narrow = shape.empty(streams, hidden, dtype=shape.operand) if shape.narrow else None

    def adjoint(self, span: Span) -> Adjoint:
        """Of the layer that the backward pass has come to."""
        return Adjoint(self.inputs[span.here], self.hidden[span.here], self.state_gate[span.here])


class LayerTape:
    """What one recurrent layer remembers of up to `capacity` characters, C.

    h           (C+1, B, H)  float    hidden states; index t is the state *before* character t
    h_op        (C+1, B, H)  operand  the same for matrix products (the same tensor where the dtypes agree)
    c           (C+1, B, H)  float    cell states; no width where the cell has none
    state_gate  (C, B, H)    float    gates that a character's input sets for h; no width where there are none
    met         (C, B, H)    operand  h as W_hh multiplies it: gated, or `h_op` itself
    gates       (C, B, G)    float    pre-activations, then activations
    memo        (C, B, H)    float    what else the cell remembers: tanh(c') of the LSTM, W_hn h + b_hn of the GRU
    mask        (C, B, H)    float    dropout masks, and `dropped` the output under them
    share       (B, G)       float    W_hh h of one character, and `share_narrow` the same as operand
    steps       one object of views for each character, as the cell wants them
    """

    def __init__(self, shape: TapeShape, capacity: int, gradients: GradientBuffers) -> None:
        streams, hidden, operand = shape.streams, shape.hidden, shape.operand
        self.narrow, self.gradients = shape.narrow, gradients
        self.h = shape.empty(capacity + 1, streams, hidden)
        self.h_op = shape.empty(capacity + 1, streams, hidden, dtype=operand) if self.narrow else self.h
        self.c = shape.empty(capacity + 1, streams, hidden if shape.parts > 1 else 0)
        self.state_gate = shape.empty(capacity, streams, hidden if shape.gates_state else 0)
        self.met = shape.empty(capacity, streams, hidden, dtype=operand) if shape.gates_state else self.h_op
        self.gates = shape.empty(capacity, streams, shape.gates * hidden)
        self.memo = shape.empty(capacity, streams, hidden if shape.memo else 0)
        dropped = capacity if shape.dropout else 0
        self.mask, self.dropped = (shape.empty(dropped, streams, hidden, dtype=d) for d in (shape.float, operand))
        self.share = shape.empty(streams, shape.gates * hidden)
        self.share_narrow = shape.empty(*self.share.shape, dtype=operand) if self.narrow else None
        self.steps: list[Any] = []
        self._views: dict[Span, Views] = {}

    def views(self, span: Span) -> Views:
        """The characters of `span`."""
        if span not in self._views:
            if len(self._views) >= MOST_VIEWS:
                self._views.clear()
            d, here, after = self.gradients, span.here, span.after
            self._views[span] = Views(
                gates=self.gates[here].flatten(0, 1),
                met=self.met[here].flatten(0, 1),
                state_gate=self.state_gate[here].flatten(0, 1),
                h_after=self.h[after],
                out=self.h_op[after].flatten(0, 1),
                mask=self.mask[here],
                dropped=self.dropped[here].flatten(0, 1),
                d_h=d.h[here].flatten(0, 1),
                d_inputs=d.inputs[here].flatten(0, 1),
                d_hidden=d.hidden[here].flatten(0, 1),
                d_state_gate=d.state_gate[here].flatten(0, 1),
            )
        return self._views[span]

    def enter(self, at: int, state: Tensor) -> None:
        """Meet character `at` with `state` (S, B, H): h, then c, as far as the cell has them."""
        for buffer, part in zip((self.h, self.c), state, strict=False):
            buffer[at].copy_(part)
        if self.narrow:
            self.h_op[at].copy_(self.h[at])

    def leave(self, at: int, state: Tensor) -> None:
        """Write the state before character `at` into `state` (S, B, H)."""
        for buffer, part in zip((self.h, self.c), state, strict=False):
            part.copy_(buffer[at])

    def buffers(self) -> dict[str, Tensor]:
        """What the tape remembers, by name: (C, B, ...), the states one longer."""
        buffers = {"h": self.h, "c": self.c, "gates": self.gates, "memo": self.memo, "state_gate": self.state_gate}
        if self.met is not self.h_op:
            buffers["met"] = self.met
        if self.narrow:
            buffers["h_op"] = self.h_op
        return buffers | {"mask": self.mask, "dropped": self.dropped}


class Tape:
    """What a network remembers of the characters it has read last, `capacity` of them at most, in B streams.

    x         (C, B) int64  the symbols; (C, B, N) what a window of N characters has in their place
    layers    one LayerTape a layer
    segment   the characters read last, those whose losses the next backward pass is for
    held      all that it still holds: the history, and `segment` at its end
    dropping  whether the layers' output went through dropout
    """

    def __init__(self, shape: TapeShape, capacity: int, layers: int) -> None:
        self.capacity, self.streams = capacity, shape.streams
        sizes = (capacity, shape.streams, shape.window) if shape.window else (capacity, shape.streams)
        self.x = shape.empty(*sizes, dtype=torch.int64)
        self.gradients = GradientBuffers(shape, capacity)
        self.layers = [LayerTape(shape, capacity, self.gradients) for _ in range(layers)]
        self.segment = self.held = Span(0, 0)
        self.dropping = False

    def append(self, x: Tensor, history: int, dropping: bool) -> Span:
        """Take x, T characters, as the new segment, and hold at most `history` characters before it."""
        older = self._latest(history)
        if not older.length:
            older = Span(0, 0)
        elif older.stop + len(x) > self.capacity:
            self.hold(self.history(history))  # at the front of the buffers
            older = self.held
        self.segment = Span(older.stop, older.stop + len(x))
        self.held = Span(older.start, self.segment.stop)
        self.dropping = dropping
        self.x[self.segment.here] = x
        return self.segment

    def _latest(self, count: int) -> Span:
        """So many characters, as far as they are held."""
        return Span(max(self.held.start, self.held.stop - count), self.held.stop)

    def last(self, depth: int) -> Span:
        """The last `depth` characters, the segment at least, and no more than are held."""
        return Span(min(self.segment.start, self._latest(depth).start), self.held.stop)

    def forget(self) -> None:
        """Hold nothing: no gradient goes back beyond here."""
        self.held = Span(self.held.stop, self.held.stop)

    def blank(self) -> None:
        """Of the characters that it holds, remember the symbols alone: the states that they met become zero."""
        for layer in self.layers:
            for states in (layer.h, layer.h_op, layer.met, layer.c):
                states.zero_()

    def history(self, count: int) -> dict[str, Tensor]:
        """What it holds of the last `count` characters, by name: (T, B, ...), the states one longer; and their place
        in its buffers, with how long these are.
        """
        span = self._latest(count)
        tensors = {
            name: buffer[span.start : span.stop + len(buffer) - self.capacity]
            for name, buffer in self._buffers().items()
        }
        return tensors | {"place": torch.tensor([span.start, self.capacity])}

    def hold(self, history: Mapping[str, Tensor], at: int = 0) -> None:
        """Hold what `history` of this or another tape gave, from character `at` of the buffers on."""
        for name, buffer in self._buffers().items():
            older = history[name]
            buffer[at : at + len(older)] = older.clone()  # it may be of the same buffer, and overlap
        self.segment = self.held = Span(at, at + len(history["x"]))

    def check(self, history: Mapping[str, Tensor]) -> None:
        """UserError where a tensor from a file is not as `hold` wants it, KeyError where one is missing."""
        count = len(history["x"])
        for name, buffer in self._buffers().items():
            shape = (count + len(buffer) - self.capacity, *buffer.shape[1:])
            check_tensor(f"history.{name}", history[name], shape, buffer.dtype)

    def _buffers(self) -> dict[str, Tensor]:
        buffers = {"x": self.x}
        for index, layer in enumerate(self.layers):
            buffers |= {f"{index}.{name}": buffer for name, buffer in layer.buffers().items() if buffer.numel()}
        return buffers

    def input(self, layer: int, span: Span) -> Tensor:
        """What a layer, or beyond the last one the head, reads: symbols (T*B,), windows of them (T*B, N), or the
        output below, (T*B, H) operand.
        """
        if layer == 0:
            return self.x[span.here].flatten(0, 1)
        views = self.layers[layer - 1].views(span)
        return views.dropped if self.dropping else views.out


class Tapes:
    """The tapes of a network, one for each number of streams, made when they are needed."""

    def __init__(self, shape_for: Callable[[int], TapeShape], layers: int) -> None:
        """`shape_for` tells the shape for a number of streams."""
        self._shape_for, self._layers = shape_for, layers
        self._tapes: dict[int, Tape] = {}

    def get(self, streams: int, steps: int, history: int) -> Tape:
        """One with room for `steps` characters beside the history; it holds what a shorter one held."""
        tape = self._tapes.get(streams)
        if tape is None or tape.capacity < steps + history:
            longer = Tape(self._shape_for(streams), history + max(steps, history), self._layers)
            if tape is not None:
                longer.hold(tape.history(history))
            tape = self._tapes[streams] = longer
        return tape

    def forget(self, streams: int) -> None:
        """Hold no character before the next one: no gradient goes back beyond it."""
        if streams in self._tapes:
            self._tapes[streams].forget()

    def blank(self, streams: int) -> None:
        """Let the characters that are read once more be met with a state of zero."""
        if streams in self._tapes:
            self._tapes[streams].blank()

    def history(self, streams: int, count: int) -> dict[str, Tensor]:
        """What is held of the last `count` characters, by name; empty where that is none."""
        return self._tapes[streams].history(count) if count and streams in self._tapes else {}

    def hold(self, streams: int, history: Mapping[str, Tensor]) -> None:
        """Hold what `history` gave, in the same place of a tape as long: matrix products of operands that lie
        otherwise in memory may round otherwise. UserError and KeyError as for `Tape.check`.
        """
        start, capacity = (int(number) for number in history["place"])
        tape = self._tapes[streams] = Tape(self._shape_for(streams), capacity, self._layers)
        tape.check(history)
        tape.hold(history, start)
