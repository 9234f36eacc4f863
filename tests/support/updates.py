"""The gradients of the updates that a strategy makes, at weights that rest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.text.streams import Streams
from rnnbptt.truncation.plan import Plan, Progress, Strategy
from rnnbptt.truncation.specs import parse_truncation

T, B = 20, 2  # characters of an epoch in each stream, and streams


def gradient(model: CharRNN, strategy: Strategy, plan: Plan, x: NDArray, y: NDArray, state: torch.Tensor) -> NDArray:
    """What the trainer hands to the optimizer for this plan."""
    if plan.reset:
        state.zero_()
    logits, tape = model.forward(torch.from_numpy(x), state, history=strategy.history)
    scored = torch.from_numpy(y[-plan.scored :])
    d_logits = cross_entropy(logits[-scored.numel() :], scored)[1].mul_(plan.scale)
    model.backward(tape, d_logits, plan.depth, plan.carry)
    return model.parameters.grad.clone()


def package_updates(
    model: CharRNN, strategy: Strategy, ids: NDArray, state: torch.Tensor
) -> Iterator[tuple[Plan, torch.Tensor]]:
    """The updates of one epoch at frozen weights: plan and gradient."""
    streams, updates = Streams(ids, B), 0
    model.tapes.forget(B)
    while (read := streams.position) < T:
        plan = strategy.next(Progress(read / T, streams.until_wrap(), updates))
        x, y, _ = streams.take(plan.advance)
        yield plan, gradient(model, strategy, plan, x, y, state)
        updates += 1


def package_sum(model: CharRNN, spec: str, ids: NDArray, state: torch.Tensor) -> torch.Tensor:
    """The sum of the triangle by our own code; an update's gradient is that of its mean."""
    updates = package_updates(model, parse_truncation(spec), ids, state.clone())
    return sum(plan.scored * B * grad for plan, grad in updates)


def a_text(vocabulary: int = 4) -> NDArray:
    return np.random.default_rng(0).integers(vocabulary, size=B * T + 1)
