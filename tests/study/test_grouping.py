"""Groups of checkpoints that differ in the seed alone."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from rnnbptt.study.grouping import Member, grouped
from rnnbptt.study.race.differences import paired_difference
from rnnbptt.study.race.verdicts import verdicts


def members(label: str, key: str, mean: float, seeds: range) -> list[Member]:
    found = []
    for seed in seeds:
        stretches = mean + 0.01 * np.random.default_rng(seed + round(100 * mean)).normal(size=12)
        found.append(Member(key, label, f"{key}-{seed}", seed, float(stretches.mean()), stretches))
    return found


ONE, TWO = members("1", "a", 2.5, range(7)), members("64", "b", 2.3, range(1, 8))
THREE = members("64", "c", 2.4, range(1))


def test_groups_have_the_statistics_of_a_race() -> None:
    one, two, three = grouped("test", [*ONE, *TWO, *THREE])
    for group, own in ((one, ONE), (two, TWO), (three, THREE)):
        assert group.split == "test"
        assert group.names == tuple(member.name for member in own)
        assert group.seeds == tuple(member.seed for member in own)
        assert group.mean == pytest.approx(statistics.mean(member.bpc for member in own))
    assert one.sd == pytest.approx(statistics.stdev(member.bpc for member in ONE))
    assert (one.against, three.sd) == (None, None)
    pairs = [
        paired_difference(
            [member.bpc for member in mine],
            [member.bpc for member in its],
            np.array([one.stretches - other.stretches for one, other in zip(mine, its, strict=True)]),
        )
        for mine, its in ((TWO[:6], ONE[1:]), (THREE, ONE[:1]))
    ]
    assert [group.against and group.against.difference for group in (two, three)] == pairs
    assert [group.against and group.against.verdict for group in (two, three)] == verdicts(pairs, None)


def test_a_label_that_two_have_gives_way_to_a_name() -> None:
    assert [group.label for group in grouped("test", [*ONE, *TWO, *THREE])] == ["1", "b-1", "c-0"]
    assert [group.label for group in grouped("test", [*ONE, *TWO])] == ["1", "64"]


def test_there_are_none_where_each_would_be_of_one() -> None:
    assert grouped("test", [ONE[0], TWO[0], THREE[0]]) == []


def test_without_a_seed_in_common_there_is_no_difference() -> None:
    _, two = grouped("test", [*ONE[:1], *TWO])
    assert two.against is None
