"""replaying.py: what a page must hold, and what two runs must have in common to be the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rnnbptt.storage.files import to_json
from rnnbptt.study.race.folder import Race
from rnnbptt.study.race.machine import versions_and_machine
from rnnbptt.study.race.reading import Finished, recorded
from rnnbptt.study.race.replaying import Replay, first_difference, held_by, race_again, replay
from rnnbptt.study.race.results import AXES
from rnnbptt.study.race.work import finish_run
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.config import Budget, TrainConfig
from support.races import begun, race_config
from support.refusals import message_of
from support.texts import task_corpus


def page_of(race: Race) -> dict[str, Any]:
    """The data of a page, on which the reference has one run."""
    cell = race.config.cells[0]
    diverged = finish_run(race.run_of(cell)).state == "diverged"
    run = to_json(recorded(Finished(cell.seed, race.folder / cell.place, diverged)))
    found = {"contestants": [{"label": "1", "runs": [run]}], "again": {"label": "1 again", "runs": []}}
    return {"rerun": to_json(race.to_file()), "machine": versions_and_machine(), "result": found}


@pytest.fixture(scope="module")
def data(text_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return page_of(begun(tmp_path_factory.mktemp("replaying") / "race", text_corpus.path, race_config()))


@pytest.fixture(scope="module")
def wild(text_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Its run diverges before its first validation."""
    train = TrainConfig(budget=Budget("chars", 800), streams=4, lr=1e30, clip=0.0, optimizer="sgd")
    config = race_config(train=train)
    return page_of(begun(tmp_path_factory.mktemp("wild") / "race", text_corpus.path, config))


def with_run(data: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The same, but for its one run."""
    changed: dict[str, Any] = json.loads(json.dumps(data))
    changed["result"]["contestants"][0]["runs"][0] |= changes
    return changed


def replayed(data: dict[str, Any], folder: Path) -> Replay | None:
    held = held_by(data, "the page")
    return replay(held, race_again(held, [], folder, lambda done, total: None), held.cell("1/0"))


def test_the_same_run_is_the_same(data: dict[str, Any], wild: dict[str, Any], tmp_path: Path) -> None:
    count = len(data["result"]["contestants"][0]["runs"][0]["bpc"])
    assert count > 1
    assert replayed(data, tmp_path / "same") == Replay(count, "", False, ())
    assert replayed(wild, tmp_path / "wild") == Replay(0, "", True, ())


def test_so_is_one_on_a_task(tmp_path: Path) -> None:
    config = race_config(train=TrainConfig(budget=Budget("chars", 200), streams=4))
    data = page_of(begun(tmp_path / "race", task_corpus(tmp_path, "copy:2", 1000).path, config))
    count = len(data["result"]["contestants"][0]["runs"][0]["bpc"])
    assert replayed(data, tmp_path / "same") == Replay(count, "", False, ())


def test_a_run_that_diverged_is_not_one_that_did_not(wild: dict[str, Any]) -> None:
    tame = held_by(with_run(wild, diverged=False), "the page").runs["1", 0]
    diverged = held_by(wild, "the page").runs["1", 0]
    assert first_difference(diverged, tame) == (0, "it diverged there, and not here")
    assert first_difference(tame, diverged) == (0, "it diverged here, and not there")


def test_what_all_of_the_training_took_is_compared_but_for_its_seconds(data: dict[str, Any]) -> None:
    run = held_by(data, "the page").runs["1", 0]
    assert first_difference(run, replace(run, cost={**run.cost, "seconds": 1e6})) == (len(run.bpc), "")
    other = replace(run, cost={**run.cost, "updates": 1234.0})
    said = f"in all of its training: updates {run.cost['updates']:,.15g} there, 1,234 here"
    assert first_difference(run, other) == (len(run.bpc), said)


def test_the_first_validation_that_differs_is_named(data: dict[str, Any]) -> None:
    run = held_by(data, "the page").runs["1", 0]
    fewer = replace(run, bpc=run.bpc[:1], axes={axis: places[:1] for axis, places in run.axes.items()})
    assert first_difference(run, fewer) == (1, f"{len(run.bpc)} validations there, 1 here")
    number, said = first_difference(run, replace(run, bpc=(9.5, *run.bpc[1:])))
    assert number == 0
    assert said.endswith(f"{run.bpc[0]!r} bits per character there, 9.5 here")


def test_a_stop_is_no_answer(data: dict[str, Any], tmp_path: Path) -> None:
    held = held_by(data, "the page")
    race = race_again(held, [], tmp_path / "race", lambda done, total: None)
    assert replay(held, race, held.cell("1/0"), lambda: True) is None


@pytest.mark.parametrize(
    "changes",
    [
        *({"bpc": None}, {"bpc": 5}, {"axes": {}}, {"axes": None}, {"cost": {}}, {"diverged": "no"}, {"seed": "0"}),
        {"axes": {axis: ["a"] for axis in AXES}},
        {"axes": {axis: [] for axis in AXES}},
    ],
)
def test_a_damaged_run_is_refused_before_anything_is_trained(data: dict[str, Any], changes: dict[str, Any]) -> None:
    said = message_of(held_by, with_run(data, **changes), "--replay x")
    assert said.startswith("--replay x: damaged (")
    assert said.endswith("); give the page as it was written")


def test_a_page_that_lacks_something_is_refused(data: dict[str, Any]) -> None:
    for changes in ({"result": None}, {"rerun": {}}, {"machine": 3}, {"result": {"contestants": [3]}}):
        assert message_of(held_by, data | changes, "x").startswith("x: damaged (")
    for name in data:
        lacking = {key: value for key, value in data.items() if key != name}
        assert message_of(held_by, lacking, "x").startswith("x: damaged (")
