"""race_words.py and race_tables.py: what a race has found, to the letter."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from rnnbptt.report.race_tables import show_race
from rnnbptt.report.race_words import sentences, tables
from rnnbptt.study.race.differences import paired_difference
from rnnbptt.study.race.grid import Tuned
from rnnbptt.study.race.results import Contestant, Spread
from rnnbptt.study.race.verdicts import Against, Verdict
from support.race_findings import COST, a_contestant, a_result


def test_the_answer_in_sentences() -> None:
    result = a_result(a_contestant("64", 2.1, -0.2, word="better"), a_contestant("8", 2.4, 0.1, word="worse"))
    assert [*sentences(result)] == [
        "64 is better than 1: -0.200 ± 0.002 bits per character (p = 0.0312).",
        "8 is worse than 1: +0.100 ± 0.002 bits per character (p = 0.0312).",
        "1 against itself, by other seeds: +0.000 ± 0.002 bits per character, which is luck alone.",
        "The mean of 64 overtakes that of 1 at 55,100 characters [48,200 to open]; in 4% of resamples never.",
        "Claim: It is so. Not held: 2 to 3.",
    ]


def test_the_sentences_leave_the_crossings_of_the_others_to_the_table() -> None:
    result = a_result(a_contestant("64", 2.1, -0.2), a_contestant("8", 2.4, 0.1))
    others = [replace(each, first="8") for each in result.overtakings]
    result = replace(result, overtakings=tuple(others))
    assert not [line for line in sentences(result) if "overtakes" in line]
    (table,) = (table for table in tables(result) if table.title == "crossings")
    assert len(table.rows) == len(others)


@pytest.mark.parametrize(
    ("lacks", "why"),
    [
        (("p",), "p = 0.0312 is above 0.05"),
        (("interval",), "an interval as wide as the number of comparisons asks for holds 0"),
        (("no interval",), "fewer than 3 seeds, or 2,000 characters, make no interval"),
        (("median",), "mean and median, or ranks, point to different sides"),
        (("A/A",), "1 is as far from itself"),
        (("p", "A/A"), "p = 0.0312 is above 0.05, 1 is as far from itself"),
    ],
)
def test_what_is_not_shown_says_why(lacks: tuple[str, ...], why: str) -> None:
    first, *_ = sentences(a_result(a_contestant("64", 2.1, -0.2, lacks=lacks)))
    assert first == f"Between 64 and 1 no difference is shown: -0.200 ± 0.002 bits per character; {why}."


def test_where_runs_diverged_their_numbers_stand_in_place_of_the_difference() -> None:
    diverged = paired_difference([math.inf, 2.0, math.inf], [2.0, math.inf, 2.0], np.empty((0, 0)))
    verdict = Verdict("worse", 0.02, ())
    first, *_ = sentences(a_result(Contestant("64", (), *[Spread(None, None)] * 3, COST, Against(diverged, verdict))))
    assert first == "64 is worse than 1: 2 of its runs diverged, 1 of 1's (p = 0.02)."


def test_tables_hold_the_figures() -> None:
    test, validation, cost, crossings, threshold = tables(a_result(a_contestant("64", 2.1, -0.2, word="better")))
    assert test.title == "test: 59,452 characters"
    assert test.rows == [
        ["1", "2.3000", "-", "the reference", "", ""],
        ["64", "2.1000", "-", "-0.200 ± 0.002", "0.031", "better"],
        ["1 again", "2.3000", "-", "+0.000 ± 0.002", "0.031", "not shown"],
        ["(xz -9e)", "2.8750", *[""] * 4],
    ]
    assert validation.rows[1] == ["64", "2.5000", "0.0200", "2.4000", "0.0100", "7", "0"]
    assert cost.rows[0] == ["1", "300,000", "18,750", "33.1", "1.8e+11"]
    assert crossings.rows == [
        ["64 overtakes 1", "characters", "55,100 [48,200 to open]", "4%"],
        ["64 overtakes 1", "operations", "4.29e+10 [3.76e+10 to 4.97e+10]", "0%"],
    ]
    assert threshold.title == "until 2.4000 bpc"
    assert threshold.rows == [["1", "1 of 2", *"----"], ["64", "2 of 2", "11", "11", "11.0", "11"]]
    assert all(len(row) == len(table.columns) for table in (test, validation, cost, crossings) for row in table.rows)


def test_the_terminal_has_tables_then_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    result = a_result(a_contestant("1..64@plateau", 2.1, -0.2, word="better"))
    show_race(result)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "\n1..64@plateau               2.1000   -  -0.200 ± 0.002  0.031     better\n" in out
    assert " ".join(out.split()).endswith(" ".join(sentences(result)))


TUNING = (
    Tuned("1", (0.5, 1.0, 2.0), (2.25, 2.0, None), 1.0, False),
    Tuned("64", (1.0, 2.0, 4.0), (3e20, 2.5, 2.125), 4.0, True),
)


def test_learning_rates_are_shown_with_the_chosen_ones(capsys: pytest.CaptureFixture[str]) -> None:
    result = replace(a_result(), tuning=TUNING)
    *others, table = tables(result)
    assert others == tables(a_result())
    assert (table.title, table.columns) == ("learning rates", ["--lr", "1", "64"])
    assert table.rows == [
        ["0.5", "2.2500", ""],
        ["1", "* 2.0000", "3.0e+20"],
        ["2", "diverged", "2.5000"],
        ["4", "", "* 2.1250"],
    ]
    show_race(result)
    assert "\n2               diverged    2.5000\n" in capsys.readouterr().out


def test_learning_rates_of_many_are_shown_in_parts(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{trunc} streams={streams}" for trunc in ("1", "64", "1..64@plateau") for streams in (8, 16, 32)]
    result = replace(a_result(), tuning=tuple(replace(TUNING[1], label=name) for name in names))
    parts = [table.columns[1:] for table in tables(result) if table.title == "learning rates"]
    assert [name for part in parts for name in part] == names
    show_race(result)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert all(name in out for name in names)
    assert "\N{HORIZONTAL ELLIPSIS}" not in out
    assert out.count("* 2.1250") == len(names)
