"""Influences: what carries credit past the place where back-propagation is cut, forward in time.

The gradient of a segment's loss lacks what the parameters did before the segment. That part is the gradient of the loss
with respect to the state before the segment times the influence of the parameters on that state,

    M' = A M + B,    A = d(state after) / d(state before),    B = d(state after) / d(parameters used in the segment),

which is kept from update to update: all of it is real-time recurrent learning (Williams & Zipser 1989), in blocks of a
segment (Schmidhuber 1992); what each unit owes to itself is SnAp-1 (Menick et al. 2021). Both products come from the
same backward passes as the gradient. The influence is that of the weights as they were used, which have moved since:
it is exact while they rest.

Axes: S tensors of a state, L layers, B streams, H hidden, U = L x S x H.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from rnnbptt.errors import UserError
from rnnbptt.model import CharRNN
from rnnbptt.tape import Tape

MOST_BYTES = 2 * 2**30  # of an exact influence


class Influence(Protocol):
    """Goes along with the updates of B streams.

    state  what a checkpoint must keep
    """

    state: dict[str, Tensor]

    @property
    def d_before(self) -> Tensor | None:
        """Where `CharRNN.backward` is to write the gradient of the state before the segment; None: it need not."""

    def update(self, tape: Tape) -> None:
        """After `CharRNN.backward`: add the missing part to the gradient, then go on past the segment."""

    def reset(self, streams: Tensor) -> None:
        """Nothing came before: in the streams where the mask (B,) is true, the state has been set to zero."""

    def flops(self, chars: int) -> float:
        """Floating-point operations of `update` after a segment of so many characters of each stream."""


class NoInfluence:
    """Nothing beyond the segment: truncated back-propagation."""

    d_before = None

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
    element-wise cell; otherwise what the units do to each other, and a layer to the next, is lost at the cut.
    """

    def __init__(self, model: CharRNN, streams: int) -> None:
        self._model = model
        self._parts = model.cell.carried
        self.d_before = model.zero_state(streams)
        self._seeds = model.zero_state(streams), model.zero_state(streams)
        self.state = {
            name: torch.zeros(len(self._parts), streams, *shape, dtype=model.precision.float, device=model.device)
            for name, shape in model.parameters.shapes.items()
            if name.startswith("rnn.") and "weight_co" not in name  # on which no layer's own state depends
        }

    def update(self, tape: Tape) -> None:
        """Read the influence before the segment, then move it on."""
        for name, traces in self.state.items():
            d_units = self._by_unit(self.d_before, name)
            self._model.parameters.grads[name].add_((d_units * traces).sum((0, 1)))
        old = {name: traces.clone() for name, traces in self.state.items()}
        d_after, d_before = self._seeds
        for index, part in enumerate(self._parts):
            d_after.zero_()[:, part] = 1
            for layer in self._model.backward_units(tape, tape.segment, d_after, d_before):
                for name, influence in self._model.influences(tape, layer, tape.segment).items():
                    new = self.state[name][index].copy_(influence)
                    new.add_((self._by_unit(d_before, name) * old[name]).sum(0))

    def _by_unit(self, d_state: Tensor, name: str) -> Tensor:
        """Of a gradient (L, S, B, H), what each row of a parameter has to do with: (parts, B, G, 1...)."""
        layer = self._model.layer_of(name)
        shape = self.state[name].shape
        d_parts = d_state[layer, list(self._parts)]
        d_rows = d_parts.repeat(1, 1, shape[2] // d_parts.shape[-1])
        return d_rows.view(*shape[:3], *(1,) * (len(shape) - 3))

    def reset(self, streams: Tensor) -> None:
        """Forget."""
        for traces in self.state.values():
            traces[:, streams] = 0

    def flops(self, chars: int) -> float:
        """Forming B takes a product of the size of the gradient's own for each part of the state; A, an addition."""
        return sum(2.0 * traces.numel() * (chars + len(self._parts) + 1) for traces in self.state.values())


class FullInfluence:
    """Real-time recurrent learning: the influence of every parameter on every unit of the state.

    One backward pass through the segment for each of the U units gives its row of A and of B. UserError where it takes
    more than MOST_BYTES.
    """

    def __init__(self, model: CharRNN, streams: int) -> None:
        self._model = model
        self.d_before = model.zero_state(streams)
        self._units = self.d_before[:, :, 0].numel()
        shapes = {name: shape for name, shape in model.parameters.shapes.items() if name.startswith("rnn.")}
        size = 2 * self._units * streams * sum(map(math.prod, shapes.values())) * model.precision.float.itemsize
        if size > MOST_BYTES:
            raise UserError(
                f"--trunc rtrl would keep {size / 2**30:,.1f} GiB of influences ({self._units} units of state x"
                f" parameters x {streams} streams), of which {MOST_BYTES // 2**30} are allowed; give snap, which keeps"
                " one number a parameter and stream, or less --hidden or fewer --streams"
            )
        self.state = {
            name: torch.zeros(self._units, streams, *shape, dtype=model.precision.float, device=model.device)
            for name, shape in shapes.items()
        }

    def update(self, tape: Tape) -> None:
        """Read the influence before the segment, then move it on."""
        d_state = self._flat(self.d_before)
        for name, influence in self.state.items():
            self._model.parameters.grads[name].add_(torch.tensordot(d_state, influence, 2))
        seed, passed_on = torch.zeros_like(self.d_before), torch.zeros_like(self.d_before)
        a = d_state.new_empty(self._units, *d_state.shape)  # (U after, U before, B)
        b = {name: torch.zeros_like(influence) for name, influence in self.state.items()}
        for unit in range(self._units):
            layer, part, h = (int(i) for i in torch.unravel_index(torch.tensor(unit), self._shape))
            seed.zero_()[layer, part, :, h] = 1
            for index in self._model.backward_state(tape, tape.segment, seed, passed_on):
                for influences in (self._model.influences, self._model.output_influences):
                    for name, influence in influences(tape, index, tape.segment).items():
                        b[name][unit] = influence
            a[unit] = self._flat(passed_on)
        for name, influence in self.state.items():
            influence.copy_(b[name].add_(torch.einsum("uvb,vb...->ub...", a, influence)))

    @property
    def _shape(self) -> tuple[int, int, int]:
        layers, parts, _, hidden = self.d_before.shape
        return layers, parts, hidden

    def _flat(self, d_state: Tensor) -> Tensor:
        """(L, S, B, H) -> (U, B)."""
        return d_state.transpose(2, 3).reshape(self._units, -1)

    def reset(self, streams: Tensor) -> None:
        """Forget."""
        for influence in self.state.values():
            influence[:, streams] = 0

    def flops(self, chars: int) -> float:
        """A backward pass for each unit, and A M."""
        streams = self.d_before.shape[2]
        passes = self._model.flops(0, chars * streams, chars * streams)
        numbers = sum(influence.numel() for influence in self.state.values())
        return self._units * (passes + 2.0 * numbers)


INFLUENCES: dict[str, Callable[[CharRNN, int], Influence]] = {
    "none": NoInfluence,
    "snap": UnitInfluence,
    "rtrl": FullInfluence,
}
