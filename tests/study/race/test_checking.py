"""checking.py: what is refused before any run begins, how all are computed alike, and which take longest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rnnbptt.model.config import ModelConfig
from rnnbptt.study.race.checking import alike, look_over
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.config import Budget, TrainConfig
from support.races import begun, race_config
from support.refusals import message_of
from support.texts import make_corpus, prose

FEW = TrainConfig(budget=Budget("chars", 800), streams=1)


def test_one_engine_computes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"engine": "auto", "train": FEW}
    config, notes = alike(race_config("1", "8", **few))
    assert (config.engine, config.precision, notes) == ("compiled", "float32", [])
    config, notes = alike(race_config("1", "8", "uoro", **few, precision="float32"))
    assert (config.engine, config.precision) == ("torch", "float32")
    assert notes == ["all are computed by --engine torch: uoro:1 would not be by the compiled one"]
    config, notes = alike(race_config("1", vary={"streams": ("1", "9999")}, engine="auto"))
    assert (config.engine, len(notes)) == ("torch", 1)
    monkeypatch.setattr("rnnbptt.bptt.engines.unavailable", lambda: "no numba")
    config, notes = alike(race_config("1", "8", **few))
    assert (config.engine, notes) == ("torch", ["the compiled engine cannot be had here, torch computes: no numba"])


def test_the_precision_is_settled_before_the_race() -> None:
    assert alike(race_config())[0].precision in ("bfloat16", "float32")
    assert alike(race_config(precision="float64"))[0].precision == "float64"
    assert message_of(alike, race_config(precision="int8")).startswith("--precision int8: unknown; ")
    assert message_of(alike, race_config(engine="fast")).startswith("--engine fast: unknown; ")
    assert message_of(alike, race_config("1", "uoro", engine="compiled")).startswith("--engine compiled: computes in ")


@pytest.mark.parametrize(
    ("truncs", "options", "said"),
    [
        (("1", "500"), {}, "--trunc 500: a stream has 200 characters to read, fewer than an update takes in; give"),
        (
            ("1", "1..256"),
            {},
            "--trunc 1..256: a stream has 200 characters to read, fewer than an update takes in; give more text or"
            " budget, fewer --streams, or a shorter one",
        ),
        (("1", "1/300"), {}, "--trunc 1/300: a stream has 200 characters to read, "),
        (
            ("1", "2000"),
            {"train": TrainConfig(budget=Budget("epochs", 9), streams=4)},
            "--trunc 2000: a stream has 1,000 characters to read, ",
        ),
        (
            ("1",),
            {"vary": {"streams": ("4", "4000")}},
            "--streams 4000: too many for the 4,000 symbols of the training text, give at most 1,999",
        ),
        (("8", "snap"), {"model": ModelConfig(1, "window:2", 6)}, "--trunc snap: --cell window:2 has no state for "),
    ],
)
def test_what_cannot_be_trained(
    text_corpus: Corpus, tmp_path: Path, truncs: tuple[str, ...], options: dict[str, Any], said: str
) -> None:
    race = begun(tmp_path / "race", text_corpus.path, race_config(*truncs, **options))
    assert message_of(look_over, race).startswith(said)


def test_a_race_needs_a_test_part(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, prose(3000), "0.9/0.1/0")
    assert message_of(look_over, begun(tmp_path / "race", corpus.path, race_config())) == (
        "--split 0.9/0.1/0: leaves no test part, which decides a race; give it one, as 0.9/0.05/0.05"
    )


@pytest.mark.parametrize("unit", ["epochs", "chars", "updates", "minutes"])
def test_what_takes_long_is_known(text_corpus: Corpus, tmp_path: Path, unit: str) -> None:
    truncs = ("full", "16", "1..64", "1", "1/64", "adaptive:0.1")
    train = TrainConfig(budget=Budget(unit, 800 if unit == "chars" else 3), streams=4)
    race = begun(tmp_path / "race", text_corpus.path, race_config(*truncs, train=train))
    prospect = look_over(race)
    assert prospect.course.streams.epoch_chars == 3999
    assert list(prospect.seconds) == [*truncs, "full again"]
    longest = sorted(prospect.seconds, key=lambda label: -prospect.seconds[label])
    if unit in ("epochs", "chars"):
        assert [label for label in longest if label in ("full", "16", "1", "1/64")] == ["1/64", "1", "16", "full"]
    if unit == "minutes":
        assert set(prospect.seconds.values()) == {180}


def test_a_race_goes_on_where_there_is_no_compiler_and_says_so_once(
    text_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    race = begun(tmp_path / "race", text_corpus.path, race_config(train=FEW, engine="compiled"))
    monkeypatch.setattr("rnnbptt.bptt.engines.unavailable", lambda: "no numba")
    assert look_over(race).notes == ("the compiled engine cannot be had here, torch computes: no numba",)
