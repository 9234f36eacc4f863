"""Claims that are fixed before a race, and what it says of them: held, not held, or not shown.

    [[claim]]
    says = "Updating after every character learns faster at the start."
    rule = "reaches"
    first = "1"
    second = "64"
    bpc = 3.0
    axis = "chars"

`first` and `second` are contestants, by their labels. The rules:

reaches    first comes down to `bpc` bits per character of validation text sooner than second, on the axis
ends       first is better than second on the test text
overtakes  first is ahead of second at the end of the axis, and was behind before

The first two are held or not where the sign-flip test over the seeds, corrected for the number of such claims (Holm),
has p of 0.05 at most; and `ends` only where its interval leaves out 0, at the level that so many take, and it is
further from 0 than A/A. The third is held where the crossing has an interval with two ends, and not held where second
is ahead at the end by more than the luck of the seeds.
"""

import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from rnnbptt.errors import UserError, check_file
from rnnbptt.study.race.crossings import apart_at_end, find_crossing, reach
from rnnbptt.study.race.differences import PairedDifference, paired_difference
from rnnbptt.study.race.pairing import Pairs, difference_of, pairs_of
from rnnbptt.study.race.reading import Examined
from rnnbptt.study.race.results import Judgement, Word
from rnnbptt.study.race.seeds import ALPHA, too_few
from rnnbptt.study.race.signflip import direction, holm
from rnnbptt.study.race.varied import as_labelled
from rnnbptt.study.race.verdicts import verdict_of

Axis = Literal["chars", "updates", "seconds", "flops"]


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See above; `bpc` is for "reaches" alone, and `axis` for all but "ends"."""

    says: str
    rule: Literal["reaches", "ends", "overtakes"]
    first: str
    second: str
    bpc: float | None = None
    axis: Axis | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    claim: list[Claim]


def load_claims(path: Path, labels: Sequence[str]) -> list[Claim]:
    """Those in a TOML file; UserError for anything else, and where one is of something that is not raced."""
    check_file(path, f"--claim {path}", "give a file of claims")
    try:
        claims = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).claim
    except (ValueError, OSError) as error:  # of TOML, of UTF-8, of msgspec
        raise UserError(f"--claim {path}: {' '.join(str(error).split())}") from None
    if not claims:
        raise UserError(f"--claim {path}: holds no claim; give one, as [[claim]]")
    claims = [
        msgspec.structs.replace(claim, first=as_labelled(claim.first, labels), second=as_labelled(claim.second, labels))
        for claim in claims
    ]
    for claim in claims:
        _check(claim, f"--claim {path}: {claim.says!r}", labels)
    return claims


def _check(claim: Claim, given: str, labels: Sequence[str]) -> None:
    for label in (claim.first, claim.second):
        if label not in labels:
            raise UserError(f"{given} is of {label!r}, which is not raced; give one of {', '.join(labels)}")
    if claim.first == claim.second:
        raise UserError(f"{given} is of {claim.first!r} and itself; give two of {', '.join(labels)}")
    if claim.bpc is not None and not 0 < claim.bpc < 64:
        raise UserError(f"{given} has bpc {claim.bpc:g}; give a number above 0 and below 64")
    wanted = {"reaches": {"bpc", "axis"}, "ends": set(), "overtakes": {"axis"}}[claim.rule]
    has = {name for name in ("bpc", "axis") if getattr(claim, name) is not None}
    for name in sorted(wanted - has):
        raise UserError(f"{given} lacks {name}, which the rule {claim.rule!r} takes")
    for name in sorted(has - wanted):
        raise UserError(f"{given} has {name}, which the rule {claim.rule!r} does not take; leave it out")


def remarks(claims: Sequence[Claim], seeds: int) -> Iterator[str]:
    """What a race with so many seeds cannot say of them."""
    if tested := sum(claim.rule in TESTED for claim in claims):
        yield from too_few(seeds, tested, "a claim", "claim")


def judge(claims: Sequence[Claim], field: Mapping[str, Sequence[Examined]], same: PairedDifference) -> list[Judgement]:
    """Of a race with these runs, by label; `same` is A/A. UserError where two have no seed in common."""
    found = [_look_into(claim, field) for claim in claims]
    tested = [number for number, each in enumerate(found) if each.difference]
    ps = holm([each.difference.p for each in found if each.difference])
    alpha = ALPHA / max(1, len(ps))
    corrected = dict(zip(tested, ps, strict=True))
    return [
        _judgement(claim, each, corrected.get(number), alpha, same)
        for number, (claim, each) in enumerate(zip(claims, found, strict=True))
    ]


@dataclass(frozen=True)
class _Found:
    """What decides: a difference, below 0 where the claim is right, and whether an interval and A/A are asked of it; or
    a word that is settled already.
    """

    figures: str
    difference: PairedDifference | None = None
    of_text: bool = False
    word: Word = "not shown"


def _judgement(claim: Claim, found: _Found, p: float | None, alpha: float, same: PairedDifference) -> Judgement:
    if not found.difference or p is None:
        return Judgement(claim.says, found.word, found.figures)
    towards = direction(found.difference.differences)
    shown, ahead = p <= ALPHA and towards * found.difference.median >= 0, towards < 0
    if found.of_text:
        verdict = verdict_of(found.difference, p, alpha, same)
        shown, ahead = not verdict.lacks, verdict.word == "better"
    word: Word = ("held" if ahead else "not held") if shown else "not shown"
    return Judgement(claim.says, word, f"{found.figures}; p = {p:.3g}")


def _look_into(claim: Claim, field: Mapping[str, Sequence[Examined]]) -> _Found:
    for label in (claim.first, claim.second):
        if label not in field:
            return _Found(f"no run of {label} has come to its end")
    return RULES[claim.rule](claim, pairs_of(field[claim.first], field[claim.second]))


def _reaches(claim: Claim, pairs: Pairs) -> _Found:
    """By the logarithms of the places: a run that takes twice as long is as far behind as one of half is ahead."""
    axis, bpc = claim.axis or "chars", claim.bpc or 0.0
    first, second = ([each.curve(axis) for each in runs] for runs in zip(*pairs, strict=True))
    ours, theirs = reach(first, bpc), reach(second, bpc)
    times = [[math.inf if place is None else math.log(place) for place in each.places] for each in (ours, theirs)]
    words = (
        f"{label} in {'-' if each.median is None else _number(each.median)} ({each.count} of {len(pairs)} runs)"
        for label, each in ((claim.first, ours), (claim.second, theirs))
    )
    return _Found(f"{axis} until {bpc:g}: {', '.join(words)}", paired_difference(times[0], times[1], np.empty((0, 0))))


def _ends(claim: Claim, pairs: Pairs) -> _Found:
    apart = difference_of(pairs)
    if apart.mean is None:
        return _Found(f"{apart.diverged} and {apart.reference_diverged} runs diverged", apart, of_text=True)
    half = f" ± {apart.mean - apart.interval.low:.3f}" if apart.interval else ""
    return _Found(f"{apart.mean:+z.3f}{half} bits per character", apart, of_text=True)


def _overtakes(claim: Claim, pairs: Pairs) -> _Found:
    axis = claim.axis or "chars"
    first, second = ([each.curve(axis) for each in runs] for runs in zip(*pairs, strict=True))
    ahead = find_crossing(second, first)
    if ahead and ahead.at is not None:
        low, high = ("open" if end is None else _number(end) for end in (ahead.low, ahead.high))
        closed = ahead.low is not None and ahead.high is not None
        return _Found(f"at {_number(ahead.at)} {axis} [{low} to {high}]", word="held" if closed else "not shown")
    end = apart_at_end(first, second)
    shown = end is not None and end[1] < 0
    return _Found(f"{claim.first} does not overtake {claim.second}", word="not held" if shown else "not shown")


def _number(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e9 else f"{value:.3g}"


TESTED = ("reaches", "ends")
RULES: dict[str, Callable[[Claim, Pairs], _Found]] = {"reaches": _reaches, "ends": _ends, "overtakes": _overtakes}
