"""The folder of a race: `race.json`, `corpus/` where it made its own, a run folder for each seed of each arm, and
`tuning/` with those that came before.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from rnnbptt.errors import UserError, check_file
from rnnbptt.storage.files import whole_file, writing
from rnnbptt.storage.lock import hold, release
from rnnbptt.storage.scratch import made_folder, replace_by_new, scratch_folder
from rnnbptt.study.race.config import Cell, RaceConfig
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.work import check_saved
from rnnbptt.text.corpus import Corpus, may_be_replaced
from rnnbptt.text.preparing import prepare
from rnnbptt.text.reading import Tell
from rnnbptt.text.sources import name_of
from rnnbptt.training.checkpoint import check_name
from rnnbptt.training.document import TrainedOn
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.starting import RunConfig, are_texts_of, prepared
from rnnbptt.version import __version__

RACES = Path("races")  # where races go unless told otherwise
KIND = "rnnbptt race"
FORMAT = 2  # 1 has no decay of learning rates but the cosine
NAME, CORPUS, LOCK = "race.json", "corpus", ".rnnbptt.lock"


@dataclass(frozen=True)
class RaceFile:
    """What race.json says: the race, its text, and how the runs have ended that have, by their places."""

    config: RaceConfig
    corpus: TrainedOn
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    rnnbptt: str = "unknown"

    def to_json(self) -> str:
        """Only ASCII: a lone surrogate, as in a name that is not UTF-8, has no UTF-8."""
        return json.dumps({"kind": KIND, "format": FORMAT, **asdict(self)}, indent=1, allow_nan=False) + "\n"


@dataclass
class Race:
    """A race in its folder, which this process holds.

    outcomes  how the runs have ended that have, by their places
    trials    runs of tuning, as long as it goes on: they come before all others
    """

    folder: Path
    config: RaceConfig
    corpus: Corpus
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    trials: tuple[Cell, ...] = ()

    def run_of(self, cell: Cell) -> RunConfig:
        """The task that is handed out: one thread, for as many runs are at work as there are cores."""
        return RunConfig(
            sources=[self.corpus.path],
            folder=self.folder / cell.place,
            train=cell.train,
            model=cell.arm.model,
            precision=self.config.precision,
            engine=self.config.engine,
            threads=1,
        )

    def outcome(self, cell: Cell) -> Outcome | None:
        """How a run has ended, if it has."""
        return self.outcomes.get(cell.place)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The runs that are known by now."""
        return self.trials or self.config.cells

    @property
    def kind(self) -> str:
        """What one of them is called."""
        return "tuning run" if self.trials else "run"

    @property
    def open(self) -> list[Cell]:
        """The runs that have not ended."""
        return [cell for cell in self.cells if not self.outcome(cell)]

    @property
    def failed(self) -> dict[str, str]:
        """The errors of those that have failed, by place."""
        return {place: outcome.error for place, outcome in self.outcomes.items() if outcome.state == "failed"}

    def record(self, cell: Cell, outcome: Outcome) -> None:
        """Note how a run has ended; that it was stopped is nothing to be noted."""
        if outcome.state != "stopped":
            self.outcomes[cell.place] = outcome
            self.write(self.folder / NAME)

    def to_file(self) -> RaceFile:
        """What race.json says."""
        corpus = self.corpus
        of_text = TrainedOn(str(corpus.path.resolve()), corpus.fingerprint, corpus.splits, corpus.options)
        return RaceFile(self.config, of_text, self.outcomes, __version__)

    def write(self, path: Path) -> None:
        """The file race.json."""
        with whole_file(path) as partial:
            partial.write_text(self.to_file().to_json(), encoding="ascii")


def default_folder(sources: Sequence[Path]) -> Path:
    """Where the race on a text goes unless told otherwise."""
    return RACES / name_of(sources)


@contextmanager
def racing_in(folder: Path) -> Iterator[None]:
    """Make the folder if need be, and let no other process race in it meanwhile."""
    check_name(folder)
    with made_folder(folder):
        with writing(folder, "; give another --out"):
            hold(folder / LOCK, folder, "racing here", "--out")
        try:
            yield
        finally:
            release(folder / LOCK)


def saved_race(folder: Path) -> RaceFile:
    """What race.json in a folder says; UserError where there is none, or a damaged or a newer one."""
    path = folder / NAME
    check_file(path, str(path), "give the folder of a race")
    if not path.is_file():
        raise UserError(f"{folder}: no race to resume; give the folder of one, or leave --resume out to begin one")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["kind"] != KIND:
            raise ValueError("another kind")
        if (version := data["format"]) <= FORMAT:
            return msgspec.convert(data, RaceFile)
    except (UserError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: damaged or none of ours ({error}); give another --out") from None
    raise UserError(f"{path}: format {version}, this rnnbptt reads up to {FORMAT}; upgrade rnnbptt")


@contextmanager
def beginning(sources: Sequence[Path], folder: Path, config: RaceConfig, tell: Tell | None = None) -> Iterator[Race]:
    """A new race in a folder that `racing_in` holds, to be looked over; in the end it is there. Where anything goes
    wrong, the folder stays as it was. Texts are prepared into `corpus` there, of which `tell` hears.

    UserError where a race is there already, or something else.
    """
    with writing(folder, "; give another --out"), scratch_folder(folder) as scratch:
        if ready := prepared(sources):
            corpus = Corpus.open(ready)
            config = replace(config, text=corpus.options)
        if (folder / NAME).exists():
            raise UserError(f"{folder}: {_why_not(sources, folder, config, tell)}")
        _check_free(folder)
        if not ready:
            corpus = prepare(sources, scratch / "new" / CORPUS, config.text, tell=tell)
        race = Race(folder, config, corpus)
        yield race
        if not ready:
            race.corpus = replace(corpus, path=folder / CORPUS)  # the same files, which move there
        race.write(scratch / "new" / NAME)
        replace_by_new(scratch, [NAME] if ready else [CORPUS, NAME])


def resume_race(folder: Path, sources: Sequence[Path] = (), tell: Tell | None = None) -> Race:
    """The race in a folder that `racing_in` holds; what failed in it is open again. Where `sources` are given, they
    must be its text, which may have moved where it was prepared.

    UserError where a run of it that has ended has become another one.
    """
    saved, ready = saved_race(folder), prepared(sources)
    corpus = Corpus.open(ready) if ready else _corpus_of(saved, folder)
    if not _is_of(saved, corpus) or (sources and not ready and not are_texts_of(corpus, sources, tell)):
        given = " ".join(map(str, sources))
        raise UserError(f"{given}: not the text of the race in {folder}; leave it out, or give that one")
    race = Race(folder, saved.config, corpus, dict(_still_true(saved.outcomes, folder)))
    for cell in filter(race.outcome, saved.config.cells):
        check_saved(race.run_of(cell))
    return race


def _still_true(outcomes: Mapping[str, Outcome], folder: Path) -> Iterator[tuple[str, Outcome]]:
    """But for runs that have failed, which are tried again, and those that are gone."""
    for place, outcome in outcomes.items():
        if outcome.state == "diverged" or (outcome.state == "done" and RunFolder(folder / place).checkpoint):
            yield place, outcome


def _check_free(folder: Path) -> None:
    """UserError where the folder holds anything but what a race leaves that was killed at its start."""
    names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
    if may_be_replaced(folder / CORPUS):
        names.discard(CORPUS)
    if names:
        raise UserError(f"{folder}: holds {min(names)} and no race; give another --out")


def _why_not(sources: Sequence[Path], folder: Path, config: RaceConfig, tell: Tell | None) -> str:
    """What is said where a race is in the folder: the first thing in which it is another one."""
    saved = saved_race(folder)
    theirs, ours = saved.config.settings(), config.settings()
    for name, own in theirs.items():
        if own != ours[name] and not (name in ("engine", "precision") and ours[name] == "auto"):
            option = f"--{name.replace('_', '-')}"
            return f"holds a race with {option} {_shown(own)}, this one has {_shown(ours[name])}; give another --out"
    if saved.config.train.budget != config.train.budget:
        return f"holds a race of {saved.config.train.budget}, this one is of {config.train.budget}; give another --out"
    if not are_texts_of(_corpus_of(saved, folder), sources, tell):
        return "holds a race on another text; give another --out"
    return f"holds this race; go on with it by --resume {shlex.quote(str(folder))}"


def _corpus_of(saved: RaceFile, folder: Path) -> Corpus:
    """In the folder, where it may have moved with it, or where it was."""
    for path in (folder / CORPUS, Path(saved.corpus.path)):
        with suppress(UserError):
            corpus = Corpus.open(path)
            if _is_of(saved, corpus):
                return corpus
    raise UserError(f"{saved.corpus.path}: the text of the race in {folder} is no longer there; put it back")


def _is_of(saved: RaceFile, corpus: Corpus) -> bool:
    """Whether the race is on it."""
    return (corpus.fingerprint, corpus.splits) == (saved.corpus.fingerprint, saved.corpus.splits)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
