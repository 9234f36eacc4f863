"""From the finished runs of a race to what they show.

Test figures are those of the checkpoint that each run's validations chose. Every strategy is compared with the first,
the reference, seed by seed; so is the reference with itself, by other seeds (A/A), and what that shows is luck.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

from rnnbptt.errors import UserError
from rnnbptt.study.race.claims import Claim, judge
from rnnbptt.study.race.crossings import find_crossing, reach
from rnnbptt.study.race.differences import BLOCKS, PairedDifference
from rnnbptt.study.race.pairing import common_seeds, difference_of, pairs_of
from rnnbptt.study.race.reading import Entrant, Examined, examine
from rnnbptt.study.race.results import AXES, Contestant, Overtaking, RaceResult, Spread, Threshold
from rnnbptt.study.race.seeds import least_p, seeds_needed
from rnnbptt.study.race.verdicts import Against, verdicts
from rnnbptt.study.results import Yardstick
from rnnbptt.study.yardsticks import yardsticks
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.reading import Tell


def conclude(
    entrants: Sequence[Entrant],
    again: Entrant,
    corpus: Corpus,
    thresholds: Sequence[float] = (),
    claims: Sequence[Claim] = (),
    tell: Tell = lambda done, total: None,
) -> RaceResult:
    """What the runs of the entrants, the reference first, and of the reference again, by other seeds, show on the test
    split, or the validation split where that is empty. `tell` hears of the runs that are read.

    Thresholds are in bits per character; without any, the mean of the reference's best validations is one. UserError
    where neither split has anything to predict, a file of a run cannot be read, or there is no pair to compare.
    """
    split = test_split(corpus)
    racing, lost = _with_runs(entrants)
    if not again.runs:
        raise UserError(f"none of the runs of {again.label} has come to its end; there is nothing to tell luck by")
    field, examined_again = _examine_all(racing, again, corpus, split, tell)
    of_reference = next(iter(field.values()))
    same = difference_of(pairs_of(_renumbered(examined_again, of_reference), of_reference))
    contestants = _contestants(field, same)
    characters = examined_characters(corpus, split)
    return RaceResult(
        text=_title(corpus),
        split=split,
        characters=characters,
        contestants=contestants,
        again=replace(_contestant(again.label, examined_again), against=Against(same, verdicts([same], None)[0])),
        overtakings=tuple(_overtakings(field)),
        thresholds=tuple(_thresholds(field, thresholds or _own_threshold(contestants[0]))),
        judgements=tuple(judge(claims, field, same)),
        yardsticks=tuple(_yardsticks(corpus, split)),
        notes=(*lost, *corpus.task_notes(), *_notes(contestants, split, characters)),
    )


def _with_runs(entrants: Sequence[Entrant]) -> tuple[list[Entrant], list[str]]:
    """Those of which anything is known, and what is said of the others."""
    racing = [entrant for entrant in entrants if entrant.runs]
    lost = [
        f"{entrant.label} is left out: none of its runs has come to its end."
        for entrant in entrants
        if not entrant.runs
    ]
    if len(racing) < 2 or racing[0] is not entrants[0]:
        raise UserError(f"{lost[0].removesuffix('.')}; nothing can be compared")
    return racing, lost


def _title(corpus: Corpus) -> str:
    """The name of the text, of the first where it was joined of several."""
    first, *others = (Path(source.name).name for source in corpus.sources)
    return f"{first} and {len(others)} more" if others else first


def _contestants(field: Mapping[str, Sequence[Examined]], same: PairedDifference) -> tuple[Contestant, ...]:
    """Each with what it has shown; those after the first against it."""
    reference, *others = (_contestant(label, runs) for label, runs in field.items())
    of_reference, *of_others = field.values()
    differences = [difference_of(pairs_of(runs, of_reference)) for runs in of_others]
    against = map(Against, differences, verdicts(differences, same))
    return (reference, *(replace(other, against=found) for other, found in zip(others, against, strict=True)))


def _yardsticks(corpus: Corpus, split: str) -> Iterator[Yardstick]:
    """Of the validation split, which curves are of, and of the one that decides."""
    for name in dict.fromkeys(("valid", split)):
        if examined_characters(corpus, name) > 0:
            yield from yardsticks(corpus, name)


def test_split(corpus: Corpus) -> str:
    """The split that decides: the test split, or the validation split where that is empty."""
    for name in ("test", "valid"):
        if examined_characters(corpus, name) > 0:
            return name
    advice = "prepare it with a --split that has a test part"
    raise UserError(f"{corpus.path}: no test and no validation part to decide a race on; {advice}")


def examined_characters(corpus: Corpus, split: str) -> int:
    """Characters of a split that are scored: see `Corpus`."""
    return corpus.count_scored(*corpus.splits[split])


def _examine_all(
    entrants: Sequence[Entrant], again: Entrant, corpus: Corpus, split: str, tell: Tell
) -> tuple[dict[str, list[Examined]], list[Examined]]:
    """All runs, by label, and those of the reference again."""
    total, done = sum(len(entrant.runs) for entrant in (*entrants, again)), 0
    examined: list[list[Examined]] = []
    for entrant in (*entrants, again):
        examined.append([])
        for run in entrant.runs:
            examined[-1].append(examine(run, corpus, split))
            done += 1
            tell(done, total)
    return dict(zip((entrant.label for entrant in entrants), examined, strict=False)), examined[-1]


def _contestant(label: str, runs: Sequence[Examined]) -> Contestant:
    plain = tuple(each.run for each in runs)
    curves = [run.bpc for run in plain if not run.diverged]
    cost = {axis: statistics.fmean(run.cost[axis] for run in plain) if plain else 0.0 for axis in AXES}
    every = len(curves) == len(plain)
    return Contestant(
        label,
        plain,
        last=_spread([bpc[-1] for bpc in curves], every),
        best=_spread([min(bpc) for bpc in curves], every),
        test=_spread([run.test for run in plain], every),
        cost=cost,
    )


def _spread(values: Sequence[float], every: bool) -> Spread:
    if not (every and values):
        return Spread(None, None)
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _renumbered(again: Sequence[Examined], reference: Sequence[Examined]) -> list[Examined]:
    """Each run of other seeds with the seed of one of the reference's, in their order, to make pairs of them."""
    pairs = zip(again, reference, strict=False)
    return [replace(mine, run=replace(mine.run, seed=its.run.seed)) for mine, its in pairs]


def _overtakings(field: Mapping[str, Sequence[Examined]]) -> Iterator[Overtaking]:
    """Of each two strategies, on each axis."""
    for axis, ends in product(AXES, combinations(field, 2)):
        for first, second in (ends, ends[::-1]):
            pairs = common_seeds(field[first], field[second])
            curves = [(one.curve(axis), other.curve(axis)) for one, other in pairs]
            crossing = find_crossing([one for one, _ in curves], [other for _, other in curves])
            if crossing and crossing.at is not None:
                yield Overtaking(first, second, axis, crossing)


def _notes(contestants: Sequence[Contestant], split: str, characters: int) -> Iterator[str]:
    """What the figures mean, and where to be careful."""
    others = contestants[1:]
    few, needed = max(len(each.runs) for each in contestants), seeds_needed(len(others))
    if few < needed:
        yield (
            f"Seeds: {few}. No p is below {least_p(few):.3g} then, and nothing can be shown;"
            f" with {len(others)} to compare with the first it takes {needed} seeds."
        )
    if split == "valid":
        yield "There is no test split: figures are of the validation split, which chose the checkpoints."
    if characters < BLOCKS:
        yield f"{characters:,} characters of {split} text are too few for an interval."
    elif any(each.against and each.against.difference.interval for each in others):
        yield (
            "The intervals (95 %) cover the luck of training and other text like this passage, not all of the book:"
            " another part of it can move a difference 2 to 4 times as far as the passage's own share."
        )
    for each in contestants:
        if each.diverged:
            yield f"{each.label}: {each.diverged} of {len(each.runs)} runs diverged, and count as worse than any other."


def _own_threshold(reference: Contestant) -> Sequence[float]:
    return [] if reference.best.mean is None else [reference.best.mean]


def _thresholds(field: Mapping[str, Sequence[Examined]], thresholds: Sequence[float]) -> list[Threshold]:
    return [
        Threshold(label, bpc, {axis: reach([each.curve(axis) for each in runs], bpc) for axis in AXES})
        for bpc in thresholds
        for label, runs in field.items()
    ]
