"""The runs of a race as they lie in their folders, and how well each reads the test text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnbptt.errors import UserError
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
    run = recorded(finished)
    if run.diverged:
        return Examined(run, np.empty(0))
    model = load_checkpoint(RunFolder(finished.folder).best).build_model("float32")
    bits = character_nats(model, corpus.ids, *corpus.splits[split], scored=corpus.scored)[0] / LN2
    return Examined(replace(run, test=float(bits.mean())), stretches_of(bits))


def recorded(finished: Finished) -> Run:
    """What its records say; of the test text nothing is known. UserError where they are damaged, or others than those
    of its last checkpoint.
    """
    folder = RunFolder(finished.folder)
    evals = folder.validations()
    axes = {axis: tuple(getattr(each, axis) for each in evals) for axis in AXES}
    cost = {axis: max(axes[axis], default=0.0) for axis in AXES}
    if folder.last.exists() or not finished.diverged:  # one that diverged at once has none
        standing = load_checkpoint(folder.last).document.standing
        if [each.nats for each in evals] != standing.validations.nats:
            advice = f"put it back as it was, or move {folder.path} away and train again"
            raise UserError(f"{folder.metrics}: not the validations of {folder.last.name}; {advice}")
        cost = cost if finished.diverged else vars(standing.axes)
    bpc = tuple(each.bpc for each in evals)
    return Run(finished.seed, finished.folder, finished.diverged, axes, bpc, cost, math.inf)
