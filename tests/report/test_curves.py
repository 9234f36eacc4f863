"""curves.py: the file it writes, what is on it, and what it refuses."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

from rnnbptt.report.curves import draw_curves, plot_curves
from rnnbptt.report.drawing import check_format
from rnnbptt.study.results import Curve, Row, Yardstick
from support.pictures import words_of
from support.refusals import message_of

CHARS = tuple(range(5000, 105_000, 5000))


def row(name: str, trunc: int, curve: bool = True) -> Row:
    """A run that learns fast at first; an update reads `trunc` characters of each of 10 streams."""
    updates = tuple(chars // (10 * trunc) for chars in CHARS)
    seconds = tuple(chars / 1e5 for chars in CHARS)
    bpc = tuple(2 + 3 / (1 + i) for i in range(len(CHARS)))
    return Row(
        name=name,
        path=Path("runs", name, "best.safetensors"),
        trunc=str(trunc),
        cell="lstm",
        parameters=1000,
        chars=CHARS[-1],
        updates=updates[-1],
        seconds=seconds[-1],
        characters_per_second=1e5,
        scores=(),
        curve=Curve("valid", CHARS, updates, seconds, bpc) if curve else None,
    )


def test_a_png(tmp_path: Path) -> None:
    path = tmp_path / "curves.PNG"
    assert plot_curves([row("one", 1), row("long", 64)], path) == ()
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 2 * height > 1000
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.PNG"]


def test_an_svg_with_labels_units_and_legend(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    plot_curves([row("one", 1), row("long", 64)], path)
    labels = {"validation bits per character", "characters seen", "updates", "training time (seconds)"}
    assert words_of(path) >= labels | {"one  (trunc 1)", "long  (trunc 64)"}
    assert {"100k", "10k"} <= words_of(path), "updates go from 7 to 10,000: in powers of ten"


def test_the_same_curves_make_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        plot_curves([row("one", 1)], tmp_path / name)
    for suffix in (".svg", ".png"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """No formula, nothing hidden, and no warning for letters that the font lacks."""
    path = tmp_path / "curves.svg"
    plot_curves([row("_hidden", 1), row("$x$", 2), row("训练", 4)], path)
    assert {"_hidden  (trunc 1)", "$x$  (trunc 2)", "训练  (trunc 4)"} <= words_of(path)
    (legend,) = draw_curves([row("$x$", 1)]).legends
    assert [text.get_parse_math() for text in legend.get_texts()] == [False]


def test_many_runs_all_look_different() -> None:
    panels = draw_curves([row(f"run{i}", 1) for i in range(20)]).axes
    assert len(panels) == 3
    assert all(len(panel.lines) == 20 for panel in panels)
    assert len({(line.get_color(), line.get_marker()) for line in panels[0].lines}) == 20


def test_updates_are_logarithmic_and_the_others_where_they_span_decades() -> None:
    one = row("one", 1)
    assert one.curve is not None
    scales = [axes.get_xscale() for axes in draw_curves([one]).axes]
    assert scales == ["linear", "log", "linear"]
    slow = replace(one.curve, seconds=tuple(1000 * seconds for seconds in one.curve.seconds))
    scales = [axes.get_xscale() for axes in draw_curves([one, replace(one, curve=slow)]).axes]
    assert scales == ["linear", "log", "log"]


def test_the_start_does_not_squeeze_the_rest() -> None:
    """The first tenth is cut off: from 10,000 characters on, the loss is 3.5 and less."""
    one = row("one", 1)
    assert one.curve is not None
    low, high = draw_curves([one]).axes[0].get_ylim()
    assert low < 2.15 < 3.5 < high < 3.6
    short = replace(one.curve, chars=(10,), updates=(1,), seconds=(0.1,), bpc=(5.0,))
    low, high = draw_curves([replace(one, curve=short)]).axes[0].get_ylim()
    assert low < 5 < high


def test_yardsticks_of_the_validation_split_are_lines_where_they_are_near(tmp_path: Path) -> None:
    near, far = Yardstick("valid", "near", 2.6), Yardstick("valid", "far", 40.0)
    path = tmp_path / "curves.svg"
    plot_curves([row("one", 1)], path, [near, far, Yardstick("test", "another", 2.6)])
    assert "near" in words_of(path)
    assert "another" not in words_of(path)
    figure = draw_curves([row("one", 1)], [near, far])
    assert all(sorted(line.get_ydata()[0] for line in axes.lines[1:]) == [2.6, 40.0] for axes in figure.axes)
    assert figure.axes[0].get_ylim()[1] < 4, "what is far is not in sight"
    assert len(figure.legends[0].get_texts()) == 1


def test_an_optimum_is_a_dashed_line_in_sight(tmp_path: Path) -> None:
    known = [Yardstick("valid", "optimum of copy:20", 0.0, optimum=True), Yardstick("valid", "near", 2.6)]
    figure = draw_curves([row("one", 1)], known)
    for axes in figure.axes:
        assert axes.get_ylim()[0] < 0
        other, best = axes.lines[1:]
        assert best.get_ydata()[0] == 0.0
        assert best._unscaled_dash_pattern[1] == (6, 3) != other._unscaled_dash_pattern[1]
    plot_curves([row("one", 1)], path := tmp_path / "curves.svg", known)
    assert "optimum of copy:20" in words_of(path)


def test_a_row_without_a_curve_is_left_out_and_named(tmp_path: Path) -> None:
    trained_only = row("whole", 2)
    assert trained_only.curve is not None
    trained_only = replace(trained_only, curve=replace(trained_only.curve, split="train"))
    path = tmp_path / "curves.svg"
    assert plot_curves([row("one", 1), row("bare", 1, curve=False), trained_only], path) == (
        f"bare is not in the plot: there is no metrics.jsonl of its run beside {Path('runs/bare/best.safetensors')}.",
        "whole has no validation split: its curve is of the end of its training text.",
    )
    assert not any(word.startswith("bare") for word in words_of(path))


def test_refusals_leave_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    path.write_text("before")
    assert message_of(plot_curves, [row("bare", 1, curve=False)], path) == (
        f"--plot {path}: no checkpoint has the metrics.jsonl of its run beside it; give run folders as rnnbptt train "
        "leaves them (such as runs/NAME), or leave out --plot"
    )
    for name, suffix in (("curves.pdf", ".pdf"), ("curves", "")):
        said = f"--plot {name}: cannot tell the format from {suffix!r}; give a name in .png or .svg"
        assert message_of(check_format, Path(name)) == said
        assert message_of(plot_curves, [row("one", 1)], Path(name)) == said
    (tmp_path / "folder.png").mkdir()
    assert message_of(plot_curves, [row("one", 1)], tmp_path / "folder.png") == (
        f"cannot write {tmp_path / 'folder.png'}: Is a directory; give a file that can be written"
    )
    assert path.read_text() == "before"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["curves.svg", "folder.png"]
