"""The runs of a race as they lie in their folders, and how well each reads the test text."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnbptt.inference.evaluation import LN2, character_nats
from rnnbptt.study.race.curves import LearningCurve
from rnnbptt.study.race.differences import stretches_of
from rnnbptt.study.race.results import AXES, Run
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import load_checkpoint
from rnnbptt.training.folder import RunFolder

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Finished:
    """A run that has come to its end, in one way or the other."""

    seed: int
    folder: Path
    diverged: bool = False


@dataclass(frozen=True)
class Entrant:
    """A strategy with the runs, one a seed, that there are of it."""

    label: str
    runs: Sequence[Finished]


@dataclass(frozen=True)
class Examined:
    """A run, and its bits per character of each stretch of the test text, (n,); nothing where it diverged."""

    run: Run
    stretches: Floats

    def curve(self, axis: str) -> LearningCurve:
        """Its validations; one that diverged before the first was worse than any all along."""
        x, bpc = self.run.axes[axis] or (0.0,), self.run.bpc or (math.inf,)
        return LearningCurve(np.array(x, np.float64), np.array(bpc), self.run.diverged)


def examine(finished: Finished, corpus: Corpus, split: str) -> Examined:
    """What its records say, and its best checkpoint on that split, in float32. UserError where one cannot be read."""
    folder = RunFolder(finished.folder)
    axes, bpc = validations(folder)
    if finished.diverged:
        cost = {axis: max(axes[axis], default=0.0) for axis in AXES}
        return Examined(Run(finished.seed, finished.folder, True, axes, bpc, cost, math.inf), np.empty(0))
    cost = vars(load_checkpoint(folder.last).document.standing.axes)
    model = load_checkpoint(folder.best).build_model("float32")
    bits = character_nats(model, corpus.ids, *corpus.splits[split])[0] / LN2
    return Examined(Run(finished.seed, finished.folder, False, axes, bpc, cost, float(bits.mean())), stretches_of(bits))


def validations(folder: RunFolder) -> tuple[dict[str, tuple[float, ...]], tuple[float, ...]]:
    """Those of a run: where each was made, on each of AXES, and its bits per character."""
    recorded = folder.metrics.read_text("utf-8") if folder.metrics.exists() else ""  # none, where it diverged at once
    records = map(json.loads, recorded.splitlines())
    evals = [record for record in records if record["kind"] == "eval"]
    return {axis: tuple(record[axis] for record in evals) for axis in AXES}, tuple(record["bpc"] for record in evals)
