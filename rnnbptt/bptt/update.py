"""An engine: from a plan and a segment of text to the loss and the gradient of one update.

The training loop asks an engine and knows nothing of how it computes; `TorchEngine` is the one that is written out in
this folder, `CompiledEngine` (compiled.py) the one for few streams; engines.py says which. Whatever is carried from
update to update (state, tape, influence, dropout's random numbers) is the engine's own, and it saves and restores
itself.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbptt.bptt.bias import relative_bias
from rnnbptt.bptt.generators import set_state, stream
from rnnbptt.bptt.influence import INFLUENCES
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.errors import UserError, check_bytes
from rnnbptt.model.shapes import check_tensor, copy_checked, update_flops
from rnnbptt.text.streams import Segment
from rnnbptt.truncation.plan import Plan, Strategy

Numbers = NDArray[np.float64]


class Outcome(NamedTuple):
    """Of one update: the mean loss in nats per character that has one, the characters read over all streams, how many
    of them have a loss, floating-point operations, and the relative bias of its cuts, None where the plan did not ask
    for it.
    """

    loss: float
    chars: int
    scored: int
    flops: float
    measured: float | None


class Steps(NamedTuple):
    """How n updates move the parameters.

    rates  n learning rates
    kept   n factors of the weights before the step, 1 where no decay is due
    beta2  decay of the mean of squared gradients
    clip   the longest gradient; 0: any
    """

    rates: Sequence[float]
    kept: Sequence[float]
    beta2: float
    clip: float


class Means(NamedTuple):
    """What an optimizer keeps, for an engine that takes its steps: its name, its running means (P,) of the gradient and
    of its square, twice the same where it has only one, and the steps made so far, where these count.
    """

    optimizer: str
    gradient: Tensor
    square: Tensor
    made: int = 0


class Updates(NamedTuple):
    """Of updates made in one call, each: the loss in nats per character, the norm of its gradient before it was
    clipped, and operations.
    """

    nats: Numbers
    norms: Numbers
    flops: Sequence[float]


class Engine(Protocol):
    """Computes the updates of B streams; the gradient lies in the network's `parameters.grad`."""

    name: str

    def update(self, plan: Plan, segment: Segment) -> Outcome:
        """Read, predict and back-propagate."""

    def flops(self, plan: Plan) -> float:
        """Of an update by this plan, whose older characters are all there."""

    def memory(self, longest: int) -> int:
        """Bytes that an update of so many characters of each stream keeps for its backward pass."""

    def prepare(self) -> None:
        """Compile what the run will call, or load it from a cache; otherwise the first update does."""

    def state_dict(self) -> dict[str, Tensor]:
        """All that it takes to go on bit for bit elsewhere, by name; the tensors are its own."""

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` gave; KeyError where a tensor is missing, UserError where one does not fit."""


class FusedEngine(Engine, Protocol):
    """An engine that makes many updates in one call, and moves the parameters itself."""

    def train(self, plan: Plan, segment: Segment, steps: Steps, means: Means) -> Updates:
        """n updates by the same plan, whose characters follow one another in the segment, parameters moved.

        They end with the first update whose loss or gradient is not finite, before its step.
        """


def plan_flops(network: CharRNN, plan: Plan, gone_back: int, streams: int) -> float:
    """Of an update that has gone back through so many characters."""
    carried = gone_back - 1 if plan.carry is None else sum(factor != 0 for factor in plan.carry)
    again = gone_back - plan.advance if plan.rerun else 0
    losses = plan.scored
    if plan.measure:  # two passes more, one of them without cuts
        losses, gone_back, carried = 3 * losses, 3 * gone_back, 2 * carried + plan.advance - 1
    counts = (count * streams for count in (plan.advance, gone_back, carried, losses, again))
    return update_flops(network.parameters.shapes, *counts)


def check_history(tensors: Mapping[str, Tensor], streams: int, vocabulary: int, history: int, longest: int) -> None:
    """UserError unless the older characters from a file, and their place, are such as a run can hold that keeps up to
    `history` of them and reads up to `longest` new ones at a time; KeyError where there are none.
    """
    ids, place = tensors["history.x"], tensors["history.place"]
    check_tensor("history.x", ids, (*ids.shape[:1], streams), torch.int64)
    check_tensor("history.place", place, (2,), torch.int64)
    start, capacity = place.tolist()
    most = history + max(longest, history)
    if len(ids) > history or not 0 <= start <= start + len(ids) <= capacity <= most:
        raise UserError(f"'history.place' has {len(ids)} characters at {start} of {capacity}, the run keeps {most}")
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
        raise UserError("'history.x' has symbols that the vocabulary lacks")


class TorchEngine:
    """Back-propagation through time written out in torch, for every strategy, cell, device and precision."""

    name = "torch"

    def __init__(self, network: CharRNN, strategy: Strategy, streams: int, seed: int) -> None:
        self._network, self._streams = network, streams
        self._history = strategy.history if network.cell.carried else 0  # there is no going back without a state
        size = network.zero_state(1).nbytes * streams
        check_bytes(size, f"the state of {streams:,} streams", "give fewer --streams or less --hidden")
        self._state = network.zero_state(streams)
        self._longest = strategy.longest(sys.maxsize)
        self._influence = INFLUENCES[strategy.influence](network, streams)
        self._dropout = torch.Generator(device=network.device)
        signs = self._influence.rng
        self._rngs = {"dropout": self._dropout} | ({"signs": signs} if signs else {})
        for purpose, rng in self._rngs.items():
            rng.manual_seed(stream(seed, purpose))

    def update(self, plan: Plan, segment: Segment) -> Outcome:
        """Read the segment from the carried state, predict, and go back as the plan says."""
        network = self._network
        self._set_states(plan, segment)
        x, y = (torch.from_numpy(ids).to(network.device) for ids in (segment.x, segment.y))
        logits, tape = network.forward(x, self._state, self._dropout, self._history, plan.rerun)
        nats, d_logits = cross_entropy(logits[-plan.scored * self._streams :], y[-plan.scored :])
        if plan.scale != 1:
            d_logits.mul_(plan.scale)
        measured = relative_bias(network, tape, d_logits, plan.carry) if plan.measure and plan.carry else None
        network.backward(tape, d_logits, plan.depth, plan.carry, self._influence.boundary)
        self._influence.update(tape)
        flops = self._flops(plan, tape.last(plan.depth).length)
        return Outcome(float(nats.mean()), x.numel(), nats.numel(), flops, measured)

    def _set_states(self, plan: Plan, segment: Segment) -> None:
        """Before the segment: hand the states on, zero those of the streams that have wrapped, or are due by chance, or
        all, as the plan says. No gradient goes back beyond a state that was set to zero.
        """
        if plan.hand_on:
            self._state.copy_(self._state.roll(plan.hand_on, 2))
        wrapped = bool(segment.reset.any())
        if wrapped or plan.reset:
            streams = torch.from_numpy(segment.reset | plan.reset).to(self._network.device)
            self._state[:, :, streams] = 0
            self._influence.reset(streams)
            tapes = self._network.tapes
            (tapes.blank if self._history and not wrapped else tapes.forget)(self._streams)

    def flops(self, plan: Plan) -> float:
        """Of an update by this plan, whose older characters are all there."""
        return self._flops(plan, max(plan.advance, plan.depth))

    def _flops(self, plan: Plan, gone_back: int) -> float:
        return plan_flops(self._network, plan, gone_back, self._streams) + self._influence.flops(plan.advance)

    def prepare(self) -> None:
        """There is nothing to compile."""

    def memory(self, longest: int) -> int:
        """Bytes of the tape and the influences."""
        steps = self._history + max(longest, self._history)
        return self._network.tape_bytes(steps, self._streams) + self._influence.bytes

    def state_dict(self) -> dict[str, Tensor]:
        """The carried state, the influences, the history, and the states of the random generators."""
        history = self._network.tapes.history(self._streams, self._history)
        return (
            {"state.carried": self._state}
            | {f"rng.{purpose}": rng.get_state() for purpose, rng in self._rngs.items()}
            | {f"influence.{name}": tensor for name, tensor in self._influence.state.items()}
            | {f"history.{name}": tensor for name, tensor in history.items()}
        )

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`."""
        copy_checked("state.carried", self._state, tensors)
        for name, tensor in self._influence.state.items():
            copy_checked(f"influence.{name}", tensor, tensors)
        for purpose, rng in self._rngs.items():
            set_state(rng, f"rng.{purpose}", tensors)
        if any(name.startswith("history.") for name in tensors):
            self._load_history(tensors)

    def _load_history(self, tensors: Mapping[str, Tensor]) -> None:
        """Hold the characters before, where they are no more than this run holds, in buffers no longer than its own."""
        check_history(tensors, self._streams, self._network.config.vocabulary, self._history, self._longest)
        held = {name.removeprefix("history."): t for name, t in tensors.items() if name.startswith("history.")}
        self._network.tapes.hold(self._streams, held)
