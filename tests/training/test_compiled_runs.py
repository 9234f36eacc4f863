"""Runs of the compiled engine: against float64, in other blocks, resumed, and from numba's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from rnnbptt.bptt.engines import COMPILED
from rnnbptt.bptt.window import create_network
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import load_checkpoint, save_checkpoint
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.loop import DivergedError, Trainer
from rnnbptt.training.records import Record
from rnnbptt.training.state import restore, snapshot
from rnnbptt.truncation.plan import Plan
from support.refusals import message_of
from support.runs import without_time

RUNS: list[dict[str, Any]] = [
    {"trunc": "1", "streams": 1, "cell": "lstm", "dropout": 0.3},
    {"trunc": "1", "streams": 1, "cell": "rnn", "layers": 2, "optimizer": "sgd"},
    {"trunc": "1..8", "streams": 1, "cell": "gru", "optimizer": "rmsprop", "beta2_chars": 1000.0},
    {"trunc": "1..8@plateau", "streams": 2, "cell": "elstm", "layers": 2, "dropout": 0.2, "eval_every": 90},
    {"trunc": "stateless:1", "streams": 1, "cell": "lstm"},
    {"trunc": "stateless:3", "streams": 3, "cell": "gru"},
    {"trunc": "last-carried:3", "streams": 2, "cell": "rnn"},
    {"trunc": "random:8", "streams": 2, "cell": "lstm"},
    {"trunc": "artbp:4", "streams": 3, "cell": "gru"},
    {"trunc": "6/2", "streams": 3, "cell": "lstm", "budget": Budget("updates", 60)},
    {"trunc": "2/7", "streams": 2, "cell": "lstm", "dropout": 0.3, "layers": 2},
    {"trunc": "1/1..1/8", "streams": 1, "cell": "rnn"},
    {"trunc": "4/1..4/8", "streams": 2, "cell": "gru"},
    {"trunc": "1/4..4/4", "streams": 1, "cell": "lstm", "dropout": 0.3},
    {"trunc": "last:1..last:8", "streams": 2, "cell": "lstm"},
    {"trunc": "2/7@rerun", "streams": 1, "cell": "gru", "dropout": 0.3},
    {"trunc": "last:6/2", "streams": 2, "cell": "elstm", "dropout": 0.3},
    {"trunc": "8..1", "streams": 1, "cell": "mingru"},
    {"trunc": "1", "streams": 1, "cell": "gru", "reset_every": 7},
    {"trunc": "1..8", "streams": 3, "cell": "lstm", "reset_every": 30},
    {"trunc": "snap", "streams": 1, "cell": "lstm", "dropout": 0.3, "reset_every": 30},
    {"trunc": "snap:1..snap:8", "streams": 2, "cell": "gru", "layers": 2},
    {"trunc": "rflo", "streams": 3, "cell": "elstm", "reset_every": 30},
    {"trunc": "rtrl:5", "streams": 2, "cell": "rnn", "dropout": 0.3},
]


def name_of(run: dict[str, Any]) -> str:
    return f"{run['cell']} {run['trunc']}{' reset' * ('reset_every' in run)}"


def trainer_of(
    corpus: Corpus,
    cell: str = "lstm",
    hidden: int = 13,
    layers: int = 1,
    dropout: float = 0.0,
    engine: str = "compiled",
    **config: Any,
) -> Trainer:
    settings = {"budget": Budget("chars", 800), "lr": 0.02, "weight_decay": 5.0, "warmup": 90, "eval_every": 180}
    training = TrainConfig(**settings | config)
    model = create_network(ModelConfig(len(corpus.vocabulary), cell, hidden, layers, dropout), "float32", seed=1)
    return Trainer(model, corpus, training, engine)


def assert_same_end(a: Trainer, b: Trainer) -> None:
    """All that a checkpoint keeps, but for time."""
    (tensors, document), (others, other_document) = snapshot(a), snapshot(b)
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name
    assert without_time(asdict(document.standing)) == without_time(asdict(other_document.standing))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "elstm", "mingru"])
def test_a_thousand_characters_stay_as_near_to_float64_as_torch_does(corpus: Corpus, cell: str) -> None:
    """Pure online learning; the distance is relative to how far the weights have moved."""
    online = {"trunc": "1", "streams": 1, "budget": Budget("chars", 1000), "eval_every": 10**6, "lr": 1e-3}
    runs = {engine: trainer_of(corpus, cell, hidden=32, engine=engine, **online) for engine in ("compiled", "torch")}
    start = runs["torch"].model.parameters.flat.double().clone()
    wide = create_network(runs["torch"].model.config, "float64")
    wide.parameters.flat.copy_(start)
    runs["float64"] = Trainer(wide, corpus, runs["torch"].config)
    for trainer in runs.values():
        list(trainer.run())
    end = wide.parameters.flat
    off = {name: float((run.model.parameters.flat.double() - end).norm()) for name, run in runs.items()}
    assert off["compiled"] / float((end - start).norm()) < 1e-5
    assert off["compiled"] < 2 * off["torch"]


@pytest.mark.parametrize("run", RUNS, ids=name_of)
def test_a_run_is_that_of_the_engine_of_torch(small: Corpus, run: dict[str, Any]) -> None:
    ours, theirs = (trainer_of(small, **run, engine=engine, lr=1e-3) for engine in ("compiled", "torch"))
    for a, b in zip(ours.run(), theirs.run(), strict=True):
        exact = ("kind", "chars", "updates", "flops", "epoch", "k1", "k2", "lr")
        assert {name: a[name] for name in exact} == {name: b[name] for name in exact}
        assert a["nats"] == pytest.approx(b["nats"], abs=5e-3)


class Undisturbed(NamedTuple):
    """A run that was made at once, in blocks as large as they are."""

    run: dict[str, Any]
    trainer: Trainer
    records: list[Record]


@pytest.fixture(scope="module", params=RUNS, ids=name_of)
def whole(small: Corpus, request: pytest.FixtureRequest) -> Undisturbed:
    torch.set_flush_denormal(False)  # a command before may have set it
    trainer = trainer_of(small, **request.param)
    return Undisturbed(request.param, trainer, list(trainer.run()))


def test_how_much_one_call_does_changes_no_bit(
    small: Corpus, whole: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    singly = trainer_of(small, **whole.run)
    monkeypatch.setattr("rnnbptt.training.loop.WORK", 0)
    assert without_time(list(singly.run())) == without_time(whole.records)
    assert_same_end(whole.trainer, singly)


def test_a_run_resumed_from_a_file_ends_the_same(small: Corpus, whole: Undisturbed, tmp_path: Path) -> None:
    interrupted = trainer_of(small, **whole.run)
    axes = interrupted.standing.axes
    some = list(interrupted.run(lambda: axes.updates >= 40))
    save_checkpoint(tmp_path / "a", *snapshot(interrupted))
    checkpoint = load_checkpoint(tmp_path / "a")
    assert checkpoint.document.engine == "compiled"
    resumed = restore(checkpoint, small, engine="compiled")
    assert without_time(some + list(resumed.run())) == without_time(whole.records)
    assert_same_end(resumed, whole.trainer)


@pytest.mark.parametrize(
    ("cell", "trunc"),
    [("lstm", "1"), ("lstm", "snap:3"), ("lstm", "rtrl:8"), *((cell, "2/7") for cell in COMPILED), ("gru", "last:6/2")],
)
@pytest.mark.parametrize(("first", "then"), [("compiled", "torch"), ("torch", "compiled")])
def test_a_run_goes_on_under_the_other_engine(
    small: Corpus, tmp_path: Path, cell: str, trunc: str, first: str, then: str
) -> None:
    """With all that is carried, influences and older characters too: near to where it would have come to."""
    run = {"cell": cell, "trunc": trunc, "streams": 2, "lr": 1e-3, "dropout": 0.3}
    whole, interrupted = (trainer_of(small, **run, engine=first) for _ in range(2))
    list(whole.run())
    list(interrupted.run(lambda axes=interrupted.standing.axes: axes.chars >= 440))
    save_checkpoint(tmp_path / "a", *snapshot(interrupted))
    assert len(snapshot(interrupted)[0].get("history.x", ())) == interrupted.strategy.history
    resumed = restore(load_checkpoint(tmp_path / "a"), small, engine=then)
    list(resumed.run())
    (ours, _), (theirs, _) = snapshot(resumed), snapshot(whole)
    assert ours.keys() == theirs.keys()
    start = trainer_of(small, **run).model.parameters.flat
    moved = float((whole.model.parameters.flat - start).norm())
    assert float((resumed.model.parameters.flat - whole.model.parameters.flat).norm()) < 1e-3 * moved


DAMAGED: list[tuple[str, Callable[[torch.Tensor], torch.Tensor | None], str]] = [
    ("history.x", lambda t: t + 999, "'history.x' has symbols that the vocabulary lacks"),
    ("history.x", lambda t: t - 999, "'history.x' has symbols that the vocabulary lacks"),
    ("history.x", lambda t: t[:, :1], "'history.x' has shape (4, 1), the model wants (4, 2)"),
    ("history.x", lambda t: t.repeat(2, 1), "'history.place' has 8 characters at "),
    ("history.x", lambda t: None, "it lacks 'history.x'; begin a new run"),
    ("history.0.h", lambda t: t[1:], "'history.0.h' has shape (4, 2, 13), the model wants (5, 2, 13)"),
    ("history.0.c", lambda t: t * torch.nan, "'history.0.c' has numbers that are not finite"),
]


@pytest.mark.parametrize(("name", "change", "said"), DAMAGED)
def test_damaged_older_characters_are_refused_before_a_kernel_reads_them(
    small: Corpus, tmp_path: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor | None], said: str
) -> None:
    trainer = trainer_of(small, trunc="2/6", streams=2)
    list(trainer.run(lambda: trainer.standing.axes.chars >= 440))
    save_checkpoint(tmp_path / "a", *snapshot(trainer))
    checkpoint = load_checkpoint(tmp_path / "a")
    changed = change(checkpoint.tensors[name])
    others = {key: tensor for key, tensor in checkpoint.tensors.items() if key != name}
    damaged = replace(checkpoint, tensors=others if changed is None else others | {name: changed})
    heard = message_of(restore, damaged, small, engine="compiled")
    assert heard.removeprefix(f"{checkpoint.path}: damaged: ").startswith(said)


def test_an_exact_influence_is_not_moved_on_for_minutes_in_one_call(small: Corpus) -> None:
    """So long as a call takes, Ctrl-C is not heard: some hundredths of a second, at 20 billion operations a second."""
    trainer = trainer_of(small, trunc="rtrl", streams=1, hidden=64)
    assert trainer._alike(Plan(1, 1)) * trainer.engine.flops(Plan(1, 1)) < 2e9


def test_a_loss_that_is_not_finite_ends_the_run_in_the_words_of_torch(small: Corpus) -> None:
    said = []
    for engine in ("compiled", "torch"):
        trainer = trainer_of(small, trunc="1", streams=1, engine=engine, eval_every=270)
        list(trainer.run(lambda axes=trainer.standing.axes: axes.updates >= 27))
        trainer.model.parameters.values["head.bias"][0] = torch.nan
        with pytest.raises(DivergedError) as caught:
            list(trainer.run())
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith("the loss is not finite at character 28 (update 28); ")


ELSEWHERE = """
import sys
from pathlib import Path
from test_compiled_runs import trainer_of
from rnnbptt.text.corpus import Corpus
trainer = trainer_of(Corpus.open(sys.argv[1]), "gru", trunc=sys.argv[2], streams=1, dropout=0.3, layers=2)
list(trainer.run())
print(trainer.model.parameters.flat.numpy().tobytes().hex())
"""


@pytest.mark.parametrize("trunc", ["1", "snap:2"])
def test_what_was_just_compiled_and_what_comes_from_the_cache_have_the_same_bits(
    small: Corpus, tmp_path: Path, trunc: str
) -> None:
    """This process has compiled the kernel where nobody had before; the other one finds it. With RNNBPTT_TRIALS, which
    takes half a minute more, a third one always compiles it.
    """
    trainer = trainer_of(small, "gru", trunc=trunc, streams=1, dropout=0.3, layers=2)
    list(trainer.run())
    here = trainer.model.parameters.flat.numpy().tobytes().hex()
    assert trained_elsewhere(small, trunc) == here
    if os.environ.get("RNNBPTT_TRIALS"):
        assert trained_elsewhere(small, trunc, NUMBA_CACHE_DIR=str(tmp_path)) == here
        assert list(tmp_path.rglob("*.nbi"))


def trained_elsewhere(corpus: Corpus, trunc: str, **variables: str) -> str:
    """The parameters that a process of its own comes to."""
    file = Path(__file__)
    paths = os.pathsep.join(map(str, (file.parents[2], file.parents[1], file.parent)))
    environment = os.environ | {"PYTHONPATH": paths, **variables}
    command = [sys.executable, "-c", ELSEWHERE, str(corpus.path), trunc]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
