"""Where the corpus of a checkpoint is: known by its fingerprint, wherever both have moved."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rnnbptt.errors import UserError
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import Checkpoint

DEEPEST = 3  # names of the old path of a corpus under which it is looked for beside its run


def find_corpus(checkpoint: Checkpoint) -> Corpus | None:
    """The corpus that it was trained on, split as it was where there is such a one; None where it is gone."""
    trained_on, otherwise_split = checkpoint.document.corpus, None
    for path in dict.fromkeys(_places(checkpoint)):
        with suppress(UserError):
            corpus = Corpus.open(path)
            if corpus.fingerprint == trained_on.fingerprint and trained_on.splits["test"][1] <= len(corpus.ids):
                if corpus.splits == trained_on.splits:
                    return corpus
                otherwise_split = otherwise_split or corpus
    return otherwise_split


def corpus_of(checkpoint: Checkpoint) -> Corpus:
    """The same, or a UserError."""
    if corpus := find_corpus(checkpoint):
        return corpus
    raise UserError(
        f"{checkpoint.document.corpus.path}: the corpus that {checkpoint.path} was trained on is no longer there;"
        " put it back, or beside the checkpoint as corpus"
    )


def _places(checkpoint: Checkpoint) -> Iterator[Path]:
    """Where it may be: where it was; in the run folder; or, where both have moved together, under as much of its old
    path as they share, below the run folder or one of the two above it.
    """
    old = Path(checkpoint.document.corpus.path)
    folder = Path(os.path.abspath(checkpoint.path)).parent
    yield old
    yield folder / "corpus"
    for above in (folder, *folder.parents[:2]):
        for depth in range(1, min(len(old.parts), DEEPEST) + 1):
            yield above.joinpath(*old.parts[-depth:])
