"""work.py: the task that a race hands out can be done again after anything."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch

from rnnbptt.storage.lock import is_ours
from rnnbptt.study.race.folder import Race
from rnnbptt.study.race.outcome import Outcome
from rnnbptt.study.race.work import finish_run
from rnnbptt.text.corpus import Corpus
from rnnbptt.training import loop
from rnnbptt.training.checkpoint import load_checkpoint
from rnnbptt.training.config import Budget
from rnnbptt.training.folder import RunFolder
from rnnbptt.training.starting import RunConfig, begin, resume
from support.processes import held_elsewhere
from support.races import begun, race_config
from support.runs import assert_same
from support.texts import tree


@pytest.fixture
def race(text_corpus: Corpus, tmp_path: Path) -> Race:
    return begun(tmp_path / "race", text_corpus.path, race_config("1", "1..4", vary={"streams": ("2", "4")}))


@pytest.fixture
def task(race: Race) -> RunConfig:
    return race.run_of(race.config.cells[0])


def test_what_compiling_takes_is_no_training(task: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Done before the first update, of a run that goes on, too."""
    chars: list[int] = []
    monkeypatch.setattr("rnnbptt.bptt.update.TorchEngine.prepare", lambda engine: chars.append(-1))
    make = loop.Trainer._update
    monkeypatch.setattr(
        loop.Trainer, "_update", lambda trainer: chars.append(trainer.standing.axes.chars) or make(trainer)
    )
    finish_run(task, after(2))
    finish_run(task)
    assert chars[:5] == [-1, 0, 2, -1, 4]


def after(calls: int) -> Callable[[], bool]:
    """Asks to stop when it was asked so often."""
    number = count()
    return lambda: next(number) >= calls


def test_a_run_is_begun_and_finished(task: RunConfig) -> None:
    assert finish_run(task) == Outcome("done")
    assert not is_ours(RunFolder(task.folder).lock)
    assert resume(task.folder).finished


def test_a_finished_run_is_left_as_it_is(task: RunConfig) -> None:
    finish_run(task)
    before = {path: path.stat().st_mtime_ns for path in task.folder.rglob("*")}
    content = tree(task.folder)
    assert finish_run(task) == Outcome("done")
    assert tree(task.folder) == content
    assert {path: path.stat().st_mtime_ns for path in task.folder.rglob("*")} == before


def test_a_run_that_was_stopped_anywhere_ends_bit_for_bit_the_same(task: RunConfig, tmp_path: Path) -> None:
    whole = replace(task, folder=tmp_path / "whole")
    finish_run(whole)
    outcomes = []
    for calls in (0, 1, 30, 2, 100, 5, 1000):
        outcomes.append(finish_run(task, after(calls)).state)
    assert outcomes == [*["stopped"] * 6, "done"]
    for name in ("last.safetensors", "best.safetensors"):
        assert_same(*(load_checkpoint(config.folder / name) for config in (whole, task)))


def test_equal_seeds_begin_with_equal_weights_whatever_the_truncation(race: Race) -> None:
    started: dict[int, list[dict[str, torch.Tensor]]] = {}
    for cell in race.config.cells:
        config = race.run_of(cell)
        assert finish_run(config, lambda: True) == Outcome("stopped")
        weights = load_checkpoint(config.folder / "last.safetensors").group("model")
        started.setdefault(cell.seed, []).append(weights)
    assert [len(started[seed]) for seed in range(4)] == [4, 4, 1, 1]
    firsts = [each[0] for each in started.values()]
    for first, each in zip(firsts, started.values(), strict=True):
        assert all(torch.equal(weights[name], first[name]) for weights in each for name in first)
    assert all(not torch.equal(firsts[0]["head.weight"], other["head.weight"]) for other in firsts[1:])


@pytest.mark.parametrize(("eval_every", "saved"), [(0, False), (4, True)])
def test_a_run_that_diverges_says_so_each_time(task: RunConfig, eval_every: int, saved: bool) -> None:
    wild = replace(task.train, streams=4, lr=1e30, clip=0.0, optimizer="sgd", eval_every=eval_every)
    task = replace(task, train=wild)
    outcome = finish_run(task)
    assert outcome.state == "diverged"
    assert outcome.error.startswith("the gradient is not finite at character 8 (update 2); ")
    assert bool(RunFolder(task.folder).checkpoint) == saved
    assert finish_run(task) == outcome


def test_what_a_user_can_mend_is_a_failure(task: RunConfig) -> None:
    task.folder.parent.mkdir()
    task.folder.write_text("in the way")
    outcome = finish_run(task)
    assert outcome.state == "failed"
    assert outcome.error.startswith(f"cannot write {task.folder}: ")
    task.folder.unlink()
    assert finish_run(task) == Outcome("done")


def test_whoever_is_still_at_a_run_is_waited_for(task: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    task.folder.mkdir(parents=True)
    with held_elsewhere(RunFolder(task.folder).lock) as other:
        monkeypatch.setattr("rnnbptt.study.race.work.PAUSE", 0.0)
        assert finish_run(task, lambda: True) == Outcome("stopped")
        monkeypatch.setattr("rnnbptt.study.race.work.PATIENCE", 0.0)
        said = f"{task.folder}: process {other} is training here; wait for it, or give another --run"
        assert finish_run(task) == Outcome("failed", said)
        monkeypatch.setattr("rnnbptt.study.race.work.PATIENCE", 60.0)
        monkeypatch.setattr("rnnbptt.study.race.work.time.sleep", lambda _: os.kill(other, signal.SIGKILL))
        assert finish_run(task) == Outcome("done")


def test_a_run_that_has_become_another_is_a_failure(task: RunConfig) -> None:
    finish_run(task)
    list(RunFolder(task.folder).follow(resume(task.folder, budget=Budget("chars", 900))))
    said = f"{task.folder}: not with the options of the race; move it away, and it is run again"
    assert finish_run(task) == Outcome("failed", said)
    assert not is_ours(RunFolder(task.folder).lock)


def test_what_was_killed_before_its_first_checkpoint_is_begun_again(task: RunConfig, tmp_path: Path) -> None:
    trainer = begin(task)
    RunFolder(task.folder).release()
    RunFolder(task.folder).metrics.write_text(json.dumps(next(trainer.run())) + "\n")
    assert finish_run(task) == Outcome("done")
    chars = [json.loads(line)["chars"] for line in RunFolder(task.folder).metrics.read_text().splitlines()]
    assert chars == sorted(chars)
