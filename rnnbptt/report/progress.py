"""Progress and notes, on standard error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

from rnnbptt.report.outlets import STANDARD_ERROR
from rnnbptt.report.terminal import as_read, escaped
from rnnbptt.text.reading import Tell

if TYPE_CHECKING:
    from rnnbptt.study.probe.results import Probe
    from rnnbptt.study.probe.subject import Subject
    from rnnbptt.training.records import Record

MEMORY_NOTE = 2**30  # bytes a tape may take before the user is told
LONG_VALIDATION = 1_000_000  # characters of a validation of which the user is told


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
        print(f"{kind}: {escaped(line)}", file=STANDARD_ERROR)


def say_memory(size: int) -> None:
    """Say how many bytes the longest update keeps, where that is a lot."""
    if size > MEMORY_NOTE:
        advice = "a shorter --trunc, fewer --streams or less --hidden takes less"
        say("note", [f"the longest update keeps {size / 2**30:.1f} GiB; {advice}"])


def say_validations(size: int, affordable: int | None) -> None:
    """Say that only so many validations of `size` characters will be made, where they are fewer than usual; where it
    cannot be told (None) that they take their time, if they do.
    """
    reads = f"a validation reads {size:,} characters"
    if affordable is not None:
        few = f"only {affordable} will be made, and one at the end: they read no more than training does"
        say("note", [f"{reads}; {few}; --eval-every asks for more"])
    elif size > LONG_VALIDATION:
        say("note", [f"{reads}, the one at the end too; a smaller part for it in --split takes less time"])


def say_subject(subject: Subject) -> None:
    """What the measurements of `probe` keep in memory, before they do."""
    influences = f" and influences {subject.influence_bytes / 2**20:,.0f} MiB" if subject.influence_bytes else ""
    keeps = f"the gradient of depth {subject.depth} on {subject.streams} streams keeps"
    size = f"{subject.tape_bytes / 2**20:,.0f} MiB{influences}"
    say("note", [f"{keeps} {size}; a smaller --depth or fewer --streams take less"])


def say_stopped(folder: Path) -> None:
    """Say that a run has nothing to show yet."""
    print(f"stopped before the first validation; saved in {escaped(str(folder))}", file=STANDARD_ERROR)


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
        self._quiet = quiet
        self._train = self._valid = self._speed = "-"
        self._bar = tqdm(
            total=1.0,
            initial=spent,
            file=STANDARD_ERROR,
            disable=quiet or not STANDARD_ERROR.isatty(),
            bar_format="{percentage:3.0f}% {bar:20} {desc} [{elapsed}<{remaining}]",
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
        if record["kind"] == "train":
            self._train = f"{record['bpc']:.3f}"
            self._speed = f"{record['chars_per_second']:,.0f} char/s"
        else:
            self._valid = f"{record['bpc']:.3f}"
            lines = [self._line(record, spent)]
            if sample:
                shown = as_read(sample, STANDARD_ERROR).strip("\n")
                lines += [*(f"    {line}" for line in shown.split("\n")), ""]
            self._bar.write("\n".join(lines), file=STANDARD_ERROR)
        losses = f"train {self._train}  valid {self._valid} bpc"
        self._bar.set_description_str(
            f"epoch {record['epoch']:.1f}  k {record['k1']}  {losses}  {self._speed}", refresh=False
        )
        self._bar.update(spent - self._bar.n)

    def _line(self, record: Record, spent: float) -> str:
        """What is said of a validation."""
        return (
            f"{spent:4.0%}  {record['chars']:>12,} characters"
            f"  epoch {record['epoch']:6.2f}  k {record['k1']:>4}  train {self._train}"
            f"  {record['split']} {record['bpc']:.4f} bpc ({record['nats']:.4f} nats)"
            f"  {record['seconds']:,.0f} s  {self._speed}{'' if record['settled'] else '  (not settled)'}"
        )
