"""pool.py: what becomes of tasks whose processes die, raise, are told to stop, or lose their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.pool import Work, finish_all
from support import workers
from support.commands import ROOT


def never() -> bool:
    return False


def finish(tasks: Sequence[Path], work: Work, number: int = 1, stop: Callable[[], bool] = never) -> dict[str, Outcome]:
    """How each has ended, in that order."""
    pulses = finish_all(tasks, work, number, stop)
    return {task.name: outcome for ended in pulses for task, outcome in ended}


def until(there: Callable[[], bool]) -> None:
    for _ in range(6000):
        if there():
            return
        time.sleep(0.01)
    pytest.fail("waited for a minute")


def test_one_process_does_all_tasks_in_order(tmp_path: Path) -> None:
    ended = finish([tmp_path / name for name in "cab"], workers.fine)
    assert list(ended) == ["c", "a", "b"]
    assert len({outcome.error for outcome in ended.values()}) == 1
    assert str(os.getpid()) not in ended["a"].error


def test_nothing_to_do_takes_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnbptt.study.race.pool.Worker", None)
    assert finish([], workers.fine, 8) == {}


def test_a_process_that_dies_twice_is_started_again_and_the_rest_goes_on(tmp_path: Path) -> None:
    ended = finish([tmp_path / "2", tmp_path / "3", tmp_path / "0"], workers.dying)
    assert ended == {
        "2": Outcome("done"),
        "3": Outcome("failed", "its process was killed by SIGKILL, as 2 times before"),
        "0": Outcome("done"),
    }
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == [".", "...", "..."]


def test_an_exception_is_as_bad_as_a_death(tmp_path: Path) -> None:
    ended = finish([tmp_path / "2", tmp_path / "3"], workers.raising)
    failed = Outcome("failed", "RuntimeError: shapes do not match, as 2 times before")
    assert ended == {"2": Outcome("done"), "3": failed}


def test_a_process_that_ends_by_itself_is_a_death(tmp_path: Path) -> None:
    (outcome,) = finish([tmp_path / "task"], workers.leaving).values()
    assert outcome.error == "its process ended with exit code 7, as 2 times before"


def test_where_it_was_stopped_before_no_process_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnbptt.study.race.pool.Worker", None)
    assert finish([tmp_path / "task"], workers.fine, 8, lambda: True) == {}


def test_a_process_that_dies_when_told_to_stop_has_stopped(tmp_path: Path) -> None:
    task = tmp_path / "task"

    def stop() -> bool:
        if task.exists():
            os.kill(child(), signal.SIGKILL)
        return task.exists()

    ended = finish([task], workers.stubborn, 1, stop)
    assert ended["task"].state == "stopped"


def child() -> int:
    """The only process that this one has started by multiprocessing."""
    import multiprocessing

    (process,) = multiprocessing.active_children()
    assert process.pid
    return process.pid


def test_signals_to_stop_reach_the_parent_alone(tmp_path: Path) -> None:
    task = tmp_path / "task"
    sent: list[int] = []

    def stop() -> bool:
        if task.exists() and not sent:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(child(), number)
                sent.append(number)
            return False
        return bool(sent)

    assert finish([task], workers.waiting, 1, stop) == {"task": Outcome("stopped")}
    assert task.read_text() == ".."


def test_an_error_of_the_caller_kills_them(tmp_path: Path) -> None:
    task = tmp_path / "task"
    pulses = finish_all([task], workers.stubborn, 1, never)
    until(lambda: next(pulses) == [] and task.exists())
    pid = child()
    with pytest.raises(KeyboardInterrupt):
        pulses.throw(KeyboardInterrupt())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from support.workers import share_out; share_out(Path(sys.argv[1]))"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=environment)
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    parent.kill()
    parent.communicate(timeout=60)  # until nobody can write there any more
    assert (tmp_path / "waits").read_text() == ".."  # it was told, and not only gone
