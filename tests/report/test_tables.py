"""tables.py: the tables of `compare`, in eighty columns."""

from __future__ import annotations

import pytest

from rnnbptt.report.tables import show_comparison
from support.findings import a_comparison

NAME = "a-name-of-24-characters-"


def test_a_comparison_fits(capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison(a_comparison(NAME))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith(NAME + "  ") for line in lines) == 4
    test = lines[next(index for index, line in enumerate(lines) if line.startswith("test")) :]
    assert [line.split() for line in test] == [
        ["test:", "5,000,000", "chars", "bits/char", "perplexity", "difference", "verdict"],
        [NAME, "2.5000", "5.657", "the", "first"],
        ["second", "2.2500", "4.757", "-0.250", "±", "0.010", "better"],
        ["third", "2.5010", "5.661", "+0.001", "±", "0.010", "not", "told", "apart"],
        ["(xz", "-9e)", "2.8750"],
    ]


def test_the_first_may_be_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison(a_comparison(half=0.0004))
    shown = capsys.readouterr().out
    assert "+0.0010 ± 0.0004  worse" in shown
    assert "-0.2500 ± 0.0004  better" in shown


def test_too_short_a_text_has_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison(a_comparison(half=None))
    shown = capsys.readouterr().out
    assert "-0.250  text too short" in shown
    assert "±" not in shown


def test_a_longer_name_is_folded_and_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison(a_comparison(name := "x" * 70))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(line.split(" ")[0] for line in lines if line.startswith("x")) == 4 * name
