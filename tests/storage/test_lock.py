"""Files that one process at a time can hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rnnbptt.storage.lock import holder, release, take
from support.commands import ROOT

HOLD = "import sys; from pathlib import Path; from rnnbptt.storage.lock import take; assert take(Path(sys.argv[1]))"


def test_a_file_is_held_by_one_process_and_free_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = f"{HOLD}; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout
        other.stdout.readline()
        assert not take(path)
        assert holder(path) == other.pid
        release(path)
        assert holder(path) == other.pid
        other.kill()
        other.wait()
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
