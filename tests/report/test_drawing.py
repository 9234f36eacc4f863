"""drawing.py: names that stand beside lines are read, whatever lies beside them."""

from __future__ import annotations

from itertools import combinations

import pytest

from rnnbptt.report.drawing import draw_levels, make_figure
from rnnbptt.report.page import Level


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(
    "heights",
    [(2.9, 2.9), (2.9, 2.89), (2.9, 2.85), (2.9, 2.6), (2.9, 2.89, 2.88), (2.9, 2.85, 2.785), (2.9, 2.85, 2.76, 2.74)],
)
def test_names_of_close_levels_do_not_cover_each_other(heights: tuple[float, ...], rows: int) -> None:
    """At either end of the panels of `compare` and of a race, which are half as high."""
    figure = make_figure(12, 4.4 if rows == 1 else 7.5, space=0.03)
    axes = figure.subplots(rows, 2, squeeze=False)[0, 0]
    axes.set_ylim(2, 3)
    low = [5 - height - 0.05 for height in heights]
    draw_levels(axes, [Level(f"level {height}", height) for height in (*heights, *low)], (2, 3))
    figure.draw_without_rendering()
    boxes = [words.get_window_extent().padded(-0.5) for words in axes.texts]
    assert len(boxes) == 2 * len(heights)
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
