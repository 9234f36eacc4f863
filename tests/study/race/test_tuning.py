"""tuning.py: trials come before the race, and give each contestant its learning rate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnbptt.study.race import folder, tuning
from rnnbptt.study.race.checking import look_over
from rnnbptt.study.race.config import Cell
from rnnbptt.study.race.folder import Race, resume_race
from rnnbptt.study.race.grid import Tuned
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.tuning import advance, best_validation, first_trials, rounds
from rnnbptt.study.race.watching import Overview
from rnnbptt.study.race.work import check_saved, finish_run
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.starting import resume
from support.races import begun, foreseen, race_config
from support.refusals import message_of

TRAIN = TrainConfig(budget=Budget("chars", 802), streams=4, lr=8.0, seed=5)
BEST = {"1": 8.0, "8": 32.0}  # learning rates

Begin = Callable[..., Race]


@pytest.fixture
def begin(text_corpus: Corpus, tmp_path: Path) -> Begin:
    def begin(*truncs: str, **options: Any) -> Race:
        config = race_config(*truncs, **{"train": TRAIN, "tune": 3, **options})
        return begun(tmp_path / "race", text_corpus.path, config)

    return begin


@pytest.fixture(autouse=True)
def scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs come to is made up, from the places where they lie."""

    def score(folder: RunFolder) -> float:
        rate = float(folder.path.name.removeprefix("lr-"))
        return 2 + max(rate / BEST[folder.path.parent.name], BEST[folder.path.parent.name] / rate)

    monkeypatch.setattr(tuning, "best_validation", score)
    for module in (tuning, folder):
        monkeypatch.setattr(module, "check_saved", lambda config: None)


DONE = Outcome("done")


def done(race: Race, cell: Cell, outcome: Outcome = DONE) -> None:
    """As if it had been run; a checkpoint is there."""
    last = RunFolder(race.folder / cell.place).last
    last.parent.mkdir(parents=True, exist_ok=True)
    last.touch()
    race.record(cell, outcome)


def places(race: Race) -> list[str]:
    return [cell.place for cell in race.open]


def run_through(race: Race) -> tuple[list[list[str]], list[str]]:
    """The places of each round, and all that is said."""
    found, said = [], []
    for notes in rounds(race, lambda: False):
        said += notes
        found.append(places(race))
        for cell in race.open:
            done(race, cell)
    return found, said


SEEDS = ["1/seed-5", "1/seed-6", "8/seed-5", "8/seed-6", "1-again/seed-7", "1-again/seed-8"]
TUNING = (
    Tuned("1", (4.0, 8.0, 16.0), (4.0, 3.0, 4.0), 8.0, False),
    Tuned("8", (4.0, 8.0, 16.0, 32.0, 64.0), (10.0, 6.0, 4.0, 3.0, 4.0), 32.0, False),
)


def test_rounds_of_tuning_come_before_the_race(begin: Begin) -> None:
    race = begin()
    found, said = run_through(race)
    assert found == [
        [f"tuning/{trunc}/lr-{rate}" for trunc in "18" for rate in (4.0, 8.0, 16.0)],
        ["tuning/8/lr-32.0"],
        ["tuning/8/lr-64.0"],
        SEEDS,
    ]
    assert said == [
        "8: the best learning rate lies at the edge; 32.0 is tried, too",
        "8: the best learning rate lies at the edge; 64.0 is tried, too",
        "learning rates: 8.0 for 1, 32.0 for 8",
    ]
    assert race.config.tuning == TUNING
    assert [arm.train.lr for arm in race.config.arms] == [8.0, 32.0, 8.0], "A/A has that of the reference"


def test_trials_have_a_share_of_the_budget_and_a_seed_of_their_own(begin: Begin) -> None:
    race = begin()
    advance(race)
    tasks = [race.run_of(trial) for trial in race.cells]
    assert {task.train.seed for task in tasks} == {9}
    assert {task.train.budget for task in tasks} == {Budget("chars", 201)}
    assert [(task.train.trunc, task.train.lr) for task in tasks[2:4]] == [("1", 16.0), ("8", 4.0)]
    assert tasks[0].folder == race.folder / "tuning/1/lr-4.0"
    assert race.cells[0].name == "1, lr 4.0"
    assert 9 not in {cell.seed for cell in race.config.cells}


def test_tuning_goes_on_where_it_was_and_is_not_done_again(begin: Begin) -> None:
    race = begin()
    advance(race)
    for cell in race.open[:4]:
        done(race, cell)
    race = resume_race(race.folder)
    advance(race)
    assert places(race) == ["tuning/8/lr-8.0", "tuning/8/lr-16.0"]
    for cell in race.open:
        done(race, cell)
    race = resume_race(race.folder)
    assert advance(race) == ["8: the best learning rate lies at the edge; 32.0 is tried, too"]
    assert places(race) == ["tuning/8/lr-32.0"]
    assert len(race.cells) == 7
    run_through(race)
    race = resume_race(race.folder)
    assert (advance(race), race.config.tuning, race.open) == ([], TUNING, [])
    assert json.loads((race.folder / "race.json").read_text())["config"]["tuning"][0]["chosen"] == 8.0


def test_what_diverges_is_no_choice(begin: Begin) -> None:
    race = begin()
    advance(race)
    for trial in race.open:
        done(race, trial, Outcome("diverged") if trial.place.endswith("8.0") else DONE)
    run_through(race)
    assert race.config.tuning[0] == Tuned("1", (2.0, 4.0, 8.0, 16.0), (6.0, 4.0, None, 4.0), 4.0, False)
    assert race.config.tuning[1].chosen == 32.0


def test_a_trial_that_failed_holds_the_race_back_until_it_is_mended(begin: Begin) -> None:
    race = begin()
    advance(race)
    first, *others = race.open
    for trial in others:
        done(race, trial)
    race.record(first, Outcome("failed", "no room"))
    found, _ = run_through(race)
    assert found == [["tuning/8/lr-32.0"], ["tuning/8/lr-64.0"]]
    assert (race.failed, len(race.cells), race.kind) == ({"tuning/1/lr-4.0": "no room"}, 8, "tuning run")
    assert race.config.tuning == ()
    race = resume_race(race.folder)
    assert run_through(race)[0] == [["tuning/1/lr-4.0"], SEEDS]


def test_a_trial_that_went_on_after_its_end_is_none_of_the_race(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    race = begin()
    monkeypatch.setattr(tuning, "check_saved", check_saved)
    advance(race)
    trial = race.open[0]
    finish_run(race.run_of(trial))
    race.record(trial, DONE)
    advance(race)
    run = RunFolder(race.folder / trial.place)
    list(run.follow(resume(run.path, budget=Budget("chars", 900))))
    said = f"{run.path}: not with the options of the race; move it away, and it is run again"
    assert message_of(advance, race) == said


def test_it_ends_when_told_to(begin: Begin) -> None:
    race = begin()
    assert list(rounds(race, lambda: True)) == []
    assert race.kind == "tuning run"


def test_without_tuning_there_is_one_round(begin: Begin) -> None:
    race = begin(tune=0)
    assert first_trials(race.config) == ()
    assert run_through(race) == ([SEEDS], [])


def test_rates_that_were_given_are_the_grid(begin: Begin) -> None:
    race = begin(tune=0, rates=(1.0, 3.0))
    found, _ = run_through(race)
    assert found == [[f"tuning/{trunc}/lr-{rate}" for trunc in "18" for rate in (1.0, 3.0)], SEEDS]
    assert [(each.chosen, each.at_edge) for each in race.config.tuning] == [(3.0, True), (3.0, True)]


def test_a_truncation_must_have_room_in_a_trial(begin: Begin) -> None:
    race = begin("1", "100")
    said = "--trunc 100: a stream has 51 characters to read in tuning, on 25% of the budget, fewer than an update takes"
    assert message_of(look_over, race).startswith(said)


def test_trials_are_watched_by_their_budget_and_the_best_counts(begin: Begin) -> None:
    race = begin()
    advance(race)
    overview = Overview(race, foreseen(race, {"1": 16.0, "8": 2.0, "1 again": 16.0}))
    for trial, bpc in zip(race.cells, (3.5, 2.5), strict=False):
        record = {"kind": "eval", "chars": 201, "updates": 50, "seconds": 2.0, "bpc": bpc}
        (race.folder / trial.place).mkdir(parents=True)
        (race.folder / trial.place / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    first, second = overview.arms()
    assert (first.arm.label, first.spent, first.bpc) == ("1", pytest.approx(2 / 3), 2.5)
    assert (second.arm.label, second.spent, second.bpc) == ("8", 0.0, None)


def test_the_best_validation_is_that_of_the_records(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "best_validation", best_validation)
    race = begin(train=TrainConfig(budget=Budget("chars", 800), streams=4, lr=0.5, eval_every=40))
    advance(race)
    trial = race.cells[0]
    assert finish_run(race.run_of(trial)) == DONE
    race.record(trial, DONE)
    folder = RunFolder(race.folder / trial.place)
    records = map(json.loads, folder.metrics.read_text().splitlines())
    bpc = [record["bpc"] for record in records if record["kind"] == "eval"]
    assert len(bpc) > 1
    assert best_validation(folder) == pytest.approx(min(bpc), rel=1e-12)
