"""Files that one process at a time can hold."""

from __future__ import annotations

from pathlib import Path

from rnnbptt.storage.lock import hold, holder, release, take
from support.processes import held_elsewhere
from support.refusals import message_of


def test_a_file_is_held_by_one_process_and_free_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held_elsewhere(path) as other:
        assert not take(path)
        assert holder(path) == other
        release(path)
        assert holder(path) == other
        assert message_of(hold, path, "runs/x", "training here", "--run") == (
            f"runs/x: process {other} is training here; wait for it, or give another --run"
        )
    for _ in range(2):
        assert take(path)
    release(path)
    assert not path.exists()
    assert holder(path) is None


def test_a_file_that_was_removed_is_taken_anew(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert take(path)
    path.unlink()
    assert take(path)
    assert path.exists()
    release(path)
