"""The training loop against a second one made of torch.nn, autograd and torch.optim, and against itself resumed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import pytest
import torch
from torch import Tensor

from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.influence import INFLUENCES
from rnnbptt.bptt.window import create_network
from rnnbptt.errors import UserError
from rnnbptt.inference.config import SampleConfig
from rnnbptt.inference.evaluation import score
from rnnbptt.inference.sampling import sample
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.corpus import Corpus
from rnnbptt.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rnnbptt.training.config import Budget, TrainConfig
from rnnbptt.training.document import Document
from rnnbptt.training.loop import DivergedError, Trainer
from rnnbptt.training.records import Record, Validations
from rnnbptt.training.state import restore, snapshot
from rnnbptt.truncation.drawn import RandomLength
from rnnbptt.truncation.plan import Plan, Progress
from support.networks import EVERY_CELL, TorchNetwork, error, independent
from support.refusals import message_of
from support.runs import a_score, assert_same, without_time
from support.texts import make_corpus, prose

FROZEN = 1e-300  # a learning rate that no weight notices
AXES = ["kind", "chars", "updates", "seconds", "flops", "epoch", "k1", "k2", "lr", "bpc", "nats"]


def make_trainer(
    corpus: Corpus,
    cell: str = "gru",
    hidden: int = 6,
    layers: int = 1,
    dropout: float = 0.0,
    precision: str = "float32",
    **config: Any,
) -> Trainer:
    config = TrainConfig(**{"streams": 3, "budget": Budget("epochs", 1), "trunc": "4", **config})
    model_config = ModelConfig(len(corpus.vocabulary), cell, hidden, layers, dropout)
    return Trainer(create_network(model_config, precision, seed=config.seed), corpus, config)


def train(*args: Any, **kwargs: Any) -> tuple[Trainer, list[Record]]:
    trainer = make_trainer(*args, **kwargs)
    return trainer, list(trainer.run())


def of_kind(kind: str, records: Iterable[Record]) -> Iterator[Record]:
    return (record for record in records if record["kind"] == kind)


class Step(NamedTuple):
    """What an optimizer is given beside the gradient, of which only the norm is kept."""

    norm: float
    lr: float
    beta2: float


def carried(trainer: Trainer) -> Tensor:
    """The state that training carries along."""
    return trainer.engine.state_dict()["state.carried"]


class Plans:
    """A strategy that notes what it plans."""

    def __init__(self, trainer: Trainer) -> None:
        self._strategy, trainer.strategy = trainer.strategy, self
        self.made: list[Plan] = []

    def next(self, progress: Progress) -> Plan:
        self.made.append(self._strategy.next(progress))
        return self.made[-1]


class Spy:
    """An optimizer that notes what it is given, and passes it on."""

    def __init__(self, trainer: Trainer) -> None:
        self._optimizer, self.grads = trainer.optimizer, []
        self.steps: list[Step] = []
        self.state, trainer.optimizer = trainer.optimizer.state, self

    def step(self, flat: Tensor, grad: Tensor, lr: float, beta2: float) -> None:
        self.steps.append(Step(float(grad.norm()), lr, beta2))
        self.grads.append(grad.clone())
        self._optimizer.step(flat, grad, lr, beta2)


def some_updates(trainer: Trainer, updates: int) -> list[Record]:
    """The records of that many updates, and of the validations before the last one is done."""
    axes = trainer.standing.axes
    last = axes.updates + updates
    return list(trainer.run(lambda: axes.updates >= last))


# --- the same in other words ------------------------------------------------------------------------------------------


def other_loop(trainer: Trainer, network: TorchNetwork, k_at: Callable[[float], int]) -> Iterator[tuple[float, Tensor]]:
    """What `trainer` should do, update by update, to the network: the loss, and the state after it."""
    config, ids = trainer.config, torch.from_numpy(trainer.corpus.split("train").astype("int64"))
    pairs = len(ids) - 1
    lanes = torch.tensor([b * pairs // config.streams for b in range(config.streams)])
    state, chars = trainer.model.zero_state(config.streams), 0
    budget = math.ceil(config.budget.amount * pairs)
    weights, biases = ([p for name, p in network.named_parameters() if kind in name] for kind in ("weight", "bias"))
    optimizer = torch.optim.AdamW([{"params": weights}, {"params": biases}], betas=(0.9, 0.99))
    while chars < budget:
        room = math.ceil((budget - chars) / config.streams)
        k = min(k_at(chars / budget), int(pairs - lanes.max()), room)
        x, y = (ids[lanes + t + torch.arange(k)[:, None]] for t in (0, 1))
        loss, state = network.loss(x, y, state)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in network.parameters()]).norm()
        for parameter in network.parameters():
            parameter.grad *= min(1.0, config.clip / norm)
        cosine = config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * chars / budget))
        lr = config.lr * cosine * min(1.0, (chars + 1) / config.warmup)
        passed = sum(at % 1000 == 0 for at in range(chars + 1, chars + x.numel() + 1))
        kept = math.exp(-lr * config.weight_decay) ** passed
        of_weights, of_biases = optimizer.param_groups
        of_weights |= {"lr": lr, "weight_decay": (1 - kept) / lr}
        of_biases |= {"lr": lr, "weight_decay": 0.0}
        optimizer.step()
        chars += x.numel()
        lanes = (lanes + k) % pairs
        yield loss.item(), state
        state[:, :, lanes == 0] = 0  # a lane at the start of the text has read nothing


@pytest.mark.parametrize(
    ("trunc", "clip", "k_at"),
    [
        ("1", 0.9, lambda spent: 1),
        ("7", 0.3, lambda spent: 7),
        ("full", 0.21, lambda spent: 10**9),
        ("2..8", 0.4, lambda spent: 2 if spent < 0.3 else 4 if spent < 0.6 else 8),
    ],
)
def test_training_equals_a_loop_of_autograd_and_torch_optim(
    small: Corpus, trunc: str, clip: float, k_at: Callable[[float], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # each update is followed by a validation here
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(0.0))
    settings = {"lr": 0.02, "warmup": 100, "final_lr": 0.2, "weight_decay": 20.0, "beta2": 0.99, "clip": clip}
    trainer = make_trainer(
        small,
        "lstm",
        layers=2,
        precision="float64",
        trunc=trunc,
        budget=Budget("epochs", 2.3),
        eval_every=1,
        **settings,
    )
    network = TorchNetwork(trainer.model)
    expected, clipped = other_loop(trainer, network, k_at), set()
    for record in of_kind("train", trainer.run()):
        loss, state = next(expected)
        assert record["nats"] == pytest.approx(loss, rel=1e-11)
        assert error(carried(trainer), state) < 1e-11
        for name, parameter in network.named_parameters():
            assert error(trainer.model.parameters.values[name], parameter.detach()) < 1e-11, name
        clipped.add(record["clip_rate"])
    assert next(expected, None) is None
    assert clipped == {0, 1}, "clipping should be at work, but not always"


class PastOf:
    """The text a trainer has read, and the states it met, by a network of torch.nn whose weights stay."""

    def __init__(self, trainer: Trainer, network: torch.nn.Module) -> None:
        ids, streams = torch.from_numpy(trainer.corpus.split("train").astype("int64")), trainer.config.streams
        self._pairs, self._network, self._ids = len(ids) - 1, network, ids
        self._lanes = torch.tensor([lane * self._pairs // streams for lane in range(streams)])
        self._keep, self._stateless = trainer.strategy.history, trainer.config.trunc.startswith("stateless")
        self._states, self._since = [trainer.model.zero_state(streams)], 0  # the row of the last reset
        self.row, self.deepest = 0, 0

    def update(self, plan: Plan) -> tuple[float, list[Tensor]]:
        """Loss and gradients of the next update, one character at a time."""
        wrapped = ((self._lanes + self.row) % self._pairs == 0) & (self.row > 0) | torch.tensor(self._stateless)
        self._states[-1][:, :, wrapped] = 0
        if wrapped.any():
            self._since = self.row
        older = max(0, min(plan.depth - plan.advance, self._keep, self.row - self._since))
        start, stop = self.row - older, self.row + plan.advance
        state, losses = self._states[start], []
        for row in range(start, stop):
            x, y = (self._ids[(self._lanes + row) % self._pairs + place] for place in (0, 1))
            logits, state = self._network(x[None], state)
            if row >= self.row:
                losses.append(torch.nn.functional.cross_entropy(logits, y))
                self._states.append(state.detach())
            factor = plan.carry[row - start] if plan.carry and row + 1 < stop else 1.0
            state = state.detach() + factor * (state - state.detach())  # the same value, its gradient scaled
        self.row, self.deepest = stop, max(self.deepest, stop - start)
        loss = torch.stack(losses).mean()
        return loss.item(), list(torch.autograd.grad(plan.scale * loss, list(self._network.parameters())))


DEEPEST = {
    "4": 4,
    "2/6": 6,
    "1/5": 5,
    "4/10": 10,
    "2/6@rerun": 6,  # while the weights rest, the same as without
    "6/2": 6,
    "stateless:4": 4,
    "random:8": 12,
    "artbp:4": 12,
    "1/1..1/8": 8,
    "8..1": 8,
    "shuffle(4/1..4/8)": 8,
    "adaptive:0.5": 64,  # a measurement, in pieces
}


@pytest.mark.parametrize(
    ("cell", "trunc"),
    [
        (cell, trunc)
        for cell in ("lstm", "window:3")
        for trunc in DEEPEST
        if (cell, trunc) != ("window:3", "adaptive:0.5")
    ],
)
def test_each_update_carries_out_its_plan(
    small: Corpus, cell: str, trunc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradient are those of autograd, with a cut where the text wraps and no memory of it in any stream."""
    # each update is followed by a validation here
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(3.0))
    settings = {"precision": "float64", "lr": FROZEN, "clip": 0.0, "eval_every": 1, "budget": Budget("epochs", 1.5)}
    trainer = make_trainer(small, cell, layers=2, trunc=trunc, **settings)
    memory = trainer.memory
    network, spy = independent(trainer.model), Spy(trainer)
    past, plans = PastOf(trainer, network), Plans(trainer)
    for record in of_kind("train", trainer.run()):
        loss, grads = past.update(plans.made[-1])
        assert record["nats"] == pytest.approx(loss, abs=1e-12)
        ours = trainer.model.parameters.views(spy.grads[-1])
        ordered = torch.cat([ours[name].flatten() for name, _ in network.named_parameters()])
        assert error(ordered, torch.cat([grad.flatten() for grad in grads])) < 1e-12, past.row
        assert (record["k1"], record["k2"]) == (plans.made[-1].advance, plans.made[-1].depth)
    assert past.row == trainer.streams.position == 100 > 67, "the lanes should wrap"
    assert past.deepest >= DEEPEST[trunc]
    _, tape = trainer.model.forward(torch.zeros(1, 3, dtype=torch.int64), trainer.model.zero_state(3))
    assert trainer.model.tape_bytes(tape.capacity, 3) <= memory


def test_loss_falls_well_below_that_of_single_symbols(corpus: Corpus) -> None:
    _, records = train(corpus, "lstm", hidden=32, streams=8, trunc="1..16", lr=0.02, budget=Budget("epochs", 4))
    evals = list(of_kind("eval", records))
    assert evals[0]["bpc"] > evals[-1]["bpc"]
    assert evals[-1]["bpc"] < corpus.entropy() - 1


@pytest.mark.parametrize(("cell", "nats"), [("window:1", math.log(2)), ("window:2", 0.0)])
def test_a_window_of_2_learns_what_two_characters_decide(tmp_path: Path, cell: str, nats: float) -> None:
    """After an a, or a b, either comes as often; after two characters the next is certain."""
    settings = {"trunc": "16", "lr": 0.02, "final_lr": 0.1, "budget": Budget("chars", 20_000)}
    _, records = train(make_corpus(tmp_path, "aabb" * 500), cell, hidden=8, eval_every=20_000, **settings)
    assert records[-1]["nats"] == pytest.approx(nats, abs=0.02)


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trunc", ["1", "3", "full", "1..16", "1..16@plateau"])
@pytest.mark.parametrize("layers", [1, 2])
def test_state_is_carried_whatever_k_and_reset_only_where_a_lane_wraps(small: Corpus, trunc: str, layers: int) -> None:
    rows = 170  # two wraps and more of each of the three lanes: every lane reads 199 pairs in turn
    trainer, _ = train(
        small, "lstm", layers=layers, precision="float64", trunc=trunc, lr=FROZEN, budget=Budget("chars", 3 * rows)
    )
    assert trainer.streams.position == rows
    theirs, ids = TorchNetwork(trainer.model), torch.from_numpy(small.split("train").astype("int64"))
    for lane, start in enumerate((0, 66, 132)):
        read = (start + torch.arange(rows)) % 199
        since_wrap = read[int((read == 0).nonzero()[-1]) if (read == 0).any() else 0 :]
        with torch.no_grad():
            _, state = theirs(ids[since_wrap][:, None], trainer.model.zero_state(1))
        assert error(carried(trainer)[:, :, lane : lane + 1], state) < 1e-12


def test_stateless_training_carries_no_state(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """It meets every segment with zeros, and leaves a state all the same."""
    trainer, met = make_trainer(small, "lstm", trunc="stateless:4", lr=0.05), []
    forward = trainer.model.forward

    def spy(x: Tensor, state: Tensor, *args: Any) -> Any:
        met.append(state.abs().max().item())
        return forward(x, state, *args)

    monkeypatch.setattr(trainer.model, "forward", spy)
    list(trainer.run())
    assert len(met) == trainer.standing.axes.updates == 17
    assert set(met) == {0}
    assert carried(trainer).abs().max() > 0


@pytest.mark.parametrize("trunc", ["snap:4", "rtrl:4"])
def test_influences_go_along_the_lanes_and_end_where_one_wraps(small: Corpus, trunc: str) -> None:
    trainer, _ = train(small, "lstm", trunc=trunc, precision="float64", lr=FROZEN, budget=Budget("chars", 3 * 100))
    model, ids = trainer.model, torch.from_numpy(small.split("train").astype("int64"))
    for lane, start in enumerate((0, 66, 132)):
        read = (start + torch.arange(100)) % 199
        since_wrap = read[int((read == 0).nonzero()[-1]) if (read == 0).any() else 0 :]
        alone = INFLUENCES[trainer.strategy.influence](model, 1)
        logits, tape = model.forward(ids[since_wrap][:, None], model.zero_state(1))
        model.backward(tape, logits, boundary=alone.boundary)
        alone.update(tape)
        for name, influence in alone.state.items():
            ours = trainer.engine.state_dict()[f"influence.{name}"][:, lane]
            torch.testing.assert_close(ours, influence[:, 0], rtol=1e-9, atol=1e-12)


# --- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trunc", ["1", "7", "full", "1..8", "random:8"])
@pytest.mark.parametrize(
    ("budget", "chars"),
    [(Budget("epochs", 1), 199), (Budget("epochs", 0.5), 100), (Budget("chars", 500), 500), (Budget("chars", 1), 1)],
)
def test_a_budget_of_characters_is_met_within_a_row(small: Corpus, trunc: str, budget: Budget, chars: int) -> None:
    trainer, records = train(small, trunc=trunc, budget=budget)
    assert chars <= trainer.standing.axes.chars < chars + 3
    assert trainer.standing.axes.chars == 3 * trainer.streams.position
    assert records[-1]["chars"] == trainer.standing.axes.chars
    assert trainer.spent == 1


@pytest.mark.parametrize("trunc", ["1", "7", "full", "1..8"])
def test_a_budget_of_updates_is_met_exactly(small: Corpus, trunc: str) -> None:
    trainer, records = train(small, trunc=trunc, budget=Budget("updates", 9))
    assert trainer.standing.axes.updates == records[-1]["updates"] == 9


def test_a_budget_of_minutes_counts_training_alone(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))  # each look takes a second
    trainer, records = train(small, budget=Budget("minutes", 0.2))
    assert trainer.standing.axes.seconds == trainer.standing.axes.updates == 12
    assert list(of_kind("train", records))[-1]["chars_per_second"] == 12


# --- records ----------------------------------------------------------------------------------------------------------


def test_keys_of_the_records_are_frozen(small: Corpus) -> None:
    _, records = train(small)
    for record in records:
        more = {"train": ["grad_norm", "clip_rate", "chars_per_second"], "eval": ["split", "settled"]}[record["kind"]]
        assert list(record) == AXES + more


def test_records_come_by_characters_and_agree_with_what_was_done(small: Corpus) -> None:
    trainer, records = train(small, trunc="1", budget=Budget("chars", 600), eval_every=200)
    assert [record["chars"] for record in of_kind("eval", records)] == [201, 402, 600]
    trains = [record["chars"] for record in of_kind("train", records)]
    assert len(trains) == 30
    assert all(abs(chars - 20 * (i + 1)) < 3 for i, chars in enumerate(trains))
    for record in records:
        assert record["chars"] == 3 * record["updates"]
        head, recurrent = 6 * len(small.vocabulary), 3 * 6 * 6  # nothing is carried back in time at truncation 1
        assert record["flops"] == pytest.approx(record["chars"] * (6 * head + 4 * recurrent))
        assert record["epoch"] == record["chars"] / 199
        assert record["k1"] == record["k2"] == 1
        assert record["bpc"] == pytest.approx(record["nats"] / math.log(2))
        final, spent = trainer.config.final_lr, (record["chars"] - 3) / 600  # when the last update was made
        cosine = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * spent))
        warm = min(1.0, (record["chars"] - 2) / trainer.config.warmup) if trainer.config.warmup else 1.0
        assert record["lr"] == pytest.approx(trainer.config.lr * cosine * warm, rel=1e-12)
    assert records[-1]["nats"] == score(trainer.model, small.ids, 200, 220).nats
    assert trainer.standing.validations.nats == [record["nats"] for record in of_kind("eval", records)]


@pytest.mark.parametrize(
    ("trunc", "depths", "cuts"),
    [
        ("1", lambda row: 1, 0),
        ("3", lambda row: 3, 0),
        ("6/2", lambda row: 6, 2),
        ("6/1", lambda row: 6, 5),
        ("stateless:3", lambda row: 3, 0),
        ("1/5", lambda row: min(row % 66 + 1, 5), 0),
        ("2/6", lambda row: min(row % 66 + 2, 6), 0),
        ("3/12", lambda row: min(row % 66 + 3, 12), 0),
        ("3/12@rerun", lambda row: min(row % 66 + 3, 12), 0),
    ],
)
def test_operations_follow_the_depth_really_gone_back(
    tmp_path: Path, trunc: str, depths: Callable[[int], int], cuts: int
) -> None:
    """2 a weight and character read, 4 a weight and character gone back through; the head is not gone back through,
    and 2 of W_hh are for a step back in time: one fewer than characters, and none where the gradient is cut. Where
    older characters are read once more, 2 a weight of the layers.
    """
    corpus = make_corpus(tmp_path, prose(219), split="199/20/0")  # three lanes of 66 rows
    settings = {"budget": Budget("chars", 3 * 132), "eval_every": 10**6}
    trainer, row, flops = make_trainer(corpus, layers=2, trunc=trunc, **settings), 0, 0.0
    head, w_hh, w_ih = 6 * len(corpus.vocabulary), 2 * 3 * 6 * 6, 3 * 6 * 6
    while row < 132:
        some_updates(trainer, 1)
        read = trainer.standing.k1
        depth, carried = depths(row), depths(row) - 1 - cuts
        again = depth if trunc.endswith("@rerun") else read
        flops += 3 * (6 * head * read + 2 * (w_hh + w_ih) * again)
        flops += 3 * ((2 * w_hh + 4 * w_ih) * depth + 2 * w_hh * carried)
        row += read
        assert trainer.standing.axes.flops == pytest.approx(flops, rel=1e-12), row


def test_reading_once_more_differs_from_remembering_only_where_the_weights_move(small: Corpus) -> None:
    for lr, same in ((FROZEN, True), (0.05, False)):
        spies = []
        for trunc in ("2/6", "2/6@rerun"):
            settings = {"precision": "float64", "layers": 2, "budget": Budget("updates", 9), "clip": 0.0}
            trainer = make_trainer(small, "lstm", trunc=trunc, lr=lr, eval_every=10**6, **settings)
            spies.append(Spy(trainer))
            list(trainer.run())
        stored, rerun = (torch.stack(spy.grads) for spy in spies)
        assert (error(rerun, stored) < 1e-12) == same
        assert torch.equal(stored[0], rerun[0]), "at first nothing came before"


def test_a_train_record_is_the_mean_of_its_updates(small: Corpus) -> None:
    """All in one record, where the first two updates have 8 rows and the last has 4: it counts half."""
    settings = {"trunc": "8", "budget": Budget("chars", 60), "clip": 0.0}
    one = make_trainer(small, eval_every=1000, **settings)
    (record,) = of_kind("train", one.run())
    _, each = train(small, eval_every=1, **settings)
    nats, norms = ([r[key] for r in of_kind("train", each)] for key in ("nats", "grad_norm"))
    assert record["nats"] == pytest.approx((2 * nats[0] + 2 * nats[1] + nats[2]) / 5)
    assert record["grad_norm"] == pytest.approx(sum(norms) / 3)


@pytest.mark.parametrize(
    ("budget", "updates"),
    [
        (Budget("chars", 1200), 400),
        (Budget("epochs", 2), 133),
        (Budget("updates", 100), 100),
        (Budget("minutes", 2), 120),
    ],
)
def test_validation_comes_twenty_times_at_equal_shares_of_any_budget(
    tmp_path: Path, budget: Budget, updates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, clock = make_corpus(tmp_path, prose(203), "200/3/0"), iter(range(10**6))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))  # each look takes a second
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(3.0))
    trainer, records = train(small, trunc="1", budget=budget)
    assert trainer.standing.axes.updates == updates
    evals = [record["updates"] for record in of_kind("eval", records)]
    assert len(evals) == 20
    assert all(abs(seen - updates * share / 20) < 1 for share, seen in enumerate(evals, 1))
    assert len(list(of_kind("train", records))) == min(200, updates)
    _, records = train(small, trunc="1", budget=budget, eval_every=90)
    evals = [record["chars"] for record in of_kind("eval", records)]
    assert evals == sorted({*range(90, 3 * updates, 90), 3 * updates})


def test_a_run_of_few_updates_is_validated_after_each(tmp_path: Path) -> None:
    _, records = train(make_corpus(tmp_path, prose(203), "200/3/0"), budget=Budget("updates", 7))
    assert [record["updates"] for record in of_kind("eval", records)] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("budget", [Budget("chars", 150), Budget("updates", 50), Budget("epochs", 0.75)])
def test_validations_read_no_more_than_training_unless_they_are_asked_for(small: Corpus, budget: Budget) -> None:
    """20 of 20 characters each would read 400, and training reads 150; the last one is made in any case."""
    trainer, records = train(small, trunc="1", budget=budget)
    assert trainer.course.validation_chars == 20
    seen = [record["chars"] for record in of_kind("eval", records)]
    assert len(seen) == 8
    assert all(20 * number <= chars for number, chars in enumerate(seen[:-1], 1))
    assert seen[-1] == trainer.standing.axes.chars
    _, records = train(small, trunc="1", budget=budget, eval_every=6)
    assert len(list(of_kind("eval", records))) == 25


def test_the_document_tells_the_device_and_the_rate_of_the_last_update(small: Corpus) -> None:
    trainer = make_trainer(small, trunc="random:8", lr=0.01)
    spy = Spy(trainer)
    (*_, record) = trainer.run()
    document = frozen_copy(trainer).document
    assert document.device == "cpu"
    assert document.standing.lr == record["lr"] == spy.steps[-1].lr


def test_validation_does_not_disturb_training(small: Corpus) -> None:
    def final(eval_every: int, precision: str) -> Tensor:
        settings = {"layers": 2, "dropout": 0.3, "precision": precision, "trunc": "5"}
        return train(small, eval_every=eval_every, **settings)[0].model.parameters.flat

    for precision in ("float32", "float64"):
        assert torch.equal(final(10**6, precision), final(1, precision))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_validation_does_not_disturb_what_is_gone_back_to(small: Corpus, precision: str) -> None:
    """Also where it reads as many lanes side by side as training does: here one."""

    def final(eval_every: int) -> Tensor:
        settings = {"streams": 1, "precision": precision, "trunc": "2/6", "lr": 0.01, "budget": Budget("chars", 24)}
        return train(small, eval_every=eval_every, **settings)[0].model.parameters.flat

    assert torch.equal(final(10**6), final(6))


def test_neither_validation_nor_a_sample_touches_the_tape_of_a_float64_run(small: Corpus) -> None:
    trainer = make_trainer(small, streams=1, layers=2, precision="float64", trunc="2/6", eval_every=10**6)
    some_updates(trainer, 5)
    model = trainer.model
    other = model.at_precision("float32")
    before = {name: tensor.clone() for name, tensor in model.tapes.history(1, 4).items()}
    other.forward(torch.zeros(1, 1, dtype=torch.int64), other.zero_state(1))
    score(model, small.ids, 200, 220)
    assert len("".join(sample(model, small.vocabulary, SampleConfig(length=20)))) == 20
    after = model.tapes.history(1, 4)
    assert len(before["x"]) == 4
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_without_a_validation_split_the_last_twentieth_of_the_training_text_is_scored(tmp_path: Path) -> None:
    trainer, records = train(make_corpus(tmp_path, prose(210), split="0.9/0/0.1"))
    evals = list(of_kind("eval", records))
    assert {record["split"] for record in evals} == {"train"}
    assert evals[-1]["nats"] == score(trainer.model, trainer.corpus.ids, 189 - 10, 189).nats


def test_the_validation_split_is_scored_where_there_is_one(small: Corpus) -> None:
    assert small.validation_part() == ("valid", (200, 220))


@pytest.mark.parametrize(
    ("nats", "best"),
    [([3.0], True), ([3.0, 2.9], True), ([3.0, 3.0], False), ([3.0, 2.0, 2.5], False), ([3.0, math.nan], False)],
)
def test_latest_is_best(nats: list[float], best: bool) -> None:
    assert Validations(chars=[0] * len(nats), nats=nats).latest_is_best() is best


def test_validations_drive_growth_by_plateaus(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnbptt.training.loop.score", lambda *_, **__: a_score(3.0))  # never any better
    _, records = train(small, trunc="1..8@plateau", budget=Budget("chars", 900), eval_every=60)
    evals, largest = 0, {}
    for record in records:
        largest[evals] = max(record["k1"], largest.get(evals, 0))
        evals += record["kind"] == "eval"
    assert [largest[evals] for evals in range(6)] == [1, 1, 2, 4, 8, 8]


# --- the step ---------------------------------------------------------------------------------------------------------


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
    trainer = make_trainer(small, trunc="1", precision="float32", budget=Budget("chars", 5_000), **settings)
    trainer.optimizer = NoStep()
    weight = trainer.model.parameters.values["head.weight"]
    before = weight.double().clone()
    list(trainer.run())
    taken_off = float(1 - (weight.double() * before).sum() / before.square().sum())
    assert taken_off == pytest.approx(5 * 0.1 * 1e-4, rel=0.02)


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


# --- repeating and resuming -------------------------------------------------------------------------------------------


def frozen_copy(trainer: Trainer) -> Checkpoint:
    """A checkpoint in memory, its document once through JSON."""
    tensors, document = snapshot(trainer)
    return Checkpoint(
        Path("memory"), {n: t.clone() for n, t in tensors.items()}, Document.from_json(document.to_json())
    )


RUNS = [
    {"trunc": "1"},
    {"trunc": "4", "precision": "bfloat16", "cell": "lstm", "eval_every": 200},
    {"trunc": "full", "optimizer": "sgd"},
    {"trunc": "1..8", "optimizer": "rmsprop", "cell": "rnn"},
    {"trunc": "1..8@linear", "precision": "float64"},
    {"trunc": "1..8@plateau", "cell": "lstm", "lr": 1e-5},
    {"trunc": "2/6", "cell": "lstm"},
    {"trunc": "3/20", "cell": "lstm", "hidden": 33},  # products that round by where their operands lie
    {"trunc": "1/5", "precision": "bfloat16"},
    {"trunc": "6/2", "optimizer": "sgd"},
    {"trunc": "stateless:4", "eval_every": 150},
    {"trunc": "random:8", "cell": "lstm", "precision": "float64", "eval_every": 300},
    {"trunc": "artbp:4", "cell": "lstm", "eval_every": 200},
    {"trunc": "1/1..1/8", "cell": "lstm", "precision": "bfloat16"},
    {"trunc": "shuffle(1..8)"},
    {"trunc": "8..1", "cell": "rnn"},
    {"trunc": "snap", "cell": "gru"},
    {"trunc": "snap:4", "cell": "lstm", "precision": "bfloat16", "eval_every": 200},
    {"trunc": "snap:1..snap:8", "cell": "elstm"},
    {"trunc": "rtrl:5", "cell": "rnn", "precision": "float64", "eval_every": 200},
    {"trunc": "1..4", "cell": "window:3"},
    {"trunc": "3/9", "cell": "window:1", "precision": "bfloat16"},
    {"trunc": "2/6@rerun", "cell": "lstm", "precision": "bfloat16"},
    {"trunc": "adaptive:0.5", "cell": "rnn", "streams": 1, "budget": Budget("epochs", 4), "eval_every": 2000},
]
CHANCE = [run for run in RUNS if run["trunc"] in ("random:8", "artbp:4", "shuffle(1..8)")]
every_run = pytest.mark.parametrize("run", RUNS, ids=lambda run: run["trunc"])
SIZE = {"layers": 2, "dropout": 0.3, "budget": Budget("epochs", 2.2), "eval_every": 70, "warmup": 30, "clip": 0.5}
SHORTER = SIZE | {"budget": Budget("epochs", 1.2)}


@every_run
def test_a_run_resumed_after_any_update_goes_on_as_if_never_interrupted(small: Corpus, run: dict[str, Any]) -> None:
    """From each snapshot, one update or validation leads to the next; by induction, all of them lead to the end."""
    trainer = make_trainer(small, **SIZE | run)
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
    assert trainer.streams.position > 2 * 67, "the lanes should wrap more than once"
    assert in_mid_interval or run["trunc"] == "full"
    assert len(ks) > 2 or ".." not in run["trunc"]
    held = any(name.startswith("history.") for name in moments[-1][0].tensors)
    assert held == (run["trunc"] in ("2/6", "3/20", "2/6@rerun", "1/5", "1/1..1/8"))

    for (before, seen), (after, seen_after) in pairwise(moments):
        resumed = restore(before, small, run.get("precision", "float32"))
        end = moment_of(after.document)
        new = list(resumed.run(lambda r=resumed, end=end: moment_of(r) == end))
        assert_same(frozen_copy(resumed), after)
        assert without_time(new) == without_time(records[seen:seen_after])


@every_run
def test_a_run_resumed_from_a_file_ends_the_same(small: Corpus, run: dict[str, Any], tmp_path: Path) -> None:
    whole, records = train(small, **SHORTER | run)
    interrupted = make_trainer(small, **SHORTER | run)
    some = some_updates(interrupted, 1 if run["trunc"] == "full" else 7)
    save_checkpoint(tmp_path / "a", *snapshot(interrupted))
    resumed = restore(load_checkpoint(tmp_path / "a"), small, run.get("precision", "float32"))
    assert without_time(some + list(resumed.run())) == without_time(records)
    assert_same(frozen_copy(resumed), frozen_copy(whole))
    assert resumed.standing.axes.seconds > interrupted.standing.axes.seconds


@pytest.mark.parametrize("run", [*RUNS[:4], *CHANCE], ids=lambda run: run["trunc"])
def test_the_seed_decides_everything(small: Corpus, run: dict[str, Any]) -> None:
    first, again, other = (train(small, **SHORTER | run, seed=seed) for seed in (1, 1, 2))
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
    [*((cell, "2/6") for cell in EVERY_CELL), *((cell, trunc) for cell in CELLS for trunc in ("snap:3", "rtrl:5"))],
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


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimizer": "lion"}, "--optimizer lion: unknown; give one of adam, rmsprop, sgd"),
        ({"lr": 0.0}, "--lr 0: must be a number above 0"),
        ({"lr": math.nan}, "--lr nan: must be a number above 0"),
        ({"final_lr": 1.5}, "--final-lr 1.5: must be between 0 and 1"),
        ({"beta2": -0.1}, "--beta2 -0.1: must be at least 0 and below 1"),
        ({"beta2": 1.0}, "--beta2 1: must be at least 0 and below 1"),  # the mean of squares would stay 0
        ({"warmup": -1}, "--warmup -1: must be a number from 0 to 1e+15"),
        ({"weight_decay": -0.1}, "--weight-decay -0.1: must be a number from 0 to 1e+06"),
        ({"weight_decay": 1e308}, "--weight-decay 1e+308: must be a number from 0 to 1e+06"),
        ({"beta2_chars": -1.0}, "--beta2-chars -1: must be a number from 0 to 1e+15"),
        ({"beta2_chars": 1e308}, "--beta2-chars 1e+308: must be a number from 0 to 1e+15"),
        ({"clip": math.nan}, "--clip nan: must be a number from 0 to 1e+15"),
        ({"eval_every": -1}, "--eval-every -1: must be a number from 0 to 1e+15"),
        ({"seed": -1}, "--seed -1: must be at least 0 and below 2^63"),
        ({"seed": 2**63}, f"--seed {2**63}: must be at least 0 and below 2^63"),
        ({"trunc": "0"}, "--trunc 0: at least 1 character is read for an update; give 1 or more"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    assert message_of(TrainConfig, **wrong) == message


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_the_ends_of_the_range_of_seeds_train(small: Corpus, seed: int) -> None:
    assert train(small, seed=seed, dropout=0.2, trunc="random:8")[0].spent == 1


def test_configuration_survives_json() -> None:
    config = TrainConfig(trunc="1..8@plateau", budget=Budget("minutes", 0.1), lr=0.1 + 0.2, seed=7)
    assert msgspec.convert(json.loads(json.dumps(asdict(config))), TrainConfig) == config


@pytest.mark.parametrize(
    ("trunc", "steps"),
    [
        *(("7", 7), ("500", 67), ("full", 67), ("1..8", 8), ("8..1", 8), ("7/3", 7), ("stateless:7", 7)),
        *(("random:8", 58), ("random:60", 67), ("artbp:4", 40)),
        *(("4/6", 6), ("4/7", 7), ("2/6", 8), ("1/5", 8), ("1/1..1/8", 14), ("2/6@rerun", 8), ("adaptive:0.5", 67)),
    ],
)
def test_memory_of_the_longest_update(small: Corpus, trunc: str, steps: int) -> None:
    """Where older characters are kept, twice their number at least, so that they are seldom moved to the front."""
    trainer = make_trainer(small, trunc=trunc)
    assert trainer.memory == trainer.model.tape_bytes(steps, 3)
