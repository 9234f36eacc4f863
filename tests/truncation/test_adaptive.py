"""The depth that follows the gradient: when a measurement is made, and what becomes of several."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbptt.truncation.adaptive import Adaptive
from rnnbptt.truncation.fixed import Separate
from rnnbptt.truncation.plan import Plan, Progress


@pytest.mark.parametrize(
    ("measured", "depths"),
    [
        ((), [16]),
        ((0.5,) * 3, [16, 16, 16, 16]),
        ((9.0,) * 6, [16, 32, 64, 128, 256, 256, 256]),
        ((1e-9,) * 6, [16, 8, 4, 2, 1, 1, 1]),
        ((1.0, 0.25, 0.125), [16, 23, 16, 8]),  # by the root of twice, half, a quarter
        ((0.0, 1.0), [16, 16, 23]),  # no gradient says nothing
    ],
)
def test_the_depth_follows_the_root_of_the_bias_by_a_factor_of_two_at_most(
    measured: tuple[float, ...], depths: list[int]
) -> None:
    assert [Adaptive(0.5).depth(measured[:count]) for count in range(len(measured) + 1)] == depths


@given(st.floats(0.01, 0.9), st.floats(1.0, 256.0), st.floats(0.3, 1.0))
def test_it_comes_to_where_the_bias_is_the_one_asked_for(bias: float, wanted: int, power: float) -> None:
    """Of a model whose bias falls as a power of the depth."""
    measured: tuple[float, ...] = ()
    for _ in range(40):
        measured += (bias * (wanted / Adaptive(bias).depth(measured)) ** power,)
    assert Adaptive(bias).depth(measured) == pytest.approx(wanted, rel=0.05, abs=1.01)


@given(st.lists(st.floats(0, 10), max_size=40).map(tuple))
def test_depths_stay_within_their_range(measured: tuple[float, ...]) -> None:
    depths = [Adaptive(0.5).depth(measured[:count]) for count in range(len(measured) + 1)]
    assert all(1 <= depth <= 256 for depth in depths)
    assert all(math.floor(before / 2) <= after <= 2 * before + 1 for before, after in pairwise(depths))


@pytest.mark.parametrize("rows", [8_000, 40_000])
def test_forty_measurements_a_run_the_first_at_its_start(rows: int) -> None:
    strategy, read, measured, when, plans = Adaptive(0.1), 0, (), [], []
    while read < rows:
        progress = Progress(read / rows, rows - read, len(plans), measured=measured)
        plan = strategy.next(progress)
        if plan.measure:
            when.append(progress.spent)
            measured += (0.1 * 32 / plan.depth,)
        plans.append(plan)
        read += plan.advance
    assert read == rows
    assert (len(when), when[0]) == (40, 0)
    assert all(0 <= spent - share / 40 < 128 / rows for share, spent in enumerate(when))
    assert plans[0] == Plan(64, 16, carry=separate_carry(64, 16), measure=True)
    assert plans[1] == Plan(23, 23)
    depths = [plan.depth for plan in plans[:-1]]
    assert depths == sorted(depths)
    assert depths[-1] == 32


def separate_carry(advance: int, piece: int) -> tuple[float, ...]:
    """That of K1/K2 for these."""
    carry = Separate(advance, piece).next(Progress(0.0, advance)).carry
    assert carry is not None
    return carry


@pytest.mark.parametrize(
    ("room", "measured", "advance", "depth"),
    [(1000, (), 64, 16), (1000, (1e-9,) * 6, 64, 1), (1024, (9.0,) * 6, 1024, 256), (64, (), 64, 16)],
)
def test_a_measurement_reads_four_depths_but_at_least_64_characters(
    room: int, measured: tuple[float, ...], advance: int, depth: int
) -> None:
    plan = Adaptive(0.5).next(Progress(0.9, room, measured=measured))
    assert plan.measure
    assert (plan.advance, plan.depth) == (advance, depth)
    assert Adaptive(0.5).next(Progress(0.1, room, measured=(0.5,) * 40)) == Plan(16, 16), "none is due"
    without_room = Adaptive(0.5).next(Progress(0.9, advance - 1, measured=measured))
    assert without_room == Plan(min(depth, advance - 1), min(depth, advance - 1))
