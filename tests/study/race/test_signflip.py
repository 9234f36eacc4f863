"""signflip.py against every choice of signs spelled out, and Holm's correction by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from rnnbptt.study.race import signflip
from rnnbptt.study.race.seeds import least_p
from rnnbptt.study.race.signflip import holm, sign_flip


def by_hand(sizes: list[float], signs: list[int]) -> float:
    observed = abs(sum(size * sign for size, sign in zip(sizes, signs, strict=True)))
    flips = list(product([1, -1], repeat=len(sizes)))
    sums = [sum(size * sign for size, sign in zip(sizes, flip, strict=True)) for flip in flips]
    return sum(abs(flipped) >= observed - 1e-9 for flipped in sums) / len(flips)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5, 8, 11])
def test_p_is_the_share_of_all_choices_of_signs(seeds: int) -> None:
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.5, 1, seeds).tolist()
        signs = [1 if difference > 0 else -1 for difference in differences]
        assert sign_flip(differences) == by_hand([abs(difference) for difference in differences], signs)


def test_sums_that_only_rounding_tells_apart_are_equal() -> None:
    """0.1 + 0.2 - 0.3 is not 0 in floating point, and equal sizes make many equal sums."""
    assert sign_flip([0.1, 0.2, -0.3]) == 1
    assert sign_flip([0.1] * 6 + [-0.1]) == (2 + 2 * 7) / 2**7


def test_nothing_can_be_less_likely_than_all_on_one_side() -> None:
    for seeds in range(1, 12):
        assert sign_flip([-0.3 - seed for seed in range(seeds)]) == least_p(seeds) == 2 / 2**seeds


def test_no_difference_at_all_has_p_1() -> None:
    assert sign_flip([0.0] * 7) == 1


def test_an_infinite_difference_counts_by_its_rank() -> None:
    # ranks 1, 2, 3 and 4.5 twice
    differences = [0.1, -0.2, 0.3, math.inf, math.inf]
    assert sign_flip(differences) == by_hand([1, 2, 3, 4.5, 4.5], [1, -1, 1, 1, 1])
    # one of seven diverged: against six that are better it takes all certainty, with six that are worse none
    assert sign_flip([-0.1, -0.2, -0.3, -0.4, -0.5, -0.6, math.inf]) > 0.2
    assert sign_flip([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, math.inf]) == least_p(7)


def test_beyond_what_can_be_counted_signs_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(0).normal(0.45, 1, 16).tolist()
    exact = sign_flip(differences)
    monkeypatch.setattr(signflip, "MOST_EXACT", 15)
    drawn = sign_flip(differences)
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / 2**15))
    assert drawn == sign_flip(differences)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04, 0.01, 0.02, 0.005]) == pytest.approx([0.04, 0.03, 0.04, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []
