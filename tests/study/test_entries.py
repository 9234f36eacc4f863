"""entries.py on runs of a second: what checkpoints are called, and whose curve is whose."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rnnbptt.study.entries import find_corpora, load_entries
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import TextOptions
from rnnbptt.text.preparing import prepare
from support.runs import train_run
from support.texts import prose


@pytest.fixture(scope="module")
def runs(text_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `one` (trunc 1) and `four` (trunc 4), of four validations each."""
    folder = tmp_path_factory.mktemp("runs")
    for name, trunc in (("one", "1"), ("four", "4")):
        train_run(folder / name, text_corpus, trunc=trunc, eval_every=100)
    return folder


def test_names_are_short_and_none_comes_twice(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("x", "y"):
        shutil.copytree(runs / "one", tmp_path / place / "v1.5")
    x, y = tmp_path / "x" / "v1.5", tmp_path / "y" / "v1.5"
    entries = load_entries([x, y, x, y / "best.safetensors", runs / "four" / "last.safetensors", runs / "four"])
    assert [entry.name for entry in entries] == ["x/v1.5", "y/v1.5", "x/v1.5 (2)", "v1.5/best", "four/last", "four"]
    monkeypatch.chdir(x)
    entries = load_entries([Path(), Path("best.safetensors"), Path("..", "..", "y", "v1.5")])
    assert [entry.name for entry in entries] == ["x/v1.5", "v1.5/best", "y/v1.5"]


def test_a_name_says_whose_checkpoint_it_is_and_where_needed_which(runs: Path, tmp_path: Path) -> None:
    one, four = runs / "one", runs / "four"
    for paths, names in (
        ((one / "last.safetensors", four / "last.safetensors"), ["one/last", "four/last"]),
        ((one / "best.safetensors", one / "last.safetensors"), ["one/best", "one/last"]),
        ((one, one / "last.safetensors"), ["one", "one/last"]),
        ((one, four), ["one", "four"]),
    ):
        assert [entry.name for entry in load_entries(paths)] == names
    kept = shutil.copy(one / "last.safetensors", tmp_path / "kept.safetensors")
    assert [entry.name for entry in load_entries([Path(kept), four])] == ["kept", "four"]
    for place in ("x", "y"):
        shutil.copytree(one, tmp_path / place / "one")
    paths = [tmp_path / place / "one" / "last.safetensors" for place in ("x", "y")]
    assert [entry.name for entry in load_entries(paths)] == ["x/one/last", "y/one/last"]


def test_a_curve_needs_the_metrics_of_the_very_run(runs: Path, tmp_path: Path) -> None:
    for name in ("without", "foreign", "damaged", "cut"):
        shutil.copytree(runs / "one", tmp_path / name)
    (tmp_path / "without" / "metrics.jsonl").unlink()
    shutil.copy(runs / "four" / "metrics.jsonl", tmp_path / "foreign")
    (tmp_path / "damaged" / "metrics.jsonl").write_text("{}\n")
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "eval", "cha')
    curves = {entry.name: entry.curve for entry in load_entries([runs / "one", *sorted(tmp_path.iterdir())])}
    assert curves["cut"] == curves["one"] is not None
    assert curves["without"] is curves["foreign"] is curves["damaged"] is None


@pytest.mark.parametrize("place", ["it.corpus", "data/it.corpus", "runs/it.corpus", "runs/first/corpus"])
def test_a_corpus_that_has_moved_along_with_its_run_is_found(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    corpus = corpus_at(old / place)
    train_run(old / "runs" / "x", corpus, chars=100)
    old.rename(new)
    for given in (new / "runs" / "x", new / "runs" / "x" / "last.safetensors"):
        (found,) = find_corpora(load_entries([given]))
        assert found is not None
        assert found.path == new / place
    monkeypatch.chdir(new / "runs" / "x")
    (found,) = find_corpora(load_entries([Path()]))
    assert found is not None
    corpus_at(new / place, seed=1)  # of the same name, but another
    assert find_corpora(load_entries([Path()])) == [None]


def corpus_at(folder: Path, seed: int = 0) -> Corpus:
    """A corpus in this very folder."""
    text = folder.with_name("text.txt")
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text(prose(500, seed), encoding="utf-8")
    return prepare([text], folder, TextOptions(), force=True)
