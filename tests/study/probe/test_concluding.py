"""concluding.py: what figures amount to."""

from __future__ import annotations

import math

import pytest

from rnnbptt.study.contexts import ContextLoss
from rnnbptt.study.probe.concluding import conclude, judge, memory_of
from rnnbptt.study.probe.fidelity import ALL, RECURRENT, Fidelity
from rnnbptt.study.probe.results import Staleness


def fidelities(**biases: float) -> list[Fidelity]:
    """Of truncations k1, k2, ... and others; with the head all are perfect."""
    return [Fidelity(name.removeprefix("k"), {}, {RECURRENT: bias, ALL: 0.0}) for name, bias in biases.items()]


def contexts(*losses: float) -> list[ContextLoss]:
    return [ContextLoss(2**index, bpc) for index, bpc in enumerate(losses)]


FRESH = [Staleness(0, 0.01, 0.02, 0.0)]


@pytest.mark.parametrize(
    ("biases", "enough", "nearest", "bias"),
    [
        ({"k1": 0.5, "k2": 0.05, "k4": 0.01}, 2, 4, 0.05),
        ({"k1": 0.5, "k4": 0.02, "k2": 0.04}, 2, 4, 0.04),  # in whatever order
        ({"k1": 0.5, "k2": 0.1, "k4": 0.2}, None, 2, 0.1),
        ({"snap": 0.01, "k1": 0.5, "k2": 0.4, "1/2": 0.0}, None, 2, 0.4),  # only plain ones count
        ({"k1": math.nan, "k2": math.nan}, None, None, math.nan),
    ],
)
def test_the_shortest_plain_truncation_that_is_near_enough(
    biases: dict[str, float], enough: int | None, nearest: int | None, bias: float
) -> None:
    found = conclude(fidelities(**biases), contexts(3.0, 2.0), FRESH)
    assert (found.enough, found.nearest) == (enough, nearest)
    assert found.bias == pytest.approx(bias, nan_ok=True)
    assert found.gradient == (not math.isnan(bias))


@pytest.mark.parametrize(
    ("losses", "memory"),
    [
        ((5.0, 4.0, 3.0, 2.995, 2.992), 4),
        ((5.0, 4.0, 3.0, 2.985, 2.97), 16),
        ((3.0, 3.0, 3.0), 1),
        ((5.0, 4.0, 3.0), 4),
        ((5.0, 3.0, 3.2, 3.1), 2),  # more than that makes it worse
        ((5.0, 3.0, 3.2, 2.9), 8),  # at first
    ],
)
def test_memory_ends_where_no_longer_context_gains(losses: tuple[float, ...], memory: int) -> None:
    assert memory_of(contexts(*losses)) == memory
    found = conclude(fidelities(k1=0.5), contexts(*losses), FRESH)
    assert (found.memory, found.ends) == (memory, memory < 2 ** (len(losses) - 1))


@pytest.mark.parametrize(
    ("layers", "carried", "off"),
    [
        ([(0.01, 0.0), (0.05, 0.9)], "fresh", 0.05),
        ([(0.01, 0.0), (0.2, 0.1)], "stale", 0.2),
        ([(0.2, 0.11), (0.01, 0.0)], "unsettled", 0.2),
        ([(0.2, math.nan)], "stale", 0.2),  # all of its text was read again
        ([(math.nan, math.nan), (0.01, 0.0)], "fresh", 0.01),
        ([(math.nan, math.nan)], "unknown", math.nan),
    ],
)
def test_the_carried_state_is_judged_by_its_worst_layer(
    layers: list[tuple[float, float]], carried: str, off: float
) -> None:
    staleness = [Staleness(index, median, 1.0, unsettled) for index, (median, unsettled) in enumerate(layers)]
    assert judge(staleness) == (carried, pytest.approx(off, nan_ok=True))
    found = conclude(fidelities(k1=0.5), contexts(3.0), staleness, handed_on=True)
    assert found.carried == ("unknown" if carried == "unknown" else "handed on")
