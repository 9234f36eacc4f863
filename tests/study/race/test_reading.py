"""reading.py: whose records are of no use to a race."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rnnbptt.inference.evaluation import LN2, character_nats
from rnnbptt.study.race.concluding import examined_characters
from rnnbptt.study.race.reading import Finished, examine, recorded
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import load_checkpoint
from rnnbptt.training.folder import RunFolder
from support.refusals import message_of
from support.runs import train_run
from support.texts import task_corpus


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> RunFolder:
    shutil.copytree(run, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_what_a_run_has_cost_is_what_its_checkpoint_says(copy: RunFolder) -> None:
    found = recorded(Finished(3, copy.path))
    assert found.cost == vars(load_checkpoint(copy.last).document.standing.axes)
    assert (found.seed, found.diverged, len(found.bpc)) == (3, False, len(copy.validations()))


def test_of_a_task_only_what_is_scored_is_read(tmp_path: Path) -> None:
    corpus = task_corpus(tmp_path, "copy:2")
    found = examine(Finished(0, folder := train_run(tmp_path / "run", corpus)), corpus, "test")
    model = load_checkpoint(RunFolder(folder).best).build_model("float32")
    bits, _ = character_nats(model, corpus.ids, 1800, 2000)
    asked = [corpus.vocabulary.symbols[symbol] in "ABCDEFGH" for symbol in corpus.ids[1800:]]
    assert found.run.test == pytest.approx(bits[asked].mean() / LN2, rel=1e-12)
    assert (examined_characters(corpus, "test"), sum(asked)) == (80, 80)


@pytest.mark.parametrize("diverged", [False, True])
def test_records_that_lack_something_are_no_curve(copy: RunFolder, text_corpus: Corpus, diverged: bool) -> None:
    said = (
        f"{copy.metrics}: not the validations of last.safetensors; put it back as it was, or move {copy.path} away and"
        " train again"
    )
    whole, finished = copy.metrics.read_bytes(), Finished(0, copy.path, diverged)
    copy.metrics.write_bytes(whole[:-9])
    assert message_of(examine, finished, text_corpus, "test") == said
    copy.metrics.unlink()
    assert message_of(examine, finished, text_corpus, "test") == said
    copy.metrics.write_bytes(b"\xff\n" + whole)
    assert message_of(examine, finished, text_corpus, "test").startswith(f"{copy.metrics}: damaged; ")
