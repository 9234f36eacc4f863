"""Checkpoints that differ in the seed alone, as groups: the luck of training in figures, and what is left beyond it."""

import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnbptt.study.race.differences import PairedDifference, paired_difference
from rnnbptt.study.race.verdicts import Against, verdicts


@dataclass(frozen=True)
class Member:
    """A checkpoint on a text.

    key        equal for those that differ in the seed alone
    bpc        bits per character
    stretches  of equal stretches of the text, (n,)
    """

    key: Hashable
    label: str
    name: str
    seed: int
    bpc: float
    stretches: NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Checkpoints that differ in the seed alone, on one text.

    mean, sd    of their bits per character; sd is None for one
    against     the first group, paired by seed; None for that, and where no two seeds are the same
    """

    split: str
    label: str
    names: tuple[str, ...]
    seeds: tuple[int, ...]
    mean: float
    sd: float | None
    against: Against | None = None


def grouped(split: str, members: Sequence[Member]) -> list[Group]:
    """The groups, in the order of their first members; none where every group would be of one."""
    groups: dict[Hashable, list[Member]] = {}
    for member in members:
        groups.setdefault(member.key, []).append(member)
    if len(groups) == len(members):
        return []
    first = next(iter(groups.values()))
    found = {key: _difference(group, first) for key, group in groups.items() if group is not first}
    differences = {key: difference for key, difference in found.items() if difference}
    judged = verdicts(list(differences.values()), None)
    against = dict(zip(differences, map(Against, differences.values(), judged), strict=True))
    labels = [group[0].label for group in groups.values()]
    return [
        Group(
            split,
            group[0].label if labels.count(group[0].label) == 1 else group[0].name,
            tuple(member.name for member in group),
            tuple(member.seed for member in group),
            statistics.fmean(member.bpc for member in group),
            statistics.stdev(member.bpc for member in group) if len(group) > 1 else None,
            against.get(key),
        )
        for key, group in groups.items()
    ]


def _difference(group: Sequence[Member], first: Sequence[Member]) -> PairedDifference | None:
    """By the seeds that both have."""
    ours, theirs = (_by_seed(members) for members in (group, first))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    mine, its = ([members[seed].bpc for seed in seeds] for members in (ours, theirs))
    return paired_difference(mine, its, np.array([ours[seed].stretches - theirs[seed].stretches for seed in seeds]))


def _by_seed(members: Sequence[Member]) -> Mapping[int, Member]:
    return {member.seed: member for member in members}
