"""The picture of `compare`: the learning curves of several runs.

They are validation bits per character over characters, over updates and over time: three panels, because a claim such
as "learns faster" means something else on each of them.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

from rnnbptt.errors import UserError
from rnnbptt.report.bands import AXES, is_logarithmic, limits
from rnnbptt.report.drawing import COLOURS, GREY, MARKERS, STYLES, draw_levels, label, panels_side_by_side, save
from rnnbptt.report.page import levels_of
from rnnbptt.report.terminal import escaped
from rnnbptt.study.results import Row, Yardstick

PANELS = ("chars", "updates", "seconds")
LINE: dict[str, Any] = {"linewidth": 1.6, "markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.5}


def plot_curves(rows: Sequence[Row], path: Path, yardsticks: Sequence[Yardstick] = ()) -> tuple[str, ...]:
    """Draw the learning curve of each row into `path`, PNG or SVG by its suffix, and lines for what the validation
    split takes without a network.

    Returns what there is to say: which rows are left out because they have no curve, or validated on training text.
    UserError when none has a curve, for another suffix, and when the file cannot be written.
    """
    if not any(row.curve for row in rows):
        raise UserError(
            f"--plot {path}: no checkpoint has the metrics.jsonl of its run beside it; give run folders as rnnbptt "
            "train leaves them (such as runs/NAME), or leave out --plot"
        )
    save(draw_curves(rows, yardsticks), path)
    return tuple(filter(None, map(_note, rows)))


def _note(row: Row) -> str:
    if not row.curve:
        return f"{row.name} is not in the plot: there is no metrics.jsonl of its run beside {row.path}."
    if row.curve.split != "valid":
        return f"{row.name} has no validation split: its curve is of the end of its training text."
    return ""


def draw_curves(rows: Sequence[Row], yardsticks: Sequence[Yardstick] = ()) -> Figure:
    """A panel for each axis, with the curve of every row that has one, and one legend for all."""
    levels = levels_of(yardsticks)
    curves = [row.curve for row in rows if row.curve]
    figure, panels = panels_side_by_side(12, 4.4, space=0.02, share_y=True)
    for axes, axis in zip(panels, PANELS, strict=True):
        looks = zip(cycle(COLOURS), cycle(MARKERS), cycle(STYLES), strict=False)
        for curve, (colour, marker, style) in zip(curves, looks, strict=False):
            every = math.ceil(len(curve.bpc) / 20)  # enough to tell the lines apart, not a caterpillar
            look = {"color": colour, "marker": marker, "linestyle": style, "markevery": every, **LINE}
            axes.plot(getattr(curve, axis), curve.bpc, **look)
        scale(axes, axis, (value for curve in curves for value in getattr(curve, axis)))
        label(axes, AXES[axis])
    shown = limits([(curve.chars, curve.bpc) for curve in curves], levels)
    panels[0].set_ylim(*shown)
    panels[0].set_ylabel("validation bits per character", color=GREY)
    legend = figure.legend(
        panels[0].lines[: len(curves)],
        [" "] * len(curves),
        loc="outside lower center",
        ncols=min(4, len(curves)),
        frameon=False,
        handlelength=3,
    )
    # Set afterwards: a label that starts with _ would be dropped, and one with two $ be taken for a formula.
    for text, row in zip(legend.get_texts(), (row for row in rows if row.curve), strict=True):
        text.set_parse_math(False)
        text.set_text(escaped(f"{row.name}  (trunc {row.trunc})"))
    for axes in panels:
        draw_levels(axes, levels, shown)
    return figure


def scale(axes: Axes, axis: str, values: Iterable[float]) -> None:
    """A logarithmic axis where the values span decades, and numbers that can be read."""
    positive = [value for value in values if value > 0]
    if is_logarithmic(axis, positive):
        axes.set_xscale("log")
        span = max(positive) / min(positive)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if span < 1000 else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    # 100k characters, but not 100m seconds: those are no minutes.
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}") if axis == "seconds" else EngFormatter(sep=""))
