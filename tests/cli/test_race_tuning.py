"""`race --tune`: learning rates are chosen before the race, and what was found is shown."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rnnbptt.report.page_html import read_data
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.pool import Work
from rnnbptt.training.checkpoint import load_checkpoint
from rnnbptt.training.starting import RunConfig
from support.commands import misuse, refusal, run, succeed
from support.races import in_process
from support.runs import without_time
from support.texts import prose

RACE = ["race", "text.txt", "--trunc", "1", "--trunc", "8", "--hidden", "6", "--streams", "4", "--engine", "torch"]
RACE += ["--precision", "float32", "--seeds", "1", "--chars", "400", "--eval-every", "400"]
TUNED = [*RACE, "--tune", "2", "--lr", "0.4"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a race that nothing disturbed, with what was said in `said`."""
    folder = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("rnnbptt.study.race.running.finish_all", in_process)
        patch.setattr("rnnbptt.report.race_page.plot_race", lambda page, path: None)
        Path("text.txt").write_text(prose(3000), encoding="utf-8")
        result = run(*TUNED, "--report", "out")
    assert result.exit_code == 0, result.stderr
    Path(folder / "said").write_text(result.stderr)
    return folder


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnbptt.study.race.running.finish_all", in_process)


def saved(race: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((race / "race.json").read_text())
    return data


def records(folder: Path) -> list[dict[str, Any]]:
    return [without_time(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_each_is_given_the_rate_of_its_best_validation(whole: Path) -> None:
    race = whole / "races/text"
    tuning = saved(race)["config"]["tuning"]
    assert [each["label"] for each in tuning] == ["1", "8"]
    for each in tuning:
        folders = [race / "tuning" / each["label"] / f"lr-{rate}" for rate in each["rates"]]
        best = [min(record["bpc"] for record in records(folder) if record["kind"] == "eval") for folder in folders]
        assert each["bpc"] == pytest.approx(best, rel=1e-12)
        assert each["chosen"] == each["rates"][best.index(min(best))]
        assert {0.2, 0.4} < set(each["rates"]), "one of two is always at an edge"
        trial = load_checkpoint(folders[0] / "last.safetensors").document.train
        assert (trial.lr, trial.seed, trial.budget.amount) == (each["rates"][0], 2, 100)
        raced = load_checkpoint(race / each["label"] / "seed-0/last.safetensors").document.train
        assert (raced.lr, raced.budget.amount) == (each["chosen"], 400)
    again = load_checkpoint(race / "1-again/seed-1/last.safetensors").document.train
    assert again.lr == tuning[0]["chosen"]
    assert {path.name for path in (race / "tuning").iterdir()} == {"1", "8"}


def test_what_is_said_of_it(whole: Path) -> None:
    said, tuning = (whole / "said").read_text().splitlines(), saved(whole / "races/text")["config"]["tuning"]
    first = (
        "note: first each is given the best of 2 learning rates from 0.2 to 0.4, by seed 2 on 100 characters, 25% of"
    )
    assert f"{first} the budget" in said
    assert any(re.fullmatch(r"1, lr 0\.2: \d\.\d{4} bpc at best, .*\([1-4] of 4 tuning runs\)", line) for line in said)
    assert f"note: learning rates: {tuning[0]['chosen']} for 1, {tuning[1]['chosen']} for 8" in said
    assert any(re.fullmatch(r"8, seed 0: .*\([1-3] of 3 runs\)", line) for line in said)
    note = "note: The learning rate of each is that of its best validation on 100 characters, 25% of the budget, by"
    assert [line for line in said if line.startswith(f"{note} seed 2, which no run")]
    assert not [line for line in said if "One learning rate serves all" in line]


def test_the_report_has_the_whole_curve_of_each(whole: Path) -> None:
    figures, page = json.loads((whole / "out/figures.json").read_text()), (whole / "out/race.html").read_text("utf-8")
    tuning = saved(whole / "races/text")["config"]["tuning"]
    assert figures["tuning"] == tuning
    held = read_data(page)
    assert held["rerun"]["config"]["tuning"] == tuning
    assert "learning rates" in page
    assert " --trunc 1 --trunc 8 --tune 2 --hidden 6 " in page
    assert all(f"{bpc:.4f}" in page for each in tuning for bpc in each["bpc"])


def test_a_run_with_its_own_rate_is_replayed(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole)
    assert succeed("race", "--replay", "out/race.html", "--run", "8/0").startswith("8/0 is identical: ")


def after(tasks: int) -> Callable[..., Iterator[list[tuple[Any, Outcome]]]]:
    """Processes that are interrupted when they have done so many."""
    number = count()

    def finish(given: Sequence[Any], work: Work, workers: int, stop: Callable[[], bool]) -> Iterator[Any]:
        for ended in in_process(given, work, workers, stop):
            if next(number) == tasks:
                raise KeyboardInterrupt
            yield ended

    return finish


def test_tuning_that_was_interrupted_ends_as_if_it_had_not_been(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("rnnbptt.study.race.running.finish_all", after(2))
        result = run(*TUNED)
    assert result.exit_code == 130
    assert "interrupted before all was saved: 2 of 4 tuning runs finished" in result.stderr
    race, theirs = Path("races/text"), whole / "races/text"
    assert saved(race)["config"]["tuning"] == []
    monkeypatch.setattr("rnnbptt.cli.race.give_answer", lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr("rnnbptt.study.race.running.finish_all", after(1))
        assert run("race", "--resume", str(race)).exit_code == 130
    succeed("race", "--resume", str(race), "--quiet")
    assert saved(race)["config"] == saved(theirs)["config"]
    assert saved(race)["outcomes"] == saved(theirs)["outcomes"]
    for place in saved(race)["outcomes"]:
        assert records(race / place) == records(theirs / place)


def test_it_is_not_done_again(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnbptt.cli.race.give_answer", lambda *_: None)
    shutil.copytree(whole / "races/text", "raced")
    shutil.rmtree("raced/tuning")
    shutil.rmtree("raced/8")
    result = run("race", "--resume", "raced", "--tune", "2", "--lr", "0.4")
    assert result.exit_code == 0, result.stderr
    assert not Path("raced/tuning").exists()
    assert records(Path("raced/8/seed-0")) == records(whole / "races/text/8/seed-0")
    said = "--lr 0.4 0.1: the race has 0.4, and goes on so; leave it out"
    assert said in misuse("race", "--resume", "raced", "--lr", "0.4", "--lr", "0.1")
    assert "--tune 3: the race has 2, and goes on so" in misuse("race", "--resume", "raced", "--tune", "3")


def failing(config: RunConfig, stop: Callable[[], bool]) -> Outcome:
    """In the place of `finish_run`: the first trial of 8 does."""
    return Outcome("failed", "no room") if config.folder.match("8/lr-0.1") else Outcome("done")


def test_where_a_trial_fails_no_race_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnbptt.study.race.running.finish_run", failing)
    monkeypatch.setattr("rnnbptt.study.race.tuning.best_validation", lambda folder: 2.0)
    result = run(*RACE, "--lr", "0.1", "--lr", "0.2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        "error: 1 of 4 tuning runs failed: see above; what is mended goes on with --resume races/text"
    )
    assert "8, lr 0.1: failed (3 of 4 tuning runs): no room" in result.stderr
    assert not Path("races/text/1").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tune", "1"], "--tune 1: must be between 2 and 25, or 0 for one rate that serves all"),
        (
            ["--tune", "5", "--lr", "0.1", "--lr", "0.2"],
            "--tune 5: --lr gives 2 learning rates to choose from; give one, or leave --tune out",
        ),
        (
            ["--tune", "5", "--vary", "lr=0.1,0.2"],
            "--vary lr=0.1,0.2: these race, and --tune chooses from such rates; give one of the two",
        ),
        (["--lr", "0.1", "--lr", "1e-1"], "--lr 0.1: given twice; give each of them once"),
        (["--lr", "0"], "--lr 0: must be a number above 0"),
        (["--trunc", "100", "--tune", "2"], None),
    ],
)
def test_refusals_come_before_any_run(arguments: list[str], said: str | None) -> None:
    message = refusal(*RACE, *arguments)
    assert message == said or (said is None and " in tuning, on 25% of the budget, " in message)
    assert not Path("races").exists()


def test_several_rates_are_not_raced_as_well() -> None:
    said = misuse(*RACE, "--lr", "0.1", "--lr", "0.2", "--vary", "lr=1,2")
    assert "--vary lr takes the place of --lr; give one of them" in said
