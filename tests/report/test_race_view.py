"""race_view.py: lines and tables of a race that goes on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from rnnbptt.report.race_view import RaceView, say_stopped
from rnnbptt.study.race.folder import Race
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.tuning import advance
from rnnbptt.text.corpus import Corpus
from support.races import begun, foreseen, race_config

SECONDS = {"1": 16.0, "8": 2.0, "1 again": 16.0}
RECORD = '{"kind": "eval", "chars": 800, "updates": 200, "seconds": 150.0, "bpc": 2.34567}\n'
SPEED = '{"kind": "train", "chars": 400, "updates": 100, "seconds": 75.0, "bpc": 3.0, "chars_per_second": 12345.6}\n'


@pytest.fixture
def race(text_corpus: Corpus, tmp_path: Path) -> Race:
    race = begun(tmp_path / "a race", text_corpus.path, race_config("1", "8"))
    for place, records in (("1/seed-0", RECORD), ("8/seed-1", SPEED)):
        (race.folder / place).mkdir(parents=True)
        (race.folder / place / "metrics.jsonl").write_text(records)
    return race


def end(race: Race, view: RaceView, *states: Outcome) -> None:
    """As many runs as are given, in order."""
    ended = list(zip(race.config.cells, states, strict=False))
    race.outcomes |= {cell.place: outcome for cell, outcome in ended if outcome.state != "stopped"}
    view.show(ended)


ENDS = [Outcome("done"), Outcome("diverged", "not\nfinite"), Outcome("failed", "no room"), Outcome("stopped")]


def test_without_a_terminal_a_line_for_each_run_that_ends(race: Race, capsys: pytest.CaptureFixture[str]) -> None:
    with RaceView(race, foreseen(race, SECONDS), quiet=False) as view:
        end(race, view, *ENDS)
    assert capsys.readouterr().err.splitlines() == [
        "1, seed 0: 2.3457 bpc at best, 2 minutes of training (1 of 6 runs)",
        r"1, seed 1: diverged (2 of 6 runs): not\nfinite",
        "8, seed 0: failed (3 of 6 runs): no room",
    ]


def test_a_failure_is_told_even_quietly(race: Race, capsys: pytest.CaptureFixture[str]) -> None:
    with RaceView(race, foreseen(race, SECONDS), quiet=True) as view:
        end(race, view, *ENDS)
    assert capsys.readouterr().err == "8, seed 0: failed (3 of 6 runs): no room\n"


def test_a_run_that_is_worse_than_can_be_told_takes_no_more_room(
    race: Race, capsys: pytest.CaptureFixture[str]
) -> None:
    for record, shown in ((RECORD.replace("2.34567", "1.4e30"), "1.4e+30"), ("", "-")):
        (race.folder / "1/seed-0/metrics.jsonl").write_text(record)
        with RaceView(race, foreseen(race, SECONDS), quiet=False) as view:
            end(race, view, Outcome("done"))
        assert f"1, seed 0: {shown} bpc at best, " in capsys.readouterr().err


class Terminal(io.StringIO):
    """Looked at by somebody."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_table_and_what_went_wrong(race: Race, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with RaceView(race, foreseen(race, SECONDS), quiet=False) as view:
        end(race, view, *ENDS)
    said = terminal.getvalue()
    assert r"1, seed 1: diverged (2 of 6 runs): not\nfinite" in said
    assert "1, seed 0:" not in said
    last = said[said.rindex("--trunc") :]
    assert [line.split("  ")[0] for line in last.splitlines()[1:4]] == ["1", "8", "1 again"]
    assert "1/2, 1 diverged" in last
    assert "0/2, 1 failed" in last
    assert [word for word in last.splitlines()[2].split() if word[0].isdigit()] == ["8", "0/2,", "1", "75%", "12,346"]
    assert "3 of 6 runs, 58%" in last


def test_tuning_is_shown_by_its_own_runs(text_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    race = begun(tmp_path / "race", text_corpus.path, race_config("1", "8", tune=3))
    advance(race)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with RaceView(race, foreseen(race, SECONDS), quiet=False) as view:
        failed = race.cells[1]
        race.outcomes[failed.place] = Outcome("failed", "no room")
        view.show([(failed, Outcome("failed", "no room"))])
    said = terminal.getvalue()
    assert "1, lr 0.006: failed (1 of 6 tuning runs): no room" in said
    last = said[said.rindex("--trunc") :]
    assert [line.split("  ")[0] for line in last.splitlines()[1:4]] == ["1", "8", "1 of 6 tuning runs, 17%"]
    assert "0/3, 1 failed" in last


def test_what_is_stopped_goes_on(race: Race, capsys: pytest.CaptureFixture[str]) -> None:
    race.outcomes["1/seed-0"] = Outcome("done")
    say_stopped(race, "", saved=True)
    say_stopped(race, " --on ray", saved=False)
    assert capsys.readouterr().err == (
        "stopped, and saved: 1 of 6 runs finished\n"
        f"go on:          rnnbptt race --resume '{race.folder}'\n"
        "interrupted before all was saved: 1 of 6 runs finished\n"
        f"go on:          rnnbptt race --resume '{race.folder}' --on ray\n"
    )
