"""Random resets: a Poisson process in each lane, the same however it is read."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbptt.text.resets import Resets

LANES, EVERY = 3, 20


def places(resets: Resets, stop: int) -> list[list[int]]:
    """By lane, the counts of characters by which a place has come, found one by one."""
    found = [resets.between(at, at + 1) for at in range(stop)]
    return [[at + 1 for at, lanes in enumerate(found) if lanes[lane]] for lane in range(LANES)]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=20), st.integers(0, 500))
def test_the_places_are_the_same_however_they_are_asked_for(steps: list[int], begin: int) -> None:
    known = places(Resets(LANES, EVERY, 7), begin + sum(steps))
    resets, position = Resets(LANES, EVERY, 7), begin
    for step in steps:
        following = [at for lane in known for at in lane if at > position]
        if following:
            assert resets.next(position) == min(following)
        expected = [any(position < at <= position + step for at in lane) for lane in known]
        assert resets.between(position, position + step).tolist() == expected
        position += step


def test_places_are_far_apart_at_random() -> None:
    """Their number, and the share of gaps above the mean, exp(-1), within four standard deviations."""
    stop = 40_000
    known = places(Resets(LANES, EVERY, 0), stop)
    expected = stop / EVERY
    for lane in known:
        assert abs(len(lane) - expected) < 4 * math.sqrt(expected)
        long = np.mean(np.diff(lane) > EVERY)
        assert long == pytest.approx(math.exp(-1), abs=4 * math.sqrt(0.24 / expected) + 0.5 / EVERY)
    assert len({tuple(lane) for lane in known}) == LANES


def test_the_seed_decides() -> None:
    first, again, other = (places(Resets(LANES, EVERY, seed), 500) for seed in (1, 1, 2))
    assert first == again != other


def test_far_into_a_text_they_are_the_same_as_after_reading_it() -> None:
    far = 3_000_000
    through = Resets(LANES, EVERY, 3)
    for at in range(0, far, 100_000):
        through.between(at, at + 100_000)
    at_once = Resets(LANES, EVERY, 3)
    assert [at_once.between(at, at + 9).tolist() for at in range(far, far + 200, 9)] == [
        through.between(at, at + 9).tolist() for at in range(far, far + 200, 9)
    ]
