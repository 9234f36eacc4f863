"""page.py: runs by their strategies."""

from __future__ import annotations

from rnnbptt.report.page import by_strategy
from support.race_findings import run


def test_strategies_stand_in_the_order_of_their_first_runs() -> None:
    runs = [run("64", 1, 64), run("1", 0, 1), run("64", 0, 64)]
    groups = by_strategy(runs)
    assert list(groups) == ["64", "1"]
    assert groups["64"] == [runs[0], runs[2]]
