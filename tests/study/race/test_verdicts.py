"""verdicts.py: each thing that a difference needs, taken away alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rnnbptt.study.race.differences import PairedDifference, paired_difference
from rnnbptt.study.race.verdicts import Verdict, verdicts

INFINITE = math.inf


def found(*differences: float, text: float = 0.0) -> PairedDifference:
    """Of runs so far from a reference of 2 bits, on a text that makes so much of a difference."""
    table = np.repeat(np.array(differences)[:, None], 20, axis=1) + text * np.tile([1.0, 1.0, -1.0, -1.0], 5)
    return paired_difference([2 + difference for difference in differences], [2.0] * len(differences), table)


def only(difference: PairedDifference, same: PairedDifference | None = None) -> Verdict:
    (verdict,) = verdicts([difference], same)
    return verdict


BETTER = (-0.10, -0.11, -0.12, -0.13, -0.14, -0.15, -0.16)
LUCK = found(0.01, -0.02, 0.03, -0.01, 0.02, -0.03, 0.014)


def test_what_is_shown() -> None:
    assert only(found(*BETTER), LUCK) == Verdict("better", 2 / 2**7, ())
    assert only(found(*(-difference for difference in BETTER)), LUCK) == Verdict("worse", 2 / 2**7, ())
    assert only(LUCK).word == "no difference shown"


def test_few_seeds_cannot_pass_the_test() -> None:
    assert only(found(*BETTER[:5])) == Verdict("no difference shown", 2 / 2**5, ("p",))


def test_nor_can_six_for_two_contestants() -> None:
    assert only(found(*BETTER[:6])).word == "better"
    assert verdicts([found(*BETTER[:6])] * 2, None) == [Verdict("no difference shown", 4 / 2**6, ("p",))] * 2


def test_the_luck_of_the_text_can_hide_it() -> None:
    assert only(found(*BETTER, text=0.1)).word == "better"
    assert only(found(*BETTER, text=0.4)) == Verdict("no difference shown", 2 / 2**7, ("interval",))


def test_for_several_contestants_the_interval_has_to_be_further_from_0() -> None:
    difference = found(*BETTER, text=0.16)
    assert only(difference).word == "better"
    assert {verdict.lacks for verdict in verdicts([difference] * 3, None)} == {("interval",)}


def test_without_an_interval_nothing_is_shown() -> None:
    short = paired_difference([1.0] * 7, [2.0] * 7, np.full((7, 9), -1.0))
    assert only(short) == Verdict("no difference shown", 2 / 2**7, ("no interval",))


@pytest.mark.parametrize("sign", [1, -1])
def test_what_the_reference_shows_against_itself_is_none(sign: int) -> None:
    difference = found(*BETTER)
    mean = sum(BETTER) / 7
    assert only(difference, found(*[sign * 0.99 * mean] * 7)).word == "better"
    assert only(difference, found(*[sign * 1.01 * mean] * 7)) == Verdict("no difference shown", 2 / 2**7, ("A/A",))


def test_runs_that_diverged_are_counted_against_it() -> None:
    worse = found(0.1, 0.2, 0.3, 0.1, 0.2, 0.3, INFINITE)
    assert only(worse, LUCK) == Verdict("worse", 2 / 2**7, ())
    assert only(found(*BETTER[:6], INFINITE), LUCK).word == "no difference shown"


def test_where_the_reference_diverges_by_luck_medians_tell() -> None:
    steady = paired_difference([2.0] * 7, [INFINITE] * 7, np.full((7, 20), np.nan))
    itself = paired_difference([INFINITE] * 6 + [2.0], [INFINITE] * 7, np.full((7, 20), np.nan))
    assert only(steady, itself).word == "better"
    assert only(found(*BETTER), found(*[INFINITE] * 4, 0.1, 0.1, 0.1)).lacks == ("A/A",)
    undecided = found(*[INFINITE] * 3, *[-INFINITE] * 3)
    assert math.isnan(undecided.median)
    assert only(undecided).lacks == ("p", "A/A")


def test_holm_keeps_the_order_in_which_contestants_are_given() -> None:
    ps = [verdict.p for verdict in verdicts([LUCK, found(*BETTER)], None)]
    assert ps == [LUCK.p, 2 * 2 / 2**7]


def test_where_the_median_points_elsewhere_than_the_test_nothing_is_shown() -> None:
    """Of 30 seeds, 14 diverged and 16 were a little better: by their ranks worse, by the median better."""
    contestant = [math.inf] * 14 + [2 - 0.001 * number for number in range(1, 17)]
    found = paired_difference(contestant, [2.0] * 30, np.empty((0, 0)))
    assert found.p < 0.05
    assert found.median < 0
    (verdict,) = verdicts([found], None)
    assert (verdict.word, verdict.lacks) == ("no difference shown", ("median",))
