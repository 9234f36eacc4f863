"""What page.js draws, as JSON takes it."""

import math
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any

from rnnbptt.report.bands import AXES, Line, band_of, finite, grid_of, is_logarithmic, limits
from rnnbptt.report.drawing import COLOURS, STYLES
from rnnbptt.report.page import Curve, Level, by_strategy
from rnnbptt.report.terminal import escaped

# The same hues in the same order for a dark page, where the colours for white paper would be too dark.
DARK = ("#4aa8e8", "#f5803e", "#2fc79a", "#e59fc6", "#ffffff", "#9ad6f7", "#f7bd4a")
DASHES = dict(zip(STYLES, ([], [9, 5], [10, 4, 2, 4], [2, 4]), strict=True))  # lengths on and off, in pixels

Groups = dict[str, list[Curve]]


def drawable(curves: Sequence[Curve]) -> bool:
    """Whether there is anything to draw: an axis that all runs have, and a value on it."""
    return bool(axes_of(curves)) and any(math.isfinite(curve.bpc[0]) for curve in curves if curve.bpc)


def axes_of(curves: Sequence[Curve]) -> dict[str, str]:
    """The titles of the axes that all runs have, by their names."""
    have = {axis: title for axis, title in AXES.items() if all(axis in curve.axes for curve in curves)}
    return have if curves else {}


def lines_of(curves: Iterable[Curve], axis: str) -> list[Line]:
    """The runs as lines over this axis; one that diverged at once is empty."""
    return [finite(curve.axes[axis], curve.bpc) for curve in curves]


def limits_of(curves: Sequence[Curve], levels: Sequence[Level]) -> tuple[float, float]:
    """What the axis of bits per character of a drawable plot shows."""
    lines = [line for line in lines_of(curves, next(iter(axes_of(curves)))) if line[0]]
    return limits(lines, levels)


def figures(curves: Sequence[Curve], levels: Sequence[Level]) -> dict[str, Any]:
    """Everything about a drawable plot. Numbers are as exact as can be seen."""
    groups = by_strategy(curves)
    axes = axes_of(curves)
    return {
        "strategies": list(map(_strategy, groups.items(), cycle(COLOURS), cycle(DARK), cycle(STYLES))),
        "axes": {axis: {"title": title, **_axis(groups, axis)} for axis, title in axes.items()},
        "runs": [_run(curve, list(groups).index(curve.strategy), axes) for curve in curves],
        "levels": [{"label": escaped(each.label), "bpc": each.bpc, "optimum": each.optimum} for each in levels],
        "limits": limits_of(curves, levels),
    }


def _strategy(group: tuple[str, list[Curve]], light: str, dark: str, style: str) -> dict[str, Any]:
    name, runs = group
    return {"name": escaped(name), "seeds": len(runs), "light": light, "dark": dark, "dash": DASHES[style]}


def _axis(groups: Groups, axis: str) -> dict[str, Any]:
    """A grid for the means of all strategies, so that one look at it tells the values of all."""
    lines = [lines_of(runs, axis) for runs in groups.values()]
    grid = grid_of(lines)
    bands = [band_of(group, grid) for group in lines]
    return {
        "log": is_logarithmic(axis, grid.tolist()),
        "grid": _short(grid.tolist()),
        "bands": [{name: _short(values.tolist()) for name, values in vars(band).items()} for band in bands],
    }


def _run(curve: Curve, strategy: int, axes: Iterable[str]) -> dict[str, Any]:
    lines = {axis: finite(curve.axes[axis], curve.bpc) for axis in axes}
    places = {axis: _short(line[0]) for axis, line in lines.items()}
    return {"strategy": strategy, "axes": places, "bpc": _short(finite(curve.bpc, curve.bpc)[1])}


def _short(values: Iterable[float]) -> list[float | None]:
    """To six digits, and without a point where there is nothing behind it; None for what is not finite."""
    rounded = (float(f"{value:.6g}") if math.isfinite(value) else None for value in values)
    return [int(value) if value is not None and value.is_integer() else value for value in rounded]
