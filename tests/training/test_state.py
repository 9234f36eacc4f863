"""Going on from a checkpoint: as if never interrupted; what somebody has changed is refused in one line that names the
file and the part.
"""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rnnbptt.bptt.cells import CELLS
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rnnbptt.training.config import Budget
from rnnbptt.training.document import Document
from rnnbptt.training.loop import Trainer
from rnnbptt.training.records import Record, Standing
from rnnbptt.training.state import restore, snapshot
from support.every_run import RUNS, SIZE
from support.networks import EVERY_CELL
from support.refusals import message_of
from support.runs import assert_same, train_run, without_time
from support.texts import make_corpus, prose
from support.trainers import frozen_copy, make_trainer, some_updates, train

Change = Callable[[Tensor], Tensor]


def refused(small: Corpus, folder: Path, trunc: str, name: str, change: Change) -> str:
    """What is said of a run in which one tensor was changed."""
    options = {"reset_every": 5 * name.startswith("streams."), "precision": "float32", "trunc": trunc}
    path = train_run(folder / "run", small, chars=40, **options) / "last.safetensors"
    checkpoint = load_checkpoint(path)
    restore(checkpoint, small)
    save_checkpoint(path, checkpoint.tensors | {name: change(checkpoint.tensors[name])}, checkpoint.document)
    return message_of(restore, load_checkpoint(path), small).removeprefix(f"{path}: damaged: ")


@pytest.mark.parametrize(
    ("trunc", "name"),
    [
        *(("4", name) for name in ("state.carried", "optimizer.exp_avg", "optimizer.step", "rng.dropout")),
        ("4", "streams.since"),
        ("snap", "influence.rnn.bias_hh_l0"),
        *(("uoro", name) for name in ("influence.s", "rng.signs")),
        *(("2/6", f"history.{name}") for name in ("x", "place", "0.gates")),
    ],
)
def test_tensors_of_another_shape_or_type_are_refused(small: Corpus, tmp_path: Path, trunc: str, name: str) -> None:
    """Not broadcast, as one number or one stream would be."""
    changes: list[tuple[Change, str]] = [
        (
            lambda tensor: tensor.flatten()[:1].clone().view(1, 1, 1, 1, 1, 1),
            f"{name!r} has shape (1, 1, 1, 1, 1, 1), ",
        ),
        (lambda tensor: tensor.bool(), f"{name!r} has numbers of type bool, "),
    ]
    for index, (change, said) in enumerate(changes):
        assert refused(small, tmp_path / str(index), trunc, name, change).startswith(said)


@pytest.mark.parametrize(
    ("trunc", "name", "change", "said"),
    [
        ("4", "state.carried", lambda t: t * torch.inf, "'state.carried' has numbers that are not finite"),
        ("4", "rng.dropout", lambda t: 255 - t, "'rng.dropout' is no state of a random generator"),
        ("4", "streams.due", lambda t: t.int(), "'streams.due' has numbers of type int32, the model wants bool"),
        (
            "4",
            "streams.since",
            lambda t: t - 11,
            "'streams.since' has numbers below 0, or above the 10 that were read",
        ),
        (
            "4",
            "streams.since",
            lambda t: t + 11,
            "'streams.since' has numbers below 0, or above the 10 that were read",
        ),
        ("2/6", "history.x", lambda t: t + 999, "'history.x' has symbols that the vocabulary lacks"),
        ("2/6", "history.x", lambda t: t - 999, "'history.x' has symbols that the vocabulary lacks"),
        ("2/6", "history.place", lambda t: t * 10**12, "'history.place' has 4 characters at "),
        ("2/6", "history.place", lambda t: t - 100, "'history.place' has 4 characters at "),
    ],
)
def test_values_that_no_run_has_are_refused(
    small: Corpus, tmp_path: Path, trunc: str, name: str, change: Change, said: str
) -> None:
    assert refused(small, tmp_path, trunc, name, change).startswith(said)


@pytest.mark.parametrize("change", [{"position": 11}, {"position": 2**52}, {"axes": Standing().axes}])
def test_a_place_in_the_text_that_the_count_does_not_lead_to_is_refused(
    small: Corpus, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = train_run(tmp_path / "run", small, chars=40, precision="float32") / "last.safetensors"
    checkpoint = load_checkpoint(path)
    document = replace(checkpoint.document, standing=replace(checkpoint.document.standing, **change))
    said = message_of(restore, replace(checkpoint, document=document), small)
    assert said.startswith(f"{path}: damaged: ")
    assert said.endswith(" of each of 4 streams; begin a new run")


def test_a_run_of_another_kind_of_device_goes_on_with_random_numbers_that_its_own_decide(
    small: Corpus, tmp_path: Path
) -> None:
    """A GPU's generator has a state of 16 bytes."""
    path = train_run(tmp_path / "run", small, chars=40, precision="float32") / "last.safetensors"
    checkpoint = load_checkpoint(path)
    states = []
    for number in (1, 1, 2):
        of_gpu = {"rng.dropout": torch.full((16,), number, dtype=torch.uint8)}
        trainer = restore(replace(checkpoint, tensors=checkpoint.tensors | of_gpu), small)
        states.append(trainer.engine.state_dict()["rng.dropout"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    assert not torch.equal(states[0], checkpoint.tensors["rng.dropout"])


def test_what_there_is_to_know_of_the_best_validation_is_kept(small: Corpus, tmp_path: Path) -> None:
    run = train_run(tmp_path / "run", small, chars=40, precision="float32", lr=0.5)  # so high that guessing is better
    trainer = restore(load_checkpoint(run / "last.safetensors"), small)
    assert any(remark.startswith("worse than guessing") for remark in trainer.standing.remarks)


CHANCE = [run for run in RUNS if run["trunc"] in ("random:8", "artbp:4", "shuffle(1..8)", "uoro:3")]
every_run = pytest.mark.parametrize("run", RUNS, ids=lambda run: run["trunc"])
SHORTER = SIZE | {"budget": Budget("epochs", 1.2)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """100 predictions to train on, in lanes of 33 and 34, and 20 characters to validate."""
    return make_corpus(tmp_path_factory.mktemp("tiny"), prose(121), split="101/20/0")


@every_run
def test_a_run_resumed_after_any_update_goes_on_as_if_never_interrupted(tiny: Corpus, run: dict[str, Any]) -> None:
    """From each snapshot, one update or validation leads to the next; by induction, all of them lead to the end."""
    trainer = make_trainer(tiny, **SIZE | run)
    records: list[Record] = []
    moments: list[tuple[Checkpoint, int]] = []
    ks = set()

    def moment_of(run: Trainer | Document) -> tuple[int, bool]:
        return run.standing.axes.updates, run.standing.owing

    def note() -> bool:
        if not moments or moment_of(trainer) != moment_of(moments[-1][0].document):
            moments.append((frozen_copy(trainer), len(records)))
        return False

    for record in trainer.run(note):
        records.append(record)
        ks.add((record["k1"], record["k2"]))
    note()
    in_mid_interval = [moment for moment, _ in moments if moment.document.standing.sums.updates]
    assert trainer.streams.position > 2 * 34, "the lanes should wrap more than once"
    assert in_mid_interval or run["trunc"] == "full"
    assert len(ks) > 2 or ".." not in run["trunc"]
    held = any(name.startswith("history.") for name in moments[-1][0].tensors)
    assert held == (run["trunc"] in ("2/6", "3/7", "3/20", "2/6@rerun", "last:6/2", "1/5", "1/1..1/8"))

    for (before, seen), (after, seen_after) in pairwise(moments):
        resumed = restore(before, tiny, run.get("precision", "float32"))
        end = moment_of(after.document)
        new = list(resumed.run(lambda r=resumed, end=end: moment_of(r) == end))
        assert_same(frozen_copy(resumed), after)
        assert without_time(new) == without_time(records[seen:seen_after])


@pytest.mark.parametrize("run", [*RUNS, {"trunc": "rflo", "cell": "lstm"}], ids=lambda run: run["trunc"])
def test_a_run_resumed_from_a_file_ends_the_same(tiny: Corpus, run: dict[str, Any], tmp_path: Path) -> None:
    whole, records = train(tiny, **SHORTER | run)
    interrupted = make_trainer(tiny, **SHORTER | run)
    some = some_updates(interrupted, 1 if run["trunc"] == "full" else 4)
    save_checkpoint(tmp_path / "a", *snapshot(interrupted))
    resumed = restore(load_checkpoint(tmp_path / "a"), tiny, run.get("precision", "float32"))
    assert without_time(some + list(resumed.run())) == without_time(records)
    assert_same(frozen_copy(resumed), frozen_copy(whole))
    assert resumed.standing.axes.seconds > interrupted.standing.axes.seconds


@pytest.mark.parametrize("run", [*RUNS[:4], *CHANCE], ids=lambda run: run["trunc"])
def test_the_seed_decides_everything(tiny: Corpus, run: dict[str, Any]) -> None:
    first, again, other = (train(tiny, **SHORTER | run, seed=seed) for seed in (1, 1, 2))
    assert_same(frozen_copy(first[0]), frozen_copy(again[0]))
    assert without_time(first[1]) == without_time(again[1])
    assert not torch.equal(first[0].model.parameters.flat, other[0].model.parameters.flat)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_a_run_goes_on_in_its_own_precision(small: Corpus, precision: str) -> None:
    """What was trained with --precision float32 would not end the same in the bfloat16 of another machine."""
    trainer = make_trainer(small, precision=precision)
    resumed = restore(frozen_copy(trainer), small, "auto")
    assert resumed.model.precision == trainer.model.precision


@pytest.mark.parametrize(
    ("cell", "trunc"),
    [
        *((cell, "2/6") for cell in EVERY_CELL),
        *((cell, trunc) for cell in CELLS for trunc in ("rtrl:5", "uoro:3")),
        *((name, "snap:3") for name, cell in CELLS.items() if not cell.gates_state),
    ],
)
def test_nothing_depends_on_what_memory_held_before(
    small: Corpus, cell: str, trunc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it saved: two checkpoints of the same run would differ."""
    settings = {"layers": 2, "dropout": 0.3, "trunc": trunc, "budget": Budget("chars", 60), "eval_every": 60}
    expected = train(small, cell, **settings)[0]
    empty = torch.empty

    def filled(*args: Any, **kwargs: Any) -> Tensor:
        tensor = empty(*args, **kwargs)
        return tensor.fill_(math.nan if tensor.is_floating_point() else 0)

    monkeypatch.setattr(torch, "empty", filled)
    ours = train(small, cell, **settings)[0]
    assert torch.equal(ours.model.parameters.flat, expected.model.parameters.flat)
    holes = {name for name, tensor in snapshot(ours)[0].items() if not tensor.isfinite().all()}
    assert not holes


@every_run
def test_a_run_that_is_done_with_leaves_no_memory_behind(tiny: Corpus, run: dict[str, Any]) -> None:
    """At once, and not when garbage is collected: a race of many runs would take all there is before that."""
    gc.disable()
    try:
        trainer, _ = train(tiny, **SHORTER | run)
        parts = [weakref.ref(part) for part in (trainer, trainer.model, trainer.engine, trainer.optimizer)]
        del trainer
        assert [part() for part in parts] == [None] * 4
    finally:
        gc.enable()


def test_a_finished_run_has_nothing_left_to_do(small: Corpus) -> None:
    trainer, _ = train(small)
    resumed = restore(frozen_copy(trainer), small, "float32")
    assert list(resumed.run()) == []
    assert_same(frozen_copy(resumed), frozen_copy(trainer))


def test_a_longer_budget_stretches_the_schedules(small: Corpus) -> None:
    trainer, _ = train(small, trunc="1..8", budget=Budget("chars", 300), eval_every=50)
    resumed = restore(frozen_copy(trainer), small, "float32", budget=Budget("chars", 1200))
    assert resumed.spent == 0.25
    records = list(resumed.run())
    assert records[0]["k1"] == 2
    assert resumed.standing.axes.chars == records[-1]["chars"] == 1200
    assert resumed.config == replace(trainer.config, budget=Budget("chars", 1200))


def test_another_text_is_refused(small: Corpus, corpus: Corpus, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", *snapshot(make_trainer(small)))
    assert message_of(restore, load_checkpoint(tmp_path / "a"), corpus, "float32") == (
        f"{corpus.path}: not the text that {tmp_path / 'a'} was trained on; give that one to resume"
    )


def test_the_same_text_split_otherwise_is_refused(small: Corpus, tmp_path: Path) -> None:
    """Otherwise the place in the text would be another, and validation text would be trained on."""
    other = make_corpus(tmp_path, prose(220), split="1/0/0")
    assert other.fingerprint == small.fingerprint
    assert message_of(restore, frozen_copy(make_trainer(small)), other, "float32") == (
        f"{other.path}: split otherwise than for memory; prepare it with the same --split"
    )
