"""Which files a text is made of, and what it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnbptt.text.sources import name_of, text_files
from support.refusals import message_of
from support.texts import make_corpus, prose


def test_a_folder_stands_for_all_files_in_it_by_name_but_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/10.txt", "a.txt", ".git/x", "b/.y"):
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    files = text_files(["-", tmp_path / "texts", "missing.txt"])
    texts = str(tmp_path / "texts")
    assert files == ["-", f"{texts}/a.txt", f"{texts}/b/10.txt", f"{texts}/b/2.txt", "missing.txt"]


def test_folders_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert message_of(text_files, [tmp_path / "empty"]) == (
        f"{str(tmp_path / 'empty')!r} is a folder without a file in it; give text files, or a folder of them"
    )
    path = make_corpus(tmp_path, prose(500)).path
    assert message_of(text_files, ["a.txt", path]) == (
        f"{str(path)!r} is a prepared corpus, not a text; train on it alone, or give the texts it is of"
    )


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        (["data/shakespeare.txt.gz"], "shakespeare"),
        (["v1.1.txt"], "v1.1"),
        (["-"], "stdin"),
        ([".hidden"], "hidden"),
        (["x/a.txt", "b.xz"], "a+b"),
        (["a.txt", "b.txt", "c.txt"], "a+b+c"),
        (["a.txt", "b.txt", "c.txt", "d.txt"], "a+3more"),
        (["n" * 200], "n" * 100),
        (["三" * 83 + ".txt"], "三" * 33),
    ],
)
def test_names(sources: list[str], name: str) -> None:
    assert name_of(sources) == name


def test_a_folder_of_texts_has_its_whole_name_and_a_corpus_loses_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "v1.2").mkdir()
    assert name_of([tmp_path / "v1.2"]) == "v1.2"
    corpus = make_corpus(tmp_path, prose(500)).path
    assert name_of([corpus.rename(tmp_path / "play.corpus")]) == "play"
