"""The checkpoints that take part: their short names, the curves of their runs, and the corpora they were trained on."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from rnnbptt.errors import UserError
from rnnbptt.study.results import Curve
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from rnnbptt.training.corpora import find_corpus
from rnnbptt.training.document import TrainedOn
from rnnbptt.training.folder import RunFolder

ALIKE = ("last.safetensors", "best.safetensors")  # every run has these, so that they tell no run from another


@dataclass(frozen=True)
class Entry:
    """A checkpoint that takes part.

    name   short, and no other entry has it
    curve  of the run that left it; None where nothing is known of that
    """

    name: str
    checkpoint: Checkpoint
    curve: Curve | None = None

    @property
    def corpus(self) -> TrainedOn:
        """Where its corpus was, the fingerprint, the splits and the options."""
        return self.checkpoint.document.corpus

    @property
    def budget_spent(self) -> int:
        """Characters of training that went into it: for the best of a run, all that the run had to choose from."""
        if self.curve and self.checkpoint.path.name == "best.safetensors":
            return self.curve.chars[-1]
        return self.checkpoint.document.standing.axes.chars


def load_entries(paths: Sequence[Path]) -> list[Entry]:
    """The checkpoints in run folders or files; UserError where one cannot be loaded."""
    checkpoints = [load_checkpoint(find_checkpoint(path)) for path in paths]
    named = zip(_short_names(paths), checkpoints, strict=True)
    return [Entry(name, checkpoint, _read_curve(checkpoint)) for name, checkpoint in named]


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, for a checkpoint that training named that of its run too, as many more as tell it
    from the others, and a number where nothing does.
    """
    absolute = [Path(os.path.abspath(path)) for path in paths]  # not resolved: a link keeps the name it was given
    parts = [path.parts if path.is_dir() else path.with_suffix("").parts for path in absolute]
    names: list[str] = []
    for path, own in zip(absolute, parts, strict=True):
        others = set(parts) - {own}
        least = 2 if path.name in ALIKE else 1
        depth = next(d for d in count(least) if not any(own[-d:] == other[-d:] for other in others))
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
        evals = RunFolder(checkpoint.path.parent).validations()
    except UserError:
        return None
    if not evals or [each.nats for each in evals[: len(own.nats)]] != own.nats:
        return None
    axes = {axis: tuple(getattr(each, axis) for each in evals) for axis in ("chars", "updates", "seconds", "bpc")}
    return Curve(split=evals[-1].split, **axes)


def find_corpora(entries: Sequence[Entry]) -> list[Corpus | None]:
    """The corpus each checkpoint was trained on; None where it is gone."""
    opened: dict[str, Corpus | None] = {}
    for entry in entries:
        if opened.get(entry.corpus.fingerprint) is None:
            opened[entry.corpus.fingerprint] = find_corpus(entry.checkpoint)
    return [opened[entry.corpus.fingerprint] for entry in entries]
