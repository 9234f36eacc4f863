"""One run of a race once more, from what the page of the race holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from rnnbptt.errors import UserError
from rnnbptt.study.race.config import Cell
from rnnbptt.study.race.folder import Race, RaceFile
from rnnbptt.study.race.machine import versions_and_machine
from rnnbptt.study.race.reading import Finished, recorded
from rnnbptt.study.race.results import AXES, Run
from rnnbptt.study.race.varied import as_labelled
from rnnbptt.study.race.work import finish_run
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.preparing import prepare
from rnnbptt.text.reading import Tell
from rnnbptt.text.sources import is_prepared
from rnnbptt.training.starting import prepared

Stop = Callable[[], bool]
SAME = tuple(axis for axis in AXES if axis != "seconds")  # on which two runs that are the same agree


@dataclass(frozen=True)
class Replay:
    """What came of it.

    agree     validations that are the same, to the last bit, up to the first that is not
    differs   that one, or what else is not the same, in words; empty where all is
    diverged  whether it did, this time
    others    what is another here, of text, versions and machine
    """

    agree: int
    differs: str
    diverged: bool
    others: tuple[str, ...]


@dataclass(frozen=True)
class Then:
    """A run as a page has it; see `Run`."""

    seed: int
    diverged: bool
    axes: dict[str, tuple[float, ...]]
    bpc: tuple[float, ...]
    cost: dict[str, float]

    def __post_init__(self) -> None:
        """ValueError unless all is there on each axis."""
        for axis in AXES:
            if axis not in self.cost or len(self.axes.get(axis, ())) != len(self.bpc):
                raise ValueError(f"a run without all of its {axis}")


@dataclass(frozen=True)
class Strategy:
    """A contestant as a page has it."""

    label: str
    runs: tuple[Then, ...]


@dataclass(frozen=True)
class Found:
    """What a race has found, as a page has it."""

    contestants: tuple[Strategy, ...]
    again: Strategy


@dataclass(frozen=True)
class Held:
    """What a page holds: the race, what it ran on, and what it has found."""

    rerun: RaceFile
    machine: dict[str, str]
    result: Found

    @property
    def runs(self) -> dict[tuple[str, int], Then]:
        """By label and seed."""
        strategies = (*self.result.contestants, self.result.again)
        return {(each.label, run.seed): run for each in strategies for run in each.runs}

    def cell(self, name: str) -> Cell:
        """The run that is called STRATEGY/SEED; UserError where there is none."""
        given, _, seed = name.rpartition("/")
        name = f"{as_labelled(given, [label for label, _ in self.runs])}/{seed}"
        for cell in self.rerun.config.cells:
            if name == f"{cell.arm.label}/{cell.seed}" and (cell.arm.label, cell.seed) in self.runs:
                return cell
        known = [f"{label}/{seed}" for label, seed in self.runs]
        raise UserError(f"--run {name}: no run of that race; give one of {', '.join(known)}")


def held_by(data: Mapping[str, Any], given: str) -> Held:
    """From the data of a page; UserError, which begins with how it was `given`, where they are damaged."""
    try:
        return msgspec.convert(data, Held)
    except (UserError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{given}: damaged ({error}); give the page as it was written") from None


def race_again(held: Held, sources: Sequence[Path], folder: Path, tell: Tell) -> Race:
    """The race on the text at `sources`, prepared into the folder if need be, or where it was, to train runs of it in
    the folder. UserError where there is no text.
    """
    return Race(folder, held.rerun.config, _corpus(held, sources, folder / "corpus", tell))


def replay(held: Held, race: Race, cell: Cell, stop: Stop = lambda: False) -> Replay | None:
    """Train a run of it again; None where it was stopped, and UserError where it fails."""
    task = race.run_of(cell)
    outcome = finish_run(task, stop)
    if outcome.state == "stopped":
        return None
    if outcome.state == "failed":
        raise UserError(f"--run {cell.arm.label}/{cell.seed}: {outcome.error}")
    now = recorded(Finished(cell.seed, task.folder, outcome.state == "diverged"))
    number, differs = first_difference(held.runs[cell.arm.label, cell.seed], now)
    return Replay(number, differs, now.diverged, tuple(_others(held, race.corpus)))


def first_difference(then: Then | Run, now: Then | Run) -> tuple[int, str]:
    """How many validations of a run agree, and the first thing that does not, in words; empty where all does."""
    count = min(len(then.bpc), len(now.bpc))
    for number in range(count):
        old, new = ({axis: run.axes[axis][number] for axis in SAME} for run in (then, now))
        after = f"validation {number + 1}, after {old['chars']:,.0f} characters"
        if differs := _on_axes(old, new):
            return number, f"{after}: {differs}"
        if then.bpc[number] != now.bpc[number]:
            return number, f"{after}: {then.bpc[number]!r} bits per character there, {now.bpc[number]!r} here"
    if then.diverged != now.diverged:
        return count, "it diverged there, and not here" if then.diverged else "it diverged here, and not there"
    if len(then.bpc) != len(now.bpc):
        return count, f"{len(then.bpc)} validations there, {len(now.bpc)} here"
    differs = _on_axes(then.cost, now.cost)
    return count, f"in all of its training: {differs}" if differs else ""


def _on_axes(then: Mapping[str, float], now: Mapping[str, float]) -> str:
    """The first axis on which two runs do not agree, in words; empty where they do."""
    apart = (axis for axis in SAME if then[axis] != now[axis])
    return next((f"{axis} {then[axis]:,.15g} there, {now[axis]:,.15g} here" for axis in apart), "")


def _corpus(held: Held, sources: Sequence[Path], folder: Path, tell: Tell) -> Corpus:
    if ready := prepared(sources):
        return Corpus.open(ready)
    if sources:
        return prepare(sources, folder, held.rerun.config.text, tell=tell)
    if not is_prepared(place := Path(held.rerun.corpus.path)):
        raise UserError(f"{place}: the text of the race is no longer there; give the text that was raced")
    return Corpus.open(place)


def _others(held: Held, corpus: Corpus) -> Iterator[str]:
    if (corpus.fingerprint, corpus.splits) != (held.rerun.corpus.fingerprint, held.rerun.corpus.splits):
        yield "the text, or how it is split"
    for what, here in versions_and_machine().items():
        if held.machine.get(what) != here:
            yield f"{what} ({held.machine.get(what)} there, {here} here)"
