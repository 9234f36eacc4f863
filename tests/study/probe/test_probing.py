"""probing.py against autograd and brute force."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnnbptt.bptt.influence import FullInfluence
from rnnbptt.model.reference import mean_loss
from rnnbptt.report.probe_tables import show_probe
from rnnbptt.storage.files import write_json
from rnnbptt.study.contexts import context_bpc
from rnnbptt.study.probe.concluding import conclude
from rnnbptt.study.probe.fidelity import ALL, RECURRENT
from rnnbptt.study.probe.probing import fading, probe, staleness
from rnnbptt.study.probe.results import Staleness
from rnnbptt.study.probe.subject import Subject, open_subject
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import load_checkpoint, save_checkpoint
from rnnbptt.truncation.specs import parse_truncation
from support.networks import ReferenceNetwork, independent, make_model, random_text
from support.refusals import message_of
from support.runs import train_run

B = 3
Network = Any


def test_fading_is_the_gradient_by_lag() -> None:
    """By autograd from the state so many characters before, in windows that end after 7, 8, 9 and 10 characters."""
    model, depth = make_model("lstm", layers=2), 5
    x, y = random_text(model, 2 * depth, B)
    network = ReferenceNetwork(model)
    with torch.no_grad():
        norms = fading(model, x, y).norms
    assert len(norms) == depth + 1
    for lag in range(1, depth + 1):
        expected = []
        for stop in (7, 8, 9, 10):
            start = stop - lag
            _, state = network.loss(x[:start], y[:start], model.zero_state(B))
            state.requires_grad_()
            weights = dict(network.named_parameters())
            losses = [_sum_of_losses(network, weights, x[start:end], y[start:end], state) for end in (stop, stop - 1)]
            (g,) = torch.autograd.grad(losses[0] - losses[1], state)
            expected.append(float(g.square().sum((0, 1, 3)).sqrt().mean()))
        assert norms[lag] == pytest.approx(np.mean(expected), rel=1e-10)


def _sum_of_losses(network: Network, weights: Any, x: torch.Tensor, y: torch.Tensor, state: torch.Tensor) -> Any:
    """Over the characters and streams; attached to the state."""
    return mean_loss(network.config, weights, x, y, state)[0] * x.numel() if len(x) else state.sum() * 0


@pytest.mark.parametrize(("faint", "fitted"), [(10, (3, 9)), (5, (2, 4)), (0, (0, 0))])
def test_a_decay_is_fitted_before_the_first_norm_that_is_too_faint(
    monkeypatch: pytest.MonkeyPatch, faint: int, fitted: tuple[int, int]
) -> None:
    """On the lags from three tenths to nine tenths of the way there."""
    model = make_model("gru")
    norms = [0.5**lag for lag in range(11)]
    norms[faint] = 0.0
    monkeypatch.setattr("rnnbptt.study.probe.probing.norms_by_lag", lambda *_: np.asarray(norms))
    with torch.no_grad():
        found = fading(model, *random_text(model, 20, B))
    assert found.norms == tuple(norms)
    assert found.fitted == fitted
    assert found.beta == pytest.approx(0.5 if faint else math.nan, nan_ok=True)


@torch.no_grad()
def test_loss_by_context_is_that_of_each_target_by_itself() -> None:
    model = make_model("gru")
    ids = np.random.default_rng(0).integers(7, size=200).astype(np.uint8)
    targets, network = np.arange(100, 200, 1), independent(model)
    for characters in (1, 2, 70):  # more than are read at a time
        nats = []
        for target in targets:
            x = torch.from_numpy(ids[target - characters : target].astype(np.int64))[:, None]
            logits, _ = network(x, model.zero_state(1))
            y = torch.tensor([int(ids[target])])
            nats.append(float(torch.nn.functional.cross_entropy(logits[-1:], y)))
        expected = np.mean(nats) / math.log(2)
        assert context_bpc(model, ids, targets, characters) == pytest.approx(expected, rel=1e-12)


def subject_of(run: Path, corpus: Corpus, depth: int) -> Subject:
    """In float64, and without a look at how long the held-out text is."""
    checkpoint = load_checkpoint(run / "last.safetensors")
    return Subject(checkpoint, checkpoint.build_model("float64"), corpus, 0, 200, depth, 1, ())


@pytest.mark.parametrize("trunc", ["4", "stateless:3", "last:7/3"])
@pytest.mark.parametrize("chars", [40, 400, 1200])
def test_a_state_is_not_stale_while_the_weights_rest(small: Corpus, tmp_path: Path, trunc: str, chars: int) -> None:
    """In the second case one of the four streams stands at the end of the text, and one has wrapped; in the third all
    have.
    """
    run = train_run(tmp_path / "run", small, chars, lr=1e-300, warmup=0, trunc=trunc)
    (layer,) = staleness(subject_of(run, small, depth=1000))
    assert layer.largest < 1e-14


@pytest.mark.parametrize("chars", [40, 400, 1200])
def test_nor_is_one_that_was_set_to_zero_by_chance(small: Corpus, tmp_path: Path, chars: int) -> None:
    run = train_run(tmp_path / "run", small, chars, lr=1e-300, trunc="4", reset_every=25)
    (layer,) = staleness(subject_of(run, small, depth=1000))
    assert layer.largest < 1e-14
    assert layer.unsettled == 0, "all that each has read since was read again"


def test_a_state_that_was_handed_on_is_not_that_of_the_text(small: Corpus, tmp_path: Path) -> None:
    run = train_run(tmp_path / "run", small, lr=1e-300, warmup=0, trunc="shuffled-state:1")
    stale = staleness(subject_of(run, small, depth=1000))
    assert stale[0].median > 0.01


def test_a_stale_state_shows(small: Corpus, tmp_path: Path) -> None:
    run = train_run(tmp_path / "run", small, lr=1e-300, warmup=0)
    checkpoint = load_checkpoint(run / "last.safetensors")
    checkpoint.tensors["state.carried"][:, :, 0] *= 1.5
    save_checkpoint(run / "last.safetensors", checkpoint.tensors, checkpoint.document)
    (layer,) = staleness(subject_of(run, small, depth=1000))
    assert (layer.layer, layer.largest) == (0, pytest.approx(0.5))
    assert layer.median < 1e-14
    moved = train_run(tmp_path / "moved", small, lr=0.01, warmup=0)
    assert 1e-3 < staleness(subject_of(moved, small, depth=1000))[0].median < 1


def test_staleness_is_of_the_text_the_run_was_trained_on(small: Corpus, tmp_path: Path) -> None:
    """However the folder has been split since."""
    run = train_run(tmp_path / "run", small, lr=1e-300, warmup=0)
    split_anew = replace(small, splits={"train": (0, 150), "valid": (150, 200), "test": (200, 220)})
    assert staleness(subject_of(run, split_anew, depth=1000))[0].largest < 1e-14


def test_what_says_nothing_of_staleness_is_no_number(small: Corpus, tmp_path: Path) -> None:
    stateless = train_run(tmp_path / "stateless", small, trunc="stateless:3")
    (layer,) = staleness(subject_of(stateless, small, depth=10))
    assert math.isnan(layer.unsettled)
    assert not math.isnan(layer.median)
    run = train_run(tmp_path / "run", small)
    checkpoint = load_checkpoint(run / "last.safetensors")
    checkpoint.tensors["state.carried"].zero_()
    standing = replace(checkpoint.document.standing, position=0)
    save_checkpoint(run / "last.safetensors", checkpoint.tensors, replace(checkpoint.document, standing=standing))
    (layer,) = staleness(subject_of(run, small, depth=10))
    assert all(math.isnan(share) for share in (layer.median, layer.largest, layer.unsettled))


@torch.no_grad()
def test_an_unsettled_state_is_that_of_half_the_text(small: Corpus, tmp_path: Path) -> None:
    run = train_run(tmp_path / "run", small, lr=1e-300, warmup=0)
    subject = subject_of(run, small, depth=10)
    network, ids = independent(subject.model), torch.from_numpy(small.ids.astype(np.int64))
    ratios = []
    for end, read in ((100, 40), (149, 40), (199, 40), (50, 40)):  # lanes of 199 predictions after 100 characters
        whole, half = (
            network.loss(*[ids[end - n : end, None]] * 2, subject.model.zero_state(1))[1] for n in (read, read // 2)
        )
        ratios.append(float((whole - half).norm() / whole.norm()))
    (layer,) = staleness(subject)
    assert layer.unsettled == pytest.approx(float(torch.tensor(ratios).median()), rel=1e-6)


# --- all of it --------------------------------------------------------------------------------------------------------


def test_a_probe_and_its_json(run: Path, tmp_path: Path) -> None:
    subject = open_subject(run, 16, 8, [parse_truncation(spec) for spec in ("1/16", "16/32", "8", "rtrl:4")])
    told: list[tuple[int, int]] = []
    found = probe(subject, lambda done, total: told.append((done, total)))
    by_trunc = {each.trunc: each for each in found.gradients}
    assert list(by_trunc) == [
        "1",
        "2",
        "4",
        "8",
        "16",
        "snap",
        "snap:1",
        "snap:8",
        "1/16",
        "16/32",
        "rtrl:4",
    ]
    for exact in ("rtrl:4", "16/32"):
        assert by_trunc[exact].cosine[ALL] == pytest.approx(1, abs=1e-6)
        assert by_trunc[exact].bias[ALL] < 1e-5
    assert by_trunc["1"].bias[RECURRENT] > 0.1
    assert found.tape_bytes == 2 * open_subject(run, 16, 4).tape_bytes == 2 * open_subject(run, 8, 8).tape_bytes > 0
    influence = FullInfluence(subject.model, 8)
    assert subject.influence_bytes == influence.bytes > 2 * sum(tensor.nbytes for tensor in influence.state.values())
    assert open_subject(run, 16, 8).influence_bytes == 0
    assert (found.text, found.trunc, found.cell, found.targets) == ("held-out text", "4", "lstm", 984)
    assert [context.characters for context in found.contexts] == [1, 2, 4, 8, 16]
    assert found.conclusion == conclude(found.gradients, found.contexts, found.staleness)
    assert len(found.fading.norms) == 17
    assert found.fading.half_life == pytest.approx(math.log(2) / -math.log(found.fading.beta))
    assert told[-1][0] == told[-1][1]
    assert told == sorted(told)
    write_json(replace(found, fading=replace(found.fading, half_life=math.nan)), tmp_path / "probe.json")
    document = json.loads((tmp_path / "probe.json").read_text())
    assert document["gradients"][0] == {"trunc": "1", "cosine": by_trunc["1"].cosine, "bias": by_trunc["1"].bias}
    assert document["fading"]["half_life"] is None
    assert document["path"] == str(run / "best.safetensors")
    assert document["conclusion"] == {
        "gradient": True,
        "enough": None,
        "nearest": 16,
        "bias": by_trunc["16"].bias[RECURRENT],
        "memory": found.conclusion.memory,
        "ends": found.conclusion.ends,
        "carried": found.conclusion.carried,
        "staleness": found.staleness[0].median,
    }


def test_a_text_that_changes_meanwhile_is_refused(run: Path, text_corpus: Corpus, tmp_path: Path) -> None:
    """Reading what is no longer there would kill the process."""
    shutil.copytree(text_corpus.path, tmp_path / "corpus")
    shutil.copytree(run, tmp_path / "run")
    document = load_checkpoint(run / "best.safetensors").document
    moved = replace(document, corpus=replace(document.corpus, path=str(tmp_path / "corpus")))
    save_checkpoint(tmp_path / "run" / "best.safetensors", load_checkpoint(run / "best.safetensors").tensors, moved)
    subject = open_subject(tmp_path / "run", 4, 2)
    said = f"{str(tmp_path / 'corpus')!r} has changed since it was opened; prepare the text again"

    def cut(done: int, total: int | None) -> None:
        """While it is read, at the very start."""
        os.truncate(tmp_path / "corpus" / "ids.npy", 100)

    assert message_of(probe, subject, cut) == said
    for read in (probe, staleness, lambda subject: subject.lanes()):
        assert message_of(read, subject) == said


def test_what_there_is_no_number_for_is_said_in_words(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = probe(open_subject(run, 4, 2))
    fading = replace(found.fading, beta=1.02, half_life=math.nan)
    show_probe(replace(found, fading=fading, staleness=(Staleness(0, math.nan, 0.5, math.nan),)), full=True)
    shown = capsys.readouterr().out
    assert "x 1.0200 a character: does not fade" in shown
    assert ["layer", "0", "-", "50.00%", "-"] in [line.split() for line in shown.splitlines()]
    assert "nan" not in shown


@pytest.mark.parametrize("name", ["state.carried", "streams.since", "streams.due"])
def test_what_a_checkpoint_lacks_is_named(small: Corpus, tmp_path: Path, name: str) -> None:
    run = train_run(tmp_path / "run", small, chars=40, reset_every=5)
    path = run / "last.safetensors"
    checkpoint = load_checkpoint(path)
    del checkpoint.tensors[name]
    save_checkpoint(path, checkpoint.tensors, checkpoint.document)
    subject = subject_of(run, small, depth=10)
    assert message_of(staleness, subject) == f"{path}: damaged: it lacks {name!r}; take another checkpoint of that run"
