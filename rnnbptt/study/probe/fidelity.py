"""How near the gradient of a truncation comes to the full one, at resting weights.

The full one goes back at least R characters from every loss. On lanes of 2 R characters the losses of the last R count;
the first R are history, which gives the state they start from, and which only a gradient of depth above the segment, or
an influence, goes back into.

Axes: T characters, B lanes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnbptt.bptt.influence import INFLUENCES, UNIT_WAYS
from rnnbptt.bptt.layers import Boundary, cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.tape import Span, Tape
from rnnbptt.truncation.fixed import Separate
from rnnbptt.truncation.plan import Progress, Strategy

RECURRENT, ALL = "all but the head", "all"  # groups of all parameters

Count = Callable[[int], None]  # told how many more characters have been read


@dataclass(frozen=True)
class Fidelity:
    """A truncation's gradient g_k against the one of full depth, g, for each group of parameters.

    cosine  of the angle between them
    bias    |g_k - g| / |g|
    """

    trunc: str
    cosine: dict[str, float]
    bias: dict[str, float]


def fidelities(model: CharRNN, x: Tensor, y: Tensor, chosen: Sequence[Strategy], count: Count) -> list[Fidelity]:
    """How near each truncation's gradient on the lanes x, y (2R, B) comes to the one of depth 2 R."""
    depth = len(x) // 2
    exact = groups(model, gradient(model, x, y, Separate(depth, 2 * depth), count))
    found = []
    for strategy in chosen:
        ours = groups(model, gradient(model, x, y, strategy, count))
        cosine = {name: float(g @ exact[name] / (g.norm() * exact[name].norm())) for name, g in ours.items()}
        bias = {name: float((g - exact[name]).norm() / exact[name].norm()) for name, g in ours.items()}
        found.append(Fidelity(strategy.spec, cosine, bias))
    return found


def gradient(model: CharRNN, x: Tensor, y: Tensor, strategy: Strategy, count: Count = lambda chars: None) -> Tensor:
    """The gradient of the mean loss of the last R characters of x, y (2R, B), as updates of `strategy` would make it
    if the weights rested, laid out as `parameters.flat`.

    It is their sum with each update weighted by its characters, whether all of these have a loss or not. What a plan
    scales its step by, a loss or a learning rate, is left out: that only makes up for the mean over updates of
    different lengths. A loss in a segment of k characters has (k + 1) / 2 of them to go back to in the mean, not k.
    """
    if strategy.influence in UNIT_WAYS:
        return _by_unit(model, x, y, strategy, count)
    influence = INFLUENCES[strategy.influence](model, x.shape[1])
    total = torch.zeros_like(model.parameters.grad)
    for tape, weight in _segments(model, x, y, strategy, influence.boundary, count):
        influence.update(tape)
        total.add_(model.parameters.grad, alpha=weight)
    return total


def _by_unit(model: CharRNN, x: Tensor, y: Tensor, strategy: Strategy, count: Count) -> Tensor:
    """The same for an influence that stays in the units, SnAp-1 or RFLO, without its influences.

    These go forward in time with one number for each parameter and stream, which takes minutes where the network is
    large. While the weights rest, the same sum is had on the way back: beyond its segment, a gradient goes on in the
    unit alone.
    """
    way, inside = UNIT_WAYS[strategy.influence]
    boundary = Boundary(model.zero_state(x.shape[1]), inside)
    grad, total = model.parameters.grad, torch.zeros_like(model.parameters.grad)
    followed: list[tuple[Span, Tensor]] = []  # each segment, and the gradient of the state before it
    for tape, weight in _segments(model, x, y, strategy, boundary, count):
        total.add_(grad, alpha=weight)
        followed.append((tape.segment, weight * boundary.d_before))
    beyond, d_state = torch.zeros_like(grad), model.zero_state(x.shape[1])
    grad.zero_()
    for span, d_before in reversed(followed):
        passed_on = model.zero_state(x.shape[1])
        for layer in range(model.config.layers):
            model.layers[layer].backward_alone(tape.layers[layer], span, d_state[layer], passed_on[layer], way)
            model.write_gradients(tape, layer, span)
        beyond.add_(grad)
        d_state = passed_on.add_(d_before)
    return total.add_(beyond)


def _segments(
    model: CharRNN, x: Tensor, y: Tensor, strategy: Strategy, boundary: Boundary | None, count: Count
) -> Iterator[tuple[Tape, float]]:
    """The history, then each segment as the strategy cuts them: the tape that holds it, and its share of the R
    characters that count; its gradient is in `parameters.grad`.
    """
    depth, streams = len(x) // 2, x.shape[1]
    state = model.zero_state(streams)
    model.tapes.forget(streams)
    model.parameters.grad.zero_()
    at = 0
    for length in _pieces(strategy, depth):
        _, tape = model.forward(x[at : at + length], state, history=depth)
        count(length * streams)
        yield tape, 0.0
        at += length
    updates = 0
    while at < len(x):
        plan = strategy.next(Progress(spent=1.0, room=len(x) - at, updates=updates))
        state = state.roll(plan.hand_on, 2)
        if plan.reset:
            state.zero_()
            model.tapes.blank(streams)
        here, scored = slice(at, at + plan.advance), slice(at + plan.advance - plan.scored, at + plan.advance)
        logits, tape = model.forward(x[here], state, history=at, rerun=plan.rerun)
        d_logits = cross_entropy(logits[-plan.scored * streams :], y[scored])[1]
        model.backward(tape, d_logits, plan.depth, plan.carry, boundary)
        count(plan.advance * streams)
        yield tape, plan.advance / depth
        at, updates = here.stop, updates + 1


def _pieces(strategy: Strategy, length: int) -> Iterator[int]:
    """The lengths in which the history is read: all of it at once, because at resting weights it does not matter how it
    is cut, but for an influence that draws numbers for each segment.
    """
    if strategy.influence != "uoro":
        yield length
        return
    read = updates = 0
    while read < length:
        piece = strategy.next(Progress(spent=1.0, room=length - read, updates=updates)).advance
        yield piece
        read, updates = read + piece, updates + 1


def groups(model: CharRNN, flat: Tensor) -> dict[str, Tensor]:
    """Each parameter's part of a gradient, and all of it with and without the head, as vectors in float64.

    No truncation cuts the gradient of the head, so that with it any truncation looks better than it is.
    """
    parts = {name: view.flatten().double() for name, view in model.parameters.views(flat).items()}
    recurrent = torch.cat([part for name, part in parts.items() if name.startswith("rnn.")])
    return parts | {RECURRENT: recurrent, ALL: torch.cat(list(parts.values()))}
