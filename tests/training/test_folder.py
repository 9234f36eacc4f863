"""The folder of a run: what it holds, what it refuses, and that no crash makes it lose or repeat anything."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from rnnbptt.bptt.window import create_network
from rnnbptt.model.config import ModelConfig
from rnnbptt.storage import scratch
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import TextOptions
from rnnbptt.text.preparing import prepare
from rnnbptt.training.checkpoint import Checkpoint, load_checkpoint
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.folder import FILES, RunFolder
from rnnbptt.training.loop import DivergedError, Trainer
from rnnbptt.training.records import Axes, Record, Standing
from rnnbptt.training.state import restore, snapshot
from support.processes import die_holding
from support.refusals import message_of
from support.runs import a_score, assert_same, make_room, without_time
from support.texts import make_corpus, prose, tree


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "name")
    make_room(folder)
    return folder


def make_trainer(corpus: Corpus, **config: Any) -> Trainer:
    """20 updates and 4 validations."""
    settings = {"trunc": "4", "streams": 3, "budget": Budget("chars", 240), "eval_every": 60, "lr": 0.05}
    model = create_network(ModelConfig(len(corpus.vocabulary), "gru", 6, dropout=0.2), "float32")
    return Trainer(model, corpus, TrainConfig(**settings | config))


def resume(folder: RunFolder, corpus: Corpus) -> Trainer:
    trainer = restore(load_checkpoint(folder.last), corpus, "float32")
    folder.rewind(trainer.standing)
    return trainer


def lines(folder: RunFolder) -> list[Record]:
    return [json.loads(line) for line in folder.metrics.read_text("utf-8").splitlines()]


# --- a new run --------------------------------------------------------------------------------------------------------


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "b")
    assert not folder.checkpoint
    folder.check(force=False)
    assert not folder.path.exists()
    make_room(folder)
    assert list(folder.path.iterdir()) == []
    assert not folder.checkpoint
    folder.check(force=False)


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors"])
def test_a_used_folder_is_refused_unless_forced(folder: RunFolder, name: str) -> None:
    (folder.path / name).touch()
    assert message_of(folder.check, force=False) == (
        f"{folder.path}: holds a run; go on with it by --resume {folder.path}, or give --force or another --run"
    )
    folder.check(force=True)
    assert (folder.path / name).exists(), "checking alone removes nothing"


@pytest.mark.parametrize(
    "left",
    [
        "",
        '{"kind": "train", "bpc": 1.0}\n',
        '{"kind": "train", "bpc": 1.0}\n{"kind": "train", "bpc": 1.0}\n{"kind": "eval"}\n',
        '{"kind": "train", "bpc": 1.0}\n{"kind": "train", "bp',
    ],
)
def test_what_was_killed_before_its_first_checkpoint_is_no_run(folder: RunFolder, left: str) -> None:
    folder.metrics.write_text(left)
    folder.check(force=False)
    make_room(folder)
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize("kept", ["my own notes\n", '{"kind": "eval"}\n{"kind": "train"}\n'])
def test_records_that_are_no_such_remains_are_replaced_only_by_force(folder: RunFolder, kept: str) -> None:
    """Of a run whose checkpoints were moved away, or of the user."""
    folder.metrics.write_text(kept)
    assert message_of(folder.check, force=False) == (
        f"{folder.metrics}: no checkpoint is beside it; give --force to replace it, or another --run"
    )
    folder.check(force=True)


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_corpus_is_never_taken_for_one(folder: RunFolder, force: bool) -> None:
    """A user's own folder of that name, which a new run would replace."""
    folder.corpus.mkdir()
    (folder.corpus / "my_texts.txt").write_text("precious")
    assert message_of(folder.check, force=force) == (
        f"{folder.corpus}: not a prepared corpus, and a run has its own there; give another --run"
    )


def test_clearing_removes_a_run_and_nothing_else(folder: RunFolder) -> None:
    for name in (*FILES, "notes.txt"):
        (folder.path / name).write_text("x")
    make_room(folder)
    assert [entry.name for entry in folder.path.iterdir()] == ["notes.txt"]


def contents(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): file.read_text() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def used(folder: RunFolder, tmp_path: Path) -> RunFolder:
    """A folder with a run and its corpus."""
    make_corpus(tmp_path, prose(500)).path.rename(folder.corpus)
    folder.last.write_text("x")
    return folder


def test_a_new_corpus_takes_the_place_of_the_old_run(used: RunFolder) -> None:
    with used.beginning(force=True) as new:
        (new / "corpus").mkdir()
        (new / "corpus" / "file").write_text("new")
    used.release()
    assert contents(used.path) == {"corpus/file": "new"}


def test_without_a_new_corpus_the_old_one_stays(used: RunFolder) -> None:
    """It may be what the new run reads."""
    make_room(used)
    assert sorted(tree(used.path)) == ["corpus", "corpus/corpus.json", "corpus/ids.npy"]


def test_a_link_is_replaced_and_not_what_it_leads_to(used: RunFolder, tmp_path: Path) -> None:
    used.corpus.rename(tmp_path / "precious")
    used.corpus.symlink_to(tmp_path / "precious")
    before = tree(tmp_path / "precious")
    with used.beginning(force=True) as new:
        (new / "corpus").mkdir()
    used.release()
    assert not used.corpus.is_symlink()
    assert tree(tmp_path / "precious") == before


@pytest.mark.parametrize("moment", range(1, 6))
@pytest.mark.parametrize("killed", [False, True])
def test_whatever_stops_the_exchange_the_old_run_is_whole(
    used: RunFolder, monkeypatch: pytest.MonkeyPatch, moment: int, killed: bool
) -> None:
    for name in FILES:
        (used.path / name).write_text(name)
    before, rename, calls = tree(used.path), Path.rename, 0

    def rename_or_fail(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise PowerFailure
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_fail)
        if killed:
            patch.setattr(scratch, "_clear_away", lambda folder: die_holding(folder / scratch.OWNER))
        with pytest.raises(PowerFailure), used.beginning(force=True) as new:
            (new / "corpus").mkdir()
    if killed:
        assert tree(used.path) != before
        assert "holds a run" in message_of(refused, used)
    assert tree(used.path) == before


def refused(folder: RunFolder) -> None:
    with folder.beginning(force=False):
        pass


@pytest.mark.parametrize(("name", "reason"), [("file", "File exists"), ("file/below", "Not a directory")])
def test_a_file_in_the_way_is_the_users_to_mend(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / name
    RunFolder(path).check(force=False)
    assert message_of(make_room, RunFolder(path)) == f"cannot write {path}: {reason}; give another --run"


# --- what a run leaves ------------------------------------------------------------------------------------------------


def test_metrics_are_the_records_one_a_line(folder: RunFolder, small: Corpus) -> None:
    records = list(folder.follow(make_trainer(small)))
    assert folder.metrics.read_bytes().endswith(b"}\n")
    assert lines(folder) == records
    axes = ["kind", "chars", "updates", "seconds", "flops", "epoch", "k1", "k2", "lr", "bpc", "nats"]
    more = {"train": ["grad_norm", "clip_rate", "chars_per_second"], "eval": ["split", "settled"]}
    for line in lines(folder):
        assert list(line) == axes + more[line["kind"]]
    assert {entry.name for entry in folder.path.iterdir()} == set(FILES)


def test_a_record_is_on_disk_when_it_is_yielded(folder: RunFolder, small: Corpus) -> None:
    for number, record in enumerate(folder.follow(make_trainer(small)), 1):
        assert lines(folder)[number - 1 :] == [record]
        if record["kind"] == "eval":
            assert load_checkpoint(folder.last).document.standing.axes.updates == record["updates"]


@pytest.mark.parametrize(
    ("nats", "best"), [([3.0, 2.0, 2.5, 2.0], 1), ([3.0, 2.0, 2.5, 1.5], 3), ([3.0, 3.5, 4.0, 3.0], 0)]
)
def test_last_is_the_end_and_best_the_first_of_the_best_validations(
    folder: RunFolder, small: Corpus, nats: list[float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = iter(nats)
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(next(coming)))
    trainer = make_trainer(small)
    evals = [record for record in folder.follow(trainer) if record["kind"] == "eval"]
    assert [record["nats"] for record in evals] == nats
    for path, record in ((folder.last, evals[-1]), (folder.best, evals[best])):
        standing = load_checkpoint(path).document.standing
        assert standing.axes.chars == record["chars"]
        assert standing.validations.nats[-1] == record["nats"]
    tensors, _ = snapshot(trainer)
    assert all(torch.equal(t, tensors[name]) for name, t in load_checkpoint(folder.last).tensors.items())


def test_a_run_that_is_stopped_saves_where_it_stands(folder: RunFolder, small: Corpus) -> None:
    trainer = make_trainer(small)
    list(folder.follow(trainer, stop=lambda: trainer.standing.axes.updates == 7))
    assert load_checkpoint(folder.last).document.standing.axes.updates == trainer.standing.axes.updates == 7


def test_divergence_leaves_the_last_good_checkpoint(folder: RunFolder, small: Corpus) -> None:
    trainer = make_trainer(small)
    run = folder.follow(trainer)
    next(record for record in run if record["kind"] == "eval")
    kept = {path: path.read_bytes() for path in (folder.last, folder.best)}
    trainer.model.parameters.flat.fill_(torch.inf)
    with pytest.raises(DivergedError):
        list(run)
    assert kept == {path: path.read_bytes() for path in (folder.last, folder.best)}


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("kind", ["eval", "train"])
def test_a_text_that_changes_meanwhile_ends_the_run_with_its_last_checkpoint_kept(
    folder: RunFolder, tmp_path: Path, cut: bool, kind: str
) -> None:
    corpus = make_corpus(tmp_path, prose(220), split="200/20/0")
    run = folder.follow(make_trainer(corpus))
    next(record for record in run if record["kind"] == "eval")
    next(record for record in run if record["kind"] == kind)
    kept = {path: path.read_bytes() for path in (folder.last, folder.best)}
    if cut:
        os.truncate(corpus.path / "ids.npy", 10)
    else:
        (corpus.path / "ids.npy").write_bytes(b"\xff" * (corpus.path / "ids.npy").stat().st_size)
    assert message_of(list, run) == f"{str(corpus.path)!r} has changed since it was opened; prepare the text again"
    assert kept == {path: path.read_bytes() for path in (folder.last, folder.best)}


def test_a_text_that_is_prepared_again_meanwhile_is_read_on(folder: RunFolder, tmp_path: Path, small: Corpus) -> None:
    corpus = make_corpus(tmp_path, prose(220), split="200/20/0")
    run = folder.follow(make_trainer(corpus))
    next(run)
    prepare([tmp_path / "text.txt"], corpus.path, TextOptions(unit="byte"), force=True)
    list(run)
    shutil.rmtree(corpus.path)
    whole = list(make_trainer(small).run())
    assert without_time(lines(folder)) == without_time(whole)


@pytest.mark.parametrize("bad", [1, 2, 4])
def test_no_weights_are_saved_whose_validation_is_not_finite(
    folder: RunFolder, small: Corpus, bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nats = iter([3.0] * (bad - 1) + [math.nan] * 4)
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(next(nats)))
    with pytest.raises(DivergedError):
        list(folder.follow(make_trainer(small)))
    saved = [path for path in (folder.last, folder.best) if path.exists()]
    assert len(saved) == (0 if bad == 1 else 2)
    for path in saved:
        assert set(load_checkpoint(path).document.standing.validations.nats) == {3.0}


# --- crashes ----------------------------------------------------------------------------------------------------------


class PowerFailure(BaseException):
    """Nothing that a program may handle."""


def interrupted(folder: RunFolder, trainer: Trainer, after: int) -> Iterator[Record]:
    """Follow the trainer, and fail when that many records have come."""
    for number, record in enumerate(folder.follow(trainer), 1):
        yield record
        if number == after:
            return


@pytest.fixture(scope="module")
def whole(small: Corpus, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run as it is without interruption."""
    folder = RunFolder(tmp_path_factory.mktemp("whole"))
    list(folder.follow(make_trainer(small)))
    return folder


def assert_as_if_nothing_happened(folder: RunFolder, whole: RunFolder) -> None:
    assert without_time(lines(folder)) == without_time(lines(whole))
    for ours, theirs in ((folder.last, whole.last), (folder.best, whole.best)):
        assert_same(load_checkpoint(ours), load_checkpoint(theirs))


def test_a_run_killed_after_any_record_resumes_as_if_nothing_happened(
    small: Corpus, whole: RunFolder, tmp_path: Path
) -> None:
    records = lines(whole)
    first = next(number for number, record in enumerate(records, 1) if record["kind"] == "eval")
    assert len(records) > first + 10
    for after in range(first, len(records) + 1):
        folder = RunFolder(tmp_path / str(after))
        make_room(folder)
        list(interrupted(folder, make_trainer(small), after))
        list(folder.follow(resume(folder, small)))
        assert_as_if_nothing_happened(folder, whole)


def test_a_run_killed_while_a_file_is_replaced_resumes_as_if_nothing_happened(
    small: Corpus, whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, calls = os.replace, 0

    def replace_or_fail(*paths: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise PowerFailure
        replace(*paths)

    monkeypatch.setattr(os, "replace", replace_or_fail)
    for moment in count(1):
        folder, calls = RunFolder(tmp_path / str(moment)), 0
        make_room(folder)
        try:
            list(folder.follow(make_trainer(small)))
            break
        except PowerFailure:
            if folder.last.exists():
                trainer = resume(folder, small)
            else:
                make_room(folder)
                trainer = make_trainer(small)
            list(folder.follow(trainer))
            assert_as_if_nothing_happened(folder, whole)
    assert calls > 5, "last is saved five times, and best should have been hit too"


def test_records_are_synced_before_the_checkpoint_that_follows_them(
    folder: RunFolder, small: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power failure could leave a checkpoint without them."""
    synced: list[tuple[int, int]] = []
    fsync = os.fsync

    def recorded_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced.append((status.st_ino, status.st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    trainer = make_trainer(small)
    for record in folder.follow(trainer, stop=lambda: trainer.standing.axes.updates == 7):
        if record["kind"] == "eval":
            assert (folder.metrics.stat().st_ino, folder.metrics.stat().st_size) in synced
    assert synced[-2:] == [(path.stat().st_ino, path.stat().st_size) for path in (folder.metrics, folder.last)]


@pytest.mark.parametrize("torn", ["", '{"kind": "tr', '{"kind": "train", "updates": 3}', "\0\0\0"])
def test_rewinding_drops_what_came_after_the_checkpoint_and_a_torn_line(
    folder: RunFolder, small: Corpus, torn: str
) -> None:
    records = list(folder.follow(make_trainer(small)))
    updates = records[len(records) // 2]["updates"]
    kept = [record for record in records if record["updates"] <= updates]
    with folder.metrics.open("a", encoding="utf-8") as file:
        file.write(torn)
    folder.rewind(Standing(axes=Axes(updates=updates)))
    assert lines(folder) == kept
    folder.rewind(Standing(axes=Axes(updates=updates)))
    assert lines(folder) == kept
    assert {entry.name for entry in folder.path.iterdir()} == set(FILES)


def test_rewinding_without_metrics_makes_none(folder: RunFolder) -> None:
    folder.rewind(Standing(axes=Axes(updates=3)))
    assert list(folder.path.iterdir()) == []


def test_a_checkpoint_tells_where_it_came_from(folder: RunFolder, small: Corpus) -> None:
    list(folder.follow(make_trainer(small)))
    checkpoint: Checkpoint = load_checkpoint(folder.best)
    assert checkpoint.vocabulary == small.vocabulary
    assert checkpoint.document.corpus.fingerprint == small.fingerprint
    assert Path(checkpoint.document.corpus.path) == small.path
    assert checkpoint.document.train == make_trainer(small).config


def test_rewinding_drops_a_validation_that_is_still_to_come(folder: RunFolder, small: Corpus) -> None:
    """It was made and recorded, but not saved."""
    records = list(folder.follow(make_trainer(small)))
    at = next(record["updates"] for record in records if record["kind"] == "eval")
    folder.rewind(Standing(axes=Axes(updates=at), owing=True))
    kept = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert kept == [r for r in records if r["updates"] <= at and r["kind"] == "train"]


def test_validations_are_read_back_but_for_half_a_line(whole: RunFolder, folder: RunFolder) -> None:
    evals = [line for line in lines(whole) if line["kind"] == "eval"]
    assert all(asdict(each).items() <= line.items() for each, line in zip(whole.validations(), evals, strict=True))
    assert len(evals) == 4
    assert folder.validations() == []
    shutil.copy(whole.metrics, folder.metrics)
    with folder.metrics.open("a") as file:
        file.write('{"kind": "eval", "cha')
    assert folder.validations() == whole.validations()


@pytest.mark.parametrize(
    "line",
    [
        *(b"{}", b"5", b"[", b"\xff", b"[" * 100_000),
        b'{"kind": "eval"}',
        b'{"kind": "eval", "chars": "9", "updates": 1, "seconds": 1, "nats": 1, "bpc": 1, "split": "valid"}',
    ],
)
def test_damaged_records_are_named(folder: RunFolder, line: bytes) -> None:
    folder.metrics.write_bytes(b'{"kind": "train"}\n' + line + b"\n")
    said = f"{folder.metrics}: damaged; put it back as it was, or move {folder.path} away and train again"
    assert message_of(folder.validations) == said


def test_curves_of_others_are_not_removed(folder: RunFolder) -> None:
    theirs = folder.curves / "events.out.tfevents.1.mine"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    assert message_of(folder.check, force=False) == f"{folder.path}: holds tensorboard and no run; give another --run"
    folder.metrics.touch()
    folder.check(force=False)
