"""contexts.py: which characters are measured."""

from __future__ import annotations

from pathlib import Path

from rnnbptt.study.contexts import TARGETS, spread_targets
from rnnbptt.text.corpus import Corpus
from support.texts import task_corpus


def test_targets_are_spread_over_what_is_scored(tmp_path: Path, text_corpus: Corpus) -> None:
    corpus = task_corpus(tmp_path, "copy:2", 10_000)
    scored = [at for at in range(100, 9000) if at % 5 in (2, 3)]
    assert spread_targets(corpus, 100, 9000).tolist() == [scored[i * len(scored) // TARGETS] for i in range(TARGETS)]
    assert spread_targets(corpus, 100, 150).tolist() == [at for at in range(100, 150) if at % 5 in (2, 3)]
    assert spread_targets(corpus, 100, 102).tolist() == []
    assert spread_targets(text_corpus, 0, 500).tolist() == list(range(1, 500))
