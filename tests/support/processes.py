"""Other processes: those that hold a file, and those that have died with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnnbptt.storage import lock
from support.commands import ROOT

HOLD = (
    "import sys; from pathlib import Path; from rnnbptt.storage.lock import take; assert take(Path(sys.argv[1]))\n"
    "print(flush=True); sys.stdin.read()"
)


@contextmanager
def held_elsewhere(path: Path) -> Iterator[int]:
    """A process, by its id, that holds the file, and is killed in the end."""
    command = [sys.executable, "-c", HOLD, str(path.resolve())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout
        assert other.stdout.readline()
        yield other.pid
        other.kill()


def die_holding(path: Path) -> None:
    """Leave a lock file as a killed process leaves it."""
    os.close(lock._held.pop(path.resolve()))
