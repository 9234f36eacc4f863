"""orders.py: what workers elsewhere are told, and what they make of silence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnbptt.study.race import orders
from rnnbptt.study.race.orders import Errand, Listener, Orders
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.sharing import Broken, Stop


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time."""

    def at(seconds: float) -> None:
        monkeypatch.setattr(orders.time, "monotonic", lambda: seconds)

    at(1000.0)
    return at


def where(task: Path, stop: Stop) -> Outcome:
    """Done at once, with the current folder; or stopped."""
    return Outcome("stopped" if stop() else "done", str(Path.cwd()))


def listener(given: Orders) -> Listener:
    """Who is at work."""
    errand = given.errand(None)
    return Listener(errand.orders, errand.token)


def test_an_errand_is_done_where_it_was_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("race").mkdir()
    errand = Orders(Path("race"), where).errand(Path("task"))
    monkeypatch.chdir("/")
    assert errand() == Outcome("done", str(tmp_path))
    assert errand(lambda: True) == Outcome("stopped")


def test_an_order_to_stop_is_heard_within_two_seconds(tmp_path: Path, clock: Callable[[float], None]) -> None:
    given = Orders(tmp_path, where)
    worker = listener(given)
    assert not worker.stop()
    given.stop()
    clock(1000.9)
    assert not worker.stop()
    clock(1001.0)
    assert worker.stop()
    given.end()
    assert worker.stop()
    assert list(tmp_path.iterdir()) == []


def test_as_long_as_the_race_goes_on_it_says_so(tmp_path: Path, clock: Callable[[float], None]) -> None:
    given = Orders(tmp_path, where)
    worker = listener(given)
    for second in range(200):
        clock(1000.0 + second)
        given.repeat()
        assert not worker.stop()
    clock(1199.0 + orders.SILENCE)
    assert not worker.stop()
    clock(1201.0 + orders.SILENCE)
    assert worker.stop()


def test_a_race_that_has_begun_anew_has_not_sent_those_of_before(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    before = Orders(tmp_path, where)
    worker, late = listener(before), before.errand(None)
    assert not worker.stop()
    anew = Orders(tmp_path, where)
    clock(1001.0)
    assert worker.stop()
    assert late() == Outcome("stopped")
    assert not listener(anew).stop()


def test_what_cannot_be_read_is_silence(tmp_path: Path, clock: Callable[[float], None]) -> None:
    given = Orders(tmp_path, where)
    worker = listener(given)
    assert not worker.stop()
    given.end()
    clock(1000.0 + orders.SILENCE)
    assert not worker.stop()
    clock(1001.0 + orders.SILENCE)
    assert worker.stop()


def test_who_shares_no_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    errand = Errand(where, None, tmp_path, tmp_path / "x", "token")
    said = f"UserError: {tmp_path / 'x'}: not there; all workers have to share the folder of the race"
    assert (errand(), type(errand())) == (said, Broken)
    (tmp_path / "gone").mkdir()
    gone = Errand(where, None, tmp_path / "gone", tmp_path / "x", "token")
    shutil.rmtree(tmp_path / "gone")
    assert str(gone()).startswith("FileNotFoundError: ")
