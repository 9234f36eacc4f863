"""Influences: what carries credit past the place where back-propagation is cut, forward in time.

The gradient of a segment's loss lacks what the parameters did before the segment. That part is the gradient of the loss
with respect to the state before the segment times the influence of the parameters on that state,

    M' = A M + B,    A = d(state after) / d(state before),    B = d(state after) / d(parameters used in the segment),

which is kept from update to update: all of it is real-time recurrent learning (Williams & Zipser 1989), in blocks of a
segment (Schmidhuber 1992); what each unit owes to itself is SnAp-1 (Menick et al. 2021). Both products come from the
same backward passes as the gradient. The influence is that of the weights as they were used, which have moved since:
it is exact while they rest.

Axes: S tensors of a state, L layers, B streams, H hidden, U units of the state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Protocol

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.recurrence import Boundary, PerStream
from rnnbptt.bptt.tape import Tape
from rnnbptt.errors import UserError

MOST_BYTES = 2 * 2**30  # of an exact influence


class Influence(Protocol):
    """Goes along with the updates of B streams.

    state  what a checkpoint must keep
    """

    state: dict[str, Tensor]

    @property
    def boundary(self) -> Boundary | None:
        """Where `CharRNN.backward` is to write the gradient of the state before the segment; None: it need not."""

    @property
    def bytes(self) -> int:
        """Memory that it takes, but for what grows with the segment."""

    def update(self, tape: Tape) -> None:
        """After `CharRNN.backward`: add the missing part to the gradient, then go on past the segment."""

    def reset(self, streams: Tensor) -> None:
        """Nothing came before: in the streams where the mask (B,) is true, the state has been set to zero."""

    def flops(self, chars: int) -> float:
        """Floating-point operations of `update` after a segment of so many characters of each stream."""


class NoInfluence:
    """Nothing beyond the segment: truncated back-propagation."""

    boundary, bytes = None, 0

    def __init__(self, model: CharRNN, streams: int) -> None:
        self.state: dict[str, Tensor] = {}

    def update(self, tape: Tape) -> None:
        """Nothing to add."""

    def reset(self, streams: Tensor) -> None:
        """Nothing to forget."""

    def flops(self, chars: int) -> float:
        """None."""
        return 0.0


class UnitInfluence:
    """SnAp-1: of each parameter, the influence on its own unit through that unit's own recurrence.

    For a segment it is B with the backward pass that stays in the unit, and A is diagonal. Exact for one layer of an
    element-wise cell; otherwise what the units do to each other, and a layer to the next, is lost at the cut. Inside
    the segment the gradient is that of back-propagation; with `alone`, for segments of one character, its way to the
    state before stays in the unit too, which is SnAp-1 to the letter.
    """

    def __init__(self, model: CharRNN, streams: int, alone: bool = False) -> None:
        self._model, self._scratch = model, Scratch()
        self._parts = list(model.cell.carried)
        self.boundary = Boundary(model.zero_state(streams), alone)
        one_layer = self.boundary.d_before[0]
        self._seed, self._passed_on = torch.zeros_like(one_layer), torch.zeros_like(one_layer)
        self.state = {
            name: model.parameters.zeros(name, len(self._parts), streams)
            for name in model.parameters.shapes
            if name.startswith("rnn.") and "weight_co" not in name  # on which no layer's own state depends
        }
        # what a part was before it moved on, of one stream: those after it in the state still read that
        self._old = {name: torch.empty_like(traces[:-1, 0]) for name, traces in self.state.items()}

    def update(self, tape: Tape) -> None:
        """Read the influence before the segment, then move it on."""
        for layer, d_before in enumerate(self.boundary.d_before):
            added: list[dict[str, PerStream]] = []  # B: of each part of the state after
            transitions: list[Tensor] = []  # A: the same, from each part before, (parts, B, H)
            for index, part in enumerate(self._parts):
                self._seed.zero_()[part] = 1
                self._model.backward_units(tape, layer, tape.segment, self._seed, self._passed_on)
                transitions.append(self._passed_on[self._parts])
                added.append(self._model.influences(tape, layer, tape.segment))
                if index + 1 < len(self._parts):
                    for place, influence in enumerate(added[-1].values()):
                        influence.keep(self._scratch, f"parameter {place} of part {part}")
            for name in added[0]:
                factors = [self._by_row(transition, name) for transition in transitions]
                influences = [influences[name] for influences in added]
                self._read_and_move(name, self._by_row(d_before[self._parts], name), factors, influences)

    def _read_and_move(self, name: str, d_rows: Tensor, factors: list[Tensor], added: list[PerStream]) -> None:
        """The gradient's missing part and A M + B of one parameter."""
        grad, influences, old = self._model.parameters.grads[name], self.state[name], self._old[name]
        for stream, traces in enumerate(influences.unbind(1)):  # so much fits into the cache
            old.copy_(traces[:-1])
            for after, (trace, factor) in enumerate(zip(traces, factors, strict=True)):
                grad.addcmul_(trace, d_rows[after, stream])
                trace.mul_(factor[after, stream])
                for before, other in enumerate((*old[:after], trace, *traces[after + 1 :])):
                    if before != after:
                        trace.addcmul_(other, factor[before, stream])
        for influence, b in zip(influences, added, strict=True):
            b.add_to(influence, self._scratch)

    def _by_row(self, d_parts: Tensor, name: str) -> Tensor:
        """Of a number for each unit, (parts, B, H), those of the rows of a parameter: (parts, B, G, 1 or nothing)."""
        rows, *columns = self._model.parameters.shapes[name]
        d_rows = d_parts.repeat(1, 1, rows // d_parts.shape[-1])
        return d_rows.view(*d_rows.shape, *(1 for _ in columns))

    def reset(self, streams: Tensor) -> None:
        """Forget."""
        for traces in self.state.values():
            traces[:, streams] = 0

    @property
    def bytes(self) -> int:
        """Of the influences; what else does not grow with the segment is of one stream."""
        return sum(traces.nbytes for traces in self.state.values())

    def flops(self, chars: int) -> float:
        """B takes a product of the size of the gradient's own for each part of the state, where that has one: the first
        layer's input is a look-up. A is element by element.
        """
        numbers = sum(traces.numel() for traces in self.state.values())
        products = sum(
            traces.numel() for name, traces in self.state.items() if traces.dim() > 3 and name != "rnn.weight_ih_l0"
        )
        return 2.0 * (products * chars + numbers * (len(self._parts) + 1))


def exact_units(model: CharRNN) -> list[tuple[int, int, int]]:
    """The units of the state that the next character reads: layer, part, index."""
    return list(product(range(model.config.layers), model.cell.carried, range(model.config.hidden)))


def exact_bytes(model: CharRNN, streams: int) -> int:
    """Memory of the influence of every parameter on every unit of the state: M and B, and of one parameter at a time a
    copy of M and A M.
    """
    sizes = [math.prod(shape) for name, shape in model.parameters.shapes.items() if name.startswith("rnn.")]
    numbers = len(exact_units(model)) * streams * 2 * (sum(sizes) + max(sizes))
    return numbers * model.precision.float.itemsize


class FullInfluence:
    """Real-time recurrent learning: the influence of every parameter on every unit of the state, U of them.

    One backward pass through the segment for each unit gives its row of A and of B. UserError where it takes more than
    MOST_BYTES.
    """

    def __init__(self, model: CharRNN, streams: int) -> None:
        self._model, self._scratch = model, Scratch()
        self._parts = list(model.cell.carried)
        self.boundary = Boundary(model.zero_state(streams))
        self._units = exact_units(model)
        self.bytes = exact_bytes(model, streams)
        if self.bytes > MOST_BYTES:
            raise UserError(
                f"--trunc rtrl would take {self.bytes / 2**30:,.1f} GiB for influences"
                f" ({len(self._units)} units of state x parameters x {streams} streams), of which"
                f" {MOST_BYTES // 2**30} are allowed; give snap, which keeps one number a parameter and stream, or less"
                " --hidden or fewer --streams"
            )
        self.state = {
            name: model.parameters.zeros(name, len(self._units), streams)
            for name in model.parameters.shapes
            if name.startswith("rnn.")
        }

    def update(self, tape: Tape) -> None:
        """Read the influence before the segment, then move it on."""
        d_state = self._flat(self.boundary.d_before)
        for name, influence in self.state.items():
            self._model.parameters.grads[name].add_(torch.tensordot(d_state, influence, 2))
        seed, passed_on = torch.zeros_like(self.boundary.d_before), torch.zeros_like(self.boundary.d_before)
        a = d_state.new_empty(len(self._units), *d_state.shape)  # (U after, U before, B)
        b = {name: torch.zeros_like(influence) for name, influence in self.state.items()}
        for unit, (layer, part, h) in enumerate(self._units):
            seed.zero_()[layer, part, :, h] = 1
            for index in self._model.backward_state(tape, tape.segment, seed, passed_on):
                for influences in (self._model.influences, self._model.output_influences):
                    for name, of_streams in influences(tape, index, tape.segment).items():
                        of_streams.add_to(b[name][unit], self._scratch)
            a[unit] = self._flat(passed_on)
        for name, influence in self.state.items():
            influence.copy_(b[name].add_(torch.einsum("uvb,vb...->ub...", a, influence)))

    def _flat(self, d_state: Tensor) -> Tensor:
        """(L, S, B, H) -> (U, B)."""
        return d_state[:, self._parts].transpose(2, 3).reshape(len(self._units), -1)

    def reset(self, streams: Tensor) -> None:
        """Forget."""
        for influence in self.state.values():
            influence[:, streams] = 0

    def flops(self, chars: int) -> float:
        """A backward pass for each unit, and A M."""
        streams = self.boundary.d_before.shape[2]
        passes = self._model.flops(0, chars * streams, chars * streams)
        numbers = sum(influence.numel() for influence in self.state.values())
        return len(self._units) * (passes + 2.0 * numbers)


INFLUENCES: dict[str, Callable[[CharRNN, int], Influence]] = {
    "none": NoInfluence,
    "snap": partial(UnitInfluence, alone=True),
    "tail": UnitInfluence,
    "rtrl": FullInfluence,
}
