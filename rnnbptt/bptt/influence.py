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

import math
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.layers import Boundary
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.tape import Adjoint, Tape
from rnnbptt.errors import UserError, check_bytes
from rnnbptt.model.shapes import update_flops

MOST_BYTES = 2 * 2**30  # of an exact influence


class Influence:
    """Goes along with the updates of B streams. By itself it carries nothing: truncated back-propagation.

    state     what is kept from update to update, and by a checkpoint: (..., B, ...) with the streams second
    boundary  where `CharRNN.backward` is to write the gradient of the state before the segment; None: it need not
    bytes     memory that it takes, but for what grows with the segment
    """

    boundary: Boundary | None = None
    bytes: int = 0

    def __init__(self, network: CharRNN, streams: int) -> None:
        self.state: dict[str, Tensor] = {}

    def update(self, tape: Tape) -> None:
        """After `CharRNN.backward`: add the missing part to the gradient, then go on past the segment."""

    def reset(self, streams: Tensor) -> None:
        """Nothing came before: in the streams where the mask (B,) is true, the state has been set to zero."""
        for influence in self.state.values():
            influence[:, streams] = 0

    def flops(self, chars: int) -> float:
        """Floating-point operations of `update` after a segment of so many characters of each stream."""
        return 0.0


class UnitInfluence(Influence):
    """SnAp-1: of each parameter, the influence on its own unit through that unit's own recurrence.

    For a segment it is B with the backward pass that stays in the unit, and A is diagonal. Exact for one layer of an
    element-wise cell; otherwise what the units do to each other, and a layer to the next, is lost at the cut. Inside
    the segment the gradient is that of back-propagation; with `alone`, for segments of one character, its way to the
    state before stays in the unit too, which is SnAp-1 to the letter.
    """

    def __init__(self, network: CharRNN, streams: int, alone: bool = False) -> None:
        self._network, self._scratch = network, Scratch()
        self._parts = list(network.cell.carried)
        size = network.parameters.flat.nbytes * len(self._parts) * streams
        check_bytes(size, f"the influences of {streams:,} streams", "give fewer --streams or less --hidden")
        self.boundary: Boundary = Boundary(network.zero_state(streams), alone)
        one_layer = network.zero_state(streams)[0]
        self._seed, self._passed_on = one_layer, torch.zeros_like(one_layer)
        self.state = {
            name: network.parameters.zeros(name, len(self._parts), streams)
            for name in network.parameters.shapes
            if name.startswith("rnn.") and "weight_co" not in name  # on which no layer's own state depends
        }
        self.bytes = sum(traces.nbytes for traces in self.state.values())
        # what a part was before it moved on, of one stream: those after it in the state still read that
        self._old = {name: torch.empty_like(traces[:-1, 0]) for name, traces in self.state.items()}

    def update(self, tape: Tape) -> None:
        """Read the influence before the segment, then move it on."""
        for layer, d_before in enumerate(self.boundary.d_before):
            own = {name: traces for name, traces in self.state.items() if name.endswith(f"_l{layer}")}
            transitions, adjoints = zip(*(self._backward(tape, layer, part) for part in self._parts), strict=True)
            for name, traces in own.items():
                factors = [self._by_row(transition, name) for transition in transitions]
                self._read_and_move(name, traces, self._by_row(d_before[self._parts], name), factors)
            for index, adjoint in enumerate(adjoints):  # B: of each part of the state after
                out = {name: traces[index] for name, traces in own.items()}
                self._network.add_per_stream(out, tape, layer, tape.segment, adjoint)

    def _backward(self, tape: Tape, layer: int, part: int) -> tuple[Tensor, Adjoint]:
        """From one part of the state after the segment back through it: A, from each part before, (parts, B, H), and
        the gradients that B is made of.
        """
        self._seed.zero_()[part] = 1
        own = self._network.layers[layer]
        own.backward_alone(tape.layers[layer], tape.segment, self._seed, self._passed_on)
        inputs, hidden = tape.gradients.adjoint(tape.segment)
        if part != self._parts[-1]:  # the next part's pass writes where these are
            separate = hidden is not inputs
            inputs = self._scratch.copy(f"inputs of part {part}", inputs)
            hidden = self._scratch.copy(f"hidden of part {part}", hidden) if separate else inputs
        return self._passed_on[self._parts], Adjoint(inputs, hidden)

    def _read_and_move(self, name: str, influences: Tensor, d_rows: Tensor, factors: list[Tensor]) -> None:
        """Of one parameter: the gradient's missing part, and A M in the place of M."""
        grad, old = self._network.parameters.grads[name], self._old[name]
        for stream, traces in enumerate(influences.unbind(1)):  # so much fits into the cache
            old.copy_(traces[:-1])
            for after, (trace, factor) in enumerate(zip(traces, factors, strict=True)):
                grad.addcmul_(trace, d_rows[after, stream])
                trace.mul_(factor[after, stream])
                for before, other in enumerate((*old[:after], trace, *traces[after + 1 :])):
                    if before != after:
                        trace.addcmul_(other, factor[before, stream])

    def _by_row(self, d_parts: Tensor, name: str) -> Tensor:
        """Of a number for each unit, (parts, B, H), those of the rows of a parameter: (parts, B, G, 1 or nothing)."""
        rows, *columns = self._network.parameters.shapes[name]
        d_rows = d_parts.repeat(1, 1, rows // d_parts.shape[-1])
        return d_rows.view(*d_rows.shape, *(1 for _ in columns))

    def flops(self, chars: int) -> float:
        """B takes a product of the size of the gradient's own for each part of the state, where that has one: the first
        layer's input is a look-up. A is element by element.
        """
        numbers = sum(traces.numel() for traces in self.state.values())
        products = sum(
            traces.numel() for name, traces in self.state.items() if traces.dim() > 3 and name != "rnn.weight_ih_l0"
        )
        return 2.0 * (products * chars + numbers * (len(self._parts) + 1))


def exact_units(network: CharRNN) -> list[tuple[int, int, int]]:
    """The units of the state that the next character reads: layer, part, index."""
    return list(product(range(network.config.layers), network.cell.carried, range(network.config.hidden)))


def exact_bytes(network: CharRNN, streams: int) -> int:
    """Memory of the influence of every parameter on every unit of the state: M and B, and of one parameter at a time a
    copy of M and A M.
    """
    sizes = [math.prod(shape) for name, shape in network.parameters.shapes.items() if name.startswith("rnn.")]
    numbers = len(exact_units(network)) * streams * 2 * (sum(sizes) + max(sizes))
    return numbers * network.precision.float.itemsize


class FullInfluence(Influence):
    """Real-time recurrent learning: the influence of every parameter on every unit of the state, U of them.

    One backward pass through the segment for each unit gives its row of A and of B. UserError where it takes more than
    MOST_BYTES.
    """

    def __init__(self, network: CharRNN, streams: int) -> None:
        self._network = network
        self._parts = list(network.cell.carried)
        self.boundary: Boundary = Boundary(network.zero_state(streams))
        self._units = exact_units(network)
        self.bytes = exact_bytes(network, streams)
        if self.bytes > MOST_BYTES:
            raise UserError(
                f"--trunc rtrl would take {self.bytes / 2**30:,.1f} GiB for influences"
                f" ({len(self._units)} units of state x parameters x {streams} streams), of which"
                f" {MOST_BYTES // 2**30} are allowed; give snap, which keeps one number a parameter and stream, or less"
                " --hidden or fewer --streams"
            )
        self.state = {
            name: network.parameters.zeros(name, len(self._units), streams)
            for name in network.parameters.shapes
            if name.startswith("rnn.")
        }

    def update(self, tape: Tape) -> None:
        """Read the influence before the segment, then move it on."""
        d_state = self._flat(self.boundary.d_before)
        for name, influence in self.state.items():
            self._network.parameters.grads[name].add_(torch.tensordot(d_state, influence, 2))
        seed, passed_on = torch.zeros_like(self.boundary.d_before), torch.zeros_like(self.boundary.d_before)
        a = d_state.new_empty(len(self._units), *d_state.shape)  # (U after, U before, B)
        b = {name: torch.zeros_like(influence) for name, influence in self.state.items()}
        for unit, (layer, part, h) in enumerate(self._units):
            seed.zero_()[layer, part, :, h] = 1
            of_unit = {name: influences[unit] for name, influences in b.items()}
            self._backward(tape, seed, passed_on, of_unit)
            a[unit] = self._flat(passed_on)
        for name, influence in self.state.items():
            influence.copy_(b[name].add_(torch.einsum("uvb,vb...->ub...", a, influence)))

    def _backward(self, tape: Tape, d_after: Tensor, d_before: Tensor, b: dict[str, Tensor]) -> None:
        """From d_after, (L, S, B, H), through the segment to d_before; what the parameters do on the way to b."""

        def add(layer: int) -> None:
            own = {name: influence for name, influence in b.items() if name.endswith(f"_l{layer}")}
            adjoint = tape.gradients.adjoint(tape.segment)
            self._network.add_per_stream(own, tape, layer, tape.segment, adjoint)

        self._network.backward_state(tape, tape.segment, d_after, d_before, visit=add)

    def _flat(self, d_state: Tensor) -> Tensor:
        """(L, S, B, H) -> (U, B)."""
        return d_state[:, self._parts].transpose(2, 3).reshape(len(self._units), -1)

    def flops(self, chars: int) -> float:
        """A backward pass for each unit, and A M."""
        streams = self.boundary.d_before.shape[2]
        passes = update_flops(self._network.parameters.shapes, 0, chars * streams, chars * streams, losses=0, again=0)
        numbers = sum(influence.numel() for influence in self.state.values())
        return len(self._units) * (passes + 2.0 * numbers)


INFLUENCES: dict[str, Callable[[CharRNN, int], Influence]] = {
    "none": Influence,
    "snap": partial(UnitInfluence, alone=True),
    "tail": UnitInfluence,
    "rtrl": FullInfluence,
}
