"""The checkpoints that take part: their short names, the curves of their runs, and the corpora they were trained on."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from rnnbptt.errors import UserError
from rnnbptt.study.results import Curve
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from rnnbptt.training.document import TrainedOn

DEEPEST = 3  # names of the old path of a corpus under which it is looked for beside its run


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
        metrics = checkpoint.path.parent / "metrics.jsonl"
        lines = metrics.read_text("utf-8").splitlines(keepends=True) if metrics.is_file() else []
        # A run that is going on, or was cut off, may have left half a line at the end.
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        evals = [record for record in records if record["kind"] == "eval" and record["nats"] is not None]
        same_run = [record["nats"] for record in evals[: len(own.nats)]] == own.nats
        axes = {axis: tuple(record[axis] for record in evals) for axis in ("chars", "updates", "seconds", "bpc")}
        return Curve(split=evals[-1]["split"], **axes) if evals and same_run else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_corpora(entries: Sequence[Entry]) -> list[Corpus | None]:
    """The corpus each checkpoint was trained on, known by its fingerprint; None where it is gone."""
    opened: dict[str, Corpus] = {}
    for entry in entries:
        fingerprint = entry.corpus.fingerprint
        for path in _places(entry):
            with suppress(UserError):
                corpus = opened.get(fingerprint) or Corpus.open(path)
                if corpus.fingerprint == fingerprint and entry.corpus.splits["test"][1] <= len(corpus.ids):
                    opened[fingerprint] = corpus
                    break
    return [opened.get(entry.corpus.fingerprint) for entry in entries]


def _places(entry: Entry) -> Iterator[Path]:
    """Where its corpus may be: where it was; in the run folder; or, where both have moved together, under as much of
    its old path as they share, below the run folder or one of the two above it.
    """
    old = Path(entry.corpus.path)
    folder = Path(os.path.abspath(entry.checkpoint.path)).parent
    yield old
    yield folder / "corpus"
    for above in (folder, *folder.parents[:2]):
        for depth in range(1, min(len(old.parts), DEEPEST) + 1):
            yield above.joinpath(*old.parts[-depth:])
