"""Tables for other programs: a comparison, and the validations of a race, as CSV."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnbptt.report.bands import AXES
from rnnbptt.report.page import Curve
from rnnbptt.storage.files import result_file
from rnnbptt.study.results import Comparison, Row, Score

OF_ROW = ("name", "path", "trunc", "cell", "parameters", "chars", "updates", "seconds")
OF_SCORE = ("split", "characters", "bpc", "perplexity")
OF_PAIR = ("difference", "low", "high", "level", "verdict")


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write a row for each checkpoint and text into `path`. The difference to the first checkpoint, in bits per
    character, its interval and the verdict are empty for the first; the interval is also for too short a text.

    UserError where it cannot be written.
    """
    cells = (_cells(comparison, row, score) for row in comparison.rows for score in row.scores)
    _write(path, (*OF_ROW, *OF_SCORE, *OF_PAIR), cells)


def write_validations(curves: Sequence[Curve], path: Path) -> None:
    """Write a row for each validation of each run into `path`; a place on an axis that a run does not have is empty.

    UserError where it cannot be written.
    """
    cells = (
        (curve.strategy, curve.seed, *(curve.axes[axis][i] if axis in curve.axes else None for axis in AXES), bpc)
        for curve in curves
        for i, bpc in enumerate(curve.bpc)
    )
    _write(path, ("strategy", "seed", *AXES, "bpc"), cells)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    with (
        result_file(path) as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _cells(comparison: Comparison, row: Row, score: Score) -> Iterator[Any]:
    """What stands below the columns."""
    yield from (getattr(row, name) for name in OF_ROW)
    yield from (getattr(score, name) for name in OF_SCORE)
    for pair in comparison.pairs:
        if (pair.second, pair.split) == (row.name, score.split):
            interval = pair.interval
            bounds = (interval.low, interval.high, interval.level) if interval else (None,) * 3
            yield from (pair.difference, *bounds, pair.verdict)
            return
    yield from [None] * len(OF_PAIR)
