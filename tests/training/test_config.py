"""Configurations: budgets and learning rates, their shares and ends, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbptt.training.config import DECAYS, UNITS, Budget, TrainConfig
from rnnbptt.training.records import Axes
from support.refusals import message_of


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("amount", "shown"), [(0, "0"), (-2.5, "-2.5"), (math.nan, "nan"), (1e16, "1e+16")])
def test_a_budget_must_be_positive(unit: str, amount: float, shown: str) -> None:
    assert message_of(Budget, unit, amount) == f"--{unit} {shown}: must be a number above 0 and at most 1e+15"


@pytest.mark.parametrize(
    ("budget", "chars"),
    [
        (Budget("epochs", 2), 2000),
        (Budget("epochs", 0.0015), 2),
        (Budget("chars", 12345), 12345),
        (Budget("updates", 3), None),
        (Budget("minutes", 3), None),
    ],
)
def test_characters_of_a_budget(budget: Budget, chars: int | None) -> None:
    assert budget.chars(1000) == chars


@pytest.mark.parametrize(
    ("budget", "share"),
    [
        (Budget("epochs", 2), 0.25),
        (Budget("chars", 1000), 0.5),
        (Budget("updates", 70), 0.1),
        (Budget("minutes", 2), 0.75),
        (Budget("chars", 500), 1.0),
        (Budget("chars", 499), 1.0),
        (Budget("updates", 6), 1.0),
        (Budget("minutes", 1), 1.0),
    ],
)
def test_share_that_is_spent(budget: Budget, share: float) -> None:
    assert budget.spent(Axes(chars=500, updates=7, seconds=90.0, flops=1e9), 1000) == pytest.approx(share)


@pytest.mark.parametrize("unit", UNITS)
def test_a_budget_starts_unspent(unit: str) -> None:
    assert Budget(unit, 1).spent(Axes(), 1000) == 0


@pytest.mark.parametrize(("spent", "rate"), [(0.0, 2.0), (1 / 3, 1.55), (0.5, 1.1), (2 / 3, 0.65), (1.0, 0.2)])
def test_cosine_decay(spent: float, rate: float) -> None:
    assert TrainConfig(lr=2.0, final_lr=0.1).learning_rate(spent, 12345) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(("spent", "rate"), [(0.0, 2.0), (1 / 3, 1.4), (0.5, 1.1), (2 / 3, 0.8), (1.0, 0.2)])
def test_linear_decay(spent: float, rate: float) -> None:
    config = TrainConfig(lr=2.0, decay="linear", final_lr=0.1)
    assert config.learning_rate(spent, 12345) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(("chars", "share"), [(0, 0.01), (49, 0.5), (99, 1.0), (100, 1.0), (10**9, 1.0)])
def test_warmup_is_linear_in_characters(chars: int, share: float) -> None:
    config = TrainConfig(lr=2.0, warmup=100, final_lr=1.0)
    assert config.learning_rate(0.3, chars) == pytest.approx(2 * share, rel=1e-12)


@given(st.floats(0, 1), st.integers(0, 10**9), st.integers(0, 10**6), st.sampled_from(DECAYS), st.floats(0, 1))
def test_rate_lies_between_its_ends(spent: float, chars: int, warmup: int, decay: str, final: float) -> None:
    config = TrainConfig(lr=1.0, warmup=warmup, decay=decay, final_lr=final)
    first, now, last = (config.learning_rate(share, chars) for share in (0.0, spent, 1.0))
    assert first >= now >= last
    assert last == pytest.approx(final * first, rel=1e-12)
    assert now <= config.learning_rate(spent, chars + 1) <= 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimizer": "lion"}, "--optimizer lion: unknown; give one of adam, rmsprop, sgd, muon"),
        ({"lr": 0.0}, "--lr 0: must be a number above 0"),
        ({"lr": math.nan}, "--lr nan: must be a number above 0"),
        ({"decay": "Linear"}, "--decay Linear: unknown; give one of cosine, linear"),
        ({"final_lr": 1.5}, "--final-lr 1.5: must be between 0 and 1"),
        ({"beta2": -0.1}, "--beta2 -0.1: must be at least 0 and below 1"),
        ({"beta2": 1.0}, "--beta2 1: must be at least 0 and below 1"),  # the mean of squares would stay 0
        ({"warmup": -1}, "--warmup -1: must be a number from 0 to 1e+15"),
        ({"weight_decay": -0.1}, "--weight-decay -0.1: must be a number from 0 to 1e+06"),
        ({"weight_decay": 1e308}, "--weight-decay 1e+308: must be a number from 0 to 1e+06"),
        ({"beta2_chars": -1.0}, "--beta2-chars -1: must be a number from 0 to 1e+15"),
        ({"beta2_chars": 1e308}, "--beta2-chars 1e+308: must be a number from 0 to 1e+15"),
        ({"clip": math.nan}, "--clip nan: must be a number from 0 to 1e+15"),
        ({"reset_every": -1}, "--reset-every -1: must be a number from 0 to 1e+15"),
        *(
            (
                {"reset_every": 9, "trunc": trunc},
                f"--reset-every 9: --trunc {trunc} {why}; leave it out, or give a plain K well below it",
            )
            for trunc, why in (
                ("stateless:4", "sets every state to zero anyway"),
                ("2/6", "keeps characters from before a reset"),
                *(
                    (trunc, "has updates of up to 16 characters, and states are set to zero only between them")
                    for trunc in ("16", "1..16", "16..1")
                ),
                ("full", "has updates of all there are, and states are set to zero only between them"),
            )
        ),
        ({"eval_every": -1}, "--eval-every -1: must be a number from 0 to 1e+15"),
        ({"seed": -1}, "--seed -1: must be at least 0 and below 2^63"),
        ({"seed": 2**63}, f"--seed {2**63}: must be at least 0 and below 2^63"),
        (
            {"trunc": "shuffled-state:4", "streams": 1},
            "--streams 1: there is no other stream to hand the state to, as --trunc shuffled-state:4 does; give at"
            " least 2",
        ),
        ({"trunc": "0"}, "--trunc 0: at least 1 character is read for an update; give 1 or more"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    assert message_of(TrainConfig, **wrong) == message


def test_configuration_survives_json() -> None:
    config = TrainConfig(trunc="1..8@plateau", budget=Budget("minutes", 0.1), lr=0.1 + 0.2, seed=7)
    assert msgspec.convert(json.loads(json.dumps(asdict(config))), TrainConfig) == config
