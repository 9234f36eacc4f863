"""drawing.py: names that stand beside lines are read, whatever lies beside them."""

from __future__ import annotations

from itertools import combinations

import pytest

from rnnbptt.report.drawing import draw_levels, panels_side_by_side
from rnnbptt.report.page import Level


@pytest.mark.parametrize("gap", [0.0, 0.0001, 0.03, 0.3])
@pytest.mark.parametrize("height", [2.1, 2.9])
def test_names_of_close_levels_do_not_cover_each_other(height: float, gap: float) -> None:
    """At either end of the panel."""
    figure, (axes, *_) = panels_side_by_side(12, 4.4, space=0.02, share_y=True)
    axes.set_ylim(2, 3)
    draw_levels(axes, [Level("Kneser-Ney", height), Level("xz", height - gap), Level("optimum", 2.5, True)], (2, 3))
    figure.draw_without_rendering()
    boxes = [words.get_window_extent().padded(-0.5) for words in axes.texts]
    assert len(boxes) == 3
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
