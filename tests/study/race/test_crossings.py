"""crossings.py and curves.py on curves whose crossings are known."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from rnnbptt.study.race import crossings
from rnnbptt.study.race.crossings import find_crossing, last_crossings, reach
from rnnbptt.study.race.curves import LearningCurve, heights, knots


def curve(x: list[float], bpc: list[float], diverged: bool = False) -> LearningCurve:
    return LearningCurve(np.array(x, float), np.array(bpc, float), diverged)


def lines(*offsets: float, slope: float) -> list[LearningCurve]:
    """From 4 bits at 0, at 0, 1, 2, ... 10, one a seed."""
    return [curve(list(range(11)), [4 + offset + slope * x for x in range(11)]) for offset in offsets]


# The first falls by 0.1 a step; the second begins 0.3 above it and falls by 0.2: it overtakes at 3.
FIRST, SECOND = lines(0.0, 0.05, -0.05, slope=-0.1), lines(0.3, 0.36, 0.24, slope=-0.2)


def test_two_lines_cross_where_they_do_on_the_mean_over_seeds() -> None:
    found = find_crossing(FIRST, SECOND)
    assert found is not None
    assert found.at == pytest.approx(3)
    assert (found.never, found.always, found.start, found.end) == (0, 0, 0, 10)


def test_places_of_measurement_need_not_agree() -> None:
    """Straight lines are the same lines wherever they are measured, even crossing between two measurements of each."""
    first = [curve([0, 2.5, 7, 10], [4, 3.75, 3.3, 3]), curve([0, 10], [4, 3])]
    second = [curve([1, 12], [4.1, 1.9]), curve([0, 3.3, 9], [4.3, 3.64, 2.5])]
    found = find_crossing(first, second)
    assert found is not None
    assert found.at == pytest.approx(3)
    assert (found.start, found.end) == (1, 9)


def test_the_interval_is_where_the_t_interval_of_the_seeds_holds_0() -> None:
    """Second minus first is 0.3 + offset - 0.1 x, so that the crossing is off by 10 times the offset."""
    found = find_crossing(FIRST, SECOND)
    assert found is not None
    offsets = np.array([0, 0.01, -0.01])
    half = 4.302653 * offsets.std(ddof=1) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((3 - 10 * half, 3 + 10 * half), abs=1e-6)


def test_it_covers_the_true_crossing_with_three_seeds_where_percentiles_do_not() -> None:
    rng = np.random.default_rng(0)
    trials, covered = 300, 0
    x = np.arange(11.0)
    for _ in range(trials):
        apart = 0.3 - 0.1 * x + 0.05 * rng.standard_normal((3, 1))
        found = find_crossing(lines(0, 0, 0, slope=0), [LearningCurve(x, 4 + row) for row in apart], resamples=2)
        assert found is not None
        low, high = found.low, found.high  # an open side leaves nothing out
        covered += found.at is not None and (low is None or low <= 3) and (high is None or high >= 3)
    assert 0.92 <= covered / trials <= 0.98  # the range of three covers 0.75 at most


def test_the_last_crossing_is_the_one() -> None:
    places = np.arange(6.0)
    twice = np.array([1.0, -1, 1, 3, -1, -2])
    behind_at_the_end, ahead_all_the_way = np.array([1.0, -1, -1, -1, -1, 0]), np.full(6, -0.1)
    rows = np.stack([twice, behind_at_the_end, ahead_all_the_way])
    assert last_crossings(rows, places).tolist() == [3.75, math.inf, -math.inf]


def test_shares_of_resamples_are_those_of_all_resamples() -> None:
    """Of seeds that cross, never do, and are ahead all the way."""
    first, second = lines(0, 0, 0, slope=0), lines(0.42, 1.19, -0.35, slope=-0.1)
    found = find_crossing(first, second, resamples=20_000)
    assert found is not None
    means = [np.mean(drawn) for drawn in product([0.42, 1.19, -0.35], repeat=3)]
    assert found.never == pytest.approx(np.mean([mean - 1 >= 0 for mean in means]), abs=0.01)
    assert found.always == pytest.approx(np.mean([mean < 0 for mean in means]), abs=0.01)
    assert found.never > 0
    assert found.at == pytest.approx(4.2)
    assert (found.low, found.high) == (None, None)  # three such seeds say nothing of where


def test_one_that_never_overtakes_has_no_crossing() -> None:
    behind, ahead = find_crossing(SECOND, FIRST), find_crossing(FIRST, lines(-1, -1, -1, slope=-0.2))
    assert behind is not None
    assert ahead is not None
    assert (behind.at, behind.low, behind.high, behind.never, behind.always) == (None, None, None, 1, 0)
    assert (ahead.at, ahead.low, ahead.high, ahead.never, ahead.always) == (None, None, None, 0, 1)
    equal = find_crossing(FIRST, FIRST)
    assert equal is not None
    assert (equal.at, equal.never) == (None, 1)


def test_of_one_seed_the_crossing_has_no_interval() -> None:
    found = find_crossing(FIRST[:1], SECOND[:1])
    assert found is not None
    assert (found.at, found.low, found.high) == (pytest.approx(3), None, None)


def test_strategies_without_a_place_in_common_have_none() -> None:
    assert find_crossing([curve([0, 1], [4, 3])], [curve([2, 3], [4, 3])]) is None


def test_a_run_that_diverged_never_overtakes() -> None:
    broken = [*SECOND[:2], curve([0, 1, 2, 3, 4], [4.24, 4.04, 3.84, 3.64, 3.44], diverged=True)]
    found = find_crossing(FIRST, broken, resamples=5000)
    assert found is not None
    assert (found.at, found.end) == (None, 10)
    assert found.never == pytest.approx(1 - (2 / 3) ** 3, abs=0.03)  # of the resamples that have it
    other_way = find_crossing(broken, FIRST, resamples=5000)  # and is overtaken where it breaks off, if not before
    assert other_way is not None
    assert other_way.at == pytest.approx(4, abs=1e-6)


def test_it_is_the_same_every_time_and_whatever_the_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = lines(0, 0, 0, slope=0), lines(0.42, 1.19, -0.35, slope=-0.1)
    found = find_crossing(first, second)
    assert found == find_crossing(first, second)
    assert found != find_crossing(first, second, seed=1)
    monkeypatch.setattr(crossings, "PIECE", 1000)
    assert found == find_crossing(first, second)


def test_curves_are_straight_in_between_and_infinite_once_diverged() -> None:
    two = [curve([0, 4], [4, 2]), curve([1, 2], [3, 1], diverged=True)]
    places = knots(two)
    assert places.tolist() == [1, 2, 4]
    assert heights(two, places).tolist() == [[3.5, 3, 2], [3, 1, math.inf]]
    assert knots(two[1:]).tolist() == [1, 2]


def test_thresholds_are_reached_between_validations() -> None:
    found = reach([curve([10, 20, 30], [4, 3, 2.5]), curve([10, 30], [4, 2]), curve([10, 20], [3, 2.9])], 2.75)
    assert found.places == (25, 22.5, None)
    assert (found.count, found.median, found.fastest, found.slowest) == (2, 25, 22.5, None)


def test_the_first_time_counts_and_never_before_the_first_validation() -> None:
    found = reach([curve([10, 20, 30, 40], [3, 2, 3, 1]), curve([10, 20], [2.5, 2])], 2.5)
    assert found.places == (15, 10)
    assert (found.count, found.median, found.fastest, found.slowest) == (2, 12.5, 10, 15)


def test_a_median_takes_more_than_half() -> None:
    reaching, not_reaching = curve([0, 10], [4, 2]), curve([0, 10], [4, 3.5], diverged=True)
    assert reach([reaching, not_reaching], 3).median is None
    assert reach([reaching, reaching, not_reaching], 3).median == 5
    none = reach([not_reaching] * 2, 3)
    assert (none.places, none.count, none.median, none.fastest, none.slowest) == ((None, None), 0, None, None, None)
