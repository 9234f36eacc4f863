"""probe_picture.py: which truncation is drawn where, and what is drawn where there is little to draw."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from rnnbptt.report.probe_picture import draw_probe, plot_probe
from rnnbptt.study.probe.results import Fading
from support.findings import a_probe
from support.pictures import words_of
from support.refusals import message_of


def test_the_picture_of_a_probe(tmp_path: Path) -> None:
    path = tmp_path / "probe.svg"
    plot_probe(a_probe(), path)
    words = words_of(path)
    assert words >= {
        "cut into segments of (characters)",
        "cosine with the gradient of depth 8",
        "lag (characters back)",
        "norm of the gradient (nats per unit of state)",
        "characters read since a reset",
        "bits per character, the same targets",
    }
    assert words >= {"weight_ih_l0", "bias_ih_l0", "all of these", "all, SnAp-1 past the cut", "x 0.500 a character"}
    assert "head.weight" not in words
    left, middle, right = draw_probe(a_probe()).axes
    assert [line.get_xdata().tolist() for line in left.lines] == [[1, 2, 4, 8]] * 3 + [[1, 8], [1]]
    assert [line.get_ydata().tolist() for line in left.lines[-3:]] == [[0.2, 0.4, 0.6, 0.9], [0.5, 0.95], [0.3]]
    norms, fit = (line.get_ydata() for line in middle.lines)
    assert np.allclose(fit, norms[3:8], rtol=1e-12, atol=0), "the decay lies on what it was fitted on"
    assert right.lines[0].get_ydata().tolist() == [4.9, 4.8, 4.6, 4.2]


def test_a_probe_without_a_decay_is_drawn_without_it(tmp_path: Path) -> None:
    probe = replace(a_probe(), fading=Fading((3.0, 1.0, 0.0), 0.0, (1, 2), math.nan))
    assert len(draw_probe(probe).axes[1].lines) == 1
    assert "in .png or .svg" in message_of(plot_probe, probe, tmp_path / "probe.pdf")


def test_a_probe_of_a_cell_without_influences_of_its_units_is_drawn_without_them(tmp_path: Path) -> None:
    """As of a mogrifier."""
    cuts = tuple(found for found in a_probe().gradients if "snap" not in found.trunc)
    plot_probe(probe := replace(a_probe(), gradients=cuts), tmp_path / "probe.svg")
    assert not [word for word in words_of(tmp_path / "probe.svg") if "SnAp" in word]
    assert [line.get_xdata().tolist() for line in draw_probe(probe).axes[0].lines] == [[1, 2, 4, 8]] * 3


def test_a_probe_of_a_text_without_any_gradient_is_drawn(tmp_path: Path) -> None:
    """As of one symbol alone: every norm is 0, and every cosine 0 / 0."""
    probe = a_probe()
    nothing = tuple(replace(found, cosine=dict.fromkeys(found.cosine, math.nan)) for found in probe.gradients)
    fading = Fading((0.0,) * 9, math.nan, (0, 0), math.nan)
    plot_probe(replace(probe, gradients=nothing, fading=fading), tmp_path / "nothing.png")
    assert (tmp_path / "nothing.png").read_bytes().startswith(b"\x89PNG")
