"""Pictures: the learning curves of several runs, and what a probe of one has found.

Learning curves are validation bits per character over characters, over updates and over time: three axes, because a
claim such as "learns faster" means something else on each of them.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from rnnbptt.errors import UserError
from rnnbptt.storage.files import whole_file
from rnnbptt.study.comparing import Curve, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.standing.axes import Axes

    from rnnbptt.study.probe.probing import Probe

FORMATS = (".png", ".svg")
PANELS = {"chars": "characters seen", "updates": "updates", "seconds": "training time (seconds)"}

# Okabe & Ito's colours, which the colour-blind tell apart, without the yellow that white paper swallows. The cycles
# have different lengths, so that a line whose colour comes again has another marker.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "<", "d", ">")
STYLES = ("-", "--", "-.", ":")

GREY, LIGHT = "#444444", "#e4e4e4"
DECADES = 2  # an axis that spans more is logarithmic
SETTLED = 0.1  # of a run: what it lost before that would squeeze all the rest


def check_format(path: Path) -> None:
    """UserError unless the suffix of `path` says PNG or SVG: to be asked before the work, not after it."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--plot {path}: cannot tell the format from {path.suffix!r}; give a name in .png or .svg")


def plot_curves(rows: Sequence[Row], path: Path) -> tuple[str, ...]:
    """Draw the learning curve of each row into `path`, PNG or SVG by its suffix.

    Returns what there is to say: which rows are left out because they have no curve, or validated on training text.
    UserError when none has a curve, for another suffix, and when the file cannot be written.
    """
    check_format(path)
    drawn = [(row, row.curve) for row in rows if row.curve]
    if not drawn:
        raise UserError(
            f"--plot {path}: no checkpoint has the metrics.jsonl of its run beside it; give run folders as rnnbptt "
            "train leaves them (such as runs/NAME), or leave out --plot"
        )
    _save(_draw(drawn), path)
    return tuple(filter(None, map(_note, rows)))


def _save(figure: Figure, path: Path) -> None:
    from matplotlib import rc_context

    suffix = path.suffix.lower()
    # Without the date, and with a fixed salt for the ids in an SVG, the same curves make the same file.
    metadata = {"Date": None} if suffix == ".svg" else None
    with (
        whole_file(path, "; give a file that can be written") as partial,
        rc_context({"svg.hashsalt": "rnnbptt"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script the font lacks: boxes will do
        figure.savefig(partial, format=suffix[1:], dpi=150, metadata=metadata)


def _note(row: Row) -> str:
    if not row.curve:
        return f"{row.name} is not in the plot: there is no metrics.jsonl of its run beside {row.path}."
    if row.curve.split != "valid":
        return f"{row.name} has no validation split: its curve is of the end of its training text."
    return ""


def _draw(drawn: Sequence[tuple[Row, Curve]]) -> Figure:
    # The object interface: pyplot would look for a display, and keep every figure it made.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(PANELS), sharey=True)
    lines: list[Line2D] = []
    for axes, (axis, label) in zip(panels, PANELS.items(), strict=True):
        lines = _draw_lines(axes, axis, [curve for _, curve in drawn])
        _dress(axes, axis, label, [curve for _, curve in drawn])
    panels[0].set_ylim(*_limits([curve for _, curve in drawn]))
    panels[0].set_ylabel("validation bits per character", color=GREY)
    legend = figure.legend(
        lines, [" "] * len(lines), loc="outside lower center", ncols=min(4, len(lines)), frameon=False, handlelength=3
    )
    # Set afterwards: a label that starts with _ would be dropped, and one with two $ be taken for a formula.
    for text, (row, _) in zip(legend.get_texts(), drawn, strict=True):
        text.set_parse_math(False)
        text.set_text(f"{row.name}  (trunc {row.trunc})")
    return figure


def _draw_lines(axes: Axes, axis: str, curves: Sequence[Curve]) -> list[Line2D]:
    looks = zip(cycle(COLOURS), cycle(MARKERS), cycle(STYLES), strict=False)
    lines = []
    for curve, (colour, marker, style) in zip(curves, looks, strict=False):
        every = math.ceil(len(curve.bpc) / 20)  # enough to tell the lines apart, not a caterpillar
        lines += axes.plot(
            getattr(curve, axis),
            curve.bpc,
            color=colour,
            linestyle=style,
            linewidth=1.6,
            marker=marker,
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            markevery=every,
        )
    return lines


def _dress(axes: Axes, axis: str, label: str, curves: Sequence[Curve]) -> None:
    """Scale and labels."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

    values = [value for curve in curves for value in getattr(curve, axis) if value > 0]
    decades = math.log10(max(values) / min(values)) if values else 0
    # Updates always: between truncations they differ by factors, and the lines would lie on the axis.
    if values and (axis == "updates" or decades > DECADES):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    # 100k characters, but not 100m seconds: those are no minutes.
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}") if axis == "seconds" else EngFormatter(sep=""))
    _label(axes, label)


def _label(axes: Axes, x: str, y: str = "") -> None:
    """Labels, a light grid, and no more ink than that."""
    axes.set_xlabel(x, color=GREY)
    if y:
        axes.set_ylabel(y, color=GREY)
    axes.grid(color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=GREY, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")


def _limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """From the best value of all to the worst that any run had once a tenth of it was done, and a margin."""
    low = min(min(curve.bpc) for curve in curves)
    high = max(
        max(bpc for chars, bpc in zip(curve.chars, curve.bpc, strict=True) if chars >= SETTLED * curve.chars[-1])
        for curve in curves
    )
    margin = 0.05 * (high - low) or 0.05
    return low - margin, high + margin


# --- the probe --------------------------------------------------------------------------------------------------------


def plot_probe(probe: Probe, path: Path) -> None:
    """Draw the cosines, the gradient by lag and the loss by context into `path`, PNG or SVG by its suffix."""
    check_format(path)
    _save(_draw_probe(probe), path)


def _draw_probe(probe: Probe) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(14, 4.6), layout=ConstrainedLayoutEngine(wspace=0.06))
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    _draw_cosines(left, probe)
    _draw_fading(middle, probe)
    _draw_contexts(right, probe)
    return figure


def _draw_cosines(axes: Axes, probe: Probe) -> None:
    """A line for each recurrent parameter, and those of all of them together: cut, and with SnAp-1 past the cut."""
    from rnnbptt.study.probe.fidelity import RECURRENT

    cut, tail = (
        sorted((int(match[1]), found.cosine) for found in probe.gradients if (match := form.fullmatch(found.trunc)))
        for form in (re.compile(r"([0-9]+)"), re.compile(r"snap:([0-9]+)"))
    )
    snap = [(1, found.cosine) for found in probe.gradients if found.trunc == "snap"]
    names = [name for name in cut[0][1] if name.startswith("rnn.")]
    for name, colour, style in zip(names, cycle(COLOURS[1:4] + COLOURS[5:]), cycle(STYLES), strict=False):
        line = [cosine[name] for _, cosine in cut]
        axes.plot([k for k, _ in cut], line, color=colour, linestyle=style, linewidth=1.3, label=name[len("rnn.") :])
    together = (
        (cut, "o", "-", COLOURS[4], "all of these"),
        (tail, "D", "--", COLOURS[0], "all, SnAp-1 past the cut"),
        (snap, "*", "none", COLOURS[0], "all, SnAp-1"),
    )
    for points, marker, style, colour, label in together:
        x, y = [k for k, _ in points], [cosine[RECURRENT] for _, cosine in points]
        axes.plot(x, y, color=colour, marker=marker, linestyle=style, linewidth=2, markersize=5, label=label)
    axes.set_ylim(top=1.03)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    _log_characters(axes, [k for k, _ in cut])
    _label(axes, "cut into segments of (characters)", f"cosine with the gradient of depth {probe.depth}")


def _draw_fading(axes: Axes, probe: Probe) -> None:
    """The norm at each lag, and the decay through the middle of the lags it was fitted on."""
    fading = probe.fading
    axes.plot(fading.norms, color=COLOURS[4], linewidth=1.6, label="gradient of one loss")
    lags = range(*fading.fitted)
    if 0 < fading.beta < math.inf:
        middle = sum(lags) / len(lags)
        level = math.exp(sum(math.log(fading.norms[lag]) for lag in lags) / len(lags))
        label = f"x {fading.beta:.3f} a character"
        line = [level * fading.beta ** (lag - middle) for lag in lags]
        axes.plot(lags, line, color=COLOURS[1], linestyle="--", linewidth=2, label=label)
    if any(norm > 0 for norm in fading.norms):  # not of a text of one symbol, which has nothing to learn
        axes.set_yscale("log", nonpositive="mask")
    axes.legend(loc="upper right", frameon=False, fontsize=9)
    _label(axes, "lag (characters back)", "norm of the gradient (nats per unit of state)")


def _draw_contexts(axes: Axes, probe: Probe) -> None:
    x, y = [context.characters for context in probe.contexts], [context.bpc for context in probe.contexts]
    axes.plot(x, y, color=COLOURS[4], marker="o", markersize=5, linewidth=2)
    _log_characters(axes, x)
    _label(axes, "characters read since a reset", "bits per character, the same targets")


def _log_characters(axes: Axes, ticks: Sequence[int]) -> None:
    """A logarithmic axis of whole characters, with no more labels than there is room for."""
    from matplotlib.ticker import NullFormatter

    axes.set_xscale("log", base=2)
    margin = (ticks[-1] / ticks[0]) ** 0.05
    axes.set_xlim(ticks[0] / margin, ticks[-1] * margin)  # or there are none where every value is nan
    shown = ticks[:: math.ceil(len(ticks) / 10)]
    axes.set_xticks(shown, [f"{tick:,}" for tick in shown])
    axes.xaxis.set_minor_formatter(NullFormatter())
