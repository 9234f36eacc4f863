"""From a plan and text to moved weights: with torch update by update, or with a kernel many of them in one call."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from rnnbptt.bptt.update import FusedEngine, Steps, TorchEngine
from rnnbptt.model.parameters import Parameters
from rnnbptt.text.streams import Segment
from rnnbptt.training.optimizers import Muon, Optimizer, clip
from rnnbptt.truncation.plan import Plan


class Made(NamedTuple):
    """Updates by one plan: the mean loss of each in nats per character, the norm of its gradient before clipping, and
    operations; its characters, and those that have a loss, the same of all; and the relative bias of the last one's
    cuts, where it was measured.

    Where a loss or a norm is not finite, it is the last, and no weight was moved by that update.
    """

    nats: Sequence[float]
    norms: Sequence[float]
    flops: Sequence[float]
    chars: int
    scored: int
    measured: float | None = None


def make_updates(
    engine: TorchEngine | FusedEngine,
    optimizer: Optimizer,
    parameters: Parameters,
    plan: Plan,
    segment: Segment,
    steps: Steps,
) -> Made:
    """Clip, decay and step after each: as many updates as `steps` has rates, one where torch makes them."""
    if not isinstance(engine, TorchEngine) and not isinstance(optimizer, Muon):
        nats, norms, flops = engine.train(plan, segment, steps, optimizer.means)
        optimizer.count(len(nats))
        chars, streams = segment.x.size // len(steps.rates), segment.x.shape[1]
        return Made(nats.tolist(), norms.tolist(), flops, chars, plan.scored * streams)
    outcome = engine.update(plan, segment)
    norm = clip(parameters.grad, steps.clip)
    if math.isfinite(outcome.loss + norm):
        if steps.kept[0] != 1:
            for weight in parameters.weights:
                weight.mul_(steps.kept[0])
        optimizer.step(parameters.flat, parameters.grad, steps.rates[0], steps.beta2)
        parameters.refresh_operands()
    return Made([outcome.loss], [norm], [outcome.flops], outcome.chars, outcome.scored, outcome.measured)
