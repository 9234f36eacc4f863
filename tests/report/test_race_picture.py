"""race_picture.py: what is on the picture, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from rnnbptt.report.page import Curve, Level, Page
from rnnbptt.report.page_plot import limits_of
from rnnbptt.report.race_picture import draw_race, plot_race
from support.pictures import words_of
from support.race_findings import a_page
from support.refusals import message_of

TITLES = {"characters seen", "updates", "training time (seconds)", "operations (floating point)"}


def test_an_svg_with_all_axes_levels_and_names(tmp_path: Path) -> None:
    page = replace(a_page("_hidden"), levels=[Level("$x$", 2.0), Level("far off", 9.0)])
    plot_race(page, path := tmp_path / "race.svg")
    assert words_of(path) >= TITLES | {"validation bits per character", "1", "_hidden", "1..64", "$x$"}


def test_the_same_page_makes_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        plot_race(a_page(), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    plot_race(a_page(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_lines_are_means_and_bands_go_from_lowest_to_highest() -> None:
    curves = [
        Curve("a", 0, {"chars": [10, 20]}, [3, 2]),
        Curve("a", 1, {"chars": [10, 20]}, [4, 2.5]),
        Curve("b", 0, {"chars": [15, 20]}, [2.5, 2]),
    ]
    (panel,) = draw_race(Page("t", [], curves)).axes
    first, second = panel.lines
    assert first.get_xdata().tolist() == [10, 15, 20]
    assert first.get_ydata().tolist() == [3.5, 2.875, 2.25]
    assert second.get_ydata().tolist() == pytest.approx([math.nan, 2.5, 2], nan_ok=True)
    low, high = panel.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == (2, 4)


def test_axes_are_drawn_as_on_the_page() -> None:
    page = a_page()
    panels = draw_race(page).axes
    assert [panel.get_xscale() for panel in panels] == ["linear", "log", "linear", "linear"]
    assert panels[0].get_ylim() == limits_of(page.curves, page.levels)
    assert panels[0].get_ylim()[0] < 2.0, "the optimum, which is near"
    assert panels[0].get_ylim()[1] < 5, "not the entropy, which is far off"


def test_refusals(tmp_path: Path) -> None:
    diverged = Curve("a", 0, {"chars": [1]}, [math.nan])
    said = "cannot draw a.png: no run of the race has a validation that is finite"
    assert message_of(plot_race, Page("t", [], [diverged]), Path("a.png")) == said
    said = "--plot a.pdf: cannot tell the format from '.pdf'; give a name in .png or .svg"
    assert message_of(plot_race, a_page(), Path("a.pdf")) == said
    assert not list(tmp_path.iterdir())
