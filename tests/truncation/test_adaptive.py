"""The depth that follows the gradient: what a measurement asks for, when one is made, and what becomes of several."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbptt.truncation.adaptive import Adaptive
from rnnbptt.truncation.fixed import Separate
from rnnbptt.truncation.plan import Plan, Progress


def geometric(lags: int, beta: float) -> list[float]:
    return [beta**lag for lag in range(lags)]


@pytest.mark.parametrize(
    ("beta", "bias", "depth"),
    [(0.1, 0.5, 1), (0.5, 0.5, 1), (0.5, 0.2, 4), (0.9, 0.5, 8), (0.9, 0.1, 32), (0.99, 0.1, 256), (0.999, 0.1, 256)],
)
def test_one_measurement_asks_for_the_next_power_of_two(beta: float, bias: float, depth: int) -> None:
    """Beyond depth K lies beta^K: of 0.9, 0.1 beyond 22; and 256 is the most."""
    assert Adaptive(bias).choose(geometric(512, beta * 0.9999)) == depth


@pytest.mark.parametrize(
    ("measured", "depths"),
    [
        ((), [16]),
        ((256,) * 6, [16, 32, 64, 128, 256, 256, 256]),
        ((1,) * 6, [16, 8, 4, 2, 1, 1, 1]),
        ((16, 16, 16, 256, 1, 16), [16] * 7),  # outliers are outvoted
        ((16, 64), [16, 16, 16]),  # of two, the lower
        ((16, 64, 64), [16, 16, 16, 32]),
        ((64, 64, 64, 8, 8, 8, 8), [16, 32, 64, 64, 64, 64, 32, 16]),  # the last five alone
    ],
)
def test_the_depth_is_a_median_that_moves_by_a_factor_of_two(measured: tuple[int, ...], depths: list[int]) -> None:
    assert [Adaptive(0.5).depth(measured[:count]) for count in range(len(measured) + 1)] == depths


@given(st.lists(st.sampled_from([1 << rung for rung in range(9)]), max_size=40).map(tuple))
def test_depths_stay_on_the_grid_and_within_its_range(measured: tuple[int, ...]) -> None:
    depths = [Adaptive(0.5).depth(measured[:count]) for count in range(len(measured) + 1)]
    assert {*depths} <= {1 << rung for rung in range(9)}
    assert all(after / before in (0.5, 1, 2) for before, after in pairwise(depths))


@pytest.mark.parametrize("rows", [8_000, 40_000])
def test_forty_measurements_a_run_the_first_at_its_start(rows: int) -> None:
    strategy, read, measured, when, plans = Adaptive(0.1), 0, (), [], []
    while read < rows:
        progress = Progress(read / rows, rows - read, len(plans), measured=measured)
        plan = strategy.next(progress)
        if plan.measure:
            when.append(progress.spent)
            measured += (plan.measure(geometric(plan.advance, 0.9)),)
        plans.append(plan)
        read += plan.advance
    assert read == rows
    assert (len(when), when[0]) == (40, 0)
    assert all(0 <= spent - share / 40 < 128 / rows for share, spent in enumerate(when))
    assert replace(plans[0], measure=None) == Plan(64, 16, carry=separate_carry(64, 16))
    assert plans[1] == Plan(32, 32), "it has gone to twice the depth at once, and at the next measurement no further"
    assert {plan.depth for plan in plans[:-1]} == {16, 32}
    assert {plan.advance for plan in plans[1:-1] if plan.measure} == {128}


def separate_carry(advance: int, piece: int) -> tuple[float, ...]:
    """That of K1/K2 for these."""
    carry = Separate(advance, piece).next(Progress(0.0, advance)).carry
    assert carry is not None
    return carry


@pytest.mark.parametrize(
    ("room", "measured", "advance", "depth"),
    [(1000, (), 64, 16), (1000, (1,) * 6, 64, 1), (1000, (256,) * 6, 512, 256), (40, (), 40, 16), (9, (), 9, 9)],
)
def test_a_measurement_reads_four_depths_but_at_least_64_at_most_512_and_no_more_than_there_is(
    room: int, measured: tuple[int, ...], advance: int, depth: int
) -> None:
    plan = Adaptive(0.5).next(Progress(0.9, room, measured=measured))
    assert plan.measure
    assert (plan.advance, plan.depth) == (advance, depth)
    plan = Adaptive(0.5).next(Progress(0.1, room, measured=(depth,) * 40))
    assert plan == Plan(depth, depth), "where all measurements ask for the same and none is due"
