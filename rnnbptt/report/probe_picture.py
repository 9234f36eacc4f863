"""The picture of `probe`: the cosine of each truncation, the gradient by lag and the loss by context."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from rnnbptt.report.drawing import BLACK, BLUE, COLOURS, RED, STYLES, label, panels_side_by_side, save
from rnnbptt.study.probe.fidelity import RECURRENT
from rnnbptt.study.probe.results import Probe

ROOM_FOR = 10  # labels below an axis


def plot_probe(probe: Probe, path: Path) -> None:
    """Draw it into `path`, PNG or SVG by its suffix; UserError for another, and where it cannot be written."""
    save(draw_probe(probe), path)


def draw_probe(probe: Probe) -> Figure:
    """A panel for each of the three."""
    figure, (left, middle, right) = panels_side_by_side(14, 4.6, space=0.06, share_y=False)
    _draw_cosines(left, probe)
    _draw_fading(middle, probe)
    _draw_contexts(right, probe)
    return figure


def _draw_cosines(axes: Axes, probe: Probe) -> None:
    """A line for each recurrent parameter, and those of all of them together: cut, and with SnAp-1 past the cut."""
    cosines = {found.trunc: found.cosine for found in probe.gradients}
    cut, tail = _by_length(cosines, ""), _by_length(cosines, "snap:")
    snap = {1: cosines["snap"]} if "snap" in cosines else {}
    names = [name for name in next(iter(cut.values())) if name.startswith("rnn.")]
    for name, colour, style in zip(names, cycle(COLOURS[1:4] + COLOURS[5:]), cycle(STYLES), strict=False):
        line = [cosine[name] for cosine in cut.values()]
        axes.plot(list(cut), line, color=colour, linestyle=style, linewidth=1.3, label=name[len("rnn.") :])
    for points, marker, style, colour, name in (
        (cut, "o", "-", BLACK, "all of these"),
        (tail, "D", "--", BLUE, "all, SnAp-1 past the cut"),
        (snap, "*", "none", BLUE, "all, SnAp-1"),
    ):
        if not points:  # not of a cell whose units have no influences of their own
            continue
        x, y = list(points), [cosine[RECURRENT] for cosine in points.values()]
        axes.plot(x, y, color=colour, marker=marker, linestyle=style, linewidth=2, markersize=5, label=name)
    axes.set_ylim(top=1.03)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    _log_characters(axes, list(cut))
    label(axes, "cut into segments of (characters)", f"cosine with the gradient of depth {probe.depth}")


def _by_length(cosines: Mapping[str, dict[str, float]], prefix: str) -> dict[int, dict[str, float]]:
    """Those of the truncations that are this prefix and a number K, by K."""
    lengths = (trunc.removeprefix(prefix) for trunc in cosines if trunc.startswith(prefix))
    return {k: cosines[f"{prefix}{k}"] for k in sorted(map(int, filter(str.isdecimal, lengths)))}


def _draw_fading(axes: Axes, probe: Probe) -> None:
    """The norm at each lag, and the decay through the middle of the lags it was fitted on."""
    fading = probe.fading
    axes.plot(fading.norms, color=BLACK, linewidth=1.6, label="gradient of one loss")
    lags = range(*fading.fitted)
    if 0 < fading.beta < math.inf:
        middle = sum(lags) / len(lags)
        level = math.exp(sum(math.log(fading.norms[lag]) for lag in lags) / len(lags))
        line = [level * fading.beta ** (lag - middle) for lag in lags]
        axes.plot(lags, line, color=RED, linestyle="--", linewidth=2, label=f"x {fading.beta:.3f} a character")
    if any(norm > 0 for norm in fading.norms):  # not of a text of one symbol, which has nothing to learn
        axes.set_yscale("log", nonpositive="mask")
    axes.legend(loc="upper right", frameon=False, fontsize=9)
    label(axes, "lag (characters back)", "norm of the gradient (nats per unit of state)")


def _draw_contexts(axes: Axes, probe: Probe) -> None:
    x, y = zip(*((context.characters, context.bpc) for context in probe.contexts), strict=True)
    axes.plot(x, y, color=BLACK, marker="o", markersize=5, linewidth=2)
    _log_characters(axes, x)
    label(axes, "characters read since a reset", "bits per character, the same targets")


def _log_characters(axes: Axes, ticks: Sequence[int]) -> None:
    """A logarithmic axis of whole characters, with no more labels than there is room for."""
    axes.set_xscale("log", base=2)
    margin = (ticks[-1] / ticks[0]) ** 0.05
    axes.set_xlim(ticks[0] / margin, ticks[-1] * margin)  # or there are none where every value is nan
    shown = ticks[:: math.ceil(len(ticks) / ROOM_FOR)]
    axes.set_xticks(shown, [f"{tick:,}" for tick in shown])
    axes.xaxis.set_minor_formatter(NullFormatter())
