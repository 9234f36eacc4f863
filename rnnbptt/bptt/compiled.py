"""The compiled engine: the updates of a few streams in float32, whole loops of them in one call of a kernel.

What takes so long at one stream is not arithmetic but the calls of some sixty small operations an update. Here there is
one call, for many updates where the caller has many alike. The kernels are in kernels.py.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbptt.bptt.generators import set_state, stream
from rnnbptt.bptt.history import history_of, hold
from rnnbptt.bptt.influence import (
    UNIT_WAYS,
    check_exact_bytes,
    check_unit_bytes,
    exact_flops,
    exact_units,
    parameters_followed,
    parts_followed,
    unit_flops,
)
from rnnbptt.bptt.kernels import (
    CELLS,
    LEAK,
    NONE,
    OPTIMIZERS,
    OWN,
    WHOLE,
    Descent,
    Model,
    Tape,
    Task,
    Traces,
    listen,
    make_tape,
    make_traces,
    online,
    segments,
    speak,
    traced,
)
from rnnbptt.bptt.layers import Way, draw_masks
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.update import Means, Numbers, Outcome, Steps, Updates, check_history, plan_flops
from rnnbptt.errors import check_bytes
from rnnbptt.model.shapes import copy_checked
from rnnbptt.text.streams import Segment
from rnnbptt.truncation.plan import Plan, Strategy


def model_of(network: CharRNN) -> Model:
    """A network as the kernels take it; they share its parameters."""
    config = network.config
    sizes = (config.vocabulary, config.hidden, config.sizes.gates, config.layers)
    return Model(network.parameters.flat.numpy(), CELLS[config.cell], *sizes)


def say_on(network: CharRNN, state: Tensor, first: int, noise: Tensor) -> list[int]:
    """The symbols that one stream says after the symbol `first`, as many as there are rows of noise (n, K): each time
    the one with the largest sum of logit and noise. `state` (L, S, 1, H) is moved on.
    """
    model, symbols = model_of(network), np.empty(len(noise), np.int64)
    speak(model, state.numpy(), make_tape(model, 1, 1, dropping=False), first, noise.numpy(), symbols)
    said: list[int] = symbols.tolist()
    return said


def listen_on(network: CharRNN, state: Tensor, ids: NDArray[np.int64], losses: bool) -> Numbers:
    """One stream reads ids (N + 1,), but for the last, from `state` (L, S, 1, H), which is moved on: the nats of each
    next one (N,), where these are wanted.
    """
    model, nats = model_of(network), np.empty(len(ids) - 1 if losses else 0)
    listen(model, state.numpy(), make_tape(model, 1, 1, dropping=False), ids[:-1], ids[1:], nats)
    return nats


class Influences(ABC):
    """Influences for the kernels: one buffer for all parameters, (M, B, P).

    state  views into it, by the names and in the shapes of a checkpoint
    """

    codes: Mapping[Way, int] = {Way.WHOLE: WHOLE, Way.OWN: OWN, Way.LEAK: LEAK}

    def __init__(
        self, network: CharRNN, streams: int, count: int, on: Way, inside: Way, followed: Iterable[str]
    ) -> None:
        parts = parts_followed(network, on)
        self._how = (len(parts), parts[0], self.codes[on], self.codes[inside])
        flat = network.parameters.flat
        self._flat = flat.new_zeros(count, streams, len(flat))
        views = network.parameters.views(self._flat)
        self.state = {name: views[name] for name in followed}

    def reset(self, streams: NDArray[np.bool_]) -> None:
        """Nothing came before, in the streams where the mask (B,) is true."""
        self._flat[:, torch.from_numpy(streams)] = 0

    def traces(self, model: Model, chars: int) -> Traces:
        """For updates of so many characters of each stream."""
        return make_traces(model, *self._how, self._flat.numpy(), chars)

    @abstractmethod
    def flops(self, chars: int) -> float:
        """To move them on past so many characters of each stream."""


class OnOwnUnit(Influences):
    """As `UnitInfluence`: M is the parts of a state that are followed."""

    def __init__(self, network: CharRNN, name: str, streams: int) -> None:
        on, inside = UNIT_WAYS[name]
        parts = len(parts_followed(network, on))
        check_unit_bytes(network, parts, streams)
        super().__init__(network, streams, parts, on, inside, parameters_followed(network))

    def flops(self, chars: int) -> float:
        """To move them on past so many characters of each stream."""
        return unit_flops(self.state, chars)


class OnEveryUnit(Influences):
    """As `FullInfluence`, of one layer: M is the units of the state."""

    def __init__(self, network: CharRNN, streams: int) -> None:
        check_exact_bytes(network, streams)
        self._network, self._streams = network, streams
        followed = (name for name in network.parameters.shapes if name.startswith("rnn."))
        super().__init__(network, streams, len(exact_units(network)), Way.WHOLE, Way.WHOLE, followed)

    def flops(self, chars: int) -> float:
        """To move them on past so many characters of each stream."""
        return exact_flops(self._network, chars, self._streams)


def influences_of(network: CharRNN, name: str, streams: int) -> Influences | None:
    """Those of that name in influence.py, none for "none"."""
    if name == "none":
        return None
    return OnOwnUnit(network, name, streams) if name in UNIT_WAYS else OnEveryUnit(network, streams)


Room = tuple[Tape, Traces | None]


def bytes_of(room: Room) -> int:
    """Of its buffers, some of which have two names."""
    buffers = {id(item): item for items in room if items for item in items if isinstance(item, np.ndarray)}
    return sum(buffer.nbytes for buffer in buffers.values())


class CompiledEngine:
    """As `TorchEngine`, for the cells, precision and strategies that `engines.supports` names."""

    name = "compiled"

    def __init__(self, network: CharRNN, strategy: Strategy, streams: int, seed: int) -> None:
        self._network, self._streams, self._strategy = network, streams, strategy
        size = network.zero_state(1).nbytes * streams
        check_bytes(size, f"the state of {streams:,} streams", "give fewer --streams or less --hidden")
        self._state = network.zero_state(streams)
        self._dropout = torch.Generator().manual_seed(stream(seed, "dropout"))
        self._model = model_of(network)
        self._influence = influences_of(network, strategy.influence, streams)
        self._room, self._held = self._make_room(1), 0  # older characters on the tape
        self._one_hot = np.zeros(network.config.vocabulary, np.float32)

    def prepare(self) -> None:
        """Compile what this run will call, or load it from the cache; otherwise the first update does."""
        plan, x = Plan(1, 1), np.empty((0, 1, self._streams), np.int64)
        nothing = self._no_steps()
        self._call(plan, x, x, nothing)
        if self._takes_online(plan) and self._strategy.longest(2) > 1:
            self._segments(plan, x, x, nothing)

    def update(self, plan: Plan, segment: Segment) -> Outcome:
        """Read the segment from the carried state, predict, and go back as the plan says."""
        self._reset(segment)
        x, y = segment.x[None], segment.y[None]
        (flops,) = self._all_flops(plan, 1)
        nats, _, _ = self._segments(plan, x, y, self._no_steps())
        return Outcome(float(nats[0]), segment.x.size, plan.scored * self._streams, flops, None)

    def train(self, plan: Plan, segment: Segment, steps: Steps, means: Means) -> Updates:
        """n updates by the same plan, whose characters follow one another in the segment, parameters moved.

        They end with the first update whose loss or gradient is not finite, before its step.
        """
        self._reset(segment)
        shape = (len(steps.rates), plan.advance, self._streams)
        kind, m, v = OPTIMIZERS[means.optimizer], means.gradient.numpy(), means.square.numpy()
        rates, kept = np.array(steps.rates), np.array(steps.kept)
        descent = Descent(kind, m, v, rates, kept, float(steps.beta2), float(steps.clip), means.made)
        flops = self._all_flops(plan, len(steps.rates))
        nats, norms, done = self._call(plan, segment.x.reshape(shape), segment.y.reshape(shape), descent)
        return Updates(nats[: done + 1], norms[: done + 1], flops[: done + 1])

    def flops(self, plan: Plan) -> float:
        """Of an update by this plan, whose older characters are all there."""
        return self._flops(plan, max(plan.advance, plan.depth))

    def _flops(self, plan: Plan, gone_back: int) -> float:
        moved = self._influence.flops(plan.advance) if self._influence else 0.0
        return plan_flops(self._network, plan, gone_back, self._streams) + moved

    def _all_flops(self, plan: Plan, updates: int) -> list[float]:
        """Of each of the next so many updates by this plan."""
        lengths = self._lengths(plan, updates)
        flops = {length: self._flops(plan, length) for length in set(lengths)}
        return [flops[length] for length in lengths]

    def _lengths(self, plan: Plan, updates: int) -> list[int]:
        """How many characters each of the next so many updates goes back."""
        new = plan.advance
        if not self._strategy.history:
            return [new] * updates
        return [max(new, min(plan.depth, self._held + (made + 1) * new)) for made in range(updates)]

    def _reset(self, segment: Segment) -> None:
        """Zero the state of the streams that have wrapped, or are due by chance, and forget what led to it."""
        if segment.reset.any():
            self._state[:, :, torch.from_numpy(segment.reset)] = 0
            self._held = 0
            if self._influence:
                self._influence.reset(segment.reset)

    def _no_steps(self) -> Descent:
        flat, zero = self._model.flat, np.zeros(1)
        return Descent(NONE, flat, flat, zero, zero, 0.0, 0.0, 0)

    def _takes_online(self, plan: Plan) -> bool:
        """Whether these are the updates that the kernel of pure online learning makes."""
        return plan.advance * self._streams == 1 and not self._influence and not self._strategy.history

    def _call(
        self, plan: Plan, x: NDArray[np.int64], y: NDArray[np.int64], descent: Descent
    ) -> tuple[Numbers, Numbers, int]:
        """n updates on x and y, (n, T, B): losses, norms, and how many were made."""
        if not self._takes_online(plan):
            return self._segments(plan, x, y, descent)
        tape, _ = self._room_for(plan)
        task, nats, norms = self._task(plan, tape, x, y)
        args = (self._model, self._state.numpy(), tape, task, descent, self._one_hot, nats, norms)
        return nats, norms, online(*args)

    def _segments(
        self, plan: Plan, x: NDArray[np.int64], y: NDArray[np.int64], descent: Descent
    ) -> tuple[Numbers, Numbers, int]:
        """The same, and the gradient of the last one is written out."""
        tape, traces = self._room_for(plan)
        task, nats, norms = self._task(plan, tape, x, y)
        state, grad = self._state.numpy(), self._network.parameters.grad.numpy()
        if traces:
            return nats, norms, traced(self._model, state, tape, traces, task, descent, grad, nats, norms)
        done = segments(self._model, state, tape, task, descent, grad, nats, norms)
        self._held = min(self._held + done * plan.advance, self._strategy.history)
        return nats, norms, done

    def _task(
        self, plan: Plan, tape: Tape, x: NDArray[np.int64], y: NDArray[np.int64]
    ) -> tuple[Task, Numbers, Numbers]:
        """For a kernel, with room for losses and norms."""
        carry = np.ones(len(tape.x) - 1, np.float32)
        if plan.carry:
            carry[-len(plan.carry) :] = plan.carry
        lengths, again = np.array(self._lengths(plan, len(x)), np.int64), plan.rerun > 0
        task = Task(x, y, self._masks(plan, len(x)), carry, lengths, again, float(plan.scale), plan.scored, plan.reset)
        return task, np.empty(len(x)), np.zeros(max(1, len(x)))

    def _masks(self, plan: Plan, updates: int) -> NDArray[np.float32]:
        """(n, L, R, H) for the R = (T + rerun) B characters that each reads, at the end where these are fewer; without
        width where nothing is dropped.
        """
        config, streams = self._network.config, self._streams
        rows = (plan.advance + plan.rerun) * streams
        masks = torch.empty(updates, config.layers, rows, config.hidden if config.dropout else 0)
        if config.dropout and plan.rerun:
            for of_update, length in zip(masks, self._lengths(plan, updates), strict=True):
                draw_masks(of_update[:, rows - length * streams :].flatten(1), config.dropout, self._dropout)
        elif config.dropout and updates:
            draw_masks(masks.view(updates * config.layers, -1), config.dropout, self._dropout)
        return masks.numpy()

    def _room_for(self, plan: Plan) -> Room:
        """For updates by this plan; what the tape held before them, the new one holds. It has no room for older
        characters where none are held: the kernels but one go back through all that it has.
        """
        history = self._strategy.history
        chars, there = history + plan.advance, len(self._room[0].x)
        if there < chars or (there > chars and not history):
            before, self._room = self._room[0], self._make_room(chars)
            if self._held:
                hold(self._room[0], self._network, history_of(before, self._network, self._held))
        return self._room

    def _make_room(self, chars: int) -> Room:
        tape = make_tape(self._model, chars, self._streams, self._network.config.dropout > 0)
        return tape, self._influence.traces(self._model, chars) if self._influence else None

    def memory(self, longest: int) -> int:
        """Bytes of the tape and the influences, which grow evenly with the characters."""
        none, one = (bytes_of(self._make_room(chars)) for chars in (0, 1))
        return none + (self._strategy.history + longest) * (one - none)

    def state_dict(self) -> dict[str, Tensor]:
        """The carried state, the influences, the history, and the state of dropout's generator."""
        influence = self._influence.state if self._influence else {}
        history = history_of(self._room[0], self._network, self._held) if self._held else {}
        rng = {"rng.dropout": self._dropout.get_state()}
        influences = {f"influence.{name}": tensor for name, tensor in influence.items()}
        return {"state.carried": self._state} | rng | influences | history

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`."""
        copy_checked("state.carried", self._state, tensors)
        for name, influence in self._influence.state.items() if self._influence else ():
            copy_checked(f"influence.{name}", influence, tensors)
        set_state(self._dropout, "rng.dropout", tensors)
        if any(name.startswith("history.") for name in tensors):
            self._load_history(tensors)

    def _load_history(self, tensors: Mapping[str, Tensor]) -> None:
        history, longest = self._strategy.history, self._strategy.longest(sys.maxsize)
        check_history(tensors, self._streams, self._network.config.vocabulary, history, longest)
        self._room = self._make_room(max(1, len(tensors["history.x"])))
        self._held = hold(self._room[0], self._network, tensors)
