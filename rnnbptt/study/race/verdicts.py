"""What the difference of a contestant to the reference amounts to, in one word and with the reasons.

A/A is the reference against itself with other seeds: its true difference is none, so what it shows is luck.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rnnbptt.study.race.differences import PairedDifference
from rnnbptt.study.race.seeds import ALPHA
from rnnbptt.study.race.signflip import direction, holm

Word = Literal["better", "worse", "no difference shown"]
# Why a difference is not shown: the sign-flip test, its interval, no interval to go by, what luck alone made, or that
# its median points elsewhere than the sum of ranks that was tested.
Lack = Literal["p", "interval", "no interval", "A/A", "median"]


@dataclass(frozen=True)
class Verdict:
    """Of a contestant against the reference.

    word   what is shown
    p      of the sign-flip test, corrected for the number of contestants (Holm)
    lacks  all that a shown difference would need and this one has not; empty when it is shown
    """

    word: Word
    p: float
    lacks: tuple[Lack, ...]


@dataclass(frozen=True)
class Against:
    """A difference to the reference on the test text, and what it amounts to."""

    difference: PairedDifference
    verdict: Verdict


def verdicts(differences: Sequence[PairedDifference], same: PairedDifference | None) -> list[Verdict]:
    """One for each of m contestants, in their order; `same` is A/A, None without one. A/A's own is that of it alone.

    A difference is shown when all of these hold, and then its sign says which is better:
    - p of the sign-flip test, corrected for their number (Holm), is at most 0.05;
    - its interval leaves out 0, at the level 1 - 0.05 / m (Bonferroni), with which those of all m hold together: the
      test knows only of the seeds' luck, this of the text's too. Where a run diverged there is none, nor is it asked;
    - its mean is further from 0 than the mean of A/A. Where a run of either diverged, medians take their place.
    """
    corrected = holm([difference.p for difference in differences])
    alpha = ALPHA / max(1, len(differences))
    return [verdict_of(difference, p, alpha, same) for difference, p in zip(differences, corrected, strict=True)]


def verdict_of(difference: PairedDifference, p: float, alpha: float, same: PairedDifference | None) -> Verdict:
    """Of one that is among others: p is corrected for them, and its interval is asked at the level 1 - alpha."""
    centre, luck = difference.median, same.median if same else 0.0
    if difference.mean is not None and (same is None or same.mean is not None):
        centre, luck = difference.mean, same.mean if same and same.mean is not None else 0.0
    lacks: list[Lack] = []
    if p > ALPHA:
        lacks.append("p")
    if difference.mean is not None and not difference.interval:
        lacks.append("no interval")
    if difference.interval and difference.interval.holds_zero(1 - alpha):
        lacks.append("interval")
    if not abs(centre) > abs(luck):  # so also where either is not a number, half of its runs diverged to either side
        lacks.append("A/A")
    towards = direction(difference.differences)
    if centre * towards < 0:
        lacks.append("median")
    word: Word = "no difference shown" if lacks else "better" if towards < 0 else "worse"
    return Verdict(word, p, tuple(lacks))
