"""differences.py against what an interval promises, the usual t interval, and a table of variance by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rnnbptt.study.race.differences import BLOCKS, paired_difference, spread_interval, variances


def races(count: int, seeds: int, per_seed: float, text: float, both: float) -> np.ndarray:
    """Differences of mean 0, (races, S, 20 stretches), from standard deviations of their means."""
    rng = np.random.default_rng(0)
    stretches = text * rng.standard_normal((count, 1, 20)) + both * rng.standard_normal((count, seeds, 20))
    return per_seed * rng.standard_normal((count, seeds, 1)) + stretches * math.sqrt(20)


@pytest.mark.parametrize("luck", [(1, 0, 0.3), (1, 0.4, 0.3), (0.3, 0.8, 0.3), (0.2, 0, 1)])
def test_it_covers_whatever_luck_there_is(luck: tuple[float, float, float]) -> None:
    trials = 500
    intervals = [spread_interval(float(table.mean()), table) for table in races(trials, 7, *luck)]
    covered = sum(interval.low <= 0 <= interval.high for interval in intervals if interval)
    assert 0.92 <= covered / trials <= 0.98


def test_without_luck_of_the_text_it_is_the_t_interval_over_seeds() -> None:
    figures = np.array([0.011, 0.034, 0.024, 0.029, 0.041, 0.018, 0.025])
    interval = spread_interval(float(figures.mean()), np.repeat(figures[:, None], 30, axis=1))
    assert interval is not None
    half = 2.446912 * figures.std(ddof=1) / math.sqrt(7)
    assert (interval.low, interval.high) == pytest.approx((figures.mean() - half, figures.mean() + half), abs=1e-8)
    assert interval.error == pytest.approx(figures.std(ddof=1) / math.sqrt(7))
    assert interval.text_share == pytest.approx(0, abs=1e-12)
    assert interval.freedom == pytest.approx(6)


def test_without_luck_of_the_seeds_it_is_the_t_interval_over_blocks() -> None:
    alternating = np.tile([0.4, -0.2], BLOCKS // 2)  # neighbours unlike, so nothing is added for their likeness
    interval = spread_interval(0.1, np.tile(alternating, (7, 1)))
    assert interval is not None
    assert interval.high - 0.1 == pytest.approx(2.262157 * alternating.std(ddof=1) / math.sqrt(BLOCKS), rel=1e-6)
    assert interval.text_share == pytest.approx(1)
    assert interval.freedom == pytest.approx(9)


def test_blocks_like_their_neighbours_say_less() -> None:
    alternating, halves = np.tile([1.0, -1.0], (3, 5)), np.repeat([[1.0, -1.0]], 5, axis=1).repeat(3, axis=0)
    # 8 of 9 neighbouring pairs alike: covariance 7, and 1 more than that of independent ones
    assert variances(alternating)[1] == pytest.approx(10 / 90)
    assert variances(halves)[1] == pytest.approx((10 + 2 * 8) / 90)


def test_the_variances_of_a_table_by_hand() -> None:
    table = np.random.default_rng(0).normal(size=(4, BLOCKS)) + np.tile([2.0, -2.0], BLOCKS // 2)
    grand = table.mean()
    of_both = sum(
        (table[s, b] - table[s].mean() - table[:, b].mean() + grand) ** 2 for s in range(4) for b in range(BLOCKS)
    ) / (3 * 9)
    of_seeds, of_text = variances(table)
    assert of_seeds == pytest.approx(table.mean(axis=1).var(ddof=1) / 4)
    assert of_text == pytest.approx(table.mean(axis=0).var(ddof=1) / BLOCKS - of_both / (4 * BLOCKS))


def test_stretches_that_ten_does_not_divide_are_all_used() -> None:
    table = np.zeros((3, 23))
    for place in range(23):
        moved = table.copy()
        moved[:, place] = 1
        assert variances(moved)[1] > 0


def test_two_that_never_differ_differ_by_exactly_nothing() -> None:
    found = paired_difference([2.0] * 7, [2.0] * 7, np.zeros((7, 12)))
    assert found.interval is not None
    assert (found.interval.low, found.interval.high, found.mean, found.sd, found.p) == (0, 0, 0, 0, 1)
    assert found.interval.holds_zero(0.95)


def test_a_higher_level_holds_more() -> None:
    table = races(1, 7, 1, 0.3, 0.3)[0]
    interval = spread_interval(float(table.mean()), table)
    assert interval is not None
    edge = spread_interval(interval.high - interval.mean, table)  # as far from 0 as the interval is wide
    assert edge is not None
    assert not edge.holds_zero(0.9499)
    assert edge.holds_zero(0.9501)


def test_without_two_seeds_or_ten_stretches_there_is_no_interval() -> None:
    assert spread_interval(0.0, np.ones((1, 50))) is None
    assert spread_interval(0.0, np.ones((7, 9))) is None
    alone = paired_difference([1.5], [1.25], np.full((1, 50), 0.25))
    assert (alone.differences, alone.mean, alone.sd, alone.interval, alone.p) == ((0.25,), 0.25, None, None, 1)


def test_the_figures_of_a_race() -> None:
    table = races(1, 3, 1, 0, 0)[0]
    found = paired_difference([1.5, 1.25, 1.75], [1.25, 1.5, 1.0], table)
    assert found.differences == (0.25, -0.25, 0.75)
    assert (found.mean, found.median, found.diverged, found.reference_diverged) == (0.25, 0.25, 0, 0)
    assert found.sd == pytest.approx(0.5)
    assert found.p == 0.75  # 0.75 of sums, sizes 1, 1, 3: 5, 3, 3, 1 and their negatives
    assert found.interval == spread_interval(0.25, table)


def test_a_run_that_diverged_is_worse_than_any() -> None:
    table = np.full((4, 20), np.nan)
    found = paired_difference([math.inf, 2.0, math.inf, 2.5], [3.0, math.inf, math.inf, 2.0], table)
    assert found.differences == (math.inf, -math.inf, 0, 0.5)
    assert (found.diverged, found.reference_diverged) == (2, 2)
    assert (found.mean, found.sd, found.interval, found.median) == (None, None, None, 0.25)
