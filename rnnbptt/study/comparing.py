"""Several checkpoints on the same text: bits per character, and whether a difference is more than chance.

Each checkpoint is evaluated in the same way, in float32, however it was trained, either on the validation and the test
split of the corpus that all were trained on, or on a text file that all can read. The first is the one that the others
are compared with, in `Pair`s; a difference is theirs minus its, so below 0 theirs is better.

What they are evaluated on, and whether they can be, is the matter of passages.py.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from rnnbptt.errors import UserError
from rnnbptt.inference.evaluation import LN2
from rnnbptt.study.bootstrap import SHORTEST_TEXT, Interval, paired_interval
from rnnbptt.study.passages import Entry, Nats, Passage, open_splits, open_text
from rnnbptt.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint

LEVEL = 0.95  # with which all the intervals of one text hold together

Progress = Callable[[int, int], None]

# --- the result -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """The validations of a run, from its metrics.jsonl; `split` is "train" where the validation split is empty.

    chars, updates and seconds (of training) are where each validation was made, bpc its bits per character.
    """

    split: str
    chars: tuple[int, ...]
    updates: tuple[int, ...]
    seconds: tuple[float, ...]
    bpc: tuple[float, ...]


@dataclass(frozen=True)
class Score:
    """The loss on one text: `characters` were scored; bits per character, and perplexity per character (2^bpc)."""

    split: str
    characters: int
    bpc: float
    perplexity: float


@dataclass(frozen=True)
class Row:
    """One checkpoint.

    name                   short, and no other row has it
    chars, updates         of training, up to this checkpoint
    seconds                of training alone, on whatever machine that was
    characters_per_second  None where nothing was trained
    scores                 one for each text, in the order of `Comparison.splits`
    curve                  None without a metrics.jsonl of the checkpoint's own run beside it
    """

    name: str
    path: Path
    trunc: str
    cell: str
    parameters: int
    chars: int
    updates: int
    seconds: float
    characters_per_second: float | None
    scores: tuple[Score, ...]
    curve: Curve | None


@dataclass(frozen=True)
class Pair:
    """A checkpoint against the first one on one text: `difference` is second minus first, bits per character.

    `interval` is that of the difference, None for a text too short for one; `verdict` says it in plain words.
    """

    split: str
    first: str
    second: str
    difference: float
    interval: Interval | None
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. Pairs are in the order of splits, then of rows."""

    splits: tuple[str, ...]
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


# --- the comparison ---------------------------------------------------------------------------------------------------


def compare(paths: Sequence[Path], text: Path | None = None, progress: Progress | None = None) -> Comparison:
    """Evaluate checkpoints (run folders or files) on `text`, or else on the splits of their corpus.

    `progress` is told the characters scored so far, over all checkpoints and texts, and how many there will be.

    UserError: fewer than 2 checkpoints; one that cannot be loaded; without `text`, checkpoints of different corpora or
    splits, or a corpus that is gone; with it, a text that cannot be read, or not by all of them.
    """
    if len(paths) < 2:
        raise UserError(
            f"checkpoints to compare: {len(paths)}; give at least 2 run folders (such as runs/NAME) or .safetensors "
            "files, the one to compare the others with first"
        )
    runs = _load(paths)
    passages, notes = open_splits(runs) if text is None else open_text(text, runs)
    scores, pairs = _measure(runs, passages, progress)
    return Comparison(
        splits=tuple(passage.name for passage in passages),
        rows=tuple(map(_row, runs, scores)),
        pairs=tuple(pairs),
        warnings=tuple(filter(None, (_unfairness(runs[0], other) for other in runs[1:]))),
        notes=(*notes, *_notes(pairs, runs)),
    )


def _measure(
    entries: Sequence[Entry], passages: Sequence[Passage], progress: Progress | None
) -> tuple[list[list[Score]], list[Pair]]:
    """The scores of each entry, one a passage, and the pairs. Keeps the losses of two checkpoints at a time."""
    scores: list[list[Score]] = [[] for _ in entries]
    pairs: list[Pair] = []
    done, total = 0, sum(passage.characters for passage in passages) * len(entries)
    first, *others = entries
    for passage in passages:
        baseline = np.empty(0)
        for entry, own_scores in zip(entries, scores, strict=True):
            nats = passage.nats(entry.checkpoint)
            own_scores.append(_score(passage.name, nats, entry))
            if entry is first:
                baseline = nats
            else:
                pairs.append(_pair(passage.name, first, entry, (nats - baseline) / LN2, len(others)))
            done += passage.characters
            if progress:
                progress(done, total)
    return scores, pairs


def _score(split: str, nats: Nats, entry: Entry) -> Score:
    mean = float(nats.mean())
    if not math.isfinite(mean):
        raise UserError(
            f"{entry.checkpoint.path}: its loss is not a finite number, so its weights are damaged; "
            "leave it out, or give an earlier checkpoint of that run"
        )
    perplexity = math.exp(mean) if mean < 700 else math.inf  # beyond, the exponential overflows
    return Score(split, len(nats), mean / LN2, perplexity)


def _row(run: _Run, scores: Iterable[Score]) -> Row:
    document = run.checkpoint.document
    axes = document.standing.axes
    return Row(
        name=run.name,
        path=run.checkpoint.path,
        trunc=document.train.trunc,
        cell=document.model.cell,
        parameters=sum(tensor.numel() for tensor in run.checkpoint.group("model").values()),
        chars=axes.chars,
        updates=axes.updates,
        seconds=axes.seconds,
        characters_per_second=axes.chars / axes.seconds if axes.seconds else None,
        scores=tuple(scores),
        curve=run.curve,
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
    half = interval.half_width
    digits = 3 if half >= 0.001 or not half else min(9, -math.floor(math.log10(half)))  # at least one of the half-width
    if abs(difference) > half:
        return f"{better} is better by {abs(difference):.{digits}f} ± {half:.{digits}f} bits per character"
    return f"no difference shown ({difference:z.{digits}f} ± {half:.{digits}f} bits per character)"


# --- the checkpoints --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Run(Entry):
    """A checkpoint that takes part, and the curve of its run."""

    curve: Curve | None

    @property
    def budget_spent(self) -> int:
        """Characters of training that went into it: for the best of a run, all that the run had to choose from."""
        if self.curve and self.checkpoint.path.name == "best.safetensors":
            return self.curve.chars[-1]
        return self.checkpoint.document.standing.axes.chars


def _load(paths: Sequence[Path]) -> list[_Run]:
    checkpoints = [load_checkpoint(find_checkpoint(path)) for path in paths]
    return [
        _Run(name, checkpoint, _read_curve(checkpoint))
        for name, checkpoint in zip(_short_names(paths), checkpoints, strict=True)
    ]


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, as many more as tell it from the others, and a number where nothing does."""
    absolute = [Path(os.path.abspath(path)) for path in paths]  # not resolved: a link keeps the name it was given
    parts = [path.parts if path.is_dir() else path.with_suffix("").parts for path in absolute]
    names: list[str] = []
    for own in parts:
        others = set(parts) - {own}
        depth = next(d for d in count(1) if not any(own[-d:] == other[-d:] for other in others))
        name = str(Path(*own[-depth:]))
        numbered = (f"{name} ({i})" for i in count(2))
        while name in names:
            name = next(numbered)
        names.append(name)
    return names


def _read_curve(checkpoint: Checkpoint) -> Curve | None:
    """The curve beside a checkpoint, None where there is none or it is of another run."""
    own = checkpoint.document.standing.validations
    try:
        lines = (checkpoint.path.parent / "metrics.jsonl").read_text("utf-8").splitlines(keepends=True)
        # A run that is going on, or was cut off, may have left half a line at the end.
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        evals = [record for record in records if record["kind"] == "eval" and record["nats"] is not None]
        same_run = [record["nats"] for record in evals[: len(own.nats)]] == own.nats
        axes = {axis: tuple(record[axis] for record in evals) for axis in ("chars", "updates", "seconds", "bpc")}
        return Curve(split=evals[-1]["split"], **axes) if evals and same_run else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unfairness(first: _Run, second: _Run) -> str:
    """What two checkpoints differ in beside their truncation; empty when it is nothing."""
    ours, theirs = _settings(first), _settings(second)
    trunc = ours.pop("trunc"), theirs.pop("trunc")
    differing = [
        f"{name.replace('_', ' ')} {ours.get(name, 'unknown')} / {theirs.get(name, 'unknown')}"
        for name in ours | theirs
        if ours.get(name) != theirs.get(name)
    ]
    if first.corpus.fingerprint != second.corpus.fingerprint:
        differing.append(f"corpus {first.corpus.path} / {second.corpus.path}")
    if not differing:
        return ""
    verb = "differ in more than truncation" if trunc[0] != trunc[1] else "have the same truncation and differ in"
    return f"{first.name} and {second.name} {verb}: {', '.join(differing)}"


def _settings(run: _Run) -> dict[str, str]:
    """What was chosen for its training and model, as it is shown."""
    document = run.checkpoint.document
    start, stop = run.corpus.splits["train"]
    settings = asdict(document.train) | asdict(document.model) | {"precision": document.precision}
    settings |= {"training characters": stop - start, "characters seen": run.budget_spent}
    return {name: _shown(value) for name, value in settings.items()}


def _shown(value: Any) -> str:
    if isinstance(value, dict):  # the budget: its unit and amount
        return f"{_shown(value['amount'])} {value['unit']}"
    if isinstance(value, float) and not value.is_integer():
        return repr(value)
    return f"{value:,.0f}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


# --- what a reader has to know ----------------------------------------------------------------------------------------


def _notes(pairs: Sequence[Pair], entries: Sequence[Entry]) -> list[str]:
    """What the intervals mean, and where to be careful."""
    notes = []
    intervals = [(pair.split, pair.interval) for pair in pairs if pair.interval]
    if intervals:
        notes.append(
            "The intervals (95 %, paired block bootstrap) say how far the choice of the text could move the difference "
            "between these very checkpoints. They do not cover the randomness of training: to compare ways of "
            "training, train several seeds of each."
        )
        if len(entries) > 2:
            notes.append(
                f"{len(entries) - 1} checkpoints are compared with {entries[0].name}, so each interval has the level "
                f"{100 * intervals[0][1].level:.4g} % (Bonferroni): on each text, all hold together with 95 %."
            )
    for split in dict.fromkeys(split for split, interval in intervals if not interval.flat):
        notes.append(
            f"{split}: too short a text to rule out that longer blocks of it would widen some of its intervals."
        )
    for split in dict.fromkeys(pair.split for pair in pairs if not pair.interval):
        notes.append(f"{split}: too short a text for an interval, which takes {SHORTEST_TEXT:,} characters or more.")
    return notes
