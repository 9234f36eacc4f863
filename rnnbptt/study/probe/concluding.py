"""What the figures of a probe amount to: a truncation that is enough, the memory that the model uses, whether the state
that training carries along is in order.
"""

import math
from collections.abc import Sequence

from rnnbptt.study.contexts import ContextLoss
from rnnbptt.study.probe.fidelity import RECURRENT, Fidelity
from rnnbptt.study.probe.results import Carried, Conclusion, Staleness

ENOUGH = 0.05  # relative bias, of all parameters but the head's, with which a truncation is near enough
GAIN = 0.01  # bits per character that more context has to gain to be called used
STALE = 0.05  # of a fresh state's length: a carried state that is off by more is stale
SETTLED = 0.5  # of what looks stale: what the fresh state changes by has to be less, or it is no measure of that


def conclude(
    gradients: Sequence[Fidelity],
    contexts: Sequence[ContextLoss],
    staleness: Sequence[Staleness],
    handed_on: bool = False,
) -> Conclusion:
    """The conclusion, from at least one of each; contexts in order of length. Where a state is `handed_on` from stream
    to stream, it is off for that reason.
    """
    biases = {int(found.trunc): found.bias[RECURRENT] for found in gradients if found.trunc.isdecimal()}
    biases = {k: bias for k, bias in biases.items() if not math.isnan(bias)}
    enough = min((k for k, bias in biases.items() if bias <= ENOUGH), default=None)
    nearest = min(biases, key=lambda k: biases[k], default=None)
    memory = memory_of(contexts)
    carried, off = judge(staleness)
    return Conclusion(
        gradient=bool(biases),
        enough=enough,
        nearest=nearest,
        bias=biases.get(enough or nearest or 0, math.nan),
        memory=memory,
        ends=memory < contexts[-1].characters,
        carried="handed on" if handed_on and carried != "unknown" else carried,
        staleness=off,
    )


def memory_of(contexts: Sequence[ContextLoss]) -> int:
    """The fewest characters of context than which no longer one measured is better by GAIN."""
    return next(
        context.characters
        for index, context in enumerate(contexts)
        if context.bpc - min(longer.bpc for longer in contexts[index:]) < GAIN
    )


def judge(staleness: Sequence[Staleness]) -> tuple[Carried, float]:
    """What the carried state is, and the largest median of its layers, which says so; nan where none has any."""
    known = [layer for layer in staleness if not math.isnan(layer.median)]
    if not known:
        return "unknown", math.nan
    worst = max(known, key=lambda layer: layer.median)
    if worst.median <= STALE:
        return "fresh", worst.median
    return ("unsettled" if worst.unsettled > SETTLED * worst.median else "stale"), worst.median
