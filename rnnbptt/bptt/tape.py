"""The tape: what a forward pass leaves for the backward pass, in buffers that are made once and used again.

Axes: T characters of a segment, B streams, H hidden units, G = gates x H pre-activations.
Dtypes: "float" is the dtype of parameters, state and sums; "operand" is that of the matrix products (bfloat16 where
the processor has it, otherwise the same as float).

At truncation 1 an update is some sixty small operations, and making the views they work on would cost as much as the
operations. So each tape keeps its views: by character (`forward_steps`, `backward_steps`) and by segment length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """The sizes of one layer's tape.

    streams  B
    hidden   H
    gates    G / H
    parts    tensors of the state: none, h, or h and c
    memo     whether the cell remembers anything else
    window   characters that the first layer reads at a time, where it is not just one: N
    """

    streams: int
    hidden: int
    gates: int
    parts: int
    memo: bool
    window: int
    float: torch.dtype
    operand: torch.dtype
    device: torch.device


@dataclass(frozen=True)
class Views:
    """T characters of one layer's tape, time and streams in one axis where products want it so.

    gates     (T*B, G)   float    the input's share of the pre-activations, then the activations
    h_before  (T*B, H)   operand  the hidden states the characters met
    h_after   (T, B, H)  float    the hidden states they left
    out       (T*B, H)   operand  the same as operand
    mask      (T, B, H)  float    dropout mask of what is passed upwards
    dropped   (T*B, H)   operand  `out` under the mask
    d_h       (T*B, H)   float    gradient with respect to what is passed upwards, then with respect to h in all
    d_inputs  (T*B, G)   float    gradient with respect to W_ih x + b_ih
    d_hidden  (T*B, G)   operand  gradient with respect to W_hh h + b_hh
    """

    gates: Tensor
    h_before: Tensor
    h_after: Tensor
    out: Tensor
    mask: Tensor
    dropped: Tensor
    d_h: Tensor
    d_inputs: Tensor
    d_hidden: Tensor


MOST_VIEWS = 4096  # spans for which a layer keeps its views: a curriculum of many depths has no end of them


class Span(NamedTuple):
    """Characters [start, stop) of a tape."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """T."""
        return self.stop - self.start


class Product:
    """a @ b for one character, in a buffer of float dtype whatever the operands are."""

    def __init__(self, shape: Shape, width: int) -> None:
        size = (shape.streams, width)
        self._operand = torch.empty(size, dtype=shape.operand, device=shape.device)
        self.result = torch.empty(size, dtype=shape.float, device=shape.device)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """a (B, K) @ b (K, width), in `result`, which the next call overwrites."""
        if self._operand.dtype == self.result.dtype:
            return torch.mm(a, b, out=self.result)
        return self.result.copy_(torch.mm(a, b, out=self._operand))


class Gradients:
    """Gradient buffers for up to `capacity` characters; the layers of a model use the same ones in turn."""

    def __init__(self, shape: Shape, capacity: int, separate_hidden: bool) -> None:
        def empty(width: int, dtype: torch.dtype) -> Tensor:
            return torch.empty(capacity, shape.streams, width, dtype=dtype, device=shape.device)

        width = shape.gates * shape.hidden
        self.h = empty(shape.hidden, shape.float)
        self.inputs = empty(width, shape.float)
        narrow = shape.operand != shape.float
        self.hidden = empty(width, shape.operand) if narrow or separate_hidden else self.inputs
        self.d_c = torch.empty(2, shape.streams, shape.hidden, dtype=shape.float, device=shape.device)
        self.product = Product(shape, shape.hidden)


class LayerTape:
    """What one recurrent layer remembers of up to `capacity` characters.

    h       (T+1, B, H)  float    hidden states; index t is the state *before* character t
    h_op    (T+1, B, H)  operand  the same for matrix products (the same tensor where the dtypes agree)
    c       (T+1, B, H)  float    LSTM cell states; no width in other cells
    gates   (T, B, G)    float    pre-activations, then activations
    memo    (T, B, H)    float    what else the cell wants to remember: tanh(c') of the LSTM, W_hn h + b_hn of the GRU
    """

    def __init__(self, shape: Shape, capacity: int, gradients: Gradients, dropout: bool) -> None:
        def empty(count: int, width: int, dtype: torch.dtype = shape.float) -> Tensor:
            return torch.empty(count, shape.streams, width, dtype=dtype, device=shape.device)

        self.narrow = shape.operand != shape.float
        self.h = empty(capacity + 1, shape.hidden)
        self.h_op = empty(capacity + 1, shape.hidden, shape.operand) if self.narrow else self.h
        self.c = empty(capacity + 1, shape.hidden if shape.parts > 1 else 0)
        self.gates = empty(capacity, shape.gates * shape.hidden)
        self.memo = empty(capacity, shape.hidden if shape.memo else 0)
        self.mask = empty(capacity if dropout else 0, shape.hidden)
        self.dropped = empty(capacity if dropout else 0, shape.hidden, shape.operand)
        self.product = Product(shape, self.gates.shape[-1])
        self.gradients = gradients
        self.forward_steps: list[Any] = []  # one tuple of views a character; the cell knows what is in it
        self.backward_steps: list[Any] = []
        self._views: dict[Span, Views] = {}

    def views(self, span: Span) -> Views:
        """The characters of `span`."""
        if span not in self._views:
            if len(self._views) >= MOST_VIEWS:
                self._views.clear()
            d, here, after = self.gradients, slice(*span), slice(span.start + 1, span.stop + 1)
            self._views[span] = Views(
                gates=self.gates[here].flatten(0, 1),
                h_before=self.h_op[here].flatten(0, 1),
                h_after=self.h[after],
                out=self.h_op[after].flatten(0, 1),
                mask=self.mask[here],
                dropped=self.dropped[here].flatten(0, 1),
                d_h=d.h[here].flatten(0, 1),
                d_inputs=d.inputs[here].flatten(0, 1),
                d_hidden=d.hidden[here].flatten(0, 1),
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

    def kept(self) -> dict[str, Tensor]:
        """What the tape remembers, by name: (T, B, ...), the states one longer."""
        tensors = {"h": self.h, "c": self.c, "gates": self.gates, "memo": self.memo}
        if self.narrow:
            tensors["h_op"] = self.h_op
        return tensors | {"mask": self.mask, "dropped": self.dropped}


class Tape:
    """What a model remembers of the characters it has read last, `capacity` of them at most, in `streams` streams.

    x         (C, B) int64  the symbols; (C, B, N) what a window of N characters has in their place
    layers    one LayerTape a layer
    segment   the characters read last, those whose losses the next backward pass is for
    held      all that it still holds, `segment` at its end
    dropping  whether the layers' output went through dropout
    """

    def __init__(self, shape: Shape, capacity: int, layers: int, separate_hidden: bool, dropout: bool) -> None:
        self.capacity, self.streams = capacity, shape.streams
        sizes = (capacity, shape.streams, shape.window) if shape.window else (capacity, shape.streams)
        self.x = torch.empty(sizes, dtype=torch.int64, device=shape.device)
        gradients = Gradients(shape, capacity, separate_hidden)
        self.layers = [LayerTape(shape, capacity, gradients, dropout) for _ in range(layers)]
        self.segment = self.held = Span(0, 0)
        self.dropping = False

    def append(self, x: Tensor, keep: int, dropping: bool) -> Span:
        """Take x, T characters, as the new segment, and forget all but `keep` characters before it."""
        older = self.before(keep)
        if not older.length:
            older = Span(0, 0)
        elif older.stop + len(x) > self.capacity:
            self.restore(self.held_tensors(older))  # to the front of the buffers
            older = self.held
        self.segment = Span(older.stop, older.stop + len(x))
        self.held = Span(older.start, self.segment.stop)
        self.dropping = dropping
        self.x[slice(*self.segment)] = x
        return self.segment

    def before(self, keep: int) -> Span:
        """The last `keep` characters, as far as they are held."""
        return Span(max(self.held.start, self.held.stop - keep), self.held.stop)

    def restore(self, tensors: Mapping[str, Tensor], at: int = 0) -> None:
        """Hold what `held_tensors` of this or another tape gave, from character `at` of the buffers on."""
        for name, buffer in self.kept().items():
            buffer[at : at + len(tensors[name])] = tensors[name].clone()  # they may be of the same buffer, and overlap
        self.segment = self.held = Span(at, at + len(tensors["x"]))

    def kept(self) -> dict[str, Tensor]:
        """Its buffers, by name."""
        buffers = {"x": self.x}
        for index, layer in enumerate(self.layers):
            buffers |= {f"{index}.{name}": buffer for name, buffer in layer.kept().items() if buffer.numel()}
        return buffers

    def held_tensors(self, span: Span) -> dict[str, Tensor]:
        """What it remembers of a span, by name; states are one more than characters."""
        return {
            name: tensor[span.start : span.stop + len(tensor) - self.capacity] for name, tensor in self.kept().items()
        }

    def forget(self) -> None:
        """Hold nothing: no gradient goes back beyond here."""
        self.held = Span(self.held.stop, self.held.stop)

    def last(self, depth: int) -> Span:
        """The last `depth` characters, the segment at least, and no more than are held."""
        return Span(min(self.segment.start, max(self.held.start, self.held.stop - depth)), self.held.stop)

    def input(self, layer: int, span: Span) -> Tensor:
        """What a layer, or beyond the last one the head, reads: symbols (T*B,), windows of them (T*B, N), or the
        output below, (T*B, H) operand.
        """
        if layer == 0:
            return self.x[slice(*span)].flatten(0, 1)
        views = self.layers[layer - 1].views(span)
        return views.dropped if self.dropping else views.out
