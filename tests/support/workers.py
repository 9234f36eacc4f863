"""Work for processes that tests give tasks to: a task is a file, in which each attempt leaves a mark. No torch here, so
that such a process is there in a moment.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.pool import finish_all

Stop = Callable[[], bool]


def attempt(task: Path) -> int:
    """Which one this is."""
    with task.open("a", encoding="ascii") as file:
        file.write(".")
    return task.stat().st_size


def fine(task: Path, stop: Stop) -> Outcome:
    attempt(task)
    return Outcome("done", str(os.getpid()))


def dying(task: Path, stop: Stop) -> Outcome:
    """Dies as often as the name of the task says."""
    if attempt(task) <= int(task.name):
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome("done")


def raising(task: Path, stop: Stop) -> Outcome:
    if attempt(task) <= int(task.name):
        raise RuntimeError("shapes do\nnot match")
    return Outcome("done")


def leaving(task: Path, stop: Stop) -> Outcome:
    attempt(task)
    os._exit(7)


def waiting(task: Path, stop: Stop) -> Outcome:
    """Until it is told to stop."""
    attempt(task)
    while not stop():
        time.sleep(0.001)
    attempt(task)
    return Outcome("stopped")


def stubborn(task: Path, stop: Stop) -> Outcome:
    """Never ends by itself."""
    attempt(task)
    while True:
        time.sleep(1)


def assorted(task: Path, stop: Stop) -> Outcome:
    """By the name of the task."""
    return waiting(task, stop) if task.name == "waits" else dying(task, stop)


def share_out(folder: Path) -> None:
    """What a process of its own does that a test kills: one worker waits, and one has nothing to do any more."""
    for _ in finish_all([folder / "waits", folder / "idle"], _by_name, 2, lambda: False):
        pass


def _by_name(task: Path, stop: Stop) -> Outcome:
    return waiting(task, stop) if task.name == "waits" else fine(task, stop)
