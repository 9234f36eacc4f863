"""on_slurm.py: what a job makes of the signals of Slurm; the rest is in test_elsewhere.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnbptt.study.race import on_slurm
from rnnbptt.study.race.orders import Orders
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.sharing import Stop


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As they were, in the end."""
    before = {number: signal.getsignal(number) for number in on_slurm.NOTICES}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signalled(number: int, stop: Stop) -> Outcome:
    """Stopped by that signal alone."""
    assert not stop()
    os.kill(os.getpid(), number)
    return Outcome("stopped" if stop() else "done")


@pytest.mark.parametrize("number", on_slurm.NOTICES)
def test_a_job_whose_time_is_over_is_told_to_save(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert on_slurm._perform(Orders(tmp_path, signalled).errand(number)) == Outcome("stopped")
