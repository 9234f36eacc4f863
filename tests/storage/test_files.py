"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from rnnbptt.storage.files import through_link, whole_file, write_json
from support.refusals import message_of


@dataclass(frozen=True)
class Result:
    path: Path
    numbers: tuple[float, ...]


def test_json_is_strict(tmp_path: Path) -> None:
    write_json(Result(Path("a"), (1.5, math.inf, math.nan)), tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text()) == {"path": "a", "numbers": [1.5, None, None]}


def test_a_file_is_there_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("first", "second"):
        with whole_file(path) as partial:
            partial.write_text(text)
            assert path.exists() == (text == "second")
        assert path.read_text() == text

    def interrupted() -> None:
        with whole_file(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_is_synced_with_its_bytes_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power failure could leave the new name with none of them."""
    path, done = tmp_path / "file", []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        done.append(("synced", os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        fsync(descriptor)

    def recorded_replace(source: Path, target: Path) -> None:
        done.append(("named", os.stat(source).st_ino, Path(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    with whole_file(path) as partial:
        partial.write_text("whole")
    inode = path.stat().st_ino
    assert done == [("synced", inode, len("whole")), ("named", inode, path)]


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    result, path = Result(tmp_path, ()), tmp_path / "none" / "result.json"
    assert message_of(write_json, result, path) == (
        f"cannot write {path}: No such file or directory; give a file that can be written"
    )
    (tmp_path / "file").touch()
    assert "Not a directory" in message_of(write_json, result, tmp_path / "file" / "result.json")
    for folder in (Path("."), Path("/"), tmp_path):
        assert message_of(write_json, result, folder) == (
            f"cannot write {folder}: Is a directory; give a file that can be written"
        )


def test_a_result_is_written_through_a_link(tmp_path: Path) -> None:
    """Also one that leads to nothing yet, and through a second one."""
    (tmp_path / "folder").mkdir()
    old, link, second = tmp_path / "folder" / "old.json", tmp_path / "link", tmp_path / "second"
    old.write_text("before")
    for target in (old, tmp_path / "folder" / "new.json"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        second.unlink(missing_ok=True)
        second.symlink_to("link")
        write_json(Result(tmp_path, (1.0,)), second)
        assert second.is_symlink()
        assert link.is_symlink()
        assert json.loads(target.read_text())["numbers"] == [1.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "second"]
    link.unlink()
    link.symlink_to("none/there")
    assert message_of(write_json, Result(tmp_path, ()), link) == (
        f"cannot write {tmp_path / 'none' / 'there'}: No such file or directory; give a file that can be written"
    )
    link.unlink()
    link.symlink_to("second")
    assert message_of(through_link, link) == (
        f"cannot write {link}: Too many levels of symbolic links; give a file that can be written"
    )


def test_a_file_that_nobody_named_takes_the_place_of_a_link(tmp_path: Path) -> None:
    """What that points to is perhaps another run's."""
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "ours").symlink_to("theirs")
    with whole_file(tmp_path / "ours") as partial:
        partial.write_text("ours")
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert (tmp_path / "ours").read_text() == "ours"
