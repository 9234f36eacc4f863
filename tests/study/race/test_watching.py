"""watching.py: what the records of runs tell while these go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnbptt.study.race import watching
from rnnbptt.study.race.checking import Prospect
from rnnbptt.study.race.folder import Race
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.watching import ArmView, Overview, Watch, Watched
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.config import Budget
from support.races import begun, race_config


def line(chars: int, bpc: float, kind: str = "eval", **more: Any) -> str:
    seconds = {"seconds": chars / 100, "updates": chars // 4, "chars_per_second": 100.0}
    return json.dumps({"kind": kind, "chars": chars, "bpc": bpc, **seconds, **more}) + "\n"


def write(folder: Path, *lines: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")


def test_a_run_is_watched_as_its_records_come(tmp_path: Path) -> None:
    watch = Watch(tmp_path, Budget("chars", 1000), 500)
    assert watch.look() == Watched()
    records = [line(100, 9.0, "train"), line(100, 3.0), line(200, 2.0), line(300, 2.5)]
    write(tmp_path, records[0], records[1][:20])
    assert watch.look() == Watched(0.1, 1.0, 100.0)
    write(tmp_path, *records)
    assert watch.look() == Watched(0.3, 3.0, 100.0, best=2.0)
    write(tmp_path, *records, line(1004, 4.0, "train", chars_per_second=7.0))
    assert watch.look() == Watched(1.0, 10.04, 7.0, best=2.0)


def test_what_a_resumed_run_has_dropped_is_forgotten(tmp_path: Path) -> None:
    watch = Watch(tmp_path, Budget("updates", 100), 500)
    write(tmp_path, line(100, 3.0), line(200, 2.0))
    assert watch.look() == Watched(0.5, 2.0, 0.0, best=2.0)
    write(tmp_path, line(100, 3.0))
    assert watch.look() == Watched(0.25, 1.0, 0.0, best=3.0)


def test_a_line_that_is_none_is_passed_over(tmp_path: Path) -> None:
    watch = Watch(tmp_path, Budget("chars", 1000), 500)
    write(tmp_path, "nds: 3}\n", "[]\n", "{}\n", line(100, 3.0))
    assert watch.look() == Watched(0.1, 1.0, 0.0, best=3.0)


@pytest.fixture
def race(text_corpus: Corpus, tmp_path: Path) -> Race:
    """Two arms and the reference again, two seeds each, 800 characters."""
    return begun(tmp_path / "race", text_corpus.path, race_config("1", "8"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    def at(seconds: float) -> None:
        monkeypatch.setattr(watching.time, "monotonic", lambda: seconds)

    at(1000.0)
    return at


PROSPECT = Prospect({"1": 16.0, "8": 2.0, "1 again": 16.0}, 3999, ())


def test_arms_are_the_means_of_their_runs(race: Race) -> None:
    overview = Overview(race, PROSPECT)
    write(race.folder / "1/seed-0", line(400, 3.0), line(800, 2.0), line(800, 3.0, "train"))
    write(race.folder / "1/seed-1", line(400, 2.5), line(400, 3.0, "train", chars_per_second=300.0))
    race.outcomes |= {"1/seed-0": Outcome("done"), "8/seed-0": Outcome("diverged"), "8/seed-1": Outcome("failed")}
    first, second, again = race.config.arms
    assert overview.arms() == [
        ArmView(first, {"done": 1, "diverged": 0, "failed": 0}, 0.75, 2.25, 200.0),
        ArmView(second, {"done": 0, "diverged": 1, "failed": 1}, 1.0, None, None),
        ArmView(again, {"done": 0, "diverged": 0, "failed": 0}, 0.0, None, None),
    ]
    assert overview.run(first.cells[1]) == Watched(0.5, 4.0, 300.0, best=2.5)


def test_the_time_that_is_left(race: Race, clock: Callable[[float], None]) -> None:
    """Of a run of 1, 4 of 8 seconds were trained in 2 of the clock. Left are 4, two of the other seed, the same again
    and of 8 an eighth of that, as was foreseen: 4 + 8 + 2 * 8 + 2 * 1.
    """
    overview = Overview(race, PROSPECT)
    assert overview.left() is None
    write(race.folder / "1/seed-0", line(400, 3.0))
    clock(1002.0)
    assert overview.left() == pytest.approx(2 * (4 + 8 + 16 + 2) / 4)
    write(race.folder / "8/seed-0", line(800, 3.0).replace("8.0", "4.0", 1))
    race.outcomes["8/seed-0"] = Outcome("done")
    assert overview.left() == pytest.approx(2 * (4 + 8 + 2 * 16 * 12 / 18 + 4) / 8)


def test_what_was_trained_before_is_no_pace(race: Race, clock: Callable[[float], None]) -> None:
    write(race.folder / "1/seed-0", line(400, 3.0))
    overview = Overview(race, PROSPECT)
    clock(1010.0)
    assert overview.left() is None
    write(race.folder / "1/seed-0", line(400, 3.0), line(600, 3.0))
    assert overview.left() == pytest.approx(10 * (2 + 8 + 16 + 2) / 2)
