"""What is reached without a network, against counting and xz itself."""

from __future__ import annotations

import lzma
import math
from collections import Counter
from pathlib import Path

import pytest

from rnnbptt.study import yardsticks as module
from rnnbptt.study.ngrams import kneser_ney
from rnnbptt.study.yardsticks import yardsticks
from rnnbptt.text.corpus import Corpus
from support.texts import make_corpus, task_corpus


def test_each_is_of_the_split_and_knows_the_training_text(text_corpus: Corpus) -> None:
    text = "".join(text_corpus.vocabulary.symbols[i] for i in text_corpus.ids)
    entropy, counted, compressed = yardsticks(text_corpus, "test")
    assert [each.label for each in (entropy, counted, compressed)] == [
        "order-0 entropy",
        "Kneser-Ney, order 5",
        "xz -9e",
    ]
    shares = [count / 400 for count in Counter(text[4600:]).values()]
    assert entropy.bpc == pytest.approx(-sum(share * math.log2(share) for share in shares))
    sizes = [
        len(lzma.compress(part.encode(), preset=9 | lzma.PRESET_EXTREME))
        for part in (text[:4000], text[:4000] + text[4600:])
    ]
    assert compressed.bpc == 8 * (sizes[1] - sizes[0]) / 400
    whole = kneser_ney(text_corpus.split("train"), text_corpus.ids, 4600, len(text_corpus.vocabulary))
    assert counted.bpc == pytest.approx(whole), "with the text before the split as context"


def test_a_long_training_text_is_not_counted(text_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 3999)
    assert [each.label for each in yardsticks(text_corpus, "test")] == ["order-0 entropy"]


def test_characters_of_several_bytes_are_compressed_as_they_are(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "жёлтый" * 100, "400/100/100")
    *_, compressed = yardsticks(corpus, "test")
    assert 0 <= compressed.bpc < 1


@pytest.mark.parametrize(
    ("spec", "off", "labels"),
    [
        ("copy:2", 0.01, ["Kneser-Ney, order 5"]),
        ("brackets:1", 0.001, ["Kneser-Ney, order 5"]),
        ("echo:2", 0.02, ["order-0 entropy", "Kneser-Ney, order 5", "xz -9e"]),
    ],
)
def test_counting_comes_to_the_optimum_of_a_task_that_it_can_see(
    tmp_path: Path, spec: str, off: float, labels: list[str]
) -> None:
    """Of symbols that only some are scored of, entropy and xz would be about something else."""
    best, *others = yardsticks(task_corpus(tmp_path, spec, 60_000), "test")
    assert (best.label, best.optimum) == (f"optimum of {spec}", True)
    assert [each.label for each in others] == labels
    counted = next(each for each in others if each.label.startswith("Kneser"))
    assert abs(counted.bpc - best.bpc) < off
    assert not any(each.optimum for each in others)
