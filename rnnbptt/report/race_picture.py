"""The picture of a race: mean and band over seeds of each strategy, on every axis."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnbptt.errors import UserError
from rnnbptt.report.bands import band_of, grid_of
from rnnbptt.report.curves import scale
from rnnbptt.report.drawing import COLOURS, GREY, STYLES, draw_levels, label, make_figure, save
from rnnbptt.report.page import Curve, Level, Page, by_strategy
from rnnbptt.report.page_plot import axes_of, drawable, limits_of, lines_of
from rnnbptt.report.terminal import escaped

COLUMNS = 2  # panels side by side


def plot_race(page: Page, path: Path) -> None:
    """Draw the curves and levels of the page into `path`, PNG or SVG by its suffix.

    UserError where no run has a finite validation, for another suffix, and where it cannot be written.
    """
    if not drawable(page.curves):
        raise UserError(f"cannot draw {path}: no run of the race has a validation that is finite")
    save(draw_race(page), path)


def draw_race(page: Page) -> Figure:
    """A panel for each axis that all runs have, and one legend for all."""
    titles, shown = axes_of(page.curves), limits_of(page.curves, page.levels)
    groups = by_strategy(page.curves)
    figure = make_figure(11, 7.5, space=0.03)
    panels = figure.subplots(-(-len(titles) // COLUMNS), COLUMNS, sharey=True, squeeze=False).flat
    for axes, (axis, title) in zip(panels, titles.items(), strict=False):
        _draw_axis(axes, axis, list(groups.values()), page.levels, shown)
        label(axes, title)
    first, *others = figure.axes
    first.set_ylim(*shown)
    figure.supylabel("validation bits per character", color=GREY, fontsize="medium")
    for axes in others[len(titles) - 1 :]:
        axes.remove()
    _name(figure, first, list(groups))
    return figure


def _draw_axis(
    axes: Axes, axis: str, groups: Sequence[Sequence[Curve]], levels: Sequence[Level], shown: tuple[float, float]
) -> None:
    lines = [lines_of(runs, axis) for runs in groups]
    grid = grid_of(lines)
    for group, colour, style in zip(lines, cycle(COLOURS), cycle(STYLES), strict=False):
        band = band_of(group, grid)
        axes.plot(grid, band.mean, color=colour, linestyle=style, linewidth=1.8)
        axes.fill_between(grid, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
    draw_levels(axes, levels, shown)
    scale(axes, axis, grid.tolist())


def _name(figure: Figure, axes: Axes, names: Sequence[str]) -> None:
    """The legend, below all panels."""
    lines = axes.lines[: len(names)]
    columns = min(4, len(names))
    legend = figure.legend(
        lines, [" "] * len(names), loc="outside lower center", ncols=columns, frameon=False, handlelength=3
    )
    # Set afterwards: a label that starts with _ would be dropped, and one with two $ be taken for a formula.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(escaped(name))
