"""student.py against printed tables and the two cases that have a formula."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest

from rnnbptt.study.race.student import t_quantile


@pytest.mark.parametrize(
    ("level", "freedom", "t"),
    [
        (0.95, 1, 12.7062),
        (0.95, 2, 4.3027),
        (0.95, 4, 2.7764),
        (0.95, 6, 2.4469),
        (0.95, 9, 2.2622),
        (0.95, 30, 2.0423),
        (0.95, 120, 1.9799),
        (0.99, 5, 4.0321),
        (0.9, 3, 2.3534),
        (0.5, 10, 0.6998),
    ],
)
def test_it_is_what_tables_print(level: float, freedom: float, t: float) -> None:
    assert t_quantile(level, freedom) == pytest.approx(t, abs=6e-5)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.95, 0.9833, 0.999])
def test_one_and_two_degrees_have_a_formula(level: float) -> None:
    assert t_quantile(level, 1) == pytest.approx(math.tan(math.pi * level / 2), rel=1e-9)
    assert t_quantile(level, 2) == pytest.approx(level * math.sqrt(2 / (1 - level**2)), rel=1e-9)


def test_between_whole_degrees_it_lies_between_and_it_ends_at_the_normal() -> None:
    falling = [t_quantile(0.95, freedom) for freedom in (1.5, 2, 2.5, 3, 8.7, 9, 1000)]
    assert falling == sorted(falling, reverse=True)
    # the first term of the expansion in 1 / freedom, which is (z^3 + z) / 4
    z = NormalDist().inv_cdf(0.975)
    assert falling[-1] == pytest.approx(z + (z**3 + z) / 4000, abs=1e-5)
