"""Several checkpoints on the same text: bits per character, and whether a difference is more than chance.

Each checkpoint is evaluated in the same way, in float32, however it was trained, either on the validation and the test
split of the corpus that all were trained on, or on a text file that all can read. The first is the one that the others
are compared with, in `Pair`s; a difference is theirs minus its, so below 0 theirs is better.

What they are evaluated on, and whether they can be, is the matter of passages.py.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnbptt.errors import UserError
from rnnbptt.inference.evaluation import LN2, STRETCH, remarks
from rnnbptt.study.bootstrap import SHORTEST_TEXT, Interval, paired_interval
from rnnbptt.study.contexts import ContextLoss, context_bpc, spread_targets
from rnnbptt.study.entries import Entry, load_entries
from rnnbptt.study.grouping import Group, Member, grouped
from rnnbptt.study.passages import Nats, Passage, Split, open_splits, open_text
from rnnbptt.study.race.differences import stretches_of
from rnnbptt.study.results import Comparison, Pair, Row, Score, Yardstick
from rnnbptt.study.yardsticks import yardsticks
from rnnbptt.text.reading import Tell
from rnnbptt.training.checkpoint import Checkpoint

CONTEXTS = (1, 4, 16, 64, 256)  # characters that a model is given
LEVEL = 0.95  # with which all the intervals of one text hold together


def compare(
    paths: Sequence[Path],
    text: Path | None = None,
    tell: Tell = lambda done, total: None,
    skip_unknown: bool = False,
    contexts: bool = False,
) -> Comparison:
    """Evaluate checkpoints (run folders or files) on `text`, or else on the splits of their corpus.

    `tell` is told the characters scored so far, over all checkpoints and texts, and how many there will be. With
    `skip_unknown` all read the text without the characters that one of them has no symbol for. With `contexts` the last
    split is also read with only so many characters before each.

    UserError: fewer than 2 checkpoints; one that cannot be loaded; without `text`, checkpoints of different corpora or
    splits, or a corpus that is gone; with it, a text that cannot be read, or not by all of them.
    """
    if len(paths) < 2:
        raise UserError(
            f"checkpoints to compare: {len(paths)}; give at least 2 run folders (such as runs/NAME) or .safetensors "
            "files, the one to compare the others with first"
        )
    entries = load_entries(paths)
    passages, notes = open_splits(entries) if text is None else open_text(text, entries, skip_unknown)
    scores, pairs, groups = _measure(entries, passages, tell)
    by_context = [losses_by_context(entry.checkpoint, passages[-1]) if contexts else () for entry in entries]
    return Comparison(
        splits=tuple(passage.name for passage in passages),
        rows=tuple(map(_row, entries, scores, by_context)),
        pairs=tuple(pairs),
        groups=tuple(groups),
        yardsticks=tuple(_yardsticks(passages)),
        warnings=tuple(filter(None, (_unfairness(entries[0], other) for other in entries[1:]))),
        notes=(*notes, *_remarks(entries, scores), *_notes(pairs, entries)),
    )


def _yardsticks(passages: Sequence[Passage]) -> Iterator[Yardstick]:
    """Of each split: a foreign text has no training text of its own to count."""
    for passage in passages:
        if isinstance(passage, Split):
            yield from yardsticks(passage.corpus, passage.name)


def _measure(
    entries: Sequence[Entry], passages: Sequence[Passage], tell: Tell
) -> tuple[list[list[Score]], list[Pair], list[Group]]:
    """The scores of each entry, one a passage, the pairs and the groups. Keeps the losses of two checkpoints at a time,
    and a number a stretch of all.
    """
    scores: list[list[Score]] = [[] for _ in entries]
    pairs: list[Pair] = []
    groups: list[Group] = []
    done, total = 0, sum(passage.characters for passage in passages) * len(entries)
    first, *others = entries
    for passage in passages:
        members: list[Member] = []
        for entry, own_scores in zip(entries, scores, strict=True):
            nats, settled = passage.nats(entry.checkpoint)
            own_scores.append(_score(passage, nats, settled, entry))
            members.append(_member(entry, nats / LN2))
            if entry is first:
                baseline = nats
            else:
                pairs.append(_pair(passage.name, first, entry, (nats - baseline) / LN2, len(others)))
            done += passage.characters
            tell(done, total)
        groups += grouped(passage.name, members)
    return scores, pairs, groups


def _member(entry: Entry, bits: Nats) -> Member:
    """What groups are made of: those that differ in the seed alone have the same settings."""
    settings, train = _settings(entry), entry.checkpoint.document.train
    key = (entry.corpus.fingerprint, *((name, value) for name, value in settings.items() if name != "seed"))
    return Member(key, train.trunc, entry.name, train.seed, float(bits.mean()), stretches_of(bits))


def losses_by_context(checkpoint: Checkpoint, passage: Passage) -> tuple[ContextLoss, ...]:
    """Of a split; UserError for a foreign text, and where so few characters are before the end of the split."""
    if not isinstance(passage, Split):
        raise UserError("--contexts: of the splits of the corpus alone; leave out --text, or it")
    model, ids = checkpoint.build_model("float32"), passage.corpus.ids
    first = max(passage.start, CONTEXTS[-1])
    targets = spread_targets(passage.corpus, first, passage.stop)
    if not len(targets):
        raise UserError(
            f"--contexts: the {passage.name} split has nothing to score from character {first + 1} on; leave it out"
        )
    return tuple(ContextLoss(n, context_bpc(model, ids, targets, n)) for n in CONTEXTS)


def _score(passage: Passage, nats: Nats, settled: bool, entry: Entry) -> Score:
    mean = float(nats.mean())
    if not math.isfinite(mean):
        raise UserError(
            f"{entry.checkpoint.path}: its loss is not a finite number, so its weights are damaged; "
            "leave it out, or give an earlier checkpoint of that run"
        )
    perplexity = math.exp(mean) if mean < 700 else math.inf  # beyond, the exponential overflows
    stretches = np.bincount(passage.places // STRETCH, nats).astype(np.float64)
    return Score(
        passage.name,
        len(nats),
        mean / LN2,
        perplexity,
        tuple(remarks(mean, stretches, settled, entry.checkpoint.document.model.vocabulary)),
    )


def _row(entry: Entry, scores: Iterable[Score], contexts: tuple[ContextLoss, ...]) -> Row:
    document = entry.checkpoint.document
    axes = document.standing.axes
    return Row(
        name=entry.name,
        path=entry.checkpoint.path,
        trunc=document.train.trunc,
        cell=document.model.cell,
        parameters=sum(tensor.numel() for tensor in entry.checkpoint.group("model").values()),
        chars=axes.chars,
        updates=axes.updates,
        seconds=axes.seconds,
        characters_per_second=axes.chars / axes.seconds if axes.seconds else None,
        scores=tuple(scores),
        curve=entry.curve,
        contexts=contexts,
    )


def _pair(split: str, first: Entry, second: Entry, differences: Nats, comparisons: int) -> Pair:
    """`differences` (n,) are second minus first, bits, at each character.

    Bonferroni: with the level raised for the number of comparisons with the first, all of them hold at once with 95 %.
    """
    difference = float(differences.mean())
    interval = paired_interval(differences, 1 - (1 - LEVEL) / comparisons)
    said = verdict(first.name, second.name, difference, interval, len(differences))
    return Pair(split, first.name, second.name, difference, interval, said)


def verdict(first: str, second: str, difference: float, interval: Interval | None, characters: int) -> str:
    """What a difference (second minus first, bits per character) on so many characters amounts to."""
    better = second if difference < 0 else first
    if interval is None:
        measured = f"{better} is ahead by {abs(difference):.3f} bits per character" if difference else "no difference"
        return f"text too short to tell ({measured} on {characters:,} characters)"
    half, digits = interval.half_width, interval.digits
    if interval.shows(difference):
        return f"{better} is better by {abs(difference):.{digits}f} ± {half:.{digits}f} bits per character"
    return f"no difference shown ({difference:z.{digits}f} ± {half:.{digits}f} bits per character)"


# --- what is not fair -------------------------------------------------------------------------------------------------


def _unfairness(first: Entry, second: Entry) -> str:
    """What two checkpoints differ in beside their truncation and their seed, by which the luck of training is seen;
    empty when it is nothing.
    """
    ours, theirs = _settings(first), _settings(second)
    differing = {
        name: f"{name.replace('_', ' ')} {value} / {theirs[name]}"
        for name, value in ours.items()
        if value != theirs[name]
    }
    if first.corpus.fingerprint != second.corpus.fingerprint:
        differing["corpus"] = f"corpus {first.corpus.path} / {second.corpus.path}"
    differing.pop("seed", "")
    if not differing.keys() - {"trunc"}:
        return ""
    verb = "differ in more than truncation" if differing.pop("trunc", "") else "have the same truncation and differ in"
    return f"{first.name} and {second.name} {verb}: {', '.join(differing.values())}"


def _settings(entry: Entry) -> dict[str, str]:
    """What was chosen for its training and model, as it is shown."""
    document = entry.checkpoint.document
    start, stop = entry.corpus.splits["train"]
    settings = document.settings() | {"engine": document.engine}
    settings |= {"training characters": stop - start, "characters seen": entry.budget_spent}
    settings["initial weights"] = document.initial.path if document.initial else "fresh"
    return {name: _shown(value) for name, value in settings.items()}


def _shown(value: Any) -> str:
    return f"{value:,.0f}" if type(value) in (int, float) and value % 1 == 0 else str(value)


# --- what a reader has to know ----------------------------------------------------------------------------------------


def _remarks(entries: Sequence[Entry], scores: Sequence[Sequence[Score]]) -> list[str]:
    """Those of each score, with whose it is."""
    owned = [(entry, score) for entry, own in zip(entries, scores, strict=True) for score in own]
    return [f"{entry.name}, {score.split}: {remark}." for entry, score in owned for remark in score.remarks]


def _notes(pairs: Sequence[Pair], entries: Sequence[Entry]) -> list[str]:
    """What the intervals mean, and where to be careful."""
    notes = []
    intervals = [(pair.split, pair.interval) for pair in pairs if pair.interval]
    if intervals:
        notes.append(
            "The intervals (95 %, paired block bootstrap) cover other text like this passage, not all of the book: "
            "another part of it can move the difference 2 to 4 times as far. They do not cover the randomness of "
            "training: to compare ways of training, train several seeds of each."
        )
        if len(entries) > 2:
            notes.append(
                f"{len(entries) - 1} checkpoints are compared with {entries[0].name}, so each interval has the level "
                f"{100 * intervals[0][1].level:.4g} % (Bonferroni): on each text, all hold together with 95 %."
            )
    unsure = "too short a text to rule out that longer blocks of it would widen some of its intervals."
    short = f"too short a text for an interval, which takes {SHORTEST_TEXT:,} characters or more."
    of_texts = [f"{split}: {unsure}" for split, interval in intervals if not interval.flat]
    of_texts += [f"{pair.split}: {short}" for pair in pairs if not pair.interval]
    return [*notes, *dict.fromkeys(of_texts)]  # each once
