"""folder.py: what a race leaves, where it may begin, and with what it goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from rnnbptt.model.config import ModelConfig
from rnnbptt.study.race.checking import alike
from rnnbptt.study.race.config import RaceConfig
from rnnbptt.study.race.folder import Race, beginning, default_folder, racing_in, resume_race, saved_race
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.work import finish_run
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import TextOptions
from rnnbptt.text.preparing import prepare
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.starting import resume
from support.processes import held_elsewhere
from support.races import begun, race_config
from support.refusals import message_of
from support.texts import prose, tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(prose(3000), encoding="utf-8")
    return path


@pytest.fixture
def race(source: Path) -> Race:
    return begun(source.parent / "race", source, race_config())


def refused(race: Race, source: Path, config: RaceConfig | None = None) -> str:
    """Why another one does not begin there; all stays as it was."""
    before = tree(race.folder)
    said = message_of(begun, race.folder, source, config or race_config())
    assert tree(race.folder) == before
    return said


def test_a_race_begins_with_its_text_and_a_word_of_what_it_is(race: Race) -> None:
    assert sorted(tree(race.folder)) == ["corpus", "corpus/corpus.json", "corpus/ids.npy", "race.json"]
    data = json.loads((race.folder / "race.json").read_text())
    assert (data["kind"], data["format"], data["outcomes"]) == ("rnnbptt race", 2, {})
    assert saved_race(race.folder).config == race.config
    assert race.corpus.path == race.folder / "corpus"
    assert race.run_of(race.config.cells[0]).sources == [race.corpus.path]


def test_all_of_a_race_comes_back(source: Path) -> None:
    config = race_config(
        "1",
        "1..8",
        vary={"streams": ("2", "4"), "lr": ("0.1", "1.0")},
        train=TrainConfig("7", Budget("epochs", 0.1), lr=0.5, seed=3),
        text=TextOptions("byte", split="1/1/1".replace("1", "0.333333333333")),
        precision="float64",
    )
    race = begun(source.parent / "race", source, config)
    again = resume_race(race.folder)
    assert (again.config, again.corpus.fingerprint, again.outcomes) == (config, race.corpus.fingerprint, {})


def test_a_prepared_text_is_used_where_it_lies(source: Path) -> None:
    corpus = prepare([source], source.parent / "it.corpus", TextOptions(split="0.8/0.1/0.1"))
    race = begun(source.parent / "race", corpus.path, race_config())
    assert sorted(tree(race.folder)) == ["race.json"]
    assert race.config.text == corpus.options
    assert resume_race(race.folder).corpus.path == corpus.path.resolve()
    assert resume_race(race.folder, [source]).corpus.path == corpus.path.resolve()


def test_outcomes_are_kept_and_what_failed_is_tried_again(race: Race) -> None:
    done, diverged, failed, stopped, *rest = race.config.cells
    assert finish_run(race.run_of(done)) == Outcome("done")
    for cell, outcome in (
        (done, Outcome("done")),
        (diverged, Outcome("diverged", "not finite")),
        (failed, Outcome("failed", "no room")),
        (stopped, Outcome("stopped")),
    ):
        race.record(cell, outcome)
    again = resume_race(race.folder)
    assert race.failed == {"8/seed-0": "no room"}
    assert race.open == [stopped, *rest]
    assert again.outcomes == {"1/seed-0": Outcome("done"), "1/seed-1": Outcome("diverged", "not finite")}
    assert again.open == [failed, stopped, *rest]
    shutil.rmtree(race.folder / done.place)
    assert resume_race(race.folder).open == [done, failed, stopped, *rest]


@pytest.mark.parametrize("state", ["done", "diverged"])
def test_a_run_that_went_on_after_its_end_is_none_of_the_race(race: Race, state: Literal["done", "diverged"]) -> None:
    cell = race.config.cells[2]
    finish_run(race.run_of(cell))
    race.record(cell, Outcome(state))
    run = RunFolder(race.folder / cell.place)
    assert resume_race(race.folder).outcomes == race.outcomes
    list(run.follow(resume(run.path, budget=Budget("chars", 900))))
    said = f"{run.path}: not with the options of the race; move it away, and it is run again"
    assert message_of(resume_race, race.folder) == said
    run.path.rename(race.folder / "mine")
    assert (cell in resume_race(race.folder).open) == (state == "done")


def test_the_same_race_is_not_begun_twice(race: Race, source: Path) -> None:
    said = f"{race.folder}: holds this race; go on with it by --resume {race.folder}"
    assert refused(race, source) == said
    assert refused(race, race.corpus.path) == said
    assert refused(race, source, race_config("01", "8", precision="auto")) == said


def test_what_is_advised_can_be_typed(source: Path) -> None:
    folder = source.parent / "a b"
    said = f"{folder}: holds this race; go on with it by --resume '{folder}'"
    assert refused(begun(folder, source, race_config()), source) == said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"truncs": ("1", "16")}, "holds a race with --trunc 1 8, this one has 1 16"),
        ({"seeds": 3}, "holds a race with --seeds 2, this one has 3"),
        ({"vary": {"lr": ("0.1", "0.2")}}, "holds a race with --vary none, this one has lr=0.1,0.2"),
        ({"model": ModelConfig(1, hidden=6)}, "holds a race with --dropout 0.2, this one has 0.3"),
        (
            {"train": TrainConfig(budget=Budget("chars", 800), streams=4, weight_decay=0.5)},
            "holds a race with --weight-decay 0.1, this one has 0.5",
        ),
        (
            {"train": TrainConfig(budget=Budget("epochs", 2), streams=4)},
            "holds a race of 800 characters, this one is of 2 epochs",
        ),
        ({"text": TextOptions(nfc=True)}, "holds a race with --nfc False, this one has True"),
        ({"precision": "float64"}, None),
    ],
)
def test_another_race_in_the_folder_is_named_by_its_difference(
    race: Race, source: Path, options: dict[str, Any], said: str | None
) -> None:
    said = said or f"holds a race with --precision {race.config.precision}, this one has float64"
    assert refused(race, source, replace(race_config(), **options)) == f"{race.folder}: {said}; give another --out"


def test_a_race_on_another_text(race: Race, source: Path, text_corpus: Corpus) -> None:
    source.write_text(prose(3000, seed=1), encoding="utf-8")
    said = f"{race.folder}: holds a race on another text; give another --out"
    assert refused(race, source) == said
    other = prepare([source], source.parent / "other", TextOptions())
    assert refused(race, other.path) == said
    for given in (source, other.path):
        assert message_of(resume_race, race.folder, [given]) == (
            f"{given}: not the text of the race in {race.folder}; leave it out, or give that one"
        )


def test_what_is_no_race_stays(source: Path) -> None:
    folder = source.parent / "mine"
    (folder / "notes").mkdir(parents=True)
    assert message_of(begun, folder, source, race_config()) == (
        f"{folder}: holds notes and no race; give another --out"
    )
    (folder / "notes").rename(folder / "corpus")
    (folder / "corpus/mine.txt").write_text("dear")
    assert "holds corpus and no race" in message_of(begun, folder, source, race_config())
    assert (folder / "corpus/mine.txt").read_text() == "dear"


def test_what_a_kill_at_the_start_has_left_is_in_nobodys_way(race: Race, source: Path) -> None:
    (race.folder / "race.json").unlink()
    source.write_text(prose(3000, seed=1), encoding="utf-8")
    other = begun(race.folder, source, race_config())
    assert resume_race(race.folder, [source]).corpus.fingerprint == other.corpus.fingerprint


def test_a_start_that_fails_leaves_nothing(source: Path) -> None:
    folder = source.parent / "races/it"
    with pytest.raises(KeyboardInterrupt), racing_in(folder), beginning([source], folder, alike(race_config())[0]):
        raise KeyboardInterrupt
    assert not folder.parent.exists()


def test_one_process_races_in_a_folder(race: Race) -> None:
    with held_elsewhere(race.folder / ".rnnbptt.lock") as other:
        with pytest.raises(Exception, match="racing here") as caught, racing_in(race.folder):
            pass
        assert str(caught.value) == (
            f"{race.folder}: process {other} is racing here; wait for it, or give another --out"
        )
    with racing_in(race.folder):
        assert (race.folder / ".rnnbptt.lock").exists()
    assert not (race.folder / ".rnnbptt.lock").exists()


def test_only_a_race_goes_on(tmp_path: Path) -> None:
    assert message_of(resume_race, tmp_path / "it") == (
        f"{tmp_path / 'it'}: no race to resume; give the folder of one, or leave --resume out to begin one"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "rnnbptt corpus"}, "damaged or none of ours (another kind); give another --out"),
        ({"format": 3}, "format 3, this rnnbptt reads up to 2; upgrade rnnbptt"),
        ({"config": {"truncs": ["1", "x"]}}, "damaged or none of ours (--trunc 'x': not a truncation; give one of "),
        ({"outcomes": {"1/seed-0": {"state": "lost"}}}, "damaged or none of ours (Invalid enum value 'lost'"),
    ],
)
def test_a_damaged_race_and_a_newer_one(race: Race, change: dict[str, Any], said: str) -> None:
    path = race.folder / "race.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert message_of(saved_race, race.folder).startswith(f"{path}: {said}")


def test_rates_of_a_race_of_format_1_fell_by_a_cosine(race: Race) -> None:
    path = race.folder / "race.json"
    data = json.loads(path.read_text()) | {"format": 1}
    del data["config"]["train"]["decay"]
    path.write_text(json.dumps(data))
    assert saved_race(race.folder).config == race.config
    assert race.config.train.decay == "cosine"


def test_what_is_no_json_is_damaged(race: Race) -> None:
    for content in (b"", b"[]", b"\xff", b"[" * 100_000):
        (race.folder / "race.json").write_bytes(content)
        assert "damaged or none of ours" in message_of(saved_race, race.folder)


def test_a_race_that_has_moved_finds_its_text(race: Race, tmp_path: Path) -> None:
    moved = race.folder.rename(tmp_path / "moved")
    assert resume_race(moved).corpus.path == moved / "corpus"
    shutil.rmtree(moved / "corpus")
    assert message_of(resume_race, moved) == (
        f"{race.folder / 'corpus'}: the text of the race in {moved} is no longer there; put it back"
    )


def test_a_prepared_text_that_has_moved_can_be_given(source: Path) -> None:
    corpus = prepare([source], source.parent / "it.corpus", TextOptions())
    race = begun(source.parent / "race", corpus.path, race_config())
    cell = race.config.cells[0]
    assert finish_run(race.run_of(cell), lambda: True) == Outcome("stopped")
    moved = corpus.path.rename(source.parent / "moved")
    assert message_of(resume_race, race.folder).endswith("is no longer there; put it back")
    again = resume_race(race.folder, [moved])
    assert again.corpus.path == moved
    assert finish_run(again.run_of(cell)) == Outcome("done")
    again.record(cell, Outcome("done"))
    assert resume_race(race.folder).corpus.path == moved.resolve()
    other = prepare([source], source.parent / "other", TextOptions(split="0.5/0.3/0.2"))
    assert message_of(resume_race, race.folder, [other.path]) == (
        f"{other.path}: not the text of the race in {race.folder}; leave it out, or give that one"
    )


def test_the_folder_of_a_race_unless_one_is_given() -> None:
    assert default_folder([Path("data/shakespeare.txt")]) == Path("races/shakespeare")
