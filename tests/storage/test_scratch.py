"""Scratch folders: nothing of anybody else's is touched, and nothing of the dead is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rnnbptt.storage import scratch
from rnnbptt.storage.scratch import OWNER, made_folder, replace_by_new, scratch_folder
from support.processes import die_holding
from support.texts import tree


def test_a_scratch_folder_vanishes_whatever_happens(tmp_path: Path) -> None:
    def fail() -> None:
        with scratch_folder(tmp_path) as folder:
            (folder / "new" / "file").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert tree(tmp_path) == {}


def test_what_others_left_stays(tmp_path: Path) -> None:
    for name, owner in ((".rnnbptt-mine", None), (".rnnbptt-notes", "my own notes"), (".corpus", None)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").touch()
        if owner:
            (tmp_path / name / OWNER).write_text(owner)
    (tmp_path / ".rnnbptt-file").touch()
    before = tree(tmp_path)
    with scratch_folder(tmp_path):
        pass
    assert tree(tmp_path) == before


def test_what_is_in_use_stays_and_what_the_dead_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, scratch_folder(tmp_path) as left:
        patch.setattr(scratch, "_clear_away", lambda folder: None)
    with scratch_folder(tmp_path):
        assert left.exists()
    die_holding(left / OWNER)
    with scratch_folder(tmp_path):
        assert not left.exists()
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("marked", [False, True])
def test_what_was_killed_before_it_had_its_mark_goes(tmp_path: Path, marked: bool) -> None:
    (tmp_path / ".rnnbptt-12345678").mkdir()
    if marked:
        (tmp_path / ".rnnbptt-12345678" / OWNER).touch()
    with scratch_folder(tmp_path):
        pass
    assert tree(tmp_path) == {}


def test_a_folder_that_is_swept_before_it_has_its_mark_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = scratch.tempfile.mkdtemp, []

    def swept(**options: Any) -> str:
        made.append(make(**options))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(scratch.tempfile, "mkdtemp", swept)
    with scratch_folder(tmp_path) as folder:
        assert str(folder) == made[1]
    assert tree(tmp_path) == {}


def test_what_was_put_aside_by_a_killed_process_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "precious").touch()
    before = tree(tmp_path)
    with monkeypatch.context() as patch, scratch_folder(tmp_path) as left:
        patch.setattr(scratch, "_clear_away", lambda folder: None)
        (left / "old").mkdir()
        (tmp_path / "it").rename(left / "old" / "it")
    die_holding(left / OWNER)
    with scratch_folder(tmp_path):
        pass
    assert tree(tmp_path) == before


def test_what_was_replaced_does_not_come_back(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("old")
    with scratch_folder(tmp_path) as folder:
        (folder / "new" / "a").write_text("new")
        replace_by_new(folder, ["a", "b", "missing"])
    assert tree(tmp_path) == {"a": b"new", "c": b"old"}


def test_folders_that_had_to_be_made_go_with_what_failed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    def fail() -> None:
        with made_folder(tmp_path / "a" / "b" / "c"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tree(tmp_path)) == ["a"]
