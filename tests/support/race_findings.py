"""What a race may find, made up."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from rnnbptt.report.page import Curve, Level, Page, Sample, Table
from rnnbptt.study.race.crossings import Crossing, Reached
from rnnbptt.study.race.differences import paired_difference
from rnnbptt.study.race.results import (
    AXES,
    Contestant,
    Judgement,
    Overtaking,
    RaceResult,
    Run,
    Spread,
    Threshold,
)
from rnnbptt.study.race.verdicts import Against, Lack, Verdict, Word
from rnnbptt.study.results import Yardstick

NASTY = "</script><script>bad()</script>&amp; \"'<!-- <b>\x1b[31m\u202e\udc80 $title"


def a_page(name: str = "64", text: str = "Once more unto the breach\n") -> Page:
    """A race of three strategies, the second so named, with five seeds of twelve validations; its words are `text`."""
    return Page(
        title=f"Race of {text}",
        summary=[f"64 is better: {text}", "64 overtakes 1 at 2.1 M characters."],
        curves=[run(strategy, seed, k) for strategy, k in (("1", 1), (name, 64), ("1..64", 8)) for seed in range(5)],
        levels=[Level(f"order-0 {text}", 7.0), Level("optimum", 2.0)],
        tables=[Table(text, ["strategy", text], [[name, "2.25"], [text, text]], note=text)],
        samples=[Sample(name, text), Sample(text, "\nROMEO:\tho\r\x00")],
        details=[(text, text)],
        data={"text": text, "nested": [1, 2.5, None, {"a": True}]},
    )


def run(strategy: str, seed: int, k: int, validations: int = 12) -> Curve:
    """It falls from about 4 to about 2.5; its seconds are its own, as they are on any machine."""
    chars = [50_000 * (i + 1) for i in range(validations)]
    axes: dict[str, list[float]] = {
        "chars": [*chars],
        "updates": [count // (10 * k) for count in chars],
        "seconds": [count * (1 + seed / 10) / 1e5 for count in chars],
        "flops": [count * 1e6 for count in chars],
    }
    return Curve(strategy, seed, axes, [2.2 + 0.01 * seed + 2 * math.exp(-count * k**0.1 / 2e5) for count in chars])


COST = {"chars": 300_000.0, "updates": 18_750.0, "seconds": 33.14, "flops": 1.8e11}
NONE = dict.fromkeys(AXES, (1.0,))


def a_contestant(
    label: str,
    test: float,
    apart: float | None = None,
    word: Word = "no difference shown",
    lacks: tuple[Lack, ...] = (),
) -> Contestant:
    """With seven seeds, all as far from the reference as `apart` says, but for a thousandth to either side."""
    runs = tuple(Run(seed, Path(label), False, NONE, (2.5,), COST, test) for seed in range(7))
    found = None
    if apart is not None:
        differences = apart + 0.001 * np.arange(-3, 4)
        judged = Verdict(word, 0.03125, lacks)
        found = Against(paired_difference(differences, np.zeros(7), np.tile(differences, (12, 1)).T), judged)
    return Contestant(label, runs, Spread(2.5, 0.02), Spread(2.4, 0.01), Spread(test, None), COST, found)


def a_result(*others: Contestant) -> RaceResult:
    """The reference is 1; the other is 64, and better, unless others are given."""
    crossings = (
        Overtaking("1", "64", "chars", Crossing(55_100.4, 48_200.0, None, 0.04, 0.0, 1.0, 2.0)),
        Overtaking("1", "64", "flops", Crossing(4.29e10, 3.76e10, 4.97e10, 0.0, 0.0, 1.0, 2.0)),
    )
    reached = {axis: Reached(2.4, (10.5, None), 1, None, 10.5, None) for axis in AXES}
    later = {axis: Reached(2.4, (10.5, 11.5), 2, 11.0, 10.5, 11.5) for axis in AXES}
    thresholds = (Threshold("1", 2.4, reached), Threshold("64", 2.4, later))
    again, others = a_contestant("1 again", 2.3, 0.0), others or (a_contestant("64", 2.1, -0.2, word="better"),)
    known = (Yardstick("valid", "order-0 entropy", 4.75), Yardstick("test", "xz -9e", 2.875))
    contestants = (a_contestant("1", 2.3), *others)
    judged = (Judgement("It is so.", "not held", "2 to 3"),)
    return RaceResult("a", "test", 59_452, contestants, again, crossings, thresholds, judged, known, ("note",))
