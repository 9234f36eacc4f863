"""One run of a race once more, from what the page of the race holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from rnnbptt.errors import UserError
from rnnbptt.study.race.config import Cell
from rnnbptt.study.race.folder import Race, RaceFile
from rnnbptt.study.race.machine import versions_and_machine
from rnnbptt.study.race.reading import validations
from rnnbptt.study.race.results import AXES
from rnnbptt.study.race.work import finish_run
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.preparing import prepare
from rnnbptt.text.reading import Tell
from rnnbptt.text.sources import is_prepared
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.starting import prepared

Stop = Callable[[], bool]
SAME = tuple(axis for axis in AXES if axis != "seconds")  # on which two runs that are the same agree


@dataclass(frozen=True)
class Replay:
    """What came of it.

    agree    validations that are the same, to the last bit, up to the first that is not
    differs  that one, in words; empty where all are the same
    others   what is another here, of text, versions and machine
    """

    agree: int
    differs: str
    others: tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """What a page holds: the race, what it ran on, and of each run its outcome, by label and seed."""

    file: RaceFile
    machine: Mapping[str, str]
    runs: Mapping[tuple[str, int], Mapping[str, Any]]

    def cell(self, name: str) -> Cell:
        """The run that is called STRATEGY/SEED; UserError where there is none."""
        for cell in self.file.config.cells:
            if name == f"{cell.arm.label}/{cell.seed}" and (cell.arm.label, cell.seed) in self.runs:
                return cell
        known = [f"{label}/{seed}" for label, seed in self.runs]
        raise UserError(f"--run {name}: no run of that race; give one of {', '.join(known)}")


def held_by(data: Mapping[str, Any], given: str) -> Held:
    """From the data of a page; UserError, which begins with how it was `given`, where they are damaged."""
    try:
        result = data["result"]
        contestants = [*result["contestants"], result["again"]]
        runs = {(each["label"], run["seed"]): run for each in contestants for run in each["runs"]}
        return Held(msgspec.convert(data["rerun"], RaceFile), dict(data["machine"]), runs)
    except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{given}: damaged ({error}); give the page as it was written") from None


def replay(held: Held, name: str, sources: Sequence[Path], tell: Tell, stop: Stop = lambda: False) -> Replay:
    """Train the run of that name again, on the text at `sources`, or where it was, in a folder that vanishes.

    UserError where there is no such run, or no text, and where it fails.
    """
    cell = held.cell(name)
    with TemporaryDirectory(prefix="rnnbptt-") as folder:
        corpus = _corpus(held, sources, Path(folder) / "corpus", tell)
        task = Race(Path(folder), held.file.config, corpus).run_of(cell)
        outcome = finish_run(task, stop)
        if outcome.state not in ("done", "diverged"):
            raise UserError(f"--run {name}: {outcome.error or 'stopped'}")
        axes, bpc = validations(RunFolder(task.folder))
    then, now = held.runs[cell.arm.label, cell.seed], {"axes": axes, "bpc": bpc}
    number, differs = first_difference(then, now)
    return Replay(number, differs, tuple(_others(held, corpus)))


def first_difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[int, str]:
    """How many validations of a run agree, and the first that does not, in words; empty where all do."""
    count = min(len(then["bpc"]), len(now["bpc"]))
    for number in range(count):
        old, new = ({axis: run["axes"][axis][number] for axis in SAME} for run in (then, now))
        after = f"validation {number + 1}, after {old['chars']:,.0f} characters"
        for axis in SAME:
            if old[axis] != new[axis]:
                return number, f"{after}: {axis} {old[axis]:,.15g} there, {new[axis]:,.15g} here"
        if then["bpc"][number] != now["bpc"][number]:
            return number, f"{after}: {then['bpc'][number]!r} bits per character there, {now['bpc'][number]!r} here"
    if len(then["bpc"]) != len(now["bpc"]):
        return count, f"{len(then['bpc'])} validations there, {len(now['bpc'])} here"
    return count, ""


def _corpus(held: Held, sources: Sequence[Path], folder: Path, tell: Tell) -> Corpus:
    if ready := prepared(sources):
        return Corpus.open(ready)
    if sources:
        return prepare(sources, folder, held.file.config.text, tell=tell)
    if not is_prepared(place := Path(held.file.corpus.path)):
        raise UserError(f"{place}: the text of the race is no longer there; give the text that was raced")
    return Corpus.open(place)


def _others(held: Held, corpus: Corpus) -> Iterator[str]:
    if (corpus.fingerprint, corpus.splits) != (held.file.corpus.fingerprint, held.file.corpus.splits):
        yield "the text, or how it is split"
    for what, here in versions_and_machine().items():
        if held.machine.get(what) != here:
            yield f"{what} ({held.machine.get(what)} there, {here} here)"
