"""What all pictures share: how they look, and how they become a file."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from rnnbptt.errors import UserError
from rnnbptt.report.page import Level
from rnnbptt.report.terminal import escaped
from rnnbptt.storage.files import result_file

FORMATS = (".png", ".svg")

# Okabe & Ito's colours, which the colour-blind tell apart, without the yellow that white paper swallows. The cycles
# have different lengths, so that a line whose colour comes again has another marker.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
BLUE, RED, BLACK = COLOURS[0], COLOURS[1], COLOURS[4]
MARKERS = ("o", "s", "^", "D", "v", "<", "d", ">")
STYLES = ("-", "--", "-.", ":")
NAME_HEIGHT = 0.06  # of a panel, at most: what the name of a line takes
GREY, SPINE, LIGHT = "#444444", "#999999", "#e4e4e4"


def check_format(path: Path) -> None:
    """UserError unless the suffix of `path` says PNG or SVG: to be asked before the work, not after it."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--plot {path}: cannot tell the format from {path.suffix!r}; give a name in .png or .svg")


def panels_side_by_side(width: float, height: float, space: float, share_y: bool) -> tuple[Figure, Sequence[Axes]]:
    """A figure of so many inches, and three empty panels in it; `space` between them, as a share of their width."""
    figure = make_figure(width, height, space)
    return figure, figure.subplots(1, 3, sharey=share_y)


def make_figure(width: float, height: float, space: float) -> Figure:
    """An empty one of so many inches, with `space` between its panels, as a share of their width."""
    # The object interface: pyplot would look for a display, and keep every figure it made.
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=space))


def save(figure: Figure, path: Path) -> None:
    """Write it to `path`, as its suffix says; the same figure always makes the same file.

    UserError for another suffix than PNG's or SVG's, and where it cannot be written.
    """
    check_format(path)
    with (
        result_file(path) as partial,
        rc_context({"svg.hashsalt": "rnnbptt"}),  # or the ids in an SVG would be others each time
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script the font lacks: boxes will do
        figure.savefig(partial, format=path.suffix[1:].lower(), dpi=150, metadata={"Date": None})


def label(axes: Axes, x: str, y: str = "") -> None:
    """Label the axes, and give them a light grid and no more ink than that."""
    axes.set_xlabel(x, color=GREY)
    axes.set_ylabel(y, color=GREY)
    axes.grid(color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=GREY, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SPINE)


def draw_levels(axes: Axes, levels: Sequence[Level], shown: tuple[float, float]) -> None:
    """Horizontal lines to hold curves against, dashed for an optimum, dotted for others, in a panel that shows what
    lies between two heights.

    Each has its name at the end where curves that fall are far from it: above it, or as far below as leaves room for
    the names of others.
    """
    low, high = shown
    where, name_height = axes.get_yaxis_transform(), NAME_HEIGHT * (high - low)
    free = {"left": math.inf, "right": math.inf}  # below which height nothing is written yet
    for level in sorted(levels, key=lambda level: -level.bpc):
        axes.axhline(level.bpc, color=GREY, linestyle=(0, (6, 3)) if level.optimum else (0, (1, 2)), linewidth=1)
        x, side = (0.01, "left") if level.bpc < (low + high) / 2 else (0.99, "right")
        y, va = min(level.bpc, free[side]), "top"
        if level.bpc + name_height <= free[side]:
            y, va = level.bpc, "bottom"
        words = axes.text(x, y, " ", transform=where, ha=side, va=va, color=GREY, fontsize=8)
        words.set(parse_math=False, text=escaped(level.label), clip_on=True)
        free[side] = y if va == "bottom" else y - name_height
