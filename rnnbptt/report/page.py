"""What the page of a race says, as plain data. page_html.py writes it, race_picture.py draws its curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rnnbptt.study.results import Yardstick


@dataclass(frozen=True)
class Curve:
    """The validations of one run, in their order: bits per character `bpc`, and where each lies on every axis, by the
    axis's name in bands.AXES. A value that is not finite is where the run diverged, and ends it.
    """

    strategy: str
    seed: int
    axes: Mapping[str, Sequence[float]]
    bpc: Sequence[float]


@dataclass(frozen=True)
class Level:
    """A horizontal line to compare with, in bits per character; that of an `optimum` is always in sight."""

    label: str
    bpc: float
    optimum: bool = False


def levels_of(yardsticks: Sequence[Yardstick]) -> list[Level]:
    """Those of the validation split, as curves are."""
    return [Level(each.label, each.bpc, each.optimum) for each in yardsticks if each.split == "valid"]


@dataclass(frozen=True)
class Table:
    """Cells as they are read; the first column names the rows. The note stands below."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Sample:
    """A text that a model wrote, beside those of others."""

    label: str
    text: str


@dataclass(frozen=True)
class Page:
    """All of it, in the order in which it is read. `details` are titles and plain texts; `data` is what JSON can hold,
    and goes with the page unseen.
    """

    title: str
    summary: Sequence[str]
    curves: Sequence[Curve] = ()
    levels: Sequence[Level] = ()
    tables: Sequence[Table] = ()
    samples: Sequence[Sample] = ()
    details: Sequence[tuple[str, str]] = ()
    data: dict[str, Any] = field(default_factory=dict)


def by_strategy(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """The runs of each strategy, both in the order given."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(curve.strategy, []).append(curve)
    return groups
