"""What an update does with its gradient: clipping, decay, rates; and that it stops before a step that is no number."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from rnnbptt.errors import UserError
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.config import Budget
from rnnbptt.training.loop import DivergedError
from rnnbptt.training.records import Validations
from rnnbptt.truncation.drawn import RandomLength
from support.networks import TorchNetwork, error
from support.refusals import message_of
from support.runs import without_time
from support.texts import make_corpus, prose
from support.trainers import FROZEN, Spy, make_trainer, of_kind, some_updates, train


def test_clipping_limits_the_norm_and_its_rate_is_recorded(small: Corpus) -> None:
    settings = {"trunc": "5", "eval_every": 1, "lr": FROZEN}
    norms = [record["grad_norm"] for record in of_kind("train", train(small, clip=0.0, **settings)[1])]
    clip = sorted(norms)[len(norms) // 2]  # some are above, some are not
    trainer = make_trainer(small, clip=clip, **settings)
    spy = Spy(trainer)
    records = list(of_kind("train", trainer.run()))
    assert [record["grad_norm"] for record in records] == norms
    assert [record["clip_rate"] for record in records] == [float(norm > clip) for norm in norms]
    assert [step.norm for step in spy.steps] == pytest.approx([min(norm, clip) for norm in norms], rel=1e-5)


@pytest.mark.parametrize("trunc", ["1", "8", "1..8"])
def test_beta2_follows_the_characters_of_an_update_when_asked_to(small: Corpus, trunc: str) -> None:
    trainer = make_trainer(small, trunc=trunc, beta2_chars=500.0)
    spy, seen = Spy(trainer), {}
    list(trainer.run(lambda: seen.setdefault(trainer.standing.axes.chars)))  # None: it never stops
    seen.setdefault(trainer.standing.axes.chars)
    sizes = [after - before for before, after in pairwise(seen)]
    assert [step.beta2 for step in spy.steps] == [math.exp(-size / 500) for size in sizes]


def test_beta2_is_the_one_given_otherwise(small: Corpus) -> None:
    trainer = make_trainer(small, beta2=0.97)
    spy = Spy(trainer)
    list(trainer.run())
    assert {step.beta2 for step in spy.steps} == {0.97}


class NoStep:
    """An optimizer that leaves all as it is."""

    state: ClassVar[dict[str, Tensor]] = {}

    def step(self, flat: Tensor, grad: Tensor, lr: float, beta2: float) -> None:
        """Nothing."""


@pytest.mark.parametrize("trunc", ["1", "8", "1..8", "8/2", "random:8", "full"])
def test_weights_decay_by_characters_whatever_the_truncation(small: Corpus, trunc: str) -> None:
    settings = {"weight_decay": 5.0, "lr": 0.02, "final_lr": 1.0, "warmup": 0, "budget": Budget("chars", 3300)}
    trainer = make_trainer(small, trunc=trunc, precision="float64", **settings)
    trainer.optimizer = NoStep()
    trainer.model.parameters.flat.fill_(1)
    list(trainer.run())
    for name, value in trainer.model.parameters.values.items():
        kept = math.exp(-0.02 * 5.0 * 3) if "weight" in name else 1.0  # 3,300 characters, or a few more
        assert error(value, torch.full_like(value, kept)) < 1e-12, name


def test_a_low_rate_and_short_updates_do_not_lose_the_decay_in_rounding(small: Corpus) -> None:
    """A single update's share is so small that a float32 times it stays what it is."""
    assert torch.ones(()) * math.exp(-0.1 * 1e-4 / 1000) == 1
    settings = {"weight_decay": 0.1, "lr": 1e-4, "final_lr": 1.0, "warmup": 0, "streams": 1}
    trainer = make_trainer(small, trunc="1", precision="float32", budget=Budget("chars", 2_000), **settings)
    trainer.optimizer = NoStep()
    weight = trainer.model.parameters.values["head.weight"]
    before = weight.double().clone()
    list(trainer.run())
    taken_off = float(1 - (weight.double() * before).sum() / before.square().sum())
    assert taken_off == pytest.approx(2 * 0.1 * 1e-4, rel=0.02)


def test_rates_are_those_of_characters_and_do_not_depend_on_k(small: Corpus) -> None:
    rates = []
    for trunc in ("1", "8"):
        trainer = make_trainer(small, trunc=trunc, lr=0.01, warmup=60, budget=Budget("chars", 192))
        spy = Spy(trainer)
        list(trainer.run())
        rates.append([step.lr for step in spy.steps])
    assert rates[0][::8] == rates[1]
    assert rates[1][0] == pytest.approx(0.01 / 60)


def test_the_rate_is_in_proportion_to_a_random_length(small: Corpus) -> None:
    settings = {"lr": 0.01, "final_lr": 1.0, "eval_every": 10**6}
    trainer = make_trainer(small, trunc="random:8", budget=Budget("epochs", 2), **settings)
    spy, seen = Spy(trainer), {}
    list(trainer.run(lambda: seen.setdefault(trainer.standing.axes.chars)))  # None: it never stops
    seen.setdefault(trainer.standing.axes.chars)
    ks = [(after - before) // 3 for before, after in pairwise(seen)]
    assert [step.lr for step in spy.steps] == pytest.approx([0.01 * k / 8 for k in ks])
    assert len(set(ks)) > 4


def test_random_lengths_weigh_every_character_the_same(small: Corpus) -> None:
    """Over an epoch, rate times gradient adds up to the gradient of the sum over all characters, divided by K B."""
    settings = {"precision": "float64", "optimizer": "sgd", "lr": 1.0, "final_lr": 1.0, "clip": 0.0, "eval_every": 199}
    trainer = make_trainer(small, "lstm", streams=1, trunc="random:8", **settings)
    network, spy = TorchNetwork(trainer.model), Spy(trainer)
    frozen, ks = trainer.model.parameters.flat.clone(), []
    while trainer.spent < 1:
        some_updates(trainer, 1)
        ks.append(trainer.standing.k1)
        trainer.model.parameters.flat.copy_(frozen)
        trainer.model.parameters.refresh_operands()
    assert sum(ks) == 199
    ids, state, first = torch.from_numpy(small.split("train").astype("int64"))[:, None], trainer.model.zero_state(1), 0
    for k in ks:
        loss, state = network.loss(ids[first : first + k], ids[first + 1 : first + k + 1], state)
        (k * loss / 8).backward()
        first += k
    ours = sum(step.lr * grad for step, grad in zip(spy.steps, spy.grads, strict=True))
    for name, parameter in network.named_parameters():
        assert error(trainer.model.parameters.views(ours)[name], parameter.grad) < 1e-12, name


def test_random_lengths_without_chance_are_k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomLength, "rarely", 0.0)
    monkeypatch.setattr(RandomLength, "deviation", 0.0)
    corpus = make_corpus(tmp_path, prose(213), split="193/20/0")  # three lanes of 64 rows: no update is cut short
    settings = {"layers": 2, "dropout": 0.3, "budget": Budget("chars", 3 * 136), "eval_every": 150}
    (ours, records), (theirs, same) = (train(corpus, trunc=trunc, **settings) for trunc in ("random:8", "8"))
    assert without_time(records) == without_time(same)
    assert torch.equal(ours.model.parameters.flat, theirs.model.parameters.flat)
    assert ours.standing.axes.updates == 17


# --- divergence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "weight", "value"), [("loss", "head.bias", math.inf), ("gradient", "head.weight", 1e30)]
)
def test_a_loss_or_gradient_that_is_not_finite_stops_training_before_the_step(
    corpus: Corpus, what: str, weight: str, value: float
) -> None:
    trainer = make_trainer(corpus, trunc="5", streams=80, lr=0.25, eval_every=10**6)
    some_updates(trainer, 3)
    trainer.model.parameters.values[weight].view(-1)[0] = value
    weights, counts = trainer.model.parameters.flat.clone(), replace(trainer.standing.axes)
    moments = {name: tensor.clone() for name, tensor in trainer.optimizer.state.items()}
    with pytest.raises(DivergedError) as caught:
        list(trainer.run())
    assert str(caught.value) == (
        f"the {what} is not finite at character 1,600 (update 4); what was saved before is kept;"
        " try a lower --lr (it was 0.25) or a lower --clip"
    )
    assert isinstance(caught.value, UserError)
    assert torch.equal(trainer.model.parameters.flat, weights)
    assert trainer.standing.axes == counts
    assert all(torch.equal(tensor, moments[name]) for name, tensor in trainer.optimizer.state.items())


def test_too_high_a_rate_diverges(small: Corpus) -> None:
    with pytest.raises(DivergedError):
        train(small, "rnn", lr=1e38, optimizer="sgd", clip=0.0)


def test_no_validation_that_is_not_finite_is_recorded(small: Corpus) -> None:
    """It would become the last checkpoint, and even the best, in place of a good one."""
    trainer = make_trainer(small, lr=1e38, eval_every=1)
    assert message_of(list, trainer.run()) == (
        "the validation loss is not finite at character 12 (update 1); what was saved before is kept;"
        " try a lower --lr (it was 1e+38) or a lower --clip"
    )
    assert trainer.standing.validations == Validations()
