"""What is shown on the way: bars on a terminal, lines elsewhere, nothing where that is asked for."""

from __future__ import annotations

import io
import sys
import time

import pytest

from rnnbptt.report import progress
from rnnbptt.report.progress import TrainingView, counting_bar, say

TRAIN = {"kind": "train", "epoch": 0.5, "k1": 4, "bpc": 3.25, "chars_per_second": 12345.0}
EVAL = {
    "kind": "eval",
    "epoch": 0.5,
    "k1": 4,
    "bpc": 2.5,
    "nats": 1.7329,
    "chars": 2000,
    "seconds": 61.0,
    "split": "valid",
    "settled": True,
}


class Terminal(io.StringIO):
    """Standard error as it is where somebody looks at it."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error, from now on, with somebody who looks at it."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_a_bar_shows_what_it_is_told_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    with counting_bar("compare", "char") as tell:
        tell(500, None)
        tell(3000, 4000)
    shown = terminal.getvalue()
    assert "compare" in shown
    assert shown.rstrip(" ").endswith("\r")


def test_a_bar_shows_nothing_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with counting_bar("prepare", "B") as tell:
        tell(1, 2)
    assert capsys.readouterr() == ("", "")
    terminal = watched(monkeypatch)
    with counting_bar("prepare", "B", quiet=True) as tell:
        tell(1, 2)
    assert terminal.getvalue() == ""


def show_all(quiet: bool = False) -> None:
    with TrainingView(0.25, quiet) as view:
        view.show(TRAIN, 0.5)
        view.show(EVAL, 0.5, "\none\ntwo\n")


def test_a_validation_is_a_line_with_its_sample(capsys: pytest.CaptureFixture[str]) -> None:
    show_all()
    assert capsys.readouterr() == (
        "",
        "time    about 1 second at the speed so far; Ctrl-C saves and stops\n"
        " 50%         2,000 characters  k    4  train 3.250  valid 2.5000 bpc  61 s\n    one\n    two\n\n",
    )


def test_a_terminal_has_a_bar_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    show_all()
    assert "train 3.250  valid 2.500 bpc  12,345/s" in terminal.getvalue()
    assert " 25% " in terminal.getvalue()
    assert "    one\n    two\n" in terminal.getvalue()


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    show_all(quiet=True)
    assert terminal.getvalue() == ""


def test_each_line_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    say("warning", ["one", "two"])
    assert capsys.readouterr() == ("", "warning: one\nwarning: two\n")


@pytest.mark.parametrize(
    ("quiet", "patience", "said"), [(False, 0.0, "note: it takes long\n"), (True, 0.0, ""), (False, 60.0, "")]
)
def test_only_what_takes_long_is_said(
    quiet: bool, patience: float, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", patience)
    with progress.slow("it takes long", quiet):
        time.sleep(0.1)
    assert capsys.readouterr() == ("", said)
