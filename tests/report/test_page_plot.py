"""page_plot.py: the figures that page.js draws."""

from __future__ import annotations

import json
import math

from rnnbptt.report.drawing import COLOURS, STYLES
from rnnbptt.report.page import Curve, Level
from rnnbptt.report.page_plot import DARK, axes_of, drawable, figures
from support.race_findings import a_page, run

TWO = [
    Curve("a", 0, {"chars": [10, 20], "seconds": [1, 2]}, [3, 2]),
    Curve("a", 1, {"chars": [10, 20], "seconds": [1, 3]}, [4, 2.123456789]),
    Curve("b\n", 0, {"chars": [15], "seconds": [2], "flops": [7]}, [2.5]),
]


def test_means_bands_and_runs() -> None:
    made = figures(TWO, [Level("optimum", 1.5)])
    assert [strategy["name"] for strategy in made["strategies"]] == ["a", "b\\n"]
    assert [strategy["seeds"] for strategy in made["strategies"]] == [2, 1]
    chars = made["axes"]["chars"]
    assert (chars["title"], chars["log"], chars["grid"]) == ("characters seen", False, [10, 15, 20])
    assert chars["bands"] == [
        {"mean": [3.5, 2.78086, 2.06173], "low": [3, 2.5, 2], "high": [4, 3.06173, 2.12346]},
        {name: [None, 2.5, None] for name in ("mean", "low", "high")},
    ]
    assert made["axes"]["seconds"]["grid"] == [1, 2, 3]
    assert made["axes"]["seconds"]["bands"][0]["mean"] == [3.5, 2.53086, None], "the first seed has ended at 2"
    assert made["runs"][1] == {"strategy": 0, "axes": {"chars": [10, 20], "seconds": [1, 3]}, "bpc": [4, 2.12346]}
    assert made["levels"] == [{"label": "optimum", "bpc": 1.5, "optimum": False}]


def test_only_axes_that_all_runs_have() -> None:
    assert list(axes_of(TWO)) == ["chars", "seconds"]
    assert list(axes_of(a_page().curves)) == ["chars", "updates", "seconds", "flops"]


def test_nothing_to_draw() -> None:
    diverged = Curve("a", 0, {"chars": [1, 2]}, [math.nan, 3])
    assert not drawable([])
    assert not drawable([diverged])
    assert not drawable([Curve("a", 0, {}, [3])])
    assert drawable([diverged, *TWO])


def test_a_run_that_diverged_at_once_leaves_no_mean_of_its_strategy() -> None:
    diverged = Curve("a", 2, {"chars": [10], "seconds": [1]}, [math.inf])
    made = figures([*TWO, diverged], [])
    assert made["axes"]["chars"]["bands"][0]["mean"] == [None] * 3
    assert made["runs"][3] == {"strategy": 0, "axes": {"chars": [], "seconds": []}, "bpc": []}
    json.dumps(made, allow_nan=False)


def test_many_strategies_all_look_different() -> None:
    made = figures([run(str(i), 0, 1) for i in range(20)], [])["strategies"]
    for theme in ("light", "dark"):
        assert len({(strategy[theme], *strategy["dash"]) for strategy in made}) == 20
    assert [strategy["light"] for strategy in made[:7]] == list(COLOURS)
    assert len(DARK) == len(COLOURS)
    assert len({tuple(strategy["dash"]) for strategy in made}) == len(STYLES)


def luminance(colour: str) -> float:
    """Of the definition of contrast in the guidelines for accessible pages, WCAG 2."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_lines_stand_out_from_a_dark_page() -> None:
    """At least 3 to 1, which the guidelines ask of graphics."""
    assert all((luminance(colour) + 0.05) / (luminance("#16191d") + 0.05) >= 3 for colour in DARK)
