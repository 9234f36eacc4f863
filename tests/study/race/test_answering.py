"""answering.py: what is said of where the learning rates come from; its figures are tested with `conclude`."""

from __future__ import annotations

from rnnbptt.study.race.answering import notes_on_rates
from rnnbptt.study.race.grid import Tuned
from support.races import race_config


def test_one_rate_that_serves_all_favours_some() -> None:
    said = "One learning rate serves all, and may suit one better than another: see --tune."
    assert list(notes_on_rates(race_config())) == [said]
    assert list(notes_on_rates(race_config("1", vary={"lr": ("0.1", "0.2")}))) == []


def test_rates_that_were_chosen_say_by_what_and_where_a_better_one_may_lie() -> None:
    scores = (3.0, 2.0)
    tuning = (
        Tuned("1", (0.1, 0.2, 0.4), (3.0, 2.0, None), 0.2, False),
        Tuned("8", (0.1, 0.2), scores, 0.2, True),
        Tuned("16", (0.1, 0.2), scores[::-1], 0.1, True),
    )
    assert list(notes_on_rates(race_config("1", "8", "16", tune=2, tuning=tuning))) == [
        "The learning rate of each is that of its best validation on 200 characters, 25% of the budget, by seed 4,"
        " which no run of the race has; all of the budget, or another seed, might have preferred another.",
        "8: the best learning rate, 0.2, is the highest that was tried.",
        "16: the best learning rate, 0.1, is the lowest that was tried.",
    ]
    same = tuple(Tuned(label, (0.1, 0.2), scores, 0.2, False) for label in ("1", "8"))
    (only,) = notes_on_rates(race_config(tune=2, tuning=same))
    assert only.startswith("The learning rate of each is ")
