"""The folder of a run: `last.safetensors`, `best.safetensors`, `metrics.jsonl`, `corpus/` where it made its own, and
`tensorboard/` where that was asked for.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from rnnbptt.errors import UserError
from rnnbptt.storage.files import whole_file, writing
from rnnbptt.storage.lock import hold, release
from rnnbptt.storage.scratch import made_folder, replace_by_new, scratch_folder
from rnnbptt.text.corpus import JSON_NAME, may_be_replaced
from rnnbptt.training.checkpoint import Checkpoint, check_name, load_checkpoint, save_checkpoint
from rnnbptt.training.loop import Trainer
from rnnbptt.training.records import Record, Standing, Validation
from rnnbptt.training.state import snapshot

FILES = ("last.safetensors", "best.safetensors", "metrics.jsonl")
CURVES = "events.out.tfevents."  # how TensorBoard's files begin
# The records of a run that has no checkpoint yet: its first validation at most.
KILLED_EARLY = re.compile(rb'(\{"kind": "train".*\n)*(\{"kind": "(train|eval)".*\n?)?')


class RunFolder:
    """Where a run leaves its files; nothing in it is overwritten unless asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last, self.best, self.metrics = (path / name for name in FILES)
        self.corpus = path / "corpus"
        self.curves = path / "tensorboard"
        self.lock = path / ".rnnbptt.lock"

    def check(self, force: bool) -> None:
        """UserError where the folder holds a run already, unless `force`, or something else in the corpus's place.

        What a run has left that was killed before its first checkpoint is no run.
        """
        check_name(self.path)
        if self.corpus.exists() and not may_be_replaced(self.corpus):
            raise UserError(f"{self.corpus}: not a prepared corpus, and a run has its own there; give another --run")
        if not self.checkpoint and (strange := self._of_others()):
            raise UserError(f"{self.path}: holds {strange} and no run; give another --run")
        if not force and self.checkpoint:
            raise UserError(
                f"{self.path}: holds a run; go on with it by --resume {self.path}, or give --force or another --run"
            )
        if not force and not self._recorded_nothing():
            raise UserError(f"{self.metrics}: no checkpoint is beside it; give --force to replace it, or another --run")

    def _of_others(self) -> str:
        """Something in the folder that no run leaves there, hidden files aside; empty where there is none."""
        ours = {*FILES, self.corpus.name, *([self.curves.name] if self._has_curves() else [])}
        names = (entry.name for entry in self.path.iterdir()) if self.path.is_dir() else ()
        return min((name for name in names if name not in ours and not name.startswith(".")), default="")

    def _recorded_nothing(self) -> bool:
        """Whether the records are at most those of a run that was killed before its first checkpoint."""
        return KILLED_EARLY.fullmatch(self._records()) is not None

    def _records(self) -> bytes:
        """What metrics.jsonl holds, nothing where there is none. UserError where it is no file: a pipe could be waited
        for without end.
        """
        if self.metrics.exists() and not self.metrics.is_file():
            raise UserError(f"{self.metrics}: not a file; move it away, or give another --run")
        try:
            return self.metrics.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return b""

    def validations(self) -> list[Validation]:
        """Those in metrics.jsonl, none where there is no such file. UserError where it is damaged; half a line at the
        end, as a run leaves that is cut off or goes on, is none of it.
        """
        try:
            lines = self._records().splitlines(keepends=True)
            records = [json.loads(line) for line in lines if line.endswith(b"\n")]
            evals = [record for record in records if record["kind"] == "eval" and record["nats"] is not None]
            return msgspec.convert(evals, list[Validation])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            advice = f"put it back as it was, or move {self.path} away and train again"
            raise UserError(f"{self.metrics}: damaged; {advice}") from None

    def _check_corpus(self, new: Path) -> None:
        """UserError where another corpus than the new one is here."""
        old_json, new_json = self.corpus / JSON_NAME, new / JSON_NAME
        if old_json.exists() and new_json.exists() and old_json.read_bytes() != new_json.read_bytes():
            advice = "give --force to replace it, or another --run"
            raise UserError(f"{self.corpus}: made of another text, or with other options; {advice}")

    def hold(self) -> None:
        """Let nobody else train here until `release`, or this process ends. UserError where another one does."""
        with writing(self.path, "; give another --run"):
            hold(self.lock, self.path, "training here", "--run")

    def release(self) -> None:
        """Let others train here again."""
        release(self.lock)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """`hold` it, and `release` it only where anything fails: otherwise `follow` does, at the end."""
        self.hold()
        try:
            yield
        except BaseException:
            self.release()
            raise

    @contextmanager
    def beginning(self, force: bool) -> Iterator[Path]:
        """Give an empty folder in which the corpus of a new run may be made; in the end it takes the place of what is
        here. Where anything goes wrong, all stays as it was.

        UserError as by `check`.
        """
        with (
            writing(self.path, "; give another --run"),
            made_folder(self.path),
            self.starting(),
            scratch_folder(self.path) as scratch,
        ):
            self.check(force)
            new_corpus = scratch / "new" / self.corpus.name
            yield scratch / "new"
            if not force:
                self._check_corpus(new_corpus)
            # without a new corpus the old one stays: it may be the very one that the new run reads
            corpus = [self.corpus.name] if new_corpus.exists() else []
            replace_by_new(scratch, (*FILES, *corpus, *([self.curves.name] if self._has_curves() else [])))

    def _has_curves(self) -> bool:
        """Whether a run has left curves here."""
        ours = self.curves.is_dir() and (self.metrics.exists() or self.checkpoint)
        return bool(ours) and all(entry.name.startswith(CURVES) for entry in self.curves.iterdir())

    @property
    def checkpoint(self) -> Path | None:
        """What a run goes on from: the last checkpoint, or the best where it was killed before it saved that."""
        return next((path for path in (self.last, self.best) if path.exists()), None)

    def rewind(self, standing: Standing) -> None:
        """Drop what was recorded after the checkpoint that the run resumes from, so that no line comes twice."""

        def before(record: Record) -> bool:
            to_come = standing.owing and record["kind"] == "eval"
            return bool(record["updates"] < standing.axes.updates + (not to_come))

        records = self._records()
        try:
            lines = records.decode("utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and before(json.loads(line))]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self.metrics}: damaged; move it away to resume without the records so far") from None
        if kept != lines:
            with whole_file(self.metrics) as partial:
                partial.write_text("".join(kept), encoding="utf-8")

    def follow(self, trainer: Trainer, stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
        """Run the trainer, recording and saving as it goes; yields its records.

        The last checkpoint is saved after each validation and at the end, the best when a validation is the best yet.
        Until then no other process can train here.
        """
        self.hold()
        try:
            yield from self._follow(trainer, stop)
        finally:
            self.release()

    def _follow(self, trainer: Trainer, stop: Callable[[], bool]) -> Iterator[Record]:
        """Without a look at others."""
        for record in trainer.run(stop):
            with (
                writing(self.metrics, "; --resume goes on from the last save"),
                self.metrics.open("a", encoding="utf-8") as file,
            ):
                file.write(json.dumps(record, allow_nan=False) + "\n")
            if record["kind"] == "eval":
                self._save(trainer, trainer.standing.validations.latest_is_best())
            yield record
        self._save(trainer, best=False)

    def _save(self, trainer: Trainer, best: bool) -> None:
        """Save the last checkpoint, and the best if this is it; what was recorded before is on disk before."""
        if self.metrics.exists():
            with writing(self.metrics), self.metrics.open("rb+") as file:
                os.fsync(file.fileno())  # or a power failure could leave a checkpoint without the records up to it
        state = snapshot(trainer)
        # the best first: whatever is cut off between the two, the last one is there to do it again
        for path in (self.best, self.last) if best else (self.last,):
            save_checkpoint(path, *state)


def saved_runs(folder: Path) -> tuple[list[Checkpoint], list[str]]:
    """The last checkpoints of the runs in a folder, by name, and what is wrong with those that cannot be read."""
    runs, damaged = [], []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (checkpoint := RunFolder(path).checkpoint) and checkpoint.is_file():
            try:
                runs.append(load_checkpoint(checkpoint))
            except UserError as error:
                damaged.append(str(error))
    return runs, damaged
