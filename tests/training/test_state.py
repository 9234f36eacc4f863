"""Going on from a checkpoint that somebody has changed: refused in one line that names the file and the part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import load_checkpoint, save_checkpoint
from rnnbptt.training.records import Standing
from rnnbptt.training.state import restore
from support.refusals import message_of
from support.runs import train_run

Change = Callable[[Tensor], Tensor]


def refused(small: Corpus, folder: Path, trunc: str, name: str, change: Change) -> str:
    """What is said of a run in which one tensor was changed."""
    path = train_run(folder / "run", small, chars=40, precision="float32", trunc=trunc) / "last.safetensors"
    checkpoint = load_checkpoint(path)
    restore(checkpoint, small)
    save_checkpoint(path, checkpoint.tensors | {name: change(checkpoint.tensors[name])}, checkpoint.document)
    return message_of(restore, load_checkpoint(path), small).removeprefix(f"{path}: damaged: ")


@pytest.mark.parametrize(
    ("trunc", "name"),
    [
        *(("4", name) for name in ("state.carried", "optimizer.exp_avg", "optimizer.step", "rng.dropout")),
        ("snap", "influence.rnn.bias_hh_l0"),
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
