"""bands.py: means and bands computed by hand, and what is drawn of a curve."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rnnbptt.report.bands import MOST, Line, band_of, common, finite, grid_of, is_logarithmic, limits
from rnnbptt.report.page import Level

FIRST: Line = ([0, 10], [4, 2])
SECOND: Line = ([5, 15], [5, 1])


def test_mean_and_band_where_both_seeds_reach() -> None:
    """At 5 they have 3 and 5, at 7.5 they have 2.5 and 4, at 10 they have 2 and 3."""
    band = band_of([FIRST, SECOND], np.array([0, 5, 7.5, 10, 15]))
    assert band.mean.tolist() == pytest.approx([math.nan, 4, 3.25, 2.5, math.nan], nan_ok=True)
    assert band.low.tolist() == pytest.approx([math.nan, 3, 2.5, 2, math.nan], nan_ok=True)
    assert band.high.tolist() == pytest.approx([math.nan, 5, 4, 3, math.nan], nan_ok=True)


def test_one_seed_is_its_own_mean_and_band() -> None:
    band = band_of([FIRST], np.array([0, 5, 10]))
    assert band.mean.tolist() == band.low.tolist() == band.high.tolist() == [4, 3, 2]


def test_a_run_ends_where_it_diverges_and_the_mean_with_it() -> None:
    cut = finite([1, 2, 3, 4], [3, 2.5, math.inf, 2])
    assert cut == ([1, 2], [3, 2.5])
    assert common([cut, FIRST]) == (1, 2)
    at_once = finite([1, 2], [math.nan, 2])
    assert at_once == ([], [])
    assert np.isnan(band_of([FIRST, at_once], np.array([0, 5, 10])).mean).all()


def test_the_grid_has_all_places_of_few() -> None:
    assert grid_of([[FIRST, SECOND], [([7], [1]), ([], [])]]).tolist() == [0, 5, 7, 10, 15]


def test_the_grid_of_many_places_is_thinned_and_keeps_the_ends_of_each_mean() -> None:
    long: Line = (list(range(1000)), [1.0] * 1000)
    short: Line = ([100.5, 333.25], [1, 1])
    grid = grid_of([[long], [short]])
    assert MOST <= len(grid) <= MOST + 2
    assert {0, 999, 100.5, 333.25} <= set(grid.tolist())
    assert np.diff(grid).max() <= 6


def test_a_mean_is_straight_between_the_places_of_the_grid() -> None:
    random = np.random.default_rng(0)
    lines: list[Line] = [(np.sort(random.uniform(0, 9, 20)).tolist(), random.normal(size=20).tolist()) for _ in "abc"]
    grid = grid_of([lines])
    fine = np.linspace(*common(lines), 500)
    coarse = band_of(lines, grid).mean
    known = ~np.isnan(coarse)
    np.testing.assert_allclose(np.interp(fine, grid[known], coarse[known]), band_of(lines, fine).mean, atol=1e-12)


def test_limits_leave_out_the_start_and_far_levels() -> None:
    """The first tenth of 100 is before 10: from 3 down to 1, which is 2; half of that is 1, and the margin 0.1."""
    line: Line = ([1, 10, 100], [9, 3, 1])
    assert limits([line]) == pytest.approx((0.9, 3.1))
    assert limits([line], [Level("", 4.1), Level("", -0.1)]) == pytest.approx((0.9, 3.1))
    assert limits([line], [Level("", 0.0), Level("", 4.0)]) == pytest.approx((-0.2, 4.2))
    assert limits([line], [Level("", -2.0, optimum=True)]) == pytest.approx((-2.25, 3.25)), "an optimum is never far"
    assert limits([([1], [2])]) == pytest.approx((1.95, 2.05))


def test_axes_that_span_decades_are_logarithmic_and_updates_always() -> None:
    assert not is_logarithmic("chars", [0, 1, 100])
    assert is_logarithmic("chars", [0, 1, 101])
    assert is_logarithmic("updates", [1, 2])
    assert not is_logarithmic("updates", [0])
