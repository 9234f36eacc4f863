"""How near the gradient of a truncation comes to the full one, at resting weights.

The full one goes back at least R characters from every loss. On lanes of 2 R characters the losses of the last R count;
the first R are history, which gives the state they start from, and which only a gradient of depth above the segment, or
an influence, goes back into.

Axes: T characters, B lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnbptt.influence import INFLUENCES
from rnnbptt.layers import cross_entropy
from rnnbptt.model import CharRNN
from rnnbptt.recurrence import Boundary
from rnnbptt.tape import Span, Tape
from rnnbptt.truncation import Progress, Separate, Strategy

RECURRENT, ALL = "all but the head", "all"  # groups of all parameters

Told = Callable[[int], None]  # told how many characters more have been read


@dataclass(frozen=True)
class Fidelity:
    """A truncation's gradient g_k against the one of full depth, g, for each group of parameters.

    cosine  of the angle between them
    bias    |g_k - g| / |g|
    """

    trunc: str
    cosine: dict[str, float]
    bias: dict[str, float]


def fidelities(model: CharRNN, x: Tensor, y: Tensor, chosen: Sequence[Strategy], told: Told) -> list[Fidelity]:
    """How near each truncation's gradient on the lanes x, y (2R, B) comes to the one of depth 2 R."""
    depth = len(x) // 2
    exact = groups(model, gradient(model, x, y, Separate(depth, 2 * depth), told))
    found = []
    for strategy in chosen:
        ours = groups(model, gradient(model, x, y, strategy, told))
        cosine = {name: float(g @ exact[name] / (g.norm() * exact[name].norm())) for name, g in ours.items()}
        bias = {name: float((g - exact[name]).norm() / exact[name].norm()) for name, g in ours.items()}
        found.append(Fidelity(strategy.spec, cosine, bias))
    return found


def gradient(model: CharRNN, x: Tensor, y: Tensor, strategy: Strategy, told: Told = lambda chars: None) -> Tensor:
    """The gradient of the mean loss of the last R characters of x, y (2R, B), as updates of `strategy` would make it
    if the weights rested, laid out as `parameters.flat`.

    It is their sum with each update weighted by its characters. What a plan scales its step by, a loss or a learning
    rate, is left out: that only makes up for the mean over updates of different lengths. A loss in a segment of k
    characters has (k + 1) / 2 of them to go back to in the mean, not k.
    """
    depth, streams = len(x) // 2, x.shape[1]
    by_unit = strategy.influence in ("snap", "tail")
    influence = INFLUENCES["none" if by_unit else strategy.influence](model, streams)
    boundary = influence.boundary
    if by_unit:
        boundary = Boundary(model.zero_state(streams), alone=strategy.influence == "snap")
    state = model.zero_state(streams)
    model.forget(streams)
    _, tape = model.forward(x[:depth], state, keep=depth)
    influence.update(tape)  # at once: at resting weights it does not matter how the history is cut
    told(depth * streams)
    segments = [(tape.segment, model.zero_state(streams))]
    total, at = torch.zeros_like(model.parameters.grad), depth
    while at < len(x):
        plan = strategy.next(Progress(spent=1.0, room=len(x) - at, updates=len(segments) - 1))
        if plan.reset:
            state.zero_()
            model.forget(streams)
        here, weight = slice(at, at + plan.advance), plan.advance / depth
        logits, tape = model.forward(x[here], state, keep=at, rerun=plan.rerun)
        model.backward(tape, cross_entropy(logits, y[here])[1], plan.depth, plan.carry, boundary)
        influence.update(tape)
        total.add_(model.parameters.grad, alpha=weight)
        if by_unit and boundary:
            segments.append((tape.segment, weight * boundary.d_before))
        at = here.stop
        told(plan.advance * streams)
    if by_unit:
        total.add_(_beyond_segments(model, tape, segments))
    return total


def _beyond_segments(model: CharRNN, tape: Tape, segments: Sequence[tuple[Span, Tensor]]) -> Tensor:
    """What SnAp-1 adds to the gradient, from each segment of the tape and the gradient of the state before it.

    Influences go forward in time with one number for each parameter and stream, which takes minutes where the network
    is large. While the weights rest, the same sum is had on the way back: beyond its segment, a gradient goes on from
    each unit to itself alone.
    """
    grad, d_state = model.parameters.grad.zero_(), model.zero_state(tape.streams)
    total = torch.zeros_like(grad)
    for span, d_before in reversed(segments):
        passed_on = model.zero_state(tape.streams)
        for layer in range(model.config.layers):
            model.backward_units(tape, layer, span, d_state[layer], passed_on[layer])
            model.gradients(tape, layer, span)
        total.add_(grad)
        d_state = passed_on.add_(d_before)
    return total


def groups(model: CharRNN, flat: Tensor) -> dict[str, Tensor]:
    """Each parameter's part of a gradient, and all of it with and without the head, as vectors in float64.

    No truncation cuts the gradient of the head, so that with it any truncation looks better than it is.
    """
    parts = {name: view.flatten().double() for name, view in model.parameters.views(flat).items()}
    recurrent = torch.cat([part for name, part in parts.items() if name.startswith("rnn.")])
    return parts | {RECURRENT: recurrent, ALL: torch.cat(list(parts.values()))}
