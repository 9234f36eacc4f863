"""Progress and notes, on standard error."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

from rnnbptt.report.outlets import STANDARD_ERROR
from rnnbptt.report.terminal import as_read, escaped, lasting, wrapped
from rnnbptt.text.reading import Tell

if TYPE_CHECKING:
    from rnnbptt.study.probe.results import Probe
    from rnnbptt.study.probe.subject import Subject
    from rnnbptt.training.records import Record

PATIENCE = 1.0  # seconds without a word


@contextmanager
def counting_bar(label: str, unit: str, quiet: bool = False) -> Iterator[Tell]:
    """A bar on a terminal, gone when all is done. What it gives is told how much is done, and of how much."""
    with tqdm(unit=unit, unit_scale=True, desc=label, file=STANDARD_ERROR, disable=quiet or None, leave=False) as bar:

        def tell(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell


def say(kind: str, lines: Iterable[str]) -> None:
    """Write each line behind its kind, as in "note: ..."."""
    for line in lines:
        print(wrapped(f"{kind}: {escaped(line)}", STANDARD_ERROR), file=STANDARD_ERROR)


COMPILING = "compiling, once for each kind of truncation: it takes some 15 to 30 seconds"


@contextmanager
def slow(what: str, quiet: bool = False) -> Iterator[None]:
    """Say what is going on, where it is not over at once."""
    timer = threading.Timer(PATIENCE, say, ("note", [what]))
    timer.daemon = True
    if not quiet:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def say_subject(subject: Subject) -> None:
    """What the measurements of `probe` keep in memory, before they do."""
    influences = f" and influences {subject.influence_bytes / 2**20:,.0f} MiB" if subject.influence_bytes else ""
    keeps = f"the gradient of depth {subject.depth} on {subject.streams} streams keeps"
    size = f"{subject.tape_bytes / 2**20:,.0f} MiB{influences}"
    say("note", [f"{keeps} {size}; a smaller --depth or fewer --streams take less"])


def say_meaning(probe: Probe, full: bool) -> None:
    """Say how the tables of `probe` are to be read."""
    notes = [
        "Cosine and relative bias are against the full gradient, which goes back at least"
        f" {probe.depth} characters from every loss: a bias of 0.1 is off by a tenth of that gradient's length.",
        "In segments of k characters a loss goes back through (k + 1) / 2 of them in the mean, not k.",
    ]
    if full:
        notes.append("The gradient of the head is never cut, so figures that include it flatter.")
    say("note", notes)


class TrainingView:
    """One bar, and a line for each validation, with a sample; only the lines where standard error is no terminal."""

    def __init__(self, spent: float, quiet: bool) -> None:
        """`spent` is the share of the budget that is used, 0 to 1."""
        self._quiet, self._first = quiet, spent
        self._train = self._valid = self._speed = "-"
        self._started: float | None = time.monotonic()  # None once it was said how long it will take
        self._bar = tqdm(
            total=1.0,
            initial=spent,
            file=STANDARD_ERROR,
            disable=quiet or not STANDARD_ERROR.isatty(),
            bar_format="{percentage:3.0f}% {bar:9} {desc} [{elapsed}<{remaining}]",
            dynamic_ncols=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._bar.close()

    def show(self, record: Record, spent: float, sample: str = "") -> None:
        """Bring the bar up to date; a validation is also written above it, and the sample."""
        if self._quiet:
            return
        lines: list[str] = []
        if record["kind"] == "train":
            self._train = f"{record['bpc']:.3f}"
            self._speed = f"{record['chars_per_second']:,.0f}/s"
            lines += self._time_left(spent)
        else:
            self._valid = f"{record['bpc']:.3f}"
            lines.append(self._line(record, spent))
            if sample:
                shown = as_read(sample, STANDARD_ERROR).strip("\n")
                lines += [*(wrapped(f"    {line}", STANDARD_ERROR, "    ") for line in shown.split("\n")), ""]
        if lines:
            self._bar.write("\n".join(lines), file=STANDARD_ERROR)
        losses = f"train {self._train}  valid {self._valid} bpc"
        self._bar.set_description_str(f"k {record['k1']}  {losses}  {self._speed}", refresh=False)
        self._bar.update(spent - self._bar.n)

    def _time_left(self, spent: float) -> Iterator[str]:
        """How long the rest will take, once, as soon as there is something to tell it from."""
        if self._started is None or spent <= self._first or spent == 1:
            return
        elapsed, self._started = time.monotonic() - self._started, None
        left = elapsed * (1 - spent) / (spent - self._first)
        yield f"time    about {lasting(left)} at the speed so far; Ctrl-C saves and stops"

    def _line(self, record: Record, spent: float) -> str:
        """What is said of a validation: within 80 columns."""
        return (
            f"{spent:4.0%} {record['chars']:>13,} characters  k {record['k1']:>4}  train {self._train}"
            f"  {record['split']} {record['bpc']:.4f} bpc  {record['seconds']:,.0f} s"
            f"{'' if record['settled'] else '  (not settled)'}"
        )
