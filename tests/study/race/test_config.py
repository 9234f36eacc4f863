"""config.py: which runs there are, and what is refused before any of them."""

from __future__ import annotations

from typing import Any

import pytest

from rnnbptt.model.config import ModelConfig
from rnnbptt.study.race.config import RaceConfig
from rnnbptt.study.race.grid import Tuned
from rnnbptt.study.race.varied import parse_vary
from rnnbptt.training.config import Budget, TrainConfig
from support.refusals import message_of


def test_each_arm_has_all_seeds_and_the_reference_others_besides() -> None:
    config = RaceConfig(("1", "064", "8/2"), seeds=2, train=TrainConfig(seed=5, lr=0.5))
    assert [(arm.label, arm.seeds) for arm in config.arms] == [
        ("1", (5, 6)),
        ("64", (5, 6)),
        ("8/2", (5, 6)),
        ("1 again", (7, 8)),
    ]
    assert [cell.place for cell in config.cells] == [
        *("1/seed-5", "1/seed-6", "64/seed-5", "64/seed-6", "8-2/seed-5", "8-2/seed-6"),
        *("1-again/seed-7", "1-again/seed-8"),
    ]
    assert [arm.train for arm in config.contestants] == [
        TrainConfig(trunc, seed=5, lr=0.5) for trunc in ("1", "64", "8/2")
    ]


def test_seven_seeds_of_each_unless_told_otherwise() -> None:
    assert [len(arm.seeds) for arm in RaceConfig(("1", "2")).arms] == [7, 7, 7]


def test_every_truncation_runs_with_every_combination_of_what_is_varied() -> None:
    config = RaceConfig(("1", "stateless:8"), vary=parse_vary(["streams=1,032", "final-lr=1e-2,1"]))
    assert [arm.label for arm in config.arms] == [
        *(f"1 streams={streams} final-lr={lr}" for streams in (1, 32) for lr in ("0.01", "1.0")),
        *(f"stateless:8 streams={streams} final-lr={lr}" for streams in (1, 32) for lr in ("0.01", "1.0")),
        "1 streams=1 final-lr=0.01 again",
    ]
    last = config.contestants[-1]
    assert last.train == TrainConfig("stateless:8", streams=32, final_lr=1.0)
    assert last.name == "stateless-8-streams=32-final-lr=1.0"


def test_what_is_varied_may_be_of_the_model() -> None:
    config = RaceConfig(("1",), vary=parse_vary(["cell=lstm,window:2"]))
    assert [arm.model for arm in config.arms] == [ModelConfig(1), ModelConfig(1, "window:2"), ModelConfig(1)]
    assert config.arms[1].name == "1-cell=window-2"


def test_a_contestant_may_have_settings_of_its_own() -> None:
    config = RaceConfig(("1", "01 cell=window:2", "8  --final-lr=1"), 1, vary=parse_vary(["streams=1,2"]))
    labels = [arm.label for arm in config.contestants]
    assert labels[2:] == [
        *("1 cell=window:2 streams=1", "1 cell=window:2 streams=2", "8 final-lr=1.0 streams=1"),
        "8 final-lr=1.0 streams=2",
    ]
    assert config.contestants[3].model == ModelConfig(1, "window:2")
    assert config.contestants[3].train == TrainConfig("1", streams=2)
    assert config.contestants[5].train == TrainConfig("8", streams=2, final_lr=1.0)
    assert config.settings()["trunc"] == ("1", "1 cell=window:2", "8 final-lr=1.0")


@pytest.mark.parametrize(
    ("trunc", "how", "said"),
    [
        ("1 cell=window:2", {"vary": {"cell": ("lstm", "gru")}}, "has cell of its own, and --vary gives it others"),
        ("1 lr=0.1", {"tune": 3}, "has lr of its own, and --tune or --lr gives it others"),
        ("1 hidden=8 hidden=9", {}, "gives hidden twice; give it once"),
        ("1 hidden=08", {}, "the same as --trunc 1 hidden=8; give each of them once"),
        ("1 hidden=8 lr=0.006", {}, "the same as 1 hidden=8; give each of them once"),
        ("1 beta2=0.9 beta2-chars=9.0", {}, "beta2-chars takes the place of beta2; give one of them"),
        ("1 optimizer=sgd beta2=0.9", {}, "beta2 is for adam and rmsprop: sgd has no such mean"),
        ("1 decay=linear final-lr=1.0", {}, "with --final-lr 1 there is no decay; leave either out"),
    ],
)
def test_settings_of_its_own_that_cannot_be(trunc: str, how: dict[str, Any], said: str) -> None:
    assert message_of(RaceConfig, ("1 hidden=8", trunc), **how) == f"--trunc {trunc}: {said}"


@pytest.mark.parametrize("seeds", [0, -1, 1001])
def test_seeds(seeds: int) -> None:
    assert message_of(RaceConfig, ("1", "2"), seeds) == f"--seeds {seeds}: must be between 1 and 1,000"


@pytest.mark.parametrize("truncs", [(), ("1",)])
def test_a_race_is_of_two(truncs: tuple[str, ...]) -> None:
    assert message_of(RaceConfig, truncs) == (
        "a race is of two or more; give --trunc more than once, or once and --vary NAME=A,B"
    )


def test_a_strategy_takes_part_once_in_whatever_spelling() -> None:
    assert message_of(RaceConfig, ("2", "8", "008")) == "--trunc 008: the same as --trunc 8; give each of them once"
    assert message_of(RaceConfig, ("rtrl:1", "rtrl")) == (
        "--trunc rtrl: the same as --trunc rtrl:1; give each of them once"
    )


def test_a_value_that_train_would_refuse() -> None:
    assert message_of(RaceConfig, ("1",), vary={"hidden": ("8", "0")}) == (
        "--hidden 0: must be between 1 and 2,000,000"
    )
    assert message_of(RaceConfig, ("1", "0")) == (
        "--trunc 0: at least 1 character is read for an update; give 1 or more"
    )


def test_the_last_seed_is_a_seed() -> None:
    RaceConfig(("1", "2"), 3, train=TrainConfig(seed=2**63 - 6))
    assert message_of(RaceConfig, ("1", "2"), 3, train=TrainConfig(seed=2**63 - 5)) == (
        f"--seed {2**63}: must be at least 0 and below 2^63"
    )


@pytest.mark.parametrize(
    ("truncs", "seeds", "said"),
    [
        ("12", 6, []),
        ("12", 1, ["1 seed cannot show a difference: with 1 comparison 6 are needed (the p of 1 seed is 1 or more)"]),
        (
            "1234",
            5,
            [
                "5 seeds cannot show a difference: with 3 comparisons 7 are needed (the p of 5 seeds is 0.062 or more)",
            ],
        ),
        ("1234", 7, []),
    ],
)
def test_too_few_seeds_are_noted(truncs: str, seeds: int, said: list[str]) -> None:
    assert list(RaceConfig(tuple(truncs), seeds).remarks()) == said


def test_minutes_are_noted() -> None:
    (said,) = RaceConfig(("1", "2"), train=TrainConfig(budget=Budget("minutes", 1))).remarks()
    assert said.startswith("a budget of minutes gives runs as much text as they come to beside the others at work;")


def test_settings_are_by_the_names_of_options() -> None:
    settings = RaceConfig(("1", "02"), vary={"streams": ("8", "9")}, train=TrainConfig(seed=3)).settings()
    assert (settings["trunc"], settings["vary"], settings["seed"]) == (("1", "2"), ("streams=8,9",), 3)
    assert {"hidden", "lr", "split", "precision", "engine", "seeds"} < settings.keys()
    assert not {"vocabulary", "budget", "truncs"} & settings.keys()


# --- tuning -----------------------------------------------------------------------------------------------------------


def test_the_rates_of_tuning() -> None:
    config = RaceConfig(("1", "2"), seeds=2, train=TrainConfig(lr=0.01, seed=3), tune=3)
    assert (config.grid, config.tuning_seed) == ((0.005, 0.01, 0.02), 7)
    assert config.candidates == tuple(0.01 * 2.0**power for power in range(-5, 6))
    given = RaceConfig(("1", "2"), rates=(0.1, 1.0))
    assert given.grid == given.candidates == (0.1, 1.0)
    assert RaceConfig(("1", "2")).grid == RaceConfig(("1", "2")).candidates == ()


def test_each_contestant_has_the_rate_that_was_chosen_for_it() -> None:
    chosen = tuple(
        Tuned(label, (0.5, 1.0), (2.0, None), lr, True)
        for label, lr in (("1 streams=1", 0.5), ("2 streams=4", 1.0), ("1 streams=4", 2.0), ("2 streams=1", 4.0))
    )
    config = RaceConfig(("1", "2"), vary={"streams": ("1", "4")}, tune=2, tuning=chosen)
    assert [(arm.label, arm.train.lr) for arm in config.arms] == [
        *(("1 streams=1", 0.5), ("1 streams=4", 2.0), ("2 streams=1", 4.0), ("2 streams=4", 1.0)),
        ("1 streams=1 again", 0.5),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tune": 1}, "--tune 1: must be between 2 and 25, or 0 for one rate that serves all"),
        ({"tune": 26}, "--tune 26: must be between 2 and 25, or 0 for one rate that serves all"),
        ({"tune": -2}, "--tune -2: must be between 2 and 25, or 0 for one rate that serves all"),
        (
            {"tune": 3, "rates": (0.1, 0.2)},
            "--tune 3: --lr gives 2 learning rates to choose from; give one, or leave --tune out",
        ),
        (
            {"tune": 3, "vary": {"lr": ("0.1", "0.2")}},
            "--vary lr=0.1,0.2: these race, and --tune chooses from such rates; give one of the two",
        ),
        ({"rates": (0.1, 0.1)}, "--lr 0.1: given twice; give each of them once"),
        ({"rates": (-1.0, 0.1)}, "--lr -1: must be a number above 0"),
        ({"tune": 2, "train": TrainConfig(lr=1e308)}, "--lr inf: must be a number above 0"),
        ({"tune": 2, "train": TrainConfig(seed=2**63 - 14)}, f"--seed {2**63}: must be at least 0 and below 2^63"),
    ],
)
def test_rates_that_cannot_be_tuned(options: dict[str, Any], said: str) -> None:
    assert message_of(RaceConfig, ("1", "2"), **options) == said


def test_tuning_is_noted() -> None:
    train = TrainConfig(budget=Budget("chars", 100_000), lr=0.01)
    (said,) = RaceConfig(("1", "2"), train=train, tune=3).remarks()
    assert said == (
        "first each is given the best of 3 learning rates from 0.005 to 0.02, by seed 14 on 25,000 characters, 25% of"
        " the budget"
    )


def test_settings_have_the_rates() -> None:
    assert RaceConfig(("1", "2"), tune=3).settings()["tune"] == 3
    assert RaceConfig(("1", "2"), rates=(0.1, 1.0)).settings()["lr"] == (0.1, 1.0)
    assert RaceConfig(("1", "2")).settings()["lr"] == (0.006,)
