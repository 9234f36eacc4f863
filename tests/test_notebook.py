"""The functions for a notebook: what they give is what the rooms below give, and nothing is loaded before its time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rnnbptt
from rnnbptt.inference.config import SampleConfig
from rnnbptt.inference.sampling import sample_many
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import TextOptions
from rnnbptt.training.config import Budget, TrainConfig
from support.refusals import message_of
from support.texts import prose

TRAINING = TrainConfig(trunc="4", budget=Budget("chars", 400), streams=4)


def test_neither_numpy_nor_torch_nor_numba_is_loaded_before_its_turn() -> None:
    code = (
        "import sys, rnnbptt, rnnbptt.cli.app; print({'numpy', 'torch'} & {*sys.modules})\n"
        "from rnnbptt import load; print('torch' in sys.modules)\n"
        "import rnnbptt.training.starting; print('numba' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\nTrue\nFalse\n"


def test_the_names_are_these() -> None:
    assert rnnbptt.__all__ == ["compare", "load", "prepare", "sample", "train"]
    assert all(getattr(rnnbptt, name).__doc__ for name in rnnbptt.__all__)
    with pytest.raises(AttributeError, match="module 'rnnbptt' has no attribute 'trian'"):
        _ = rnnbptt.trian


def test_prepare_and_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, records = tmp_path / "text.txt", []
    text.write_text(prose(3000), encoding="utf-8")
    corpus = rnnbptt.prepare(text, tmp_path / "corpus", TextOptions(split="0.8/0.1/0.1"))
    assert corpus.splits["train"] == (0, 2400)
    checkpoint = rnnbptt.train(
        str(tmp_path / "corpus"), str(tmp_path / "run"), TRAINING, ModelConfig(1, hidden=6), show=records.append
    )
    assert checkpoint.path == tmp_path / "run" / "best.safetensors"
    assert checkpoint.document.model == ModelConfig(len(corpus.vocabulary), hidden=6)
    assert records[-1]["chars"] == 400
    assert "holds a run" in message_of(rnnbptt.train, text, tmp_path / "run", TRAINING)
    assert capsys.readouterr() == ("", "")


def test_load_and_sample(run: Path) -> None:
    checkpoint = rnnbptt.load(str(run))
    assert checkpoint.path == run / "best.safetensors"
    assert rnnbptt.load(run / "last.safetensors").path == run / "last.safetensors"
    text = rnnbptt.sample(checkpoint, "the ", length=30, temperature=0.5, seed=3)
    (same,) = sample_many(checkpoint.build_model(), checkpoint.vocabulary, SampleConfig("the ", 30, 0.5, seed=3))
    assert text == same
    assert len(text) == 30


def test_a_sample_of_bytes_can_be_printed(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"a\xff" * 300)
    rnnbptt.prepare(text, tmp_path / "corpus", TextOptions(unit="byte"))
    checkpoint = rnnbptt.train(tmp_path / "corpus", tmp_path / "run", TRAINING, ModelConfig(1, hidden=4))
    assert {*rnnbptt.sample(checkpoint, "\udcff", length=40)} == {"a", "\ufffd"}


def test_compare(run: Path, tmp_path: Path, text_corpus: Corpus) -> None:
    found = rnnbptt.compare([run, str(run / "last.safetensors")])
    assert found.splits == ("valid", "test")
    assert [row.path.name for row in found.rows] == ["best.safetensors", "last.safetensors"]
    (tmp_path / "other.txt").write_text(prose(1000, seed=1), encoding="utf-8")
    assert rnnbptt.compare([run, run], str(tmp_path / "other.txt")).splits == ("text",)
    (tmp_path / "odd.txt").write_text("é" + prose(1000, seed=1), encoding="utf-8")
    found = rnnbptt.compare([run, run], tmp_path / "odd.txt", skip_unknown=True)
    assert found.rows[0].scores[0].characters == 999
